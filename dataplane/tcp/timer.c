#include "dataplane/tcp/tcp_conn.h"

#include <errno.h>

/*
 * Each connection has one wheel timer, for the earliest of its deadlines:
 *
 *   retransmission  something is in flight and was not acknowledged in time (RFC 6298), or, before
 *                   that, a tail loss probe or RACK's look at what came late (RFC 8985);
 *   persist         nothing is in flight, and the peer's window keeps us from sending
 *                   (RFC 9293, 3.8.6.1);
 *   keepalive       nothing has been heard for very long (RFC 9293, 3.8.4);
 *   give up         opening takes too long, or the owner has let go and the rest takes too long;
 *   user timeout    what was sent was not acknowledged for longer than the owner wants (RFC 5482);
 *   cork, pacing    a part of a segment has waited long enough for the rest; a segment for its
 * time; quiet           nothing was sent for a while: what sending needs is given back; then what
 * is counted is folded (estats.h).
 *
 * It is started early and never moved back: if it fires before anything is due, it starts
 * again. TIME_WAIT and delayed ACKs have the same length for all, so they wait in lists of
 * their own, each with one timer.
 */

static uint64_t after(uint64_t from_us, uint64_t us)
{
    return us < UINT64_MAX - from_us ? from_us + us : UINT64_MAX;
}

uint64_t tcp_keepalive_at(const struct tcp_conn *c)
{
    const struct tcp_tuning *t = c->tuning;

    if (!t->keepalive || !tcp_conn_is_synchronized(c))
        return UINT64_MAX;
    return after(c->last_rx_us, after(t->keepalive_us, c->keepalives * t->keepalive_interval_us));
}

/* A SYN waits since it was sent; what was queued before its answer came does not count. */
static uint64_t stalled_since(const struct tcp_conn *c)
{
    return c->fl != NULL && tcp_conn_is_synchronized(c) ? c->fl->stalled_us : c->opened_us;
}

static uint64_t user_timeout_at(const struct tcp_conn *c)
{
    if (c->tuning->user_timeout_us == 0 || c->rtx_at_us == 0)
        return UINT64_MAX;
    return after(stalled_since(c), c->tuning->user_timeout_us);
}

static uint64_t cork_at(const struct tcp_conn *c)
{
    const struct tcp_flight *fl = c->fl;

    return fl != NULL && fl->corked_us > TCP_CORK_SPENT ? fl->corked_us + TCP_CORK_US : UINT64_MAX;
}

/* Only while something waits for it. */
static uint64_t pace_at(const struct tcp_conn *c)
{
    const struct tcp_flight *fl = c->fl;

    if (fl == NULL || (fl->next == NULL && fl->lost_hint == NULL) ||
        tcp_pace_pass(c, c->tcp->core->now_us))
        return UINT64_MAX;
    return tcp_pace_at(c);
}

/* When what sending needs is given back; after that, when what is counted is folded. */
static uint64_t quiet_at(const struct tcp_conn *c)
{
    if (c->fl != NULL)
        return c->fl->head == NULL ? c->last_tx_us + TCP_QUIET_US : UINT64_MAX;
    if (c->es == NULL || c->es->stays)
        return UINT64_MAX;
    return MAX(c->last_rx_us, c->last_tx_us) + TCP_REST_US;
}

static void on_quiet(struct tcp_conn *c)
{
    if (c->fl != NULL)
        tcp_flight_put(c);
    else
        tcp_estats_rest(c);
}

static uint64_t next_deadline(const struct tcp_conn *c)
{
    uint64_t at = tcp_keepalive_at(c);

    if (c->rtx_at_us != 0)
        at = MIN(at, c->rtx_at_us);
    if (c->give_up_at_us != 0)
        at = MIN(at, c->give_up_at_us);
    at = MIN(at, user_timeout_at(c));
    at = MIN(at, pace_at(c));
    at = MIN(at, quiet_at(c));
    return MIN(at, cork_at(c));
}

void tcp_timer_arm(struct tcp_conn *c)
{
    const uint64_t at = next_deadline(c);

    if (at == UINT64_MAX)
        return;
    if (!wheel_timer_is_running(&c->timer) || at / WHEEL_TICK_US < c->timer.tick)
        wheel_start(&c->tcp->core->wheel, &c->timer, at);
}

void tcp_rtx_start(struct tcp_conn *c, enum tcp_rtx kind, uint64_t us)
{
    c->rtx = (uint8_t)kind;
    c->rtx_at_us = c->tcp->core->now_us + us;
}

void tcp_rtx_restart(struct tcp_conn *c)
{
    tcp_rtx_start(c, RTX_TIMEOUT, rtt_backed_off(&c->rtt, c->backoff));
}

