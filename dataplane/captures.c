#include "dataplane/captures.h"

#include "dataplane/base/base64.h"
#include "dataplane/daemon.h"
#include "dataplane/survey.h"
#include "dataplane/telemetry/pcapng.h"
#include "drivers/capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TICK_MS 5
#define CAPTURE_LEASE_MS 10000
#define READ_WAIT_MS 500
#define HOLD_BACK_US 5000 /* frames of another worker may be that much older */
#define BUFFER (2u << 20)
#define PIECE (512u << 10) /* of one answer */
#define SNAPLEN_DEFAULT CAPTURE_SNAPLEN_MAX

enum state { IDLE, STARTING, RUNNING, ENDING, DONE };

struct letter {
    struct mail mail;
    struct capture_tap *tap;
    bool attached, out; /* the worker has the tap; the letter is on its way */
};

struct captures {
    struct daemon *daemon;
    enum state state;
    uint64_t id; /* of the capture, or of the last one */
    uv_timer_t timer;
    struct capture_filter *filter;
    /* waiting for their answers; NULL: nobody is */
    struct cmd_call *starting, *reading, *discarding;
    uint64_t reading_until_ms, lease_until_ms, until_ms; /* of uv_now(); the last: 0, no end */
    uint64_t count, captured, dropped;
    uint32_t n_letters;
    struct letter letters[MACHINE_MAX_WORKERS];
    struct pcapng out;
    uint8_t buffer[BUFFER];
};

static uint64_t now_ms(const struct captures *c)
{
    return uv_now(&c->daemon->loop);
}

static uint64_t wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- from the taps into the buffer ----------------------------------------------------------- */

/* The tap whose next frame is the oldest; NULL: there is none, or none older than @before_us. */
static struct capture_tap *oldest(struct captures *c, uint64_t before_us, struct capture_frame *ret)
{
    struct capture_tap *found = NULL;
    struct capture_frame f;

    for (uint32_t i = 0; i < c->n_letters; i++) {
        if (!capture_front(c->letters[i].tap, &f) || f.us >= before_us)
            continue;
        if (found != NULL && f.us >= ret->us)
            continue;
        found = c->letters[i].tap;
        *ret = f;
    }
    return found;
}

static bool is_counted_out(const struct captures *c)
{
    return c->count != 0 && c->captured >= c->count;
}

/* False: the buffer is full. */
static bool take_frames(struct captures *c, uint64_t before_us)
{
    struct capture_frame f = { 0 };
    struct capture_tap *t;

    while (!is_counted_out(c) && (t = oldest(c, before_us, &f)) != NULL) {
        const struct pcapng_packet p = { .interface = f.port,
                                         .direction = f.out ? PCAPNG_OUT : PCAPNG_IN,
                                         .us = f.us,
                                         .cap_len = f.cap_len,
                                         .orig_len = f.orig_len,
                                         .bytes = f.bytes };

        if (!pcapng_packet(&c->out, &p, NULL, 0))
            return false;
        capture_pop(t);
        c->captured++;
    }
    return true;
}

/* What can be had now. */
static void take_some(struct captures *c)
{
    (void)take_frames(c, c->n_letters > 1 ? wall_us() - HOLD_BACK_US : UINT64_MAX);
}

static bool write_head(struct captures *c, uint32_t snaplen)
{
    const struct machine_conf *m = &c->daemon->first->machine;
    bool fits;

    pcapng_init(&c->out, c->buffer, sizeof(c->buffer));
    fits = pcapng_section(&c->out, "isthmusd");
    for (uint32_t i = 0; i < m->n_ports; i++)
        fits = fits && pcapng_interface(&c->out, m->ports[i].name, snaplen);
    return fits;
}

static uint64_t dropped(const struct captures *c)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < c->n_letters; i++)
        n += capture_dropped(c->letters[i].tap);
    return n;
}

/* --- letters --------------------------------------------------------------------------------- */

static bool attach(struct worker *w, struct mail *m)
{
    struct letter *l = container_of(m, struct letter, mail);

    port_capture(w->io, l->tap, &w->core.wall_us);
    l->attached = true;
    return true;
}

