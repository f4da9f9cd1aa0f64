/*
 * inner.h - what the files of tls/ know of each other, and nobody else does
 *
 *   secret, certinfo, hostname, spiffe   certificates and names
 *   certs, chains                        of peers: decoded once, verified once
 *   ctx, ticket, verify                  what sessions have in common; who is accepted
 *   session                              one session: made, freed, failed, described
 *   handshake, bio                       it agrees with its peer: OpenSSL, over our packets
 *   helper                               and lets another core do the sums
 *   provider, schedule, x25519           what its OpenSSL can do, and what of that is ours
 *   keys, record, aead                   and carries bytes: records of our own, of TLS 1.3
 *   record_openssl                       or OpenSSL's, of TLS 1.2
 *
 * All OpenSSL objects of a context belong to its worker's library context: they
 * are made anew for each worker, so that no two workers count on one cache line.
 */
#pragma once

#include "dataplane/base/arena.h"
#include "tls/aead.h"
#include "tls/certs.h"
#include "tls/chains.h"
#include "tls/helper.h"
#include "tls/hostname.h"
#include "tls/provider.h"
#include "tls/schedule.h"
#include "tls/session.h"
#include "tls/ticket.h"
#include "tls/verify.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdatomic.h>

#define TICKET_NAME_LEN 16
#define TICKET_IV_LEN 16

enum tls_limits {
    TLS_CHAIN_DEPTH = 6,              /* intermediates between a peer's leaf and our root */
    TLS_CHAIN_MAX = 16,               /* longer ones are not remembered */
    TLS_PEER_CHAIN_BYTES = 32 * 1024, /* of the certificates a peer presents */
    TLS_HANDSHAKE_BYTES = 128 * 1024, /* a peer may send before it is done */
    TLS_IDLE_MESSAGES = 32,      /* handshake messages in an open session without data between */
    TLS_SMALL_BYTES = 64 * 1024, /* in records of a packet, before there are larger ones */
    TLS_PAUSE_US = 1000000,      /* after so long without data it begins anew */
    TLS_TICKET_SECONDS = 2 * 60 * 60,
    TLS_READY_KEYS = 8192, /* that a worker keeps expanded: of connections that are in use */
};

/* secret.c: a loaded certificate */
struct tls_cert {
    X509 *x509; /* of the default library context: for looking only */
    struct slice der;
    struct tls_cert_info info;
};

uint32_t tls_secret_chain(const struct tls_secret *s, const struct tls_cert **ret);
uint32_t tls_secret_roots(const struct tls_secret *s, const struct tls_cert **ret);
struct slice tls_secret_key(const struct tls_secret *s); /* DER; empty: there is none */

/* ctx.c */
#define TLS_BASE_BUCKETS 512

struct tls_lib {
    uint32_t number; /* counted from the first of the process */
    struct provider provider;
    BIO_METHOD *bio;
    EVP_CIPHER *ticket_cipher;
    EVP_MD *sha256;
    struct schedule schedule;
    struct aead *aead;
    struct tls_desk *desk;                    /* NULL: the worker has no helper */
    struct tls_base *bases[TLS_BASE_BUCKETS]; /* the control thread's */
    _Atomic bool has_unused;                  /* bases that no context holds any more */
    _Atomic uint32_t n_ctx; /* contexts are put by their worker and by the control thread */
    /* Written by the worker (->contexts by the control thread), read by the control thread. */
    CACHE_ALIGNED uint32_t n_sessions;
    struct tls_counters counters;
    struct certs *certs; /* of peers; the worker's */
};
_Static_assert(offsetof(struct tls_lib, n_sessions) % CACHE_LINE == 0,
               "not in a line that the control thread writes");

/*
 * OpenSSL's context and what goes with it: one in each worker for all chains and clusters that
 * agree in certificate, roots, versions, suites and ALPN. The library holds a reference, so that
 * only the control thread frees one: tls_lib_sweep().
 */
struct tls_base {
    struct tls_base *next; /* in its bucket */
    _Atomic uint32_t refs;
    SSL_CTX *ssl;
    bool is_server, demands_cert, resumes;
    enum tls_version min_version, max_version;
    struct tls_secret *secret, *trust;
    struct tls_tickets *tickets;
    struct arena arena;
    const char *cipher_list; /* NULL: ours */
    struct slice alpn;       /* in wire format: length, name, length, name, ... */
    struct chains *chains;   /* verified; its worker's */
};

/* What one chain or cluster says for itself: the same for all workers. Immutable. */
struct tls_who {
    _Atomic uint32_t refs;
    struct arena arena; /* what follows outlives the snapshot it was built from */
    struct tls_policy policy;
    const char *sni; /* client; NULL: none */
    const char *local_uri;
    uint64_t handshake_timeout_us;
    uint32_t n_binding; /* what tickets are bound to */
    uint8_t binding[SSL_MAX_SID_CTX_LENGTH];
};

struct tls_ctx {
    _Atomic uint32_t refs;
    bool is_server;
    struct tls_lib *lib;
    struct tls_base *base;
    struct tls_who *who;
    struct resumption *resumption; /* of a client that was told to resume; else NULL */
};

