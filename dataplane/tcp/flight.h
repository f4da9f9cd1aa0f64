/*
 * flight.h - what one connection has sent, or is about to send, and what became of it
 *
 * struct tcp_flight exists only while there is something to send or to be
 * acknowledged, and some seconds longer: an idle connection does without, and keeps
 * its window and its round trip time in struct tcp_conn.
 *
 *      snd_una                          snd_nxt            snd_end
 *   ------|--p--|--p--|--p--|--p--|--p--|--p--|--p--|--p--|(FIN)
 *         head    S     L     L R         next              tail
 *
 * The queue holds one packet for one segment, in order. A packet that has become too
 * large for a segment (a narrower path, a small window) is split in two for good.
 * A FIN is a mark on the last packet, or an empty packet of its own. A packet leaves the queue
 * when it is acknowledged, and its memory is free once the port has returned it, too.
 *
 * Marks of what has been sent are the scoreboard (RFC 6675), and what is in the network
 * follows from them at any time:
 *
 *   pipe = (snd_nxt - snd_una) - sacked - lost + resent
 *
 * ->by_time links what is in flight and not known to be lost or there, in the order
 * of (re)transmission, so that RACK (RFC 8985) looks only at packets whose time has
 * come. No step here takes longer than what it removes, but for SACK blocks: a
 * block is searched for from where the last one was found, if it is beyond that.
 */
#pragma once

#include "dataplane/base/pkt.h"
#include "dataplane/tcp/cc.h"
#include "dataplane/tcp/opts.h"

#include <stdbool.h>
#include <stdint.h>

struct tcp_conn;

/* struct pkt, ->marks */
enum tcp_mark {
    MARK_SENT = 1 << 0,
    MARK_SACKED = 1 << 1, /* the peer has it */
    MARK_LOST = 1 << 2,
    MARK_RESENT = 1 << 3,      /* since it was lost, and that copy may still come */
    MARK_EVER_RESENT = 1 << 4, /* its round trip is ambiguous (Karn) */
    MARK_FIN = 1 << 5,
    MARK_APP_LIMITED = 1 << 6, /* at that time there was no more to send */
};

/* Where the repair of losses stands; the values are those of Linux' tcpi_ca_state. */
enum tcp_ca_state {
    CA_OPEN = 0,
    CA_DISORDER = 1, /* something is missing, maybe only late */
    CA_CWR = 2,      /* congestion without loss: the window is coming down */
    CA_RECOVERY = 3,
    CA_LOSS = 4, /* after a timeout */
};

/* Some bytes, and the packets they are in. */
struct tally {
    uint32_t bytes, pkts;
};

struct tcp_flight {
    struct pkt *head, *tail;
    struct pkt *next;      /* first that was never sent; NULL: none */
    struct pkt *lost_hint; /* no packet before it waits to be sent again; NULL: none does */
    struct pkt *sack_hint; /* first behind the highest that was selectively acknowledged */
    struct list by_time;
    struct tally out, sacked, lost, resent;
    struct cc cc;

    /* recovery.c */
    uint8_t state; /* enum tcp_ca_state */
    uint8_t dup_acks;
    uint8_t lim, lim_next; /* enum tcp_lim: what limits now (estats.h), and after this output */
    bool frto : 1;         /* the timeout may have been a mistake (RFC 5682) */
    bool undo_on : 1;      /* ->undo_una counts */
    bool reordering_seen : 1;
    bool tlp_on : 1;       /* ->tlp_end counts */
    bool tlp_resent : 1;   /* the probe was a retransmission */
    bool cwnd_limited : 1; /* the window was all used since ->limited_end */
    bool dsack_seen : 1;   /* in this round */
    bool cwr_owed : 1;     /* ECN: tell the peer that its echo was heard */
    bool resent_ts_on : 1;
    bool dup_run : 1;    /* the last ACK was a duplicate */
    uint8_t reo_steps;   /* RACK: quarters of the round trip that reordering may take */
    uint8_t reo_persist; /* recoveries until that is forgotten */
    uint32_t high;       /* snd_nxt when this state was entered */
    uint32_t fack;       /* end of the highest segment that was delivered */
    uint32_t reordering; /* how far one has come too late, in packets, at most */
    uint32_t prior_cwnd, prior_ssthresh;
    uint32_t undo_una;   /* snd_una when the window was cut */
    int32_t undo_resent; /* retransmissions of this episode that have not been proven needless */
    uint32_t resent_ts;  /* our timestamp in the first of them, if ->resent_ts_on */
    uint32_t prr_delivered, prr_out;
    uint32_t tlp_end;
    uint32_t dsack_round; /* snd_nxt at the last one */
    uint32_t rack_sent_us, rack_end, rack_rtt_us;
    uint32_t late_us; /* RACK: how much longer than that one took which came after others */
    uint32_t min_rtt_us, min_rtt_at_s;
    uint32_t max_flight, limited_end; /* most in flight since then */

    /* output.c */
    uint32_t small_end;  /* of the last segment that was not whole */
    uint32_t rtx_ts;     /* our timestamp in the last retransmission */
    uint64_t stalled_us; /* since when nothing that is sent, or waits for a window, is acknowledged
                          */
    uint64_t corked_us;  /* since when a part of a segment waits for the rest; 0: none does */

