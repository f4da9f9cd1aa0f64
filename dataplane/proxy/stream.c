/*
 * A request from first byte to access log.
 *
 *   ROUTING --- waiting for a connection ---> FORWARDING --- both sides done ---> logged, freed
 *      |                |                         |
 *      +---- no route, no cluster, failure, timeout, bad request: a local reply --+
 *
 * Two codec streams, and between them back-pressure: while one side has no room,
 * the other is paused, and what it sends closes its TCP window.
 */
#include "dataplane/proxy/proxy_priv.h"

#include <errno.h>
#include <stdio.h>

#define BODY_MAX (64 * 1024) /* of a request, while its connection is being opened */

struct stream {
    struct list link; /* in session->streams */
    struct session *session;
    struct http_stream *down; /* NULL: over */
    struct http_stream *up;   /* NULL: none yet, or over */
    struct listener_rt *rt;   /* pinned: what ->route and ->cluster_rt lie in */
    struct chain_rt *chain;
    const struct route *route;
    struct cluster_rt *cluster_rt;
    struct cluster *cluster; /* while ->waiting */
    struct cluster_waiter waiter;
    struct http_msg *req, *resp;
    struct http_msg
        local; /* a reply of our own, or a copy of the response's header for the access log */
    struct pktq body; /* of the request, while there is no ->up */
    struct http_fields *trailers;

    bool waiting;
    bool req_end;      /* the request is complete */
    bool req_sent;     /* its header went upstream */
    bool body_sent;    /* and some of its body */
    bool resp_started; /* the response's header went downstream */
    bool is_replied;   /* by us, in full */
    bool retried;

    uint64_t start_us, start_wall_us, active_us, up_start_us;
    uint64_t bytes_in, bytes_out;
    struct wheel_timer timer; /* route timeout and idleness, whichever is first */
    uint64_t deadline_us;     /* of the route; 0: not running */

    uint16_t status;
    const char *flags, *details;
    char failure[256]; /* the transport's words */
    struct ipport upstream, upstream_local;
    struct ipport client;
};

const size_t stream_size = sizeof(struct stream);

static struct core *core_of(const struct stream *s)
{
    return s->session->proxy->core;
}

/* By the chain the stream began with: the session's may be a newer one by now. */
static void count(struct stream *s, enum http_stat stat, int64_t by)
{
    stat_add(s->chain->stats, core_of(s)->id, stat, by);
}

static void count_upstream(struct stream *s, enum cluster_stat stat, int64_t by)
{
    stat_add(s->cluster_rt->stats, core_of(s)->id, stat, by);
}

struct stream *stream_of_link(struct list *l)
{
    return container_of(l, struct stream, link);
}

const struct cluster_rt *stream_cluster(const struct stream *s)
{
    return s->cluster_rt;
}

const struct ipport *stream_upstream(const struct stream *s)
{
    return &s->upstream;
}

const struct tcp_conn *stream_upstream_tcp(const struct stream *s)
{
    return s->up != NULL ? upconn_tcp(s->up) : NULL;
}

/* --- the end --------------------------------------------------------------------------------- */

static struct slice request_header(const void *msg, struct slice name)
{
    const struct http_msg *m = msg;

    if (name.ptr[0] != ':')
        return http_fields_value(&m->fields, name);
    if (slice_eq(name, SLICE(":method")))
        return m->method;
    if (slice_eq(name, SLICE(":path")))
        return m->path;
    if (slice_eq(name, SLICE(":authority")))
        return m->authority;
    if (slice_eq(name, SLICE(":scheme")))
        return m->scheme;
    return SLICE_NONE;
}

static struct slice response_header(const void *msg, struct slice name)
{
    return http_fields_value(&((const struct http_msg *)msg)->fields, name);
}

static const struct ipport *if_set(const struct ipport *a)
{
    return a->addr.family != IP_NONE ? a : NULL;
}

