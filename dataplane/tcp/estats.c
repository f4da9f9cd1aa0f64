#include "dataplane/tcp/estats.h"

#include "dataplane/tcp/rfc4898.h"
#include "dataplane/tcp/tcp_conn.h"

#include <assert.h>

#define ROW(group, key, rfc, text) { #group, #key, rfc, text },
const struct tcp_estats_row tcp_estats_rows[TCP_ESTATS_ROWS] = { TCP_ESTATS(ROW) };
_Static_assert(sizeof(struct tcp_estats_info) == TCP_ESTATS_ROWS * sizeof(uint64_t),
               "a value for each row");

/* ---- folding: a bit for every number that is not zero, then those numbers, seven bits a byte */

/* Their places in the bitmap. */
#define PLACE(type, name) PLACE_##name,
enum { TCP_ESTATS_KEPT(PLACE) FIELDS };

enum { BITMAP = (FIELDS + 7) / 8, NUMBER_MAX = 10, ALL_MAX = BITMAP + FIELDS * NUMBER_MAX };

static uint8_t *put_number(uint8_t *to, uint64_t n)
{
    for (; n >= 0x80; n >>= 7)
        *to++ = (uint8_t)(n | 0x80);
    *to++ = (uint8_t)n;
    return to;
}

static uint64_t take_number(const uint8_t **from)
{
    const uint8_t *at = *from;
    uint64_t n = *at & 0x7f;

    for (unsigned shift = 7; (*at++ & 0x80) != 0; shift += 7)
        n |= (uint64_t)(*at & 0x7f) << shift;
    *from = at;
    return n;
}

