#include "dataplane/base/log.h"
#include "tests/agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static volatile bool stop;

static void on_signal(int sig)
{
    stop = true;
}

static void handle_signals(void)
{
    struct sigaction end = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };

    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

#define COUNTER_LINE(name, text) printf("%-14s %8lu  %s\n", #name, (unsigned long)c->name, text);

static void print_counters(const struct agent_counters *c)
{
    AGENT_COUNTERS(COUNTER_LINE)
}

int main(int argc, char **argv)
{
    struct agent *a = calloc(1, sizeof(*a));
    int rc = EXIT_FAILURE;

    if (a == NULL)
        return EXIT_FAILURE;
    switch (settings_read(&a->settings, argc, argv)) {
    case SETTINGS_RUN:
        break;
    case SETTINGS_HELP:
        free(a);
        return EXIT_SUCCESS;
    case SETTINGS_WRONG:
        free(a);
        return 2;
    }
    log_set_level(LOG_LVL_WARNING);
    handle_signals();
    if (agent_start(a) == 0) {
        agent_run(a, &stop);
        rc = EXIT_SUCCESS;
    }
    agent_stop(a);
    print_counters(&a->counters);
    free(a);
    return rc;
}
