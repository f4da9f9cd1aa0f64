/*
 * isthmusd: what starts, in order; backwards, what stops.
 */
#include "config/file/file.h"
#include "dataplane/base/log.h"
#include "dataplane/daemon.h"
#include "tls/memory.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define DEFAULT_CONF "/etc/isthmus/isthmus.conf"

static const char usage[] =
    "usage: isthmusd [-c FILE] [-l LEVEL]\n"
    "       isthmusd --check [-c FILE]   is the file right? (nothing is started)\n"
    "       isthmusd --reference         every setting, as Markdown\n"
    "       isthmusd --version\n"
    "  -c FILE   configuration, " DEFAULT_CONF " by default\n"
    "  -l LEVEL  error, warning, info (default) or debug\n";

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "log", required_argument, NULL, 'l' },
    { "check", no_argument, NULL, 'C' },
    { "reference", no_argument, NULL, 'R' },
    { "version", no_argument, NULL, 'V' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static int check(const char *path)
{
    struct cfg_err err = { "" };
    struct snapshot *s;
    int rc;

    rc = file_read(path, &s, &err);
    if (rc == 0) {
        rc = runtime_check(s, &err);
        snapshot_put(s);
    }
    if (rc < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%s: right\n", path);
    return 0;
}

static int run(const char *path)
{
    static struct daemon d;
    struct cfg_err err = { "" };

    if (!tls_memory_start())
        log_warning("tls", "OpenSSL's objects stay with the C library's allocator");
    /* Private keys are in this memory: no core dump, no ptrace by others. */
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGPIPE, SIG_IGN);
    /* What DPDK's TAP is told by; the kernel falls back on it when its own queue is full. */
    signal(SIGIO, SIG_IGN);
    if (daemon_start(&d, path, &err) < 0) {
        log_error("daemon", "%s", err.text);
        return 1;
    }
    daemon_run(&d);
    daemon_stop(&d);
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = DEFAULT_CONF;
    enum log_level level;
    bool only_check = false;
    int c;

    while ((c = getopt_long(argc, argv, "c:l:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 'l':
            if (!log_level_parse(optarg, &level)) {
                fputs(usage, stderr);
                return 2;
            }
            log_set_level(level);
            break;
        case 'C':
            only_check = true;
            break;
        case 'R':
            file_reference(stdout);
            return 0;
        case 'V':
            puts("isthmusd " ISTHMUS_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    return only_check ? check(path) : run(path);
}
