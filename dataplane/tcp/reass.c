#include "dataplane/tcp/tcp_conn.h"

#include <assert.h>

static uint32_t end_of(const struct pkt *p)
{
    return p->seq + p->len;
}

static struct tcp_holes *holes_of(struct tcp_conn *c)
{
    if (c->holes == NULL)
        c->holes = slab_alloc(&c->tcp->holes); /* there is one for every connection */
    assert(c->holes != NULL);
    return c->holes;
}

/* ---- what is told of it */

void tcp_reass_twice(struct tcp_conn *c, uint32_t start, uint32_t end)
{
    if (!c->sack_on || c->dsack.start != c->dsack.end) /* the first is told (RFC 2883, 4.3) */
        return;
    c->dsack = (struct tcp_sack){ start, end };
}

static void drop_block(struct tcp_holes *h, unsigned i)
{
    h->n_sacks--;
    memmove(&h->sacks[i], &h->sacks[i + 1], (h->n_sacks - i) * sizeof(h->sacks[0]));
}

/* [@start, @end) has arrived: the block that holds it comes first (RFC 2018, 4). */
static void note_block(struct tcp_holes *h, uint32_t start, uint32_t end)
{
    struct tcp_sack b = { start, end };

    for (unsigned i = 0; i < h->n_sacks;) {
        if (seq_lt(b.end, h->sacks[i].start) || seq_lt(h->sacks[i].end, b.start)) {
            i++;
            continue;
        }
        b.start = seq_lt(h->sacks[i].start, b.start) ? h->sacks[i].start : b.start;
        b.end = seq_max(h->sacks[i].end, b.end);
        drop_block(h, i);
    }
    if (h->n_sacks == TCP_SACKS_MAX)
        h->n_sacks--;
    memmove(&h->sacks[1], &h->sacks[0], h->n_sacks * sizeof(h->sacks[0]));
    h->sacks[0] = b;
    h->n_sacks++;
}

/* Blocks tell only of what lies in [@from, @to). */
static void cut_blocks(struct tcp_holes *h, uint32_t from, uint32_t to)
{
    for (unsigned i = 0; i < h->n_sacks;) {
        struct tcp_sack *b = &h->sacks[i];

        b->end = seq_gt(b->end, to) ? to : b->end;
        if (seq_le(b->start, from) || seq_ge(b->start, b->end))
            drop_block(h, i);
        else
            i++;
    }
}

void tcp_reass_sacks(struct tcp_conn *c, struct tcp_opts *to, uint32_t room)
{
    const struct tcp_holes *h = c->holes;
    const uint32_t most = to->has_ts ? TCP_SACKS_MAX - 1 : TCP_SACKS_MAX;
    const uint32_t max = room < 12 ? 0 : MIN((room - 4) / 8, most);

    to->n_sacks = 0;
    if (max > 0 && c->dsack.start != c->dsack.end) {
        to->sacks[to->n_sacks++] = c->dsack;
        c->dsack = (struct tcp_sack){ 0, 0 };
        c->tcp->counters.dsacks_out++;
    }
    for (unsigned i = 0; h != NULL && i < h->n_sacks && to->n_sacks < max; i++)
        to->sacks[to->n_sacks++] = h->sacks[i];
}

/* ---- what is kept: packets in order, in runs without a gap */

/*
 * Of a packet that waits here, ->by_time is not what flight.h says: in the first of a run ->next
 * leads to the run's last, in any other ->prev leads to the one before it. So whoever looks for a
 * place goes from run to run, and there are few of those: a hole more than runs.
 *
 *      head                                                last_run
 *       p --next--> p --next--> p --next--> p --next--> p --next--> p
 *       `------ run ------------'           run         `--- run ---'
 */
static struct pkt *run_last(const struct pkt *first)
{
    return container_of(first->by_time.next, struct pkt, by_time);
}

static void set_last(struct pkt *first, struct pkt *last)
{
    first->by_time.next = &last->by_time;
}

static void set_before(struct pkt *p, struct pkt *before)
{
    p->by_time.prev = &before->by_time;
}

