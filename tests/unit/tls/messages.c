/* Records of our own: what is in them, when it is not data; and what is refused. */
#include "tests/unit/tls/opened.h"

#include "dataplane/base/bytes.h"
#include "tests/lib/pki_group.h"

#define DATA SSL3_RT_APPLICATION_DATA
#define ALERT SSL3_RT_ALERT
#define MESSAGE SSL3_RT_HANDSHAKE
#define UPDATE "\x18\0\0\1\0"
#define UPDATE_ASK "\x18\0\0\1\1"

/* --- KeyUpdate --- */

static void a_stock_peers_key_updates_are_followed(void **state)
{
    static const int asks[][3] = {
        { SSL_KEY_UPDATE_NOT_REQUESTED, -1, -1 },
        { SSL_KEY_UPDATE_REQUESTED, -1, -1 },
        { SSL_KEY_UPDATE_REQUESTED, SSL_KEY_UPDATE_REQUESTED, -1 },
        { SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED, SSL_KEY_UPDATE_NOT_REQUESTED },
    };

    for (unsigned i = 0; i < 2 * N_SUITES * ARRAY_SIZE(asks); i++) {
        const int *ask = asks[i / 2 / N_SUITES];
        unsigned n = 0, n_asked = 0;
        struct opened o;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i / 2 % N_SUITES, &pki);
        ours_to_peer(&o, 1);
        const uint64_t seq = o.ours->session->keys->tx.seq;
        for (; n < 3 && ask[n] >= 0; n++) {
            n_asked += ask[n] == SSL_KEY_UPDATE_REQUESTED;
            assert_int_equal(SSL_key_update(o.l.raw, ask[n]), 1);
            assert_int_equal(SSL_do_handshake(o.l.raw), 1);
        }
        peer_to_ours(&o, 5000);
        assert_int_equal(o.ours->session->keys->rx.seq, 1); /* of the new key */
        ours_to_peer(&o, 5000);
        assert_int_equal(o.ours->session->keys->tx.seq, n_asked > 0 ? 4 : seq + 4);
        peer_to_ours(&o, 1);
        opened_fini(&o);
    }
}

/* Once, however often it is asked for, and not before there is something to say (4.6.3). */
static void an_update_is_answered_if_it_asks(void **state)
{
    for (unsigned i = 0; i < 3 * N_WHO; i++) {
        const unsigned n_asks = i % 3;
        struct opened o;

        opened_init(&o, (enum who)(i / 3), i % N_SUITES, &pki);
        for (unsigned n = 0; n < n_asks; n++) {
            forge(&o, MESSAGE, UPDATE_ASK, 5);
            read_forged(&o);
        }
        forge(&o, MESSAGE, UPDATE, 5);
        assert_int_equal(read_forged(&o), TLS_OPEN);
        assert_int_equal(o.ours->out.n, 0);
        side_write(&o.l, o.ours, "x", 1);
        assert_int_equal(o.ours->out.n, n_asks > 0 ? 2 : 1);
        link_run(&o.l);
        assert_int_equal(o.theirs->plain.bytes, 1);
        pktq_clear(&o.theirs->plain);
        side_write(&o.l, o.ours, "x", 1);
        assert_int_equal(o.ours->out.n, 1);
        link_run(&o.l);
        assert_int_equal(o.theirs->plain.bytes, 1);
        forge(&o, DATA, "with the new key", 16);
        read_forged(&o);
        assert_delivered(&o, "with the new key", 16);
        opened_fini(&o);
    }
}

static void after_close_notify_an_update_is_followed_and_not_answered(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    tls_close(o.ours->session, &o.ours->out);
    link_run(&o.l);
    forge(&o, MESSAGE, UPDATE_ASK, 5);
    read_forged(&o);
    forge(&o, DATA, "more", 4);
    read_forged(&o);
    assert_delivered(&o, "more", 4);
    assert_int_equal(o.ours->out.n, 0);
    opened_fini(&o);
}

