/*
 * h1_body.h - where the body of an HTTP/1.1 message ends, and what of it is body
 *
 * Body bytes stay in the packets they came in. Chunk framing (RFC 9112, 7.1) is
 * cut out in place: what lies in front is skipped, what lies behind is trimmed,
 * and only where a packet holds several chunks are the later ones moved
 * together. A packet is split, by copying its shorter half, only where the
 * message ends inside it.
 */
#pragma once

#include "dataplane/http/h1_parse.h"

enum h1_body_result {
    H1_BODY_MORE,     /* @in is empty and the body has not ended */
    H1_BODY_END,      /* it has ended; what follows is in @in */
    H1_BODY_TRAILERS, /* the last chunk is read: the trailer section is in front of @in */
    H1_BODY_BAD,      /* not chunks */
    H1_BODY_NO_PKT,   /* the packet pool is empty */
};

enum h1_chunk_state {
    H1_CHUNK_SIZE,    /* digits */
    H1_CHUNK_EXT,     /* ";name=value", passed over */
    H1_CHUNK_SIZE_LF, /* after the CR of the size line */
    H1_CHUNK_DATA,
    H1_CHUNK_CR, /* after the data */
    H1_CHUNK_LF,
    H1_CHUNK_LAST, /* the chunk of size 0 is read */
};

struct h1_body {
    enum h1_framing framing;
    enum h1_chunk_state chunk;
    uint64_t left;    /* of the length, or of this chunk */
    uint32_t n_ext;   /* bytes of chunk extensions so far */
    uint8_t n_digits; /* of this chunk's size */
};

void h1_body_init(struct h1_body *b, enum h1_framing framing, uint64_t length);

/* Moves body bytes from @in to @out. @out is good up to the error, if there is one. */
enum h1_body_result h1_body_read(struct h1_body *b, struct pktq *in, struct pktq *out,
                                 struct pkt_pool *pool);
