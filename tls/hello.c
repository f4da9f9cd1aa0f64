#include "tls/hello.h"

#include "dataplane/base/slice.h"
#include "tls/hostname.h"

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_HEADER = 5,
    RECORD_MAX = 1 << 14,
    RECORDS_MAX = 64, /* a sane client needs one or two */
    HANDSHAKE_CLIENT_HELLO = 1,
    HANDSHAKE_HEADER = 4,
    EXT_SERVER_NAME = 0,
    EXT_ALPN = 16,
    SERVER_NAME_HOST = 0,
    RANDOM_LEN = 32,
    SESSION_ID_MAX = 32,
};

/* What is left to read. A read beyond the end yields zeroes and marks the reader bad. */
struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static uint32_t get(struct reader *r, unsigned n_bytes)
{
    uint32_t v = 0;

    if (left(r) < n_bytes) {
        r->bad = true;
        r->at = r->end;
        return 0;
    }
    while (n_bytes-- > 0)
        v = v << 8 | *r->at++;
    return v;
}

/* A vector of the presentation language: a length of @n_bytes bytes, then so many bytes. */
static struct reader get_vector(struct reader *r, unsigned n_bytes)
{
    uint32_t len = get(r, n_bytes);
    struct reader v = { r->at, r->at, r->bad };

    if (left(r) < len) {
        r->bad = v.bad = true;
        return v;
    }
    r->at += len;
    v.end = r->at;
    return v;
}

static struct slice as_slice(const struct reader *r)
{
    return (struct slice){ (const char *)r->at, left(r) };
}

/* RFC 6066 3: a list, in which only one name, a host name, has ever been defined. */
static bool read_server_name(struct reader ext, struct tls_hello *to)
{
    struct reader list = get_vector(&ext, 2), name;

    if (get(&list, 1) != SERVER_NAME_HOST)
        return false;
    name = get_vector(&list, 2);
    if (ext.bad || list.bad || left(&ext) != 0 || left(&list) != 0)
        return false;
    return hostname_copy(as_slice(&name), to->sni);
}

static bool is_printable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= 0x20 || s.ptr[i] >= 0x7f)
            return false;
    }
    return true;
}

/* RFC 7301 3.1. Names that are not text (RFC 8701's noise) can match none of ours. */
static bool read_alpn(struct reader ext, struct tls_hello *to)
{
    struct reader list = get_vector(&ext, 2);

    if (ext.bad || left(&ext) != 0 || left(&list) == 0)
        return false;
    while (left(&list) > 0) {
        struct reader name = get_vector(&list, 1);
        struct slice s = as_slice(&name);

        if (list.bad || s.len == 0)
            return false;
        if (to->n_alpn == TLS_HELLO_MAX_ALPN || s.len >= sizeof(to->alpn[0]) || !is_printable(s))
            continue;
        memcpy(to->alpn[to->n_alpn], s.ptr, s.len);
        to->alpn[to->n_alpn++][s.len] = '\0';
    }
    return true;
}

static bool read_extensions(struct reader exts, struct tls_hello *to)
{
    bool seen_name = false, seen_alpn = false;

    while (left(&exts) > 0) {
        uint32_t type = get(&exts, 2);
        struct reader ext = get_vector(&exts, 2);

        if (exts.bad)
            return false;
        if (type == EXT_SERVER_NAME) {
            if (seen_name || !read_server_name(ext, to))
                return false;
            seen_name = true;
        } else if (type == EXT_ALPN) {
            if (seen_alpn || !read_alpn(ext, to))
                return false;
            seen_alpn = true;
        }
    }
    return true;
}

/* RFC 8446 4.1.2, RFC 5246 7.4.1.2; @r: the body of the handshake message. */
static bool read_client_hello(struct reader r, struct tls_hello *to)
{
    struct reader session_id, suites, compression, exts;

    if (get(&r, 2) >> 8 != 3)
        return false;
    if (left(&r) < RANDOM_LEN)
        return false;
    r.at += RANDOM_LEN;
    session_id = get_vector(&r, 1);
    suites = get_vector(&r, 2);
    compression = get_vector(&r, 1);
    if (r.bad || left(&session_id) > SESSION_ID_MAX || left(&compression) == 0)
        return false;
    if (left(&suites) == 0 || left(&suites) % 2 != 0)
        return false;
    if (left(&r) == 0)
        return true; /* TLS 1.2 without extensions */
    exts = get_vector(&r, 2);
    return !r.bad && left(&r) == 0 && read_extensions(exts, to);
}

