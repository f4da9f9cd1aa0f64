/*
 * pki.h - the certificates of a small mesh, ready to use in tests of TLS
 *
 *   root -> inter -> server  spiffe://cluster.local/ns/default/sa/server, server.example.com
 *                    client  spiffe://cluster.local/ns/foo/sa/client
 *   other (another root) -> stranger, with the names of client
 *
 * Each secret holds the leaf's chain without the root, the key, and the roots
 * its owner trusts.
 */
#pragma once

#include "tests/lib/certs.h"
#include "tls/secret.h"

struct test_pki {
    struct test_dir dir;
    struct test_cert root, inter, server_cert, client_cert, other, stranger_cert;
    struct tls_secret *server, *client, *stranger;
};

void test_pki_init(struct test_pki *p);
void test_pki_fini(struct test_pki *p);

/* A certificate of our CA, or of conf->issuer, with a key, trusting our root. Put it back. */
struct tls_secret *test_pki_issue(struct test_pki *p, const struct test_cert_conf *conf);

/* Only roots. */
struct tls_secret *test_pki_trust(struct test_pki *p, const struct test_cert *const *roots);
