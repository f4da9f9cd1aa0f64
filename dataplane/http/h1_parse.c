#include "dataplane/http/h1_parse.h"

#include "dataplane/base/num.h"

#define LINE_MIN 128     /* first room of a line that comes in pieces */
#define MAX_NOMINATED 32 /* fields that Connection may name */
#define MAX_LENGTH INT64_MAX

static const struct h1_refusal bare_lf = { 400, "http1.bare_lf" };
static const struct h1_refusal bad_request_line = { 400, "http1.invalid_request_line" };
static const struct h1_refusal bad_status_line = { 502, "http1.invalid_status_line" };
static const struct h1_refusal bad_method = { 400, "http1.invalid_method" };
static const struct h1_refusal bad_url = { 400, "http1.invalid_url" };
static const struct h1_refusal bad_version = { 505, "http1.version_not_supported" };
static const struct h1_refusal bad_scheme = { 400, "http1.invalid_scheme" };
static const struct h1_refusal folded = { 400, "http1.folded_line" };
static const struct h1_refusal bad_name = { 400, "http1.invalid_header_name" };
static const struct h1_refusal bad_value = { 400, "http1.invalid_characters" };
static const struct h1_refusal no_host = { 400, "http1.missing_host_header" };
static const struct h1_refusal two_hosts = { 400, "http1.several_host_headers" };
static const struct h1_refusal bad_host = { 400, "http1.invalid_host" };
static const struct h1_refusal bad_length = { 400, "http1.invalid_content_length" };
static const struct h1_refusal two_lengths = { 400, "http1.several_content_lengths" };
static const struct h1_refusal bad_coding = { 400, "http1.invalid_transfer_encoding" };
static const struct h1_refusal other_coding = { 501, "http1.unsupported_transfer_encoding" };
static const struct h1_refusal coding_not_allowed = { 400, "http1.transfer_encoding_not_allowed" };
static const struct h1_refusal length_and_coding = {
    400, "http1.content_length_and_chunked_not_allowed"
};
static const struct h1_refusal bad_connection = { 400, "http1.connection_header_rejected" };
static const struct h1_refusal bad_trailer = { 400, "http1.trailer_not_allowed" };
static const struct h1_refusal no_upgrade = { 502, "http1.switching_protocols_not_allowed" };
static const struct h1_refusal too_large = { 431, "http1.headers_too_large" };
static const struct h1_refusal too_many = { 431, "http1.too_many_headers" };
static const struct h1_refusal trailers_too_large = { 431, "http1.trailers_too_large" };
static const struct h1_refusal no_memory = { 503, "http1.no_memory" };

static enum h1_result refuse(struct h1_head *h, struct h1_refusal why)
{
    h->refusal = why;
    return H1_ERROR;
}

static uint32_t max_bytes(const struct http_conf *conf)
{
    return conf->max_header_bytes != 0 ? conf->max_header_bytes : HTTP_MAX_HEADER_BYTES;
}

/*
 * Head and trailers are copied once each, and a line in pieces is moved as it grows (at most
 * twice its length in all); the rest is the list and what filters add.
 */
size_t h1_arena_limit(const struct http_conf *conf)
{
    return 6 * (size_t)max_bytes(conf) + 64 * 1024;
}

struct h1_head *h1_head_new(struct arena *a, bool is_request, const struct http_conf *conf)
{
    struct h1_head *h = arena_alloc(a, sizeof(*h));

    if (h == NULL)
        return NULL;
    http_msg_init(&h->msg, a);
    h->is_request = is_request;
    h->max_bytes = h->budget = max_bytes(conf);
    h->max_fields = HTTP_MAX_FIELDS;
    if (conf->max_fields != 0)
        h->max_fields = MIN(conf->max_fields, HTTP_MAX_FIELDS);
    return h;
}

void h1_head_trailers(struct h1_head *h)
{
    h->section = H1_TRAILERS;
    h->budget = h->max_bytes;
    h->n_fields = 0;
}