static void an_update_may_be_cut_over_records(void **state)
{
    for (unsigned i = 0; i < 16; i++) { /* each of the four places is cut, or is not */
        struct opened o;
        unsigned at = 0;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i % N_SUITES, &pki);
        for (unsigned end = 1; end <= 5; end++)
            if (end == 5 || (i & 1u << (end - 1))) {
                forge(&o, MESSAGE, &UPDATE_ASK[at], end - at);
                at = end;
            }
        read_forged(&o);
        forge(&o, DATA, "data", 4);
        read_forged(&o);
        assert_delivered(&o, "data", 4);
        assert_true(o.ours->session->keys->owes_update);
        ours_to_peer(&o, 100);
        opened_fini(&o);
    }
}

#define RECORDS_MAX (UINT64_C(1) << 24)

/* Both sides as if so many records had passed. */
static void have_written(struct opened *o, uint64_t n)
{
    o->ours->session->keys->tx.seq = o->theirs->session->keys->rx.seq = n;
}

static void our_key_is_renewed_after_many_records(void **state)
{
    for (unsigned i = 0; i < 2 * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, i % 2 ? OUR_CLIENT : OUR_SERVER, i / 2, &pki);
        for (unsigned round = 0; round < 3; round++) {
            have_written(&o, RECORDS_MAX - 2);
            ours_to_peer(&o, 1);
            ours_to_peer(&o, 1);
            assert_int_equal(o.ours->session->keys->tx.seq, RECORDS_MAX);
            ours_to_peer(&o, 10000);
            assert_in_range(o.ours->session->keys->tx.seq, 8, 9);
            assert_int_equal(o.theirs->session->keys->rx.seq, o.ours->session->keys->tx.seq);
            peer_to_ours(&o, 10000);
        }
        opened_fini(&o);
    }
}

static void without_a_packet_the_key_is_not_renewed_and_not_used_on(void **state)
{
    struct opened o;

    opened_init(&o, OUR_CLIENT, 0, &pki);
    have_written(&o, RECORDS_MAX);
    o.l.tp.fail_at = 1;
    assert_int_equal(side_write(&o.l, o.ours, "x", 1), TLS_FAILED);
    assert_string_equal(tls_error(o.ours->session), "TLS error: out of packet buffers");
    assert_int_equal(o.ours->out.n, 0);
    opened_fini(&o);
}

/* --- tickets --- */

static void tickets_to_a_client_are_skipped(void **state)
{
    for (unsigned i = 0; i < 2 * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, i % 2 ? STOCK_SERVER : OUR_SERVER, i / 2, &pki);
        peer_to_ours(&o, 100);
        for (unsigned n = 0; n < 3 && has_stock_peer(&o); n++) {
            assert_int_equal(SSL_new_session_ticket(o.l.raw), 1);
            assert_int_equal(SSL_do_handshake(o.l.raw), 1);
            peer_to_ours(&o, 100);
        }
        ours_to_peer(&o, 100);
        opened_fini(&o);
    }
}

/* One of @len bytes of content, cut over records of @part bytes. */
static void forge_ticket(struct opened *o, uint32_t len, uint32_t part)
{
    static uint8_t ticket[4 + 65536];

    memset(ticket, 0x18, sizeof(ticket)); /* what would look like a KeyUpdate */
    ticket[0] = SSL3_MT_NEWSESSION_TICKET;
    put16(ticket + 2, (uint16_t)len);
    ticket[1] = (uint8_t)(len >> 16);
    for (uint32_t at = 0; at < 4 + len; at += part)
        forge(o, MESSAGE, ticket + at, MIN(part, 4 + len - at));
}

static void a_ticket_may_be_cut_over_records(void **state)
{
    static const struct {
        uint32_t len, part;
    } rows[] = {
        { 0, 4 },     { 0, 1 },        { 1, 1 },         { 200, 1 },       { 200, 3 },
        { 200, 203 }, { 5000, 16384 }, { 20000, 16384 }, { 65536, 16384 }, { 65536, 1000 }
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct opened o;

        opened_init(&o, STOCK_SERVER, i % N_SUITES, &pki);
        forge_ticket(&o, rows[i].len, rows[i].part);
        forge(&o, DATA, "data", 4);
        read_forged(&o);
        assert_delivered(&o, "data", 4);
        assert_int_equal(o.ours->out.n, 0);
        opened_fini(&o);
    }
}

static void a_ticket_and_an_update_may_share_a_record(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_SERVER, 0, &pki);
    forge(&o, MESSAGE, "\x04\0\0\3abc\x04\0\0\1x" UPDATE, 17);
    read_forged(&o);
    forge(&o, DATA, "data", 4);
    read_forged(&o);
    assert_delivered(&o, "data", 4);
    opened_fini(&o);
}

