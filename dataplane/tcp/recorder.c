#include "dataplane/tcp/recorder.h"

#include "dataplane/base/own.h"
#include "dataplane/tcp/tcp_conn.h"

#include <errno.h>
#include <stdlib.h>

#define EPISODE_RATE 50, 50 /* a second, at once */
#define QUIET_US TCP_SECOND
#define QUIET_IN_REPAIR_US (60 * TCP_SECOND)
#define MOVE_EVERY_US (TCP_SECOND / 4)
#define TRIES 4 /* recorders that are looked at to find one */

struct episode {
    struct tcp_log log;
    struct tcp_record *v;
};

struct tcp_recorders {
    uint32_t n, n_records, n_episodes;
    struct list by_use;
    struct tcp_recorder *v;
    struct episode *episodes; /* a ring of ->n_episodes */
    uint32_t last_id;         /* episodes so far: the next goes to last_id % n_episodes */
    struct limit keeping;
    struct tcp_record *memory;
};

/* ---- memory */

struct tcp_recorders *tcp_recorders_new(const struct tcp *tcp, int *err)
{
    const struct tcp_conf *conf = &tcp->conf;
    const size_t n = conf->recorders, episodes = conf->recorder_episodes;
    const size_t records = (n + episodes) * conf->recorder_records;
    struct tcp_recorders *r;

    *err = 0;
    if (n == 0)
        return NULL;
    *err = -ENOMEM;
    r = own_alloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->v = own_alloc(n, sizeof(r->v[0]));
    r->episodes = own_alloc(episodes, sizeof(r->episodes[0]));
    r->memory = own_alloc(records, sizeof(r->memory[0])); /* touched: no page is new later */
    if (r->v == NULL || r->episodes == NULL || r->memory == NULL) {
        tcp_recorders_free(r);
        return NULL;
    }
    r->n = (uint32_t)n;
    r->n_records = conf->recorder_records;
    r->n_episodes = (uint32_t)episodes;
    list_init(&r->by_use);
    for (size_t i = 0; i < n; i++) {
        r->v[i].v = r->v[i].next = r->memory + i * r->n_records;
        r->v[i].end = r->v[i].v + r->n_records;
        list_push_tail(&r->by_use, &r->v[i].link);
    }
    for (size_t i = 0; i < episodes; i++)
        r->episodes[i].v = r->memory + (n + i) * r->n_records;
    limit_init(&r->keeping, EPISODE_RATE, tcp->core->now_us);
    *err = 0;
    return r;
}

void tcp_recorders_free(struct tcp_recorders *r)
{
    if (r == NULL)
        return;
    free(r->memory);
    free(r->episodes);
    free(r->v);
    free(r);
}

/* ---- whose recorder it is */

static struct tcp_recorder *recorder_of(const struct tcp_conn *c)
{
    return &c->tcp->recorders->v[c->rec - 1];
}

static bool is_free(const struct tcp_recorder *rec)
{
    return rec->conn == NULL && rec->parked == NULL;
}

static bool is_in_repair(const struct tcp_recorder *rec)
{
    const struct tcp_flight *fl = rec->conn != NULL ? rec->conn->fl : NULL;

    return fl != NULL && fl->state >= CA_RECOVERY;
}

static void used(struct tcp_recorders *r, struct tcp_recorder *rec, uint64_t now_us)
{
    rec->moved_us = now_us;
    list_remove(&rec->link);
    list_push_tail(&r->by_use, &rec->link);
}

static const struct tcp_record *last_of(const struct tcp_recorder *rec)
{
    return (rec->next == rec->v ? rec->end : rec->next) - 1;
}

/* The one that is missed least; NULL: all are in use. */
static struct tcp_recorder *find(struct tcp_recorders *r, uint64_t now_us)
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct tcp_recorder *rec = container_of(r->by_use.next, struct tcp_recorder, link);
        const uint64_t quiet_us = now_us - MAX(rec->moved_us, tcp_record_us(last_of(rec)));

        if (is_free(rec))
            return rec;
        if (quiet_us < QUIET_US)
            return NULL; /* and so are all behind it */
        if (quiet_us >= QUIET_IN_REPAIR_US || !is_in_repair(rec))
            return rec;
        used(r, rec, now_us);
    }
    return NULL;
}

void tcp_recorder_take(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;
    struct tcp_recorders *r = tcp->recorders;
    struct tcp_recorder *rec = find(r, tcp->core->now_us);

    if (rec == NULL) {
        tcp->counters.unrecorded++;
        return;
    }
    tcp->counters.recorders_taken += !is_free(rec);
    if (rec->conn != NULL)
        rec->conn->rec = 0;
    if (rec->parked != NULL)
        rec->parked->rec = 0;
    rec->conn = c;
    rec->parked = NULL;
    rec->next = rec->v;
    rec->rounds = 0;
    used(r, rec, tcp->core->now_us);
    c->rec = (uint16_t)(rec - r->v + 1);
}

