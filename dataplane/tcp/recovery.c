#include "dataplane/tcp/tcp_conn.h"

/*
 * OPEN, DISORDER, CWR, RECOVERY and LOSS are the states that RFC 6675 and its
 * successors imply, and that Linux names:
 *
 *                 something is missing                 it is lost
 *      OPEN  ---------------------------> DISORDER -----------------> RECOVERY
 *       ^  \                                  |                           |
 *       |   `--- the network marks (ECN) ---> CWR ----------------------->|
 *       |                                     |                           |
 *       +---- everything that was out then has arrived, or it was a mistake (undo)
 *       ^
 *       +------------------------------------ LOSS <---- a timeout, from anywhere
 *
 * What is lost is found by time (RACK, RFC 8985); without SACK by three duplicate ACKs
 * (RFC 6582). While the window comes down, in CWR and RECOVERY, it follows
 * proportional rate reduction (RFC 6937). A cut that turns out to be a mistake is taken
 * back: by timestamps (Eifel, RFC 3522 and 4015), by D-SACK (RFC 3708), or because
 * after a timeout an original arrives (F-RTO, RFC 5682).
 */

#define TLP_DELAYED_ACK_US 200000 /* RFC 8985, 7.2: a lone segment's ACK may be held back */
#define TLP_MIN_US 2000

static bool is_reducing(const struct tcp_flight *fl)
{
    return fl->state == CA_CWR || fl->state == CA_RECOVERY;
}

static const struct cc_ops *ops_of(const struct tcp_conn *c)
{
    return cc_algorithms[c->tuning->cc];
}

/* ---- what is counted and recorded of it */

static void note_congestion(struct tcp_conn *c)
{
    struct tcp_estats *es = c->es;

    es->cong_signals++;
    es->pre_cong_sum_cwnd += c->fl->cc.cwnd;
    es->pre_cong_sum_rtt_us += es->sample_rtt_us;
}

static void note_ssthresh(struct tcp_conn *c)
{
    c->es->max_ssthresh = MAX(c->es->max_ssthresh, c->fl->cc.ssthresh);
}

static void note_cwnd(struct tcp_conn *c)
{
    const struct cc *cc = &c->fl->cc;
    struct tcp_estats *es = c->es;

    if (cc->cwnd < cc->ssthresh)
        es->max_ss_cwnd = MAX(es->max_ss_cwnd, cc->cwnd);
    else
        es->max_ca_cwnd = MAX(es->max_ca_cwnd, cc->cwnd);
}

static void note_undo(struct tcp_conn *c)
{
    const struct tcp_flight *fl = c->fl;
    uint16_t *n = fl->state == CA_LOSS ? &c->es->spurious_rto : &c->es->spurious_fr;

    *n += *n < UINT16_MAX;
    tcp_record(c, TCP_RECORD_UNDO, .seq = fl->cc.cwnd, .ack = fl->cc.ssthresh);
}

/* The end of an episode, in which losses were repaired, is what a flight recorder is for. */
static void note_state(struct tcp_conn *c, uint8_t before)
{
    const struct tcp_flight *fl = c->fl;

    if (likely(fl->state == before))
        return;
    tcp_record(c, TCP_RECORD_REPAIR, .mark = before, .len = fl->state, .seq = fl->cc.cwnd,
               .ack = fl->cc.ssthresh, .wnd = tcp_pipe(c));
    if (before >= CA_RECOVERY && fl->state < CA_RECOVERY)
        tcp_recorder_keep(c, TCP_LOG_REPAIRED);
}

/* ---- the window comes down, and may go up again */

static void start_reduction(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    fl->high = c->snd_nxt;
    fl->tlp_on = false;
    fl->prior_cwnd = fl->cc.cwnd;
    fl->prr_delivered = fl->prr_out = 0;
    note_congestion(c);
    ops_of(c)->on_congestion(&fl->cc, c->mss);
    note_ssthresh(c);
    fl->cwr_owed = c->ecn_on;
}

static void end_reduction(struct tcp_flight *fl)
{
    if (fl->state == CA_CWR || fl->undo_on)
        fl->cc.cwnd = fl->cc.ssthresh;
}

