#include "bench/load/server.h"

#include "drivers/eal.h"

#include <stdlib.h>

#define RECV_MAX (64 * 1024)
#define CLOSE_US 1000000

const struct server_proto *server_proto_of(enum load_protocol p)
{
    static const struct server_proto *const all[] = {
        [LOAD_HTTP1] = &server_http1, [LOAD_RAW] = &server_raw
    };

    return all[p];
}

static struct core *core_of(const struct server_conn *c)
{
    return &c->server->stack->core;
}

void server_count_error(struct server_conn *c, enum load_error why)
{
    if (c->server->measuring)
        c->server->stats.errors[why]++;
}

/* --- the end --------------------------------------------------------------------------------- */

static void move(struct server_conn *c, enum server_state next)
{
    if (c->state == SERVER_OPEN)
        c->server->stats.open--;
    if (next == SERVER_OPEN)
        c->server->stats.open++;
    c->state = next;
}

static void reap(struct server_conn *c)
{
    struct server *s = c->server;

    move(c, SERVER_DEAD);
    core_cancel(&c->work);
    wheel_stop(&core_of(c)->wheel, &c->timer);
    list_remove(&c->all);
    s->proto->close(c);
    pktq_clear(&c->in);
    pktq_clear(&c->out);
    if (c->transport != NULL)
        transport_abort(c->transport);
    slab_free(&s->slab, c);
}

void server_die(struct server_conn *c)
{
    move(c, SERVER_DEAD);
    core_defer(core_of(c), &c->work);
}

static void release(struct server_conn *c)
{
    if (c->transport != NULL)
        transport_release(c->transport, CLOSE_US);
    c->transport = NULL;
    reap(c);
}

/* What is still on its way to us is read, so that TCP does not reset what is on its way to the peer
 * (RFC 9112, 9.6). */
void server_finish(struct server_conn *c)
{
    if (c->state == SERVER_CLOSING || c->state == SERVER_DEAD)
        return;
    move(c, SERVER_CLOSING);
    if (c->transport != NULL)
        transport_shutdown(c->transport);
    wheel_start(&core_of(c)->wheel, &c->timer, core_of(c)->now_us + CLOSE_US);
    core_defer(core_of(c), &c->work);
}

static void discard(struct server_conn *c)
{
    pktq_clear(&c->in);
    while (c->transport != NULL && transport_recv(c->transport, &c->in, RECV_MAX) > 0)
        pktq_clear(&c->in);
}

/* Deferred: what an event may not do itself. */
static void run_later(struct work *w)
{
    struct server_conn *c = container_of(w, struct server_conn, work);

    switch (c->state) {
    case SERVER_SECURING:
        return;
    case SERVER_OPEN:
        c->server->proto->on_readable(c);
        return;
    case SERVER_CLOSING:
        if (c->eof)
            release(c);
        else
            discard(c);
        return;
    case SERVER_DEAD:
        reap(c);
        return;
    }
}

static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    release(container_of(t, struct server_conn, timer));
}

/* --- the transport's events ------------------------------------------------------------------ */

static void start(struct server_conn *c)
{
    struct server *s = c->server;

    move(c, SERVER_OPEN);
    if (s->measuring) {
        s->stats.opened++;
        s->stats.handshakes += s->conf.tls != NULL;
        s->stats.resumed += s->conf.tls != NULL && transport_tls_peer(c->transport)->resumed;
    }
    if (!s->proto->open(c)) {
        server_count_error(c, LOAD_ERROR_memory);
        server_die(c);
        return;
    }
    core_defer(core_of(c), &c->work); /* bytes may wait already */
}

static void on_open(struct transport *t)
{
    start(transport_owner(t));
}

static void on_readable(struct transport *t)
{
    struct server_conn *c = transport_owner(t);

    if (c->state == SERVER_OPEN)
        c->server->proto->on_readable(c);
    else if (c->state == SERVER_CLOSING)
        discard(c);
}

static void on_writable(struct transport *t)
{
    struct server_conn *c = transport_owner(t);

    if (c->state == SERVER_OPEN)
        c->server->proto->on_writable(c);
}

