/*
 * isthmus-bench: a client that loads a server, a server to be loaded, or both, on our own stack.
 *
 * Ends with 0 if requests were answered, 1 if none were or it did not start, 2 if it was not asked
 * as it should be.
 */
#include "bench/load/report.h"
#include "dataplane/base/log.h"
#include "tls/memory.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define SETS_MAX 64

static const char usage[] =
    "usage: isthmus-bench -c FILE [--set PATH=VALUE]... [--json FILE] [--quiet]\n"
    "       isthmus-bench --check -c FILE [--set PATH=VALUE]...\n"
    "  -c FILE           what to do (see bench/README.md)\n"
    "  --set PATH=VALUE  instead of what FILE says, such as client.rate=20000\n"
    "  --json FILE       write what came out there, too; -: to standard output, without the table\n"
    "  --quiet           no line each second, no table\n"
    "  --check           is the file right? (nothing is started)\n";

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "set", required_argument, NULL, 's' },
    { "json", required_argument, NULL, 'j' },
    { "quiet", no_argument, NULL, 'q' },
    { "check", no_argument, NULL, 'C' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

struct args {
    const char *path, *json;
    const char *sets[SETS_MAX];
    unsigned n_sets;
    bool quiet, check, help;
};

static volatile bool interrupted;

static void on_signal(int number)
{
    interrupted = true;
}

static void handle_signals(void)
{
    struct sigaction end = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };

    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGIO, &ignore, NULL); /* what DPDK's TAP is told by */
}

static bool read_args(struct args *a, int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (c == 'c')
            a->path = optarg;
        else if (c == 's' && a->n_sets < SETS_MAX)
            a->sets[a->n_sets++] = optarg;
        else if (c == 'j')
            a->json = optarg;
        else if (c == 'q')
            a->quiet = true;
        else if (c == 'C')
            a->check = true;
        else if (c == 'h')
            a->help = true;
        else
            return false;
    }
    return optind == argc && (a->path != NULL || a->help);
}

/* Opened first: not at the end of an hour is one told that it cannot be written. */
static FILE *open_json(const char *path)
{
    FILE *f;

    if (path == NULL)
        return NULL;
    f = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (f == NULL) {
        fprintf(stderr, "isthmus-bench: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return f;
}

static int run(const struct args *a, const struct load_conf *c)
{
    static struct load_result result;
    const struct load_run_conf conf = { .conf = c,
                                        .progress = a->quiet ? NULL : stderr,
                                        .interrupt = &interrupted };
    FILE *json = open_json(a->json);
    struct cfg_err err = { "" };
    int rc;

    handle_signals();
    rc = load_run(&conf, &result, &err);
    if (rc < 0) {
        fprintf(stderr, "isthmus-bench: %s\n", err.text);
        return 1;
    }
    if (!a->quiet && json != stdout)
        report_table(stdout, &result);
    if (json != NULL) {
        report_json(json, &result);
        if (fflush(json) != 0 || ferror(json)) {
            fprintf(stderr, "isthmus-bench: %s cannot be written\n", a->json);
            return 1;
        }
    }
    return result.has_client && result.client.requests == 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct args a = { NULL };
    struct cfg_err err = { "" };
    struct load_conf *c;
    int rc = 0;

    if (!read_args(&a, argc, argv) || a.help) {
        fputs(usage, a.help ? stdout : stderr);
        return a.help ? 0 : 2;
    }
    (void)tls_memory_start();
    prctl(PR_SET_DUMPABLE, 0); /* private keys may be in this memory */
    log_set_level(LOG_LVL_WARNING);
    c = load_conf_read(a.path, a.sets, a.n_sets, &err);
    if (c == NULL) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (a.check)
        printf("%s: right\n", a.path);
    else
        rc = run(&a, c);
    load_conf_free(c);
    return rc;
}