void tcp_recorder_leave(struct tcp_conn *c)
{
    struct tcp_recorder *rec;

    if (c->rec == 0)
        return;
    rec = recorder_of(c);
    rec->conn = NULL;
    list_remove(&rec->link);
    list_push_head(&c->tcp->recorders->by_use, &rec->link);
    c->rec = 0;
}

void tcp_recorder_follow(struct tcp *tcp, uint16_t rec, struct tcp_conn *c, struct tcp_parked *p)
{
    if (rec == 0)
        return;
    tcp->recorders->v[rec - 1].conn = c;
    tcp->recorders->v[rec - 1].parked = p;
}

/* ---- records */

static inline struct tcp_record *next(struct tcp_conn *c, uint64_t kind, uint64_t flags)
{
    struct tcp_recorder *rec = recorder_of(c);
    const uint64_t now_us = c->tcp->core->now_us;
    struct tcp_record *to = rec->next++;

    if (unlikely(rec->next == rec->end)) {
        rec->next = rec->v;
        rec->rounds++;
    }
    if (unlikely(now_us - rec->moved_us >= MOVE_EVERY_US))
        used(c->tcp->recorders, rec, now_us);
    to->head = now_us | kind << TCP_RECORD_CLOCK | flags << 56;
    return to;
}

static void write_block(struct tcp_conn *c, enum tcp_record_kind kind, const struct tcp_sack *b,
                        uint32_t first)
{
    struct tcp_record *to = next(c, kind, 0);

    to->seq = b->start - first;
    to->ack = b->end - first;
    to->wnd = 0;
    to->len = to->mark = 0;
}

static void write_blocks(struct tcp_conn *c, enum tcp_record_kind kind, const struct tcp_opts *o,
                         uint32_t first)
{
    for (unsigned i = 0; i < o->n_sacks; i++)
        write_block(c, kind, &o->sacks[i], first);
}

void tcp_record_in_slow(struct tcp_conn *c, const struct tcp_seg *s)
{
    struct tcp_record *to = next(c, TCP_RECORD_IN, s->flags);

    to->seq = s->seq - c->irs;
    to->ack = s->ack - c->iss;
    to->wnd = (uint32_t)s->wnd << c->snd_shift;
    to->len = (uint16_t)s->len; /* of an IP packet */
    to->mark = s->ce;
    if (unlikely(s->opts.n_sacks > 0))
        write_blocks(c, TCP_RECORD_BLOCK_IN, &s->opts, c->iss);
}

void tcp_record_out_slow(struct tcp_conn *c, const struct tcp_hdr *h, uint32_t len, bool again)
{
    struct tcp_record *to = next(c, again ? TCP_RECORD_AGAIN : TCP_RECORD_OUT, h->flags);

    to->seq = h->seq - c->iss;
    to->ack = h->ack - c->irs;
    to->wnd = (uint32_t)h->wnd << c->rcv_shift;
    to->len = (uint16_t)len;
    to->mark = 0;
    if (unlikely(h->opts.n_sacks > 0))
        write_blocks(c, TCP_RECORD_BLOCK_OUT, &h->opts, c->irs);
}

void tcp_record_slow(struct tcp_conn *c, enum tcp_record_kind kind, const struct tcp_record *what)
{
    struct tcp_record *to = next(c, kind, 0);
    const uint64_t head = to->head;

    *to = *what;
    to->head = head;
}

/* Many small ones are one. */
void tcp_record_bytes_slow(struct tcp_conn *c, enum tcp_record_kind kind, uint64_t n)
{
    const struct tcp_recorder *rec = recorder_of(c);
    struct tcp_record *last = (struct tcp_record *)(uintptr_t)last_of(rec), *to;

    if (tcp_record_kind(last) == kind && last->seq <= TCP_QUEUE_MAX &&
        (rec->next != rec->v || rec->rounds > 0)) {
        last->seq += (uint32_t)MIN(n, TCP_QUEUE_MAX);
        return;
    }
    to = next(c, kind, 0);
    to->seq = (uint32_t)MIN(n, TCP_QUEUE_MAX);
    to->ack = to->wnd = 0;
    to->len = to->mark = 0;
}

/* ---- what is kept */

static struct tcp_log describe(const struct tcp_conn *c, const struct tcp_recorder *rec)
{
    const struct core *core = c->tcp->core;
    const uint32_t max = c->tcp->recorders->n_records;
    const uint64_t n = rec->rounds * max + (uint64_t)(rec->next - rec->v);