/* The timeout counts from the transmission of the first segment, where that is known. */
static uint64_t timeout_left(const struct tcp_conn *c)
{
    const uint32_t now = (uint32_t)c->tcp->core->now_us;
    const uint64_t rto_us = rtt_backed_off(&c->rtt, c->backoff);
    const uint32_t passed = now - c->fl->head->sent_us;

    if (c->rtx != RTX_PROBE && c->rtx != RTX_REORDER)
        return rto_us;
    return rto_us > passed ? rto_us - passed : 0;
}

void tcp_rtx_rearm(struct tcp_conn *c)
{
    uint64_t probe_us;

    if (c->fl == NULL || c->fl->out.pkts == 0) {
        c->rtx = RTX_NONE;
        c->rtx_at_us = 0;
        return;
    }
    probe_us = tcp_recovery_probe_us(c);
    if (probe_us != 0)
        tcp_rtx_start(c, RTX_PROBE, probe_us);
    else
        tcp_rtx_start(c, RTX_TIMEOUT, timeout_left(c));
}

/*
 * RFC 4821, 7.7, as far as it is about black holes: large segments vanish again and again, and
 * nobody tells why. The next ones are of a size that every path takes; once one of them has
 * arrived, other connections are told.
 */
static void suspect_black_hole(struct tcp_conn *c)
{
    static const uint16_t sizes[] = { 1280, 576 };
    const struct pkt *p = c->fl->head;
    const uint32_t headers = 20 + TCP_HDR + (c->ts_on ? (uint32_t)TCP_OPT_TS_LEN : 0);

    if (c->retries < TCP_BLACK_HOLE_TRIES)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (c->dst.mtu <= sizes[i] || p->pay_len + headers <= sizes[i])
            continue;
        c->tcp->counters.black_holes++;
        c->dst.mtu = sizes[i];
        c->hole_suspected = true;
        tcp_conn_set_mss(c);
        return;
    }
}

/*
 * Nothing comes back (RFC 9293, 3.9.2.3): maybe the next hop is dead, or routes have changed. Only
 * here, where there is time: while ACKs come, the way that a connection has is good.
 */
static void look_for_another_way(struct tcp_conn *c)
{
    if (!net_reroute(c->tcp->net, &c->flow.key, &c->dst))
        return;
    c->tcp->counters.rerouted++;
    tcp_conn_set_mss(c);
}

/* The owner may have queued data, and a FIN, that made ->es; it may rest by now. */
static void note_syn_again(struct tcp_conn *c)
{
    if (c->es != NULL || c->rests)
        tcp_estats_get(c)->segs_retrans++;
    else
        c->early_resent += c->early_resent < UINT8_MAX;
}

/* RFC 4898: one that follows another, and no progress between them, is told apart. */
static void note_timeout(struct tcp_conn *c)
{
    if (c->backoff == 0)
        c->es->timeouts++;
    else
        c->es->subsequent_timeouts++;
    tcp_record(c, TCP_RECORD_TIMEOUT, .len = c->backoff);
}

/* RFC 6298, 5.4 to 5.7. */
static void on_timeout(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    tcp->counters.retrans_timeouts++;
    look_for_another_way(c);
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RCVD) {
        c->backoff += c->backoff < UINT8_MAX;
        c->syn_lost = true;
        note_syn_again(c);
        tcp->counters.retrans_segs++;
        tcp_send_syn(c);
        return;
    }
    suspect_black_hole(c);
    note_timeout(c);
    tcp_recovery_on_timeout(c);
    c->backoff += c->backoff < UINT8_MAX;
    tcp_rtx_restart(c);
    tcp_output(c, false);
}

/* Sends what fits into a window that is open but small; else asks whether it is open again. */
static void on_persist(struct tcp_conn *c)
{
    if (c->retries > 1)
        look_for_another_way(c);
    c->backoff += c->backoff < UINT8_MAX;
    c->rtx_at_us = 0;
    tcp_output(c, true);
    if (c->rtx != RTX_PERSIST)
        return;
    c->tcp->counters.zero_window_probes++;
    tcp_record(c, TCP_RECORD_ASK);
    tcp_send_probe(c);
}

static void timed_out(struct tcp_conn *c)
{
    c->tcp->counters.timeouts++;
    tcp_send_rst(c);
    tcp_recorder_keep(c, TCP_LOG_TIMED_OUT);
    tcp_conn_end(c, -ETIMEDOUT);
}

static uint32_t max_retries(const struct tcp_conn *c)
{
    const bool opening = c->state == TCP_SYN_SENT && c->tuning->syn_retries != 0;

    return opening ? c->tuning->syn_retries : c->tcp->conf.max_retries;
}

