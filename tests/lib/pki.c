#include "tests/lib/pki.h"

#include <stdio.h>
#include <stdlib.h>

static struct tls_secret *load(const struct secret_conf *conf)
{
    struct cfg_err err = { "" };
    struct tls_secret *s = tls_secret_load(conf, &err);

    if (s == NULL) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return s;
}

static struct tls_secret *secret_of(struct test_pki *p, const struct test_cert *leaf,
                                    const struct test_cert *issuer, const struct test_cert *trust)
{
    const struct test_cert *const chain[] = { leaf, issuer == &p->inter ? issuer : NULL, NULL };
    const struct test_cert *const roots[] = { trust, NULL };

    return load(&(struct secret_conf){
        .name = "test",
        .certificate_chain = test_write_certs(&p->dir, "chain.pem", chain),
        .private_key = test_write_key(&p->dir, "key.pem", leaf, NULL),
        .trusted_ca = test_write_certs(&p->dir, "ca.pem", roots),
    });
}

void test_pki_init(struct test_pki *p)
{
    test_dir_init(&p->dir);
    test_cert_make(&p->root, &(struct test_cert_conf){ .cn = "root", .is_ca = true });
    test_cert_make(&p->inter,
                   &(struct test_cert_conf){ .cn = "inter", .is_ca = true, .issuer = &p->root });
    test_cert_make(&p->server_cert, &(struct test_cert_conf){
                                        .cn = "server",
                                        .issuer = &p->inter,
                                        .uri = { "spiffe://cluster.local/ns/default/sa/server" },
                                        .dns = { "server.example.com" },
                                    });
    test_cert_make(&p->client_cert, &(struct test_cert_conf){
                                        .cn = "client",
                                        .issuer = &p->inter,
                                        .uri = { "spiffe://cluster.local/ns/foo/sa/client" },
                                    });
    test_cert_make(&p->other, &(struct test_cert_conf){ .cn = "other root", .is_ca = true });
    test_cert_make(&p->stranger_cert, &(struct test_cert_conf){
                                          .cn = "client",
                                          .issuer = &p->other,
                                          .uri = { "spiffe://cluster.local/ns/foo/sa/client" },
                                          .dns = { "server.example.com" },
                                      });
    p->server = secret_of(p, &p->server_cert, &p->inter, &p->root);
    p->client = secret_of(p, &p->client_cert, &p->inter, &p->root);
    p->stranger = secret_of(p, &p->stranger_cert, &p->other, &p->root);
}

void test_pki_fini(struct test_pki *p)
{
    tls_secret_put(p->server);
    tls_secret_put(p->client);
    tls_secret_put(p->stranger);
    test_cert_free(&p->root);
    test_cert_free(&p->inter);
    test_cert_free(&p->server_cert);
    test_cert_free(&p->client_cert);
    test_cert_free(&p->other);
    test_cert_free(&p->stranger_cert);
    test_dir_fini(&p->dir);
}

struct tls_secret *test_pki_issue(struct test_pki *p, const struct test_cert_conf *conf)
{
    struct test_cert_conf with_issuer = *conf;
    struct test_cert leaf;
    struct tls_secret *s;

    if (with_issuer.issuer == NULL)
        with_issuer.issuer = &p->inter;
    test_cert_make(&leaf, &with_issuer);
    s = secret_of(p, &leaf, with_issuer.issuer, &p->root);
    test_cert_free(&leaf);
    return s;
}

struct tls_secret *test_pki_trust(struct test_pki *p, const struct test_cert *const *roots)
{
    return load(&(struct secret_conf){
        .name = "trust",
        .trusted_ca = test_write_certs(&p->dir, "ca.pem", roots),
    });
}
