#include "dataplane/http/h1_write.h"

#include "dataplane/base/num.h"

#include <errno.h>
#include <string.h>

#define SEG_MIN 256 /* whatever the transport says */

void h1_writer_init(struct h1_writer *w, struct pkt_pool *pool, uint32_t seg)
{
    *w = (struct h1_writer){ .pool = pool, .seg = MAX(seg, SEG_MIN) };
    pktq_init(&w->q);
}

static void fail(struct h1_writer *w, int error)
{
    if (w->error == 0)
        w->error = error;
    w->left = 0;
}

static bool next_packet(struct h1_writer *w)
{
    if (w->error != 0)
        return false;
    if (w->p != NULL)
        pktq_push(&w->q, w->p);
    w->p = pkt_alloc(w->pool);
    if (w->p == NULL) {
        fail(w, -ENOMEM);
        return false;
    }
    w->left = MIN(w->seg, pkt_tailroom(w->p));
    return true;
}

static void put(struct h1_writer *w, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (unlikely(len > w->left)) {
        const uint32_t n = w->left;

        if (n > 0)
            memcpy(pkt_put(w->p, n), from, n);
        from += n;
        len -= n;
        if (!next_packet(w))
            return;
    }
    if (len > 0) {
        memcpy(pkt_put(w->p, (uint32_t)len), from, len);
        w->left -= (uint32_t)len;
    }
}

#define PUT(w, literal) put(w, literal, sizeof(literal) - 1)

static void put_slice(struct h1_writer *w, struct slice s)
{
    put(w, s.ptr, s.len);
}

static void put_number(struct h1_writer *w, uint64_t n)
{
    char digits[20], *at = digits + sizeof(digits);

    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    put(w, at, (size_t)(digits + sizeof(digits) - at));
}

int h1_writer_finish(struct h1_writer *w, struct pktq *to)
{
    if (w->p != NULL)
        pktq_push(&w->q, w->p);
    w->p = NULL;
    if (w->error != 0)
        pktq_clear(&w->q);
    else
        pktq_splice(to, &w->q);
    return w->error;
}

/* A name or value that is not one would let its maker write the rest of the message. */
static void put_field(struct h1_writer *w, const struct http_field *f)
{
    const size_t len = f->name.len + f->value.len + 4;

    if (!http_is_token(f->name) || !http_is_value(f->value)) {
        fail(w, -EINVAL);
        return;
    }
    if (likely(len <= w->left)) { /* in one piece */
        char *at = (char *)pkt_put(w->p, (uint32_t)len);

        w->left -= (uint32_t)len;
        memcpy(at, f->name.ptr, f->name.len);
        at += f->name.len;
        memcpy(at, ": ", 2);
        if (f->value.len > 0)
            memcpy(at + 2, f->value.ptr, f->value.len);
        memcpy(at + 2 + f->value.len, "\r\n", 2);
        return;
    }
    put_slice(w, f->name);
    PUT(w, ": ");
    put_slice(w, f->value);
    PUT(w, "\r\n");
}

static void put_fields(struct h1_writer *w, const struct http_msg *m,
                       const struct h1_framing_fields *f)
{
    for (uint16_t i = 0; i < m->fields.n; i++)
        if (http_special(m->fields.v[i].name) == HTTP_ORDINARY ||
            http_special(m->fields.v[i].name) == HTTP_EXPECT)
            put_field(w, &m->fields.v[i]);

    if (f->framing == H1_CHUNKED) {
        PUT(w, "transfer-encoding: chunked\r\n");
    } else if (f->write_length) {
        PUT(w, "content-length: ");
        put_number(w, f->length);
        PUT(w, "\r\n");
    }
    if (f->close)
        PUT(w, "connection: close\r\n");
    else if (f->keep_alive)
        PUT(w, "connection: keep-alive\r\n");
    PUT(w, "\r\n");
}

static bool is_request(const struct http_msg *m)
{
    if (!http_is_token(m->method) || (m->authority.len > 0 && !h1_is_authority(m->authority)))
        return false;
    return h1_is_path(m->path) ||
           (slice_eq(m->path, SLICE("*")) && slice_eq(m->method, SLICE("OPTIONS")));
}

void h1_write_request(struct h1_writer *w, const struct http_msg *m,
                      const struct h1_framing_fields *f)
{
    if (!is_request(m)) {
        fail(w, -EINVAL);
        return;
    }
    put_slice(w, m->method);
    PUT(w, " ");
    put_slice(w, m->path);
    PUT(w, " HTTP/1.1\r\nhost: ");
    put_slice(w, m->authority); /* may be empty: RFC 9112, 3.2 */
    PUT(w, "\r\n");
    if (m->expect_continue && f->framing != H1_NO_BODY)
        PUT(w, "expect: 100-continue\r\n");
    put_fields(w, m, f);
}

static void status_line(struct h1_writer *w, uint16_t status)
{
    const char *reason = http_reason(status);

    PUT(w, "HTTP/1.1 ");
    put_number(w, status);
    PUT(w, " ");
    put(w, reason, strlen(reason));
    PUT(w, "\r\n");
}

void h1_write_response(struct h1_writer *w, const struct http_msg *m,
                       const struct h1_framing_fields *f)
{
    status_line(w, m->status);
    put_fields(w, m, f);
}

void h1_write_info(struct h1_writer *w, uint16_t status)
{
    status_line(w, status);
    PUT(w, "\r\n");
}

void h1_write_last_chunk(struct h1_writer *w, const struct http_fields *trailers)
{
    PUT(w, "0\r\n");
    for (uint16_t i = 0; trailers != NULL && i < trailers->n; i++)
        if (http_is_trailer(trailers->v[i].name))
            put_field(w, &trailers->v[i]);
    PUT(w, "\r\n");
}

int h1_frame_chunk(struct pktq *data, bool last, struct pkt_pool *pool, uint32_t seg)
{
    static const char end[] = "\r\n0\r\n\r\n";
    char size[NUM_STRLEN + 2];
    uint32_t len = num_hex_str(data->bytes, size);
    struct pkt *first;

    memcpy(size + len, "\r\n", 2);
    len += 2;

    if (!pktq_append(data, pool, end, last ? sizeof(end) - 1 : 2, MAX(seg, SEG_MIN)))
        return -ENOMEM;

    /* Above the size, what the layers below need must still fit, or they copy the packet. */
    first = data->head;
    if (!pkt_is_shared(first) && pkt_headroom(first) >= PKT_HEADROOM + len &&
        first->len + len <= seg) {
        pktq_pop(data);
        memcpy(pkt_push(first, len), size, len);
    } else {
        first = pkt_alloc(pool);
        if (first == NULL)
            return -ENOMEM;
        memcpy(pkt_put(first, len), size, len);
    }
    pktq_push_head(data, first);
    return 0;
}
