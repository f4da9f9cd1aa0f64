#include "tls/certs.h"

#include "dataplane/base/compiler.h"
#include "dataplane/base/hash.h"
#include "tls/certinfo.h"
#include "tls/inner.h"
#include "tls/next.h"

#include <pthread.h>
#include <stdlib.h>

#define SETS 128 /* 512 certificates, of some 6 KiB each */
#define WAYS 4

struct entry {
    struct slice der;
    X509 *cert; /* NULL: free */
};

struct certs {
    struct entry sets[SETS][WAYS]; /* the newest first */
};

/* --- what is known of one, kept with it --- */

static int facts_slot;

static void free_facts(void *cert, void *data, CRYPTO_EX_DATA *all, int index, long n, void *arg)
{
    struct cert_facts *f = data;

    if (f == NULL)
        return;
    GENERAL_NAMES_free(f->names);
    free(f->text);
    free(f);
}

static void take_slot(void)
{
    facts_slot = X509_get_ex_new_index(0, NULL, NULL, NULL, free_facts);
}

/* The same for all workers; -1: no memory. */
static int facts_index(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, take_slot);
    return facts_slot;
}

const struct cert_facts *cert_facts(const X509 *cert)
{
    return facts_index() >= 0 ? X509_get_ex_data(cert, facts_index()) : NULL;
}

/* Appends @text to the block at *@at, and returns where it stands. */
static const char *put(char **at, const char *text)
{
    size_t len = strlen(text) + 1;
    char *to = memcpy(*at, text, len);

    *at += len;
    return to;
}

static bool fill_text(struct cert_facts *f, X509 *cert)
{
    struct cert_text t;
    char *at;

    if (!cert_text(cert, &t))
        return false;
    at = f->text =
        malloc(strlen(t.uri) + strlen(t.dns) + strlen(t.subject) + strlen(t.fingerprint) + 4);
    if (at == NULL)
        return false;
    f->uri = put(&at, t.uri);
    f->dns = put(&at, t.dns);
    f->subject = put(&at, t.subject);
    f->fingerprint = put(&at, t.fingerprint);
    return true;
}

static bool learn(X509 *cert)
{
    struct cert_facts *f = facts_index() >= 0 ? calloc(1, sizeof(*f)) : NULL;

    if (f == NULL)
        return false;
    if (X509_digest(cert, EVP_sha256(), f->hash, NULL) == 1 && cert_sans(cert, &f->names) &&
        fill_text(f, cert) && X509_set_ex_data(cert, facts_index(), f) == 1)
        return true;
    free_facts(cert, f, NULL, 0, 0, NULL);
    return false;
}

/* --- those of a worker --- */

/* A certificate ends with its signature: what has verified has no two alike. */
static unsigned set_of(struct slice der)
{
    uint64_t last;

    if (der.len < sizeof(last))
        return 0;
    memcpy(&last, der.ptr + der.len - sizeof(last), sizeof(last));
    return hash_mix(last) % SETS;
}

X509 *certs_find(const struct certs *c, struct slice der)
{
    const struct entry *set = c != NULL ? c->sets[set_of(der)] : NULL;

    for (unsigned i = 0; set != NULL && i < WAYS; i++)
        if (set[i].cert != NULL && slice_eq(set[i].der, der))
            return X509_up_ref(set[i].cert) == 1 ? set[i].cert : NULL;
    return NULL;
}

static void drop(struct entry *e)
{
    X509_free(e->cert);
    OPENSSL_free((void *)e->der.ptr);
    *e = (struct entry){ 0 };
}

static struct slice der_of(X509 *cert)
{
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);

    return len > 0 ? (struct slice){ (const char *)der, (size_t)len } : SLICE_NONE;
}

/* Takes @e; the oldest gives way. */
static void insert(struct entry set[WAYS], struct entry e)
{
    drop(&set[WAYS - 1]);
    memmove(&set[1], &set[0], (WAYS - 1) * sizeof(set[0]));
    set[0] = e;
}

void certs_add(struct certs **c, X509 *cert)
{
    struct entry e = { .cert = cert };
    X509 *there;

    if (*c == NULL)
        *c = calloc(1, sizeof(**c));
    if (*c == NULL)
        return;
    e.der = der_of(cert);
    there = e.der.ptr != NULL ? certs_find(*c, e.der) : NULL;
    if (e.der.ptr != NULL && there == NULL && (cert_facts(cert) != NULL || learn(cert)) &&
        X509_up_ref(cert) == 1) {
        insert((*c)->sets[set_of(e.der)], e);
        return;
    }
    X509_free(there);
    OPENSSL_free((void *)e.der.ptr);
}

void certs_free(struct certs *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < SETS; i++)
        for (unsigned k = 0; k < WAYS; k++)
            drop(&c->sets[i][k]);
    free(c);
}

/* --- in the place of libcrypto's --- */

typedef X509 *d2i_fn(X509 **to, const unsigned char **der, long len);

static X509 *decode(X509 **to, const unsigned char **der, long len)
{
    static _Atomic(void *) next;
    d2i_fn *fn = (d2i_fn *)next_function(&next, "d2i_X509");

    return fn != NULL ? fn(to, der, len) : NULL;
}

/* Only where an object is there to be filled: the peer's certificates, in a handshake. */
NEXT_EXPORT X509 *d2i_X509(X509 **to, const unsigned char **der, long len)
{
    struct tls_session *s = schedule_whose();
    X509 *known = NULL;

    if (s != NULL && to != NULL && *to != NULL && len > 0)
        known = certs_find(s->ctx->lib->certs, (struct slice){ (const char *)*der, (size_t)len });
    if (known == NULL)
        return decode(to, der, len);
    session_counters(s)->certs_known++;
    X509_free(*to);
    *to = known;
    *der += len;
    return known;
}
