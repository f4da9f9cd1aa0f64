/*
 * Public-key operations on a desk: the test is the helper, and works when it likes.
 *
 * That handshakes are the same with a helper in another thread is shown by the other tests of
 * sessions, which run once more with one (link.h).
 */
#include "tls/helper.h"

#include "tests/unit/tls/pair.h"
#include "tls/inner.h"

#include <stdio.h>
#include <stdlib.h>

#define JOB_STACK 32768 /* OpenSSL's, for each handshake that waits */

/* --- the stacks, painted --- */

static uint8_t *stacks[64];
static unsigned n_stacks;

static void *take(size_t n, const char *file, int line)
{
    void *p = malloc(n);

    if (n == JOB_STACK && p != NULL && n_stacks < ARRAY_SIZE(stacks))
        stacks[n_stacks++] = memset(p, 0xa5, n);
    return p;
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    return realloc(p, n);
}

static void give_back(void *p, const char *file, int line)
{
    for (unsigned i = 0; p != NULL && i < n_stacks; i++)
        if (stacks[i] == p)
            stacks[i] = stacks[--n_stacks];
    free(p);
}

/* It grows downwards. */
static unsigned most_of_a_stack(void)
{
    unsigned most = 0;

    for (unsigned i = 0; i < n_stacks; i++) {
        unsigned free = 0;

        while (free < JOB_STACK && stacks[i][free] == 0xa5)
            free++;
        most = MAX(most, JOB_STACK - free);
    }
    return most;
}

/* --- */

static void begin(struct link *l, bool is_12, bool is_mutual)
{
    struct tls_conf s = server_conf(), c = client_conf();

    link_init(l, 1);
    link_use_desks(l);
    if (is_12)
        c.max_version = TLS_VERSION_1_2;
    if (!is_mutual)
        s.mode = TLS_MODE_SIMPLE;
    use_server(l, &s);
    use_client(l, &c, pki.client);
}

/* Whatever can be done without the helper, then one operation of its. False: there is none. */
static bool step(struct link *l)
{
    link_run(l);
    return tls_desk_work(l->client.desk) || tls_desk_work(l->server.desk);
}

static void shake_hands(struct link *l)
{
    link_connect(l);
    while (step(l))
        ;
    if (tls_state(l->client.session) != TLS_OPEN || tls_state(l->server.session) != TLS_OPEN)
        fail_msg("client: %s; server: %s", tls_error(l->client.session),
                 tls_error(l->server.session));
}

static void every_operation_is_the_helpers(void **state)
{
    /* A key pair, a secret, and our signature; then the peer's. */
    static const unsigned of_server[2] = { 3, 4 }, of_client[2] = { 3, 4 };

    for (unsigned i = 0; i < 4; i++) {
        const bool is_12 = i & 1, is_mutual = i & 2;
        uint64_t server, client;
        struct link l;

        begin(&l, is_12, is_mutual);
        shake_hands(&l);
        server = tls_counters(l.server.lib)->helped;
        client = tls_counters(l.client.lib)->helped;
        assert_true(server >= of_server[is_mutual]);
        assert_true(client >= of_client[is_mutual]);

        shake_hands(&l); /* now they know each other's certificates */
        assert_int_equal(tls_counters(l.server.lib)->helped - server, of_server[is_mutual]);
        assert_int_equal(tls_counters(l.client.lib)->helped - client, of_client[is_mutual]);
        assert_int_equal(tls_counters(l.server.lib)->not_helped, 0);
        assert_int_equal(tls_counters(l.client.lib)->not_helped, 0);
        link_fini(&l);
    }
}

static void nothing_is_read_meanwhile(void **state)
{
    static const uint8_t bytes[] = "of the next flight";
    struct link l;

    begin(&l, false, true);
    link_connect(&l);
    assert_true(tls_waits(l.client.session));
    assert_int_equal(tls_lib_n_asked(l.client.lib), 1);
    assert_true(pktq_is_empty(&l.client.out)); /* there is no key to be told yet */

    pktq_append(&l.client.in, &l.tp.pool, bytes, sizeof(bytes), SEG);
    assert_false(tls_read_pending(l.client.session, &l.client.in));
    tls_read(l.client.session, &l.client.in, &l.client.plain, 1000, &l.client.out);
    assert_int_equal(tls_state(l.client.session), TLS_HANDSHAKING);
    assert_int_equal(l.client.in.bytes, sizeof(bytes));
    pktq_clear(&l.client.in);

    assert_null(tls_lib_answered(l.client.lib));
    assert_true(tls_desk_work(l.client.desk));
    assert_false(tls_desk_work(l.client.desk));
    assert_true(tls_waits(l.client.session)); /* until its worker asks */
    assert_ptr_equal(tls_lib_answered(l.client.lib), l.client.session);
    assert_false(tls_waits(l.client.session));
    assert_int_equal(tls_lib_n_asked(l.client.lib), 0);

    /* Without anything to read it goes on. */
    assert_true(tls_read_pending(l.client.session, &l.client.in));
    tls_read(l.client.session, &l.client.in, &l.client.plain, 1000, &l.client.out);
    assert_false(pktq_is_empty(&l.client.out));
    link_fini(&l);
}

static void its_owner_is_told_by_the_session(void **state)
{
    struct link l;
    int owner;

    begin(&l, false, true);
    link_connect(&l);
    assert_null(tls_owner(l.client.session));
    tls_set_owner(l.client.session, &owner);
    assert_true(tls_desk_work(l.client.desk));
    assert_ptr_equal(tls_owner(tls_lib_answered(l.client.lib)), &owner);
    link_fini(&l);
}

