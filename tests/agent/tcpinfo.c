#include "tests/agent/tcpinfo.h"

#include <linux/tcp.h>

#define INFINITE_SSTHRESH 0x7fffffff
#define INITIAL_RTO_US 1000000
#define INITIAL_WINDOW 10
#define DEFAULT_MSS 536
#define REORDERING 3
#define TS_LEN 12

uint32_t tcpinfo_size(void)
{
    return sizeof(struct tcp_info);
}

static uint32_t ms_ago(const struct sock *s, uint64_t then_us)
{
    return (uint32_t)((s->agent->core.now_us - then_us) / 1000);
}

static void fill_basic(const struct sock *s, struct tcp_info *to)
{
    const uint32_t window = s->agent->settings.tcp.initial_window;

    *to = (struct tcp_info){
        .tcpi_state = sock_state(s),
        .tcpi_rto = INITIAL_RTO_US,
        .tcpi_snd_mss = DEFAULT_MSS,
        .tcpi_snd_ssthresh = INFINITE_SSTHRESH,
        .tcpi_snd_cwnd = window != 0 ? window : INITIAL_WINDOW,
        .tcpi_reordering = REORDERING,
        .tcpi_max_pacing_rate = UINT64_MAX,
    };
    if (s->listener != NULL) {
        to->tcpi_unacked = s->n_queued;
        to->tcpi_sacked = s->backlog;
    }
}

static uint8_t options(const struct tcp_conn_info *i)
{
    return (uint8_t)((i->ts_on ? TCPI_OPT_TIMESTAMPS : 0) | (i->sack_on ? TCPI_OPT_SACK : 0) |
                     (i->wscale_on ? TCPI_OPT_WSCALE : 0) | (i->ecn_on ? TCPI_OPT_ECN : 0) |
                     (i->ecn_seen ? TCPI_OPT_ECN_SEEN : 0));
}

static void fill_path(const struct tcp_conn_info *i, struct tcp_info *to)
{
    to->tcpi_rto = i->rto_us;
    to->tcpi_rtt = i->srtt_us;
    to->tcpi_rttvar = i->rttvar_us;
    to->tcpi_min_rtt = i->min_rtt_us;
    to->tcpi_snd_mss = i->mss;
    to->tcpi_advmss = i->adv_mss - (i->ts_on ? TS_LEN : 0); /* as Linux, of payload */
    to->tcpi_rcv_mss = i->rcv_mss;
    to->tcpi_pmtu = i->path_mtu;
    to->tcpi_snd_wnd = i->snd_wnd;
    to->tcpi_snd_wscale = i->snd_shift;
    to->tcpi_rcv_wscale = i->rcv_shift;
    to->tcpi_pacing_rate = i->pacing_rate;
    to->tcpi_delivery_rate = i->delivery_rate;
    to->tcpi_delivery_rate_app_limited = i->delivery_app_limited;
    if (i->cwnd != 0 && i->mss != 0)
        to->tcpi_snd_cwnd = i->cwnd / i->mss;
    if (i->ssthresh != 0 && i->ssthresh < INFINITE_SSTHRESH && i->mss != 0)
        to->tcpi_snd_ssthresh = i->ssthresh / i->mss;
}

static void fill_packets(const struct tcp_conn_info *i, bool open, struct tcp_info *to)
{
    to->tcpi_ca_state = i->ca_state;
    to->tcpi_retransmits = i->retries;
    to->tcpi_probes = i->probes;
    to->tcpi_backoff = i->backoff;
    to->tcpi_unacked = i->unacked;
    to->tcpi_sacked = i->sacked;
    to->tcpi_lost = i->lost;
    to->tcpi_retrans = i->resent;
    to->tcpi_reordering = i->reordering;
    to->tcpi_total_retrans = i->total_resent;
    to->tcpi_dsack_dups = i->dsacks;
    to->tcpi_delivered = i->delivered + open; /* Linux: our SYN or SYN-ACK, too */
    to->tcpi_notsent_bytes = i->unsent;
}

/* Sequence numbers that are no bytes count on Linux. */
static void fill_bytes(const struct sock *s, const struct tcp_conn_info *i, bool open,
                       struct tcp_info *to)
{
    const uint8_t state = i->state_number;
    const bool fin_acked = state == STATE_FIN_WAIT2;

    to->tcpi_bytes_acked = i->bytes_acked + (open && s->active) + fin_acked;
    to->tcpi_bytes_received = i->bytes_in + s->fin_rcvd;
    to->tcpi_bytes_sent = i->bytes_out;
}

static void fill(const struct sock *s, struct tcp_info *to)
{
    struct tcp_conn_info i = s->last;
    bool open;

    fill_basic(s, to);
    if (s->conn != NULL)
        tcp_info(s->conn, &i);
    if (i.state_number == 0)
        return; /* there never was a connection */
    open = i.state_number != STATE_SYN_SENT && i.state_number != STATE_SYN_RECV;
    to->tcpi_options = options(&i);
    to->tcpi_ato = (uint32_t)s->agent->settings.tcp.delayed_ack_us;
    to->tcpi_last_data_sent = ms_ago(s, i.last_tx_us);
    to->tcpi_last_ack_recv = ms_ago(s, i.last_rx_us);
    to->tcpi_last_data_recv = ms_ago(s, s->data_us != 0 ? s->data_us : i.opened_us);
    to->tcpi_rcv_ssthresh = sock_opts_tuning(s).recv_buf;
    fill_path(&i, to);
    fill_packets(&i, open, to);
    fill_bytes(s, &i, open, to);
}

uint32_t tcpinfo_write(const struct sock *s, uint8_t *to, uint32_t len)
{
    struct tcp_info info;

    fill(s, &info);
    len = MIN(len, (uint32_t)sizeof(info));
    memcpy(to, &info, len);
    return len;
}
