#include "dataplane/http/h1_body.h"

#define MAX_DIGITS 16
#define MAX_EXT (16 * 1024) /* of one body: extensions carry nothing for us, only work */

void h1_body_init(struct h1_body *b, enum h1_framing framing, uint64_t length)
{
    *b = (struct h1_body){ .framing = framing, .left = framing == H1_LENGTH ? length : 0 };
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

static bool size_char(struct h1_body *b, uint8_t c)
{
    int digit = hex(c);

    if (digit >= 0) {
        if (++b->n_digits > MAX_DIGITS || b->left > (uint64_t)INT64_MAX >> 4)
            return false;
        b->left = b->left << 4 | (unsigned)digit;
        return true;
    }
    if (b->n_digits == 0)
        return false;
    b->chunk = c == '\r' ? H1_CHUNK_SIZE_LF : H1_CHUNK_EXT;
    return c == '\r' || c == ';'; /* no blank in front of either, though old servers pad */
}

static bool ext_char(struct h1_body *b, uint8_t c)
{
    if (c == '\r') {
        b->chunk = H1_CHUNK_SIZE_LF;
        return true;
    }
    return ((c >= 0x20 && c != 0x7f) || c == '\t') && ++b->n_ext <= MAX_EXT;
}

/* One byte of framing; false: it does not belong there. */
static bool framing_char(struct h1_body *b, uint8_t c)
{
    switch (b->chunk) {
    case H1_CHUNK_SIZE:
        return size_char(b, c);
    case H1_CHUNK_EXT:
        return ext_char(b, c);
    case H1_CHUNK_SIZE_LF:
        b->chunk = b->left > 0 ? H1_CHUNK_DATA : H1_CHUNK_LAST;
        return c == '\n';
    case H1_CHUNK_CR:
        b->chunk = H1_CHUNK_LF;
        return c == '\r';
    case H1_CHUNK_LF:
        b->chunk = H1_CHUNK_SIZE;
        b->n_digits = 0;
        return c == '\n';
    case H1_CHUNK_DATA:
    case H1_CHUNK_LAST:
        break;
    }
    return false;
}

/* What one walk over a packet has found: @len bytes of body, which now lie at @at. */
struct found {
    uint32_t at, len;
    uint32_t end; /* where the walk stopped */
    bool bad;
};

/* Chunk data at @from is appended to what was found before it. */
static void keep(struct found *f, uint8_t *bytes, uint32_t from, uint32_t len)
{
    if (f->len == 0)
        f->at = from;
    else
        memmove(bytes + f->at + f->len, bytes + from, len);
    f->len += len;
}

static struct found walk(struct h1_body *b, uint8_t *bytes, uint32_t len)
{
    struct found f = { 0 };

    while (f.end < len && b->chunk != H1_CHUNK_LAST) {
        if (b->chunk == H1_CHUNK_DATA) {
            uint32_t part = (uint32_t)MIN(b->left, len - f.end);

            keep(&f, bytes, f.end, part);
            f.end += part;
            b->left -= part;
            if (b->left == 0)
                b->chunk = H1_CHUNK_CR;
        } else if (!framing_char(b, bytes[f.end++])) {
            f.bad = true;
            break;
        }
    }
    return f;
}

/* Puts the @f bytes of body of @p into @out, and what follows the walk back into @in. */
static bool part(struct pkt *p, const struct found *f, struct pktq *in, struct pktq *out,
                 struct pkt_pool *pool)
{
    const uint32_t rest = p->len - f->end;
    struct pkt *body;

    if (f->len == 0) {
        pkt_pull(p, f->end);
        if (rest > 0)
            pktq_push_head(in, p);
        else
            pkt_free(p);
        return true;
    }
    if (rest > 0) {
        bool body_is_shorter = f->len < rest;
        struct pkt *half = pkt_alloc(pool);
        uint32_t from = body_is_shorter ? f->at : f->end, n = MIN(f->len, rest);

        if (half == NULL || pkt_tailroom(half) < n) {
            pkt_free(half);
            pkt_free(p);
            return false;
        }
        memcpy(pkt_put(half, n), p->data + from, n);
        if (body_is_shorter) {
            pkt_pull(p, f->end);
            pktq_push_head(in, p);
            pktq_push(out, half);
            return true;
        }
        pktq_push_head(in, half);
    }
    body = p;
    pkt_pull(body, f->at);
    pkt_trim(body, f->len);
    pktq_push(out, body);
    return true;
}

/* A packet that somebody else reads too may not be written: read a copy. */
static struct pkt *own(struct pkt *p, struct pkt_pool *pool)
{
    struct pkt *copy;

    if (likely(!pkt_is_shared(p)))
        return p;
    copy = pkt_copy(pool, p);
    pkt_free(p);
    return copy;
}

static enum h1_body_result read_chunks(struct h1_body *b, struct pktq *in, struct pktq *out,
                                       struct pkt_pool *pool)
{
    while (!pktq_is_empty(in)) {
        struct pkt *p = pktq_pop(in);
        struct found f;

        /* Usual for a large chunk: nothing but data. */
        if (b->chunk == H1_CHUNK_DATA && b->left > p->len) {
            b->left -= p->len;
            if (p->len > 0)
                pktq_push(out, p);
            else
                pkt_free(p);
            continue;
        }
        p = own(p, pool);
        if (p == NULL)
            return H1_BODY_NO_PKT;
        f = walk(b, p->data, p->len);
        if (!part(p, &f, in, out, pool))
            return H1_BODY_NO_PKT;
        if (f.bad)
            return H1_BODY_BAD;
        if (b->chunk == H1_CHUNK_LAST)
            return H1_BODY_TRAILERS;
    }
    return H1_BODY_MORE;
}

enum h1_body_result h1_body_read(struct h1_body *b, struct pktq *in, struct pktq *out,
                                 struct pkt_pool *pool)
{
    uint64_t before;
    bool moved;

    switch (b->framing) {
    case H1_NO_BODY:
        return H1_BODY_END;
    case H1_UNTIL_CLOSE:
        pktq_splice(out, in);
        return H1_BODY_MORE;
    case H1_CHUNKED:
        return read_chunks(b, in, out, pool);
    case H1_LENGTH:
        before = in->bytes;
        moved = pktq_move(out, in, MIN(b->left, in->bytes), pool);
        b->left -= before - in->bytes;
        if (!moved)
            return H1_BODY_NO_PKT;
        return b->left == 0 ? H1_BODY_END : H1_BODY_MORE;
    }
    return H1_BODY_BAD;
}
