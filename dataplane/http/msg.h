/*
 * msg.h - one HTTP message: a request or a response without its body
 *
 * The same struct for every version of HTTP (RFC 9110). What HTTP/2 calls
 * pseudo-headers are fields of the struct; Host is ->authority and never in the
 * list. Field names are lower case. Fields of one connection (RFC 9110, 7.6.1:
 * connection, keep-alive, proxy-connection, te, transfer-encoding, upgrade) and
 * content-length are not in the list either: the codec that reads takes them
 * out, and the codec that writes puts in what its connection needs.
 *
 * All bytes live in ->arena, which belongs to the codec's stream and dies with
 * it. Values hold no CR, LF or NUL, whoever made them: the reading codec and
 * http_fields_add() see to that.
 */
#pragma once

#include "dataplane/base/arena.h"
#include "dataplane/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_MAX_FIELDS 100               /* more: 431 */
#define HTTP_MAX_HEADER_BYTES (60 * 1024) /* start line and fields together; more: 431 */
#define HTTP_LENGTH_UNKNOWN UINT64_MAX

enum http_version { HTTP_1_0, HTTP_1_1, HTTP_2 };

struct http_field {
    struct slice name, value;
};

struct http_fields {
    struct http_field *v;
    uint16_t n, room;
};

struct http_msg {
    struct arena *arena;
    enum http_version version; /* what the peer spoke */

    /* requests */
    struct slice method, scheme, authority,
        path; /* path: "/a?b", or "*" for OPTIONS; empty for CONNECT. scheme: empty, if unsaid */
    bool expect_continue; /* "expect: 100-continue" (taken out of the list) */

    /* responses */
    uint16_t status;

    uint64_t content_length; /* HTTP_LENGTH_UNKNOWN: chunked, or until close */
    bool no_body; /* there is no body, whatever content_length says (HEAD, 204, 304; or a request
                     that does not speak of one) */
    struct http_fields fields;
};

/* An empty message whose bytes will live in @a. */
void http_msg_init(struct http_msg *m, struct arena *a);

/* "HTTP/1.1" */
const char *http_version_name(enum http_version v);

/* "Not Found"; "Unknown" for a code without a registered phrase. */
const char *http_reason(uint16_t status);

/* The first field of that (lower-case) name, or NULL. */
struct http_field *http_fields_get(const struct http_fields *f, struct slice name);

/* The value of the first field of that name; SLICE_NONE if there is none. */
struct slice http_fields_value(const struct http_fields *f, struct slice name);

/*
 * Appends a copy. False if the arena is full, the list holds HTTP_MAX_FIELDS + 28 (ours come on
 * top of the peer's), or @name or @value are not a legal field (RFC 9110, 5.1 and 5.5).
 */
bool http_fields_add(struct http_fields *f, struct arena *a, struct slice name, struct slice value);

/* Replaces every field of that name by one; appends if there was none. */
bool http_fields_set(struct http_fields *f, struct arena *a, struct slice name, struct slice value);

/* Returns how many were removed. */
unsigned http_fields_remove(struct http_fields *f, struct slice name);

/* RFC 9110, 5.6.2 token; 5.5 field value (no CR, LF, NUL or other control but tab). */
bool http_is_token(struct slice s);
bool http_is_value(struct slice s);