static bool detach(struct worker *w, struct mail *m)
{
    struct letter *l = container_of(m, struct letter, mail);

    port_capture(w->io, NULL, NULL);
    l->attached = false;
    return true;
}

static void letter_back(struct mail *m)
{
    container_of(m, struct letter, mail)->out = false;
}

static bool post(struct captures *c, uint32_t worker, bool (*fn)(struct worker *w, struct mail *m))
{
    struct letter *l = &c->letters[worker];

    l->mail = (struct mail){ fn, letter_back };
    l->out = daemon_post(c->daemon, worker, &l->mail);
    return l->out;
}

/* --- from state to state --------------------------------------------------------------------- */

static void forget(struct captures *c)
{
    for (uint32_t i = 0; i < c->n_letters; i++)
        capture_tap_free(c->letters[i].tap);
    capture_filter_free(c->filter);
    c->filter = NULL;
    c->n_letters = 0;
    c->state = IDLE;
    uv_timer_stop(&c->timer);
    if (c->discarding != NULL)
        cmd_reply(c->discarding, json_pack("{s:I}", "capture", (json_int_t)c->id));
    c->discarding = NULL;
}

static void end(struct captures *c)
{
    if (c->state == STARTING || c->state == RUNNING)
        c->state = ENDING;
}

/* All have it, or one could not be asked: then it ends before it has begun. */
static void see_start(struct captures *c)
{
    bool all = true;

    for (uint32_t i = 0; i < c->n_letters; i++) {
        if (c->letters[i].out)
            return;
        all &= c->letters[i].attached;
    }
    if (c->starting != NULL && all)
        cmd_reply(c->starting, json_pack("{s:I}", "capture", (json_int_t)c->id));
    else if (c->starting != NULL)
        cmd_fail(c->starting, "not every worker could be asked", "try again");
    c->starting = NULL;
    c->state = all ? RUNNING : ENDING;
    if (!all)
        c->lease_until_ms = 0; /* nobody will read */
}

/* Every worker gives its tap back; one whose mailbox is full is asked again. True: all have. */
static bool see_end(struct captures *c)
{
    bool all = true;

    for (uint32_t i = 0; i < c->n_letters; i++) {
        struct letter *l = &c->letters[i];

        if (l->attached && !l->out)
            post(c, i, detach);
        all &= !l->attached && !l->out;
    }
    return all;
}

/* Nobody writes any more: what is left, then the sums. */
static void finish(struct captures *c)
{
    if (!take_frames(c, UINT64_MAX))
        return;
    c->dropped = dropped(c);
    /* Of all ports together, as it is counted: told of the first. */
    if (pcapng_statistics(&c->out, 0, wall_us(), c->captured + c->dropped, c->dropped))
        c->state = DONE;
}

/* --- reading --------------------------------------------------------------------------------- */

static json_t *piece(struct captures *c)
{
    const size_t n = MIN(c->out.len, (size_t)PIECE);
    char *digits = malloc(base64_len(n) + 1);
    json_t *data;

    if (digits == NULL)
        return NULL;
    base64_encode(c->buffer, n, digits);
    data = json_stringn_nocheck(digits, base64_len(n));
    free(digits);
    if (data != NULL) {
        memmove(c->buffer, c->buffer + n, c->out.len - n);
        c->out.len -= n;
    }
    return data;
}

static void answer_reader(struct captures *c)
{
    struct cmd_call *call = c->reading;
    json_t *data = piece(c);
    const bool done = c->state == DONE && c->out.len == 0;

    c->reading = NULL;
    c->lease_until_ms = now_ms(c) + CAPTURE_LEASE_MS;
    cmd_reply(call, data != NULL
                        ? json_pack("{s:o, s:b, s:I, s:I}", "data", data, "done", done, "captured",
                                    (json_int_t)c->captured, "dropped",
                                    (json_int_t)(c->state == DONE ? c->dropped : dropped(c)))
                        : NULL);
    if (done)
        forget(c);
}

