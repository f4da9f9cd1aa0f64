/*
 * What an edge proxy does to header fields: x-forwarded-for, x-forwarded-proto,
 * x-request-id, server, date, x-envoy-upstream-service-time, and
 * x-forwarded-client-cert. Names and rules are Envoy's (HTTP header sanitising,
 * ForwardClientCertDetails).
 */
#include "dataplane/base/num.h"
#include "dataplane/http/fields.h"
#include "dataplane/proxy/proxy_priv.h"

#include <stdio.h>

#define XFF SLICE("x-forwarded-for")
#define XFP SLICE("x-forwarded-proto")
#define XFCC SLICE("x-forwarded-client-cert")
#define REQUEST_ID SLICE("x-request-id")
#define XFCC_ELEMENT_MAX 4096
#define UUID_LEN 36

static const struct http_chain_conf *conf_of(const struct session *s)
{
    return s->chain->conf->http;
}

/* What only proxies behind the edge may say. */
static void drop_internal(struct http_fields *f)
{
    uint16_t kept = 0;

    for (uint16_t i = 0; i < f->n; i++)
        if (!slice_starts(f->v[i].name, SLICE("x-envoy-")))
            f->v[kept++] = f->v[i];
    f->n = kept;
}

/* What we, or a proxy that we trust, say in the header: nobody says it again after the body. */
static bool is_of_the_edge(struct slice name)
{
    return slice_starts(name, SLICE("x-forwarded-")) || slice_starts(name, SLICE("x-envoy-")) ||
           slice_eq(name, REQUEST_ID);
}

void edge_request_trailers(struct http_fields *trailers)
{
    uint16_t kept = 0;

    for (uint16_t i = 0; i < trailers->n; i++)
        if (!is_of_the_edge(trailers->v[i].name))
            trailers->v[kept++] = trailers->v[i];
    trailers->n = kept;
}

/* Several fields of that name become one, as a list (RFC 9110, 5.3). */
static struct slice joined(struct http_msg *m, struct slice name)
{
    struct slice all = SLICE_NONE;

    for (uint16_t i = 0; i < m->fields.n; i++) {
        const struct http_field *f = &m->fields.v[i];

        if (!slice_eq(f->name, name))
            continue;
        if (all.len == 0)
            all = f->value;
        else
            all =
                slice_of(arena_printf(m->arena, "%.*s,%.*s", SLICE_ARG(all), SLICE_ARG(f->value)));
    }
    return all;
}

static bool append(struct http_msg *m, struct slice name, const char *value)
{
    struct slice old = joined(m, name);
    const char *text = value;

    if (old.len > 0)
        text = arena_printf(m->arena, "%.*s,%s", SLICE_ARG(old), value);
    return text != NULL && http_fields_set(&m->fields, m->arena, name, slice_of(text));
}

/*
 * A field that is not there yet, of our own words: a name that is a literal, a value that needs no
 * look, and both last as long as the message.
 */
static bool push(struct http_msg *m, struct slice name, struct slice value)
{
    return http_fields_push(&m->fields, m->arena, name, value);
}

/* RFC 9562, version 4: all is random but the version and two bits of the variant. */
static const char *new_request_id(struct session *s, struct arena *a)
{
    static const char digits[] = "0123456789abcdef";
    struct core *c = s->proxy->core;
    const uint64_t random[2] = { core_random(c), core_random(c) };
    char *id = arena_alloc(a, UUID_LEN + 1), *at = id;
    uint8_t bytes[sizeof(random)];

    if (id == NULL)
        return NULL;
    memcpy(bytes, random, sizeof(bytes));
    bytes[6] = 0x40 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        if (i >= 4 && i <= 10 && i % 2 == 0)
            *at++ = '-';
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    *at = '\0';
    return id;
}

static bool set_request_id(struct session *s, struct http_msg *req)
{
    bool keep = conf_of(s)->preserve_request_id || !conf_of(s)->use_remote_address;
    const char *id;

    if (keep && http_fields_get(&req->fields, REQUEST_ID) != NULL)
        return true;
    id = new_request_id(s, req->arena);
    http_fields_remove(&req->fields, REQUEST_ID);
    return id != NULL && push(req, REQUEST_ID, (struct slice){ id, UUID_LEN });
}

/* The @n-th element from the right (from 1) of a comma-separated list; SLICE_NONE if it has fewer.
 */
static struct slice from_the_right(struct slice list, uint32_t n)
{
    size_t end = list.len, at;

    for (;;) {
        at = end;
        while (at > 0 && list.ptr[at - 1] != ',')
            at--;
        if (--n == 0)
            break;
        if (at == 0)
            return SLICE_NONE;
        end = at - 1;
    }
    while (at < end && list.ptr[at] == ' ')
        at++;
    while (end > at && list.ptr[end - 1] == ' ')
        end--;
    return (struct slice){ list.ptr + at, end - at };
}

void edge_client_address(const struct session *s, struct http_msg *req, struct ipport *ret)
{
    const struct http_chain_conf *conf = conf_of(s);
    uint32_t n = conf->use_remote_address ? conf->xff_trusted_hops : conf->xff_trusted_hops + 1;
    struct ipport client = { 0 };

    *ret = s->remote;
    if (n > 0 && ipaddr_parse(from_the_right(joined(req, XFF), n), &client.addr))
        *ret = client;
}