/*
 * Both ends go, at the k-th operation, for every k: before it is computed, after that, or when the
 * session was told to have it back. Each leaves a stack that the next handshake takes.
 */
static void a_session_may_go_while_it_waits(void **state)
{
    for (unsigned i = 0; i < 6; i++) {
        const unsigned when = i / 2, n_before = n_stacks;
        const bool is_12 = i & 1;
        bool is_done = false;

        for (unsigned k = 0; !is_done; k++) {
            struct link l;
            unsigned n = 0;

            begin(&l, is_12, true);
            link_connect(&l);
            while (n < k && step(&l))
                n++;
            is_done = n < k;
            link_run(&l);
            if (when > 0)
                (void)(tls_desk_work(l.client.desk) || tls_desk_work(l.server.desk));
            if (when > 1)
                (void)(tls_lib_answered(l.client.lib) || tls_lib_answered(l.server.lib));
            link_disconnect(&l);
            assert_int_equal(tls_n_sessions(l.client.lib), tls_lib_n_asked(l.client.lib));
            assert_int_equal(tls_n_sessions(l.server.lib), tls_lib_n_asked(l.server.lib));
            link_fini(&l); /* which finds no session and no packet left */
            assert_true(k < 40);
        }
        assert_true(n_stacks <= n_before + 2);
    }
}

/* A worker that stops leaves no handshake half way: nobody else could end it. */
static void at_the_workers_end_handshakes_end(void **state)
{
    struct tls_session *s[3];
    struct pktq out;
    struct link l;

    begin(&l, false, true);
    pktq_init(&out);
    for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
        s[i] = tls_session_new(l.client.ctx, &l.core, SEG);
        tls_connect(s[i], &out);
        assert_true(tls_waits(s[i]));
    }
    tls_session_free(s[0]);
    while (tls_desk_work(l.client.desk))
        ;
    tls_lib_settle(l.client.lib);
    assert_int_equal(tls_lib_n_asked(l.client.lib), 0);
    assert_int_equal(tls_n_sessions(l.client.lib), 2);
    for (unsigned i = 1; i < ARRAY_SIZE(s); i++) {
        assert_int_equal(tls_state(s[i]), TLS_FAILED);
        assert_string_equal(tls_error(s[i]), "TLS error: broken off");
        tls_session_free(s[i]);
    }
    assert_int_equal(tls_counters(l.client.lib)->handshake_failed, 0);
    assert_true(pktq_is_empty(&out));
    link_fini(&l);
}

/* Who finds the desk full does it itself, and is done as well. */
static void a_full_desk_is_no_hindrance(void **state)
{
    enum { MORE = 8 };
    struct tls_session *s[TLS_DESK + MORE];
    struct pktq out;
    struct link l;

    begin(&l, false, true);
    for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
        s[i] = tls_session_new(l.client.ctx, &l.core, SEG);
        pktq_init(&out);
        tls_connect(s[i], &out);
        assert_int_equal(tls_waits(s[i]), i < TLS_DESK);
        assert_int_equal(pktq_is_empty(&out), i < TLS_DESK);
        pktq_clear(&out);
    }
    assert_int_equal(tls_counters(l.client.lib)->helped, TLS_DESK);
    assert_int_equal(tls_counters(l.client.lib)->not_helped, MORE);
    assert_int_equal(tls_lib_n_asked(l.client.lib), TLS_DESK);

    /* Answers have room, whether they are fetched or not; in the order of the questions. */
    for (unsigned i = 0; i < TLS_DESK; i++)
        assert_true(tls_desk_work(l.client.desk));
    assert_false(tls_desk_work(l.client.desk));
    for (unsigned i = 0; i < TLS_DESK; i++)
        assert_ptr_equal(tls_lib_answered(l.client.lib), s[i]);
    assert_null(tls_lib_answered(l.client.lib));
    for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
        tls_session_free(s[i]);
    link_fini(&l);
}

/* What others do on this thread, between two sessions' handshakes, is not a helper's. */
static void only_handshakes_ask(void **state)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
    EVP_PKEY *key = NULL;
    struct link l;

    begin(&l, false, true);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_keygen(ctx, &key), 1);
    assert_int_equal(tls_lib_n_asked(l.client.lib), 0);
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(ctx);
    link_fini(&l);
}

/* Last: of all that came before. A certificate's names and chain are looked at on this stack. */
static void a_handshake_leaves_room_on_its_stack(void **state)
{
    const unsigned most = most_of_a_stack();

    assert_true(n_stacks > 0);
    print_message("# %u bytes of a stack of %u\n", most, JOB_STACK);
    assert_true(most > 1000);
    assert_true(most < JOB_STACK * 3 / 4);
}

static int setup(void **state)
{
    return CRYPTO_set_mem_functions(take, resize, give_back) == 1 ? pki_setup(state) : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_the_helpers),
        cmocka_unit_test(nothing_is_read_meanwhile),
        cmocka_unit_test(its_owner_is_told_by_the_session),
        cmocka_unit_test(a_session_may_go_while_it_waits),
        cmocka_unit_test(at_the_workers_end_handshakes_end),
        cmocka_unit_test(a_full_desk_is_no_hindrance),
        cmocka_unit_test(only_handshakes_ask),
        cmocka_unit_test(a_handshake_leaves_room_on_its_stack),
    };

    return cmocka_run_group_tests_name("helper", tests, setup, pki_teardown);
}