static void log_stream(struct stream *s)
{
    struct accesslog_record r = {
        .start_wall_us = s->start_wall_us,
        .duration_us = core_of(s)->now_us - s->start_us,
        .is_http = true,
        .request = s->req,
        .response = s->resp != NULL && s->resp_started ? s->resp : NULL,
        .request_header = request_header,
        .response_header = response_header,
        .protocol = s->req != NULL ? http_version_name(s->req->version) : NULL,
        .response_code = s->status,
        .response_flags = s->flags,
        .response_code_details = s->details,
        .upstream_failure = s->failure,
        .bytes_received = s->bytes_in,
        .bytes_sent = s->bytes_out,
        .upstream_host = if_set(&s->upstream),
        .upstream_local = if_set(&s->upstream_local),
        .upstream_cluster = s->cluster_rt != NULL ? s->cluster_rt->conf->name : NULL,
        .downstream_local = &s->session->local,
        .downstream_remote = &s->client,
        .requested_server_name = s->session->sni,
        .route_name = s->route != NULL ? s->route->conf->name : NULL,
    };

    if (!proxy_log(s->session->proxy, s->chain, &r))
        count(s, HTTP_STAT_access_log_dropped, 1);
}

static void count_status(struct stream *s)
{
    static const enum http_stat classes[] = {
        HTTP_STAT_downstream_rq_1xx, HTTP_STAT_downstream_rq_2xx, HTTP_STAT_downstream_rq_3xx,
        HTTP_STAT_downstream_rq_4xx, HTTP_STAT_downstream_rq_5xx
    };

    if (s->status >= 100 && s->status < 600)
        count(s, classes[s->status / 100 - 1], 1);
}

static void detach_upstream(struct stream *s)
{
    if (s->waiting) {
        s->waiting = false;
        cluster_cancel(s->cluster, &s->waiter);
        count_upstream(s, CLUSTER_STAT_upstream_rq_active, -1);
    }
    if (s->up != NULL) {
        struct http_stream *up = s->up;

        s->up = NULL;
        count_upstream(s, CLUSTER_STAT_upstream_rq_tx_reset, 1);
        count_upstream(s, CLUSTER_STAT_upstream_rq_active, -1);
        http_stream_reset(up);
    }
}

/* The last of it. ->down is gone or going; its arena (req, resp) is still there. */
static void finish(struct stream *s)
{
    struct session *session = s->session;

    detach_upstream(s);
    wheel_stop(&core_of(s)->wheel, &s->timer);
    pktq_clear(&s->body);
    count_status(s);
    count(s, HTTP_STAT_downstream_rq_active, -1);
    log_stream(s);
    pin_put(s->rt->pins, core_of(s)->id);
    list_remove(&s->link);
    slab_free(&session->proxy->streams, s);
    session_stream_changed(session);
}

/* --- time ------------------------------------------------------------------------------------ */

static uint64_t idle_limit(const struct stream *s)
{
    if (s->route != NULL && s->route->conf->idle_timeout_us != 0)
        return s->route->conf->idle_timeout_us;
    return s->chain->conf->http->stream_idle_timeout_us;
}

static uint64_t request_limit(const struct stream *s)
{
    return s->req_end ? 0 : s->chain->conf->http->request_timeout_us;
}

static uint64_t header_limit(const struct stream *s)
{
    return s->req == NULL ? s->chain->conf->http->headers_timeout_us : 0;
}

/* When the next of the deadlines is; lazily: what moved on meanwhile is found out when it
 * fires. */
static void arm(struct stream *s)
{
    uint64_t at = UINT64_MAX, idle = idle_limit(s), request = request_limit(s),
             header = header_limit(s);

    if (idle != 0)
        at = s->active_us + idle;
    if (s->deadline_us != 0)
        at = MIN(at, s->deadline_us);
    if (request != 0)
        at = MIN(at, s->start_us + request);
    if (header != 0)
        at = MIN(at, s->start_us + header);
    if (at == UINT64_MAX)
        wheel_stop(&core_of(s)->wheel, &s->timer);
    else if (!wheel_timer_is_running(&s->timer) || at < s->timer.tick * WHEEL_TICK_US)
        wheel_start(&core_of(s)->wheel, &s->timer,
                    at); /* a later one is found out when this one fires */
}

static void moved(struct stream *s)
{
    s->active_us = core_of(s)->now_us;
}

/* The request is complete: the route's clock runs (as Envoy: RouteAction.timeout). */
static void request_complete(struct stream *s)
{
    s->req_end = true;
    if (s->route != NULL && s->route->conf->timeout_us != 0)
        s->deadline_us = core_of(s)->now_us + s->route->conf->timeout_us;
    arm(s);
}

/* --- replies of our own ---------------------------------------------------------------------- */

static void cut_short(struct stream *s, const char *flags, const char *details)
{
    struct http_stream *down = s->down;

    s->flags = flags;
    s->details = details;
    s->down = NULL;
    count(s, HTTP_STAT_downstream_rq_tx_reset, 1);
    finish(s); /* before the reset: it logs what lies in the codec's arena */
    http_stream_reset(down);
}