static uint32_t ssthresh_now(const struct tcp_flight *fl)
{
    return is_reducing(fl) ? fl->cc.ssthresh : MAX(fl->cc.ssthresh, fl->cc.cwnd / 4 * 3);
}

static void start_undo(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    fl->undo_on = true;
    fl->undo_una = c->snd_una;
    fl->undo_resent = fl->resent.pkts > 0 ? (int32_t)fl->resent.pkts : -1; /* -1: none so far */
}

/* RFC 3522: what it echoes was sent before the first retransmission. */
static bool is_eifel(const struct tcp_flight *fl, const struct tcp_news *news)
{
    return fl->resent_ts_on && news->has_tsecr && (int32_t)(news->tsecr - fl->resent_ts) < 0;
}

static bool may_undo(const struct tcp_flight *fl, const struct tcp_news *news)
{
    return fl->undo_on && (fl->undo_resent == 0 || is_eifel(fl, news));
}

static void undo_window(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    fl->cc.cwnd = MAX(fl->cc.cwnd, fl->prior_cwnd);
    if (fl->prior_ssthresh > fl->cc.ssthresh) {
        fl->cc.ssthresh = fl->prior_ssthresh;
        fl->cwr_owed = false;
    }
    ops_of(c)->on_undo(&fl->cc);
    fl->undo_on = false;
    c->tcp->counters.undone++;
    note_undo(c);
}

/* What was held for lost is in flight after all. Both lists are in order of time: so is the sum. */
static void revive(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    struct list *at = fl->by_time.next;

    for (struct pkt *p = fl->head; p != NULL && p != fl->next; p = p->next) {
        if ((p->marks & MARK_LOST) == 0)
            continue;
        p->marks &= (uint8_t)~MARK_LOST;
        if (list_is_linked(&p->by_time))
            continue; /* its second copy is on its way */
        while (at != &fl->by_time &&
               (int32_t)(container_of(at, struct pkt, by_time)->sent_us - p->sent_us) <= 0)
            at = at->next;
        list_push_tail(at, &p->by_time); /* in front of @at */
    }
    fl->lost = (struct tally){ 0, 0 };
    fl->lost_hint = NULL;
}

static bool is_clean(const struct tcp_flight *fl)
{
    return fl->sacked.pkts == 0 && fl->lost.pkts == 0 && fl->resent.pkts == 0;
}

static void settle(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    const uint8_t state = is_clean(fl) ? CA_OPEN : CA_DISORDER;

    if (fl->resent.pkts == 0)
        fl->resent_ts_on = false;
    if (fl->state != state) {
        fl->state = state;
        fl->high = c->snd_nxt;
    }
}

static void enter_cwr(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    c->tcp->counters.ecn_reduced++;
    c->es->ecn_signals += c->es->ecn_signals < UINT16_MAX;
    fl->prior_ssthresh = 0;
    fl->undo_on = false;
    start_reduction(c);
    fl->state = CA_CWR;
}

static void enter_recovery(struct tcp_conn *c, bool ece)
{
    struct tcp_flight *fl = c->fl;

    c->tcp->counters.fast_retrans++;
    c->es->fast_retran++;
    fl->prior_ssthresh = 0;
    start_undo(c);
    if (!is_reducing(fl)) {
        if (!ece)
            fl->prior_ssthresh = ssthresh_now(fl);
        start_reduction(c);
    }
    fl->state = CA_RECOVERY;
}

/* RFC 6937, with the reduction bound of slow start; @acked: also selectively. */
static void reduce(struct tcp_conn *c, uint32_t acked, uint32_t lost, bool advanced)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t pipe = tcp_pipe(c), goal = fl->cc.ssthresh;
    int64_t send;

    if (acked == 0 || fl->prior_cwnd == 0)
        return;
    fl->prr_delivered += acked;
    if (pipe > goal) {
        send =
            (int64_t)(((uint64_t)goal * fl->prr_delivered + fl->prior_cwnd - 1) / fl->prior_cwnd) -
            fl->prr_out;
    } else {
        send = MAX((int64_t)fl->prr_delivered - fl->prr_out, (int64_t)acked);
        if (advanced && lost == 0)
            send += c->mss;
        send = MIN(send, (int64_t)goal - pipe);
    }
    /* The first retransmission goes at once. */
    send = MAX(send, fl->prr_out > 0 ? 0 : (int64_t)c->mss);
    fl->cc.cwnd = pipe + (uint32_t)send;
}