/* --- alerts --- */

static void after_the_peers_close_notify_we_may_still_write(void **state)
{
    for (unsigned i = 0; i < N_WHO * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, (enum who)(i % N_WHO), i / N_WHO, &pki);
        if (has_stock_peer(&o))
            SSL_shutdown(o.l.raw);
        else
            tls_close(o.theirs->session, &o.theirs->out);
        link_run(&o.l);
        assert_int_equal(tls_state(o.ours->session), TLS_CLOSED);
        ours_to_peer(&o, 3000);
        tls_close(o.ours->session, &o.ours->out);
        assert_int_equal(o.ours->out.n, 1);
        assert_int_equal(side_write(&o.l, o.ours, "late", 4), TLS_FAILED);
        assert_int_equal(o.ours->out.n, 1);
        link_run(&o.l);
        if (has_stock_peer(&o))
            assert_int_equal(SSL_get_shutdown(o.l.raw), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        else
            assert_int_equal(tls_state(o.theirs->session), TLS_CLOSED);
        assert_string_equal(tls_error(o.ours->session), "");
        opened_fini(&o);
    }
}

static void after_our_close_notify_we_may_still_read(void **state)
{
    for (unsigned i = 0; i < N_WHO; i++) {
        struct opened o;

        opened_init(&o, (enum who)i, i % N_SUITES, &pki);
        tls_close(o.ours->session, &o.ours->out);
        link_run(&o.l);
        assert_int_equal(side_write(&o.l, o.ours, "late", 4), TLS_FAILED);
        assert_int_equal(o.ours->out.n, 0);
        peer_to_ours(&o, 3000);
        assert_int_equal(tls_state(o.ours->session), TLS_OPEN);
        opened_fini(&o);
    }
}

static void what_comes_behind_a_close_notify_is_dropped(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    forge(&o, DATA, "data", 4);
    forge(&o, ALERT, "\1\0", 2);
    forge(&o, DATA, "lost", 4);
    tls_read(o.ours->session, &o.ours->in, &o.ours->plain, UINT64_MAX, &o.ours->out);
    assert_int_equal(tls_state(o.ours->session), TLS_CLOSED);
    assert_int_equal(o.ours->plain.bytes, 4);
    assert_true(pktq_is_empty(&o.ours->in));
    assert_int_equal(tls_counters(o.ours->lib)->alerts, 0);
    opened_fini(&o);
}

static void user_canceled_is_ignored(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    forge(&o, ALERT, "\1\x5a", 2);
    forge(&o, DATA, "data", 4);
    read_forged(&o);
    assert_delivered(&o, "data", 4);
    assert_int_equal(o.ours->out.n, 0);
    opened_fini(&o);
}

/* Whatever level they claim to have (RFC 8446, 6). */
static void any_other_alert_ends_the_session(void **state)
{
    for (unsigned i = 1; i < 256; i += i < 8 ? 1 : 9) {
        char want[128];
        struct opened o;

        if (i == SSL_AD_USER_CANCELLED)
            continue;
        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i % N_SUITES, &pki);
        forge(&o, ALERT, (const uint8_t[]){ (uint8_t)(1 + i % 2), (uint8_t)i }, 2);
        assert_int_equal(read_forged(&o), TLS_FAILED);
        snprintf(want, sizeof(want), "TLS error: the peer sent the alert \"%s\"",
                 SSL_alert_desc_string_long((int)i));
        assert_string_equal(tls_error(o.ours->session), want);
        assert_int_equal(tls_counters(o.ours->lib)->alerts, 1);
        assert_int_equal(tls_counters(o.ours->lib)->records_failed, 0);
        assert_int_equal(o.ours->out.n, 0); /* an alert is not answered */
        assert_int_equal(side_write(&o.l, o.ours, "x", 1), TLS_FAILED);
        tls_close(o.ours->session, &o.ours->out);
        assert_int_equal(o.ours->out.n, 0);
        opened_fini(&o);
    }
}

/* --- what is refused --- */

#define WORDS_MAC "decryption failed or bad record mac"
#define WORDS_TYPE "a record of an unexpected type"
#define WORDS_MESSAGE "an unexpected handshake message"
#define WORDS_UPDATE "a KeyUpdate that is none"
#define WORDS_ALERT "an alert of the wrong length"

