/*
 * hello.h - read a ClientHello without committing to a context
 *
 * The server name and ALPN choose the filter chain, and only the chain has a
 * context. So the listener looks at the first bytes, leaves them in place, and
 * gives them to the session afterwards. RFC 8446 4.1.2, RFC 6066 3, RFC 7301.
 */
#pragma once

#include "dataplane/base/pkt.h"

#include <stdbool.h>

#define TLS_HELLO_MAX                                                                              \
    (16 * 1024) /* a longer ClientHello is refused (its SNI may lie in any record) */
#define TLS_HELLO_MAX_ALPN 16

enum tls_hello_result {
    TLS_HELLO_MORE,    /* not all there yet */
    TLS_HELLO_OK,      /* @ret is filled in */
    TLS_HELLO_NOT_TLS, /* these bytes do not begin a TLS handshake */
    TLS_HELLO_BAD,     /* TLS, but not a ClientHello we can read, or too long */
};

struct tls_hello {
    char sni[256]; /* lower case, "" if none */
    unsigned n_alpn;
    char alpn[TLS_HELLO_MAX_ALPN][32]; /* longer names and more of them are passed over */
};

/* Looks at the front of @in; takes nothing. Bounded work: call again only when more has come. */
enum tls_hello_result tls_hello_read(const struct pktq *in, struct tls_hello *ret);
