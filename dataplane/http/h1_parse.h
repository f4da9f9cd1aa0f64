/*
 * h1_parse.h - the head of an HTTP/1.1 message, and its trailers (RFC 9112)
 *
 * One struct h1_head per message, in the arena of its stream. Bytes are copied
 * into the arena once, as whole lines where the packet holds whole lines, and
 * parsed there; a line that comes in pieces is gathered first. So it does not
 * matter how the bytes are cut, and nothing is scanned twice.
 *
 * We stand between parties that may read the same bytes differently, so what
 * RFC 9112 lets a recipient repair is refused here: bare LF, folded lines, space
 * before the colon, several lengths. What is let through has one reading.
 */
#pragma once

#include "dataplane/base/pkt.h"
#include "dataplane/http/codec.h"
#include "dataplane/http/fields.h"

/* How the end of a body is found, or shown. */
enum h1_framing { H1_NO_BODY, H1_LENGTH, H1_CHUNKED, H1_UNTIL_CLOSE };

enum h1_result {
    H1_MORE,  /* all of the input was read and it is not enough */
    H1_END,   /* complete; what follows is still in the queue */
    H1_ERROR, /* ->refusal says why */
};

/* What to answer, and the words for the access log. */
struct h1_refusal {
    uint16_t status;
    const char *details;
};

enum h1_section { H1_FIRST_LINE, H1_FIELDS, H1_TRAILERS };

struct h1_head {
    struct http_msg msg;         /* complete after H1_END */
    struct http_fields trailers; /* complete after the second H1_END */

    /* What the message says about its body and its connection; after H1_END. */
    enum h1_framing framing;
    bool keep_alive;

    struct h1_refusal refusal;

    /* While reading. */
    enum h1_section section;
    bool is_request;
    bool to_head; /* response: the request was HEAD. Set by the caller. */
    bool has_host, has_length, absolute_form;
    bool says_close, says_keep_alive;
    uint8_t n_codings;
    uint16_t n_fields, max_fields; /* lines */
    uint32_t budget, max_bytes;    /* bytes this section may still take */
    uint64_t length;
    struct slice coding;
    struct {
        char *at;
        uint32_t len, room;
    } partial; /* a line that has not ended */
};

/* What an arena must hold for one message under @conf, with what the layers above add. */
size_t h1_arena_limit(const struct http_conf *conf);

/* NULL: the arena is full. */
struct h1_head *h1_head_new(struct arena *a, bool is_request, const struct http_conf *conf);

/* Reads up to the empty line, or to the end of @in. */
enum h1_result h1_head_read(struct h1_head *h, struct pktq *in);

/* The interim response is read; the final one follows, under the limits of both. */
void h1_head_again(struct h1_head *h);

/* The last chunk is read: h1_head_read() reads trailers now. */
void h1_head_trailers(struct h1_head *h);

/* Would the request reader take this? For the writer, which must not say less strictly. */
bool h1_is_path(struct slice s);
bool h1_is_authority(struct slice s);
