/*
 * Records of TLS 1.3 that are ours (RFC 8446, 5): opened in the packets they came in, sealed in the
 * packets they leave in. A packet is copied only where it cannot be written (somebody else has it
 * too), where the headers have no room, or where another record begins behind this one.
 *
 *     17 03 03 len len | plaintext ... type | tag
 *                        <-- sealed ------>
 */
#include "tls/inner.h"

#include "dataplane/base/bytes.h"

#define HEADER SSL3_RT_HEADER_LENGTH
#define TRAILER (1 + AEAD_TAG) /* the type, the tag */
#define PLAIN_MAX 16384u
/* RFC 8446, 5.2 and 5.4: more could not be allowed inside. */
#define SEALED_MAX (PLAIN_MAX + TRAILER)
/* With one key, of the 2^24.5 that AES-GCM allows (5.5). */
#define RECORDS_MAX (UINT64_C(1) << 24)
#define MSG_HEADER 4
#define MSG_MAX 65536 /* of a ticket that we do not want */

static const struct bad {
    uint8_t alert;
    const char *words;
} bad_mac = { SSL_AD_BAD_RECORD_MAC, "decryption failed or bad record mac" },
  too_long = { SSL_AD_RECORD_OVERFLOW, "a record is too long" },
  bad_type = { SSL_AD_UNEXPECTED_MESSAGE, "a record of an unexpected type" },
  bad_msg = { SSL_AD_UNEXPECTED_MESSAGE, "an unexpected handshake message" },
  bad_update = { SSL_AD_ILLEGAL_PARAMETER, "a KeyUpdate that is none" },
  bad_alert = { SSL_AD_DECODE_ERROR, "an alert of the wrong length" },
  too_many = { SSL_AD_UNEXPECTED_MESSAGE, "too many handshake messages without data between them" },
  too_many_alerts = { SSL_AD_UNEXPECTED_MESSAGE, "too many alerts without data between them" },
  too_empty = { SSL_AD_UNEXPECTED_MESSAGE, "too many empty records" };

/* --- sealing --- */

static struct aead *aead_of(const struct tls_session *s)
{
    return s->ctx->lib->aead;
}

/* Bytes of a record, header and all, in one packet. */
static uint32_t segment(const struct tls_session *s)
{
    return MIN(MIN(s->seg, s->core->pool->room - PKT_HEADROOM), HEADER + SEALED_MAX);
}

static uint32_t plain_max(const struct tls_session *s)
{
    return segment(s) - HEADER - TRAILER;
}

/* The header of a record with @len bytes of plaintext, in front of @p's; and its number is used. */
static void begin(struct tls_session *s, struct pkt *p, uint32_t len)
{
    uint8_t *header = pkt_push(p, HEADER);

    header[0] = SSL3_RT_APPLICATION_DATA;
    put16(header + 1, TLS1_2_VERSION);
    put16(header + 3, (uint16_t)(len + TRAILER));
    aead_begin(aead_of(s), &s->keys->tx.key, s->keys->tx.seq++, header, HEADER);
}

/* The type and the tag behind @p's bytes, of which those from @from on are not sealed yet. */
static void end(struct tls_session *s, struct pkt *p, uint32_t from, uint8_t type)
{
    uint8_t *trailer = pkt_put(p, TRAILER);

    trailer[0] = type;
    aead_seal(aead_of(s), p->data + from, p->data + from, p->len - AEAD_TAG - from);
    aead_end(aead_of(s), trailer + 1);
}

static bool seal_bytes(struct tls_session *s, uint8_t type, const uint8_t *bytes, uint32_t len)
{
    struct pkt *p = pkt_alloc(s->core->pool);

    if (p == NULL) {
        s->no_memory = true;
        return false;
    }
    begin(s, p, len);
    memcpy(pkt_put(p, len), bytes, len);
    end(s, p, HEADER, type);
    pktq_push(s->out, p);
    return true;
}

