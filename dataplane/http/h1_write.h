/*
 * h1_write.h - HTTP/1.1 messages to bytes
 *
 * Each function builds its packets in full before it hands them out, so a
 * failure (-ENOMEM, -EINVAL) has written nothing. Packets have PKT_HEADROOM in
 * front and hold at most @seg bytes. Nothing leaves that the reader in
 * h1_parse.c would refuse, whoever made the message.
 */
#pragma once

#include "dataplane/http/h1_parse.h"

/* Bytes going into packets. */
struct h1_writer {
    struct pktq q; /* packets that are full */
    struct pkt *p; /* the one being filled */
    uint32_t left; /* bytes it may still take */
    uint32_t seg;
    struct pkt_pool *pool;
    int error; /* 0, or the first -errno */
};

void h1_writer_init(struct h1_writer *w, struct pkt_pool *pool, uint32_t seg);

/* Moves what was written to @to and returns 0, or frees it and returns the first error. */
int h1_writer_finish(struct h1_writer *w, struct pktq *to);

/* The part of a head that the connection decides. */
struct h1_framing_fields {
    enum h1_framing framing;
    bool write_length; /* "content-length", also where there is no body */
    uint64_t length;
    bool close, keep_alive; /* "connection: ..." */
};

void h1_write_request(struct h1_writer *w, const struct http_msg *m,
                      const struct h1_framing_fields *f);
void h1_write_response(struct h1_writer *w, const struct http_msg *m,
                       const struct h1_framing_fields *f);
void h1_write_info(struct h1_writer *w, uint16_t status);

/* The last chunk and the trailer section; @trailers may be NULL. */
void h1_write_last_chunk(struct h1_writer *w, const struct http_fields *trailers);

/*
 * Makes one chunk of @data, which is not empty: its size goes into the headroom of the first
 * packet if there is enough, its end into the tail of the last. @last: the last chunk follows,
 * without trailers. On -ENOMEM @data is spoilt.
 */
int h1_frame_chunk(struct pktq *data, bool last, struct pkt_pool *pool, uint32_t seg);