/* ---- what is lost */

static uint32_t reorder_window_us(const struct tcp_conn *c)
{
    const struct tcp_flight *fl = c->fl;

    if (!fl->reordering_seen &&
        (fl->state == CA_RECOVERY || fl->state == CA_LOSS || fl->sacked.pkts >= TCP_DUP_ACKS))
        return 0;
    if (fl->min_rtt_us == UINT32_MAX)
        return 0;
    /* What has been seen is believed beyond a round trip, too, where round trips differ much. */
    return MAX(MIN(fl->min_rtt_us / 4 * fl->reo_steps, c->rtt.srtt_us),
               MIN(fl->late_us, c->rtt.srtt_us + 2 * c->rtt.var_us));
}

/* RFC 8985, 6.2, step 5. Returns how long until there is more to be said; 0: nothing to wait for.
 */
static uint32_t rack_detect(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t patience = fl->rack_rtt_us + reorder_window_us(c);
    const uint32_t now = (uint32_t)c->tcp->core->now_us;
    struct list *pos, *tmp;

    if (fl->rack_rtt_us == 0)
        return 0;
    list_for_each_safe(pos, tmp, &fl->by_time)
    {
        struct pkt *p = container_of(pos, struct pkt, by_time);
        const int32_t later = (int32_t)(p->sent_us - fl->rack_sent_us);
        int32_t left;

        if (later > 0 || (later == 0 && seq_ge(tcp_pkt_end(p), fl->rack_end)))
            return 0; /* it was sent after the last that has arrived: so were all behind it */
        left = (int32_t)(p->sent_us + patience - now);
        if (left > 0)
            return (uint32_t)left;
        tcp_flight_mark_lost(c, p);
    }
    return 0;
}

/* Without SACK: the third duplicate, or a partial ACK, is about the first segment. */
static void newreno_detect(struct tcp_conn *c, bool advanced)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *p = fl->head;

    if (p == NULL || (p->marks & MARK_SENT) == 0 || (p->marks & MARK_LOST) != 0)
        return;
    if ((fl->state < CA_RECOVERY && fl->dup_acks >= TCP_DUP_ACKS) ||
        (fl->state == CA_RECOVERY && advanced))
        tcp_flight_mark_lost(c, p);
}

static void detect(struct tcp_conn *c, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t before = fl->lost.bytes, resent = fl->resent.bytes;
    uint32_t wait_us;

    if (fl->out.pkts == 0)
        return;
    if (!c->sack_on) {
        newreno_detect(c, news->advanced);
    } else {
        wait_us = rack_detect(c);
        if (wait_us > 0)
            tcp_rtx_start(c, RTX_REORDER, wait_us);
        news->waiting = wait_us > 0;
    }
    news->lost += fl->lost.bytes - before + (resent - MIN(resent, fl->resent.bytes));
}

/* ---- duplicate ACKs stand for segments that have left the network, where there is no SACK */

static void add_dup(struct tcp_conn *c, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    news->delivered = c->mss;
    if (fl->sacked.pkts + fl->lost.pkts >= fl->out.pkts)
        return;
    fl->dup_acks += fl->dup_acks < UINT8_MAX;
    fl->sacked.pkts++;
    fl->sacked.bytes += c->mss;
}

/* An ACK takes along what the duplicates before it stood for, but for the one that was missing. */
static void drop_dups(struct tcp_conn *c, uint32_t acked)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t pkts = (acked + c->mss - 1) / c->mss;

    if (acked == 0 || pkts - 1 >= fl->sacked.pkts) {
        fl->sacked = (struct tally){ 0, 0 };
    } else {
        fl->sacked.pkts -= pkts - 1;
        fl->sacked.bytes = fl->sacked.pkts * c->mss;
    }
    fl->dup_acks = (uint8_t)MIN(fl->sacked.pkts, UINT8_MAX);
}

