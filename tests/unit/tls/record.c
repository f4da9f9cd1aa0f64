/* Records of our own: bytes, and the packets they lie in. */
#include "tests/unit/tls/opened.h"

#include "dataplane/base/bytes.h"
#include "tests/lib/pki_group.h"

#include <stdlib.h>

/* --- bytes --- */

static void data_passes_both_ways_however_it_is_cut(void **state)
{
    static const size_t lens[] = { 1, 2, 17, 255, 1378, 1379, 3000, 16384, 40000 };
    static const uint64_t parts[] = { 1, 7, 3000 };

    for (unsigned i = 0; i < N_WHO * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, (enum who)(i % N_WHO), i / N_WHO, &pki);
        for (size_t part = 0; part < ARRAY_SIZE(parts); part++) {
            o.l.max_part = parts[part];
            for (size_t k = 0; k < ARRAY_SIZE(lens) && (part > 0 || lens[k] <= 3000); k++) {
                peer_to_ours(&o, lens[k]);
                ours_to_peer(&o, lens[k]);
            }
        }
        opened_fini(&o);
    }
}

/* Takes everything that waits to go out at @from into @to. */
static size_t take_wire(struct side *from, uint8_t *to, size_t max)
{
    const size_t n = pktq_peek(&from->out, to, max);

    assert_int_equal(n, from->out.bytes);
    pktq_clear(&from->out);
    return n;
}

/* Appends a packet of its own, which pktq_append() would not. */
static void push(struct opened *o, struct pktq *q, const uint8_t *bytes, size_t len)
{
    pktq_push(q, test_pkt(&o->l.tp, bytes, len));
}

static void read_all(struct side *s)
{
    tls_read(s->session, &s->in, &s->plain, UINT64_MAX, &s->out);
}

static const uint8_t two[] = "the first, and then the second one";

/* A record of ten bytes of them, and one of the rest. */
static size_t two_records(struct opened *o, uint8_t *wire, size_t max)
{
    side_write(&o->l, o->theirs, two, 10);
    side_write(&o->l, o->theirs, two + 10, sizeof(two) - 10);
    return take_wire(o->theirs, wire, max);
}

/* In two packets, cut at every place; and what tls_read_pending() says meanwhile. */
static void two_records_cut_anywhere(void **state)
{
    const size_t first = RECORD_HEADER + 10 + RECORD_TRAILER;
    const size_t n = sizeof(two) + 2 * (RECORD_HEADER + RECORD_TRAILER);

    for (unsigned suite = 0; suite < N_SUITES; suite++) {
        struct opened o;

        opened_init(&o, OUR_CLIENT, suite, &pki);
        for (size_t at = 1; at < n; at++) {
            uint8_t wire[128];

            assert_int_equal(two_records(&o, wire, sizeof(wire)), n);
            push(&o, &o.ours->in, wire, at);
            assert_int_equal(tls_read_pending(o.ours->session, &o.ours->in), at >= first);
            read_all(o.ours);
            assert_int_equal(o.ours->plain.bytes, at >= first ? 10 : 0);
            assert_false(tls_read_pending(o.ours->session, &o.ours->in));
            push(&o, &o.ours->in, wire + at, n - at);
            assert_true(tls_read_pending(o.ours->session, &o.ours->in));
            read_all(o.ours);
            assert_false(tls_read_pending(o.ours->session, &o.ours->in));
            assert_delivered(&o, two, sizeof(two));
        }
        opened_fini(&o);
    }
}

/* In packets of one byte each, where each byte is somebody's first and last. */
static void a_record_in_packets_of_one_byte(void **state)
{
    for (unsigned suite = 0; suite < N_SUITES; suite++) {
        static const uint8_t text[] = "thirty-one bytes make a record.";
        struct opened o;
        uint8_t wire[128];
        size_t n;

        opened_init(&o, OUR_SERVER, suite, &pki);
        side_write(&o.l, o.theirs, text, sizeof(text));
        n = take_wire(o.theirs, wire, sizeof(wire));
        for (size_t i = 0; i < n; i++) {
            assert_false(tls_read_pending(o.ours->session, &o.ours->in));
            push(&o, &o.ours->in, wire + i, 1);
            push(&o, &o.ours->in, wire, 0);
        }
        assert_true(tls_read_pending(o.ours->session, &o.ours->in));
        read_all(o.ours);
        assert_delivered(&o, text, sizeof(text));
        opened_fini(&o);
    }
}