static struct pkt *before(const struct pkt *p)
{
    return container_of(p->by_time.prev, struct pkt, by_time);
}

static uint32_t run_end(const struct pkt *first)
{
    return end_of(run_last(first));
}

/* The run before the last; NULL: there is none. */
static struct pkt *run_before_last(const struct tcp_holes *h)
{
    struct pkt *run = h->head;

    if (run == h->last_run)
        return NULL;
    while (run_last(run)->next != h->last_run)
        run = run_last(run)->next;
    return run;
}

/* The packet farthest ahead is the one that is needed last. */
static void shed(struct tcp_conn *c)
{
    struct tcp_holes *h = c->holes;
    struct pkt *first = h->last_run, *p = run_last(first), *run;

    cut_blocks(h, c->rcv_nxt, p->seq);
    if (p != first) {
        set_last(first, before(p));
        before(p)->next = NULL;
    } else {
        run = run_before_last(h);
        if (run == NULL)
            h->head = NULL;
        else
            run_last(run)->next = NULL;
        h->last_run = run;
        h->n_runs--;
    }
    pkt_free(p);
    h->n--;
    c->tcp->n_ooo--;
    c->tcp->counters.ooo_dropped++;
}

/* Where there is room for [@seq, ...): behind the run @prev (NULL: first of all), in front of @next
 * (NULL: last). If the first byte is there already it is in @prev. */
struct place {
    struct pkt *prev, *next;
};

static struct place find(const struct tcp_holes *h, uint32_t seq)
{
    struct place at = { NULL, h->head };

    if (h->last_run != NULL && seq_le(h->last_run->seq, seq))
        return (struct place){ h->last_run, NULL }; /* as a rule: it goes on */
    while (at.next != NULL && seq_le(at.next->seq, seq)) {
        at.prev = at.next;
        at.next = run_last(at.prev)->next;
    }
    return at;
}

/* Behind the run @prev, with which it is one. */
static void append(struct pkt *prev, struct pkt *p)
{
    set_before(p, run_last(prev));
    run_last(prev)->next = p;
    set_last(prev, p);
}

/* As a run of its own. */
static void insert(struct tcp_holes *h, const struct place *at, struct pkt *p)
{
    set_last(p, p);
    if (at->prev != NULL)
        run_last(at->prev)->next = p;
    else
        h->head = p;
    if (at->next == NULL)
        h->last_run = p;
    h->n_runs++;
}

/* @first and the run that follows it are one. */
static void join(struct tcp_holes *h, struct pkt *first, struct pkt *next)
{
    struct pkt *last = run_last(next);

    set_before(next, run_last(first));
    set_last(first, last);
    if (h->last_run == next)
        h->last_run = first;
    h->n_runs--;
}

/* @p fills the gap at @at, or a part of it. False: there are too many runs; @p is freed. */
static bool put(struct tcp_conn *c, const struct place *at, struct pkt *p)
{
    struct tcp_holes *h = c->holes;
    const bool goes_on = at->prev != NULL && run_end(at->prev) == p->seq;
    const bool closes = at->next != NULL && end_of(p) == at->next->seq;

    if (!goes_on && !closes && p->seq != c->rcv_nxt && h->n_runs >= TCP_RUNS_MAX) {
        c->tcp->counters.ooo_dropped++;
        pkt_free(p);
        return false;
    }
    p->next = at->next;
    if (goes_on)
        append(at->prev, p);
    else
        insert(h, at, p);
    if (closes)
        join(h, goes_on ? at->prev : p, at->next);
    h->n++;
    c->tcp->n_ooo++;
    return true;
}

/* The first @len bytes of @p as a packet of their own: a copy, unless that is all of it. */
static struct pkt *front_of(struct tcp_conn *c, struct pkt **p, uint32_t len)
{
    struct pkt *front;

    if ((*p)->len == len) {
        front = *p;
        *p = NULL;
        return front;
    }
    front = pkt_alloc(c->tcp->core->pool);
    if (front == NULL || pkt_tailroom(front) < len) {
        c->tcp->counters.no_pkt++;
        pkt_free(front);
        return NULL;
    }
    memcpy(pkt_put(front, len), (*p)->data, len);
    front->seq = (*p)->seq;
    return front;
}

