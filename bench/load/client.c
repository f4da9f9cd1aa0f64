#include "bench/load/client.h"

#include "drivers/eal.h"

#include <errno.h>
#include <stdlib.h>

#define RECV_MAX (64 * 1024)
#define CONNECTING_MAX 256 /* at once: the ports' queues hold them */
#define ASK_PER_TURN 256
#define DIAL_PER_TURN 32
#define LEAVE_US 1000000
#define BACK_OFF_US 10000 /* after a connection that could not be opened */

const struct client_proto *client_proto_of(enum load_protocol p)
{
    static const struct client_proto *const all[] = {
        [LOAD_HTTP1] = &client_http1, [LOAD_RAW] = &client_raw
    };

    return all[p];
}

static struct core *core_of(const struct client_conn *c)
{
    return &c->client->stack->core;
}

/* --- what is counted ------------------------------------------------------------------------- */

static bool counts(const struct client *c, uint64_t at)
{
    return at >= load_time(&c->conf.times->from) && at < load_time(&c->conf.times->until);
}

static uint64_t ns_since(const struct client *c, uint64_t at)
{
    const uint64_t now = eal_cycles();

    return now > at ? (uint64_t)((double)(now - at) * 1e9 / (double)c->stack->hz) : 0;
}

static void count_open(struct client_conn *c)
{
    struct client *all = c->client;

    all->stats.open++;
    if (all->conf.conf->requests_per_connection != 0 && !counts(all, c->began))
        return;
    all->stats.opened++;
    all->stats.handshakes += all->conf.tls != NULL;
    all->stats.resumed += all->conf.tls != NULL && transport_tls_peer(c->transport)->resumed;
    hist_record(&all->stats.connect_ns, ns_since(all, c->began));
}

/* The one end of every request. */
static void end_request(struct client_conn *c)
{
    c->state = CLIENT_ANSWERED;
    c->client->n_busy--;
    c->client->stats.total_requests++;
}

void client_answered(struct client_conn *c)
{
    struct client *all = c->client;

    if (c->state != CLIENT_BUSY)
        return;
    end_request(c);
    if (!counts(all, c->began))
        return;
    all->stats.requests++;
    hist_record(&all->stats.latency_ns, ns_since(all, c->began));
}

void client_refused(struct client_conn *c, enum load_error why)
{
    if (c->state != CLIENT_BUSY)
        return;
    end_request(c);
    if (counts(c->client, c->began))
        c->client->stats.errors[why]++;
}

/* --- the end of a connection ----------------------------------------------------------------- */

static bool is_open(const struct client_conn *c)
{
    return c->state == CLIENT_IDLE || c->state == CLIENT_BUSY || c->state == CLIENT_ANSWERED;
}

/* It is none of those that are to stay. A request that is open has failed before. */
static void part(struct client_conn *c, enum client_state next)
{
    struct client *all = c->client;

    if (c->state == CLIENT_CONNECTING)
        all->n_connecting--;
    if (is_open(c))
        all->stats.open--;
    if (c->state != CLIENT_LEAVING && c->state != CLIENT_DEAD)
        all->n_conns--;
    list_remove(&c->idle);
    c->state = (uint8_t)next;
}

static void reap(struct client_conn *c)
{
    struct client *all = c->client;

    part(c, CLIENT_DEAD);
    core_cancel(&c->work);
    wheel_stop(&core_of(c)->wheel, &c->timer);
    list_remove(&c->all);
    all->proto->close(c);
    pktq_clear(&c->in);
    if (c->transport != NULL)
        transport_abort(c->transport);
    slab_free(&all->slab, c);
}

void client_die(struct client_conn *c)
{
    client_refused(c, LOAD_ERROR_memory); /* unless its end was told */
    part(c, CLIENT_DEAD);
    core_defer(core_of(c), &c->work);
}

/*
 * The peer closes first if it was told that this was the last request, and keeps the connection in
 * TIME_WAIT; else our ports would be used up before long.
 */
void client_leave(struct client_conn *c)
{
    if (c->state == CLIENT_LEAVING || c->state == CLIENT_DEAD)
        return;
    part(c, CLIENT_LEAVING);
    wheel_start(&core_of(c)->wheel, &c->timer, core_of(c)->now_us + LEAVE_US);
    core_defer(core_of(c), &c->work);
}

