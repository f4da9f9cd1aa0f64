/*
 * codec.h - what every version of HTTP offers to the layers above
 *
 * The unit is a stream: one request and its response. A connection (struct
 * http_conn) carries one stream at a time (HTTP/1.1, h1.c) or many (HTTP/2,
 * which comes next behind this same interface); nothing above knows which.
 * A codec does no I/O: bytes come in by http_conn_input() and go out through
 * the struct http_io that the owner of the connection provides.
 *
 *        owner of the connection             owner of each stream
 *        (proxy/session, upstream/upconn)    (proxy/stream)
 *           | input, writable    ^ send, on_*    | send_*, pause   ^ on_*
 *           v                    |               v                 |
 *        +------------------- struct http_conn / http_stream ---------+
 *
 * Both sides are here: a server connection announces streams by on_stream; on a
 * client connection the owner opens them.
 *
 * Reentrancy: stream events come only from within http_conn_input(),
 * http_conn_eof(), http_conn_writable() and http_conn_close(); never from a call
 * that a stream's owner makes. The owner may call anything on the stream in an
 * event. on_closed is a stream's last event and always comes, unless its owner
 * called http_stream_reset(). So when the owner's call ends a stream (the last
 * byte of a response), the conn asks for an http_conn_input() by on_want_input.
 *
 * A conn must not be freed from within its own stream events, on_idle or
 * on_want_input: owners defer. In on_finished it may be: that is the last thing
 * the conn does. on_finished may also come from within http_conn_drain() and
 * http_stream_reset().
 */
#pragma once

#include "dataplane/base/core.h"
#include "dataplane/http/msg.h"

struct http_conn;
struct http_stream;

/* Why a stream ended. Details for the response flags of the proxy. */
enum http_end {
    HTTP_END_OK,          /* both messages complete; or the response was, and it came early */
    HTTP_END_PEER_RESET,  /* the peer gave this stream up: connection closed or reset in the middle
                           */
    HTTP_END_CONN_CLOSED, /* client side: closed before a byte of response ("connection
                             termination") */
    HTTP_END_PROTOCOL_ERROR, /* the peer's bytes are not HTTP */
    HTTP_END_OVERFLOW,       /* larger than our limits */
    HTTP_END_ABORTED, /* http_conn_close(): the transport failed or is going away; or no memory */
};

struct http_stream_ops {
    /* A request (server) or final response (client) begins. @m lives as long as the stream. @end:
     * no body. */
    void (*on_headers)(struct http_stream *s, struct http_msg *m, bool end);
    /* A part of the body. Takes every packet of @data (leaves it empty). May be empty if @end. */
    void (*on_data)(struct http_stream *s, struct pktq *data, bool end);
    /* Trailer fields, which end the message. */
    void (*on_trailers)(struct http_stream *s, struct http_fields *trailers);
    /* http_stream_room() was 0 and no longer is. */
    void (*on_writable)(struct http_stream *s);
    /*
     * Server only: the request is not HTTP or beyond a limit, or (503) there is no memory to read
     * it; @status (400, 431, 501, 503, 505) is what to answer. May come before on_headers or
     * instead of a later part. The connection closes after this stream: once the answer is
     * complete, or at once if a response had begun before. @details: words for the access log,
     * such as "http1.invalid_url"; a constant.
     */
    void (*on_bad_request)(struct http_stream *s, uint16_t status, const char *details);
    void (*on_closed)(struct http_stream *s, enum http_end why); /* last */
};

/* How bytes leave. The owner of the connection fills it in. */
struct http_io {
    void (*send)(void *ctx, struct pktq *q); /* takes every packet */
    uint32_t (*room)(void *ctx);             /* bytes the transport would like to have now */
    uint32_t (*seg)(void *ctx);              /* best size of a packet's bytes */
};

struct http_conn_ops {
    /* Server: the first byte of a request has come. Set the stream's owner by
     * http_stream_set_owner(), or reset it, before returning. */
    void (*on_stream)(struct http_conn *c, struct http_stream *s);
    /* The last stream has ended and the connection can carry another (also: client side, may be
     * leased again). */
    void (*on_idle)(struct http_conn *c);
    /* Nothing more will be carried: the owner closes the transport once what was sent is out. Once.
     */
    void (*on_finished)(struct http_conn *c);
    /* A paused stream was resumed, a response is complete, or there is room for one: call
     * http_conn_input() with what waits (also if that is nothing), soon, not from within this call.
     */
    void (*on_want_input)(struct http_conn *c);
};

struct http_conf {
    uint32_t max_header_bytes; /* 0: HTTP_MAX_HEADER_BYTES. Trailers may have as many again */
    uint16_t max_fields;       /* 0, or more than that: HTTP_MAX_FIELDS */
};

enum http_side { HTTP_SERVER, HTTP_CLIENT };

/* Counters of one worker's codecs. */
#define HTTP_COUNTERS(X)                                                                           \
    X(requests, "requests read")                                                                   \
    X(responses, "responses read")                                                                 \
    X(bad_requests, "requests refused: not HTTP (400, 501, 505)")                                  \
    X(too_large, "requests refused: header larger than the limits (431)")                          \
    X(bad_responses, "responses refused: not HTTP, or larger than the limits")                     \
    X(no_memory, "streams refused for want of memory")

#define HTTP_COUNTER_FIELD(name, text) uint64_t name;
struct http_counters {
    HTTP_COUNTERS(HTTP_COUNTER_FIELD)
};