/*
 * Answers in the upstream's place; where the response has begun already, cuts it short. @s may be
 * gone afterwards.
 */
static void reply(struct stream *s, uint16_t status, const char *body, const char *flags,
                  const char *details)
{
    size_t len = strlen(body);
    bool end = len == 0 || (s->req != NULL && slice_eq(s->req->method, SLICE("HEAD")));
    struct pktq data;

    detach_upstream(s);
    if (s->resp_started) {
        cut_short(s, flags, details);
        return;
    }
    s->deadline_us = 0;
    s->flags = flags;
    s->details = details;
    s->resp = &s->local;
    http_msg_init(&s->local, &s->down->arena);
    s->local.status = status;
    s->local.content_length = len;
    pktq_init(&data);
    if ((len > 0 && !http_fields_add(&s->local.fields, s->local.arena, SLICE("content-type"),
                                     SLICE("text/plain"))) ||
        !edge_response_headers(s->session, &s->local, UINT64_MAX) ||
        (!end && !pktq_append(&data, core_of(s)->pool, body, len,
                              s->down->conn->io->seg(s->down->conn->owner))) ||
        http_stream_send_headers(s->down, &s->local, end) < 0) {
        pktq_clear(&data);
        cut_short(s, flags, details);
        return;
    }
    s->resp_started = s->is_replied = true;
    s->status = status;
    if (!end) {
        s->bytes_out += data.bytes;
        http_stream_send_data(s->down, &data, true);
    }
    http_stream_pause(s->down, false); /* the rest of the request, if any, is read and dropped */
}

/* A part of a message could not be passed on: the rest must not follow, as if it were whole. */
static void out_of_packets(struct stream *s)
{
    reply(s, 503, "", "OM", "out_of_packets");
}

static void upstream_failed(struct stream *s, const char *reason, const char *flag, uint16_t status)
{
    const char *text = s->failure;
    char body[512], *details;

    snprintf(body, sizeof(body),
             "upstream connect error or disconnect/reset before headers. reset reason: %s%s%s",
             reason, text[0] != '\0' ? ", transport failure reason: " : "", text);
    details = arena_printf(&s->down->arena, "upstream_reset_%s_response_started{%s%s%s}",
                           s->resp_started ? "after" : "before", reason, text[0] != '\0' ? "|" : "",
                           text);
    for (char *c = details; c != NULL && *c != '\0'; c++)
        if (*c == ' ')
            *c = '_';
    reply(s, status, body, flag, details != NULL ? details : "upstream_reset");
}

static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    struct stream *s = container_of(t, struct stream, timer);
    uint64_t idle = idle_limit(s), request = request_limit(s), header = header_limit(s);

    if (header != 0 && now_us >= s->start_us + header) {
        count(s, HTTP_STAT_downstream_rq_timeout, 1);
        reply(s, 408, "request header timeout", "", "request_header_timeout");
        return;
    }
    if (s->deadline_us != 0 && now_us >= s->deadline_us) {
        s->deadline_us = 0;
        if (s->cluster_rt != NULL)
            count_upstream(s, CLUSTER_STAT_upstream_rq_timeout, 1);
        reply(s, 504, "upstream request timeout", "UT",
              s->resp_started ? "upstream_response_timeout" : "response_timeout");
        return;
    }
    if (request != 0 && now_us >= s->start_us + request) {
        count(s, HTTP_STAT_downstream_rq_timeout, 1);
        reply(s, 408, "request timeout", "", "request_overall_timeout");
        return;
    }
    if (idle != 0 && now_us >= s->active_us + idle) {
        count(s, HTTP_STAT_downstream_rq_idle_timeout, 1);
        if (s->status != 0 && s->up == NULL && !s->waiting) /* our answer does not get out */
            cut_short(s, "SI", "stream_idle_timeout");
        else
            reply(s, s->req_end ? 504 : 408, "stream timeout", "SI", "stream_idle_timeout");
        return;
    }
    arm(s);
}

/* --- upstream -------------------------------------------------------------------------------- */

/* The upstream's arena goes before the log line is written. Without room for a copy, the line says
 * "-". */
