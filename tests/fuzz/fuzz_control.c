/*
 * Any bytes of a client of the control socket. The first byte chooses how many come at once; some
 * commands answer at once, some later or too late, some never. Each question has at most one
 * answer, and all memory comes home.
 */
#include "config/control/dialog.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static struct {
    struct cmd_set set;
    struct cmd_call *waiting[1024];
    unsigned n_waiting;
    unsigned n_sent;
    bool ended;
} w;

static void on_send(struct dialog *d, char *line, size_t len)
{
    json_t *answer = json_loadb(line, len, 0, NULL);

    if (line[len - 1] != '\n' || memchr(line, '\n', len - 1) != NULL || !json_is_object(answer))
        abort();
    json_decref(answer);
    free(line);
    w.n_sent++;
}

static void on_end(struct dialog *d)
{
    w.ended = true;
}

static void echo(struct cmd_call *call)
{
    cmd_reply(call, json_deep_copy(call->args));
}

static void later(struct cmd_call *call)
{
    if (w.n_waiting < 1024)
        w.waiting[w.n_waiting++] = call;
    else
        cmd_fail(call, "enough", "");
}

static void answer_all(void)
{
    while (w.n_waiting > 0)
        cmd_reply(w.waiting[--w.n_waiting], json_true());
}

/* Brings the dialog back to where it reads. */
static void settle(struct dialog *d, unsigned *turn)
{
    while (!w.ended && d->state != DIALOG_IDLE) {
        if (d->state == DIALOG_ANSWERING)
            dialog_sent(d);
        else if ((*turn)++ % 3 == 0)
            dialog_timed_out(d);
        else
            answer_all();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct dialog_ops ops = { on_send, on_end };
    struct dialog_counters n = { 0 };
    struct dialog *d = malloc(sizeof(*d));
    unsigned turn = 0;

    if (w.set.n == 0) {
        cmd_add(&w.set, &(struct cmd){ "echo", "", echo, NULL });
        cmd_add(&w.set, &(struct cmd){ "later", "", later, NULL });
    }
    w.n_sent = 0;
    w.ended = false;
    dialog_init(d, &w.set, &ops, &n);
    for (size_t at = 1; at < len && !w.ended;) {
        size_t room, part;
        char *to = dialog_room(d, &room);

        part = MIN(MIN(len - at, room), (size_t)1 + bytes[0] * 4u);
        memcpy(to, bytes + at, part);
        at += part;
        dialog_received(d, part);
        if (at < len)
            settle(d, &turn);
    }
    if (w.n_sent > n.commands + n.too_long)
        abort();
    dialog_fini(d);
    free(d);
    answer_all();
    return 0;
}