/* Written out for every field: at each end of a rest there are all of them to go through. */
#define FOLD(type, name)                                                                           \
    if (es->name != 0) {                                                                           \
        all[PLACE_##name / 8] |= (uint8_t)(1 << PLACE_##name % 8);                                 \
        at = put_number(at, es->name);                                                             \
    }

uint32_t tcp_estats_fold(const struct tcp_estats *es, uint8_t *to, uint32_t max)
{
    uint8_t all[ALL_MAX], *at = all + BITMAP;

    memset(all, 0, BITMAP);
    TCP_ESTATS_KEPT(FOLD)
    if ((uint32_t)(at - all) > max)
        return 0;
    memcpy(to, all, (size_t)(at - all));
    return (uint32_t)(at - all);
}

#define UNFOLD(type, name)                                                                         \
    if ((from[PLACE_##name / 8] >> PLACE_##name % 8 & 1) != 0)                                     \
        ret->name = (type)take_number(&at);

void tcp_estats_unfold(const uint8_t *from, struct tcp_estats *ret)
{
    const uint8_t *at = from + BITMAP;

    *ret = (struct tcp_estats){ 0 };
    TCP_ESTATS_KEPT(UNFOLD)
}

/* ---- where it is: awake, at rest, or not there */

/* c->rest: the place of its cell and, in the lowest bit, the size of it. */
static uint8_t *cell_at(const struct tcp *tcp, uint32_t rest)
{
    return slab_at(&tcp->rests[rest & 1], rest >> 1);
}

static uint8_t *cell_of(const struct tcp_conn *c)
{
    return cell_at(c->tcp, c->rest);
}

void tcp_estats_prefetch(const struct tcp_conn *c)
{
    __builtin_prefetch(c->es != NULL ? (const void *)c->es : cell_of(c));
}

void tcp_estats_prefetch_cell(const struct tcp *tcp, uint32_t rest)
{
    __builtin_prefetch(cell_at(tcp, rest));
}

static void free_cell(struct tcp_conn *c)
{
    slab_free(&c->tcp->rests[c->rest & 1], cell_of(c));
    c->rests = false;
    c->rest = 0;
}

static void take_early(const struct tcp_conn *c, struct tcp_estats *es)
{
    es->segs_in = c->early_in;
    es->segs_out = c->early_out;
    es->segs_retrans = c->early_resent;
}

void tcp_estats_copy(const struct tcp_conn *c, struct tcp_estats *ret)
{
    *ret = (struct tcp_estats){ 0 };
    if (c->es != NULL)
        *ret = *c->es;
    else if (c->rests)
        tcp_estats_unfold(cell_of(c), ret);
    else
        take_early(c, ret);
}

struct tcp_estats *tcp_estats_wake(struct tcp_conn *c)
{
    struct tcp_estats *es;

    if (c->es != NULL)
        return c->es;
    es = slab_alloc(&c->tcp->estats);
    assert(es != NULL); /* there is one for every connection */
    tcp_estats_copy(c, es);
    if (c->rests)
        free_cell(c);
    es->lim_since_us = c->tcp->core->now_us;
    es->recv_since_us = (uint32_t)c->opened_us; /* long ago */
    c->es = es;
    return es;
}

/* The smallest cell that holds it. */
void tcp_estats_rest(struct tcp_conn *c)
{
    static const uint32_t sizes[TCP_REST_SIZES] = { TCP_REST_SMALL, TCP_REST_LARGE };
    struct tcp_estats *es = c->es;
    uint8_t folded[TCP_REST_LARGE];
    const uint32_t len = tcp_estats_fold(es, folded, sizeof(folded));
    const uint32_t size = len > TCP_REST_SMALL;
    struct slab *s = &c->tcp->rests[size];
    uint8_t *cell;

    es->stays = len == 0;
    if (es->stays)
        return;
    cell = slab_alloc(s);
    assert(cell != NULL && sizes[size] >= len);
    memcpy(cell, folded, len);
    slab_free(&c->tcp->estats, es);
    c->es = NULL;
    c->rests = true;
    c->rest = slab_index(s, cell) << 1 | size;
}

void tcp_estats_put(struct tcp_conn *c)
{
    if (c->es != NULL)
        slab_free(&c->tcp->estats, c->es);
    if (c->rests)
        free_cell(c);
    c->es = NULL;
}

/* ---- counting */

/* Keepalives of a connection without data are all that can come here often. */
void tcp_estats_rcvd_slow(struct tcp_conn *c, uint32_t len)
{
    if (len == 0 && !c->rests) {
        c->early_in += c->early_in < TCP_EARLY_MAX;
        return;
    }
    (void)tcp_estats_wake(c);
    tcp_estats_rcvd(c, len);
}

void tcp_estats_sent_slow(struct tcp_conn *c, uint32_t len)
{
    if (len == 0 && !c->rests) {
        c->early_out += c->early_out < TCP_EARLY_MAX;
        return;
    }
    (void)tcp_estats_wake(c);
    tcp_estats_sent(c, len);
}

/* What has passed belongs to what limited until now; the sender's own time is what is left. */
static void account_time(const struct tcp_conn *c, struct tcp_estats *es, enum tcp_lim lim)
{
    const uint64_t now_us = c->tcp->core->now_us;

    if (lim == TCP_LIM_RWIN)
        es->lim_rwin_us += now_us - es->lim_since_us;
    else if (lim == TCP_LIM_CWND)
        es->lim_cwnd_us += now_us - es->lim_since_us;
    es->lim_since_us = now_us;
}

void tcp_estats_limit(struct tcp_conn *c, enum tcp_lim lim)
{
    struct tcp_estats *es = tcp_estats_wake(c);

    account_time(c, es, (enum tcp_lim)c->fl->lim);
    c->fl->lim = (uint8_t)lim;
    switch (lim) {
    case TCP_LIM_SND:
        es->lim_trans_snd++;
        return;
    case TCP_LIM_RWIN:
        es->lim_trans_rwin++;
        return;
    case TCP_LIM_CWND:
        es->lim_trans_cwnd++;
        return;
    }
}

/* ---- telling */

/* RFC 4022, tcpConnState. */
static uint64_t state_of(const struct tcp_conn *c)
{
    static const uint8_t numbers[] = {
        [TCP_CLOSED] = 1,     [TCP_SYN_SENT] = 3,   [TCP_SYN_RCVD] = 4,   [TCP_ESTABLISHED] = 5,
        [TCP_FIN_WAIT_1] = 6, [TCP_FIN_WAIT_2] = 7, [TCP_CLOSE_WAIT] = 8, [TCP_LAST_ACK] = 9,
        [TCP_CLOSING] = 10,   [TCP_TIME_WAIT] = 11,
    };

    return numbers[c->state];
}

static uint64_t waiting_in_holes(const struct tcp_conn *c)
{
    uint64_t bytes = 0;

    for (const struct pkt *p = c->holes != NULL ? c->holes->head : NULL; p != NULL; p = p->next)
        bytes += p->len;
    return bytes;
}

static void tell_perf(const struct tcp_conn *c, const struct tcp_conn_info *i,
                      const struct tcp_estats *es, struct tcp_estats_info *to)
{
    struct tcp_estats now = *es;

    if (c->fl != NULL)
        account_time(c, &now, (enum tcp_lim)c->fl->lim);
    to->segs_out = es->segs_out;
    to->data_segs_out = es->data_segs_out;
    to->data_octets_out = es->bytes_out + es->octets_retrans;
    to->segs_in = es->segs_in;
    to->data_segs_in = es->data_segs_in;
    to->data_octets_in = es->octets_in;
    to->segs_retrans = es->segs_retrans;
    to->octets_retrans = es->octets_retrans;
    to->elapsed_micro_secs = c->tcp->core->now_us - c->opened_us;
    to->cur_mss = c->mss;
    to->pipe_size = tcp_pipe(c);
    to->max_pipe_size = es->max_pipe;
    to->smoothed_rtt = i->srtt_us;
    to->cur_rto = i->rto_us;
    to->cong_signals = es->cong_signals;
    to->cur_cwnd = i->cwnd;
    to->cur_ssthresh = i->ssthresh;
    to->timeouts = es->timeouts;
    to->cur_rwin_sent = i->rcv_wnd;
    to->max_rwin_sent = es->max_rwin_sent;
    to->zero_rwin_sent = es->zero_rwin_sent;
    to->cur_rwin_rcvd = c->snd_wnd;
    to->max_rwin_rcvd = c->snd_wnd_max;
    to->zero_rwin_rcvd = es->zero_rwin_rcvd;
    to->snd_lim_trans_rwin = es->lim_trans_rwin;
    to->snd_lim_trans_cwnd = es->lim_trans_cwnd;
    to->snd_lim_trans_snd = es->lim_trans_snd;
    to->snd_lim_time_rwin = now.lim_rwin_us;
    to->snd_lim_time_cwnd = now.lim_cwnd_us;
    to->snd_lim_time_snd = to->elapsed_micro_secs - now.lim_rwin_us - now.lim_cwnd_us;
}

static void tell_path(const struct tcp_conn_info *i, const struct tcp_estats *es,
                      struct tcp_estats_info *to)
{
    to->retran_thresh = i->reordering;
    to->sample_rtt = es->sample_rtt_us;
    to->rtt_var = i->rttvar_us;
    to->max_rtt = es->max_rtt_us;
    to->min_rtt = es->min_rtt_us;
    to->sum_rtt = es->sum_rtt_us;
    to->count_rtt = es->count_rtt;
    to->max_rto = es->max_rto_us;
    to->min_rto = es->min_rto_us;
    to->pre_cong_sum_cwnd = es->pre_cong_sum_cwnd;
    to->pre_cong_sum_rtt = es->pre_cong_sum_rtt_us;
    to->dup_ack_episodes = es->dup_ack_episodes;
    to->dup_acks_out = es->dup_acks_out;
    to->ce_rcvd = es->ce_rcvd;
    to->ece_sent = es->ece_sent;
    to->ecn_signals = es->ecn_signals;
    to->rcv_rtt = es->recv_rtt_us;
}

static void tell_stack(const struct tcp_conn *c, const struct tcp_conn_info *i,
                       const struct tcp_estats *es, struct tcp_estats_info *to)
{
    to->active_open = c->active;
    to->mss_sent = i->adv_mss;
    to->mss_rcvd = c->peer_mss;
    to->win_scale_sent = c->rcv_shift;
    to->win_scale_rcvd = c->snd_shift;
    to->time_stamps = c->ts_on;
    to->ecn = c->ecn_on;
    to->will_send_sack = to->will_use_sack = c->sack_on;
    to->state = state_of(c);
    to->nagle = c->tuning->nagle;
    to->max_ss_cwnd = es->max_ss_cwnd;
    to->max_ca_cwnd = es->max_ca_cwnd;
    to->max_ssthresh = es->max_ssthresh;
    to->in_recovery = i->ca_state >= CA_RECOVERY;
    to->dup_acks_in = es->dup_acks_in;
    to->spurious_fr_detected = es->spurious_fr;
    to->spurious_rto_detected = es->spurious_rto;
    to->soft_errors = es->soft_errors;
    to->fast_retran = es->fast_retran;
    to->subsequent_timeouts = es->subsequent_timeouts;
    to->cur_timeout_count = c->backoff;
    to->sacks_rcvd = es->sacks_rcvd;
    to->sack_blocks_rcvd = es->sack_blocks_rcvd;
    to->dsack_dups = es->dsacks;
    to->cur_retx_queue = c->fl != NULL ? c->fl->out.bytes : 0;
    to->cur_reasm_queue = waiting_in_holes(c);
}

static void tell_app(const struct tcp_conn *c, const struct tcp_conn_info *i,
                     const struct tcp_estats *es, struct tcp_estats_info *to)
{
    to->snd_una = c->snd_una - c->iss;
    to->snd_nxt = to->snd_max = c->snd_nxt - c->iss;
    to->rcv_nxt = c->rcv_nxt - c->irs;
    to->thru_octets_acked = i->bytes_acked;
    to->thru_octets_received = es->bytes_in;
    to->cur_app_w_queue = i->unsent;
    to->max_app_w_queue = es->max_app_w_queue;
    to->cur_app_r_queue = i->recv_queue;
    to->max_app_r_queue = es->max_app_r_queue;
    to->lim_rwin = c->tuning->recv_buf_max;
}

void tcp_estats(const struct tcp_conn *c, struct tcp_estats_info *ret)
{
    struct tcp_conn_info i;
    struct tcp_estats es;

    *ret = (struct tcp_estats_info){ 0 };
    tcp_info(c, &i);
    tcp_estats_copy(c, &es);
    tell_perf(c, &i, &es, ret);
    tell_path(&i, &es, ret);
    tell_stack(c, &i, &es, ret);
    tell_app(c, &i, &es, ret);
}
