/*
 * Any bytes as what a client of the control socket sends, in pieces of any size. Each line has one
 * answer, which is one line of JSON with "ok"; a call that is answered late, or never heard, is
 * freed all the same.
 */
#include "config/control/dialog.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static bool over, sending;
static struct cmd_call *later;

static void check_answer(struct dialog *d, char *line, size_t len)
{
    json_t *answer = json_loadb(line, len, 0, NULL);

    if (sending || over || len == 0 || memchr(line, '\n', len) != line + len - 1 ||
        !json_is_boolean(json_object_get(answer, "ok")))
        abort();
    json_decref(answer);
    free(line);
    sending = true;
}

static void ended(struct dialog *d)
{
    if (over)
        abort();
    over = true;
}

static const struct dialog_ops ops = { check_answer, ended };

static void run_echo(struct cmd_call *call)
{
    cmd_reply(call, json_incref((json_t *)(uintptr_t)call->args));
}

static void run_fail(struct cmd_call *call)
{
    const char *why = cmd_arg_string(call, "why");

    cmd_fail(call, why != NULL ? why : "no", "");
}

static void run_later(struct cmd_call *call)
{
    if (later != NULL)
        abort(); /* one question at a time */
    later = call;
}

static const struct cmd_set cmds = { 3,
                                     { { "echo", "", run_echo, NULL },
                                       { "fail", "", run_fail, NULL },
                                       { "later", "", run_later, NULL } } };

static void answer_later(void)
{
    struct cmd_call *call = later;

    later = NULL;
    if (call != NULL)
        cmd_reply(call, json_true());
}

/* Until the dialog wants bytes again. */
static void settle(struct dialog *d, struct fuzz *f)
{
    while (!over && d->state != DIALOG_IDLE) {
        if (d->state == DIALOG_ASKED && fuzz_u8(f) % 4 == 3) {
            dialog_timed_out(d);
            answer_later();
        } else if (d->state == DIALOG_ASKED) {
            answer_later();
        }
        if (!sending)
            abort();
        sending = false;
        dialog_sent(d);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dialog *d = malloc(sizeof(*d));
    struct dialog_counters n = { 0 };
    struct fuzz f = { bytes, len };

    over = sending = false;
    later = NULL;
    dialog_init(d, &cmds, &ops, &n);
    while (!over && f.len > 0) {
        size_t room, want = fuzz_u16(&f);
        char *to = dialog_room(d, &room);

        dialog_received(d, fuzz_bytes(&f, to, (uint32_t)(want < room ? want : room)));
        if (f.len > 0 || len % 2 == 0) /* else it is left in the middle of a question */
            settle(d, &f);
    }
    if (!over && d->state == DIALOG_IDLE) {
        dialog_eof(d);
        settle(d, &f);
    }
    dialog_fini(d);
    answer_later();
    free(d);
    return 0;
}
