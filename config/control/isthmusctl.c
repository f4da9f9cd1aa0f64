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
#include "config/control/ask.h"
#include "config/control/capture.h"
#include "config/control/doctor.h"
#include "config/control/flight.h"
#include "config/control/show.h"
#include "dataplane/base/compiler.h"
#include "dataplane/base/text.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/isthmus/control.sock"
#define DEFAULT_TIMEOUT_S 15

enum { DONE = 0, REFUSED = 1, NOT_ASKED = ASK_NOT_ASKED };

enum verb_flag {
    VERB_RAW = 1 << 0,       /* the answer is shown as JSON also to people */
    VERB_PATH = 1 << 1,      /* the argument is a file: the daemon is told its full path */
    VERB_ALONE = 1 << 2,     /* it has something to say without a daemon */
    VERB_NEEDS_ALL = 1 << 3, /* none of its arguments may be left out */
};

struct verb {
    const char *name;
    const char *args;    /* names of its arguments, blanks between; NULL: it takes none */
    const char *options; /* its own, "--" aside, "=what" behind those with a value; NULL: none */
    const char *columns; /* keys that come first in its table */
    unsigned flags;
    const char *help;
    /* What it does instead of asking once; NULL: nothing. Takes the arguments. */
    int (*run)(const struct ask_conf *conf, json_t *args);
};

static const struct verb verbs[] = {
    { "status", NULL, NULL, NULL, 0, "version, state, configuration, workers, ports", NULL },
    { "reload", NULL, NULL, NULL, 0, "read the configuration again; refused whole if wrong", NULL },
    { "check", "file", NULL, "check state found advice", VERB_PATH | VERB_ALONE,
      "would a reload accept it? Without a daemon: is the machine ready?", NULL },
    { "stats", "filter", "prometheus", NULL, 0, "counters whose name holds FILTER", NULL },
    { "conns", "filter", "verbose upstream",
      "worker client local listener state tls cluster upstream age_s requests rx tx", 0,
      "connections of clients, or to endpoints; all there is about their TCP", NULL },
    { "perf", "seconds", NULL,
      "worker helper busy_percent turns requests packets operations stage percent", 0,
      "what a request costs, by stage: over one second, or up to ten", NULL },
    { "flights", "filter", NULL,
      "worker flight remote local why when span_s segments again overwritten", 0,
      "what the flight recorders of TCP hold", NULL },
    { "flight", "flight", "pcapng=file", NULL, VERB_NEEDS_ALL,
      "one of them (WORKER-NUMBER), or the newest of ADDRESS:PORT; for Wireshark", flight_run },
    { "capture", "port filter file", "count=n seconds=s snaplen=bytes direction=in|out|both", NULL,
      VERB_NEEDS_ALL, "frames of PORT (any: of all) into FILE (-: stdout), as pcapng",
      capture_run },
    { "listeners", "filter", NULL, "listener address state connections", 0,
      "listeners: do they listen, drain, or wait for their address?", NULL },
    { "clusters", "filter", NULL,
      "cluster endpoint state cx_active rq_active waiting cx_total rq_total cx_connect_fail "
      "rq_error",
      0, "clusters and their endpoints, all workers together", NULL },
    { "certs", "filter", NULL, "secret kind subject uri dns not_before not_after days_left serial",
      0, "certificates, and how long they are good", NULL },
    { "config", "filter", NULL, NULL, VERB_RAW,
      "the configuration in force: sections whose name holds FILTER", NULL },
    { "neighbors", "filter", NULL, "worker port vlan address mac state age_s", 0,
      "link-layer addresses of next hops", NULL },
    { "addresses", "filter", NULL, "port vlan address state origin workers", 0,
      "addresses of ours: in use, tentative, duplicate or deprecated", NULL },
    { "routes", "filter", NULL, "worker prefix type via port vlan neighbor origin", 0,
      "routes, and what is known of their next hops", NULL },
    { "punt", NULL, NULL, "rule to_kernel limited from_kernel", 0,
      "what the kernel is given, and what is taken over from it", NULL },
    { "reopen", NULL, NULL, NULL, 0, "open the access logs again, after they were moved", NULL },
    { "drain", NULL, NULL, NULL, 0, "no new connections; the open ones go on", NULL },
    { "stop", NULL, NULL, NULL, 0, "drain, then end the daemon", NULL },
    { "log", "level", NULL, NULL, 0, "log from now on: error, warning, info or debug; alone: tell",
      NULL },
    { "help", NULL, NULL, NULL, 0, "this text", NULL },
};

