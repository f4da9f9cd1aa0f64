/* What is told of TCP connections: those of clients, those to endpoints, what recorders hold. */
#include "dataplane/survey.h"

#include "dataplane/daemon.h"
#include "dataplane/flightlog.h"
#include "dataplane/tcp/rfc4898.h"

#include <stdio.h>
#include <time.h>

#define SESSIONS_PER_TURN 64
#define VERBOSE_PER_TURN 16 /* each is two connections of eighty numbers */
#define FLIGHTS_PER_TURN 8  /* each is looked through */
#define SLACK 64            /* what may come between counting and asking */

/* --- RFC 4898 -------------------------------------------------------------------------------- */

/* {"perf": {"segs_out": 12, ...}, ...} */
static json_t *estats_json(const struct tcp_estats_info *e)
{
    const uint64_t *v = (const uint64_t *)e;
    json_t *all = json_object(), *group = NULL;

    for (unsigned i = 0; i < TCP_ESTATS_ROWS; i++) {
        const struct tcp_estats_row *row = &tcp_estats_rows[i];

        group = json_object_get(all, row->group);
        if (group == NULL) {
            group = json_object();
            json_object_set_new_nocheck(all, row->group, group);
        }
        json_object_set_new_nocheck(group, row->key, json_integer((json_int_t)v[i]));
    }
    return all;
}

/* --- conns ----------------------------------------------------------------------------------- */

struct conn_row {
    struct ipport remote, local, upstream;
    char listener[64], chain[64], state[24], tls[16], sni[128], peer[192], cluster[128], tcp[16];
    uint64_t age_us, requests, bytes_in, bytes_out, retransmits;
    uint32_t srtt_us, send_queue, recv_queue;
};

static void keep_session(const struct session_info *s, struct conn_row *row)
{
    row->remote = s->remote;
    row->local = s->local;
    row->upstream = s->upstream;
    SURVEY_KEEP(row->listener, s->listener);
    SURVEY_KEEP(row->chain, s->chain);
    SURVEY_KEEP(row->state, s->state);
    SURVEY_KEEP(row->tls, s->tls);
    SURVEY_KEEP(row->sni, s->sni);
    SURVEY_KEEP(row->peer, s->peer);
    SURVEY_KEEP(row->cluster, s->cluster);
    SURVEY_KEEP(row->tcp, s->tcp.state);
    row->age_us = s->age_us;
    row->requests = s->requests;
    row->bytes_in = s->tcp.bytes_in;
    row->bytes_out = s->tcp.bytes_out;
    row->retransmits = s->tcp.retransmits;
    row->srtt_us = s->tcp.srtt_us;
    row->send_queue = s->tcp.send_queue;
    row->recv_queue = s->tcp.recv_queue;
}

static void copy_session(const struct session_info *s, void *ctx)
{
    struct conn_row *row = survey_next_row(ctx);

    if (row != NULL)
        keep_session(s, row);
}

/* Those beyond the table are not visited: how many there are is known without. */
static bool fill_sessions(struct worker *w, struct mail *m, uint32_t n,
                          void (*copy)(const struct session_info *s, void *ctx))
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    if (l->seen < l->max && proxy_each(w->proxy, &l->at, MIN(n, l->max - l->seen), copy, l))
        return false;
    if (l->seen == l->max)
        l->seen = MAX(l->seen, proxy_n_sessions(w->proxy));
    l->done = true;
    return true;
}

static bool fill_conns(struct worker *w, struct mail *m)
{
    return fill_sessions(w, m, SESSIONS_PER_TURN, copy_session);
}

static uint32_t expected_conns(const struct daemon *d, uint32_t worker)
{
    uint64_t n =
        __atomic_load_n(&d->gateway.workers[worker]->gauges.sessions, __ATOMIC_RELAXED) + SLACK;

    return (uint32_t)MIN(n, SURVEY_ROWS_MAX);
}

static json_t *conn_json(uint32_t worker, const struct conn_row *r)
{
    json_t *row = json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:I}",
        "worker", (json_int_t)worker, "client", survey_endpoint(&r->remote), "local",
        survey_endpoint(&r->local), "listener", cmd_text(r->listener), "chain", cmd_text(r->chain),
        "state", cmd_text(r->state), "tls", cmd_text(r->tls), "sni", cmd_text(r->sni), "peer",
        cmd_text(r->peer), "cluster", cmd_text(r->cluster), "upstream",
        survey_endpoint(&r->upstream), "age_s", (double)(r->age_us / 1000) / 1e3, "requests",
        (json_int_t)r->requests, "rx", (json_int_t)r->bytes_in, "tx", (json_int_t)r->bytes_out,
        "retransmits", (json_int_t)r->retransmits, "rtt_us", (json_int_t)r->srtt_us, "send_queue",
        (json_int_t)r->send_queue, "recv_queue", (json_int_t)r->recv_queue);

    if (row != NULL)
        json_object_set_new(row, "tcp", cmd_text(r->tcp));
    return row;
}