void h1_head_again(struct h1_head *h)
{
    struct h1_head next = {
        .is_request = h->is_request,
        .to_head = h->to_head,
        .max_bytes = h->max_bytes,
        .budget = h->budget,
        .max_fields = h->max_fields,
    };

    http_msg_init(&next.msg, h->msg.arena);
    *h = next;
}

/* The request line (RFC 9112, 3) */

/* Visible ASCII but '#': a fragment is not sent, and some would cut the path at it. */
static bool is_target(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= 0x20 || s.ptr[i] >= 0x7f || s.ptr[i] == '#')
            return false;
    return s.len > 0;
}

bool h1_is_path(struct slice s)
{
    return is_target(s) && s.ptr[0] == '/';
}

static bool is_port(struct slice s)
{
    uint64_t port;

    return s.len <= 5 && num_u64(s, UINT16_MAX, &port);
}

static bool is_ip_literal(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (strchr("0123456789abcdefABCDEF:.", s.ptr[i]) == NULL || s.ptr[i] == '\0')
            return false;
    return s.len >= 2;
}

/* RFC 3986 reg-name, without escapes (DNS has none) and without the comma, which joins fields. */
static bool is_reg_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        const uint8_t c = (uint8_t)s.ptr[i];
        const bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

        if (!alnum && (c == '\0' || strchr("-._~!$&'()*+;=", c) == NULL))
            return false;
    }
    return s.len > 0;
}

bool h1_is_authority(struct slice s)
{
    size_t end;

    if (s.len > 0 && s.ptr[0] == '[') {
        end = slice_find(s, ']');
        if (end == s.len || !is_ip_literal(slice_skip(slice_head(s, end), 1)))
            return false;
        end++;
    } else {
        end = slice_find(s, ':');
        if (!is_reg_name(slice_head(s, end)))
            return false;
    }
    return end == s.len || (s.ptr[end] == ':' && is_port(slice_skip(s, end + 1)));
}

/* @authority is one. */
static bool has_port(struct slice authority)
{
    if (authority.ptr[0] == '[')
        return authority.ptr[authority.len - 1] != ']';
    return slice_find(authority, ':') < authority.len;
}

/* "http://host/path": the authority counts, whatever Host says (RFC 9112, 3.2.2). */
static enum h1_result absolute_form(struct h1_head *h, struct slice target)
{
    struct http_msg *m = &h->msg;
    size_t skip, end;
    char *path;

    if (slice_ieq(slice_head(target, 7), SLICE("http://"))) {
        m->scheme = SLICE("http");
        skip = 7;
    } else if (slice_ieq(slice_head(target, 8), SLICE("https://"))) {
        m->scheme = SLICE("https");
        skip = 8;
    } else {
        return refuse(h, bad_scheme);
    }

    target = slice_skip(target, skip);
    end = MIN(slice_find(target, '/'), slice_find(target, '?'));
    m->authority = slice_head(target, end);
    m->path = slice_skip(target, end);
    if (!h1_is_authority(m->authority))
        return refuse(h, bad_url);
    h->absolute_form = true;

    if (m->path.len > 0 && m->path.ptr[0] == '/')
        return H1_MORE;
    if (m->path.len == 0) {
        m->path = slice_eq(m->method, SLICE("OPTIONS")) ? SLICE("*") : SLICE("/");
        return H1_MORE;
    }
    path = arena_alloc(m->arena, m->path.len + 1); /* "?query" alone */
    if (path == NULL)
        return refuse(h, no_memory);
    path[0] = '/';
    memcpy(path + 1, m->path.ptr, m->path.len);
    m->path = (struct slice){ path, m->path.len + 1 };
    return H1_MORE;
}

static enum h1_result target_form(struct h1_head *h, struct slice target)
{
    struct http_msg *m = &h->msg;

    if (!is_target(target))
        return refuse(h, bad_url);