enum role {
    ANY,
    SERVER,
    CLIENT,
};

struct refused {
    const char *what;
    struct {
        int type;
        const char *bytes;
        size_t len;
    } records[2];
    int alert;
    const char *words;
    enum role role; /* of ours */
};

#define R(type, bytes)                                                                             \
    {                                                                                              \
        type, bytes, sizeof(bytes) - 1                                                             \
    }

static const struct refused refusals[] = {
    { "no inner type", { R(0, "") }, 10, WORDS_TYPE, ANY },
    { "all zero", { R(0, "\0\0\0\0\0\0") }, 10, WORDS_TYPE, ANY },
    { "change_cipher_spec", { R(20, "\1") }, 10, WORDS_TYPE, ANY },
    { "heartbeat", { R(24, "\1\0\0") }, 10, WORDS_TYPE, ANY },
    { "inner type 1", { R(1, "x") }, 10, WORDS_TYPE, ANY },
    { "inner type 255", { R(255, "") }, 10, WORDS_TYPE, ANY },
    { "an alert of no bytes", { R(ALERT, "") }, 50, WORDS_ALERT, ANY },
    { "an alert of one", { R(ALERT, "\1") }, 50, WORDS_ALERT, ANY },
    { "an alert of three", { R(ALERT, "\1\0\0") }, 50, WORDS_ALERT, ANY },
    { "two alerts in a record", { R(ALERT, "\1\0\1\0") }, 50, WORDS_ALERT, ANY },
    { "no handshake message", { R(MESSAGE, "") }, 10, WORDS_MESSAGE, ANY },
    { "an update's value is 2", { R(MESSAGE, "\x18\0\0\1\2") }, 47, WORDS_UPDATE, ANY },
    { "an update's value is 255", { R(MESSAGE, "\x18\0\0\1\xff") }, 47, WORDS_UPDATE, ANY },
    { "an update of no bytes", { R(MESSAGE, "\x18\0\0\0") }, 47, WORDS_UPDATE, ANY },
    { "an update of two", { R(MESSAGE, "\x18\0\0\2\0\0") }, 47, WORDS_UPDATE, ANY },
    { "an update of 65537", { R(MESSAGE, "\x18\1\0\1\0") }, 47, WORDS_UPDATE, ANY },
    { "an update and a byte", { R(MESSAGE, UPDATE "\x18") }, 10, WORDS_MESSAGE, ANY },
    { "two updates in a record", { R(MESSAGE, UPDATE UPDATE) }, 10, WORDS_MESSAGE, ANY },
    { "an update cut, and a byte",
      { R(MESSAGE, "\x18\0\0"), R(MESSAGE, "\1\0\x18") },
      10,
      WORDS_MESSAGE,
      ANY },
    { "a ClientHello", { R(MESSAGE, "\1\0\0\1x") }, 10, WORDS_MESSAGE, ANY },
    { "a HelloRequest", { R(MESSAGE, "\0\0\0\0") }, 10, WORDS_MESSAGE, ANY },
    { "a Finished", { R(MESSAGE, "\x14\0\0\x20") }, 10, WORDS_MESSAGE, ANY },
    { "a CertificateRequest", { R(MESSAGE, "\xd\0\0\1") }, 10, WORDS_MESSAGE, ANY },
    { "data within a message", { R(MESSAGE, "\x18"), R(DATA, "x") }, 10, WORDS_MESSAGE, ANY },
    { "no data within a message",
      { R(MESSAGE, "\x18\0\0\1"), R(DATA, "") },
      10,
      WORDS_MESSAGE,
      ANY },
    { "an alert within a message",
      { R(MESSAGE, "\x18\0"), R(ALERT, "\1\0") },
      10,
      WORDS_MESSAGE,
      ANY },
    { "a ticket to a server", { R(MESSAGE, "\4\0\0\1x") }, 10, WORDS_MESSAGE, SERVER },
    { "a ticket of 64 KiB and one", { R(MESSAGE, "\4\1\0\1") }, 10, WORDS_MESSAGE, CLIENT },
    { "a ticket of 16 MiB", { R(MESSAGE, "\4\xff\xff\xff") }, 10, WORDS_MESSAGE, CLIENT },
    { "data within a ticket",
      { R(MESSAGE, "\4\0\0\2x"), R(DATA, "x") },
      10,
      WORDS_MESSAGE,
      CLIENT },
    { "an update that is not a ticket's last",
      { R(MESSAGE, "\4\0\0\1x" UPDATE "\4\0\0\1x") },
      10,
      WORDS_MESSAGE,
      CLIENT },
};