static void the_largest_record_and_one_of_a_byte(void **state)
{
    for (unsigned i = 0; i < 2 * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i / 2, &pki);
        for (unsigned n = 0; n < 3; n++) {
            const uint64_t seq = o.ours->session->keys->rx.seq;

            peer_to_ours(&o, 16384);
            peer_to_ours(&o, 1);
            assert_int_equal(o.ours->session->keys->rx.seq, seq + 2);
        }
        opened_fini(&o);
    }
}

static void padding_is_taken_off(void **state)
{
    for (unsigned i = 0; i < 2 * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i / 2, &pki);
        SSL_set_block_padding(o.l.raw, 4096);
        for (size_t len = 1; len < 20000; len = len * 3 + 1) {
            peer_to_ours(&o, len);
            ours_to_peer(&o, len);
        }
        opened_fini(&o);
    }
}

/* Data that ends in zeros, and padding that is more than a packet. */
static void padding_is_told_from_zeros(void **state)
{
    static const struct {
        size_t data, zeros, padding;
    } rows[] = {
        { 1, 0, 0 },  { 0, 1, 0 },    { 0, 100, 0 },  { 5, 100, 1 },      { 5, 0, 5000 },
        { 0, 0, 10 }, { 0, 0, 5000 }, { 0, 0, 0 },    { 0, 16384, 0 },    { 0, 0, 16384 },
        { 1, 0, 1 },  { 1, 1, 1 },    { 1, 2000, 0 }, { 1, 1400, 14000 }, { 1, 8000, 8000 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        static uint8_t inner[RECORD_TEXT_MAX];
        const size_t len = rows[i].data + rows[i].zeros;
        struct opened o;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i % N_SUITES, &pki);
        memset(inner, 0, sizeof(inner));
        memset(inner, 'd', rows[i].data);
        inner[len] = SSL3_RT_APPLICATION_DATA;
        forge_inner(&o, SSL3_RT_APPLICATION_DATA, inner, len + 1 + rows[i].padding);
        assert_int_equal(read_forged(&o), TLS_OPEN);
        assert_delivered(&o, inner, len);
        opened_fini(&o);
    }
}

/* --- the packets that leave --- */

/* A packet with @len bytes in it that begin at @headroom. */
static struct pkt *pkt_at(struct opened *o, uint32_t headroom, uint32_t len)
{
    struct pkt *p = pkt_alloc(&o->l.tp.pool);

    p->data = p->head + headroom;
    for (uint32_t i = 0; i < len; i++)
        *pkt_put(p, 1) = (uint8_t)core_random(&o->l.core);
    return p;
}

/* As if much had been written before. */
static void go_large(struct opened *o)
{
    o->ours->session->keys->n_small = TLS_SMALL_BYTES;
    o->ours->session->keys->sent_us = o->l.core.now_us;
}

/* What waits to go out is whole records, the largest of them with @ret bytes of plaintext, and
 * each begins where a packet does, all of which are full but a record's last. Returns how many. */
static unsigned look_at_records(const struct side *s, uint32_t *ret)
{
    unsigned n = 0;

    *ret = 0;
    for (const struct pkt *p = s->out.head; p != NULL; n++) {
        uint32_t left = RECORD_HEADER + get16(p->data + 3);

        assert_true(p->data[0] == SSL3_RT_APPLICATION_DATA);
        assert_true(left <= RECORD_HEADER + RECORD_PLAIN_MAX + RECORD_TRAILER);
        *ret = MAX(*ret, left - RECORD_HEADER - RECORD_TRAILER);
        for (; left > 0; p = p->next) {
            assert_non_null(p);
            assert_int_equal(p->len, MIN(left, SEG));
            left -= p->len;
        }
    }
    return n;
}