/* resume.c: of a client. False: no memory. */
void resume_prepare(SSL_CTX *ssl);
bool resume_begin(struct tls_ctx *ctx);
bool resume_start(struct tls_session *s);
void resume_end(struct tls_session *s);
void resume_drop(struct tls_ctx *ctx);

/* ticket.c: what SSL_CTX_set_tlsext_ticket_key_evp_cb() asks for */
int tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int is_sealing);

/* keys.c: one direction of a session whose records are ours */
struct tls_half {
    struct aead_key key;
    uint8_t secret_len; /* 0: OpenSSL has not told it */
    uint8_t secret[SCHEDULE_SECRET_MAX];
    uint8_t key_len; /* of ->key, and has it an IV: as OpenSSL has derived them from ->secret */
    bool has_iv;
    uint64_t seq; /* number of the next record */
};

struct tls_keys {
    struct tls_half rx, tx;
    /* The peer's handshake message that has begun: its header, and a KeyUpdate's one byte. */
    uint8_t msg[5];
    uint8_t n_msg;
    uint32_t msg_skip; /* bytes of it, a ticket, that are still to come */
    bool owes_update;  /* the peer has asked for one of ours */
    uint32_t n_small;  /* bytes sent in small records since a pause, as far as they count */
    uint64_t sent_us;  /* when data was sent last */
    uint32_t n_sent;   /* records of data that were no reason for a KeyUpdate of the peer's yet */
};

/* OpenSSL has derived a secret of @s for data, and begins to use it. */
void keys_on_secret(struct tls_session *s, bool is_client, const uint8_t *secret, size_t len);
/* It has derived a key, or an IV, from @secret: perhaps from one of those. */
void keys_on_key(struct tls_session *s, struct slice secret, bool is_key, const uint8_t *bytes,
                 size_t len);
/* OpenSSL has read or written a record whose header begins with @type. */
void keys_on_record(struct tls_session *s, bool is_write, uint8_t type);
/* After the handshake. False: the records stay with OpenSSL. */
bool keys_take_over(struct tls_session *s);
/* RFC 8446, 7.2. */
bool keys_update(struct tls_lib *lib, struct tls_half *h);
void keys_drop(struct tls_session *s);

/* session.c */
struct tls_session {
    enum tls_state state;
    uint16_t n_idle; /* handshake messages since the last plaintext */
    bool no_memory;  /* the pool was empty: set by bio.c */
    bool close_sent;
    bool was_refused;  /* verify.c has written ->error and counted */
    bool waits;        /* for a helper: OpenSSL is in the middle of its handshake */
    bool is_answered;  /* it need not any more */
    bool is_abandoned; /* nobody cares for its handshake any more, which is to end */
    uint32_t seg;
    uint32_t overhead;     /* of a record; 0: not known before OPEN */
    uint64_t n_read;       /* bytes of ciphertext taken */
    int64_t valid_until;   /* Unix time: the first end of validity in the peer's chain */
    SSL *ssl;              /* NULL once the records are ours */
    struct tls_keys *keys; /* NULL if OpenSSL has told no secrets */
    struct core *core;
    struct tls_ctx *ctx;
    struct pktq *in, *out; /* the caller's, for the length of a call */
    void *owner;
    struct tls_peer peer;
    char *peer_text; /* the strings of ->peer */
    char error[192];
};

static inline struct tls_counters *session_counters(struct tls_session *s)
{
    return &s->ctx->lib->counters;
}

/* Ends it for the reason OpenSSL's error queue, or @s itself, tells. */
enum tls_state session_failed(struct tls_session *s);

/* Ends it for the peer's alert. */
enum tls_state session_alerted(struct tls_session *s, int alert);

/* Ends it for a reason of our own. */
enum tls_state session_refuse(struct tls_session *s, const char *why);

/* Of one that has waited, and need not any more: its handshake ends here. */
void session_break_off(struct tls_session *s);

/* Fills ->peer from its certificate, NULL if it has none; false: no memory. */
bool session_describe_peer(struct tls_session *s, X509 *cert);

/* handshake.c: one step; and what OpenSSL tells about its messages */
enum tls_state handshake_step(struct tls_session *s);
void on_message(int is_write, int version, int type, const void *bytes, size_t len, SSL *ssl,
                void *arg);

/* record.c: records of our own. ->in and ->out of the session are there. */
enum tls_state record_read(struct tls_session *s, struct pktq *plain, uint64_t max);
enum tls_state record_write(struct tls_session *s, struct pktq *plain);
void record_close(struct tls_session *s);
/* Does a whole record wait in @in? */
bool record_waits(const struct pktq *in);

/* record_openssl.c: the same, by OpenSSL */
enum tls_state openssl_read(struct tls_session *s, struct pktq *plain, uint64_t max);
enum tls_state openssl_write(struct tls_session *s, struct pktq *plain);
void openssl_close(struct tls_session *s);

/* bio.c: a BIO over ->in and ->out of a session */
BIO_METHOD *bio_method_new(void);
BIO *bio_of_session(struct tls_session *s);
