#include "dataplane/tcp/tcp_conn.h"

static uint32_t end_of(const struct pkt *p)
{
    return p->seq + p->len;
}

/* Links @p, which overlaps nothing, in front of *@at. */
static void link_at(struct tcp_conn *c, struct pkt **at, struct pkt *p)
{
    p->next = *at;
    *at = p;
    c->n_ooo++;
}

/* The packet farthest ahead is the one that is needed last. */
static void shed(struct tcp_conn *c)
{
    struct pkt **at = &c->ooo;

    while ((*at)->next != NULL)
        at = &(*at)->next;
    pkt_free(*at);
    *at = NULL;
    c->n_ooo--;
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
    struct pkt **at = &c->ooo;

    while (p != NULL && p->len > 0) {
        uint32_t gap;

        while (*at != NULL && seq_le(end_of(*at), p->seq))
            at = &(*at)->next;
        if (*at != NULL && seq_le((*at)->seq, p->seq)) {
            skip(p, MIN(p->len, end_of(*at) - p->seq));
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

void tcp_reass_add(struct tcp_conn *c, struct pkt *p, uint32_t seq)
{
    p->seq = seq;
    fill_gaps(c, p);
    while (c->n_ooo > c->tcp->conf.ooo_pkts)
        shed(c);
}

bool tcp_reass_drain(struct tcp_conn *c)
{
    bool any = false;

    while (c->ooo != NULL && c->ooo->seq == c->rcv_nxt) {
        struct pkt *p = c->ooo;

        c->ooo = p->next;
        c->n_ooo--;
        tcp_deliver(c, p);
        any = true;
    }
    return any;
}

void tcp_reass_clear(struct tcp_conn *c)
{
    while (c->ooo != NULL) {
        struct pkt *p = c->ooo;

        c->ooo = p->next;
        pkt_free(p);
    }
    c->n_ooo = 0;
}