    return (struct tcp_log){
        .local = tcp_local(c),
        .remote = tcp_remote(c),
        .at_us = core->now_us,
        .wall_us = core->wall_us,
        .mss = c->mss,
        .snd_shift = c->snd_shift,
        .rcv_shift = c->rcv_shift,
        .ts_on = c->ts_on,
        .sack_on = c->sack_on,
        .active = c->active,
        .n = (uint32_t)MIN(n, max),
        .overwritten = n - MIN(n, max),
    };
}

/* In order: the older half lies behind the place where the next record goes. */
static struct tcp_log_pieces pieces_of(const struct tcp_recorder *rec)
{
    const uint32_t newer = (uint32_t)(rec->next - rec->v);

    if (rec->rounds == 0)
        return (struct tcp_log_pieces){ { rec->v, NULL }, { newer, 0 } };
    return (struct tcp_log_pieces){ { rec->next, rec->v },
                                    { (uint32_t)(rec->end - rec->next), newer } };
}

/* The last @max of them. Returns how many. */
static uint32_t copy_records(const struct tcp_log_pieces *p, struct tcp_record *to, uint32_t max)
{
    const uint32_t all = p->n[0] + p->n[1];
    uint32_t skip = all > max ? all - max : 0, n = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(p->v); i++) {
        const uint32_t over = MIN(skip, p->n[i]), part = p->n[i] - over;

        if (part > 0)
            memcpy(to + n, p->v[i] + over, part * sizeof(*to));
        skip -= over;
        n += part;
    }
    return n;
}

void tcp_recorder_keep(struct tcp_conn *c, enum tcp_log_why why)
{
    struct tcp *tcp = c->tcp;
    struct tcp_recorders *r = tcp->recorders;
    const struct tcp_recorder *rec;
    struct tcp_log_pieces pieces;
    struct episode *e;

    if (c->rec == 0)
        return;
    if (!limit_pass(&r->keeping, tcp->core->now_us)) {
        tcp->counters.episodes_skipped++;
        return;
    }
    rec = recorder_of(c);
    e = &r->episodes[r->last_id % r->n_episodes];
    tcp->counters.episodes_dropped += e->log.id != 0;
    tcp->counters.episodes_kept++;
    e->log = describe(c, rec);
    e->log.id = ++r->last_id;
    e->log.why = why;
    pieces = pieces_of(rec);
    (void)copy_records(&pieces, e->v, r->n_records);
}

/* ---- telling */

/* Position @at: an episode, the oldest first, or a recorder. False: nothing is there. */
static bool log_at(const struct tcp_recorders *r, uint32_t at, struct tcp_log *ret,
                   struct tcp_log_pieces *pieces)
{
    const struct tcp_recorder *rec;

    if (at < r->n_episodes) {
        const struct episode *e = &r->episodes[(r->last_id + at) % r->n_episodes];

        *ret = e->log;
        *pieces = (struct tcp_log_pieces){ { e->v, NULL }, { e->log.n, 0 } };
        return e->log.id != 0;
    }
    rec = &r->v[at - r->n_episodes];
    if (is_free(rec))
        return false;
    *ret = describe(rec->conn != NULL ? rec->conn : tcp_parked_look(rec->parked), rec);
    *pieces = pieces_of(rec);
    return true;
}

bool tcp_logs_each(const struct tcp *tcp, uint32_t *at, uint32_t n, tcp_log_fn fn, void *ctx)
{
    const struct tcp_recorders *r = tcp->recorders;
    struct tcp_log_pieces pieces;
    struct tcp_log log;

    for (; r != NULL && *at < r->n_episodes + r->n && n > 0; ++*at) {
        if (!log_at(r, *at, &log, &pieces))
            continue;
        fn(&log, &pieces, ctx);
        n--;
    }
    return r != NULL && *at < r->n_episodes + r->n;
}

static uint64_t newest_us(const struct tcp_log_pieces *p)
{
    const unsigned i = p->n[1] > 0;

    return p->n[i] > 0 ? tcp_record_us(&p->v[i][p->n[i] - 1]) : 0;
}

bool tcp_log_find(const struct tcp *tcp, uint32_t id, const struct ipport *end, struct tcp_log *ret,
                  struct tcp_record *records, uint32_t max)
{
    const struct tcp_recorders *r = tcp->recorders;
    struct tcp_log_pieces pieces, found = { { NULL } };
    struct tcp_log log;
    bool any = false;

    for (uint32_t at = 0; r != NULL && at < r->n_episodes + r->n; at++) {
        if (!log_at(r, at, &log, &pieces))
            continue;
        if (id != 0 ? log.id != id : !ipport_eq(&log.remote, end) && !ipport_eq(&log.local, end))
            continue;
        if (any && newest_us(&pieces) < newest_us(&found))
            continue;
        any = true;
        *ret = log;
        found = pieces;
    }
    if (any)
        ret->n = copy_records(&found, records, max);
    return any;
}
