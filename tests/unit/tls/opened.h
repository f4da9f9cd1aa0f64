/*
 * opened.h - a session of ours whose records are ours, open, and its peer: a stock OpenSSL or
 * another of ours; and records made by hand, of any content, as that peer would seal them
 */
#pragma once

#include "tests/unit/tls/link.h"
#include "tls/inner.h"

#define RECORD_HEADER 5
#define RECORD_TRAILER 17 /* the type, the tag */
#define RECORD_PLAIN_MAX 16384
#define RECORD_TEXT_MAX (RECORD_PLAIN_MAX + 400)

/* Who speaks to the session under test, which is a server if its peer is a client. */
enum who {
    STOCK_CLIENT,
    STOCK_SERVER,
    OUR_CLIENT,
    OUR_SERVER,
    N_WHO,
};

#define N_SUITES 3

struct opened {
    struct link l;
    SSL_CTX *stock;
    struct side *ours, *theirs; /* sides of ->l: the one under test, its peer */
    uint64_t n_forged;          /* records that ->ours has not read yet */
    /* Alerts that a stock peer has read. */
    unsigned n_alerts;
    int alert; /* the last one's level and description, as OpenSSL tells them */
};

/* Everything up to the first byte of data; @suite: below N_SUITES. */
void opened_init(struct opened *o, enum who who, unsigned suite, const struct test_pki *pki);
void opened_fini(struct opened *o);

static inline bool has_stock_peer(const struct opened *o)
{
    return o->l.raw != NULL;
}

/* The peer writes. */
void peer_write(struct opened *o, const void *bytes, size_t len);

/* Random bytes arrive as they were sent. */
void ours_to_peer(struct opened *o, size_t len);
void peer_to_ours(struct opened *o, size_t len);

/*
 * Appends to ->ours->in a record with these bytes sealed in it, the inner type not apart. Once it
 * has been called, the real peer's numbers are no longer the right ones.
 */
void forge_inner(struct opened *o, uint8_t outer_type, const void *inner, size_t len);
/* The same of an ordinary record. */
void forge(struct opened *o, uint8_t type, const void *bytes, size_t len);

/* ->ours reads until it finds nothing more to do. */
enum tls_state read_forged(struct opened *o);

/* ->ours has ended for @words, has said so by one alert, which the peer can read, and counts it. */
void assert_refused(struct opened *o, int alert, const char *words);

/* It has read @len bytes since the last time, and goes on. */
void assert_delivered(struct opened *o, const void *bytes, size_t len);