static void run_refused(const struct refused *row, enum who who, unsigned suite)
{
    struct opened o;

    if ((row->role == SERVER && who != STOCK_CLIENT && who != OUR_CLIENT) ||
        (row->role == CLIENT && who != STOCK_SERVER && who != OUR_SERVER))
        return;
    opened_init(&o, who, suite, &pki);
    for (unsigned i = 0; i < 2 && row->records[i].bytes != NULL; i++)
        forge(&o, (uint8_t)row->records[i].type, row->records[i].bytes, row->records[i].len);
    if (read_forged(&o) != TLS_FAILED)
        fail_msg("%s: was not refused", row->what);
    if (strstr(tls_error(o.ours->session), row->words) == NULL)
        fail_msg("%s: %s", row->what, tls_error(o.ours->session));
    assert_refused(&o, row->alert, row->words);
    assert_int_equal(o.ours->plain.bytes, 0);
    assert_int_equal(side_write(&o.l, o.ours, "x", 1), TLS_FAILED);
    tls_close(o.ours->session, &o.ours->out);
    assert_int_equal(o.ours->out.n, 0);
    opened_fini(&o);
}

static void what_may_not_be_in_a_record_is_refused_by_name(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
        for (unsigned who = 0; who < N_WHO; who++)
            run_refused(&refusals[i], (enum who)who, (unsigned)(i + who) % N_SUITES);
}

/* Nor is the end of an update's packet that of its record. */
static void an_update_and_a_byte_are_refused_in_packets_too(void **state)
{
    for (size_t at = 1; at < RECORD_HEADER + 6 + RECORD_TRAILER; at++) {
        uint8_t wire[64];
        struct opened o;
        uint64_t n;

        opened_init(&o, STOCK_CLIENT, at % N_SUITES, &pki);
        forge(&o, MESSAGE, UPDATE "\x18", 6);
        n = pktq_peek(&o.ours->in, wire, sizeof(wire));
        pktq_clear(&o.ours->in);
        pktq_push(&o.ours->in, test_pkt(&o.l.tp, wire, at));
        pktq_push(&o.ours->in, test_pkt(&o.l.tp, wire + at, n - at));
        read_forged(&o);
        assert_refused(&o, 10, WORDS_MESSAGE);
        opened_fini(&o);
    }
}

/* Where close_notify has been sent there is nothing to add. */
static void after_our_close_notify_no_alert_follows(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    tls_close(o.ours->session, &o.ours->out);
    link_run(&o.l);
    forge(&o, 99, "", 0);
    assert_int_equal(read_forged(&o), TLS_FAILED);
    assert_int_equal(o.ours->out.n, 0);
    assert_int_equal(tls_counters(o.ours->lib)->records_failed, 1);
    opened_fini(&o);
}

/* The wire's bytes, as they are. */
static const struct {
    const char *what, *bytes;
    size_t len;
    int alert;
    const char *words;
} headers[] = {
#define H(bytes) bytes, sizeof(bytes) - 1
    { "change_cipher_spec", H("\x14\3\3\0\1\1"), 10, WORDS_TYPE },
    { "a plain alert", H("\x15\3\3\0\2\2\x28"), 10, WORDS_TYPE },
    { "a plain message", H("\x16\3\3\0\5" UPDATE), 10, WORDS_TYPE },
    { "an unknown type", H("\x63\3\3\0\1x"), 10, WORDS_TYPE },
    { "too long by one", H("\x17\3\3\x40\x12"), 22, "a record is too long" },
    { "as long as can be said", H("\x17\3\3\xff\xff"), 22, "a record is too long" },
    { "of no bytes", H("\x17\3\3\0\0"), 20, WORDS_MAC },
    { "a tag alone",
      H("\x17\3\3\0\x10"
        "0123456789abcdef"),
      20, WORDS_MAC },
    { "another's",
      H("\x17\3\3\0\x11"
        "0123456789abcdefg"),
      20, WORDS_MAC },
};

