/*
 * session.h - one TLS connection: bytes in, bytes out
 *
 * No sockets, no clock of its own, no callbacks upward: ciphertext and plaintext
 * pass in packets (base/pkt.h). OpenSSL does handshakes, over a BIO that reads from
 * and writes to the caller's queues directly. Then the records of TLS 1.3 are ours
 * (record.c): opened and sealed where they lie, in the packets that TCP received and
 * the packets it will send again until they are acknowledged; OpenSSL's object is
 * freed. A record fits one packet at first, and after a pause; of a long answer it is as
 * large as it may be, over several packets. Records of TLS 1.2 stay OpenSSL's.
 *
 *   tls_read()   ciphertext from @in -> plaintext to @plain, handshake answers to @out
 *   tls_write()  plaintext from @plain -> ciphertext to @out
 *
 * HANDSHAKING -> OPEN -> CLOSED (close_notify read) ; FAILED from anywhere.
 *
 * A handshake may wait for a helper (tls/helper.h): tls_waits(), and tls_read() does nothing.
 *
 * Certificates are judged at core->wall_us. When the packet pool is empty in the
 * middle of a record, the session FAILs: half a record cannot be taken back.
 *
 * Owned by one worker. RFC 8446, RFC 5246. Renegotiation and 0-RTT are off.
 */
#pragma once

#include "dataplane/base/core.h"
#include "tls/ctx.h"

struct tls_session;

enum tls_state {
    TLS_HANDSHAKING,
    TLS_OPEN,
    TLS_CLOSED, /* the peer's close_notify was read: no more plaintext; writing still works */
    TLS_FAILED, /* tls_error() says why; @out may hold an alert to send */
};

/*
 * @seg: most bytes of ciphertext in one packet of @out (the transport's segment size).
 * NULL: no memory. Takes a reference of @ctx.
 */
struct tls_session *tls_session_new(struct tls_ctx *ctx, struct core *core, uint32_t seg);

/* Clears and frees everything. */
void tls_session_free(struct tls_session *s);

/* Client: the first flight. */
enum tls_state tls_connect(struct tls_session *s, struct pktq *out);

/*
 * Reads from @in until @plain holds @max bytes or more, or a whole record is missing. Takes packets
 * from @in as far as it has read them. While HANDSHAKING every call is one step (bounded work: at
 * most what one flight needs); when it becomes OPEN it returns without reading further: call again.
 */
enum tls_state tls_read(struct tls_session *s, struct pktq *in, struct pktq *plain, uint64_t max,
                        struct pktq *out);

/*
 * Would tls_read() find something to do: a whole record in @in, or plaintext that waits inside?
 * What is left of @in without that is the beginning of a record.
 */
bool tls_read_pending(const struct tls_session *s, const struct pktq *in);

/*
 * Takes every packet of @plain. Only while OPEN or CLOSED, and before tls_close(); else they are
 * freed, and FAILED is returned.
 */
enum tls_state tls_write(struct tls_session *s, struct pktq *plain, struct pktq *out);

/* close_notify, once. */
void tls_close(struct tls_session *s, struct pktq *out);

enum tls_state tls_state(const struct tls_session *s);

/* Best size of a plaintext packet for tls_write() so that its record fills one segment. */
uint32_t tls_plain_seg(const struct tls_session *s);

/*
 * Why it failed, in the form of Envoy's transport failure reason: "TLS error: " and words, with the
 * verification's own reason where it was that ("certificate has expired", "SPIFFE identity
 * spiffe://... is not accepted", "no client certificate"). "" if it did not fail.
 */
const char *tls_error(const struct tls_session *s);

/* Once OPEN. Strings live as long as the session. */
struct tls_peer {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_128_GCM_SHA256" */
    const char *alpn;    /* "" if none was agreed */
    const char *sni;     /* server: what the client asked for; client: what we sent; "" */
    bool resumed;
    bool has_cert;       /* the peer presented a certificate, and it was accepted */
    const char *uri;     /* its first URI SAN, "" */
    const char *dns;     /* DNS SANs, comma separated, "" */
    const char *subject; /* RFC 2253, "" */
    const char *hash;    /* SHA-256 of the leaf, 64 lower-case hex digits */
};
const struct tls_peer *tls_peer(struct tls_session *s);

/* A helper computes for its handshake: it goes on when tls_lib_answered() says so. */
bool tls_waits(const struct tls_session *s);
/* For who hears of that: whose it is. */
void tls_set_owner(struct tls_session *s, void *owner);
void *tls_owner(const struct tls_session *s);

struct tls_ctx *tls_session_ctx(const struct tls_session *s);

/* Counters of one worker (struct core has none of TLS: pass the block in). */
#define TLS_COUNTERS(X)                                                                            \
    X(handshakes, "handshakes completed")                                                          \
    X(resumed, "handshakes resumed from a ticket")                                                 \
    X(contexts, "contexts of OpenSSL made: one for all clusters and chains that agree in it")      \
    X(certs_known, "certificates of peers that had been decoded before")                           \
    X(chains_known, "certificate chains that had been verified before")                            \
    X(helped, "public-key operations that a helper has computed")                                  \
    X(not_helped, "public-key operations that a helper had no room for")                           \
    X(handshake_failed, "handshakes failed")                                                       \
    X(fail_verify_no_cert, "peers refused: no certificate")                                        \
    X(fail_verify_error, "peers refused: the chain does not verify")                               \
    X(fail_verify_san, "peers refused: valid chain, wrong identity")                               \
    X(records_failed, "connections ended by a bad record")                                         \
    X(alerts, "connections ended by an alert of the peer")                                         \
    X(no_memory, "sessions refused or ended for want of memory")

#define TLS_COUNTER_FIELD(name, text) uint64_t name;
struct tls_counters {
    TLS_COUNTERS(TLS_COUNTER_FIELD)
};

/* Where a worker's sessions count: sessions of @lib, which belongs to that worker. */
const struct tls_counters *tls_counters(const struct tls_lib *lib);
uint32_t tls_n_sessions(const struct tls_lib *lib);