static void on_eof(struct transport *t)
{
    struct server_conn *c = transport_owner(t);

    c->eof = true;
    switch (c->state) {
    case SERVER_SECURING:
        server_die(c);
        return;
    case SERVER_OPEN:
        c->server->proto->on_eof(c);
        return;
    case SERVER_CLOSING:
        core_defer(core_of(c), &c->work);
        return;
    case SERVER_DEAD:
        return;
    }
}

static void on_closed(struct transport *t, enum transport_end why)
{
    struct server_conn *c = transport_owner(t);

    c->transport = NULL;
    if (why == TRANSPORT_END_TLS)
        server_count_error(c, LOAD_ERROR_tls);
    else if (c->stream != NULL && why != TRANSPORT_END_OK)
        server_count_error(c, LOAD_ERROR_reset);
    reap(c);
}

static const struct transport_events events = { on_open, on_readable, on_writable, on_eof,
                                                on_closed };

/* --- accepting ------------------------------------------------------------------------------- */

static const struct tcp_ops *accept_conn(void *ctx, struct tcp_conn *tcp, void **owner)
{
    struct server *s = ctx;
    struct server_conn *c = slab_alloc(&s->slab);

    if (c == NULL)
        return NULL;
    c->server = s;
    c->transport = transport_accept(s->stack->transports, tcp, &events, c);
    if (c->transport == NULL) {
        slab_free(&s->slab, c);
        return NULL;
    }
    *owner = c->transport;
    list_init(&c->all);
    list_push_tail(&s->conns, &c->all);
    work_init(&c->work, run_later);
    wheel_timer_init(&c->timer, on_timer);
    pktq_init(&c->in);
    pktq_init(&c->out);
    if (s->conf.tls == NULL)
        start(c);
    else if (!transport_secure(c->transport, s->conf.tls))
        server_die(c);
    return transport_tcp_ops();
}

/* --- a turn ---------------------------------------------------------------------------------- */

void server_run(struct server *s)
{
    const uint64_t now = eal_cycles();

    s->measuring = now >= load_time(&s->conf.times->from) && now < load_time(&s->conf.times->until);
}

void server_stop(struct server *s)
{
    struct list *pos, *tmp;

    tcp_unlisten(s->listener);
    s->listener = NULL;
    list_for_each_safe(pos, tmp, &s->conns) reap(container_of(pos, struct server_conn, all));
}

/* --- bytes ----------------------------------------------------------------------------------- */

void server_send(struct server_conn *c, struct pktq *q)
{
    if (c->server->measuring)
        c->server->stats.bytes_out += q->bytes;
    if (c->transport != NULL)
        transport_send(c->transport, q);
    else
        pktq_clear(q);
}

uint64_t server_recv(struct server_conn *c, struct pktq *to)
{
    const uint64_t n = c->transport != NULL ? transport_recv(c->transport, to, RECV_MAX) : 0;

    if (c->server->measuring)
        c->server->stats.bytes_in += n;
    return n;
}

/* --- life ------------------------------------------------------------------------------------ */

static bool make_answer(struct server *s)
{
    struct http_msg *m = &s->answer;

    arena_init(&s->arena, 0);
    http_msg_init(m, &s->arena);
    m->version = HTTP_1_1;
    m->status = 200;
    return http_fields_add(&m->fields, &s->arena, SLICE("server"), SLICE("isthmus-bench")) &&
           http_fields_add(&m->fields, &s->arena, SLICE("content-type"),
                           SLICE("application/octet-stream"));
}

struct server *server_new(struct stack *stack, const struct server_conf *conf)
{
    struct server *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->conf = *conf;
    s->stack = stack;
    s->proto = server_proto_of(conf->conf->protocol);
    list_init(&s->conns);
    load_stats_init(&s->stats);
    if (!make_answer(s) || slab_init(&s->slab, sizeof(struct server_conn),
                                     stack->conf.machine->tcp.max_connections) < 0)
        goto err_server;
    s->listener = tcp_listen(stack->tcp, &conf->conf->listen, accept_conn, s);
    if (s->listener == NULL)
        goto err_slab;
    return s;

err_slab:
    slab_fini(&s->slab);
err_server:
    arena_fini(&s->arena);
    free(s);
    return NULL;
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    if (s->listener != NULL)
        tcp_unlisten(s->listener);
    slab_fini(&s->slab);
    arena_fini(&s->arena);
    free(s);
}