/* Writes what is in @plain; the peer reads the same. */
static void write_and_check(struct opened *o, struct pktq *plain, uint32_t n_packets)
{
    const size_t len = plain->bytes;
    uint8_t *sent = malloc(len + 1), *got = malloc(len + 1);
    uint32_t largest;

    pktq_peek(plain, sent, len);
    assert_int_equal(tls_write(o->ours->session, plain, &o->ours->out), TLS_OPEN);
    assert_true(pktq_is_empty(plain));
    if (n_packets > 0)
        assert_int_equal(o->ours->out.n, n_packets);
    (void)look_at_records(o->ours, &largest);
    assert_true(o->ours->session->keys->n_small >= TLS_SMALL_BYTES ||
                largest <= SEG - RECORD_HEADER - RECORD_TRAILER);
    link_run(&o->l);
    assert_int_equal(o->theirs->plain.bytes, len);
    pktq_peek(&o->theirs->plain, got, len);
    assert_memory_equal(sent, got, len);
    pktq_clear(&o->theirs->plain);
    free(sent);
    free(got);
}

static void a_packet_with_room_leaves_as_the_same(void **state)
{
    for (unsigned suite = 0; suite < N_SUITES; suite++) {
        const uint32_t len = SEG - RECORD_HEADER - RECORD_TRAILER;
        struct opened o;
        struct pktq plain;
        struct pkt *p;

        opened_init(&o, STOCK_CLIENT, suite, &pki);
        pktq_init(&plain);
        p = pkt_at(&o, RECORD_HEADER, len);
        const uint8_t *const data = p->data;
        pktq_push(&plain, p);
        assert_int_equal(tls_write(o.ours->session, &plain, &o.ours->out), TLS_OPEN);
        assert_ptr_equal(o.ours->out.head, p);
        assert_int_equal(o.ours->out.n, 1);
        assert_ptr_equal(p->data, data - RECORD_HEADER);
        assert_int_equal(p->len, SEG);
        opened_fini(&o);
    }
}

static void a_shared_packet_is_copied_and_stays_as_it_is(void **state)
{
    static const uint32_t lens[] = { 1, 500, 1378, 1379, 1800 };

    for (unsigned i = 0; i < ARRAY_SIZE(lens) * N_SUITES; i++) {
        struct opened o;
        struct pktq plain;
        struct pkt *p;
        uint8_t before[PKT_HEADROOM + 2048];

        opened_init(&o, STOCK_SERVER, i % N_SUITES, &pki);
        pktq_init(&plain);
        p = pkt_at(&o, PKT_HEADROOM, lens[i / N_SUITES]);
        memset(p->data + p->len, 0x5a, pkt_tailroom(p)); /* nor is anything written around it */
        memset(p->head, 0x5a, pkt_headroom(p));
        memcpy(before, p->head, sizeof(before));
        (*p->refs)++;
        pktq_push(&plain, p);
        write_and_check(&o, &plain, p->len > 1378 ? 2 : 1);
        assert_false(pkt_is_shared(p));
        assert_memory_equal(p->head, before, sizeof(before));
        pkt_free(p);
        opened_fini(&o);
    }
}

