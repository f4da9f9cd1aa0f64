/* Resumption, seen by a stock OpenSSL client, and what is in a ticket. */
#include "tests/lib/pki_group.h"
#include "tests/unit/tls/link.h"
#include "tls/inner.h"
#include "tls/ticket_data.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static SSL_CTX *stock;

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **slot = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    SSL_SESSION_free(*slot);
    *slot = session;
    return 1; /* ours now */
}

static SSL_SESSION *newest;

static int setup(void **state)
{
    pki_setup(state);
    stock = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_certificate(stock, pki.client_cert.x509);
    SSL_CTX_add1_chain_cert(stock, pki.inter.x509);
    SSL_CTX_use_PrivateKey(stock, pki.client_cert.key);
    SSL_CTX_set_session_cache_mode(stock, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(stock, on_new_session);
    SSL_CTX_set_app_data(stock, &newest);
    return 0;
}

static int teardown(void **state)
{
    SSL_CTX_free(stock);
    return pki_teardown(state);
}

struct chain {
    const char *name;
    struct tls_conf conf;
    struct tls_secret *trust;
    struct tls_tickets *tickets;
};

static void use_chain(struct link *l, const struct chain *chain)
{
    make_ctx(&l->server, &(struct tls_ctx_conf){ .name = chain->name,
                                                 .is_server = true,
                                                 .conf = &chain->conf,
                                                 .secret = pki.server,
                                                 .trust = chain->trust,
                                                 .tickets = chain->tickets });
}

/* Connects with @session; returns if the server resumed it. The newest ticket is in @newest. */
static bool resumes(struct link *l, SSL_SESSION *session)
{
    const struct tls_peer *p;

    link_connect_raw(l, stock, session);
    link_run(l);
    if (tls_state(l->server.session) != TLS_OPEN)
        fail_msg("%s", tls_error(l->server.session));
    p = tls_peer(l->server.session);
    assert_true(p->has_cert);
    assert_string_equal(p->uri, "spiffe://cluster.local/ns/foo/sa/client");
    assert_string_equal(p->subject, "CN=client,O=test");
    assert_int_equal(strlen(p->hash), 64);
    assert_int_equal(p->resumed, SSL_session_reused(l->raw));
    if (p->resumed && SSL_version(l->raw) == TLS1_2_VERSION) { /* a renewal calls nobody */
        SSL_SESSION_free(newest);
        newest = SSL_get1_session(l->raw);
    }
    return p->resumed;
}

static SSL_SESSION *first_ticket(struct link *l)
{
    assert_false(resumes(l, NULL));
    assert_non_null(newest);
    SSL_SESSION_up_ref(newest);
    return newest;
}

/* A link to @chain, and the ticket of its first connection. */
static SSL_SESSION *begin(struct link *l, const struct chain *chain, uint64_t seed)
{
    link_init(l, seed);
    use_chain(l, chain);
    return first_ticket(l);
}

static void done(struct link *l, SSL_SESSION *ticket, struct tls_tickets *tickets)
{
    SSL_SESSION_free(ticket);
    SSL_SESSION_free(newest);
    newest = NULL;
    link_fini(l);
    tls_tickets_free(tickets);
}

static struct chain first_chain(bool is_12)
{
    struct chain c = { .name = "chain", .conf = server_conf(), .trust = pki.server };

    c.conf.max_version = is_12 ? TLS_VERSION_1_2 : TLS_VERSION_1_3;
    c.tickets = tls_tickets_new();
    assert_non_null(c.tickets);
    return c;
}

static void a_ticket_resumes_with_the_same_peer(void **state)
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12);
        struct link l;
        SSL_SESSION *ticket = begin(&l, &chain, (uint64_t)is_12);

        assert_true(resumes(&l, ticket));
        assert_int_equal(tls_counters(l.server.lib)->handshakes, 2);
        assert_int_equal(tls_counters(l.server.lib)->resumed, 1);
        assert_true(resumes(&l, newest)); /* a ticket of a resumed session is as good */
        done(&l, ticket, chain.tickets);
    }
}

/* Another worker is another library and another context, with the same keys. */
static void a_ticket_resumes_on_another_worker(void **state)
{
    struct chain chain = first_chain(false);
    SSL_SESSION *ticket;
    struct link l, other;

    link_init(&l, 1);
    link_init(&other, 2);
    use_chain(&l, &chain);
    use_chain(&other, &chain);
    ticket = first_ticket(&l);
    assert_true(resumes(&other, ticket));
    link_fini(&other);
    done(&l, ticket, chain.tickets);
}

