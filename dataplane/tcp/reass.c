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

/* ---- what is kept */

/* Links @p, which overlaps nothing, in front of *@at. */
static void link_at(struct tcp_conn *c, struct pkt **at, struct pkt *p)
{
    p->next = *at;
    *at = p;
    c->holes->n++;
    c->tcp->n_ooo++;
}

/* The packet farthest ahead is the one that is needed last. */
static void shed(struct tcp_conn *c)
{
    struct tcp_holes *h = c->holes;
    struct pkt **at = &h->head;

    while ((*at)->next != NULL)
        at = &(*at)->next;
    cut_blocks(h, c->rcv_nxt, (*at)->seq);
    pkt_free(*at);
    *at = NULL;
    h->n--;
    c->tcp->n_ooo--;
    c->tcp->counters.ooo_dropped++;
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
 * filled in between. Each part but the last is copied, which is rare and bounded by ooo_pkts.
 */
static void fill_gaps(struct tcp_conn *c, struct pkt *p)
{
    struct pkt **at = &c->holes->head;

    while (p != NULL && p->len > 0) {
        uint32_t gap;

        while (*at != NULL && seq_le(end_of(*at), p->seq))
            at = &(*at)->next;
        if (*at != NULL && seq_le((*at)->seq, p->seq)) {
            const uint32_t twice = MIN(p->len, end_of(*at) - p->seq);

            tcp_reass_twice(c, p->seq, p->seq + twice);
            skip(p, twice);
            continue;
        }
        gap = *at != NULL ? MIN(p->len, (*at)->seq - p->seq) : p->len;
        {
            struct pkt *rest = p, *front = front_of(c, &rest, gap);

            if (front == NULL)
                break;
            link_at(c, at, front);
            if (rest != NULL)
                skip(rest, gap);
            p = rest;
        }
    }
    pkt_free(p);
}

static void give_back(struct tcp_conn *c)
{
    slab_free(&c->tcp->holes, c->holes);
    c->holes = NULL;
}

void tcp_reass_add(struct tcp_conn *c, struct pkt *p, uint32_t seq)
{
    struct tcp_holes *h = holes_of(c);
    const uint32_t end = seq + p->len;

    p->seq = seq;
    fill_gaps(c, p);
    if (seq != c->rcv_nxt)
        note_block(h, seq, end);
    while (h->n > c->tcp->conf.ooo_pkts || (h->n > 0 && c->tcp->n_ooo > c->tcp->conf.ooo_pkts_all))
        shed(c);
    if (h->head == NULL)
        give_back(c);
}

bool tcp_reass_drain(struct tcp_conn *c)
{
    struct tcp_holes *h = c->holes;
    bool any = false;

    if (h == NULL)
        return false;
    while (h->head != NULL && h->head->seq == c->rcv_nxt) {
        struct pkt *p = h->head;

        h->head = p->next;
        h->n--;
        c->tcp->n_ooo--;
        tcp_deliver(c, p);
        any = true;
    }
    cut_blocks(h, c->rcv_nxt, c->rcv_nxt + TCP_QUEUE_MAX);
    if (h->head == NULL)
        give_back(c);
    return any;
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