/* ---- an ACK, state by state */

/* Everything that was out when the window was cut has arrived. True: stay in the state. */
static bool finish_recovery(struct tcp_conn *c, const struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    if (may_undo(fl, news))
        undo_window(c);
    if (c->snd_una == fl->high && !c->sack_on) {
        /* Echoes of retransmissions may still come: they must not begin another one (RFC 6582). */
        if (fl->resent.pkts == 0)
            fl->resent_ts_on = false;
        return true;
    }
    end_reduction(fl);
    fl->state = CA_OPEN;
    if (fl->reo_persist > 0 && --fl->reo_persist == 0) {
        fl->reo_steps = 1;
        fl->late_us = 0;
    }
    return false;
}

/* D-SACKs have shown that every retransmission was needless. */
static bool undo_by_dsack(struct tcp_conn *c, const struct tcp_news *news)
{
    const struct tcp_flight *fl = c->fl;

    if (!news->dsack || !fl->undo_on || fl->undo_resent != 0)
        return false;
    undo_window(c);
    return true;
}

/* An ACK of the first copy: the retransmission was not needed. True: nothing more is to be lost. */
static bool undo_partial(struct tcp_conn *c, const struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    if (!fl->undo_on || !is_eifel(fl, news))
        return false;
    if (fl->resent.pkts > 0)
        return true; /* wait for what is still out before the verdict */
    revive(c);
    undo_window(c);
    settle(c);
    return true;
}

static bool undo_loss(struct tcp_conn *c, const struct tcp_news *news, bool proven)
{
    struct tcp_flight *fl = c->fl;

    if (!proven && !may_undo(fl, news))
        return false;
    revive(c);
    undo_window(c);
    c->retries = c->backoff = 0;
    fl->frto = false;
    if (proven || c->sack_on)
        fl->state = CA_OPEN;
    if (proven)
        c->tcp->counters.spurious_timeouts++;
    return true;
}

/* RFC 5682, 3.1, in the form that needs no second timeout. True: nothing more is to be done. */
static bool frto_on_ack(struct tcp_conn *c, const struct tcp_news *news, bool recovered)
{
    struct tcp_flight *fl = c->fl;

    if (news->original && undo_loss(c, news, true))
        return true;
    if (seq_gt(c->snd_nxt, fl->high)) {
        if (news->dup || news->sacked > 0)
            fl->frto = false; /* step 3a: the loss is real */
    } else if (news->advanced && !recovered) {
        fl->high = c->snd_nxt;
        if (fl->next != NULL && seq_gt(c->snd_una + c->snd_wnd, c->snd_nxt)) {
            c->new_first = true; /* step 2b: new data tells more than another retransmission */
            return true;
        }
        fl->frto = false;
    }
    return false;
}

static void on_ack_in_loss(struct tcp_conn *c, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    const bool recovered = seq_ge(c->snd_una, fl->high);

    if (news->advanced && undo_loss(c, news, false))
        return;
    if (fl->frto && frto_on_ack(c, news, recovered))
        return;
    if (recovered) {
        if (!c->sack_on)
            drop_dups(c, 0);
        if (!finish_recovery(c, news))
            settle(c);
        return;
    }
    if (!c->sack_on) {
        if (seq_gt(c->snd_nxt, fl->high) && news->dup)
            add_dup(c, news);
        else if (news->advanced)
            drop_dups(c, 0);
    }
    detect(c, news);
}

static void on_ack_in_recovery(struct tcp_conn *c, struct tcp_news *news)
{
    if (!c->sack_on && news->dup)
        add_dup(c, news);
    if (news->advanced) {
        if (!c->sack_on)
            drop_dups(c, news->acked);
        if (undo_partial(c, news))
            return;
    }
    if (undo_by_dsack(c, news)) {
        settle(c);
        return;
    }
    detect(c, news);
}

