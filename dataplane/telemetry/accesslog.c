#include "dataplane/telemetry/accesslog.h"

#include "dataplane/base/compiler.h"
#include "dataplane/base/num.h"
#include "dataplane/base/own.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

const char accesslog_default_format[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/* --- a line being written -------------------------------------------------------------------- */

struct out {
    char *at, *end;
};

static void put(struct out *o, const char *text, size_t len)
{
    size_t part = MIN(len, (size_t)(o->end - o->at));

    memcpy(o->at, text, part);
    o->at += part;
}

static void put_text(struct out *o, const char *text)
{
    if (text == NULL || text[0] == '\0')
        put(o, "-", 1);
    else
        put(o, text, strlen(text));
}

/* A peer's bytes. */
static void put_escaped(struct out *o, struct slice s)
{
    static const char hex[] = "0123456789abcdef";

    if (s.len == 0) {
        put(o, "-", 1);
        return;
    }
    for (size_t i = 0, plain = 0; i <= s.len; i++) {
        unsigned char c = i < s.len ? (unsigned char)s.ptr[i] : 0;
        char esc[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };

        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        put(o, s.ptr + plain, i - plain);
        plain = i + 1;
        if (i < s.len)
            put(o, esc, 4);
    }
}

static void put_number(struct out *o, uint64_t n)
{
    char text[NUM_STRLEN];

    put(o, text, num_str(n, text));
}

static void put_address(struct out *o, const struct ipport *a)
{
    char text[IPPORT_STRLEN];

    put_text(o, a != NULL ? ipport_str(a, text) : NULL);
}

static void put_digits(char *to, unsigned n, unsigned value)
{
    for (; n > 0; value /= 10)
        to[--n] = (char)('0' + value % 10);
}

/* "2020-11-25T21:26:18.409Z" */
static void put_time(struct out *o, uint64_t wall_us)
{
    const time_t seconds = (time_t)(wall_us / 1000000);
    char text[] = "0000-00-00T00:00:00.000Z";
    struct tm tm;

    gmtime_r(&seconds, &tm);
    put_digits(text, 4, (unsigned)tm.tm_year + 1900);
    put_digits(text + 5, 2, (unsigned)tm.tm_mon + 1);
    put_digits(text + 8, 2, (unsigned)tm.tm_mday);
    put_digits(text + 11, 2, (unsigned)tm.tm_hour);
    put_digits(text + 14, 2, (unsigned)tm.tm_min);
    put_digits(text + 17, 2, (unsigned)tm.tm_sec);
    put_digits(text + 20, 3, (unsigned)(wall_us / 1000 % 1000));
    put(o, text, sizeof(text) - 1);
}

/* --- operators ------------------------------------------------------------------------------- */

struct op {
    void (*fn)(struct out *o, const struct op *op, const struct accesslog_record *r);
    struct slice text;        /* literal, or first header */
    struct slice alternative; /* second header, after '?' */
    size_t max;               /* of a header's value; 0: all */
};

#define OP(name, statement)                                                                        \
    static void op_##name(struct out *o, const struct op *op, const struct accesslog_record *r)    \
    {                                                                                              \
        statement;                                                                                 \
    }

OP(literal, put(o, op->text.ptr, op->text.len))
OP(start_time, put_time(o, r->start_wall_us))
OP(protocol, put_text(o, r->protocol))
OP(response_code, put_number(o, r->response_code))
OP(response_flags, put_text(o, r->response_flags))
OP(details, put_text(o, r->response_code_details))
OP(termination, put_text(o, r->termination_details))
OP(bytes_received, put_number(o, r->bytes_received))
OP(bytes_sent, put_number(o, r->bytes_sent))
OP(duration, put_number(o, r->duration_us / 1000))
OP(upstream_host, put_address(o, r->upstream_host))
OP(upstream_cluster, put_text(o, r->upstream_cluster))
OP(upstream_local, put_address(o, r->upstream_local))
OP(downstream_local, put_address(o, r->downstream_local))
OP(downstream_remote, put_address(o, r->downstream_remote))
OP(sni, put_escaped(o, slice_of(r->requested_server_name)))
OP(route_name, put_text(o, r->route_name))

static void op_failure(struct out *o, const struct op *op, const struct accesslog_record *r)
{
    put_escaped(o, slice_of(r->upstream_failure));
}

static void put_header(struct out *o, const struct op *op, const void *msg, accesslog_header_fn get)
{
    struct slice v = SLICE_NONE;

    if (msg != NULL) {
        v = get(msg, op->text);
        if (v.len == 0 && op->alternative.len > 0)
            v = get(msg, op->alternative);
    }
    put_escaped(o, op->max != 0 ? slice_head(v, op->max) : v);
}

static void op_req(struct out *o, const struct op *op, const struct accesslog_record *r)
{
    put_header(o, op, r->request, r->request_header);
}

static void op_resp(struct out *o, const struct op *op, const struct accesslog_record *r)
{
    put_header(o, op, r->response, r->response_header);
}

static const struct {
    const char *name;
    void (*fn)(struct out *o, const struct op *op, const struct accesslog_record *r);
} operators[] = {
    { "START_TIME", op_start_time },
    { "REQ", op_req },
    { "RESP", op_resp },
    { "PROTOCOL", op_protocol },
    { "RESPONSE_CODE", op_response_code },
    { "RESPONSE_FLAGS", op_response_flags },
    { "RESPONSE_CODE_DETAILS", op_details },
    { "CONNECTION_TERMINATION_DETAILS", op_termination },
    { "UPSTREAM_TRANSPORT_FAILURE_REASON", op_failure },
    { "BYTES_RECEIVED", op_bytes_received },
    { "BYTES_SENT", op_bytes_sent },
    { "DURATION", op_duration },
    { "UPSTREAM_HOST", op_upstream_host },
    { "UPSTREAM_CLUSTER", op_upstream_cluster },
    { "UPSTREAM_CLUSTER_RAW", op_upstream_cluster },
    { "UPSTREAM_LOCAL_ADDRESS", op_upstream_local },
    { "DOWNSTREAM_LOCAL_ADDRESS", op_downstream_local },
    { "DOWNSTREAM_REMOTE_ADDRESS", op_downstream_remote },
    { "REQUESTED_SERVER_NAME", op_sni },
    { "ROUTE_NAME", op_route_name },
};

/* --- formats --------------------------------------------------------------------------------- */

#define MAX_OPS 128

struct accesslog_format {
    unsigned n;
    struct op ops[MAX_OPS];
};

static struct slice lower(struct arena *a, struct slice s)
{
    char *copy = arena_strndup(a, s.ptr, s.len);

    for (size_t i = 0; i < s.len; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] - 'A' + 'a');
    return (struct slice){ copy, s.len };
}