static void say_goodbye(struct client_conn *c)
{
    if (c->transport != NULL)
        transport_release(c->transport, LEAVE_US);
    c->transport = NULL;
    reap(c);
}

static void discard(struct client_conn *c)
{
    pktq_clear(&c->in);
    while (c->transport != NULL && transport_recv(c->transport, &c->in, RECV_MAX) > 0)
        pktq_clear(&c->in);
}

/* Deferred: what an event may not do itself. */
static void run_later(struct work *w)
{
    struct client_conn *c = container_of(w, struct client_conn, work);

    switch ((enum client_state)c->state) {
    case CLIENT_DEAD:
        reap(c);
        return;
    case CLIENT_LEAVING:
        if (c->eof || c->client->conf.conf->protocol == LOAD_RAW)
            say_goodbye(c);
        else
            discard(c);
        return;
    case CLIENT_CONNECTING:
        return;
    case CLIENT_IDLE:
    case CLIENT_BUSY:
    case CLIENT_ANSWERED:
        c->client->proto->on_readable(c);
        return;
    }
}

/* Started by a request and left to run: one that is answered before it fires does not stop it. */
static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    struct client_conn *c = container_of(t, struct client_conn, timer);

    if (c->state == CLIENT_LEAVING) {
        say_goodbye(c);
    } else if (c->state == CLIENT_BUSY && now_us < c->deadline_us) {
        wheel_start(&core_of(c)->wheel, t, c->deadline_us);
    } else if (c->state == CLIENT_BUSY) {
        client_refused(c, LOAD_ERROR_timeout);
        client_die(c);
    }
}

/* --- asking ---------------------------------------------------------------------------------- */

bool client_is_last(const struct client_conn *c)
{
    const uint32_t max = c->client->conf.conf->requests_per_connection;

    return max != 0 && c->n_requests >= max;
}

/* @at: when it was to begin. */
static void ask(struct client_conn *c, uint64_t at)
{
    struct core *core = core_of(c);

    list_remove(&c->idle);
    c->state = CLIENT_BUSY;
    c->client->n_busy++;
    c->n_requests++;
    c->began = at;
    c->deadline_us = core->now_us + c->client->conf.conf->timeout_us;
    if (!wheel_timer_is_running(&c->timer))
        wheel_start(&core->wheel, &c->timer, c->deadline_us);
    c->client->proto->ask(c);
}

static bool is_open_loop(const struct client *c)
{
    return c->conf.rate > 0;
}

static bool is_on(const struct client *c, uint64_t now)
{
    return c->has_begun && now < load_time(&c->conf.times->until);
}

void client_idle(struct client_conn *c)
{
    struct client *all = c->client;
    const uint64_t now = eal_cycles();

    c->state = CLIENT_IDLE;
    if (c->eof)
        client_leave(c);
    else if (is_open_loop(all) && all->arrivals.waiting > 0)
        ask(c, arrivals_serve(&all->arrivals));
    else if (!is_open_loop(all) && is_on(all, now))
        ask(c, now);
    else
        list_push_tail(&all->idle, &c->idle);
}

static struct client_conn *first_idle(struct client *c)
{
    return list_is_empty(&c->idle) ? NULL : container_of(c->idle.next, struct client_conn, idle);
}

/* Closed loop: those that were opened before the load began. */
static unsigned ask_all(struct client *c, uint64_t now)
{
    struct client_conn *conn;
    unsigned n = 0;

    while (n < ASK_PER_TURN && is_on(c, now) && (conn = first_idle(c)) != NULL) {
        ask(conn, now);
        n++;
    }
    return n;
}

static unsigned ask_arrived(struct client *c, uint64_t now)
{
    const uint64_t until = load_time(&c->conf.times->until);
    unsigned n = 0;
    uint64_t at;

    while (n < ASK_PER_TURN && arrivals_next(&c->arrivals, MIN(now, until - 1), &at)) {
        struct client_conn *conn = c->arrivals.waiting == 1 ? first_idle(c) : NULL;

        n++;
        if (conn != NULL)
            ask(conn, arrivals_serve(&c->arrivals));
        else
            c->stats.missed += counts(c, at);
    }
    return n;
}

/* --- the transport's events ------------------------------------------------------------------ */

