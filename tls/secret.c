#include "tls/secret.h"

#include "dataplane/base/arena.h"
#include "dataplane/base/log.h"
#include "tls/certinfo.h"
#include "tls/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEY_FILE_MAX (64 * 1024)
#define CERT_FILE_MAX (1024 * 1024)
#define GROWTH 4096 /* of a file between looking at it and reading it */
#define SETTLED_S 1
#define CHAIN_MAX 10
#define ROOTS_MAX 1024

/* Pages that stay out of core dumps, and are cleared before they go back. */
struct vault {
    uint8_t *bytes;
    size_t len, room;
};

/* Whatever is written to a file, or put in its place, changes one of these. */
struct stamp {
    dev_t dev;
    ino_t ino; /* 0: no such file was read */
    off_t size;
    struct timespec changed;
};

struct tls_secret {
    _Atomic uint32_t refs;
    struct arena arena; /* everything but the key */
    uint32_t n_chain, n_roots;
    struct tls_cert *chain, *roots;
    struct vault key; /* DER */
    unsigned char digest[32];
    struct stamp files[3]; /* certificate_chain, private_key, trusted_ca: the control thread's */
    time_t read_at;
};

/* What is being loaded: the error is told once, with all it needs to say where. */
struct loading {
    const struct secret_conf *conf;
    const char *setting, *path;
    struct stamp *file;
    struct tls_secret *secret;
    struct cfg_err *err;
};

static int PRINTF_LIKE(2, 3) refuse(const struct loading *l, const char *fmt, ...)
{
    char words[CFG_ERR_LEN];
    va_list args;

    va_start(args, fmt);
    vsnprintf(words, sizeof(words), fmt, args);
    va_end(args);
    return cfg_err_set(l->err, &l->conf->where, "secret %s: %s %s: %s", l->conf->name, l->setting,
                       l->path, words);
}

static int vault_open(struct vault *v, size_t room)
{
    void *at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        return -errno;
    if (madvise(at, room, MADV_DONTDUMP) != 0) {
        int rc = -errno;

        munmap(at, room);
        return rc;
    }
    (void)mlock(at, room); /* better out of swap; an unprivileged process may not have the right */
    *v = (struct vault){ .bytes = at, .room = room };
    return 0;
}

static void vault_close(struct vault *v)
{
    if (v->bytes == NULL)
        return;
    OPENSSL_cleanse(v->bytes, v->room);
    munmap(v->bytes, v->room);
    *v = (struct vault){ .bytes = NULL };
}

static struct stamp stamp_of(const struct stat *st)
{
    return (struct stamp){ st->st_dev, st->st_ino, st->st_size, st->st_ctim };
}

static bool stamp_eq(const struct stamp *a, const struct stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* Reads all of @fd, at most @max bytes: one more is the sign of a file too long. */
static int read_all(const struct loading *l, int fd, size_t max, struct vault *v)
{
    while (v->len <= max) {
        ssize_t n = read(fd, v->bytes + v->len, max + 1 - v->len);

        if (n == 0)
            return 0;
        if (n > 0)
            v->len += (size_t)n;
        else if (errno != EINTR)
            return refuse(l, "%s", strerror(errno));
    }
    return refuse(l, "longer than %zu bytes", max);
}

static int read_file(const struct loading *l, size_t max, struct vault *ret)
{
    struct vault v = { .bytes = NULL };
    struct stat st;
    int fd, rc;

    /* Not blocking: opening a FIFO must not hang the daemon. */
    fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse(l, "%s", strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        rc = refuse(l, "not a regular file");
        goto out;
    }
    *l->file = stamp_of(&st);
    /* Of its size: each page of a vault is locked, and cleared. */
    if ((uint64_t)st.st_size > max) {
        rc = refuse(l, "longer than %zu bytes", max);
        goto out;
    }
    max = MIN(max, (size_t)st.st_size + GROWTH);
    rc = vault_open(&v, max + 1);
    if (rc < 0) {
        rc = refuse(l, "no memory: %s", strerror(-rc));
        goto out;
    }
    rc = read_all(l, fd, max, &v);
    if (rc < 0)
        vault_close(&v);
    else
        *ret = v;
out:
    close(fd);
    return rc;
}

static const char *openssl_words(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    return reason != NULL ? reason : "unknown error";
}

static char *hex_serial(struct arena *a, X509 *cert)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *hex = n != NULL ? BN_bn2hex(n) : NULL;
    char *ret = arena_strdup(a, hex != NULL ? hex : "");

    OPENSSL_free(hex);
    BN_free(n);
    return ret;
}

