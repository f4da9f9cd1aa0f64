/* TLS over TCP. All reading is done in transports_run(), so that its cost in one turn is bounded.
 */
#include "dataplane/transport/kind.h"

#include "tls/helper.h"

#define PULL_MAX (32 * 1024)  /* ciphertext taken from TCP at once */
#define PLAIN_MAX (16 * 1024) /* plaintext that waits for its owner: beyond, reading stops */
#define LINGER_US 1000000     /* for an alert to get out */

/* Queues what there is to read. Twice is as good as once. Who waits for a helper reads later. */
static void want_read(struct transport *t)
{
    if (list_is_linked(&t->work) || tls_waits(t->tls))
        return;
    if (t->state == TRANSPORT_SECURING)
        list_push_tail(&t->all->handshakes, &t->work);
    else if (t->state == TRANSPORT_OPEN)
        list_push_tail(&t->all->records, &t->work);
}

static void on_readable(struct transport *t)
{
    want_read(t);
}

static void on_eof(struct transport *t)
{
    t->tcp_eof = true;
    want_read(t);
}

/* What was pulled from TCP may not be read yet, and what was, not taken. */
static bool outlives(struct transport *t)
{
    if (t->state != TRANSPORT_OPEN || t->eof_told ||
        (pktq_is_empty(&t->plain) && !tls_read_pending(t->tls, &t->in)))
        return false;
    t->tcp_eof = true;
    want_read(t);
    return true;
}

static bool drained(const struct transport *t)
{
    return t->tls_eof && pktq_is_empty(&t->plain);
}

/* An alert may wait in @out: it goes first, and gets a moment to arrive. */
static void failed(struct transport *t, struct pktq *out)
{
    t->reason = tls_error(t->tls);
    if (t->tcp != NULL) {
        tcp_send(t->tcp, out);
        tcp_release(t->tcp, LINGER_US);
        t->tcp = NULL;
    }
    pktq_clear(out);
    transport_end(t, TRANSPORT_END_TLS);
}

static void broken_off(struct transport *t, const char *reason)
{
    t->reason = reason;
    transport_end(t, TRANSPORT_END_RESET);
}

static void pull(struct transport *t)
{
    if (t->tcp != NULL && t->in.bytes < PULL_MAX)
        tcp_recv(t->tcp, &t->in, PULL_MAX - t->in.bytes);
}

static bool more_to_read(const struct transport *t)
{
    return tls_read_pending(t->tls, &t->in) || (t->tcp != NULL && tcp_recv_waiting(t->tcp) > 0);
}

static void opened(struct transport *t)
{
    wheel_stop(&t->all->core->wheel, &t->deadline);
    t->state = TRANSPORT_OPEN;
    t->was_open = true;
    /* The client's last message asks for no answer; but its request may wait for an ACK (Nagle). */
    if (t->is_server && t->tcp != NULL)
        tcp_quick_ack(t->tcp, true);
    if (more_to_read(t) || t->tcp_eof)
        want_read(t);
    t->ev->on_open(t);
}

static struct stages *stages_of(const struct transport *t)
{
    return &t->all->core->stages;
}

/* Ciphertext of ->in to ->plain; answers to @out. */
static enum tls_state read_tls(struct transport *t, struct pktq *out)
{
    const enum stage was = stage_enter(stages_of(t), STAGE_TLS);
    const enum tls_state state = tls_read(t->tls, &t->in, &t->plain, PLAIN_MAX, out);

    stage_leave(stages_of(t), was);
    return state;
}

static void handshake_step(struct transport *t)
{
    struct pktq out;
    enum tls_state state;

    pktq_init(&out);
    pull(t);
    state = read_tls(t, &out);
    if (state != TLS_FAILED)
        tcp_send(t->tcp, &out);
    switch (state) {
    case TLS_OPEN:
        opened(t);
        return;
    case TLS_FAILED:
        failed(t, &out);
        return;
    case TLS_CLOSED:
        broken_off(t, "TLS error: closed during the handshake");
        return;
    case TLS_HANDSHAKING:
        if (tls_waits(t->tls))
            return; /* go_on() comes back to it */
        if (t->tcp_eof && tcp_recv_waiting(t->tcp) == 0) {
            broken_off(t, "TLS error: closed during the handshake");
            return;
        }
        if (tcp_recv_waiting(t->tcp) > 0)
            want_read(t);
        return;
    }
}