static void a_packet_without_room_is_copied(void **state)
{
    const uint32_t room = PKT_HEADROOM + 2048;
    const struct {
        uint32_t headroom, len;
        bool stays;
    } rows[] = {
        { 0, 100, false },
        { RECORD_HEADER - 1, 100, false },
        { RECORD_HEADER, 100, true },
        { room - 100, 100, false },
        { room - 100 - RECORD_TRAILER + 1, 100, false },
        { room - 100 - RECORD_TRAILER, 100, true },
        { 100, 1379, false }, /* longer than a record may be */
        { 100, 1378, true },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct opened o;
        struct pktq plain;
        struct pkt *p, *q;

        opened_init(&o, STOCK_CLIENT, i % N_SUITES, &pki);
        pktq_init(&plain);
        p = pkt_at(&o, rows[i].headroom, rows[i].len);
        pktq_push(&plain, p);
        q = pkt_at(&o, 10, 0); /* keeps what is freed from being what is allocated */
        assert_int_equal(tls_write(o.ours->session, &plain, &o.ours->out), TLS_OPEN);
        assert_int_equal(o.ours->out.head == p, rows[i].stays);
        assert_int_equal(o.ours->out.n, rows[i].len > 1378 ? 2 : 1);
        pkt_free(q);
        opened_fini(&o);
    }
}

static void a_head_and_a_short_body_are_one_record(void **state)
{
    static const struct {
        uint32_t lens[4], n_records;
    } rows[] = {
        { { 200, 500 }, 1 },          { { 200, 1178 }, 1 }, /* exactly a segment */
        { { 200, 1179 }, 2 },                               /* what does not fit is not cut */
        { { 1378, 1 }, 2 },           { { 100, 200, 300, 400 }, 1 },
        { { 100, 1300, 50, 28 }, 2 }, /* the second takes in what follows it */
        { { 1377, 1, 1377, 1 }, 2 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows) * 2; i++) {
        struct opened o;
        struct pktq plain;

        opened_init(&o, i % 2 ? STOCK_CLIENT : STOCK_SERVER, i % N_SUITES, &pki);
        pktq_init(&plain);
        for (unsigned k = 0; k < 4 && rows[i / 2].lens[k] > 0; k++)
            pktq_push(&plain, pkt_at(&o, PKT_HEADROOM, rows[i / 2].lens[k]));
        write_and_check(&o, &plain, rows[i / 2].n_records);
        opened_fini(&o);
    }
}

/* Packets of any size at any place, some shared, some empty. */
static void whatever_is_written_arrives_and_fits(void **state)
{
    for (unsigned i = 0; i < 2 * N_WHO * N_SUITES; i++) {
        struct opened o;

        opened_init(&o, (enum who)(i % N_WHO), i / N_WHO % N_SUITES, &pki);
        if (i >= N_WHO * N_SUITES)
            go_large(&o);
        for (unsigned turn = 0; turn < 60; turn++) {
            struct pkt *shared[40];
            unsigned n_shared = 0;
            struct pktq plain;

            pktq_init(&plain);
            for (uint64_t n = core_random(&o.l.core) % (turn % 8 == 0 ? 40 : 8); n > 0; n--) {
                const uint32_t headroom = (uint32_t)(core_random(&o.l.core) % 200);
                const uint32_t most = core_random(&o.l.core) % 2 ? 1900 : 100;
                struct pkt *p = pkt_at(&o, headroom, (uint32_t)(core_random(&o.l.core) % most));

                if (core_random(&o.l.core) % 4 == 0) {
                    (*p->refs)++;
                    shared[n_shared++] = p;
                }
                pktq_push(&plain, p);
            }
            write_and_check(&o, &plain, 0);
            while (n_shared > 0)
                pkt_free(shared[--n_shared]);
        }
        opened_fini(&o);
    }
}

/* The last packet has to hold the trailer and a byte: for each length the peer reads the same. */
static void a_large_record_of_any_length(void **state)
{
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    for (uint32_t len = SEG - 30; len < 2 * SEG + 30; len += len % SEG == 40 ? SEG - 80 : 1) {
        struct pktq plain;
        uint32_t left = len;

        go_large(&o);
        pktq_init(&plain);
        for (; left > 0; left -= MIN(left, 1000))
            pktq_push(&plain, pkt_at(&o, PKT_HEADROOM, MIN(left, 1000)));
        write_and_check(&o, &plain, 0);
    }
    opened_fini(&o);
}