/* "NAME", "NAME(header)", "NAME(header?other):max" */
static bool parse_operator(struct arena *a, struct slice s, struct op *op)
{
    size_t open = slice_find(s, '('), colon;
    struct slice name = slice_head(s, open), arg, rest;
    uint64_t max = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(operators); i++)
        if (slice_eq(name, slice_of(operators[i].name)))
            op->fn = operators[i].fn;
    if (op->fn == NULL)
        return false;
    if (op->fn != op_req && op->fn != op_resp)
        return open == s.len;
    if (open == s.len)
        return false;
    arg = slice_skip(s, open + 1);
    rest = slice_skip(arg, slice_find(arg, ')'));
    if (rest.len == 0)
        return false;
    arg = slice_head(arg, arg.len - rest.len);
    rest = slice_skip(rest, 1);
    colon = slice_find(rest, ':');
    if (rest.len > 0 && (colon != 0 || !num_u64(slice_skip(rest, 1), ACCESSLOG_LINE_MAX, &max)))
        return false;
    op->max = max;
    op->text = lower(a, slice_head(arg, slice_find(arg, '?')));
    if (op->text.len < arg.len)
        op->alternative = lower(a, slice_skip(arg, op->text.len + 1));
    return op->text.len > 0;
}

struct accesslog_format *accesslog_compile(struct arena *a, const char *format, char *err,
                                           size_t err_len)
{
    struct accesslog_format *f = arena_alloc(a, sizeof(*f));
    struct slice rest = slice_of(arena_strdup(a, format));

    while (rest.len > 0) {
        struct op *op = &f->ops[f->n];
        size_t percent = slice_find(rest, '%'), end;

        if (f->n == MAX_OPS) {
            snprintf(err, err_len, "the format has more than %d parts", MAX_OPS);
            return NULL;
        }
        if (percent > 0) {
            op->fn = op_literal;
            op->text = slice_head(rest, percent);
            rest = slice_skip(rest, percent);
            f->n++;
            continue;
        }
        rest = slice_skip(rest, 1);
        end = slice_find(rest, '%');
        if (end == rest.len) {
            snprintf(err, err_len, "the access log's operator %%%.*s has no %% at its end",
                     (int)MIN(end, 80), rest.ptr);
            return NULL;
        }
        if (end == 0) { /* %% */
            op->fn = op_literal;
            op->text = slice_head(rest, 1);
        } else if (!parse_operator(a, slice_head(rest, end), op)) {
            snprintf(err, err_len, "the access log has no operator %%%.*s%%", (int)MIN(end, 80),
                     rest.ptr);
            return NULL;
        }
        rest = slice_skip(rest, end + 1);
        f->n++;
    }
    return f;
}

