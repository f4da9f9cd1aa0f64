/*
 * certs.h - a throw-away CA: certificates of every kind, good and bad, made in a moment
 *
 * P-256 keys, as in the mesh. A failure inside OpenSSL aborts the test. Files
 * go to a directory of their own under TMPDIR, which test_dir_fini() removes.
 */
#pragma once

#include "dataplane/base/slice.h"

#include <openssl/x509.h>

struct test_cert {
    X509 *x509;
    EVP_PKEY *key;
};

struct test_cert_conf {
    const struct test_cert *issuer; /* NULL: signed by itself */
    const char *cn;
    bool is_ca;
    const char *uri[3]; /* SANs, until the first NULL */
    const char *dns[3];
    struct slice raw_uri, raw_dns; /* one more SAN of any bytes */
    const char *email;             /* one more SAN of another type */
    const char *eku;               /* NULL: "clientAuth,serverAuth"; "": none */
    const char *key_usage;         /* NULL: as befits @is_ca */
    int64_t from, until;           /* Unix time; 0: since yesterday, for ten days */
};

void test_cert_make(struct test_cert *to, const struct test_cert_conf *conf);
void test_cert_free(struct test_cert *c);

struct test_dir {
    char path[128];
};

void test_dir_init(struct test_dir *d);
void test_dir_fini(struct test_dir *d);

/* The path of a file in @d: one of eight buffers that take turns. */
const char *test_path(const struct test_dir *d, const char *name);

/* Certificates up to the first NULL, in this order. Returns the path. */
const char *test_write_certs(const struct test_dir *d, const char *name,
                             const struct test_cert *const *certs);

/* @passphrase NULL: not encrypted. */
const char *test_write_key(const struct test_dir *d, const char *name, const struct test_cert *c,
                           const char *passphrase);
const char *test_write_file(const struct test_dir *d, const char *name, const void *bytes,
                            size_t len);