/* One worker's codecs: slabs of connections, counters. */
struct http;
struct http *http_new(struct core *core, uint32_t max_conns);
void http_free(struct http *h);
const struct http_counters *http_counters(const struct http *h);
uint32_t http_n_conns(const struct http *h);
uint32_t http_n_streams(const struct http *h);

/* A codec: what ALPN or a prior agreement chose. */
struct http_codec {
    const char *name; /* "h1" */
    const char *alpn; /* "http/1.1" */
    struct http_conn *(*open)(struct http *h, enum http_side side, const struct http_conf *conf,
                              const struct http_conn_ops *ops, const struct http_io *io,
                              void *owner);
    void (*close)(struct http_conn *c); /* frees it; streams end with HTTP_END_ABORTED */
    void (*input)(struct http_conn *c, struct pktq *in);
    void (*eof)(struct http_conn *c);
    void (*writable)(struct http_conn *c);
    void (*drain)(struct http_conn *c);
    bool (*is_fresh)(const struct http_conn *c);
    struct http_stream *(*open_stream)(struct http_conn *c);
    int (*send_headers)(struct http_stream *s, const struct http_msg *m, bool end);
    int (*send_info)(struct http_stream *s, uint16_t status);
    int (*send_data)(struct http_stream *s, struct pktq *data, bool end);
    int (*send_trailers)(struct http_stream *s, const struct http_fields *trailers);
    void (*reset)(struct http_stream *s);
    void (*pause)(struct http_stream *s, bool paused);
};

extern const struct http_codec http_codec_h1;

/* What every codec's connection and stream begin with. */
struct http_conn {
    const struct http_codec *codec;
    struct http *http;
    const struct http_conn_ops *ops;
    const struct http_io *io;
    void *owner;
    enum http_side side;
    uint32_t n_streams;     /* open now */
    uint32_t max_streams;   /* at once: 1 for HTTP/1.1 */
    uint64_t total_streams; /* ever */
    bool finished;          /* on_finished was called, or will be after the open streams */
    bool is_cut; /* what was sent until close is not all: only a reset of the transport tells */
};

struct http_stream {
    struct http_conn *conn;
    const struct http_stream_ops *ops;
    void *owner;
    struct arena arena; /* of its messages; limited */
};

/* NULL: no memory. */
static inline struct http_conn *http_conn_open(const struct http_codec *codec, struct http *h,
                                               enum http_side side, const struct http_conf *conf,
                                               const struct http_conn_ops *ops,
                                               const struct http_io *io, void *owner)
{
    return codec->open(h, side, conf, ops, io, owner);
}

static inline void http_conn_close(struct http_conn *c)
{
    c->codec->close(c);
}

/* Reads as much of @in as it can; what it leaves (a stream is paused, the connection finished, or
 * the transport has no room for the answer to a further request) stays in @in. */
void http_conn_input(struct http_conn *c, struct pktq *in);

/* The peer will send no more. Once all input has been taken. */
static inline void http_conn_eof(struct http_conn *c)
{
    c->codec->eof(c);
}

/* The transport has room again. */
static inline void http_conn_writable(struct http_conn *c)
{
    c->codec->writable(c);
}

/* No new streams after those that are open ("connection: close", GOAWAY); then on_finished. */
static inline void http_conn_drain(struct http_conn *c)
{
    c->codec->drain(c);
}

/* Between two streams, has it nothing in mind that the next one needs? Then one that is opened in
 * its place does as well. */
static inline bool http_conn_is_fresh(const struct http_conn *c)
{
    return c->codec->is_fresh(c);
}

/* Client side: can it carry another stream now? */
static inline bool http_conn_is_free(const struct http_conn *c)
{
    return !c->finished && c->n_streams < c->max_streams;
}

/* Client side. NULL: no memory, or not free. Set the owner next. */
static inline struct http_stream *http_stream_open(struct http_conn *c)
{
    return c->codec->open_stream(c);
}

static inline void http_stream_set_owner(struct http_stream *s, const struct http_stream_ops *ops,
                                         void *owner)
{
    s->ops = ops;
    s->owner = owner;
}

/*
 * Sending. 0, or -ENOMEM, -EINVAL (a message that cannot be written; nothing was sent), -EPIPE
 * (finished).
 * @end: there is no body and there are no trailers. For a response to HEAD, or 204 and 304, @end
 * must be true. A response that begins before its request has ended makes the connection close.
 */
int http_stream_send_headers(struct http_stream *s, const struct http_msg *m, bool end);

/* An interim response: 100 or 103. Nothing is sent to a client that does not know them (1.0). */
static inline int http_stream_send_info(struct http_stream *s, uint16_t status)
{
    return s->conn->codec->send_info(s, status);
}

/* Takes every packet of @data, also on failure. Packets with PKT_HEADROOM in front are sent without
 * a copy. */
int http_stream_send_data(struct http_stream *s, struct pktq *data, bool end);

static inline int http_stream_send_trailers(struct http_stream *s,
                                            const struct http_fields *trailers)
{
    return s->conn->codec->send_trailers(s, trailers);
}

/* Bytes of body the stream would like to have now. */
static inline uint32_t http_stream_room(const struct http_stream *s)
{
    return s->conn->io->room(s->conn->owner);
}

/* Gives the stream up: no event follows, the stream is gone. HTTP/1.1: the connection finishes with
 * it. */
static inline void http_stream_reset(struct http_stream *s)
{
    s->conn->codec->reset(s);
}

/* While paused no on_data or on_trailers comes. Idempotent. */
static inline void http_stream_pause(struct http_stream *s, bool paused)
{
    s->conn->codec->pause(s, paused);
}
