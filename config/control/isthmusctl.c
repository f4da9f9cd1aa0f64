/*
 * isthmusctl - asks the daemon, and shows its answer to people or (--json) to programs
 *
 * A command is a row: what it asks the daemon, its arguments, and which columns come
 * first in its table. What the daemon answers beyond that is shown as well, so a new
 * field needs no change here.
 *
 * Exit status: 0 done; 1 the daemon (or `check`, alone) says no; 2 it could not be asked (usage, no
 * daemon, no permission, no answer in time).
 */
#include "config/control/doctor.h"
#include "config/control/show.h"
#include "dataplane/base/compiler.h"
#include "dataplane/base/text.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/isthmus/control.sock"
#define DEFAULT_TIMEOUT_S 15
#define ANSWER_MAX (256u << 20)

enum { DONE = 0, REFUSED = 1, NOT_ASKED = 2 };

enum verb_flag {
    VERB_RAW = 1 << 0,   /* the answer is shown as JSON also to people */
    VERB_PATH = 1 << 1,  /* the argument is a file: the daemon is told its full path */
    VERB_ALONE = 1 << 2, /* it has something to say without a daemon */
};

struct verb {
    const char *name;
    const char *arg;     /* name of its argument; NULL: it takes none */
    bool arg_needed;     /* or else it may be left out */
    const char *option;  /* a flag of its own, "--" aside; NULL: none */
    const char *columns; /* keys that come first in its table */
    unsigned flags;
    const char *help;
};

static const struct verb verbs[] = {
    { "status", NULL, false, NULL, NULL, 0, "version, state, configuration, workers, ports" },
    { "reload", NULL, false, NULL, NULL, 0,
      "read the configuration again; refused whole if wrong" },
    { "check", "file", false, NULL, "check state found advice", VERB_PATH | VERB_ALONE,
      "would a reload accept it? Without a daemon: is the machine ready?" },
    { "stats", "filter", false, "prometheus", NULL, 0, "counters whose name holds FILTER" },
    { "conns", "filter", false, NULL,
      "worker client local listener state tls cluster upstream age_s requests rx tx", 0,
      "connections of clients" },
    { "listeners", "filter", false, NULL, "listener address state connections", 0,
      "listeners: do they listen, drain, or wait for their address?" },
    { "clusters", "filter", false, NULL,
      "cluster endpoint state cx_active rq_active waiting cx_total rq_total cx_connect_fail "
      "rq_error",
      0, "clusters and their endpoints, all workers together" },
    { "certs", "filter", false, NULL,
      "secret kind subject uri dns not_before not_after days_left serial", 0,
      "certificates, and how long they are good" },
    { "config", "filter", false, NULL, NULL, VERB_RAW,
      "the configuration in force: sections whose name holds FILTER" },
    { "neighbors", "filter", false, NULL, "worker port vlan address mac state age_s", 0,
      "link-layer addresses of next hops" },
    { "addresses", "filter", false, NULL, "port vlan address state origin workers", 0,
      "addresses of ours: in use, tentative, duplicate or deprecated" },
    { "routes", "filter", false, NULL, "worker prefix type via port vlan neighbor origin", 0,
      "routes, and what is known of their next hops" },
    { "punt", NULL, false, NULL, "rule to_kernel limited from_kernel", 0,
      "what the kernel is given, and what is taken over from it" },
    { "reopen", NULL, false, NULL, NULL, 0, "open the access logs again, after they were moved" },
    { "drain", NULL, false, NULL, NULL, 0, "no new connections; the open ones go on" },
    { "stop", NULL, false, NULL, NULL, 0, "drain, then end the daemon" },
    { "log", "level", false, NULL, NULL, 0,
      "log from now on: error, warning, info or debug; alone: tell" },
    { "help", NULL, false, NULL, NULL, 0, "this text" },
};

struct options {
    const char *socket;
    unsigned timeout_s;
    bool json;
};

static void usage(FILE *to)
{
    fputs("usage: isthmusctl [--socket PATH] [--timeout SECONDS] [--json] COMMAND [ARGUMENT]\n\n",
          to);
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
        const struct verb *v = &verbs[i];
        char synopsis[64];
        int n = snprintf(synopsis, sizeof(synopsis), "%s", v->name);

        if (v->option != NULL)
            n += snprintf(synopsis + n, sizeof(synopsis) - (size_t)n, " [--%s]", v->option);
        if (v->arg != NULL) {
            char arg[32];
            size_t k = 0;

            for (; v->arg[k] != '\0' && k < sizeof(arg) - 1; k++)
                arg[k] = (char)(v->arg[k] - 'a' + 'A');
            arg[k] = '\0';
            snprintf(synopsis + n, sizeof(synopsis) - (size_t)n, v->arg_needed ? " %s" : " [%s]",
                     arg);
        }
        fprintf(to, "  %-31s%s\n", synopsis, v->help);
    }
    fputs("\n  --socket PATH      of the daemon, or $ISTHMUS_SOCKET; " DEFAULT_SOCKET "\n"
          "  --timeout SECONDS  how long to wait for it; 15\n"
          "  --json             the answer as it is, for programs\n\n"
          "Exit status: 0 done; 1 the daemon says no, or the machine is not ready;\n"
          "             2 it could not be asked (usage, no daemon, no permission, no answer).\n",
          to);
}