/* Says that the key changes, and changes it (RFC 8446, 4.6.3). */
static bool update_tx(struct tls_session *s)
{
    static const uint8_t message[MSG_HEADER + 1] = { SSL3_MT_KEY_UPDATE, 0, 0, 1,
                                                     SSL_KEY_UPDATE_NOT_REQUESTED };

    s->keys->owes_update = false;
    if (!seal_bytes(s, SSL3_RT_HANDSHAKE, message, sizeof(message)))
        return false;
    if (keys_update(s->ctx->lib, &s->keys->tx))
        return true;
    s->no_memory = true; /* what HMAC may want for */
    return false;
}

/* May @p's record be made where its bytes are? */
static bool is_in_place(const struct pkt *p, uint32_t len)
{
    return p->len == len && !pkt_is_shared(p) && pkt_headroom(p) >= HEADER &&
           pkt_tailroom(p) >= TRAILER;
}

/*
 * What follows in @plain and fits goes into the same record: a response's head and its short body
 * are one.
 */
static void seal_rest(struct tls_session *s, struct pkt *p, uint32_t len, struct pktq *plain)
{
    while (len > 0) {
        struct pkt *from = plain->head;
        const uint32_t n = MIN(len, from->len);

        aead_seal(aead_of(s), pkt_put(p, n), from->data, n);
        len -= n;
        pktq_consume(plain, n);
    }
}

/* How much of @plain the record that begins with @first takes in, @first's bytes apart. */
static uint32_t gather(const struct tls_session *s, const struct pkt *first, uint32_t room,
                       const struct pktq *plain)
{
    uint32_t len = 0;

    for (const struct pkt *p = plain->head; p != NULL && len + p->len <= room; p = p->next)
        len += p->len;
    return len;
}

static bool seal_one(struct tls_session *s, struct pktq *plain)
{
    const uint32_t max = plain_max(s);
    struct pkt *p = plain->head;
    uint32_t first = MIN(p->len, max), rest = 0, from = HEADER;

    if (is_in_place(p, first)) {
        pktq_pop(plain);
        rest = gather(s, p, MIN(max - first, pkt_tailroom(p) - TRAILER), plain);
        begin(s, p, first + rest);
        if (rest > 0)
            aead_seal(aead_of(s), p->data + HEADER, p->data + HEADER, first);
    } else {
        p = pkt_alloc(s->core->pool);
        if (p == NULL) {
            s->no_memory = true;
            return false;
        }
        rest = first;
        begin(s, p, rest);
    }
    if (rest > 0) {
        seal_rest(s, p, rest, plain);
        from = p->len;
    }
    end(s, p, from, SSL3_RT_APPLICATION_DATA);
    pktq_push(s->out, p);
    return true;
}

/* --- large ones, over several packets --- */

/* Bytes of @plain for a record that ends where a packet does, or where @plain does. */
static uint32_t large_len(const struct tls_session *s, const struct pktq *plain)
{
    const uint32_t seg = segment(s), most = SEALED_MAX + HEADER, whole = most - most % seg;
    const uint64_t all = HEADER + plain->bytes + TRAILER;
    uint32_t sealed = (uint32_t)MIN(all, (uint64_t)whole);

    if (sealed % seg != 0 && sealed % seg <= TRAILER)
        sealed -= sealed % seg; /* no packet for less than a trailer and a byte */
    return sealed - HEADER - TRAILER;
}

/*
 * The packet for the next @n bytes of the record: the first of @plain, which is taken, if they can
 * be sealed where it is, with @front before and @back behind them. NULL: no memory.
 */
static struct pkt *large_packet(struct tls_session *s, struct pktq *plain, uint32_t n,
                                uint32_t front, uint32_t back)
{
    struct pkt *p = plain->head;

    if (likely(p->len <= n && !pkt_is_shared(p) && pkt_headroom(p) >= front &&
               pkt_tailroom(p) >= n - p->len + back))
        return pktq_pop(plain);
    return pkt_alloc(s->core->pool);
}

/* The next packet of a record: @p, behind its first @front bytes, gets @n bytes of plaintext; those
 * of @plain that it does not have yet. @is_last: and what comes behind them all. */