    if (slice_eq(m->method, SLICE("CONNECT"))) {
        if (!h1_is_authority(target) || !has_port(target))
            return refuse(h, bad_url);
        m->authority = target;
        m->path = SLICE("");
        h->absolute_form = true;
        return H1_MORE;
    }
    if (target.ptr[0] == '/') {
        m->path = target;
        return H1_MORE;
    }
    if (slice_eq(target, SLICE("*"))) {
        if (!slice_eq(m->method, SLICE("OPTIONS")))
            return refuse(h, bad_url);
        m->path = target;
        return H1_MORE;
    }
    return absolute_form(h, target);
}

enum version_check { VERSION_OK, VERSION_OTHER, VERSION_BAD };

/* HTTP-version of RFC 9112, 2.3: a name in capitals, a digit, a dot, a digit. */
static enum version_check read_version(struct slice s, enum http_version *ret)
{
    if (slice_eq(s, SLICE("HTTP/1.1"))) {
        *ret = HTTP_1_1;
        return VERSION_OK;
    }
    if (slice_eq(s, SLICE("HTTP/1.0"))) {
        *ret = HTTP_1_0;
        return VERSION_OK;
    }
    if (s.len == 8 && slice_starts(s, SLICE("HTTP/")) && s.ptr[5] >= '0' && s.ptr[5] <= '9' &&
        s.ptr[6] == '.' && s.ptr[7] >= '0' && s.ptr[7] <= '9')
        return VERSION_OTHER;
    return VERSION_BAD;
}

static enum h1_result request_line(struct h1_head *h, struct slice line)
{
    struct http_msg *m = &h->msg;
    size_t first = slice_find(line, ' '), second;
    struct slice rest;

    if (first == line.len)
        return refuse(h, bad_request_line);
    rest = slice_skip(line, first + 1);
    second = slice_find(rest, ' ');
    if (second == rest.len)
        return refuse(h, bad_request_line);

    switch (read_version(slice_skip(rest, second + 1), &m->version)) {
    case VERSION_BAD:
        return refuse(h, bad_request_line);
    case VERSION_OTHER:
        return refuse(h, bad_version);
    case VERSION_OK:
        break;
    }
    m->method = slice_head(line, first);
    if (!http_is_token(m->method))
        return refuse(h, bad_method);
    return target_form(h, slice_head(rest, second));
}

/* "HTTP/1.1 200 OK". The space before an empty reason is often forgotten, and harmless. */
static enum h1_result status_line(struct h1_head *h, struct slice line)
{
    struct http_msg *m = &h->msg;
    uint64_t status;

    if (line.len < 12 || line.ptr[8] != ' ' ||
        read_version(slice_head(line, 8), &m->version) != VERSION_OK ||
        !num_u64((struct slice){ line.ptr + 9, 3 }, 999, &status) || status < 100 ||
        (line.len > 12 && line.ptr[12] != ' ') || !http_is_value(slice_skip(line, 12)))
        return refuse(h, bad_status_line);
    m->status = (uint16_t)status;
    return H1_MORE;
}

/* Fields (RFC 9112, 5) */

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static enum h1_result host(struct h1_head *h, struct slice value)
{
    if (!h->is_request)
        return H1_MORE; /* means nothing in a response */
    if (h->has_host)
        return refuse(h, two_hosts);
    if (!h1_is_authority(value))
        return refuse(h, bad_host);
    h->has_host = true;
    if (!h->absolute_form)
        h->msg.authority = value;
    return H1_MORE;
}

static enum h1_result content_length(struct h1_head *h, struct slice value)
{
    if (h->has_length)
        return refuse(h, two_lengths);
    if (!num_u64(value, MAX_LENGTH, &h->length))
        return refuse(h, bad_length);
    h->has_length = true;
    return H1_MORE;
}

static enum h1_result transfer_encoding(struct h1_head *h, struct slice raw)
{
    if (h->n_codings++ > 0)
        return refuse(h, bad_coding);
    h->coding = raw;
    return H1_MORE;
}

static enum h1_result push(struct h1_head *h, struct http_fields *to, struct slice name,
                           struct slice value)
{
    if (!http_fields_push(to, h->msg.arena, name, value))
        return refuse(h, no_memory);
    return H1_MORE;
}