/* A user timeout, if there is one, counts instead of the retries (RFC 5482): it may be longer. */
static bool is_given_up(struct tcp_conn *c)
{
    const bool limited = c->tuning->user_timeout_us == 0 || !tcp_conn_is_synchronized(c);
    const bool spent = c->retries >= max_retries(c);

    c->retries += c->retries < UINT8_MAX;
    return limited && spent;
}

static void on_rtx(struct tcp_conn *c)
{
    const enum tcp_rtx kind = (enum tcp_rtx)c->rtx;

    switch (kind) {
    case RTX_NONE:
        return;
    case RTX_PROBE:
        tcp_record(c, TCP_RECORD_PROBE);
        tcp_recovery_on_probe_timer(c);
        tcp_rtx_restart(c);
        return;
    case RTX_REORDER:
        tcp_record(c, TCP_RECORD_LATE);
        tcp_recovery_on_reorder_timer(c);
        if (c->rtx == RTX_REORDER && c->rtx_at_us <= c->tcp->core->now_us)
            tcp_rtx_rearm(c);
        tcp_output(c, false);
        return;
    case RTX_TIMEOUT:
    case RTX_PERSIST:
        if (is_given_up(c))
            timed_out(c);
        else if (kind == RTX_PERSIST)
            on_persist(c);
        else
            on_timeout(c);
        return;
    }
}

static void on_keepalive(struct tcp_conn *c)
{
    const struct tcp_tuning *t = c->tuning;
    const uint64_t quiet_us = c->tcp->core->now_us - c->last_rx_us;

    /* A user timeout, if there is one, counts instead of the probes (RFC 9293, 3.8.3). */
    if (t->user_timeout_us != 0 ? c->keepalives > 0 && quiet_us >= t->user_timeout_us
                                : c->keepalives >= t->keepalive_probes) {
        timed_out(c);
        return;
    }
    c->keepalives += c->keepalives < UINT8_MAX;
    if (c->rtx_at_us != 0)
        return; /* the other timers ask already, and more often */
    if (c->keepalives > 1)
        look_for_another_way(c);
    c->tcp->counters.keepalive_probes++;
    tcp_record(c, TCP_RECORD_KEEPALIVE);
    tcp_send_probe(c);
}

static void on_give_up(struct tcp_conn *c)
{
    c->tcp->counters.timeouts++;
    if (tcp_conn_is_synchronized(c))
        tcp_send_rst(c);
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RCVD)
        c->tcp->counters.open_failed++;
    tcp_conn_end(c, -ETIMEDOUT);
}

/* Something has waited for its time. Once: what keeps it back now is no matter of time. */
static bool has_waited(struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_flight *fl = c->fl;
    const bool cork = now_us >= cork_at(c);
    const bool pace = fl != NULL && fl->pace_at_us != 0 && tcp_pace_pass(c, now_us);

    if (cork)
        c->fl->corked_us = TCP_CORK_SPENT;
    if (pace && now_us >= fl->pace_at_us)
        fl->pace_at_us = 0;
    return cork || pace;
}

static void on_timer(struct wheel_timer *t, uint64_t wheel_now_us)
{
    struct tcp_conn *c = container_of(t, struct tcp_conn, timer);
    const uint64_t now_us = MAX(wheel_now_us, c->tcp->core->now_us);

    tcp_conn_enter(c);
    if (c->give_up_at_us != 0 && now_us >= c->give_up_at_us)
        on_give_up(c);
    else if (now_us >= user_timeout_at(c))
        timed_out(c);
    else if (c->rtx_at_us != 0 && now_us >= c->rtx_at_us)
        on_rtx(c);
    else if (has_waited(c, now_us))
        tcp_output(c, false);
    else if (now_us >= quiet_at(c))
        on_quiet(c);
    else if (now_us >= tcp_keepalive_at(c))
        on_keepalive(c);
    tcp_events(c);
    if (c->state != TCP_CLOSED)
        tcp_timer_arm(c);
    tcp_conn_leave(c);
}

void tcp_timer_init(struct tcp_conn *c)
{
    wheel_timer_init(&c->timer, on_timer);
}

void tcp_on_delayed_acks(struct wheel_timer *t, uint64_t wheel_now_us)
{
    struct tcp *tcp = container_of(t, struct tcp, delayed_ack_timer);
    const uint64_t now_us = MAX(wheel_now_us, tcp->core->now_us);

    while (!list_is_empty(&tcp->delayed_acks)) {
        struct tcp_conn *c = container_of(tcp->delayed_acks.next, struct tcp_conn, delayed_ack);

        const int32_t left_us = (int32_t)(c->delayed_at_us - (uint32_t)now_us);

        if (left_us > 0) {
            wheel_start(&tcp->core->wheel, t, now_us + (uint32_t)left_us);
            return;
        }
        list_remove(&c->delayed_ack);
        tcp->counters.delayed_acks++;
        c->ack_now = true;
        tcp_schedule(c);
    }
}