    /* rate.c */
    uint32_t delivered, delivered_us, first_sent_us; /* bytes; low bits of the clock */
    uint32_t delivered_pkts;
    uint32_t app_limited; /* ->delivered at which the sample is good again; 0: it is */
    uint32_t rate_bytes, rate_us;
    uint32_t pace_gap_us; /* what the last one takes */
    uint64_t pace_at_us;  /* when what was sent is through at the pace; 0: nothing is held back */
};

/* What one ACK has told. */
struct tcp_news {
    uint32_t acked, sacked; /* bytes, newly so; an ACK may acknowledge what a block had before */
    uint32_t delivered;     /* bytes of which that was not known */
    uint32_t lost;          /* bytes, newly held for lost */
    uint32_t rtt_us, sack_rtt_us; /* of what was sent once only; 0: none */
    bool advanced;                /* snd_una has moved */
    bool dsack;                   /* something has come twice */
    bool original; /* delivered, and never sent again, of what was out before ->high */
    bool dup;      /* a duplicate ACK (RFC 5681, 2) */
    bool ece;      /* the network marks */
    bool waiting;  /* RACK's timer was started: the others have to wait */
    uint32_t prior_fack;
    bool has_tsecr;
    uint32_t tsecr;
    /* of the packet sent last among those delivered, for the rate */
    bool has_rate;
    uint32_t prior_delivered, prior_us, sent_span_us, sent_us;
    bool app_limited;
};

/* The flight of @c, made if need be. */
struct tcp_flight *tcp_flight_get(struct tcp_conn *c);

/* Frees every packet, and the struct; what is worth keeping stays in @c. */
void tcp_flight_put(struct tcp_conn *c);

/* Payload, and the FIN. */
static inline uint32_t tcp_pkt_span(const struct pkt *p)
{
    return p->pay_len + (uint32_t)((p->marks & MARK_FIN) != 0);
}

static inline uint32_t tcp_pkt_end(const struct pkt *p)
{
    return p->seq + tcp_pkt_span(p);
}

/* What is in the network, as far as anybody can know. */
static inline uint32_t tcp_flight_pipe(const struct tcp_flight *fl)
{
    /* Without SACK, what duplicate ACKs stand for is a guess, and may be more than there is. */
    const uint32_t gone = fl->sacked.bytes + fl->lost.bytes;

    return (fl->out.bytes > gone ? fl->out.bytes - gone : 0) + fl->resent.bytes;
}
uint32_t tcp_pipe(const struct tcp_conn *c);

/* Appends @p, which holds payload, to the queue. */
void tcp_flight_queue(struct tcp_conn *c, struct pkt *p);

/* Makes two of @p, the first of @len bytes. False: no memory. */
bool tcp_flight_split(struct tcp_conn *c, struct pkt *p, uint32_t len);

/* A FIN behind what is queued: true once it has its place. */
bool tcp_flight_fin(struct tcp_conn *c);

/* @p leaves now, for the first time or again. */
void tcp_flight_sent(struct tcp_conn *c, struct pkt *p);

/* Everything before @ack has arrived. */
void tcp_flight_acked(struct tcp_conn *c, uint32_t ack, struct tcp_news *news);

/* SACK blocks of a segment that acknowledges @ack. */
void tcp_flight_sacked(struct tcp_conn *c, const struct tcp_opts *o, uint32_t ack,
                       struct tcp_news *news);

void tcp_flight_mark_lost(struct tcp_conn *c, struct pkt *p);

/* The first packet that is lost and was not sent again; NULL: none. */
struct pkt *tcp_flight_next_lost(struct tcp_conn *c);

/* The peer has thrown away what it had acknowledged selectively (RFC 2018, 8). */
void tcp_flight_renege(struct tcp_conn *c);

/* ---- rate.c: how fast the path delivers, and pacing */
void tcp_rate_sent(struct tcp_conn *c, struct pkt *p);
void tcp_rate_delivered(struct tcp_conn *c, const struct pkt *p, struct tcp_news *news);
void tcp_rate_sample(struct tcp_conn *c, const struct tcp_news *news);

/* Bytes a second at which the window would be sent evenly; 0: not known, or not worth it. */
uint64_t tcp_pacing_rate(const struct tcp_conn *c);

/* When the next segment may leave, and may it now? */
uint64_t tcp_pace_at(const struct tcp_conn *c);
bool tcp_pace_pass(const struct tcp_conn *c, uint64_t now_us);
void tcp_pace_sent(struct tcp_conn *c, uint32_t bytes);

/* ---- recovery.c: from what has arrived to what is lost, and to the window */

/* Duplicate ACKs, RACK, undo, PRR and the window, after the marks are set. */
void tcp_recovery_on_ack(struct tcp_conn *c, struct tcp_news *news);

/* The path takes less than was thought: what is too large for it is lost, without being
 * congestion. */
void tcp_recovery_on_narrower_path(struct tcp_conn *c);

/* RACK's timer: what was only late before may be lost now. */
void tcp_recovery_on_reorder_timer(struct tcp_conn *c);

/* The retransmission timer: everything may be lost. */
void tcp_recovery_on_timeout(struct tcp_conn *c);

/* A tail loss probe is due (RFC 8985, 7.3): sends it. */
void tcp_recovery_on_probe_timer(struct tcp_conn *c);

/* How long until a tail loss probe; 0: there is to be none. */
uint64_t tcp_recovery_probe_us(const struct tcp_conn *c);