static enum h1_result header(struct h1_head *h, struct slice name, struct slice raw)
{
    const struct slice value = trim(raw);

    switch (http_special(name)) {
    case HTTP_HOST:
        return host(h, value);
    case HTTP_CONTENT_LENGTH:
        return content_length(h, value);
    case HTTP_TRANSFER_ENCODING:
        return transfer_encoding(h, raw);
    case HTTP_HOP:
        return H1_MORE;
    case HTTP_EXPECT:
        if (!h->is_request || !slice_ieq(value, SLICE("100-continue")))
            break;
        h->msg.expect_continue = true;
        return H1_MORE;
    case HTTP_CONNECTION: /* stays in the list until all are known */
    case HTTP_ORDINARY:
        break;
    }
    return push(h, &h->msg.fields, name, value);
}

/*
 * Framing and routing after the body are an attack and refused; other fields that have no place
 * there (RFC 9110, 6.5.1) are left out.
 */
static enum h1_result trailer(struct h1_head *h, struct slice name, struct slice raw)
{
    switch (http_special(name)) {
    case HTTP_HOST:
    case HTTP_CONTENT_LENGTH:
    case HTTP_TRANSFER_ENCODING:
        return refuse(h, bad_trailer);
    case HTTP_HOP:
    case HTTP_EXPECT:
    case HTTP_CONNECTION:
    case HTTP_ORDINARY:
        break;
    }
    if (!http_is_trailer(name))
        return H1_MORE;
    return push(h, &h->trailers, name, trim(raw));
}

/* @line ends where a CR is: the loop over the name needs no other fence. */
static enum h1_result field_line(struct h1_head *h, char *line, size_t len)
{
    struct slice name = { line, 0 }, raw;
    uint8_t lower;

    if (++h->n_fields > h->max_fields)
        return refuse(h, too_many);
    if (line[0] == ' ' || line[0] == '\t')
        return refuse(h, folded);

    while ((lower = http_token_lower[(uint8_t)line[name.len]]) != 0)
        line[name.len++] = (char)lower;
    if (name.len == 0 || line[name.len] != ':')
        return refuse(h, bad_name);

    raw = (struct slice){ line + name.len + 1, len - name.len - 1 };
    if (!http_is_value(raw))
        return refuse(h, bad_value);
    return h->section == H1_TRAILERS ? trailer(h, name, raw) : header(h, name, raw);
}

/* The whole head is there */

/* One element of a list (RFC 9110, 5.6.1), taken off the front of @list. */
static struct slice next_element(struct slice *list)
{
    size_t comma = slice_find(*list, ',');
    struct slice element = trim(slice_head(*list, comma));

    *list = slice_skip(*list, comma < list->len ? comma + 1 : comma);
    return element;
}

/* The element in lower case, in its own place: it is in our arena. */
static bool lower_token(struct slice element)
{
    char *at = (char *)(uintptr_t)element.ptr;

    if (!http_is_token(element))
        return false;
    for (size_t i = 0; i < element.len; i++)
        at[i] = (char)http_token_lower[(uint8_t)at[i]];
    return true;
}

/*
 * Takes out "connection", and what it names (RFC 9110, 7.6.1). Host, lengths and codings are not
 * in the list any more, so they cannot be named away.
 */
static bool connection(struct h1_head *h)
{
    struct http_fields *f = &h->msg.fields;
    struct slice named[MAX_NOMINATED];
    unsigned n = 0;
    bool seen = false;

    for (uint16_t i = 0; i < f->n; i++) {
        struct slice list = f->v[i].value;

        if (!slice_eq(f->v[i].name, SLICE("connection")))
            continue;
        seen = true;
        while (list.len > 0) {
            struct slice element = next_element(&list);

            if (element.len == 0)
                continue;
            if (!lower_token(element))
                return false;
            if (slice_eq(element, SLICE("close")))
                h->says_close = true;
            else if (slice_eq(element, SLICE("keep-alive")))
                h->says_keep_alive = true;
            else if (n == MAX_NOMINATED)
                return false;
            else
                named[n++] = element;
        }
    }
    if (seen)
        http_fields_remove(f, SLICE("connection"));
    for (unsigned i = 0; i < n; i++)
        http_fields_remove(f, named[i]);
    return true;
}