size_t accesslog_render(const struct accesslog_format *f, const struct accesslog_record *r,
                        char *buf, size_t len)
{
    struct out o = { buf, buf + len };

    for (unsigned i = 0; i < f->n; i++)
        f->ops[i].fn(&o, &f->ops[i], r);
    if (o.at == buf)
        return 0;
    if (o.at == o.end || o.at[-1] != '\n') {
        if (o.at == o.end)
            o.at--;
        *o.at++ = '\n';
    }
    return (size_t)(o.at - buf);
}

/* --- the ring -------------------------------------------------------------------------------- */

#define RING_BYTES (1u << 20)

struct header {
    uint32_t len, file;
};

/* One writer, one reader. Positions only grow; the bytes are taken modulo the size. */
struct accesslog_ring {
    CACHE_ALIGNED _Atomic uint64_t written;
    CACHE_ALIGNED _Atomic uint64_t taken;
    CACHE_ALIGNED char bytes[RING_BYTES];
};

struct accesslog_ring *accesslog_ring_new(void)
{
    struct accesslog_ring *r = own_alloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    atomic_init(&r->written, 0);
    atomic_init(&r->taken, 0);
    return r;
}

void accesslog_ring_free(struct accesslog_ring *r)
{
    free(r);
}

static void copy_in(struct accesslog_ring *r, uint64_t at, const void *from, size_t len)
{
    size_t first = MIN(len, RING_BYTES - at % RING_BYTES);

    memcpy(r->bytes + at % RING_BYTES, from, first);
    memcpy(r->bytes, (const char *)from + first, len - first);
}

static void copy_out(const struct accesslog_ring *r, uint64_t at, void *to, size_t len)
{
    size_t first = MIN(len, RING_BYTES - at % RING_BYTES);

    memcpy(to, r->bytes + at % RING_BYTES, first);
    memcpy((char *)to + first, r->bytes, len - first);
}

bool accesslog_push(struct accesslog_ring *r, uint32_t file, const char *line, size_t len)
{
    uint64_t at = atomic_load_explicit(&r->written, memory_order_relaxed);
    /* pairs with the release in accesslog_pop(): the bytes before have been read */
    uint64_t taken = atomic_load_explicit(&r->taken, memory_order_acquire);
    struct header h = { (uint32_t)len, file };

    if (len > ACCESSLOG_LINE_MAX || at - taken + sizeof(h) + len > RING_BYTES)
        return false;
    copy_in(r, at, &h, sizeof(h));
    copy_in(r, at + sizeof(h), line, len);
    /* pairs with the acquire in accesslog_pop() */
    atomic_store_explicit(&r->written, at + sizeof(h) + len, memory_order_release);
    return true;
}

size_t accesslog_pop(struct accesslog_ring *r, uint32_t *file, char *buf)
{
    uint64_t at = atomic_load_explicit(&r->taken, memory_order_relaxed);
    struct header h;

    if (at == atomic_load_explicit(&r->written, memory_order_acquire))
        return 0;
    copy_out(r, at, &h, sizeof(h));
    copy_out(r, at + sizeof(h), buf, h.len);
    *file = h.file;
    atomic_store_explicit(&r->taken, at + sizeof(h) + h.len, memory_order_release);
    return h.len;
}