static void write_zeros(struct opened *o, size_t len)
{
    static const uint8_t bytes[100000];

    assert_true(len <= sizeof(bytes));
    assert_int_equal(side_write(&o->l, o->ours, bytes, len), TLS_OPEN);
}

static void deliver_zeros(struct opened *o, size_t len)
{
    link_run(&o->l);
    assert_int_equal(o->theirs->plain.bytes, len);
    pktq_clear(&o->theirs->plain);
}

static void much_data_goes_in_large_records_until_there_is_a_pause(void **state)
{
    const uint32_t small = SEG - RECORD_HEADER - RECORD_TRAILER;
    const uint32_t large = 11 * SEG - RECORD_HEADER - RECORD_TRAILER;

    for (unsigned i = 0; i < N_WHO * N_SUITES; i++) {
        struct opened o;
        uint32_t len;

        opened_init(&o, (enum who)(i % N_WHO), i / N_WHO, &pki);
        for (unsigned n = 0; n < 2; n++) {
            o.l.core.now_us += TLS_PAUSE_US + 1;
            write_zeros(&o, TLS_SMALL_BYTES - 1);
            assert_int_equal(look_at_records(o.ours, &len), TLS_SMALL_BYTES / small + 1);
            assert_int_equal(len, small);
            o.l.core.now_us += TLS_PAUSE_US;
            write_zeros(&o, 1);
            write_zeros(&o, 5 * large + 100);
            deliver_zeros(&o, TLS_SMALL_BYTES + 5 * large + 100);
            write_zeros(&o, 5 * large + 100); /* what is left at the end is not waited for */
            assert_int_equal(look_at_records(o.ours, &len), 6);
            assert_int_equal(len, large);
            deliver_zeros(&o, 5 * large + 100);
        }
        opened_fini(&o);
    }
}

/* A packet of the right size stays the one that leaves. */
static void a_large_record_is_sealed_where_it_is(void **state)
{
    const struct pkt *packets[11];
    struct pktq plain;
    struct opened o;
    unsigned n = 0;

    opened_init(&o, STOCK_SERVER, 1, &pki);
    go_large(&o);
    pktq_init(&plain);
    for (unsigned i = 0; i < 11; i++) {
        const uint32_t around = i == 0 ? RECORD_HEADER : i == 10 ? RECORD_TRAILER : 0;
        struct pkt *p = pkt_at(&o, PKT_HEADROOM, SEG - around);

        packets[i] = p;
        pktq_push(&plain, p);
    }
    assert_int_equal(tls_write(o.ours->session, &plain, &o.ours->out), TLS_OPEN);
    for (const struct pkt *p = o.ours->out.head; p != NULL; p = p->next)
        assert_ptr_equal(p, packets[n++]);
    assert_int_equal(n, 11);
    assert_int_equal(o.ours->session->keys->tx.seq, 1);
    opened_fini(&o);
}

static void new_keys_between_large_records(void **state)
{
    static const uint8_t update[] = { SSL3_MT_KEY_UPDATE, 0, 0, 1, SSL_KEY_UPDATE_REQUESTED };
    struct opened o;

    opened_init(&o, OUR_CLIENT, 0, &pki);
    for (unsigned i = 0; i < 3; i++) {
        go_large(&o);
        write_zeros(&o, 50000);
        forge(&o, SSL3_RT_HANDSHAKE, update, sizeof(update));
        assert_int_equal(read_forged(&o), TLS_OPEN);
        o.n_forged = 0; /* the key is another */
        write_zeros(&o, 50000);
        deliver_zeros(&o, 100000);
    }
    opened_fini(&o);
}

static void nothing_makes_no_record(void **state)
{
    struct opened o;
    struct pktq plain;

    opened_init(&o, STOCK_CLIENT, 0, &pki);
    const uint64_t seq = o.ours->session->keys->tx.seq;
    pktq_init(&plain);
    assert_int_equal(tls_write(o.ours->session, &plain, &o.ours->out), TLS_OPEN);
    for (unsigned i = 0; i < 3; i++)
        pktq_push(&plain, pkt_at(&o, PKT_HEADROOM, 0));
    assert_int_equal(tls_write(o.ours->session, &plain, &o.ours->out), TLS_OPEN);
    assert_true(pktq_is_empty(&plain));
    assert_int_equal(o.ours->out.n, 0);
    assert_int_equal(o.ours->session->keys->tx.seq, seq);
    opened_fini(&o);
}