static void on_ack_in_order(struct tcp_conn *c, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    if (!c->sack_on) {
        if (news->advanced)
            drop_dups(c, 0);
        else if (news->dup)
            add_dup(c, news);
    }
    if (fl->state <= CA_DISORDER)
        undo_by_dsack(c, news);
    detect(c, news);
    if (fl->lost.pkts > 0) {
        enter_recovery(c, news->ece);
        return;
    }
    if (news->ece && fl->state != CA_CWR)
        enter_cwr(c);
    if (fl->state != CA_CWR)
        settle(c);
}

/* The end of CWR or RECOVERY. True: the ACK says nothing beyond that. */
static bool is_over(struct tcp_conn *c, const struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    if (seq_lt(c->snd_una, fl->high))
        return false;
    if (fl->state == CA_CWR) {
        /* A little more than that, so that the CWR bit has had the time to arrive. */
        if (c->snd_una != fl->high) {
            end_reduction(fl);
            fl->state = CA_OPEN;
        }
    } else if (fl->state == CA_RECOVERY) {
        if (!c->sack_on)
            drop_dups(c, 0);
        return finish_recovery(c, news);
    }
    return false;
}

/* RFC 8985, 7.4: has the probe repaired a loss, or was there none? */
static void probe_answered(struct tcp_conn *c, const struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    if (!fl->tlp_on || seq_lt(c->snd_una, fl->tlp_end))
        return;
    if (!fl->tlp_resent || news->dsack || fl->state == CA_RECOVERY) {
        fl->tlp_on = false;
    } else if (seq_gt(c->snd_una, fl->tlp_end)) {
        start_reduction(c);
        fl->state = CA_CWR;
        fl->undo_on = false;
        end_reduction(fl);
        fl->state = CA_OPEN;
        settle(c);
        c->tcp->counters.tlp_repaired++;
    } else if (news->dup) {
        fl->tlp_on = false;
    }
}

/* The window grows if it was what held us back, and nothing is wrong. */
static void control(struct tcp_conn *c, struct tcp_news *news, bool limited)
{
    struct tcp_flight *fl = c->fl;
    const struct cc_ack a = { .now_us = c->tcp->core->now_us,
                              .acked = news->delivered,
                              .mss = c->mss,
                              .rtt_us = c->rtt.srtt_us };

    if (is_reducing(fl)) {
        reduce(c, news->delivered, news->lost, news->advanced);
        return;
    }
    /* Where much comes out of order, what arrives is told by blocks as well as by ACKs. */
    if (limited && (news->advanced || (news->delivered > 0 && fl->reordering > TCP_DUP_ACKS)))
        ops_of(c)->on_ack(&fl->cc, &a);
    note_cwnd(c);
}

/* In slow start the window may be twice what is used: the burst it allows has been acknowledged. */
static bool is_limited(const struct tcp_flight *fl)
{
    if (fl->cc.cwnd < fl->cc.ssthresh)
        return fl->cc.cwnd < 2 * fl->max_flight;
    return fl->cwnd_limited;
}

void tcp_recovery_on_ack(struct tcp_conn *c, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    const bool limited = is_limited(fl);
    const uint8_t before = fl->state;

    probe_answered(c, news);
    if (news->ece)
        fl->prior_ssthresh = 0;
    if (fl->state == CA_OPEN)
        fl->resent_ts_on = fl->resent_ts_on && fl->resent.pkts > 0;
    if (!is_over(c, news)) {
        switch ((enum tcp_ca_state)fl->state) {
        case CA_LOSS:
            on_ack_in_loss(c, news);
            break;
        case CA_RECOVERY:
            on_ack_in_recovery(c, news);
            break;
        case CA_OPEN:
        case CA_DISORDER:
        case CA_CWR:
            on_ack_in_order(c, news);
            break;
        }
    }
    control(c, news, limited);
    note_state(c, before);
}

/* ---- timers */