static void tell_validity(const struct loading *l, const struct tls_cert *c)
{
    int64_t now = time(NULL);

    if (c->info.not_after < now)
        log_warning("tls", "secret %s: %s: certificate \"%s\" has expired", l->conf->name, l->path,
                    c->info.subject);
    else if (c->info.not_before > now)
        log_warning("tls", "secret %s: %s: certificate \"%s\" is not valid yet", l->conf->name,
                    l->path, c->info.subject);
}

static int describe(const struct loading *l, struct tls_cert *to)
{
    struct arena *a = &l->secret->arena;
    struct cert_text text;

    if (!cert_text(to->x509, &text))
        return refuse(l, "cannot read the names of a certificate: %s", openssl_words());
    to->info.subject = arena_strdup(a, text.subject);
    to->info.uri = arena_strdup(a, text.uri);
    to->info.dns = arena_strdup(a, text.dns);
    to->info.fingerprint = arena_strdup(a, text.fingerprint);
    to->info.serial = hex_serial(a, to->x509);
    if (!cert_time(X509_get0_notBefore(to->x509), &to->info.not_before) ||
        !cert_time(X509_get0_notAfter(to->x509), &to->info.not_after))
        return refuse(l, "a certificate's time of validity cannot be read");
    tell_validity(l, to);
    return 0;
}

static int add_cert(const struct loading *l, const uint8_t *der, long len, struct tls_cert *to)
{
    const uint8_t *at = der;
    X509 *cert = d2i_X509(NULL, &at, len);

    if (cert == NULL)
        return refuse(l, "not a certificate: %s", openssl_words());
    to->x509 = cert;
    if (at != der + len)
        return refuse(l, "a certificate is followed by %zd bytes that do not belong to it",
                      der + len - at);
    to->der = arena_copy(&l->secret->arena, (struct slice){ (const char *)der, (size_t)len });
    return describe(l, to);
}

static bool is_cert_block(const char *name)
{
    return strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;
}

/* Every certificate of a PEM file, in order. Other blocks (a key beside it) are passed over. */
static int read_certs(const struct loading *l, BIO *bio, uint32_t max, struct tls_cert **certs,
                      uint32_t *n)
{
    char *name, *header;
    unsigned char *der;
    long len;
    int rc = 0;

    *certs = arena_alloc(&l->secret->arena, max * sizeof(**certs));
    ERR_clear_error();
    while (rc == 0 && PEM_read_bio(bio, &name, &header, &der, &len) == 1) {
        if (is_cert_block(name)) {
            if (*n == max)
                rc = refuse(l, "more than %u certificates", max);
            else
                rc = add_cert(l, der, len, &(*certs)[(*n)++]);
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)len);
    }
    if (rc < 0)
        return rc;
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return refuse(l, "bad PEM: %s", openssl_words());
    ERR_clear_error();
    return *n > 0 ? 0 : refuse(l, "holds no certificate");
}

static int load_certs(const struct loading *l, uint32_t max, struct tls_cert **certs, uint32_t *n)
{
    struct vault file;
    BIO *bio;
    int rc;

    rc = read_file(l, CERT_FILE_MAX, &file);
    if (rc < 0)
        return rc;
    bio = BIO_new_mem_buf(file.bytes, (int)file.len);
    rc = bio != NULL ? read_certs(l, bio, max, certs, n) : refuse(l, "no memory");
    BIO_free(bio);
    vault_close(&file);
    return rc;
}

/* Called for an encrypted key: nobody is there to be asked. */
static int no_passphrase(char *buf, int size, int rwflag, void *asked)
{
    *(bool *)asked = true;
    return -1;
}

