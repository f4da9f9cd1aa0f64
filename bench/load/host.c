#include "bench/load/host.h"

#include "drivers/eal.h"
#include "tls/ticket.h"

#include <errno.h>

/* --- a worker -------------------------------------------------------------------------------- */

unsigned host_worker_turn(struct host_worker *w)
{
    unsigned n = stack_receive(w->stack);

    if (w->client != NULL)
        n += client_run(w->client);
    if (w->server != NULL)
        server_run(w->server);
    return n + stack_send(w->stack);
}

void host_worker_stop(struct host_worker *w)
{
    if (w->client != NULL)
        client_stop(w->client);
    if (w->server != NULL)
        server_stop(w->server);
    stack_send(w->stack);
}

static int work(void *arg)
{
    struct host_worker *w = arg;

    stack_start(w->stack);
    while (!atomic_load_explicit(&w->times->stop, memory_order_acquire)) {
        const unsigned n = host_worker_turn(w);

        stack_rest(w->stack, n > 0, w->client != NULL && client_awaits(w->client));
    }
    host_worker_stop(w);
    return 0;
}

/* --- opening --------------------------------------------------------------------------------- */

static struct load_tls_conf *tls_of(const struct host *h)
{
    return h->client != NULL ? h->client->tls : h->server->tls;
}

int host_load_secret(struct host *h, struct cfg_err *err)
{
    const struct load_tls_conf *t = tls_of(h);

    if (t == NULL)
        return 0;
    h->secret = tls_secret_load(&t->secret, err);
    if (h->secret == NULL)
        return cfg_err_set(err, &t->conf.where, "the files of tls cannot be loaded");
    if (h->server == NULL || !t->conf.session_tickets)
        return 0;
    h->tickets = tls_tickets_new();
    return h->tickets != NULL ? 0 : cfg_err_set(err, NULL, "no keys for session tickets");
}

int host_open_packets(struct host *h, struct cfg_err *err)
{
    const struct machine_conf *m = h->machine;

    for (uint32_t i = 0; i < m->n_workers; i++) {
        h->pools[i] = pktpool_new(m, h->first + i);
        if (h->pools[i] == NULL)
            return cfg_err_set(err, &m->where,
                               "no memory for %u packets of worker %u: raise memory (now %u MiB) "
                               "or lower packets",
                               m->packets, i, m->memory_mb);
    }
    return 0;
}

int host_open_ports(struct host *h, struct cfg_err *err)
{
    h->ports = ports_open(h->machine, h->pools, err);
    return h->ports != NULL ? 0 : -EINVAL;
}

static int open_tls(struct host *h, struct host_worker *w, struct cfg_err *err)
{
    const struct load_tls_conf *t = tls_of(h);
    const bool is_server = h->server != NULL, mutual = t != NULL && t->conf.mode == TLS_MODE_MUTUAL;
    struct tls_ctx_conf conf = { .name = is_server ? "server" : "client", .is_server = is_server };

    if (t == NULL)
        return 0;
    conf.conf = &t->conf;
    conf.secret = is_server || mutual ? h->secret : NULL;
    conf.trust = !is_server || mutual ? h->secret : NULL;
    conf.tickets = h->tickets;
    conf.resumes = !is_server && t->resume;
    w->lib = tls_lib_new();
    if (w->lib == NULL)
        return cfg_err_set(err, NULL, "OpenSSL does not start");
    w->tls = tls_ctx_new(w->lib, &conf, err);
    return w->tls != NULL ? 0 : cfg_err_set(err, &t->conf.where, "TLS cannot be set up");
}

/* Worker @i of @n has its share of @of, the first ones what is left over. */
static uint32_t share(uint32_t of, uint32_t i, uint32_t n)
{
    return of / n + (i < of % n);
}