static void read_records(struct transport *t)
{
    struct pktq out;
    enum tls_state state;

    if (t->plain.bytes >= PLAIN_MAX)
        return; /* recv_secure() comes back */
    pktq_init(&out);
    pull(t);
    state = read_tls(t, &out);
    if (state == TLS_FAILED) {
        failed(t, &out);
        return;
    }
    if (t->tcp != NULL)
        tcp_send(t->tcp, &out);
    pktq_clear(&out);
    if (state == TLS_CLOSED) {
        t->tls_eof = true;
    } else if (t->tcp_eof && !more_to_read(t) && pktq_is_empty(&t->plain)) {
        /* RFC 8446, 6.1: without close_notify the end may have been forged. */
        broken_off(t, "TLS error: closed without close_notify");
        return;
    } else if (more_to_read(t) && t->plain.bytes < PLAIN_MAX) {
        want_read(t);
    }
    if (pktq_is_empty(&t->plain))
        transport_check_eof(t);
    else
        t->ev->on_readable(t);
}

static uint64_t recv_secure(struct transport *t, struct pktq *to, uint64_t max)
{
    uint64_t n = t->plain.bytes;

    pktq_splice(to, &t->plain);
    if (t->state == TRANSPORT_OPEN && !t->tls_eof && (more_to_read(t) || t->tcp_eof))
        want_read(t);
    transport_check_eof_later(t);
    return n;
}

static void send_secure(struct transport *t, struct pktq *q)
{
    const enum stage was = stage_enter(stages_of(t), STAGE_TLS);
    struct pktq out;

    pktq_init(&out);
    if (tls_write(t->tls, q, &out) == TLS_FAILED) {
        t->reason = tls_error(t->tls);
        transport_fail(t, TRANSPORT_END_TLS);
    }
    pktq_clear(q);
    stage_leave(stages_of(t), was);
    tcp_send(t->tcp, &out);
}

static void close_secure(struct transport *t)
{
    struct pktq out;

    if (t->state != TRANSPORT_OPEN)
        return;
    pktq_init(&out);
    tls_close(t->tls, &out);
    tcp_send(t->tcp, &out);
}

static uint32_t seg(const struct transport *t)
{
    return t->tls != NULL ? tls_plain_seg(t->tls) : 1024;
}

/* NULL: no memory. */
static struct tls_session *new_session(struct transport *t, struct tls_ctx *ctx)
{
    struct tls_session *s = tls_session_new(ctx, t->all->core, tcp_mss(t->tcp));

    if (s != NULL)
        tls_set_owner(s, t);
    return s;
}

/* The client's handshake begins. */
static void on_open(struct transport *t)
{
    const enum stage was = stage_enter(stages_of(t), STAGE_TLS);
    struct pktq out;

    pktq_init(&out);
    t->state = TRANSPORT_SECURING;
    t->tls = new_session(t, t->ctx);
    if (t->tls == NULL) {
        t->reason = "TLS error: no memory";
        stage_leave(stages_of(t), was);
        transport_end(t, TRANSPORT_END_MEMORY);
        return;
    }
    tls_connect(t->tls, &out);
    stage_leave(stages_of(t), was);
    if (tls_state(t->tls) == TLS_FAILED)
        failed(t, &out);
    else
        tcp_send(t->tcp, &out);
}

bool transport_secure(struct transport *t, struct tls_ctx *ctx)
{
    assert(t->kind == &transport_plain && t->state == TRANSPORT_OPEN);
    t->tls = new_session(t, ctx);
    if (t->tls == NULL)
        return false;
    t->ctx = tls_ctx_get(ctx);
    t->kind = &transport_secure_kind;
    t->state = TRANSPORT_SECURING;
    wheel_start(&t->all->core->wheel, &t->deadline,
                t->all->core->now_us + tls_ctx_handshake_timeout_us(ctx));
    want_read(t);
    return true;
}

const struct transport_kind transport_secure_kind = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_eof = on_eof,
    .outlives = outlives,
    .drained = drained,
    .recv = recv_secure,
    .send = send_secure,
    .close = close_secure,
    .seg = seg,
};

/* --- once a turn ----------------------------------------------------------------------------- */

bool transports_pending(const struct transports *ts)
{
    return !list_is_empty(&ts->handshakes) || !list_is_empty(&ts->records);
}

/* Handshakes whose operations have come back from the helper, @most of them. Returns how many. */
static unsigned go_on(struct transports *ts, unsigned most)
{
    struct tls_session *s;
    unsigned n = 0;

    for (; ts->lib != NULL && n < most && (s = tls_lib_answered(ts->lib)) != NULL; n++)
        handshake_step(tls_owner(s));
    return n;
}

unsigned transports_run(struct transports *ts, unsigned handshakes)
{
    struct list now = LIST_INIT(now), *l;
    unsigned n = go_on(ts, handshakes);

    handshakes -= n;
    /* What is queued meanwhile has its turn in the next one. */
    list_splice_tail(&now, &ts->records);
    while ((l = list_pop_head(&now)) != NULL) {
        read_records(container_of(l, struct transport, work));
        n++;
    }
    while (handshakes-- > 0 && (l = list_pop_head(&ts->handshakes)) != NULL) {
        handshake_step(container_of(l, struct transport, work));
        n++;
    }
    return n;
}