/* What differs from the chain that gave the ticket: then nothing may resume. */
static void resumes_nowhere_else(const char *name, struct tls_secret *trust,
                                 void (*change)(struct tls_conf *conf))
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12), changed;
        SSL_SESSION *ticket;
        struct link l;

        link_init(&l, (uint64_t)is_12);
        use_chain(&l, &chain);
        ticket = first_ticket(&l);
        changed = chain;
        changed.name = name;
        changed.trust = trust;
        change(&changed.conf);
        use_chain(&l, &changed);
        assert_false(resumes(&l, ticket));
        use_chain(&l, &chain);
        assert_true(resumes(&l, ticket));
        done(&l, ticket, chain.tickets);
    }
}

static void change_nothing(struct tls_conf *conf)
{
}

static void a_ticket_of_another_chain_does_not_resume(void **state)
{
    resumes_nowhere_else("another", pki.server, change_nothing);
}

static void a_ticket_from_before_a_new_bundle_does_not_resume(void **state)
{
    const struct test_cert *const roots[] = { &pki.root, &pki.other, NULL };
    struct tls_secret *trust = test_pki_trust(&pki, roots);

    resumes_nowhere_else("chain", trust, change_nothing);
    tls_secret_put(trust);
}

/* As many roots as before, and the client's own among them: only another one was replaced. */
static void a_ticket_from_before_a_root_was_replaced_does_not_resume(void **state)
{
    struct test_cert another;
    const struct test_cert *const before[] = { &pki.root, &pki.other, NULL };
    const struct test_cert *const after[] = { &pki.root, &another, NULL };
    struct chain chain = first_chain(false);
    struct tls_secret *trust[2];
    SSL_SESSION *ticket;
    struct link l;

    test_cert_make(&another, &(struct test_cert_conf){ .cn = "another root", .is_ca = true });
    trust[0] = test_pki_trust(&pki, before);
    trust[1] = test_pki_trust(&pki, after);
    link_init(&l, 1);
    chain.trust = trust[0];
    use_chain(&l, &chain);
    ticket = first_ticket(&l);
    chain.trust = trust[1];
    use_chain(&l, &chain);
    assert_false(resumes(&l, ticket));
    done(&l, ticket, chain.tickets);
    tls_secret_put(trust[0]);
    tls_secret_put(trust[1]);
    test_cert_free(&another);
}

static void accept_one(struct tls_conf *conf)
{
    static struct peer_id_conf id = { "spiffe://cluster.local/ns/foo/sa/client", false };

    conf->n_peer_ids = 1;
    conf->peer_ids = &id;
}

static void a_ticket_from_before_a_new_policy_does_not_resume(void **state)
{
    resumes_nowhere_else("chain", pki.server, accept_one);
}

static void add_alias(struct tls_conf *conf)
{
    static const char *alias = "old-td";

    conf->n_trust_domain_aliases = 1;
    conf->trust_domain_aliases = &alias;
}

static void a_ticket_from_before_a_new_alias_does_not_resume(void **state)
{
    resumes_nowhere_else("chain", pki.server, add_alias);
}

static void the_key_before_the_newest_still_opens(void **state)
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12);
        struct link l;
        SSL_SESSION *ticket = begin(&l, &chain, (uint64_t)is_12);

        tls_tickets_rotate(chain.tickets);
        assert_true(resumes(&l, ticket));
        assert_ptr_not_equal(newest, ticket); /* and brought a ticket of the newest key */
        tls_tickets_rotate(chain.tickets);
        assert_true(resumes(&l, newest));
        assert_false(resumes(&l, ticket));
        done(&l, ticket, chain.tickets);
    }
}

static void foreign_tickets_do_not_resume(void **state)
{
    struct chain chain = first_chain(false);
    struct tls_tickets *first = chain.tickets, *other = tls_tickets_new();
    SSL_SESSION *ticket;
    struct link l;

    link_init(&l, 1);
    use_chain(&l, &chain);
    ticket = first_ticket(&l);
    chain.tickets = other;
    use_chain(&l, &chain);
    assert_false(resumes(&l, ticket));
    tls_tickets_free(first);
    done(&l, ticket, other);
}

/* The peer's chain runs out while @ticket is still good: it must verify anew, and cannot. */
static void ends_with_the_certificate(struct link *l, SSL_SESSION *ticket)
{
    l->core.wall_us += UINT64_C(11) * 86400 * 1000000;
    link_connect_raw(l, stock, ticket);
    link_run(l);
    assert_int_equal(tls_state(l->server.session), TLS_FAILED);
    assert_non_null(strstr(tls_error(l->server.session), "certificate has expired"));
}

static void a_ticket_ends_with_the_certificate(void **state)
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12);
        struct link l;
        SSL_SESSION *ticket = begin(&l, &chain, (uint64_t)is_12);

        ends_with_the_certificate(&l, ticket);
        done(&l, ticket, chain.tickets);
    }
}