static int open_user(struct host *h, struct host_worker *w, uint32_t i, struct cfg_err *err)
{
    const struct client_conf client = {
        .conf = h->client,
        .tls = w->tls,
        .connections =
            h->client != NULL ? share(h->client->connections, i, h->machine->n_workers) : 0,
        .rate = h->client != NULL ? h->client->rate / h->machine->n_workers : 0,
        .times = h->times,
    };
    const struct server_conf server = { .conf = h->server, .tls = w->tls, .times = h->times };

    if (h->client != NULL)
        w->client = client_new(w->stack, &client);
    else
        w->server = server_new(w->stack, &server);
    return w->client != NULL || w->server != NULL
               ? 0
               : cfg_err_set(err, NULL, "no memory for worker %u", i);
}

int host_open_workers(struct host *h, struct cfg_err *err)
{
    for (uint32_t i = 0; i < h->machine->n_workers; i++) {
        const struct stack_conf conf = {
            .id = i, .machine = h->machine, .ports = h->ports, .pool = h->pools[i]
        };
        struct host_worker *w = &h->workers[i];
        int rc;

        w->times = h->times;
        rc = open_tls(h, w, err);
        if (rc < 0)
            return rc;
        w->stack = stack_new(&conf);
        if (w->stack == NULL)
            return cfg_err_set(err, &h->machine->where, "worker %u: no memory for its stack", i);
        rc = open_user(h, w, i, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int host_launch(struct host *h, struct cfg_err *err)
{
    for (uint32_t i = 0; i < h->machine->n_workers; i++)
        if (eal_launch(h->first + i, work, &h->workers[i]) < 0)
            return cfg_err_set(err, NULL, "worker %u does not start", h->first + i);
    return 0;
}

void host_join(struct host *h)
{
    for (uint32_t i = 0; i < h->machine->n_workers; i++)
        eal_join(h->first + i);
}

/* --- closing --------------------------------------------------------------------------------- */

void host_close_workers(struct host *h)
{
    for (uint32_t i = 0; i < h->machine->n_workers; i++) {
        struct host_worker *w = &h->workers[i];

        client_free(w->client);
        server_free(w->server);
        stack_free(w->stack);
        tls_ctx_put(w->tls);
        if (w->lib != NULL)
            tls_lib_free(w->lib);
    }
    tls_secret_put(h->secret);
    if (h->tickets != NULL)
        tls_tickets_free(h->tickets);
}

void host_close_ports(struct host *h)
{
    if (h->ports != NULL)
        ports_close(h->ports);
}

int64_t host_close_packets(struct host *h)
{
    int64_t held = 0;

    for (uint32_t i = 0; i < h->machine->n_workers; i++) {
        if (h->pools[i] == NULL)
            continue;
        held += pktpool_in_use(h->pools[i]);
        pktpool_free(h->pools[i]);
    }
    return held;
}

/* --- what was counted ------------------------------------------------------------------------ */

/* While a worker runs its numbers are read one by one: each is right, if not all of one moment. */
static void add(struct load_stats *to, const struct load_stats *from, bool hists)
{
    if (hists) {
        load_stats_add(to, from);
        return;
    }
    to->requests += __atomic_load_n(&from->requests, __ATOMIC_RELAXED);
    to->total_requests += __atomic_load_n(&from->total_requests, __ATOMIC_RELAXED);
    to->open += __atomic_load_n(&from->open, __ATOMIC_RELAXED);
    to->pending += __atomic_load_n(&from->pending, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < LOAD_ERROR_COUNT; i++)
        to->errors[i] += __atomic_load_n(&from->errors[i], __ATOMIC_RELAXED);
}

void host_add_stats(const struct host *h, bool hists, struct load_stats *client,
                    struct load_stats *server)
{
    for (uint32_t i = 0; i < h->machine->n_workers; i++) {
        if (h->workers[i].client != NULL)
            add(client, &h->workers[i].client->stats, hists);
        if (h->workers[i].server != NULL)
            add(server, &h->workers[i].server->stats, hists);
    }
}