struct options {
    struct ask_conf ask;
    bool json;
};

/* Takes the next word of *@list; false: there is none. */
static bool next_word(const char **list, char word[32])
{
    const size_t len = *list != NULL ? strcspn(*list, " ") : 0;

    if (len == 0 || len >= 32)
        return false;
    memcpy(word, *list, len);
    word[len] = '\0';
    *list += len;
    *list += strspn(*list, " ");
    return true;
}

static void upper(char *word)
{
    for (; *word != '\0'; word++)
        *word = *word >= 'a' && *word <= 'z' ? (char)(*word - 'a' + 'A') : *word;
}

/* "capture [--count COUNT] PORT FILTER FILE" */
static void synopsis_of(const struct verb *v, char *to, size_t room)
{
    const bool needed = (v->flags & VERB_NEEDS_ALL) != 0;
    const char *options = v->options, *args = v->args;
    int n = snprintf(to, room, "%s", v->name);
    char word[32];

    while (next_word(&options, word)) {
        char *value = strchr(word, '=');

        if (value != NULL)
            *value++ = '\0';
        n += snprintf(to + n, room - (size_t)n, " [--%s", word);
        upper(value != NULL ? value : word);
        n += snprintf(to + n, room - (size_t)n, value != NULL ? " %s]" : "]", value);
    }
    while (next_word(&args, word)) {
        upper(word);
        n += snprintf(to + n, room - (size_t)n, needed ? " %s" : " [%s]", word);
    }
}

#define SYNOPSIS_WIDTH 40