/* A list of codings that exist, with chunked once and last: right, but not for us. */
static bool is_known_coding(struct slice list)
{
    static const char *const known[] = { "gzip", "x-gzip", "deflate", "compress", "x-compress" };
    struct slice element = SLICE_NONE;

    if (slice_find(list, ',') == list.len || slice_ends(list, SLICE(",")))
        return false;
    while (list.len > 0) {
        bool found = false;

        element = next_element(&list);
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            found |= slice_ieq(element, slice_of(known[i]));
        if (!found && (list.len > 0 || !slice_ieq(element, SLICE("chunked"))))
            return false;
    }
    return slice_ieq(element, SLICE("chunked"));
}

/* Only "chunked"; no tab, which some take for a part of the name. */
static enum h1_result check_coding(struct h1_head *h)
{
    struct slice coding = h->coding;

    if (h->msg.version == HTTP_1_0)
        return refuse(h, coding_not_allowed);
    if (h->has_length)
        return refuse(h, length_and_coding);
    while (coding.len > 0 && coding.ptr[0] == ' ')
        coding = slice_skip(coding, 1);
    while (coding.len > 0 && coding.ptr[coding.len - 1] == ' ')
        coding.len--;
    if (slice_ieq(coding, SLICE("chunked")))
        return H1_MORE;
    return refuse(h, is_known_coding(coding) ? other_coding : bad_coding);
}

/* RFC 9112, 6.3, in its order. */
static enum h1_result request_framing(struct h1_head *h)
{
    struct http_msg *m = &h->msg;

    if (m->path.len == 0 && (h->n_codings > 0 || h->has_length))
        return refuse(h, h->n_codings > 0 ? coding_not_allowed : bad_length); /* CONNECT */

    if (h->n_codings > 0) {
        h->framing = H1_CHUNKED;
        return H1_END;
    }
    h->framing = h->has_length && h->length > 0 ? H1_LENGTH : H1_NO_BODY;
    m->content_length = h->has_length ? h->length : 0;
    m->no_body = !h->has_length;
    return H1_END;
}

static enum h1_result response_framing(struct h1_head *h)
{
    struct http_msg *m = &h->msg;

    if (h->has_length)
        m->content_length = h->length;
    if (h->to_head || m->status < 200 || m->status == 204 || m->status == 304) {
        h->framing = H1_NO_BODY;
        m->no_body = true;
        /* A 204 that speaks of a body may be followed by one: read nothing after it. */
        if (m->status == 204 && (h->n_codings > 0 || (h->has_length && h->length > 0)))
            h->keep_alive = false;
        return H1_END;
    }
    if (h->n_codings > 0) {
        h->framing = H1_CHUNKED;
        return H1_END;
    }
    if (h->has_length) {
        h->framing = h->length > 0 ? H1_LENGTH : H1_NO_BODY;
        return H1_END;
    }
    h->framing = H1_UNTIL_CLOSE;
    h->keep_alive = false;
    return H1_END;
}

static enum h1_result complete(struct h1_head *h)
{
    struct http_msg *m = &h->msg;

    if (h->is_request && m->version == HTTP_1_1 && !h->has_host)
        return refuse(h, no_host);
    if (!h->is_request && m->status == 101)
        return refuse(h, no_upgrade);
    if (!connection(h))
        return refuse(h, bad_connection);
    if (h->n_codings > 0 && check_coding(h) == H1_ERROR)
        return H1_ERROR;
    h->keep_alive = !h->says_close && (m->version == HTTP_1_1 || h->says_keep_alive);
    if (!h->is_request)
        return response_framing(h);
    if (m->version == HTTP_1_0)
        m->expect_continue = false; /* RFC 9110, 10.1.1 */
    return request_framing(h);
}

