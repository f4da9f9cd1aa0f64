/* Certificates that were decoded, by all of their bytes. */
#include "tls/certs.h"
#include "tests/lib/pki_group.h"
#include "tests/lib/test.h"
#include "tls/inner.h"

#include <string.h>

static struct slice client_der(void)
{
    const struct tls_cert *chain;

    assert_int_equal(tls_secret_chain(pki.client, &chain), 2);
    return chain[0].der;
}

static X509 *decoded(struct slice der)
{
    const unsigned char *at = (const unsigned char *)der.ptr;
    X509 *cert = d2i_X509(NULL, &at, (long)der.len);

    assert_non_null(cert);
    return cert;
}

static void nothing_is_known_at_first(void **state)
{
    X509 *cert = decoded(client_der());

    assert_null(certs_find(NULL, client_der()));
    assert_null(cert_facts(cert));
    X509_free(cert);
}

static void it_is_the_same_object_again(void **state)
{
    X509 *cert = decoded(client_der()), *again;
    struct certs *c = NULL;
    const struct cert_facts *f;

    certs_add(&c, cert);
    again = certs_find(c, client_der());
    assert_ptr_equal(again, cert);
    f = cert_facts(again);
    assert_string_equal(f->uri, "spiffe://cluster.local/ns/foo/sa/client");
    assert_string_equal(f->subject, "CN=client,O=test");
    assert_string_equal(f->dns, "");
    assert_int_equal(strlen(f->fingerprint), 64);
    assert_int_equal(sk_GENERAL_NAME_num(f->names), 1);
    X509_free(again);
    /* It outlives what keeps it, with what is known of it. */
    certs_free(c);
    assert_string_equal(cert_facts(cert)->subject, "CN=client,O=test");
    X509_free(cert);
}

static void other_bytes_are_another_certificate(void **state)
{
    struct slice der = client_der();
    X509 *cert = decoded(der);
    struct certs *c = NULL;
    char other[4096];

    certs_add(&c, cert);
    assert_true(der.len + 1 <= sizeof(other));
    memcpy(other, der.ptr, der.len);
    for (size_t i = 0; i < der.len; i++) {
        other[i] ^= 1;
        assert_null(certs_find(c, (struct slice){ other, der.len }));
        other[i] ^= 1;
        assert_null(certs_find(c, (struct slice){ other, i }));
    }
    other[der.len] = 0;
    assert_null(certs_find(c, (struct slice){ other, der.len + 1 }));
    assert_ptr_equal(certs_find(c, (struct slice){ other, der.len }), cert);
    X509_free(cert);
    X509_free(cert);
    certs_free(c);
}

static void the_same_twice_takes_one_place(void **state)
{
    X509 *first = decoded(client_der()), *second = decoded(client_der()), *found;
    struct certs *c = NULL;

    certs_add(&c, first);
    certs_add(&c, first);
    certs_add(&c, second);
    assert_null(cert_facts(second));
    found = certs_find(c, client_der());
    assert_ptr_equal(found, first);
    X509_free(found);
    X509_free(first);
    X509_free(second);
    certs_free(c);
}

/* A thousand of them need not fit: the newest is there, and all that were come home. */
static void there_is_room_for_so_many(void **state)
{
    struct slice der = client_der();
    struct certs *c = NULL;
    unsigned n_known = 0;
    char other[4096];

    memcpy(other, der.ptr, der.len);
    for (unsigned i = 0; i < 1000; i++) {
        X509 *cert, *found;

        /* The end of the signature: decoding does not look at it. */
        memcpy(other + der.len - 2, &i, 2);
        cert = decoded((struct slice){ other, der.len });
        certs_add(&c, cert);
        found = certs_find(c, (struct slice){ other, der.len });
        assert_ptr_equal(found, cert);
        X509_free(found);
        X509_free(cert);
    }
    for (unsigned i = 0; i < 1000; i++) {
        X509 *found;

        memcpy(other + der.len - 2, &i, 2);
        found = certs_find(c, (struct slice){ other, der.len });
        n_known += found != NULL;
        X509_free(found);
    }
    assert_true(n_known >= 256 && n_known <= 512);
    certs_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(it_is_the_same_object_again),
        cmocka_unit_test(other_bytes_are_another_certificate),
        cmocka_unit_test(the_same_twice_takes_one_place),
        cmocka_unit_test(there_is_room_for_so_many),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
