#include "dataplane/flights.h"

#include "dataplane/base/base64.h"
#include "dataplane/base/num.h"
#include "dataplane/daemon.h"
#include "dataplane/flightlog.h"
#include "dataplane/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct question;

struct letter {
    struct mail mail;
    struct question *question;
    uint32_t worker;
    bool done, found;
    struct tcp_log log;
    struct tcp_record *records;
};

struct question {
    struct cmd_call *call;
    struct daemon *daemon;
    uint32_t worker, id; /* 0: by ->end, of any worker */
    struct ipport end;
    uint32_t n_records; /* that there is room for */
    uint32_t n_letters, n_out;
    struct letter letters[];
};

/* --- what is asked for ----------------------------------------------------------------------- */

/* "0-17" */
static bool read_id(struct slice text, struct question *q)
{
    const size_t dash = slice_find(text, '-');
    uint64_t worker, id;

    if (dash == text.len ||
        !num_u64(slice_head(text, dash), q->daemon->gateway.n_workers, &worker) ||
        !num_u64(slice_skip(text, dash + 1), UINT32_MAX, &id) || id == 0)
        return false;
    q->worker = (uint32_t)worker;
    q->id = (uint32_t)id;
    return true;
}

/* "192.0.2.1:443", "[2001:db8::1]:443" */
static bool read_end(struct slice text, struct ipport *ret)
{
    size_t colon = text.len;
    uint64_t port;

    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0 || !num_u64(slice_skip(text, colon), UINT16_MAX, &port))
        return false;
    text = slice_head(text, colon - 1);
    if (text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
        text = slice_head(slice_skip(text, 1), text.len - 2);
    ret->port = (uint16_t)port;
    return ipaddr_parse(text, &ret->addr);
}

static bool read_question(const char *text, struct question *q)
{
    return text != NULL && (read_id(slice_of(text), q) || read_end(slice_of(text), &q->end));
}

/* --- the answer ------------------------------------------------------------------------------ */

static void add_line(const char *line, void *ctx)
{
    json_array_append_new(ctx, json_string(line));
}

/* The file as base64; NULL: no memory. */
static json_t *pcapng_json(const struct letter *l)
{
    const size_t room = flightlog_pcapng_max(&l->log);
    void *file = malloc(room);
    struct pcapng w;
    json_t *text = NULL;
    char *digits;

    pcapng_init(&w, file, room);
    if (file != NULL && flightlog_pcapng(&l->log, l->records, &w)) {
        digits = malloc(base64_len(w.len));
        if (digits != NULL) {
            base64_encode(file, w.len, digits);
            text = json_stringn_nocheck(digits, base64_len(w.len));
        }
        free(digits);
    }
    free(file);
    return text;
}

static json_t *answer_of(const struct question *q, const struct letter *l)
{
    const time_t wall = (time_t)(l->log.wall_us / 1000000);
    char id[32] = "", when[32];
    struct tm tm;
    json_t *answer;

    if (l->log.id != 0)
        snprintf(id, sizeof(id), "%u-%u", l->worker, l->log.id);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&wall, &tm));
    answer =
        json_pack("{s:s, s:I, s:o, s:o, s:s, s:s, s:I, s:I}", "flight", id, "worker",
                  (json_int_t)l->worker, "local", survey_endpoint(&l->log.local), "remote",
                  survey_endpoint(&l->log.remote), "why", flightlog_why(l->log.why), "when", when,
                  "records", (json_int_t)l->log.n, "overwritten", (json_int_t)l->log.overwritten);
    if (cmd_arg_is_true(q->call, "pcapng")) {
        json_object_set_new(answer, "pcapng", pcapng_json(l));
    } else {
        json_t *lines = json_array();

        flightlog_text(&l->log, l->records, add_line, lines);
        json_object_set_new(answer, "lines", lines);
    }
    return answer;
}

/* --- the round ------------------------------------------------------------------------------- */

static bool copy_log(struct worker *w, struct mail *m)
{
    struct letter *l = container_of(m, struct letter, mail);
    const struct question *q = l->question;

    l->found = tcp_log_find(w->tcp, q->id, &q->end, &l->log, l->records, q->n_records);
    l->done = true;
    return true;
}

static void question_free(struct question *q)
{
    for (uint32_t i = 0; i < q->n_letters; i++)
        free(q->letters[i].records);
    free(q);
}

/* The newest of what the workers have found. */
static const struct letter *best(const struct question *q)
{
    const struct letter *found = NULL;

    for (uint32_t i = 0; i < q->n_letters; i++) {
        const struct letter *l = &q->letters[i];

        if (l->found && (found == NULL || l->log.at_us > found->log.at_us))
            found = l;
    }
    return found;
}

static void finish(struct question *q)
{
    const struct letter *found = best(q);
    bool all = true;

    for (uint32_t i = 0; i < q->n_letters; i++)
        all &= q->letters[i].done;
    if (found != NULL)
        cmd_reply(q->call, answer_of(q, found));
    else if (all)
        cmd_fail(q->call, "no recorder holds it", "isthmusctl flights shows what there is");
    else
        cmd_fail(q->call, "not every worker could be asked", "try again");
    question_free(q);
}

static void letter_back(struct mail *m)
{
    struct question *q = container_of(m, struct letter, mail)->question;

    if (--q->n_out == 0)
        finish(q);
}

/* Written to already, so that the worker meets no page fault. */
static bool make_letter(struct question *q, uint32_t worker)
{
    const size_t size = q->n_records * sizeof(struct tcp_record);
    struct letter *l = &q->letters[worker];

    *l = (struct letter){ .mail = { copy_log, letter_back }, .question = q, .worker = worker };
    l->records = malloc(size);
    if (l->records != NULL)
        memset(l->records, 0xff, size);
    return l->records != NULL;
}

static struct question *question_new(struct cmd_call *call)
{
    struct daemon *d = call->cmd->ctx;
    const uint32_t n = d->gateway.n_workers;
    struct question *q = calloc(1, sizeof(*q) + n * sizeof(q->letters[0]));

    if (q == NULL)
        return NULL;
    q->call = call;
    q->daemon = d;
    q->n_records = d->first->machine.tcp.recorder_records;
    for (; q->n_letters < n; q->n_letters++) {
        if (!make_letter(q, q->n_letters)) {
            question_free(q);
            return NULL;
        }
    }
    return q;
}

static void run_flight(struct cmd_call *call)
{
    struct question *q = question_new(call);

    if (q == NULL) {
        cmd_fail(call, "no memory for the answer", "");
        return;
    }
    if (!read_question(cmd_arg_string(call, "flight"), q)) {
        question_free(q);
        cmd_fail(call, "that is no flight",
                 "WORKER-NUMBER, as isthmusctl flights lists them, or "
                 "ADDRESS:PORT of one end");
        return;
    }
    q->n_out = 1; /* ours, until all are sent */
    for (uint32_t i = 0; i < q->n_letters; i++) {
        if (q->id == 0 || q->worker == i)
            q->n_out += daemon_post(q->daemon, i, &q->letters[i].mail);
        else
            q->letters[i].done = true; /* is not asked */
    }
    if (--q->n_out == 0)
        finish(q);
}

const struct cmd flights_cmds[] = {
    { "flight", "one of them; args.flight: WORKER-NUMBER or ADDRESS:PORT, args.pcapng", run_flight,
      NULL },
};
const unsigned flights_n_cmds = ARRAY_SIZE(flights_cmds);