static void on_open(struct transport *t)
{
    struct client_conn *c = transport_owner(t);
    struct client *all = c->client;

    all->n_connecting--;
    all->has_opened = true;
    c->state = CLIENT_IDLE;
    count_open(c);
    if (!all->proto->open(c)) {
        all->stats.errors[LOAD_ERROR_memory]++;
        client_die(c);
        return;
    }
    client_idle(c);
}

static void on_readable(struct transport *t)
{
    struct client_conn *c = transport_owner(t);

    if (is_open(c))
        c->client->proto->on_readable(c);
    else
        discard(c);
}

static void on_writable(struct transport *t)
{
    struct client_conn *c = transport_owner(t);

    if (c->state == CLIENT_BUSY)
        c->client->proto->on_writable(c);
}

static void on_eof(struct transport *t)
{
    struct client_conn *c = transport_owner(t);

    c->eof = true;
    if (is_open(c))
        c->client->proto->on_eof(c);
    else if (c->state == CLIENT_LEAVING)
        core_defer(core_of(c), &c->work);
}

static enum load_error connect_error(enum transport_end why)
{
    switch (why) {
    case TRANSPORT_END_REFUSED:
        return LOAD_ERROR_refused;
    case TRANSPORT_END_TIMEOUT:
        return LOAD_ERROR_connect_timeout;
    case TRANSPORT_END_TLS:
        return LOAD_ERROR_tls;
    case TRANSPORT_END_RESET:
        return LOAD_ERROR_reset;
    case TRANSPORT_END_OK:
    case TRANSPORT_END_MEMORY:
        return LOAD_ERROR_connect;
    }
    return LOAD_ERROR_connect;
}

static enum load_error request_error(enum transport_end why)
{
    switch (why) {
    case TRANSPORT_END_OK:
        return LOAD_ERROR_closed;
    case TRANSPORT_END_TIMEOUT:
        return LOAD_ERROR_timeout;
    case TRANSPORT_END_TLS:
        return LOAD_ERROR_tls;
    case TRANSPORT_END_MEMORY:
        return LOAD_ERROR_memory;
    case TRANSPORT_END_REFUSED:
    case TRANSPORT_END_RESET:
        return LOAD_ERROR_reset;
    }
    return LOAD_ERROR_reset;
}

static void count_connect_error(struct client *c, enum load_error why)
{
    c->stats.errors[why]++;
    c->next_dial_us = c->stack->core.now_us + BACK_OFF_US;
}

static void on_closed(struct transport *t, enum transport_end why)
{
    struct client_conn *c = transport_owner(t);

    c->transport = NULL;
    if (c->state == CLIENT_CONNECTING)
        count_connect_error(c->client, connect_error(why));
    client_refused(c, request_error(why));
    reap(c);
}

static const struct transport_events events = { on_open, on_readable, on_writable, on_eof,
                                                on_closed };

/* --- opening --------------------------------------------------------------------------------- */

/* NULL: as the route has it. */
static const struct ipaddr *source_of(const struct load_client_conf *conf, uint64_t dial)
{
    return conf->n_source_addresses > 0 ? &conf->source_addresses[dial % conf->n_source_addresses]
                                        : NULL;
}

/* Each source takes its turn with each target: the pairs have ports of their own. */
static const struct ipport *target_of(const struct load_client_conf *conf, uint64_t dial)
{
    return &conf->targets[dial / MAX(conf->n_source_addresses, 1u) % conf->n_targets];
}

static bool dial(struct client *c)
{
    const struct load_client_conf *conf = c->conf.conf;
    struct client_conn *conn = slab_alloc(&c->slab);
    uint64_t number;
    int err = 0;

    if (conn == NULL)
        return false; /* those that are leaving will be gone soon */
    number = c->n_dialled++;
    conn->client = c;
    conn->state = CLIENT_CONNECTING;
    conn->began = eal_cycles();
    list_init(&conn->all);
    list_init(&conn->idle);
    work_init(&conn->work, run_later);
    wheel_timer_init(&conn->timer, on_timer);
    pktq_init(&conn->in);
    conn->transport =
        transport_connect(c->stack->transports, target_of(conf, number), source_of(conf, number),
                          c->conf.tls, conf->connect_timeout_us, &events, conn, &err);
    if (conn->transport == NULL) {
        slab_free(&c->slab, conn);
        count_connect_error(c, LOAD_ERROR_connect);
        return false;
    }
    list_push_tail(&c->conns, &conn->all);
    c->n_conns++;
    c->n_connecting++;
    return true;
}

