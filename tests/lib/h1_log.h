/*
 * h1_log.h - one HTTP/1.1 connection in memory, and a text of all it says
 *
 * Feeds bytes to a codec, cut as the caller likes, and writes down every event
 * in a form that does not depend on the cuts (body bytes are joined). So "the
 * same bytes, however they arrive, mean the same" is one string comparison. For
 * unit tests and fuzz targets.
 */
#pragma once

#include "dataplane/http/codec.h"
#include "tests/lib/pool.h"

struct h1_log {
    struct test_pool tp;
    struct core core;
    struct http *http;
    struct http_conn *conn;
    struct http_stream *stream; /* open now, or NULL */
    struct pktq in;             /* given, not yet taken */
    bool want_input;
    bool finished;
    bool connect; /* the request is CONNECT */

    /* Server: how requests are answered. */
    bool answer_late;  /* not from within events: h1_log_answer() */
    bool answer_early; /* in on_headers, before the body */
    bool echo;         /* the response's body is the request's */

    uint16_t status; /* of the last on_bad_request */
    const char *details;

    char *text, *sent, *body;
    size_t n_text, n_sent, n_body;
    size_t n_until_closed; /* of the text, when the first stream had ended */
};

/* How bytes arrive. */
enum h1_cut { H1_WHOLE, H1_BYTES, H1_RANDOM };

void h1_log_server(struct h1_log *l, const struct http_conf *conf);

/* A client that has sent "@method / HTTP/1.1" to host "a". */
void h1_log_client(struct h1_log *l, const struct http_conf *conf, const char *method);

/* Closes the connection, checks that everything came home and frees the texts. */
void h1_log_fini(struct h1_log *l);

/* Gives bytes in one packet (or as many as they need). */
void h1_log_give(struct h1_log *l, const void *bytes, size_t len);

/* Gives @len bytes in pieces of @cut; random ones by @seed. */
void h1_log_feed(struct h1_log *l, const void *bytes, size_t len, enum h1_cut cut, uint64_t seed);

void h1_log_eof(struct h1_log *l);

/* Answers the open stream: 200 (405 to CONNECT), no body. */
void h1_log_answer(struct h1_log *l);

/* Calls http_conn_input() for as long as the conn asks for it. */
void h1_log_run(struct h1_log *l);