static const struct verb *find_verb(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int PRINTF_LIKE(1, 2) misuse(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("isthmusctl: ", stderr);
    vfprintf(stderr, fmt, args);
    fputs("\n  see: isthmusctl help\n", stderr);
    va_end(args);
    return NOT_ASKED;
}

static int unknown_verb(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (text_is_slip(name, verbs[i].name))
            return misuse("there is no command \"%s\"; is \"%s\" meant?", name, verbs[i].name);
    }
    return misuse("there is no command \"%s\"", name);
}

/* --- the question --- */

static int set_argument(json_t *args, const struct verb *v, const char *text)
{
    char path[PATH_MAX];
    json_t *value;

    if (v->arg == NULL || json_object_get(args, v->arg) != NULL)
        return misuse("%s: \"%s\" is too much", v->name, text);
    if ((v->flags & VERB_PATH) && realpath(text, path) == NULL) {
        fprintf(stderr, "isthmusctl: %s: %s\n", text, strerror(errno));
        return NOT_ASKED;
    }
    value = json_string(v->flags & VERB_PATH ? path : text);
    if (value == NULL)
        return misuse("%s: \"%s\" is not UTF-8", v->name, text);
    json_object_set_new(args, v->arg, value);
    return DONE;
}

/* The rest of the command line, as the arguments of @v. */
static int read_arguments(int argc, char **argv, const struct verb *v, json_t *args)
{
    for (int i = 0; i < argc; i++) {
        int rc = DONE;

        if (v->option != NULL && strncmp(argv[i], "--", 2) == 0 &&
            strcmp(argv[i] + 2, v->option) == 0)
            json_object_set_new(args, v->option, json_true());
        else if (argv[i][0] == '-' && argv[i][1] != '\0')
            return misuse("%s: there is no option %s", v->name, argv[i]);
        else
            rc = set_argument(args, v, argv[i]);
        if (rc != DONE)
            return rc;
    }
    if (v->arg_needed && json_object_get(args, v->arg) == NULL)
        return misuse("%s: it needs a %s", v->name, v->arg);
    return DONE;
}

static char *request_line(const struct verb *v, json_t *args)
{
    json_t *request = json_pack("{s:s, s:O}", "cmd", v->name, "args", args);
    char *line = json_dumps(request, JSON_COMPACT);

    json_decref(request);
    return line;
}

/* --- the daemon --- */

static int cannot_ask(const struct options *o, int err)
{
    const char *what = strerror(err), *hint = "";

    switch (err) {
    case ENOENT:
    case ECONNREFUSED:
        what = "no daemon listens";
        hint = "is isthmusd running? systemctl status isthmusd; another socket: --socket PATH";
        break;
    case EACCES:
    case EPERM:
        what = "no permission";
        hint = "run it as root, or as the user of the daemon";
        break;
    case EAGAIN:
        what = "no answer in time";
        hint = "the daemon may be busy: look at its log; to wait longer: --timeout SECONDS";
        break;
    case ENOTSOCK:
    case EPROTOTYPE:
        what = "not a control socket";
        hint = "which path has control.socket in the configuration?";
        break;
    default:
        break;
    }
    fprintf(stderr, "isthmusctl: %s: %s\n", o->socket, what);
    if (hint[0] != '\0')
        fprintf(stderr, "  %s\n", hint);
    return NOT_ASKED;
}

/* Returns a socket or -errno. */
static int dial(const struct options *o)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = o->timeout_s };
    int fd;

    if (strlen(o->socket) >= sizeof(at.sun_path))
        return -ENAMETOOLONG;
    memcpy(at.sun_path, o->socket, strlen(o->socket));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    return fd;
}

static int send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* One line, without its newline, from malloc. 0 or -errno; -EPIPE: it ended before. */
static int receive_line(int fd, char **ret)
{
    size_t len = 0, room = 16384;
    char *line = malloc(room + 1);

    while (line != NULL) {
        ssize_t n = recv(fd, line + len, room - len, 0);
        int err = errno;
        char *end;

        if (n < 0 && err == EINTR)
            continue;
        if (n <= 0) {
            free(line);
            return n < 0 ? -err : -EPIPE;
        }
        end = memchr(line + len, '\n', (size_t)n);
        len += (size_t)n;
        if (end != NULL) {
            *end = '\0';
            *ret = line;
            return 0;
        }
        if (len == room) {
            char *more = room < ANSWER_MAX ? realloc(line, 2 * room + 1) : NULL;

            if (more == NULL)
                free(line);
            line = more;
            room *= 2;
        }
    }
    return -ENOMEM;
}