static void skip(struct pkt *p, uint32_t n)
{
    pkt_pull(p, n);
    p->seq += n;
}

/*
 * What is already there stays (an attacker may not rewrite it); the parts of @p that are new are
 * filled in between. Each part but the last is copied, which is rare and bounded by the number of
 * runs. False: not all of it is kept.
 */
static bool fill_gaps(struct tcp_conn *c, struct pkt *p)
{
    bool kept = true;

    while (p->len > 0) {
        const struct place at = find(c->holes, p->seq);
        struct pkt *rest = p, *front;
        uint32_t gap;

        if (at.prev != NULL && seq_gt(run_end(at.prev), p->seq)) {
            const uint32_t twice = MIN(p->len, run_end(at.prev) - p->seq);

            tcp_reass_twice(c, p->seq, p->seq + twice);
            skip(p, twice);
            continue;
        }
        gap = at.next != NULL ? MIN(p->len, at.next->seq - p->seq) : p->len;
        front = front_of(c, &rest, gap);
        kept = front != NULL;
        if (!kept)
            break;
        if (!put(c, &at, front)) {
            pkt_free(rest);
            return false;
        }
        if (rest == NULL)
            return true;
        skip(rest, gap);
    }
    pkt_free(p);
    return kept;
}

static void give_back(struct tcp_conn *c)
{
    slab_free(&c->tcp->holes, c->holes);
    c->holes = NULL;
}

/* One connection may have half of what the others leave of the budget of all: with a long path all
 * that is in flight behind one loss, and with many such connections less and less. */
static uint32_t most_packets(const struct tcp_conn *c)
{
    const struct tcp *tcp = c->tcp;
    const uint32_t others = tcp->n_ooo - c->holes->n;
    const uint32_t left = tcp->conf.ooo_pkts_all - MIN(others, tcp->conf.ooo_pkts_all);

    return MIN(tcp->conf.ooo_pkts, MAX(left / 2, (uint32_t)TCP_OOO_SURE));
}

void tcp_reass_add(struct tcp_conn *c, struct pkt *p, uint32_t seq)
{
    struct tcp_holes *h = holes_of(c);
    const uint32_t end = seq + p->len;

    p->seq = seq;
    if (fill_gaps(c, p) && seq != c->rcv_nxt)
        note_block(h, seq, end);
    if (seq == c->rcv_nxt)
        return; /* it has been waited for, and goes with what is behind it */
    while (h->n > most_packets(c) || (h->n > 0 && c->tcp->n_ooo > c->tcp->conf.ooo_pkts_all))
        shed(c);
    if (h->head == NULL)
        give_back(c);
}

bool tcp_reass_drain(struct tcp_conn *c)
{
    struct tcp_holes *h = c->holes;
    struct pkt *p, *next, *end;

    if (h == NULL)
        return false;
    p = h->head;
    if (p == NULL || p->seq != c->rcv_nxt) {
        cut_blocks(h, c->rcv_nxt, c->rcv_nxt + TCP_QUEUE_MAX);
        return false;
    }
    end = run_last(p)->next;
    h->n_runs--;
    h->head = end;
    if (end == NULL)
        h->last_run = NULL;
    for (; p != end; p = next) {
        next = p->next;
        h->n--;
        c->tcp->n_ooo--;
        tcp_deliver(c, p);
    }
    cut_blocks(h, c->rcv_nxt, c->rcv_nxt + TCP_QUEUE_MAX);
    if (h->head == NULL)
        give_back(c);
    return true;
}

void tcp_reass_clear(struct tcp_conn *c)
{
    struct tcp_holes *h = c->holes;

    if (h == NULL)
        return;
    while (h->head != NULL) {
        struct pkt *p = h->head;

        h->head = p->next;
        c->tcp->n_ooo--;
        pkt_free(p);
    }
    give_back(c);
}
