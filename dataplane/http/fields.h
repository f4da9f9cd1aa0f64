/*
 * fields.h - the inside of a header list (files of this folder only)
 */
#pragma once

#include "dataplane/http/msg.h"

/* What we add on top of the peer's HTTP_MAX_FIELDS. */
#define HTTP_OWN_FIELDS 28

/* The lower-case form of every token character (RFC 9110, 5.6.2); 0 for all others. */
extern const uint8_t http_token_lower[256];

/* Appends without a copy or a check; false if the arena is full. */
bool http_fields_push(struct http_fields *f, struct arena *a, struct slice name,
                      struct slice value);

/* The fields that belong to one connection or to the framing, and those only a codec may write. */
enum http_special {
    HTTP_ORDINARY,
    HTTP_CONNECTION,
    HTTP_CONTENT_LENGTH,
    HTTP_EXPECT,
    HTTP_HOST,
    HTTP_HOP, /* keep-alive, proxy-connection, te, upgrade, http2-settings */
    HTTP_TRANSFER_ENCODING,
};

/* @name is lower case. */
enum http_special http_special(struct slice name);

/* Fields that mean nothing, or harm, after the body (RFC 9110, 6.5.1): left out of trailers. */
bool http_is_trailer(struct slice name);