static int store_key(const struct loading *l, EVP_PKEY *key)
{
    struct vault *v = &l->secret->key;
    int len = i2d_PrivateKey(key, NULL);
    uint8_t *at;

    if (len <= 0 || vault_open(v, (size_t)len) < 0)
        return refuse(l, "no memory for the key");
    at = v->bytes;
    v->len = (size_t)i2d_PrivateKey(key, &at);
    return 0;
}

static int use_key(const struct loading *l, EVP_PKEY *key)
{
    const struct tls_cert *leaf = &l->secret->chain[0];

    if (X509_check_private_key(leaf->x509, key) != 1) {
        ERR_clear_error();
        return refuse(l, "does not fit the first certificate of %s", l->conf->certificate_chain);
    }
    return store_key(l, key);
}

static int load_key(const struct loading *l)
{
    struct vault file;
    bool asked = false;
    EVP_PKEY *key = NULL;
    BIO *bio;
    int rc;

    rc = read_file(l, KEY_FILE_MAX, &file);
    if (rc < 0)
        return rc;
    ERR_clear_error();
    bio = BIO_new_mem_buf(file.bytes, (int)file.len);
    if (bio != NULL)
        key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
    if (key != NULL)
        rc = use_key(l, key);
    else if (asked)
        rc = refuse(l, "the key is encrypted: give one without a passphrase");
    else
        rc = refuse(l, "holds no private key that can be read: %s", openssl_words());
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    vault_close(&file);
    return rc;
}

/* Each certificate is signed by the one after it, as RFC 5246 7.4.2 has it. */
static int check_order(const struct loading *l)
{
    const struct tls_secret *s = l->secret;

    for (uint32_t i = 0; i + 1 < s->n_chain; i++) {
        X509 *cert = s->chain[i].x509, *issuer = s->chain[i + 1].x509;
        bool ok = X509_check_issued(issuer, cert) == X509_V_OK &&
                  X509_verify(cert, X509_get0_pubkey(issuer)) == 1;

        ERR_clear_error();
        if (!ok)
            return refuse(l, "certificate %u (\"%s\") is not issued by the one after it (\"%s\")",
                          i + 1, s->chain[i].info.subject, s->chain[i + 1].info.subject);
    }
    return 0;
}

static int check_roots(const struct loading *l)
{
    const struct tls_secret *s = l->secret;

    for (uint32_t i = 0; i < s->n_roots; i++) {
        if (X509_check_ca(s->roots[i].x509) == 0)
            return refuse(l, "certificate %u (\"%s\") is not that of a CA", i + 1,
                          s->roots[i].info.subject);
    }
    return 0;
}

static int load_identity(struct loading *l)
{
    struct tls_secret *s = l->secret;
    const struct secret_conf *conf = l->conf;
    int rc;

    if (conf->certificate_chain == NULL || conf->private_key == NULL)
        return cfg_err_set(l->err, &conf->where,
                           "secret %s: certificate_chain and private_key need each other",
                           conf->name);
    l->setting = "certificate_chain";
    l->path = conf->certificate_chain;
    l->file = &s->files[0];
    rc = load_certs(l, CHAIN_MAX, &s->chain, &s->n_chain);
    if (rc == 0)
        rc = check_order(l);
    if (rc < 0)
        return rc;
    l->setting = "private_key";
    l->path = conf->private_key;
    l->file = &s->files[1];
    return load_key(l);
}

static int load_trust(struct loading *l)
{
    int rc;

    l->setting = "trusted_ca";
    l->path = l->conf->trusted_ca;
    l->file = &l->secret->files[2];
    rc = load_certs(l, ROOTS_MAX, &l->secret->roots, &l->secret->n_roots);
    return rc == 0 ? check_roots(l) : rc;
}