static struct http_msg *copy_for_log(struct stream *s, const struct http_msg *m)
{
    if (s->chain->log == NULL)
        return NULL;
    http_msg_init(&s->local, &s->down->arena);
    for (uint16_t i = 0; i < m->fields.n; i++)
        if (!http_fields_add(&s->local.fields, s->local.arena, m->fields.v[i].name,
                             m->fields.v[i].value))
            break;
    return &s->local;
}

static void up_on_headers(struct http_stream *up, struct http_msg *m, bool end)
{
    static const enum cluster_stat classes[] = {
        CLUSTER_STAT_upstream_rq_1xx, CLUSTER_STAT_upstream_rq_2xx, CLUSTER_STAT_upstream_rq_3xx,
        CLUSTER_STAT_upstream_rq_4xx, CLUSTER_STAT_upstream_rq_5xx
    };
    struct stream *s = up->owner;
    int rc = -EINVAL;

    moved(s);
    if (m->status >= 100 && m->status < 600)
        count_upstream(s, classes[m->status / 100 - 1], 1);
    if (edge_response_headers(s->session, m, core_of(s)->now_us - s->up_start_us))
        rc = http_stream_send_headers(s->down, m, end);
    if (rc == -ENOMEM) {
        out_of_packets(s);
        return;
    }
    if (rc < 0) {
        reply(s, 502, "upstream response could not be forwarded", "UPE",
              "upstream_response_not_writable");
        return;
    }
    s->resp = copy_for_log(s, m);
    s->resp_started = true;
    s->status = m->status;
    s->details = "via_upstream";
}

static void up_on_data(struct http_stream *up, struct pktq *data, bool end)
{
    struct stream *s = up->owner;

    moved(s);
    s->bytes_out += data->bytes;
    if (http_stream_send_data(s->down, data, end) < 0)
        out_of_packets(s); /* last */
    else if (!end && http_stream_room(s->down) == 0)
        http_stream_pause(up, true);
}

static void up_on_trailers(struct http_stream *up, struct http_fields *trailers)
{
    struct stream *s = up->owner;

    moved(s);
    if (http_stream_send_trailers(s->down, trailers) < 0)
        out_of_packets(s); /* last */
}

static void up_on_writable(struct http_stream *up)
{
    struct stream *s = up->owner;

    if (s->down != NULL)
        http_stream_pause(s->down, false);
}

static void ask(struct stream *s);

/* A kept connection closed as the request was on its way: nobody has acted on it (RFC 9110, 9.2.2).
 */
static bool may_retry(const struct stream *s, const struct http_stream *up, enum http_end why)
{
    static const char *const idempotent[] = { "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE" };
    bool is_idempotent = false;

    for (unsigned i = 0; i < ARRAY_SIZE(idempotent); i++)
        is_idempotent |= slice_eq(s->req->method, slice_of(idempotent[i]));
    return (why == HTTP_END_CONN_CLOSED || why == HTTP_END_ABORTED) && is_idempotent &&
           !s->retried && s->req_end && !s->body_sent && !s->resp_started && upconn_is_reused(up);
}

static void up_on_closed(struct http_stream *up, enum http_end why)
{
    struct stream *s = up->owner;
    bool retry = may_retry(s, up, why);

    s->up = NULL;
    count_upstream(s, CLUSTER_STAT_upstream_rq_active, -1);
    if (why == HTTP_END_OK) {
        count_upstream(s, CLUSTER_STAT_upstream_rq_completed, 1);
        s->deadline_us = 0;
        return; /* ->down ends by itself, once everything is out */
    }
    upconn_count_error(up);
    count_upstream(s, CLUSTER_STAT_upstream_rq_rx_reset, 1);
    if (retry) {
        s->retried = true;
        count_upstream(s, CLUSTER_STAT_upstream_rq_retry, 1);
        ask(s);
        return;
    }
    switch (why) {
    case HTTP_END_PROTOCOL_ERROR:
    case HTTP_END_OVERFLOW:
        upstream_failed(s, "protocol error", "UPE", 502);
        return;
    case HTTP_END_PEER_RESET:
    case HTTP_END_CONN_CLOSED:
    case HTTP_END_ABORTED:
    case HTTP_END_OK:
        upstream_failed(s, "connection termination", "UC", 503);
        return;
    }
}

static const struct http_stream_ops up_ops = {
    .on_headers = up_on_headers,
    .on_data = up_on_data,
    .on_trailers = up_on_trailers,
    .on_writable = up_on_writable,
    .on_closed = up_on_closed,
};