/* So does what a client is given for its ticket, as nobody has verified anything since. */
static void a_renewed_ticket_ends_with_the_certificate(void **state)
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12);
        struct link l;
        SSL_SESSION *ticket = begin(&l, &chain, (uint64_t)is_12);

        tls_tickets_rotate(chain.tickets); /* else TLS 1.2 would not renew */
        assert_true(resumes(&l, ticket));
        assert_true(resumes(&l, newest));
        ends_with_the_certificate(&l, newest);
        done(&l, ticket, chain.tickets);
    }
}

static struct slice client_der(void)
{
    const struct tls_cert *chain;

    assert_int_equal(tls_secret_chain(pki.client, &chain), 2);
    return chain[0].der;
}

static void a_certificate_is_once_in_a_ticket(void **state)
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12);
        const struct slice der = client_der();
        struct link l;
        SSL_SESSION *ticket = begin(&l, &chain, (uint64_t)is_12);

        for (int i = 0; i < 2; i++) {
            const unsigned char *bytes;
            size_t len;

            SSL_SESSION_get0_ticket(newest, &bytes, &len);
            assert_in_range(len, der.len + 1, 2 * der.len - 1);
            tls_tickets_rotate(chain.tickets);
            assert_true(resumes(&l, newest));
        }
        done(&l, ticket, chain.tickets);
    }
}

/* The worker that is given it has never seen the client. */
static void a_certificate_in_a_ticket_is_decoded_once(void **state)
{
    struct chain chain = first_chain(false);
    struct link l, other;
    SSL_SESSION *ticket;

    link_init(&l, 1);
    link_init(&other, 2);
    use_chain(&l, &chain);
    use_chain(&other, &chain);
    ticket = first_ticket(&l);
    assert_true(resumes(&l, ticket));
    assert_int_equal(tls_counters(l.server.lib)->certs_known, 1);
    assert_true(resumes(&other, newest));
    assert_int_equal(tls_counters(other.server.lib)->certs_known, 0);
    assert_true(resumes(&other, newest));
    assert_int_equal(tls_counters(other.server.lib)->certs_known, 1);
    link_fini(&other);
    done(&l, ticket, chain.tickets);
}

static void data_comes_out_of_a_session_as_it_went_in(void **state)
{
    SSL_SESSION *session = SSL_SESSION_new();
    struct ticket_data d;

    assert_false(ticket_data_get(session, &d));
    assert_true(ticket_data_put(session, 77, pki.client_cert.x509));
    assert_true(ticket_data_get(session, &d));
    assert_int_equal(d.valid_until, 77);
    assert_true(slice_eq(d.cert, client_der()));
    assert_true(ticket_data_put(session, -1, NULL));
    assert_true(ticket_data_get(session, &d));
    assert_int_equal(d.valid_until, -1);
    assert_int_equal(d.cert.len, 0);
    SSL_SESSION_set1_ticket_appdata(session, "1234567", 7);
    assert_false(ticket_data_get(session, &d));
    SSL_SESSION_free(session);
}

/* A client's session has its server's certificate: written by libssl, as none is at hand here. */
static void a_certificate_is_found_in_a_session(void **state)
{
    struct chain chain = first_chain(false);
    unsigned char *der = NULL;
    struct slice front, back;
    struct link l;
    SSL_SESSION *ticket = begin(&l, &chain, 1);
    int len;

    len = i2d_SSL_SESSION(ticket, &der);
    assert_in_range(len, 500, 10000);
    assert_true(ticket_data_find_cert((struct slice){ (char *)der, (size_t)len }, &front, &back));
    assert_ptr_equal(back.ptr + back.len, der + len);
    assert_in_range(back.ptr - (front.ptr + front.len), 400, 2000);
    assert_non_null(memmem(front.ptr + front.len, (size_t)(back.ptr - front.ptr) - front.len,
                           "ns/default/sa/server", 20));
    /* Cut short anywhere, or of another shape: refused, and nothing behind it is read (ASan). */
    for (size_t n = 0; n < (size_t)len; n++) {
        char *part = malloc(n > 0 ? n : 1);

        memcpy(part, der, n);
        assert_false(ticket_data_find_cert((struct slice){ part, n }, &front, &back));
        free(part);
    }
    assert_false(ticket_data_find_cert(client_der(), &front, &back));
    assert_false(ticket_data_find_cert(SLICE("\x30\x02\x02\x05"), &front, &back));
    assert_false(ticket_data_find_cert(SLICE("\x30\x80\x02\x01\x01"), &front, &back));
    OPENSSL_free(der);
    done(&l, ticket, chain.tickets);
}