/* Lines */

/* @len counts the LF. */
static enum h1_result one_line(struct h1_head *h, char *line, size_t len)
{
    if (len < 2 || line[len - 2] != '\r')
        return refuse(h, bare_lf);
    len -= 2;

    switch (h->section) {
    case H1_FIRST_LINE:
        h->section = H1_FIELDS;
        return h->is_request ? request_line(h, (struct slice){ line, len })
                             : status_line(h, (struct slice){ line, len });
    case H1_FIELDS:
        return len == 0 ? complete(h) : field_line(h, line, len);
    case H1_TRAILERS:
        return len == 0 ? H1_END : field_line(h, line, len);
    }
    return H1_ERROR;
}

/* Bytes of whole lines in front, up to and with the empty one that ends the section. */
static size_t whole_lines(const char *p, size_t len)
{
    size_t at = 0;

    for (;;) {
        const char *lf = memchr(p + at, '\n', len - at);
        size_t next;

        if (lf == NULL)
            return at;
        next = (size_t)(lf - p) + 1;
        if (next - at == 2 && p[at] == '\r')
            return next;
        at = next;
        if (at == len)
            return at;
    }
}

/* The packet in front holds @len bytes of whole lines: one copy for all of them. */
static enum h1_result take_lines(struct h1_head *h, struct pktq *in, size_t len)
{
    char *copy = arena_alloc(h->msg.arena, len), *at = copy;
    enum h1_result result = H1_MORE;

    if (copy == NULL)
        return refuse(h, no_memory);
    memcpy(copy, in->head->data, len);
    pktq_consume(in, len);
    h->budget -= (uint32_t)len;

    while (result == H1_MORE && at < copy + len) {
        char *next = (char *)memchr(at, '\n', (size_t)(copy + len - at)) + 1;

        result = one_line(h, at, (size_t)(next - at));
        at = next;
    }
    return result;
}

static bool gather(struct h1_head *h, const void *bytes, uint32_t len)
{
    uint32_t need = h->partial.len + len, room = MAX(h->partial.room, LINE_MIN);

    while (room < need)
        room *= 2;
    if (room > h->partial.room) {
        char *at = arena_alloc(h->msg.arena, room);

        if (at == NULL)
            return false;
        if (h->partial.len > 0)
            memcpy(at, h->partial.at, h->partial.len);
        h->partial.at = at;
        h->partial.room = room;
    }
    memcpy(h->partial.at + h->partial.len, bytes, len);
    h->partial.len = need;
    return true;
}

/* A line that starts, goes on or ends in the packet in front. */
static enum h1_result take_piece(struct h1_head *h, struct pktq *in)
{
    const struct pkt *p = in->head;
    const uint8_t *lf = memchr(p->data, '\n', p->len);
    const uint32_t len = lf != NULL ? (uint32_t)(lf - p->data) + 1 : p->len;
    enum h1_result result;

    if (len > h->budget)
        return refuse(h, h->section == H1_TRAILERS ? trailers_too_large : too_large);
    if (!gather(h, p->data, len))
        return refuse(h, no_memory);
    h->budget -= len;
    pktq_consume(in, len);
    if (lf == NULL)
        return H1_MORE;

    result = one_line(h, h->partial.at, h->partial.len);
    h->partial.at = NULL;
    h->partial.len = h->partial.room = 0;
    return result;
}

enum h1_result h1_head_read(struct h1_head *h, struct pktq *in)
{
    enum h1_result result = H1_MORE;

    while (result == H1_MORE && !pktq_is_empty(in)) {
        const struct pkt *p = in->head;
        size_t lines = 0;

        if (p->len == 0) {
            pkt_free(pktq_pop(in));
            continue;
        }
        if (h->partial.len == 0)
            lines = whole_lines((const char *)p->data, MIN(p->len, h->budget));
        result = lines > 0 ? take_lines(h, in, lines) : take_piece(h, in);
    }
    return result;
}