static void a_header_that_cannot_be_is_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(headers) * 2; i++) {
        struct opened o;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i % N_SUITES, &pki);
        pktq_append(&o.ours->in, &o.l.tp.pool, headers[i / 2].bytes, headers[i / 2].len, SEG);
        if (read_forged(&o) != TLS_FAILED)
            fail_msg("%s: was not refused", headers[i / 2].what);
        assert_refused(&o, headers[i / 2].alert, headers[i / 2].words);
        opened_fini(&o);
    }
}

/* 16385 bytes and the tag are the most; one more is refused by its header. */
static void the_longest_record_is_waited_for(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    pktq_append(&o.ours->in, &o.l.tp.pool, "\x17\3\3\x40\x11", 5, SEG);
    assert_false(tls_read_pending(o.ours->session, &o.ours->in));
    assert_int_equal(read_forged(&o), TLS_OPEN);
    assert_int_equal(o.ours->in.bytes, 5);
    opened_fini(&o);
}

/* A good record, but its outer type is not application data's. */
static void the_outer_type_is_always_the_same(void **state)
{
    for (uint8_t type = 20; type <= 24; type++) {
        struct opened o;

        if (type == DATA)
            continue;
        opened_init(&o, STOCK_CLIENT, type % N_SUITES, &pki);
        forge_inner(&o, type, "\1\0\x15", 3);
        assert_int_equal(read_forged(&o), TLS_FAILED);
        assert_refused(&o, 10, WORDS_TYPE);
        opened_fini(&o);
    }
}

/* As if nothing had happened. */
static void mend(struct opened *o)
{
    struct tls_session *s = o->ours->session;

    s->state = TLS_OPEN;
    s->error[0] = '\0';
    pktq_clear(&o->ours->in);
    pktq_clear(&o->ours->out);
}

static void every_bit_of_a_record_matters(void **state)
{
    for (unsigned suite = 0; suite < N_SUITES; suite++) {
        uint8_t wire[64], more[256] = { 0 };
        struct opened o;
        uint64_t n;

        opened_init(&o, suite % 2 ? STOCK_CLIENT : STOCK_SERVER, suite, &pki);
        forge(&o, DATA, "thirty bytes that must not be changed", 30);
        n = pktq_peek(&o.ours->in, wire, sizeof(wire));
        assert_int_equal(n, RECORD_HEADER + 30 + RECORD_TRAILER);
        for (unsigned bit = 0; bit < 8 * n; bit++) {
            mend(&o);
            o.n_forged = 0;
            wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
            pktq_append(&o.ours->in, &o.l.tp.pool, wire, n, 1 + bit % SEG);
            /* One that claims to be longer gets what it asks for. */
            while (!tls_read_pending(o.ours->session, &o.ours->in))
                pktq_append(&o.ours->in, &o.l.tp.pool, more, sizeof(more), SEG);
            assert_int_equal(read_forged(&o), TLS_FAILED);
            assert_int_equal(o.ours->plain.bytes, 0);
            assert_int_equal(o.ours->out.n, 1);
            assert_int_equal(tls_counters(o.ours->lib)->records_failed, bit + 1);
            wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        mend(&o); /* and as it was it is good */
        pktq_append(&o.ours->in, &o.l.tp.pool, wire, n, SEG);
        read_forged(&o);
        assert_delivered(&o, "thirty bytes that must not be changed", 30);
        opened_fini(&o);
    }
}

static void a_record_counts_once(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        struct opened o;

        opened_init(&o, STOCK_CLIENT, i, &pki);
        forge(&o, DATA, "first", 5);
        if (i == 0)
            o.n_forged = 0; /* the same again */
        else
            o.n_forged += i; /* or one is missing, or two */
        forge(&o, DATA, "other", 5);
        forge(&o, DATA, "and one behind it in the same packet", 36);
        assert_int_equal(read_forged(&o), TLS_FAILED);
        assert_int_equal(o.ours->plain.bytes, 5);
        assert_refused(&o, 20, WORDS_MAC);
        opened_fini(&o);
    }
}

/* --- what has no end --- */

static void forge_many(struct opened *o, unsigned n, uint8_t type, const char *bytes, size_t len)
{
    for (unsigned i = 0; i < n; i++) {
        forge(o, type, bytes, len);
        read_forged(o);
    }
}

