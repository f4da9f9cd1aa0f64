#include "config/control/capture.h"

#include "config/control/filter.h"
#include "config/control/flight.h"
#include "dataplane/base/num.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct capture {
    const struct ask_conf *conf;
    int fd;
    FILE *to;
    json_int_t id;
    json_int_t captured, dropped;
    bool stopping; /* it was told to end */
    int status;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN; /* a reader that goes is told by fwrite() */
    sigaction(SIGPIPE, &action, NULL);
}

/* --- what is asked --------------------------------------------------------------------------- */

static bool copy_number(json_t *from, json_t *to, const char *name)
{
    const char *text = json_string_value(json_object_get(from, name));
    uint64_t n;

    if (text == NULL)
        return true;
    if (!num_u64(slice_of(text), UINT32_MAX, &n) || n == 0) {
        fprintf(stderr, "isthmusctl: capture: --%s %s: not a number\n", name, text);
        return false;
    }
    json_object_set_new(to, name, json_integer((json_int_t)n));
    return true;
}

/* The arguments of the daemon's command; NULL: it was said what is wrong. */
static json_t *question(json_t *args)
{
    const char *filter = json_string_value(json_object_get(args, "filter"));
    json_t *ask = json_object(), *direction = json_object_get(args, "direction");
    char why[512];
    char *program = filter_compile(filter, why, sizeof(why));

    json_object_set(ask, "port", json_object_get(args, "port"));
    if (direction != NULL)
        json_object_set(ask, "direction", direction);
    if (program == NULL)
        fprintf(stderr, "isthmusctl: capture: \"%s\": %s\n  the language: man 7 pcap-filter\n",
                filter, why);
    else
        json_object_set_new(ask, "program", json_string(program));
    if (program != NULL && copy_number(args, ask, "count") && copy_number(args, ask, "seconds") &&
        copy_number(args, ask, "snaplen")) {
        free(program);
        return ask;
    }
    free(program);
    json_decref(ask);
    return NULL;
}

/* --- the round ------------------------------------------------------------------------------- */

static bool write_piece(struct capture *c, const json_t *text)
{
    size_t len = 0;
    void *bytes = bytes_of(text, &len);
    const bool done = bytes != NULL && fwrite(bytes, 1, len, c->to) == len && fflush(c->to) == 0;

    free(bytes);
    return done;
}

/* @discard: nor is the rest wanted. */
static bool stop(struct capture *c, bool discard)
{
    json_t *result;

    if (c->stopping && !discard)
        return true;
    c->stopping = true;
    result = ask_json(c->fd, c->conf, "capture-stop",
                      json_pack("{s:I, s:b}", "capture", c->id, "discard", discard), &c->status);
    json_decref(result);
    return result != NULL;
}

/* Until the daemon says that this was all. */
static void read_all(struct capture *c)
{
    bool done = false;

    while (!done) {
        json_t *result;

        if (interrupted && !stop(c, false))
            return;
        result = ask_json(c->fd, c->conf, "capture-read", json_pack("{s:I}", "capture", c->id),
                          &c->status);
        if (result == NULL)
            return;
        done = json_is_true(json_object_get(result, "done"));
        c->captured = json_integer_value(json_object_get(result, "captured"));
        c->dropped = json_integer_value(json_object_get(result, "dropped"));
        if (!write_piece(c, json_object_get(result, "data"))) {
            if (errno != EPIPE)
                fprintf(stderr, "isthmusctl: capture: %s\n", strerror(errno));
            c->status = errno != EPIPE ? ASK_NOT_ASKED : 0;
            (void)stop(c, true);
            done = true;
        }
        json_decref(result);
    }
}

static int run(struct capture *c, json_t *ask, const char *port)
{
    json_t *result = ask_json(c->fd, c->conf, "capture", ask, &c->status);

    if (result == NULL)
        return c->status;
    c->id = json_integer_value(json_object_get(result, "capture"));
    json_decref(result);
    fprintf(stderr, "isthmusctl: capturing on %s, Ctrl-C ends it\n", port);
    read_all(c);
    fprintf(stderr, "%lld packets captured\n%lld packets dropped\n", (long long)c->captured,
            (long long)c->dropped);
    return c->status;
}

int capture_run(const struct ask_conf *conf, json_t *args)
{
    const char *path = json_string_value(json_object_get(args, "file"));
    struct capture c = { .conf = conf, .to = stdout };
    json_t *ask = question(args);

    if (ask == NULL)
        return ASK_NOT_ASKED;
    catch_signals();
    c.fd = ask_open(conf);
    if (c.fd < 0) {
        json_decref(ask);
        return ask_cannot(conf, -c.fd);
    }
    if (strcmp(path, "-") != 0)
        c.to = fopen(path, "wb");
    if (c.to == NULL) {
        fprintf(stderr, "isthmusctl: %s: %s\n", path, strerror(errno));
        json_decref(ask);
        close(c.fd);
        return ASK_NOT_ASKED;
    }
    c.status = run(&c, ask, json_string_value(json_object_get(args, "port")));
    if (c.to != stdout && fclose(c.to) != 0)
        c.status = ASK_NOT_ASKED;
    close(c.fd);
    return c.status;
}