/* --- the packets that come --- */

static void a_record_alone_in_its_packet_stays_there(void **state)
{
    static const uint8_t text[] = "what has come";
    struct opened o;
    struct pkt *p;

    opened_init(&o, OUR_CLIENT, 0, &pki);
    side_write(&o.l, o.theirs, text, sizeof(text));
    pktq_splice(&o.ours->in, &o.theirs->out);
    p = o.ours->in.head;
    read_all(o.ours);
    assert_ptr_equal(o.ours->plain.head, p);
    assert_delivered(&o, text, sizeof(text));
    opened_fini(&o);
}

static void many_records_in_one_packet(void **state)
{
    static const uint8_t text[] = "abcdefghijklmnopqrstuvwxyz";
    struct opened o;

    opened_init(&o, STOCK_CLIENT, 1, &pki);
    for (unsigned i = 0; i < 26; i++)
        forge(&o, SSL3_RT_APPLICATION_DATA, text + i, 1);
    assert_int_equal(o.ours->in.n, 1);
    assert_int_equal(read_forged(&o), TLS_OPEN);
    assert_delivered(&o, text, 26);
    opened_fini(&o);
}

/* Packets that somebody else holds too, and what was in them. */
struct held {
    struct pkt *p[64];
    uint8_t bytes[64][PKT_HEADROOM + 2048];
    unsigned n;
};

static void hold(struct held *h, struct pktq *q)
{
    for (struct pkt *p = q->head; p != NULL; p = p->next, h->n++) {
        assert_true(h->n < ARRAY_SIZE(h->p));
        memset(p->head, 0x5a, pkt_headroom(p)); /* nor is anything written around them */
        memset(p->data + p->len, 0x5a, pkt_tailroom(p));
        memcpy(h->bytes[h->n], p->head, sizeof(h->bytes[h->n]));
        (*p->refs)++;
        h->p[h->n] = p;
    }
}

static void let_go(struct held *h)
{
    while (h->n > 0) {
        h->n--;
        assert_memory_equal(h->p[h->n]->head, h->bytes[h->n], sizeof(h->bytes[h->n]));
        pkt_free(h->p[h->n]);
    }
}

static void received_packets_that_are_shared_are_not_written(void **state)
{
    static struct held held;

    for (unsigned i = 0; i < 200; i++) {
        struct opened o;
        uint8_t wire[128];
        size_t n;

        opened_init(&o, OUR_CLIENT, i % N_SUITES, &pki);
        n = two_records(&o, wire, sizeof(wire));
        for (size_t at = 0, part; at < n; at += part) {
            const size_t some = 1 + core_random(&o.l.core) % (i % 4 < 2 ? n : 12);

            part = MIN(n - at, some);
            if (i % 4 == 0) /* a record and its packet are often the same */
                part = at == 0 ? RECORD_HEADER + 10 + RECORD_TRAILER : n - at;
            push(&o, &o.ours->in, wire + at, part);
        }
        hold(&held, &o.ours->in);
        read_all(o.ours);
        assert_delivered(&o, two, sizeof(two));
        let_go(&held);
        opened_fini(&o);
    }
}

/* --- a pool that runs empty --- */

/* What is read cannot be opened in place, and wants an answer. */
static void read_shared(struct opened *o)
{
    static const uint8_t update[] = { SSL3_MT_KEY_UPDATE, 0, 0, 1, SSL_KEY_UPDATE_REQUESTED };
    const uint32_t fail_at = o->l.tp.fail_at, max = o->l.tp.max;
    static const uint8_t bytes[2500];
    static struct held held;

    o->l.tp.fail_at = o->l.tp.max = 0;
    forge(o, SSL3_RT_APPLICATION_DATA, bytes, sizeof(bytes));
    forge(o, SSL3_RT_APPLICATION_DATA, bytes, 100);
    forge(o, SSL3_RT_HANDSHAKE, update, sizeof(update));
    hold(&held, &o->ours->in);
    o->l.tp.fail_at = fail_at;
    o->l.tp.max = max;
    read_forged(o);
    let_go(&held);
}

