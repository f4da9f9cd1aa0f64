/* Bytes that an echo sends back: as many, in a request's time. */
#include "bench/load/client.h"
#include "bench/load/payload.h"

static void send_more(struct client_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    while (c->to_send > 0 && c->transport != NULL && transport_room(c->transport) > 0) {
        const uint64_t part = MIN(c->to_send, transport_room(c->transport));
        const uint64_t n =
            payload_append(&q, c->client->stack->core.pool, part, transport_seg(c->transport));

        if (n == 0) {
            client_die(c);
            return;
        }
        c->to_send -= (uint32_t)n;
        client_send(c, &q);
    }
}

static void ask(struct client_conn *c)
{
    c->to_send = c->to_come = c->client->conf.conf->request_body;
    send_more(c);
}

/* All of it is back. */
static void end(struct client_conn *c)
{
    client_answered(c);
    if (client_is_last(c))
        client_leave(c);
    else
        client_idle(c);
}

static void read_more(struct client_conn *c)
{
    uint64_t n;

    while ((n = client_recv(c, &c->in)) > 0) {
        pktq_clear(&c->in);
        if (c->state != CLIENT_BUSY || n > c->to_come || c->to_come - n < c->to_send) {
            client_refused(c, LOAD_ERROR_body); /* more than was sent */
            client_die(c);
            return;
        }
        c->to_come -= (uint32_t)n;
        if (c->to_come == 0)
            end(c);
    }
}

static void on_eof(struct client_conn *c)
{
    client_refused(c, LOAD_ERROR_closed);
    client_leave(c);
}

static bool open_raw(struct client_conn *c)
{
    return true;
}

static void close_raw(struct client_conn *c)
{
}

const struct client_proto client_raw = { .open = open_raw,
                                         .ask = ask,
                                         .on_readable = read_more,
                                         .on_writable = send_more,
                                         .on_eof = on_eof,
                                         .close = close_raw };