/* Fingerprint of all bytes: the number of certificates is part of it, so nothing can move over. */
static int fingerprint(const struct loading *l)
{
    struct tls_secret *s = l->secret;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(md, &s->n_chain, sizeof(s->n_chain)) == 1;

    for (uint32_t i = 0; ok && i < s->n_chain; i++)
        ok = EVP_DigestUpdate(md, s->chain[i].der.ptr, s->chain[i].der.len) == 1;
    for (uint32_t i = 0; ok && i < s->n_roots; i++)
        ok = EVP_DigestUpdate(md, s->roots[i].der.ptr, s->roots[i].der.len) == 1;
    if (ok && s->key.len > 0)
        ok = EVP_DigestUpdate(md, s->key.bytes, s->key.len) == 1;
    ok = ok && EVP_DigestFinal_ex(md, s->digest, NULL) == 1;
    EVP_MD_CTX_free(md);
    return ok ? 0 : refuse(l, "no memory");
}

struct tls_secret *tls_secret_load(const struct secret_conf *conf, struct cfg_err *err)
{
    struct loading l = { .conf = conf, .setting = "", .path = "", .err = err };
    int rc = 0;

    if (conf->certificate_chain == NULL && conf->private_key == NULL && conf->trusted_ca == NULL) {
        cfg_err_set(err, &conf->where, "secret %s: names no file", conf->name);
        return NULL;
    }
    l.secret = calloc(1, sizeof(*l.secret));
    if (l.secret == NULL) {
        refuse(&l, "no memory");
        return NULL;
    }
    atomic_init(&l.secret->refs, 1);
    l.secret->read_at = time(NULL);
    arena_init(&l.secret->arena, 0);
    if (conf->certificate_chain != NULL || conf->private_key != NULL)
        rc = load_identity(&l);
    if (rc == 0 && conf->trusted_ca != NULL)
        rc = load_trust(&l);
    if (rc == 0)
        rc = fingerprint(&l);
    if (rc == 0)
        return l.secret;
    tls_secret_put(l.secret);
    return NULL;
}

struct tls_secret *tls_secret_get(struct tls_secret *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void free_certs(struct tls_cert *certs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        X509_free(certs[i].x509);
}

void tls_secret_put(struct tls_secret *s)
{
    /* Releases what this holder did with it; acquires what all others did before the free. */
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    free_certs(s->chain, s->n_chain);
    free_certs(s->roots, s->n_roots);
    vault_close(&s->key);
    arena_fini(&s->arena);
    free(s);
}

bool tls_secret_eq(const struct tls_secret *a, const struct tls_secret *b)
{
    return CRYPTO_memcmp(a->digest, b->digest, sizeof(a->digest)) == 0;
}

/* A file that changed just before it was read may have changed again within the same tick. */
static bool is_untouched(const struct stamp *was, const char *path, time_t read_at)
{
    struct stamp now;
    struct stat st;

    if (path == NULL)
        return was->ino == 0;
    if (stat(path, &st) != 0)
        return false;
    now = stamp_of(&st);
    return stamp_eq(was, &now) && was->changed.tv_sec + SETTLED_S < read_at;
}

bool tls_secret_is_current(const struct tls_secret *s, const struct secret_conf *conf)
{
    const char *const paths[] = { conf->certificate_chain, conf->private_key, conf->trusted_ca };

    for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
        if (!is_untouched(&s->files[i], paths[i], s->read_at))
            return false;
    return true;
}

void tls_secret_go_on(struct tls_secret *s, const struct tls_secret *fresh)
{
    memcpy(s->files, fresh->files, sizeof(s->files));
    s->read_at = fresh->read_at;
}

bool tls_secret_cert(const struct tls_secret *s, unsigned i, struct tls_cert_info *ret,
                     bool *is_root)
{
    if (i >= s->n_chain + s->n_roots)
        return false;
    *is_root = i >= s->n_chain;
    *ret = *is_root ? s->roots[i - s->n_chain].info : s->chain[i].info;
    return true;
}

uint32_t tls_secret_chain(const struct tls_secret *s, const struct tls_cert **ret)
{
    *ret = s->chain;
    return s->n_chain;
}

uint32_t tls_secret_roots(const struct tls_secret *s, const struct tls_cert **ret)
{
    *ret = s->roots;
    return s->n_roots;
}

struct slice tls_secret_key(const struct tls_secret *s)
{
    return (struct slice){ (const char *)s->key.bytes, s->key.len };
}