/* Everything of the request that is here already. */
static int send_request(struct stream *s)
{
    bool has_body = !pktq_is_empty(&s->body) || s->trailers != NULL;
    int rc = http_stream_send_headers(s->up, s->req, s->req_end && !has_body);

    if (rc < 0)
        return rc;
    s->req_sent = true;
    if (!pktq_is_empty(&s->body)) {
        s->body_sent = true;
        rc = http_stream_send_data(s->up, &s->body, s->req_end && s->trailers == NULL);
    }
    if (rc == 0 && s->trailers != NULL)
        rc = http_stream_send_trailers(s->up, s->trailers);
    return rc;
}

static void on_ready(struct cluster_waiter *w, struct http_stream *up)
{
    struct stream *s = container_of(w, struct stream, waiter);
    int rc;

    s->waiting = false;
    s->up = up;
    s->upstream = *upconn_host(up);
    s->upstream_local = *upconn_local(up);
    s->up_start_us = core_of(s)->now_us;
    moved(s);
    http_stream_set_owner(up, &up_ops, s);
    count_upstream(s, CLUSTER_STAT_upstream_rq_total, 1);
    rc = send_request(s);
    if (rc == -ENOMEM) {
        out_of_packets(s);
        return;
    }
    if (rc < 0) {
        reply(s, 503, "request could not be forwarded", "LR", "upstream_request_not_writable");
        return;
    }
    http_stream_pause(s->down, !s->req_end && http_stream_room(up) == 0);
}

static void on_failed(struct cluster_waiter *w, enum cluster_failure why, const char *text,
                      const struct ipport *host)
{
    struct stream *s = container_of(w, struct stream, waiter);

    s->waiting = false;
    count_upstream(s, CLUSTER_STAT_upstream_rq_active, -1);
    snprintf(s->failure, sizeof(s->failure), "%s", text);
    if (host != NULL)
        s->upstream = *host;
    switch (why) {
    case CLUSTER_NO_ENDPOINT:
        reply(s, 503, "no healthy upstream", "UH", "no_healthy_upstream");
        return;
    case CLUSTER_OVERFLOW:
        upstream_failed(s, "overflow", "UO", 503);
        return;
    case CLUSTER_CONNECT_TIMEOUT:
        s->failure[0] = '\0';
        upstream_failed(s, "connection timeout", "UF", 503);
        return;
    case CLUSTER_CONNECT_FAILURE:
        upstream_failed(s, "remote connection failure", "UF", 503);
        return;
    case CLUSTER_GONE:
        upstream_failed(s, "local reset", "LR", 503);
        return;
    }
}

static const struct cluster_waiter_ops waiter_ops = { on_ready, on_failed };

static void ask(struct stream *s)
{
    s->waiting = true;
    cluster_waiter_init(&s->waiter, &waiter_ops);
    s->waiter.fresh = s->retried;
    count_upstream(s, CLUSTER_STAT_upstream_rq_active, 1);
    cluster_request(s->cluster, &s->waiter);
}

/* --- downstream ------------------------------------------------------------------------------ */

static bool is_answered(const struct stream *s)
{
    return s->resp_started && s->up == NULL && !s->waiting;
}

static void choose_route(struct stream *s, bool end)
{
    if (slice_eq(s->req->method, SLICE("CONNECT"))) {
        reply(s, 405, "", "", "connect_not_supported");
        return;
    }
    s->route = route_find(s->chain->routes, s->req->authority, s->req->path);
    if (s->route == NULL) {
        count(s, HTTP_STAT_no_route, 1);
        reply(s, 404, "", "NR", "route_not_found");
        return;
    }
    s->cluster_rt = s->route->target;
    if (s->cluster_rt != NULL)
        s->cluster = upstreams_find(s->session->proxy->conf.upstreams, s->cluster_rt);
    if (s->cluster == NULL) {
        s->cluster_rt = NULL;
        count(s, HTTP_STAT_no_cluster, 1);
        reply(s, 503, "", "NC", "cluster_not_found");
        return;
    }
    if (s->req->expect_continue)
        http_stream_send_info(s->down, 100);
    if (end)
        request_complete(s);
    else
        arm(s); /* the route's idle_timeout may be the shortest yet */
    ask(s);
}