static void without_data_there_is_an_end(void **state)
{
    static const struct {
        const char *what, *bytes;
        size_t len;
        uint8_t type;
        const char *words;
    } rows[] = {
        { "empty records", "", 0, DATA, "too many empty records" },
        { "user_canceled", "\1\x5a", 2, ALERT, "too many alerts without data between them" },
        { "updates", UPDATE, 5, MESSAGE, "too many handshake messages without data between them" },
        { "tickets", "\4\0\0\0", 4, MESSAGE,
          "too many handshake messages without data between them" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct opened o;

        opened_init(&o, STOCK_SERVER, i % N_SUITES, &pki);
        for (unsigned turn = 0; turn < 3; turn++) {
            forge_many(&o, 1, DATA, "x", 1);
            forge_many(&o, TLS_IDLE_MESSAGES, rows[i].type, rows[i].bytes, rows[i].len);
        }
        assert_delivered(&o, "xxx", 3);
        forge_many(&o, 1, rows[i].type, rows[i].bytes, rows[i].len);
        assert_refused(&o, 10, rows[i].words);
        opened_fini(&o);
    }
}

/*
 * Java's client, when it has read so much, asks for new keys with every record that it reads until
 * it has got them: in the middle of a long answer, with as many as are on their way.
 */
static void who_only_reads_may_change_its_keys(void **state)
{
    static const unsigned n_records = 5 * TLS_IDLE_MESSAGES;
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < n_records; i++)
            side_write(&o.l, o.ours, "part of an answer", 17);
        for (unsigned i = 0; i < n_records; i++) {
            assert_int_equal(SSL_key_update(o.l.raw, SSL_KEY_UPDATE_REQUESTED), 1);
            assert_int_equal(SSL_do_handshake(o.l.raw), 1);
        }
        link_run(&o.l);
        assert_int_equal(o.theirs->plain.bytes, n_records * 17);
        pktq_clear(&o.theirs->plain);
        ours_to_peer(&o, 1);
        peer_to_ours(&o, 1);
    }
    /* And when it has got nothing, there is an end. */
    o.ours->session->keys->n_sent = 0;
    forge_many(&o, TLS_IDLE_MESSAGES, MESSAGE, UPDATE, 5);
    assert_int_equal(tls_state(o.ours->session), TLS_OPEN);
    forge_many(&o, 1, MESSAGE, UPDATE, 5);
    assert_refused(&o, 10, "too many handshake messages without data between them");
    opened_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stock_peers_key_updates_are_followed),
        cmocka_unit_test(an_update_is_answered_if_it_asks),
        cmocka_unit_test(after_close_notify_an_update_is_followed_and_not_answered),
        cmocka_unit_test(an_update_may_be_cut_over_records),
        cmocka_unit_test(our_key_is_renewed_after_many_records),
        cmocka_unit_test(without_a_packet_the_key_is_not_renewed_and_not_used_on),
        cmocka_unit_test(tickets_to_a_client_are_skipped),
        cmocka_unit_test(a_ticket_may_be_cut_over_records),
        cmocka_unit_test(a_ticket_and_an_update_may_share_a_record),
        cmocka_unit_test(after_the_peers_close_notify_we_may_still_write),
        cmocka_unit_test(after_our_close_notify_we_may_still_read),
        cmocka_unit_test(what_comes_behind_a_close_notify_is_dropped),
        cmocka_unit_test(user_canceled_is_ignored),
        cmocka_unit_test(any_other_alert_ends_the_session),
        cmocka_unit_test(what_may_not_be_in_a_record_is_refused_by_name),
        cmocka_unit_test(an_update_and_a_byte_are_refused_in_packets_too),
        cmocka_unit_test(after_our_close_notify_no_alert_follows),
        cmocka_unit_test(a_header_that_cannot_be_is_refused),
        cmocka_unit_test(the_longest_record_is_waited_for),
        cmocka_unit_test(the_outer_type_is_always_the_same),
        cmocka_unit_test(every_bit_of_a_record_matters),
        cmocka_unit_test(a_record_counts_once),
        cmocka_unit_test(without_data_there_is_an_end),
        cmocka_unit_test(who_only_reads_may_change_its_keys),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