static void large_fill(struct tls_session *s, struct pkt *p, uint32_t front, uint32_t n,
                       bool is_last, struct pktq *plain)
{
    const uint32_t rest = front + n - p->len;
    uint32_t from = front;

    if (rest > 0 || !is_last) {
        aead_seal(aead_of(s), p->data + front, p->data + front, p->len - front);
        seal_rest(s, p, rest, plain);
        from = p->len;
    }
    if (is_last)
        end(s, p, from, SSL3_RT_APPLICATION_DATA);
}

/* A record of @len bytes of @plain. False: no memory for it, and none of it is sent. */
static bool seal_large(struct tls_session *s, struct pktq *plain, uint32_t len)
{
    uint32_t front = HEADER;
    struct pktq rec;

    pktq_init(&rec);
    while (len > 0) {
        const uint32_t n = MIN(len, segment(s) - front);
        struct pkt *p = large_packet(s, plain, n, front, n == len ? TRAILER : 0);

        if (p == NULL) {
            pktq_clear(&rec);
            s->no_memory = true;
            return false;
        }
        if (front > 0)
            begin(s, p, len);
        large_fill(s, p, front, n, n == len, plain);
        pktq_push(&rec, p);
        len -= n;
        front = 0;
    }
    pktq_splice(s->out, &rec);
    return true;
}

/* --- data --- */

/*
 * A record of one packet can be read when that packet is there; a large one costs less, and is read
 * when its last byte is there. So data goes in small ones first, and again after a pause, as then
 * congestion windows may be small, too.
 */
static void note_pause(struct tls_session *s)
{
    struct tls_keys *k = s->keys;

    if (s->core->now_us - k->sent_us > TLS_PAUSE_US)
        k->n_small = 0;
    k->sent_us = s->core->now_us;
}

static bool seal_next(struct tls_session *s, struct pktq *plain)
{
    const uint64_t before = plain->bytes;
    struct tls_keys *k = s->keys;

    if (k->n_small >= TLS_SMALL_BYTES && before > plain_max(s))
        return seal_large(s, plain, large_len(s, plain));
    if (!seal_one(s, plain))
        return false;
    k->n_small = MIN(k->n_small + (uint32_t)(before - plain->bytes), TLS_SMALL_BYTES);
    return true;
}

static bool drop_empty(struct pktq *plain)
{
    while (plain->head != NULL && plain->head->len == 0)
        pkt_free(pktq_pop(plain));
    return plain->head != NULL;
}

enum tls_state record_write(struct tls_session *s, struct pktq *plain)
{
    note_pause(s);
    while (drop_empty(plain)) {
        bool is_old = s->keys->tx.seq >= RECORDS_MAX || s->keys->owes_update;

        if ((unlikely(is_old) && !update_tx(s)) || !seal_next(s, plain))
            return session_failed(s);
        s->keys->n_sent += s->keys->n_sent < UINT32_MAX;
    }
    return s->state;
}

void record_close(struct tls_session *s)
{
    static const uint8_t alert[2] = { SSL3_AL_WARNING, SSL3_AD_CLOSE_NOTIFY };

    if (!seal_bytes(s, SSL3_RT_ALERT, alert, sizeof(alert)))
        session_failed(s);
}

/* --- opening --- */

static enum tls_state refuse(struct tls_session *s, const struct bad *why)
{
    const uint8_t alert[2] = { SSL3_AL_FATAL, why->alert };

    if (!s->close_sent)
        (void)seal_bytes(s, SSL3_RT_ALERT, alert, sizeof(alert)); /* without memory: a pity */
    session_counters(s)->records_failed++;
    return session_refuse(s, why->words);
}

/* The header at the front of @in. NULL: it is not there. */
static const uint8_t *header_of(const struct pktq *in, uint8_t room[HEADER])
{
    if (in->bytes < HEADER)
        return NULL;
    if (likely(in->head->len >= HEADER))
        return in->head->data;
    pktq_peek(in, room, HEADER);
    return room;
}

bool record_waits(const struct pktq *in)
{
    uint8_t room[HEADER];
    const uint8_t *header = header_of(in, room);

    /* What is too long is refused by its header. */
    return header != NULL &&
           (get16(header + 3) > SEALED_MAX || in->bytes >= HEADER + (uint64_t)get16(header + 3));
}