bool edge_request_headers(struct session *s, struct http_msg *req)
{
    struct slice scheme = s->chain->conf->tls != NULL ? SLICE("https") : SLICE("http");
    char address[IPADDR_STRLEN];

    req->scheme = scheme;
    if (conf_of(s)->use_remote_address) {
        drop_internal(&req->fields);
        if (!append(req, XFF, ipaddr_str(&s->remote.addr, address)))
            return false;
    }
    if (conf_of(s)->use_remote_address && conf_of(s)->xff_trusted_hops == 0)
        http_fields_remove(&req->fields, XFP);
    if (http_fields_get(&req->fields, XFP) == NULL && !push(req, XFP, scheme))
        return false;
    return set_request_id(s, req) && xfcc_apply(s, req);
}

/* "Tue, 15 Nov 1994 08:12:31 GMT" (RFC 9110, 5.6.7). Once a second: gmtime_r() takes a lock. */
static const char *date(struct proxy *p)
{
    const time_t now = (time_t)(p->core->wall_us / 1000000);
    struct tm tm;

    if (now != p->date_of) {
        gmtime_r(&now, &tm);
        strftime(p->date, sizeof(p->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        p->date_of = now;
    }
    return p->date;
}

static bool set_date(struct session *s, struct http_msg *resp)
{
    return http_fields_get(&resp->fields, SLICE("date")) != NULL ||
           http_fields_add(&resp->fields, resp->arena, SLICE("date"), slice_of(date(s->proxy)));
}

bool edge_response_headers(struct session *s, struct http_msg *resp, uint64_t service_time_us)
{
    struct slice server = slice_of(conf_of(s)->server_name);
    char ms[NUM_STRLEN];

    if (server.len > 0 && !http_fields_set(&resp->fields, resp->arena, SLICE("server"), server))
        return false;
    if (service_time_us != UINT64_MAX) {
        num_str(service_time_us / 1000, ms);
        if (!http_fields_set(&resp->fields, resp->arena, SLICE("x-envoy-upstream-service-time"),
                             slice_of(ms)))
            return false;
    }
    return set_date(s, resp);
}

/* --- x-forwarded-client-cert ----------------------------------------------------------------- */

struct text {
    char buf[XFCC_ELEMENT_MAX];
    size_t len;
    bool full;
};

static void put(struct text *t, const char *s, size_t len)
{
    if (len > sizeof(t->buf) - 1 - t->len) {
        t->full = true;
        return;
    }
    memcpy(t->buf + t->len, s, len);
    t->len += len;
    t->buf[t->len] = '\0';
}

static void put_str(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

/* In double quotes; a quote or backslash of the peer's is escaped and cannot end the value. */
static void put_quoted(struct text *t, const char *s)
{
    put(t, "\"", 1);
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            put(t, "\\", 1);
        put(t, s, 1);
    }
    put(t, "\"", 1);
}

/* Quoted where a separator in it could be taken for the header's own. */
static void put_value(struct text *t, const char *s)
{
    if (strpbrk(s, ",;=\"\\") != NULL)
        put_quoted(t, s);
    else
        put_str(t, s);
}

static void put_dns(struct text *t, const char *names)
{
    while (*names != '\0') {
        size_t len = strcspn(names, ",");

        put_str(t, ";DNS=");
        put(t, names, len);
        names += len;
        names += *names == ',';
    }
}

/* One element: By, Hash, then what the chain asks for, in Envoy's order. */
static bool describe(struct session *s, const struct tls_peer *peer, struct text *t)
{
    const struct http_chain_conf *conf = conf_of(s);

    t->len = 0;
    t->full = false;
    put_str(t, "By=");
    put_value(t, tls_ctx_local_uri(transport_tls_ctx(s->transport)));
    put_str(t, ";Hash=");
    put_str(t, peer->hash);
    if (conf->set_subject) {
        put_str(t, ";Subject=");
        put_quoted(t, peer->subject);
    }
    if (conf->set_uri) {
        put_str(t, ";URI=");
        put_value(t, peer->uri);
    }
    if (conf->set_dns)
        put_dns(t, peer->dns);
    return !t->full;
}

bool xfcc_apply(struct session *s, struct http_msg *req)
{
    const struct tls_peer *peer = s->transport != NULL ? transport_tls_peer(s->transport) : NULL;
    bool is_mtls = peer != NULL && peer->has_cert;
    struct text ours; /* large: written only where it is used */

    switch (conf_of(s)->forward_client_cert) {
    case XFCC_ALWAYS_FORWARD_ONLY:
        return true;
    case XFCC_SANITIZE:
        http_fields_remove(&req->fields, XFCC);
        return true;
    case XFCC_FORWARD_ONLY:
        if (!is_mtls)
            http_fields_remove(&req->fields, XFCC);
        return true;
    case XFCC_APPEND_FORWARD:
        if (is_mtls)
            return describe(s, peer, &ours) && append(req, XFCC, ours.buf);
        http_fields_remove(&req->fields, XFCC);
        return true;
    case XFCC_SANITIZE_SET:
        http_fields_remove(&req->fields, XFCC);
        if (is_mtls)
            return describe(s, peer, &ours) &&
                   http_fields_add(&req->fields, req->arena, XFCC, slice_of(ours.buf));
        return true;
    }
    return false;
}