static void down_on_headers(struct http_stream *down, struct http_msg *m, bool end)
{
    struct stream *s = down->owner;

    moved(s);
    s->req = m;
    edge_client_address(s->session, m, &s->client);
    if (!edge_request_headers(s->session, m)) {
        reply(s, 431, "Request Header Fields Too Large", "", "request_headers_too_large");
        return;
    }
    arm(s);
    choose_route(s, end); /* last: an answer may be the end of @s */
}

static void down_on_data(struct http_stream *down, struct pktq *data, bool end)
{
    struct stream *s = down->owner;

    moved(s);
    s->bytes_in += data->bytes;
    if (end)
        request_complete(s);
    if (s->up != NULL) {
        s->body_sent = true;
        if (http_stream_send_data(s->up, data, end) < 0)
            out_of_packets(s); /* last */
        else if (!end && http_stream_room(s->up) == 0)
            http_stream_pause(down, true);
    } else if (is_answered(s) || !s->waiting) {
        pktq_clear(data);
    } else {
        pktq_splice(&s->body, data);
        if (!end && s->body.bytes >= BODY_MAX)
            http_stream_pause(down, true);
    }
}

static void down_on_trailers(struct http_stream *down, struct http_fields *trailers)
{
    struct stream *s = down->owner;

    moved(s);
    edge_request_trailers(trailers);
    request_complete(s);
    if (s->up == NULL)
        s->trailers = trailers;
    else if (http_stream_send_trailers(s->up, trailers) < 0)
        out_of_packets(s); /* last */
}

static void down_on_writable(struct http_stream *down)
{
    struct stream *s = down->owner;

    moved(s);
    if (s->up != NULL)
        http_stream_pause(s->up, false);
}

static void down_on_bad_request(struct http_stream *down, uint16_t status, const char *details)
{
    struct stream *s = down->owner;

    if (status == 503) { /* our memory; the codec has counted it */
        reply(s, status, http_reason(status), "OM", details);
        return;
    }
    count(s,
          status == 431 ? HTTP_STAT_downstream_rq_too_large
                        : HTTP_STAT_downstream_cx_protocol_error,
          1);
    reply(s, status, http_reason(status), "DPE", details);
}

static void down_on_closed(struct http_stream *down, enum http_end why)
{
    struct stream *s = down->owner;

    s->down = NULL;
    /* A refused request ends as the codec's error, after our answer to it: the client stayed. */
    if (why == HTTP_END_OK || s->is_replied) {
        count(s, HTTP_STAT_downstream_rq_completed, 1);
    } else {
        count(s, HTTP_STAT_downstream_rq_rx_reset, 1);
        s->flags = "DC";
        s->details = "downstream_remote_disconnect";
        if (!s->resp_started)
            s->status = 0;
    }
    finish(s);
}

static const struct http_stream_ops down_ops = {
    .on_headers = down_on_headers,
    .on_data = down_on_data,
    .on_trailers = down_on_trailers,
    .on_writable = down_on_writable,
    .on_bad_request = down_on_bad_request,
    .on_closed = down_on_closed,
};

/* Where there is no memory for a stream: the codec's goes, and the connection with it. */

static void refuse_headers(struct http_stream *down, struct http_msg *m, bool end)
{
    http_stream_reset(down);
}

static void refuse_bad(struct http_stream *down, uint16_t status, const char *details)
{
    http_stream_reset(down);
}

static void refuse_closed(struct http_stream *down, enum http_end why)
{
}

static const struct http_stream_ops refuse_ops = { .on_headers = refuse_headers,
                                                   .on_bad_request = refuse_bad,
                                                   .on_closed = refuse_closed };

void stream_accept(struct session *session, struct http_stream *down)
{
    struct stream *s = slab_alloc(&session->proxy->streams);

    if (s == NULL) {
        http_stream_set_owner(down, &refuse_ops, NULL);
        return;
    }
    s->session = session;
    s->down = down;
    s->client = session->remote;
    s->chain = session->chain;
    s->rt = session->rt;
    pin_get(s->rt->pins, session->proxy->core->id);
    pktq_init(&s->body);
    wheel_timer_init(&s->timer, on_timer);
    s->start_us = s->active_us = session->proxy->core->now_us;
    s->start_wall_us = session->proxy->core->wall_us;
    s->flags = s->details = "";
    list_push_tail(&session->streams, &s->link);
    http_stream_set_owner(down, &down_ops, s);
    count(s, HTTP_STAT_downstream_rq_total, 1);
    count(s, HTTP_STAT_downstream_rq_active, 1);
    session_stream_changed(session);
    arm(s);
}