/* May all packets of @rec be written, and is there something in each? */
static bool is_tidy(const struct pktq *rec)
{
    for (const struct pkt *p = rec->head; p != NULL; p = p->next)
        if (unlikely(p->len == 0 || pkt_is_shared(p)))
            return false;
    return true;
}

/* Makes it so. False: no memory. */
static bool tidy(struct tls_session *s, struct pktq *rec)
{
    struct pktq own;
    struct pkt *p;

    pktq_init(&own);
    while (drop_empty(rec)) {
        p = pktq_pop(rec);
        if (pkt_is_shared(p)) {
            struct pkt *copy = pkt_copy(s->core->pool, p);

            pkt_free(p);
            if (copy == NULL) {
                pktq_clear(&own);
                return false;
            }
            p = copy;
        }
        pktq_push(&own, p);
    }
    pktq_splice(rec, &own);
    return true;
}

/*
 * Takes the record, header and all, off ->in into @rec, whose packets may be written. @len bytes in
 * all. False: no memory.
 */
static bool take(struct tls_session *s, struct pktq *rec, uint32_t len)
{
    return pktq_move(rec, s->in, len, s->core->pool) && (likely(is_tidy(rec)) || tidy(s, rec));
}

/* Opens @len bytes of @rec in place; the tag comes behind them. */
static bool open_in_place(struct tls_session *s, struct pktq *rec, uint32_t len)
{
    uint8_t ours[AEAD_TAG], theirs[AEAD_TAG];
    uint32_t n_tag = 0;

    for (struct pkt *p = rec->head; p != NULL; p = p->next) {
        const uint32_t n = MIN(len, p->len);

        aead_open(aead_of(s), p->data, p->data, n);
        len -= n;
        memcpy(theirs + n_tag, p->data + n, p->len - n);
        n_tag += p->len - n;
    }
    aead_end(aead_of(s), ours);
    return aead_tag_eq(ours, theirs);
}

/*
 * The usual case: the last packet of @rec has data, and behind it all @end bytes that are to go,
 * which begin with the type, as there is no padding. Cuts them off. False: it is another.
 */
static bool cut_end(struct pktq *rec, uint32_t end, uint8_t *type)
{
    struct pkt *last = pktq_last(rec);

    if (unlikely(last->len <= end || last->data[last->len - end] == 0))
        return false;
    *type = last->data[last->len - end];
    pkt_trim(last, last->len - end);
    rec->bytes -= end;
    return true;
}

/* Where the type is: the last byte that is not 0, and in which packet. NULL: there is none. */
static struct pkt *find_type(struct pktq *rec, uint32_t len, uint32_t *at)
{
    struct pkt *found = NULL;

    for (struct pkt *p = rec->head; p != NULL && len > 0; p = p->next) {
        uint32_t n = MIN(len, p->len);

        len -= n;
        while (n > 0 && p->data[n - 1] == 0)
            n--;
        if (n > 0) {
            found = p;
            *at = n - 1;
        }
    }
    return found;
}

/* Cuts @rec off behind the first @at bytes of @last. */
static void cut(struct pktq *rec, struct pkt *last, uint32_t at)
{
    struct pktq kept;
    struct pkt *p;

    pktq_init(&kept);
    while ((p = pktq_pop(rec)) != NULL) {
        bool is_last = p == last;

        if (is_last)
            pkt_trim(p, at);
        if (p->len > 0)
            pktq_push(&kept, p);
        else
            pkt_free(p);
        if (is_last)
            break;
    }
    pktq_clear(rec);
    pktq_splice(rec, &kept);
}

/* Leaves the data of @rec, whose first @len bytes are opened, in it, and returns the type. */
static uint8_t type_of(struct pktq *rec, uint32_t len)
{
    struct pkt *last;
    uint32_t at = 0;
    uint8_t type;

    if (likely(cut_end(rec, (uint32_t)rec->bytes - len + 1, &type)))
        return type;
    last = find_type(rec, len, &at);
    type = last != NULL ? last->data[at] : 0;
    cut(rec, last, at);
    return type;
}