static void no_tickets_means_none(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct chain chain = first_chain(i & 1);
        struct tls_tickets *keys = chain.tickets;
        struct link l;

        link_init(&l, (uint64_t)i);
        if (i & 2)
            chain.tickets = NULL;
        else
            chain.conf.session_tickets = false;
        use_chain(&l, &chain);
        assert_false(resumes(&l, NULL));
        if (newest != NULL) /* TLS 1.2: a session by id, which the server does not keep */
            assert_false(resumes(&l, newest));
        if (!(i & 1))
            assert_null(newest);
        done(&l, NULL, keys);
    }
}

/* Two workers make handshakes while the control thread rotates as fast as it can. */
struct worker {
    struct tls_tickets *tickets;
    unsigned n_resumed;
    _Atomic bool done;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    SSL_SESSION *slot = NULL;
    SSL_CTX *client = SSL_CTX_new(TLS_client_method());
    struct chain chain = { .name = "chain", .conf = server_conf(), .trust = pki.server };
    struct link l;

    chain.conf.mode = TLS_MODE_SIMPLE;
    chain.tickets = w->tickets;
    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client, on_new_session);
    SSL_CTX_set_app_data(client, &slot);
    link_init(&l, 1);
    l.max_part = 4000;
    use_chain(&l, &chain);
    for (unsigned i = 0; i < 60; i++) {
        link_connect_raw(&l, client, slot);
        link_run(&l);
        w->n_resumed += tls_peer(l.server.session)->resumed;
    }
    link_fini(&l);
    SSL_SESSION_free(slot);
    SSL_CTX_free(client);
    OPENSSL_thread_stop();
    w->done = true;
    return NULL;
}

static void workers_read_while_keys_rotate(void **state)
{
    struct tls_tickets *tickets = tls_tickets_new();
    struct worker w[2] = { { tickets, 0 }, { tickets, 0 } };
    pthread_t threads[2];

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
    while (!w[0].done || !w[1].done) {
        tls_tickets_rotate(tickets);
        usleep(200); /* or no ticket would live until it is used */
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_true(w[0].n_resumed + w[1].n_resumed > 0);
    tls_tickets_free(tickets);
}

/* Ours on both sides: each connection by what the last one was given. */
static void a_client_of_ours_that_is_told_to_resumes(void **state)
{
    for (int is_12 = 0; is_12 <= 1; is_12++) {
        struct chain chain = first_chain(is_12);
        struct tls_conf conf = client_conf();
        struct link l;

        link_init(&l, (uint64_t)is_12);
        use_chain(&l, &chain);
        make_ctx(&l.client, &(struct tls_ctx_conf){ .name = "cluster",
                                                    .conf = &conf,
                                                    .secret = pki.client,
                                                    .trust = pki.client,
                                                    .resumes = true });
        for (unsigned i = 0; i < 4; i++) {
            link_connect(&l);
            link_run(&l);
            assert_int_equal(tls_state(l.client.session), TLS_OPEN);
            assert_int_equal(tls_peer(l.client.session)->resumed, i > 0);
            assert_int_equal(tls_peer(l.server.session)->resumed, i > 0);
            assert_string_equal(tls_peer(l.client.session)->uri,
                                "spiffe://cluster.local/ns/default/sa/server");
            assert_int_equal(side_write(&l, &l.server, "hello", 5), TLS_OPEN);
            link_run(&l);
            assert_int_equal(l.client.plain.bytes, 5);
            link_disconnect(&l);
        }
        done(&l, NULL, chain.tickets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_resumes_with_the_same_peer),
        cmocka_unit_test(a_client_of_ours_that_is_told_to_resumes),
        cmocka_unit_test(a_ticket_resumes_on_another_worker),
        cmocka_unit_test(a_ticket_of_another_chain_does_not_resume),
        cmocka_unit_test(a_ticket_from_before_a_new_bundle_does_not_resume),
        cmocka_unit_test(a_ticket_from_before_a_root_was_replaced_does_not_resume),
        cmocka_unit_test(a_ticket_from_before_a_new_policy_does_not_resume),
        cmocka_unit_test(a_ticket_from_before_a_new_alias_does_not_resume),
        cmocka_unit_test(the_key_before_the_newest_still_opens),
        cmocka_unit_test(foreign_tickets_do_not_resume),
        cmocka_unit_test(a_ticket_ends_with_the_certificate),
        cmocka_unit_test(a_renewed_ticket_ends_with_the_certificate),
        cmocka_unit_test(a_certificate_is_once_in_a_ticket),
        cmocka_unit_test(a_certificate_in_a_ticket_is_decoded_once),
        cmocka_unit_test(data_comes_out_of_a_session_as_it_went_in),
        cmocka_unit_test(a_certificate_is_found_in_a_session),
        cmocka_unit_test(no_tickets_means_none),
        cmocka_unit_test(workers_read_while_keys_rotate),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