static void add_conn(struct daemon *d, uint32_t worker, const void *of, json_t *rows, json_t *index)
{
    json_array_append_new(rows, conn_json(worker, of));
}

static const struct survey_kind conns = { "connections", sizeof(struct conn_row), expected_conns,
                                          fill_conns, add_conn };

/* --- conns --verbose ------------------------------------------------------------------------- */

struct verbose_row {
    struct conn_row conn;
    bool has_client, has_upstream;
    struct ipport upstream_local;
    struct tcp_estats_info client, upstream;
};

static void copy_verbose(const struct session_info *s, void *ctx)
{
    struct verbose_row *row = survey_next_row(ctx);

    if (row == NULL)
        return;
    keep_session(s, &row->conn);
    row->has_client = s->client_tcp != NULL;
    row->has_upstream = s->upstream_tcp != NULL;
    if (row->has_client)
        tcp_estats(s->client_tcp, &row->client);
    if (row->has_upstream) {
        tcp_estats(s->upstream_tcp, &row->upstream);
        row->upstream_local = tcp_local(s->upstream_tcp);
    }
}

static bool fill_verbose(struct worker *w, struct mail *m)
{
    return fill_sessions(w, m, VERBOSE_PER_TURN, copy_verbose);
}

static void add_verbose(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                        json_t *index)
{
    const struct verbose_row *r = of;
    json_t *row = conn_json(worker, &r->conn);

    if (row != NULL && r->has_client)
        json_object_set_new(row, "client_tcp", estats_json(&r->client));
    if (row != NULL && r->has_upstream) {
        json_object_set_new(row, "upstream_local", survey_endpoint(&r->upstream_local));
        json_object_set_new(row, "upstream_tcp", estats_json(&r->upstream));
    }
    json_array_append_new(rows, row);
}

static const struct survey_kind verbose = { "connections", sizeof(struct verbose_row),
                                            expected_conns, fill_verbose, add_verbose };

/* --- conns --upstream ------------------------------------------------------------------------ */

struct upconn_row {
    char cluster[256], state[16];
    struct ipport endpoint, local;
    uint64_t requests;
    uint32_t streams;
    struct tcp_conn_info tcp;
    struct tcp_estats_info estats;
};

static void copy_upconn(const struct upconn_info *c, void *ctx)
{
    struct upconn_row *row = survey_next_row(ctx);

    if (row == NULL)
        return;
    *row = (struct upconn_row){ .endpoint = c->endpoint,
                                .requests = c->requests,
                                .streams = c->streams };
    SURVEY_KEEP(row->cluster, c->cluster);
    SURVEY_KEEP(row->state, c->state);
    row->tcp.state = "";
    if (c->tcp == NULL)
        return;
    row->local = tcp_local(c->tcp);
    tcp_info(c->tcp, &row->tcp); /* ->state is a literal */
    tcp_estats(c->tcp, &row->estats);
}

static bool fill_upconns(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    if (l->seen < l->max &&
        upstreams_each_conn(w->upstreams, &l->at, MIN(VERBOSE_PER_TURN, l->max - l->seen),
                            copy_upconn, l))
        return false;
    if (l->seen == l->max)
        l->seen = MAX(l->seen, upstreams_n_conns(w->upstreams));
    l->done = true;
    return true;
}

static uint32_t expected_upconns(const struct daemon *d, uint32_t worker)
{
    uint64_t n = __atomic_load_n(&d->gateway.workers[worker]->gauges.upstream_connections,
                                 __ATOMIC_RELAXED) +
                 SLACK;

    return (uint32_t)MIN(n, SURVEY_ROWS_MAX);
}