static int ask(const struct options *o, const char *request, char **answer)
{
    int fd = dial(o), rc;

    if (fd < 0)
        return fd;
    rc = send_all(fd, request, strlen(request));
    if (rc == 0)
        rc = send_all(fd, "\n", 1);
    /* A daemon that refuses us closes at once, but has told us why. */
    if (rc == 0 || rc == -EPIPE)
        rc = receive_line(fd, answer);
    close(fd);
    return rc;
}

/* --- the answer --- */

static int show_error(const json_t *answer)
{
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *hint = json_string_value(json_object_get(answer, "hint"));
    json_t *words = json_pack("s++", "isthmusctl: ", error != NULL ? error : "refused", "");

    show(stderr, words, NULL);
    json_decref(words);
    if (hint != NULL && hint[0] != '\0') {
        words = json_pack("s+", "  ", hint);
        show(stderr, words, NULL);
        json_decref(words);
    }
    /* Told by the socket, before any command: see dialog.h. */
    return json_is_false(json_object_get(answer, "asked")) ? NOT_ASKED : REFUSED;
}

static void show_result(const struct options *o, const struct verb *v, json_t *result)
{
    if (o->json || (v->flags & VERB_RAW)) {
        json_dumpf(result, stdout,
                   JSON_ENCODE_ANY | JSON_REAL_PRECISION(12) | JSON_INDENT(o->json ? 0 : 2));
        putchar('\n');
    } else {
        show(stdout, result, v->columns);
    }
}

static int show_answer(const struct options *o, const struct verb *v, const char *line)
{
    json_error_t err;
    json_t *answer = json_loads(line, 0, &err);
    json_t *result;
    int rc = DONE;

    if (!json_is_object(answer)) {
        json_decref(answer);
        fprintf(stderr, "isthmusctl: %s: the answer is none of isthmusd's\n", o->socket);
        return NOT_ASKED;
    }
    result = json_object_get(answer, "result");
    if (!json_is_true(json_object_get(answer, "ok")))
        rc = show_error(answer);
    else
        show_result(o, v, result);
    json_decref(answer);
    if (fflush(stdout) != 0)
        return NOT_ASKED;
    return rc;
}

/* `check` where no daemon listens: is the machine ready for one? */
static int check_alone(const struct options *o, const struct verb *v, json_t *args)
{
    const char *file = json_string_value(json_object_get(args, "file"));
    json_t *rows;
    bool ready;

    fprintf(stderr, "isthmusctl: %s: no daemon listens\n", o->socket);
    if (file != NULL) {
        fprintf(stderr, "  without one: isthmusd --check -c %s\n", file);
        return NOT_ASKED;
    }
    fputs("  so this looks at the machine itself\n", stderr);
    rows = doctor(&ready);
    show_result(o, v, rows);
    json_decref(rows);
    return ready ? DONE : REFUSED;
}

static bool nobody_listens(int rc)
{
    return rc == -ENOENT || rc == -ECONNREFUSED;
}

static int run(const struct options *o, const struct verb *v, int argc, char **argv)
{
    json_t *args = json_object();
    char *request = NULL, *answer = NULL;
    int rc = read_arguments(argc, argv, v, args);

    if (rc == DONE) {
        request = request_line(v, args);
        rc = request != NULL ? ask(o, request, &answer) : -ENOMEM;
        if (rc == 0)
            rc = show_answer(o, v, answer);
        else if ((v->flags & VERB_ALONE) && nobody_listens(rc))
            rc = check_alone(o, v, args);
        else
            rc = cannot_ask(o, -rc);
    }
    free(request);
    free(answer);
    json_decref(args);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "socket", required_argument, NULL, 's' },
        { "timeout", required_argument, NULL, 't' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct options o = { getenv("ISTHMUS_SOCKET"), DEFAULT_TIMEOUT_S, false };
    const struct verb *v;
    int c;

    if (o.socket == NULL)
        o.socket = DEFAULT_SOCKET;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case 's':
            o.socket = optarg;
            break;
        case 't':
            o.timeout_s = (unsigned)strtoul(optarg, NULL, 10);
            if (o.timeout_s == 0)
                return misuse("--timeout %s: not a number of seconds", optarg);
            break;
        case 'j':
            o.json = true;
            break;
        case 'h':
            usage(stdout);
            return DONE;
        default:
            return misuse("what is meant?");
        }
    }
    if (optind == argc) {
        usage(stderr);
        return NOT_ASKED;
    }
    v = find_verb(argv[optind]);
    if (v == NULL)
        return unknown_verb(argv[optind]);
    if (strcmp(v->name, "help") == 0) {
        usage(stdout);
        return DONE;
    }
    return run(&o, v, argc - optind - 1, argv + optind + 1);
}