static void usage(FILE *to)
{
    fputs("usage: isthmusctl [--socket PATH] [--timeout SECONDS] [--json] COMMAND [ARGUMENT]\n\n",
          to);
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
        const struct verb *v = &verbs[i];
        char synopsis[160];

        synopsis_of(v, synopsis, sizeof(synopsis));
        if (strlen(synopsis) > SYNOPSIS_WIDTH)
            fprintf(to, "  %s\n  %-*s%s\n", synopsis, SYNOPSIS_WIDTH + 1, "", v->help);
        else
            fprintf(to, "  %-*s%s\n", SYNOPSIS_WIDTH + 1, synopsis, v->help);
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

static int set_text(json_t *args, const struct verb *v, const char *name, const char *text)
{
    json_t *value = json_string(text);

    if (value == NULL)
        return misuse("%s: \"%s\" is not UTF-8", v->name, text);
    json_object_set_new(args, name, value);
    return DONE;
}

/* The first of its arguments that is not there yet. */
static int set_argument(json_t *args, const struct verb *v, const char *text)
{
    const char *names = v->args;
    char path[PATH_MAX], name[32];

    do {
        if (!next_word(&names, name))
            return misuse("%s: \"%s\" is too much", v->name, text);
    } while (json_object_get(args, name) != NULL);
    if ((v->flags & VERB_PATH) && realpath(text, path) == NULL) {
        fprintf(stderr, "isthmusctl: %s: %s\n", text, strerror(errno));
        return NOT_ASKED;
    }
    return set_text(args, v, name, v->flags & VERB_PATH ? path : text);
}

/* "--count 5", "--count=5", "--verbose". Returns how many words it was, or 0: there is no such
 * option. */
static int set_option(json_t *args, const struct verb *v, int argc, char **argv, int *rc)
{
    const char *options = v->options, *given = argv[0] + 2;
    const size_t len = strcspn(given, "=");
    char word[32];

    *rc = DONE;
    while (next_word(&options, word)) {
        char *value = strchr(word, '=');

        if (value != NULL)
            *value = '\0';
        if (strlen(word) != len || memcmp(word, given, len) != 0)
            continue;
        if (value == NULL) {
            json_object_set_new(args, word, json_true());
            return given[len] == '\0';
        }
        if (given[len] == '=') {
            *rc = set_text(args, v, word, given + len + 1);
            return 1;
        }
        *rc = argc > 1 ? set_text(args, v, word, argv[1])
                       : misuse("%s: --%s needs a value", v->name, word);
        return 2;
    }
    return 0;
}

/* The rest of the command line, as the arguments of @v. */
static int read_arguments(int argc, char **argv, const struct verb *v, json_t *args)
{
    const char *names = v->args;
    char name[32];
    int rc = DONE;

    for (int i = 0, n = 1; i < argc && rc == DONE; i += n) {
        n = 1;
        if (strncmp(argv[i], "--", 2) == 0) {
            n = set_option(args, v, argc - i, argv + i, &rc);
            if (n == 0)
                return misuse("%s: there is no option %s", v->name, argv[i]);
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return misuse("%s: there is no option %s", v->name, argv[i]);
        } else {
            rc = set_argument(args, v, argv[i]);
        }
    }
    while (rc == DONE && (v->flags & VERB_NEEDS_ALL) && next_word(&names, name))
        if (json_object_get(args, name) == NULL)
            return misuse("%s: it needs a %s", v->name, name);
    return rc;
}

static char *request_line(const struct verb *v, json_t *args)
{
    json_t *request = json_pack("{s:s, s:O}", "cmd", v->name, "args", args);
    char *line = json_dumps(request, JSON_COMPACT);

    json_decref(request);
    return line;
}

/* --- the answer --- */

static void show_result(const struct options *o, const struct verb *v, bool is_verbose,
                        json_t *result)
{
    if (o->json || (v->flags & VERB_RAW)) {
        json_dumpf(result, stdout,
                   JSON_ENCODE_ANY | JSON_REAL_PRECISION(12) | JSON_INDENT(o->json ? 0 : 2));
        putchar('\n');
    } else if (is_verbose) {
        show_verbose(stdout, result, v->columns);
    } else {
        show(stdout, result, v->columns);
    }
}

static int show_answer(const struct options *o, const struct verb *v, bool is_verbose,
                       const char *line)
{
    json_error_t err;
    json_t *answer = json_loads(line, 0, &err);
    json_t *result;
    int rc = DONE;

    if (!json_is_object(answer)) {
        json_decref(answer);
        fprintf(stderr, "isthmusctl: %s: the answer is none of isthmusd's\n", o->ask.socket);
        return NOT_ASKED;
    }
    result = json_object_get(answer, "result");
    if (!json_is_true(json_object_get(answer, "ok")))
        rc = show_error(answer) ? REFUSED : NOT_ASKED;
    else
        show_result(o, v, is_verbose, result);
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

    fprintf(stderr, "isthmusctl: %s: no daemon listens\n", o->ask.socket);
    if (file != NULL) {
        fprintf(stderr, "  without one: isthmusd --check -c %s\n", file);
        return NOT_ASKED;
    }
    fputs("  so this looks at the machine itself\n", stderr);
    rows = doctor(&ready);
    show_result(o, v, false, rows);
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

    if (rc == DONE)
        rc = v->run != NULL ? v->run(&o->ask, args) : RUN_AS_USUAL;
    if (rc == RUN_AS_USUAL) {
        request = request_line(v, args);
        rc = request != NULL ? ask(&o->ask, request, &answer) : -ENOMEM;
        if (rc == 0)
            rc = show_answer(o, v, json_is_true(json_object_get(args, "verbose")), answer);
        else if ((v->flags & VERB_ALONE) && nobody_listens(rc))
            rc = check_alone(o, v, args);
        else
            rc = ask_cannot(&o->ask, -rc);
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
    struct options o = { { getenv("ISTHMUS_SOCKET"), DEFAULT_TIMEOUT_S }, false };
    const struct verb *v;
    int c;

    if (o.ask.socket == NULL)
        o.ask.socket = DEFAULT_SOCKET;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case 's':
            o.ask.socket = optarg;
            break;
        case 't':
            o.ask.timeout_s = (unsigned)strtoul(optarg, NULL, 10);
            if (o.ask.timeout_s == 0)
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
