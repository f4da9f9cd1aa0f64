#include "config/control/dialog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* A question that a command is working on. Outlives the dialog if it must. */
struct call {
    struct cmd_call base;
    struct dialog *dialog; /* NULL: nobody waits for the answer any more */
    json_t *request;
};

static void read_lines(struct dialog *d);

static void end(struct dialog *d)
{
    d->state = DIALOG_ENDED;
    d->ops->on_end(d);
}

/* Takes @answer. What cannot be written as JSON (no memory, bad UTF-8) is told in fixed words. */
static void send_json(struct dialog *d, json_t *answer)
{
    char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    size_t len;
    char *line;

    json_decref(answer);
    if (text == NULL)
        text = strdup("{\"ok\":false,\"error\":\"the answer could not be put into words\","
                      "\"hint\":\"a name in it may not be UTF-8\"}");
    len = text != NULL ? strlen(text) : 0;
    line = text != NULL ? realloc(text, len + 2) : NULL;
    if (line == NULL) {
        free(text);
        end(d);
        return;
    }
    memcpy(line + len, "\n", 2);
    d->state = DIALOG_ANSWERING;
    d->ops->send(d, line, len + 1);
}

/* Errors quote what was sent, maybe cut in the middle of a character. */
static json_t *words(const char *text)
{
    json_t *value = json_string(text);
    char *copy;

    if (value != NULL)
        return value;
    copy = strdup(text);
    for (char *at = copy; at != NULL && *at != '\0'; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    value = json_string(copy);
    free(copy);
    return value;
}

static void send_error(struct dialog *d, const char *error, const char *hint)
{
    d->n->failed++;
    send_json(d, json_pack("{s:b, s:o, s:o}", "ok", 0, "error", words(error), "hint", words(hint)));
}

static void answered(struct cmd_call *base, json_t *result, const char *error, const char *hint)
{
    struct call *call = container_of(base, struct call, base);
    struct dialog *d = call->dialog;

    if (d == NULL) {
        json_decref(result);
    } else {
        d->call = NULL;
        if (result != NULL)
            send_json(d, json_pack("{s:b, s:o}", "ok", 1, "result", result));
        else
            send_error(d, error, hint);
    }
    json_decref(call->request);
    free(call);
}

static void run_help(struct dialog *d)
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < d->cmds->n; i++)
        json_array_append_new(rows, json_pack("{s:s, s:s}", "command", d->cmds->rows[i].name,
                                              "help", d->cmds->rows[i].help));
    send_json(d, json_pack("{s:b, s:o}", "ok", 1, "result", rows));
}

/* Takes @request. */
static void run(struct dialog *d, json_t *request, const struct cmd *cmd, json_t *args)
{
    struct call *call = calloc(1, sizeof(*call));

    if (call == NULL) {
        json_decref(request);
        send_error(d, "out of memory", "");
        return;
    }
    *call = (struct call){ { cmd, args, answered }, d, request };
    d->call = call;
    d->state = DIALOG_ASKED;
    cmd->run(&call->base); /* last: @call may be gone, and @d with it */
}

static void unknown(struct dialog *d, const char *name)
{
    char text[128];

    snprintf(text, sizeof(text), "there is no command \"%.60s\"", name);
    send_error(d, text, "ask for \"help\"");
}

/* Takes @request. */
static void dispatch(struct dialog *d, json_t *request)
{
    json_t *args = json_object_get(request, "args");
    const char *name = json_string_value(json_object_get(request, "cmd"));
    size_t known = (size_t)(name != NULL) + (args != NULL);
    const struct cmd *cmd;

    if (name == NULL || json_object_size(request) != known ||
        (args != NULL && !json_is_object(args))) {
        json_decref(request);
        send_error(d, "not a request", "a line is {\"cmd\": \"NAME\", \"args\": {...}}");
        return;
    }
    if (args == NULL) {
        args = json_object();
        json_object_set_new(request, "args", args);
    }
    cmd = cmd_find(d->cmds, name);
    if (cmd != NULL) {
        run(d, request, cmd, args);
        return;
    }
    if (strcmp(name, "help") == 0)
        run_help(d);
    else
        unknown(d, name);
    json_decref(request);
}

static void read_line(struct dialog *d, const char *line, size_t len)
{
    json_error_t err;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
    char text[256];

    d->n->commands++;
    if (request != NULL) {
        dispatch(d, request);
        return;
    }
    snprintf(text, sizeof(text), "not JSON, at byte %d: %.160s", err.position, err.text);
    send_error(d, text, "a line is {\"cmd\": \"NAME\", \"args\": {...}}");
}

static void too_long(struct dialog *d)
{
    d->n->too_long++;
    d->broken = true;
    send_error(d, "the line is too long", "64 KiB are enough for every command");
}

/* Empty lines are passed over. The rest of a stream that has ended is no line. */
static void read_lines(struct dialog *d)
{
    while (d->state == DIALOG_IDLE) {
        char *line = d->bytes + d->from;
        char *newline = memchr(line, '\n', d->to - d->from);

        if (newline == NULL)
            break;
        d->from += (size_t)(newline - line) + 1;
        if (newline > line && !(newline == line + 1 && *line == '\r')) {
            read_line(d, line, (size_t)(newline - line));
            return; /* @d may be gone */
        }
    }
    if (d->state != DIALOG_IDLE)
        return;
    if (d->to - d->from == sizeof(d->bytes))
        too_long(d);
    else if (d->at_end)
        end(d);
}

void dialog_init(struct dialog *d, const struct cmd_set *cmds, const struct dialog_ops *ops,
                 struct dialog_counters *n)
{
    d->state = DIALOG_IDLE;
    d->at_end = d->broken = false;
    d->cmds = cmds;
    d->ops = ops;
    d->n = n;
    d->call = NULL;
    d->from = d->to = 0;
}

void dialog_fini(struct dialog *d)
{
    if (d->call != NULL)
        d->call->dialog = NULL;
    d->call = NULL;
    d->state = DIALOG_ENDED;
}

char *dialog_room(struct dialog *d, size_t *room)
{
    assert(d->state == DIALOG_IDLE);
    if (d->from > 0) {
        memmove(d->bytes, d->bytes + d->from, d->to - d->from);
        d->to -= d->from;
        d->from = 0;
    }
    *room = sizeof(d->bytes) - d->to;
    return d->bytes + d->to;
}

void dialog_received(struct dialog *d, size_t n)
{
    assert(n <= sizeof(d->bytes) - d->to);
    d->to += n;
    read_lines(d);
}

void dialog_eof(struct dialog *d)
{
    d->at_end = true;
    read_lines(d);
}

void dialog_sent(struct dialog *d)
{
    assert(d->state == DIALOG_ANSWERING);
    if (d->broken) {
        end(d);
        return;
    }
    d->state = DIALOG_IDLE;
    read_lines(d);
}

const char *dialog_command(const struct dialog *d)
{
    return d->call->base.cmd->name;
}

void dialog_timed_out(struct dialog *d)
{
    assert(d->state == DIALOG_ASKED);
    d->call->dialog = NULL;
    d->call = NULL;
    send_error(d, "the command takes too long", "try again; the log may say what holds it up");
}