/* Everything that needs a packet: writing, in place and not; reading, cut and shared; answers. */
static void do_everything(struct opened *o)
{
    static const uint8_t bytes[5000];

    side_write(&o->l, o->ours, bytes, sizeof(bytes));
    if (tls_state(o->ours->session) == TLS_OPEN) {
        go_large(o);
        side_write(&o->l, o->ours, bytes, sizeof(bytes));
    }
    side_write(&o->l, o->theirs, bytes, sizeof(bytes));
    link_run(&o->l);
    if (tls_state(o->ours->session) == TLS_OPEN)
        read_shared(o);
    tls_close(o->ours->session, &o->ours->out);
}

static void assert_out_of_packets(const struct side *s)
{
    if (tls_state(s->session) != TLS_FAILED)
        return;
    if (tls_counters(s->lib)->no_memory > 0)
        assert_string_equal(tls_error(s->session), "TLS error: out of packet buffers");
    else /* it was the other one that could not go on */
        assert_int_equal(tls_counters(s->lib)->records_failed, 1);
}

static void any_allocation_may_fail(void **state)
{
    unsigned n_failed = 0;

    for (unsigned k = 1;; k++) {
        struct opened o;

        opened_init(&o, k % 2 ? OUR_CLIENT : OUR_SERVER, k % N_SUITES, &pki);
        o.l.tp.fail_at = k;
        do_everything(&o);
        const bool was_hit = o.l.tp.fail_at == 0;
        assert_out_of_packets(o.ours);
        assert_out_of_packets(o.theirs);
        n_failed += tls_state(o.ours->session) == TLS_FAILED;
        opened_fini(&o);
        if (!was_hit)
            break;
        assert_true(k < 1000);
    }
    assert_true(n_failed > 5);
}

static void a_pool_of_few_packets(void **state)
{
    for (unsigned k = 1; k < 20; k++) {
        struct opened o;

        opened_init(&o, k % 2 ? OUR_CLIENT : OUR_SERVER, k % N_SUITES, &pki);
        o.l.tp.max = k;
        do_everything(&o);
        assert_out_of_packets(o.ours);
        assert_out_of_packets(o.theirs);
        opened_fini(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_passes_both_ways_however_it_is_cut),
        cmocka_unit_test(two_records_cut_anywhere),
        cmocka_unit_test(a_record_in_packets_of_one_byte),
        cmocka_unit_test(the_largest_record_and_one_of_a_byte),
        cmocka_unit_test(padding_is_taken_off),
        cmocka_unit_test(padding_is_told_from_zeros),
        cmocka_unit_test(a_packet_with_room_leaves_as_the_same),
        cmocka_unit_test(a_shared_packet_is_copied_and_stays_as_it_is),
        cmocka_unit_test(a_packet_without_room_is_copied),
        cmocka_unit_test(a_head_and_a_short_body_are_one_record),
        cmocka_unit_test(whatever_is_written_arrives_and_fits),
        cmocka_unit_test(a_large_record_of_any_length),
        cmocka_unit_test(much_data_goes_in_large_records_until_there_is_a_pause),
        cmocka_unit_test(a_large_record_is_sealed_where_it_is),
        cmocka_unit_test(new_keys_between_large_records),
        cmocka_unit_test(nothing_makes_no_record),
        cmocka_unit_test(a_record_alone_in_its_packet_stays_there),
        cmocka_unit_test(many_records_in_one_packet),
        cmocka_unit_test(received_packets_that_are_shared_are_not_written),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(a_pool_of_few_packets),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