/* A place in a queue of packets. */
struct cursor {
    const struct pkt *p;
    uint32_t at;
};

/* Copies up to @n bytes; returns how many there were. */
static size_t take(struct cursor *c, uint8_t *to, size_t n)
{
    size_t done = 0;

    while (c->p != NULL && done < n) {
        size_t part = MIN(n - done, c->p->len - c->at);

        memcpy(to + done, c->p->data + c->at, part);
        done += part;
        c->at += (uint32_t)part;
        if (c->at == c->p->len) {
            c->p = c->p->next;
            c->at = 0;
        }
    }
    return done;
}

static enum tls_hello_result check_record_header(const uint8_t *h, size_t n)
{
    unsigned len;

    if ((n > 0 && h[0] != RECORD_HANDSHAKE) || (n > 1 && h[1] != 3) || (n > 2 && h[2] > 4))
        return TLS_HELLO_NOT_TLS;
    if (n < RECORD_HEADER)
        return TLS_HELLO_MORE;
    len = (unsigned)h[3] << 8 | h[4];
    return len > 0 && len <= RECORD_MAX ? TLS_HELLO_OK : TLS_HELLO_BAD;
}

/* Joins the payload of handshake records until @len bytes are there. */
static enum tls_hello_result join(const struct pktq *in, uint8_t *to, size_t len)
{
    struct cursor c = { in->head, 0 };
    size_t have = 0;

    for (unsigned n = 0; have < len; n++) {
        uint8_t header[RECORD_HEADER];
        enum tls_hello_result rc;
        size_t part;

        if (n == RECORDS_MAX)
            return TLS_HELLO_BAD;
        rc = check_record_header(header, take(&c, header, sizeof(header)));
        if (rc != TLS_HELLO_OK)
            return rc == TLS_HELLO_NOT_TLS ? TLS_HELLO_BAD : rc; /* the first one was TLS */
        part = MIN(len - have, (size_t)header[3] << 8 | header[4]);
        if (take(&c, to + have, part) < part)
            return TLS_HELLO_MORE;
        have += part;
    }
    return TLS_HELLO_OK;
}

/*
 * How long the whole message is, header included. Looks at no more bytes than it needs, so that
 * a hello that comes a byte at a time costs no more than one that comes at once.
 */
static enum tls_hello_result message_len(const struct pktq *in, size_t *ret)
{
    uint8_t front[RECORD_HEADER + 1], header[HANDSHAKE_HEADER];
    size_t n = pktq_peek(in, front, sizeof(front));
    enum tls_hello_result rc = check_record_header(front, MIN(n, (size_t)RECORD_HEADER));
    size_t len;

    if (rc != TLS_HELLO_OK)
        return rc;
    if (n > RECORD_HEADER && front[RECORD_HEADER] != HANDSHAKE_CLIENT_HELLO)
        return TLS_HELLO_BAD;
    rc = join(in, header, sizeof(header));
    if (rc != TLS_HELLO_OK)
        return rc;
    len = HANDSHAKE_HEADER + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
    if (len > TLS_HELLO_MAX)
        return TLS_HELLO_BAD;
    *ret = len;
    return TLS_HELLO_OK;
}

enum tls_hello_result tls_hello_read(const struct pktq *in, struct tls_hello *ret)
{
    uint8_t message[TLS_HELLO_MAX];
    struct tls_hello hello = { .n_alpn = 0 };
    enum tls_hello_result rc;
    size_t len;

    rc = message_len(in, &len);
    if (rc != TLS_HELLO_OK)
        return rc;
    if (in->bytes < RECORD_HEADER + len)
        return TLS_HELLO_MORE;
    rc = join(in, message, len);
    if (rc != TLS_HELLO_OK)
        return rc;
    if (!read_client_hello((struct reader){ message + HANDSHAKE_HEADER, message + len, false },
                           &hello))
        return TLS_HELLO_BAD;
    *ret = hello;
    return TLS_HELLO_OK;
}