/* Also when everything is over: for arrivals that wait. */
static bool may_dial(const struct client *c, uint64_t now)
{
    /* The first alone: while the neighbour is asked for, few SYNs wait, and others are lost. */
    const uint32_t at_once = c->has_opened ? CONNECTING_MAX : 1;

    return c->n_conns < c->conf.connections && c->n_connecting < at_once &&
           c->stack->core.now_us >= c->next_dial_us &&
           (now < load_time(&c->conf.times->until) || c->arrivals.waiting > 0);
}

static unsigned dial_missing(struct client *c, uint64_t now)
{
    unsigned n = 0;

    while (n < DIAL_PER_TURN && may_dial(c, now) && dial(c))
        n++;
    return n;
}

/* --- a turn ---------------------------------------------------------------------------------- */

static void look_at_time(struct client *c, uint64_t now)
{
    const uint64_t begin = load_time(&c->conf.times->begin);

    c->measuring = counts(c, now);
    if (c->has_begun || now < begin)
        return;
    c->has_begun = true;
    if (is_open_loop(c))
        arrivals_init(&c->arrivals, c->conf.rate, (double)c->stack->hz, begin,
                      core_random(&c->stack->core) | 1);
}

unsigned client_run(struct client *c)
{
    const uint64_t now = eal_cycles();
    unsigned n;

    look_at_time(c, now);
    n = dial_missing(c, now);
    if (c->has_begun)
        n += is_open_loop(c) ? ask_arrived(c, now) : ask_all(c, now);
    c->stats.pending = c->n_busy + c->arrivals.waiting;
    return n;
}

bool client_awaits(const struct client *c)
{
    return c->n_busy > 0 || c->n_connecting > 0 || (c->has_begun && is_open_loop(c));
}

/* Answers that did not come in time for the end are what they are. */
static void count_unanswered(struct client *c)
{
    while (c->arrivals.waiting > 0)
        c->stats.errors[LOAD_ERROR_unanswered] += counts(c, arrivals_serve(&c->arrivals));
}

void client_stop(struct client *c)
{
    struct list *pos, *tmp;

    count_unanswered(c);
    list_for_each_safe(pos, tmp, &c->conns)
    {
        struct client_conn *conn = container_of(pos, struct client_conn, all);

        client_refused(conn, LOAD_ERROR_unanswered);
        reap(conn);
    }
}

/* --- bytes ----------------------------------------------------------------------------------- */

void client_send(struct client_conn *c, struct pktq *q)
{
    if (c->client->measuring)
        c->client->stats.bytes_out += q->bytes;
    if (c->transport != NULL)
        transport_send(c->transport, q);
    else
        pktq_clear(q);
}

uint64_t client_recv(struct client_conn *c, struct pktq *to)
{
    const uint64_t n = c->transport != NULL ? transport_recv(c->transport, to, RECV_MAX) : 0;

    if (c->client->measuring)
        c->client->stats.bytes_in += n;
    return n;
}

/* --- life ------------------------------------------------------------------------------------ */

static bool make_request(struct client *c)
{
    const struct load_client_conf *conf = c->conf.conf;
    struct http_msg *m = &c->request;

    arena_init(&c->arena, 0);
    http_msg_init(m, &c->arena);
    m->version = HTTP_1_1;
    m->method = slice_of(conf->method);
    m->scheme = c->conf.tls != NULL ? SLICE("https") : SLICE("http");
    m->authority = slice_of(conf->host);
    m->path = slice_of(conf->path);
    m->content_length = conf->request_body;
    m->no_body = conf->request_body == 0;
    return http_fields_add(&m->fields, &c->arena, SLICE("user-agent"), SLICE("isthmus-bench"));
}

struct client *client_new(struct stack *stack, const struct client_conf *conf)
{
    struct client *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->conf = *conf;
    c->stack = stack;
    c->proto = client_proto_of(conf->conf->protocol);
    list_init(&c->conns);
    list_init(&c->idle);
    load_stats_init(&c->stats);
    if (!make_request(c) || slab_init(&c->slab, sizeof(struct client_conn),
                                      stack->conf.machine->tcp.max_connections) < 0) {
        arena_fini(&c->arena);
        free(c);
        return NULL;
    }
    return c;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    slab_fini(&c->slab);
    arena_fini(&c->arena);
    free(c);
}