static void see_reader(struct captures *c)
{
    if (c->reading != NULL &&
        (c->out.len > 0 || c->state == DONE || now_ms(c) >= c->reading_until_ms))
        answer_reader(c);
    else if (c->reading == NULL && now_ms(c) >= c->lease_until_ms)
        end(c);
}

static bool is_over(const struct captures *c)
{
    return is_counted_out(c) || (c->until_ms != 0 && now_ms(c) >= c->until_ms) ||
           c->daemon->state != DAEMON_RUNNING;
}

static void on_timer(uv_timer_t *t)
{
    struct captures *c = t->data;
    const bool forsaken = c->reading == NULL && now_ms(c) >= c->lease_until_ms;

    if (c->state == STARTING)
        see_start(c);
    if (c->state == RUNNING) {
        take_some(c);
        if (is_over(c))
            end(c);
    }
    if (c->state == ENDING && see_end(c)) {
        if (forsaken)
            c->state = DONE;
        else
            finish(c);
    }
    if (c->state == DONE && forsaken) {
        forget(c);
        return;
    }
    if (c->state != IDLE && c->state != STARTING)
        see_reader(c);
}

/* --- the commands ---------------------------------------------------------------------------- */

/* A number from 0 to @max, 0 where it is absent. False: it is none. */
static bool read_number(const struct cmd_call *call, const char *name, uint64_t max, uint64_t *ret)
{
    const json_t *v = json_object_get(call->args, name);

    *ret = 0;
    if (v == NULL)
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static bool read_port(const struct captures *c, const char *name, int *ret)
{
    const struct machine_conf *m = &c->daemon->first->machine;

    *ret = -1;
    if (name == NULL || strcmp(name, "any") == 0)
        return true;
    for (uint32_t i = 0; i < m->n_ports; i++) {
        if (strcmp(m->ports[i].name, name) == 0) {
            *ret = (int)i;
            return true;
        }
    }
    return false;
}

static bool read_direction(const char *text, struct capture_conf *conf)
{
    conf->in = text == NULL || strcmp(text, "both") == 0 || strcmp(text, "in") == 0;
    conf->out = text == NULL || strcmp(text, "both") == 0 || strcmp(text, "out") == 0;
    return conf->in || conf->out;
}

static struct capture_filter *read_program(const char *text, const char **why)
{
    uint8_t bytes[CAPTURE_INSNS_MAX * CAPTURE_INSN_SIZE];
    size_t len = 0;

    *why = "the filter is too long, or no program";
    if (text != NULL && !base64_decode(slice_of(text), bytes, sizeof(bytes), &len))
        return NULL;
    return capture_filter_new(bytes, len, why);
}

/* What it asks for; NULL, or why it is refused. */
static const char *read_question(struct captures *c, const struct cmd_call *call,
                                 struct capture_conf *conf, uint64_t *seconds)
{
    uint64_t snaplen;
    const char *why;

    if (!read_port(c, cmd_arg_string(call, "port"), &conf->port))
        return "there is no such port";
    if (!read_direction(cmd_arg_string(call, "direction"), conf))
        return "the direction is in, out or both";
    if (!read_number(call, "snaplen", UINT32_MAX, &snaplen) ||
        !read_number(call, "count", UINT32_MAX, &c->count) ||
        !read_number(call, "seconds", UINT32_MAX, seconds))
        return "count, seconds and snaplen are numbers";
    conf->snaplen = (uint32_t)MIN(snaplen != 0 ? snaplen : SNAPLEN_DEFAULT, SNAPLEN_DEFAULT);
    conf->filter = c->filter = read_program(cmd_arg_string(call, "program"), &why);
    return conf->filter != NULL ? NULL : why;
}

static bool make_taps(struct captures *c, const struct capture_conf *conf)
{
    for (; c->n_letters < c->daemon->gateway.n_workers; c->n_letters++) {
        struct letter *l = &c->letters[c->n_letters];

        *l = (struct letter){ .tap = capture_tap_new(conf) };
        if (l->tap == NULL)
            return false;
    }
    return write_head(c, conf->snaplen);
}

static void run_capture(struct cmd_call *call)
{
    struct captures *c = call->cmd->ctx;
    struct capture_conf conf = { 0 };
    const char *why = NULL;
    uint64_t seconds = 0;

    if (c->state != IDLE) {
        cmd_fail(call, "another capture runs", "one at a time; try again when it is over");
        return;
    }
    if (c->daemon->state != DAEMON_RUNNING)
        why = "the daemon is draining";
    if (why == NULL)
        why = read_question(c, call, &conf, &seconds);
    if (why == NULL && !make_taps(c, &conf))
        why = "no memory";
    if (why != NULL) {
        forget(c);
        cmd_fail(call, why, "see isthmusctl help; ports: isthmusctl status");
        return;
    }
    c->id++;
    c->captured = c->dropped = 0;
    c->until_ms = seconds != 0 ? now_ms(c) + seconds * 1000 : 0;
    c->lease_until_ms = now_ms(c) + CAPTURE_LEASE_MS;
    c->starting = call;
    c->state = STARTING;
    for (uint32_t i = 0; i < c->n_letters; i++)
        post(c, i, attach);
    uv_timer_start(&c->timer, on_timer, TICK_MS, TICK_MS);
}

/* Is it about the capture that runs? Else the call has its answer. */
static bool is_known(struct captures *c, struct cmd_call *call)
{
    uint64_t id;

    if (c->state > STARTING && read_number(call, "capture", INT64_MAX, &id) && id == c->id)
        return true;
    cmd_fail(call, "there is no such capture", "it is over, or nobody has read it in time");
    return false;
}

static void run_read(struct cmd_call *call)
{
    struct captures *c = call->cmd->ctx;

    if (!is_known(c, call))
        return;
    if (c->reading != NULL) {
        cmd_fail(call, "somebody reads it already", "");
        return;
    }
    c->reading = call;
    c->reading_until_ms = now_ms(c) + READ_WAIT_MS;
    if (c->state == RUNNING)
        take_some(c);
    if (c->out.len > 0)
        answer_reader(c);
}

static void run_stop(struct cmd_call *call)
{
    struct captures *c = call->cmd->ctx;

    if (!is_known(c, call))
        return;
    end(c);
    if (cmd_arg_is_true(call, "discard") && c->discarding == NULL) {
        c->lease_until_ms = 0; /* nobody will read */
        c->discarding = call;  /* has its answer when another may begin */
        return;
    }
    cmd_reply(call, json_pack("{s:I}", "capture", (json_int_t)c->id));
}

const struct cmd captures_cmds[] = {
    { "capture", "frames of a port; args.port, .program, .direction, .snaplen, .count, .seconds",
      run_capture, NULL },
    { "capture-read", "what a capture has; args.capture", run_read, NULL },
    { "capture-stop", "ends one; args.capture, args.discard: what is not read yet", run_stop,
      NULL },
};
const unsigned captures_n_cmds = ARRAY_SIZE(captures_cmds);

/* --- life ------------------------------------------------------------------------------------ */

struct captures *captures_new(struct daemon *d)
{
    struct captures *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->daemon = d;
    uv_timer_init(&d->loop, &c->timer);
    c->timer.data = c;
    return c;
}

bool captures_are_read(const struct captures *c)
{
    return c->state != IDLE && (c->reading != NULL || now_ms(c) < c->lease_until_ms);
}

void captures_close(struct captures *c)
{
    if (c->starting != NULL)
        cmd_fail(c->starting, "the daemon stops", "");
    if (c->reading != NULL)
        cmd_fail(c->reading, "the daemon stops", "");
    if (c->discarding != NULL)
        cmd_fail(c->discarding, "the daemon stops", "");
    c->starting = c->reading = c->discarding = NULL;
    uv_close((uv_handle_t *)&c->timer, NULL);
}

void captures_free(struct captures *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->n_letters; i++)
        capture_tap_free(c->letters[i].tap);
    capture_filter_free(c->filter);
    free(c);
}