/*
 * The usual case, one record in one packet: into another packet if a record follows in it, else in
 * place. Returns the packet, with the sealed bytes opened and nothing else. NULL: @why says why,
 * or it is not that case and @why is NULL.
 */
static struct pkt *open_single(struct tls_session *s, uint32_t len, const struct bad **why)
{
    const uint32_t n = len - AEAD_TAG;
    struct pkt *from = s->in->head, *to = from;
    uint8_t tag[AEAD_TAG];
    uint8_t *sealed;

    *why = NULL;
    if (from->len < HEADER + len)
        return NULL;
    if (from->len > HEADER + len || pkt_is_shared(from)) {
        to = pkt_alloc(s->core->pool);
        if (to == NULL || pkt_tailroom(to) < n) {
            pkt_free(to);
            return NULL; /* the other way may find memory, or tells that there is none */
        }
        pkt_put(to, n);
    }
    sealed = from->data + HEADER;
    aead_begin(aead_of(s), &s->keys->rx.key, s->keys->rx.seq, from->data, HEADER);
    aead_open(aead_of(s), to == from ? sealed : to->data, sealed, n);
    aead_end(aead_of(s), tag);
    if (unlikely(!aead_tag_eq(tag, sealed + n))) {
        *why = &bad_mac;
        if (to != from)
            pkt_free(to);
        return NULL;
    }
    if (to == from) {
        pktq_pop(s->in);
        pkt_pull(from, HEADER);
        pkt_trim(from, n);
    } else {
        pktq_consume(s->in, HEADER + len);
    }
    return to;
}

/* The record at the front of ->in, opened, into @rec. */
static const struct bad *open_record(struct tls_session *s, const uint8_t *header, uint32_t len,
                                     struct pktq *rec)
{
    const struct bad *why;
    struct pkt *p = open_single(s, len, &why);
    uint8_t aad[HEADER];

    if (likely(p != NULL)) {
        pktq_push(rec, p);
        return NULL;
    }
    if (why != NULL)
        return why;
    memcpy(aad, header, HEADER);
    if (!take(s, rec, HEADER + len)) {
        s->no_memory = true;
        return NULL;
    }
    pktq_consume(rec, HEADER);
    aead_begin(aead_of(s), &s->keys->rx.key, s->keys->rx.seq, aad, HEADER);
    return open_in_place(s, rec, len - AEAD_TAG) ? NULL : &bad_mac;
}

/* --- what is in a record --- */

static enum tls_state alerted(struct tls_session *s, const struct pktq *rec)
{
    uint8_t alert[2];

    if (rec->bytes != sizeof(alert))
        return refuse(s, &bad_alert);
    pktq_peek(rec, alert, sizeof(alert));
    if (alert[1] == SSL3_AD_CLOSE_NOTIFY) {
        s->state = TLS_CLOSED;
        return TLS_CLOSED;
    }
    if (alert[1] == TLS1_AD_USER_CANCELLED) /* close_notify follows (RFC 8446, 6.1), and not more */
        return ++s->n_idle > TLS_IDLE_MESSAGES ? refuse(s, &too_many_alerts) : s->state;
    return session_alerted(s, alert[1]);
}

/* The message that ->msg has begun is whole, or was one to be skipped. @at_end: of its record. */
static const struct bad *message(struct tls_session *s, bool at_end)
{
    struct tls_keys *k = s->keys;
    const uint8_t asked = k->msg[MSG_HEADER];

    if (!at_end)
        return &bad_msg; /* what follows a change of keys is sealed with the new ones (5.1) */
    if (asked > SSL_KEY_UPDATE_REQUESTED)
        return &bad_update;
    if (!keys_update(s->ctx->lib, &k->rx))
        s->no_memory = true;
    /* Before the next data, and once, however often it is asked for (4.6.3). */
    k->owes_update |= asked == SSL_KEY_UPDATE_REQUESTED;
    k->n_msg = 0;
    return NULL;
}

