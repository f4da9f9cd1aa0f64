/* Plain TCP: what comes is passed on. */
#include "dataplane/transport/kind.h"

static void on_open(struct transport *t)
{
    wheel_stop(&t->all->core->wheel, &t->deadline);
    t->state = TRANSPORT_OPEN;
    t->was_open = true;
    t->ev->on_open(t);
}

static void on_readable(struct transport *t)
{
    t->ev->on_readable(t);
}

static bool drained(const struct transport *t)
{
    return pktq_is_empty(&t->in) && t->tcp != NULL && tcp_recv_eof(t->tcp);
}

static void on_eof(struct transport *t)
{
    t->tcp_eof = true;
    transport_check_eof(t);
}

/* TCP waits until all is read. */
static bool outlives(struct transport *t)
{
    return false;
}

static uint64_t recv_plain(struct transport *t, struct pktq *to, uint64_t max)
{
    uint64_t n = t->in.bytes;

    pktq_splice(to, &t->in);
    if (t->tcp != NULL && n < max)
        n += tcp_recv(t->tcp, to, max - n);
    transport_check_eof_later(t);
    return n;
}

static void send_plain(struct transport *t, struct pktq *q)
{
    tcp_send(t->tcp, q);
}

static void close_plain(struct transport *t)
{
}

static uint32_t seg(const struct transport *t)
{
    return t->tcp != NULL ? tcp_mss(t->tcp) : 1024;
}

const struct transport_kind transport_plain = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_eof = on_eof,
    .outlives = outlives,
    .drained = drained,
    .recv = recv_plain,
    .send = send_plain,
    .close = close_plain,
    .seg = seg,
};