void tcp_recovery_on_reorder_timer(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    struct tcp_news news = { 0 };
    const uint8_t before = fl->state;

    detect(c, &news);
    if (news.lost == 0)
        return;
    if (fl->state != CA_RECOVERY && fl->state != CA_LOSS) {
        enter_recovery(c, false);
        reduce(c, c->mss, news.lost, false);
    }
    note_state(c, before);
}

/* RFC 6298, 5.4, with RFC 8985: what was sent so lately that its ACK may still come is left. */
static void mark_all_lost(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t patience = fl->rack_rtt_us + reorder_window_us(c);
    const uint32_t now = (uint32_t)c->tcp->core->now_us;
    struct list *pos, *tmp;

    if ((fl->head->marks & MARK_SACKED) != 0)
        tcp_flight_renege(c);
    if (!c->sack_on)
        drop_dups(c, 0);
    list_for_each_safe(pos, tmp, &fl->by_time)
    {
        struct pkt *p = container_of(pos, struct pkt, by_time);

        if (p == fl->head || !c->sack_on || fl->rack_rtt_us == 0 ||
            (int32_t)(p->sent_us + patience - now) <= 0)
            tcp_flight_mark_lost(c, p);
    }
}

void tcp_recovery_on_timeout(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    const bool fresh = fl->state < CA_RECOVERY;
    const uint8_t before = fl->state;

    fl->tlp_on = false;
    if (fl->state <= CA_DISORDER || seq_ge(c->snd_una, fl->high) ||
        (fl->state == CA_LOSS && c->retries <= 1)) {
        fl->prior_ssthresh = ssthresh_now(fl);
        fl->prior_cwnd = fl->cc.cwnd;
        note_congestion(c);
        ops_of(c)->on_congestion(&fl->cc, c->mss);
        note_ssthresh(c);
        start_undo(c);
    }
    mark_all_lost(c);
    ops_of(c)->on_timeout(&fl->cc);
    fl->cc.cwnd = tcp_pipe(c) + c->mss;
    fl->frto = fresh || c->retries > 1;
    fl->state = CA_LOSS;
    fl->high = c->snd_nxt;
    fl->cwr_owed = c->ecn_on;
    fl->pace_at_us = 0;
    note_state(c, before);
}

void tcp_recovery_on_narrower_path(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    uint8_t before;

    if (fl == NULL || fl->out.pkts == 0)
        return;
    if (!c->sack_on)
        drop_dups(c, 0);
    for (struct pkt *p = fl->head; p != NULL && p != fl->next; p = p->next)
        if (p->pay_len > c->mss)
            tcp_flight_mark_lost(c, p);
    if (fl->lost.pkts == 0 || fl->state == CA_LOSS)
        return;
    fl->high = c->snd_nxt;
    fl->cc.ssthresh = ssthresh_now(fl);
    fl->prior_ssthresh = 0;
    fl->undo_on = false;
    before = fl->state;
    fl->state = CA_LOSS;
    note_state(c, before);
}

uint64_t tcp_recovery_probe_us(const struct tcp_conn *c)
{
    const struct tcp_flight *fl = c->fl;
    uint64_t us;

    if (!c->sack_on || list_is_empty(&fl->by_time) || fl->tlp_on || c->backoff > 0 ||
        (fl->state != CA_OPEN && fl->state != CA_CWR && fl->state != CA_RECOVERY))
        return 0;
    if (c->rtt.srtt_us == 0)
        return 0;
    us = 2 * (uint64_t)c->rtt.srtt_us;
    us += fl->out.pkts == 1 ? TLP_DELAYED_ACK_US : TLP_MIN_US;
    return MIN(us, rtt_backed_off(&c->rtt, 0));
}

void tcp_recovery_on_probe_timer(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    bool sent;

    c->tcp->counters.tlp_probes++;
    sent = tcp_send_new(c);
    fl->tlp_resent = !sent;
    /* Two full segments are acknowledged at once, one may wait for a second (RFC 1122, 4.2.3.2). */
    if (sent)
        (void)tcp_send_new(c);
    else
        sent = tcp_resend_last(c);
    if (sent) {
        fl->tlp_on = true;
        fl->tlp_end = c->snd_nxt;
    }
}