/* The four bytes that a message begins with. */
static const struct bad *message_header(struct tls_session *s)
{
    struct tls_keys *k = s->keys;
    const uint32_t len = get32(k->msg) & 0xffffff;

    /*
     * Java asks for new keys with every record that it reads until it has got them: of a long
     * answer, as many as are on their way.
     */
    if (k->msg[0] == SSL3_MT_KEY_UPDATE && k->n_sent > 0)
        k->n_sent--;
    else
        s->n_idle++;
    if (k->msg[0] == SSL3_MT_KEY_UPDATE)
        return len == 1 ? NULL : &bad_update;
    if (k->msg[0] != SSL3_MT_NEWSESSION_TICKET || s->ctx->is_server)
        return &bad_msg;
    if (len > MSG_MAX)
        return &bad_msg;
    k->msg_skip = len;
    k->n_msg = 0;
    return NULL;
}

static const struct bad *messages_in(struct tls_session *s, const uint8_t *at, uint32_t len,
                                     bool is_last)
{
    struct tls_keys *k = s->keys;
    const struct bad *why = NULL;

    while (len > 0 && why == NULL && !s->no_memory) {
        if (k->msg_skip > 0) {
            const uint32_t n = MIN(len, k->msg_skip);

            k->msg_skip -= n;
            at += n;
            len -= n;
            continue;
        }
        k->msg[k->n_msg++] = *at++;
        len--;
        if (k->n_msg == MSG_HEADER)
            why = message_header(s);
        else if (k->n_msg == MSG_HEADER + 1)
            why = message(s, is_last && len == 0);
    }
    return why;
}

static enum tls_state handshake_messages(struct tls_session *s, const struct pktq *rec)
{
    const struct bad *why = NULL;

    if (rec->bytes == 0)
        return refuse(s, &bad_msg);
    for (const struct pkt *p = rec->head; p != NULL && why == NULL; p = p->next)
        why = messages_in(s, p->data, p->len, p->next == NULL);
    if (s->no_memory)
        return session_failed(s);
    if (why == NULL && s->n_idle > TLS_IDLE_MESSAGES)
        why = &too_many;
    return why != NULL ? refuse(s, why) : s->state;
}

/* Messages of the handshake may not be interrupted (5.1). */
static bool is_within_message(const struct tls_session *s)
{
    return s->keys->n_msg > 0 || s->keys->msg_skip > 0;
}

static enum tls_state deliver(struct tls_session *s, uint8_t type, struct pktq *rec,
                              struct pktq *plain)
{
    if (type != SSL3_RT_HANDSHAKE && is_within_message(s))
        return refuse(s, &bad_msg);
    switch (type) {
    case SSL3_RT_APPLICATION_DATA:
        if (rec->bytes > 0)
            s->n_idle = 0;
        else if (++s->n_idle > TLS_IDLE_MESSAGES)
            return refuse(s, &too_empty);
        pktq_splice(plain, rec);
        return s->state;
    case SSL3_RT_ALERT:
        return alerted(s, rec);
    case SSL3_RT_HANDSHAKE:
        return handshake_messages(s, rec);
    default:
        return refuse(s, &bad_type);
    }
}

static enum tls_state read_record(struct tls_session *s, const uint8_t *header, struct pktq *plain)
{
    const uint32_t len = get16(header + 3);
    const struct bad *why;
    struct pktq rec;

    if (header[0] != SSL3_RT_APPLICATION_DATA)
        return refuse(s, &bad_type);
    if (len > SEALED_MAX)
        return refuse(s, &too_long);
    if (len < TRAILER)
        return refuse(s, &bad_mac);
    pktq_init(&rec);
    why = open_record(s, header, len, &rec);
    if (unlikely(why != NULL || s->no_memory)) {
        pktq_clear(&rec);
        return s->no_memory ? session_failed(s) : refuse(s, why);
    }
    s->keys->rx.seq++;
    deliver(s, type_of(&rec, len - AEAD_TAG), &rec, plain);
    pktq_clear(&rec);
    return s->state;
}

enum tls_state record_read(struct tls_session *s, struct pktq *plain, uint64_t max)
{
    uint8_t room[HEADER];

    while (s->state == TLS_OPEN && plain->bytes < max && record_waits(s->in))
        read_record(s, header_of(s->in, room), plain);
    return s->state;
}