static json_t *upconn_json(uint32_t worker, const struct upconn_row *r)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
                     "worker", (json_int_t)worker, "cluster", cmd_text(r->cluster), "endpoint",
                     survey_endpoint(&r->endpoint), "local", survey_endpoint(&r->local), "state",
                     r->state, "streams", (json_int_t)r->streams, "requests",
                     (json_int_t)r->requests, "rx", (json_int_t)r->tcp.bytes_in, "tx",
                     (json_int_t)r->tcp.bytes_out, "retransmits", (json_int_t)r->tcp.retransmits,
                     "rtt_us", (json_int_t)r->tcp.srtt_us, "send_queue",
                     (json_int_t)r->tcp.send_queue, "recv_queue", (json_int_t)r->tcp.recv_queue,
                     "tcp", cmd_text(r->tcp.state));
}

static void add_upconn(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                       json_t *index)
{
    json_array_append_new(rows, upconn_json(worker, of));
}

static void add_upconn_verbose(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                               json_t *index)
{
    const struct upconn_row *r = of;
    json_t *row = upconn_json(worker, r);

    if (row != NULL)
        json_object_set_new(row, "upstream_tcp", estats_json(&r->estats));
    json_array_append_new(rows, row);
}

static const struct survey_kind upconns = { "connections", sizeof(struct upconn_row),
                                            expected_upconns, fill_upconns, add_upconn };
static const struct survey_kind upconns_verbose = { "connections", sizeof(struct upconn_row),
                                                    expected_upconns, fill_upconns,
                                                    add_upconn_verbose };

/* --- flights --------------------------------------------------------------------------------- */

struct flight_row {
    struct tcp_log log;
    uint64_t first_us, last_us;
    uint32_t segments, again;
};

static void copy_flight(const struct tcp_log *log, const struct tcp_log_pieces *records, void *ctx)
{
    struct flight_row *row = survey_next_row(ctx);

    if (row == NULL)
        return;
    *row = (struct flight_row){ .log = *log };
    for (unsigned piece = 0; piece < ARRAY_SIZE(records->v); piece++) {
        for (uint32_t i = 0; i < records->n[piece]; i++) {
            const struct tcp_record *r = &records->v[piece][i];

            row->last_us = tcp_record_us(r);
            row->first_us = row->first_us == 0 ? row->last_us : row->first_us;
            row->segments += tcp_record_kind(r) <= TCP_RECORD_AGAIN;
            row->again += tcp_record_kind(r) == TCP_RECORD_AGAIN;
        }
    }
}

static bool fill_flights(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    if (tcp_logs_each(w->tcp, &l->at, FLIGHTS_PER_TURN, copy_flight, l))
        return false;
    l->done = true;
    return true;
}

static uint32_t expected_flights(const struct daemon *d, uint32_t worker)
{
    const struct machine_conf *m = &d->first->machine;

    return MIN(m->tcp.recorders + m->tcp.recorder_episodes, SURVEY_ROWS_MAX);
}

static void add_flight(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                       json_t *index)
{
    const struct flight_row *r = of;
    const time_t wall = (time_t)(r->log.wall_us / 1000000);
    char id[32] = "", when[32];
    struct tm tm;

    if (r->log.id != 0)
        snprintf(id, sizeof(id), "%u-%u", worker, r->log.id);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&wall, &tm));
    json_array_append_new(
        rows, json_pack("{s:I, s:s, s:o, s:o, s:s, s:s, s:f, s:I, s:I, s:I}", "worker",
                        (json_int_t)worker, "flight", id, "remote", survey_endpoint(&r->log.remote),
                        "local", survey_endpoint(&r->log.local), "why", flightlog_why(r->log.why),
                        "when", when, "span_s", (double)((r->last_us - r->first_us) / 1000) / 1e3,
                        "segments", (json_int_t)r->segments, "again", (json_int_t)r->again,
                        "overwritten", (json_int_t)r->log.overwritten));
}

static const struct survey_kind flights = { "flights", sizeof(struct flight_row), expected_flights,
                                            fill_flights, add_flight };

/* --- the commands ---------------------------------------------------------------------------- */

static void run_conns(struct cmd_call *call)
{
    const bool is_verbose = cmd_arg_is_true(call, "verbose");

    if (cmd_arg_is_true(call, "upstream"))
        survey_start(call, is_verbose ? &upconns_verbose : &upconns);
    else
        survey_start(call, is_verbose ? &verbose : &conns);
}

static void run_flights(struct cmd_call *call)
{
    survey_start(call, &flights);
}

const struct cmd survey_tcp_cmds[] = {
    { "conns", "connections of clients; args.upstream: to endpoints; args.verbose: RFC 4898",
      run_conns, NULL },
    { "flights", "what the flight recorders hold", run_flights, NULL },
};
const unsigned survey_tcp_n_cmds = ARRAY_SIZE(survey_tcp_cmds);
