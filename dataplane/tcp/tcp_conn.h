/*
 * tcp_conn.h - struct tcp and what it is made of, for the files of this folder
 *
 * A connection passes through four structs, each in the flow table under the
 * same key: struct tcp_half from a SYN to the handshake's last ACK, struct
 * tcp_conn while somebody owns it, struct tcp_parked while its owner expects
 * nothing of it, struct tcp_tw for the two minutes' silence (RFC 9293, 3.6.1).
 * Strangers who send SYNs, peers who say nothing and peers who have gone cost
 * the small ones.
 *
 * What is sent and not yet acknowledged is in a struct tcp_flight (flight.h), what has
 * arrived before its turn in a struct tcp_holes, what is counted in a struct tcp_estats
 * (estats.h); a connection has any of them only while it needs it.
 *
 * Events are remembered as bits and told by tcp_events(), last of all in
 * whatever called them forth: an owner may end the connection in any of them.
 * ->busy keeps the memory until its user is done.
 */
#pragma once

#include "dataplane/base/core.h"
#include "dataplane/base/list.h"
#include "dataplane/base/slab.h"
#include "dataplane/net/flow.h"
#include "dataplane/net/limit.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/estats.h"
#include "dataplane/tcp/flight.h"
#include "dataplane/tcp/opts.h"
#include "dataplane/tcp/recorder.h"
#include "dataplane/tcp/rtt.h"
#include "dataplane/tcp/seq.h"
#include "dataplane/tcp/tcp.h"

/* RFC 9293, 3.3.2: state, then the states it may move to. LISTEN is struct tcp_listener. */
#define TCP_STATES(X)                                                                              \
    X(CLOSED, TO(SYN_SENT) | TO(SYN_RCVD))                                                         \
    X(SYN_SENT, TO(SYN_RCVD) | TO(ESTABLISHED) | TO(CLOSED))                                       \
    X(SYN_RCVD, TO(ESTABLISHED) | TO(CLOSED))                                                      \
    X(ESTABLISHED, TO(FIN_WAIT_1) | TO(CLOSE_WAIT) | TO(CLOSED))                                   \
    X(FIN_WAIT_1, TO(FIN_WAIT_2) | TO(CLOSING) | TO(CLOSED))                                       \
    X(FIN_WAIT_2, TO(TIME_WAIT) | TO(CLOSED))                                                      \
    X(CLOSE_WAIT, TO(LAST_ACK) | TO(CLOSED))                                                       \
    X(CLOSING, TO(TIME_WAIT) | TO(CLOSED))                                                         \
    X(LAST_ACK, TO(CLOSED))                                                                        \
    X(TIME_WAIT, TO(CLOSED))

#define TCP_STATE_ENUM(name, next) TCP_##name,
enum tcp_state { TCP_STATES(TCP_STATE_ENUM) };

enum tcp_limit {
    TCP_HDR = 20,
    TCP_PROTOCOL = 6,
    TCP_MSS_DEFAULT = 536, /* RFC 9293, 3.7.1 */
    TCP_MSS_MIN = 48,      /* a peer may not make us send dust */
    TCP_MTU_MIN = 552,     /* nor may an ICMP message (RFC 5927, 7.2) */
    TCP_COPY_BELOW = 256,  /* received payloads shorter than this share a buffer */
    TCP_DUP_ACKS = 3,      /* RFC 5681, 3.2 */
    TCP_QUICK_ACKS = 16,   /* segments acknowledged at once while the peer is in slow start */
    TCP_KEEPALIVE_PROBES = 9,
    TCP_BLACK_HOLE_TRIES = 3, /* timeouts of a full segment in a row */
    TCP_CHALLENGES = 10,      /* to one peer in a period (RFC 5961, 7) */
    TCP_RUNS_MAX = 128,       /* of packets out of order, with holes between them */
    TCP_OOO_SURE = 16,        /* packets out of order that a connection may hold in any case */
    TCP_ISS_STEP = 0x10000,   /* beyond the last life's numbers (RFC 6191) */
    TCP_EARLY_MAX = 4095,     /* c->early_in and ->early_out end there */
};

#define TCP_SECOND UINT64_C(1000000)
#define TCP_DELAYED_ACK_US                                                                         \
    UINT64_C(40000)                    /* RFC 9293 allows 500 ms; peers' timers start at 200       \
                                        */
#define TCP_QUIET_US (10 * TCP_SECOND) /* nothing in flight for so long: ->fl is given back */
#define TCP_REST_US (10 * TCP_SECOND)  /* nothing sent or received: ->es is folded */
#define TCP_CHALLENGE_PERIOD_US (5 * TCP_SECOND)
#define TCP_KEEPALIVE_INTERVAL_US (75 * TCP_SECOND)
#define TCP_CORK_US UINT64_C(200000)
#define TCP_CORK_SPENT UINT64_C(1) /* ->corked_us, once that is over */
#define TCP_RECV_BUF_MAX ((uint32_t)UINT16_MAX << TCP_WSCALE_MAX)
#define TCP_PAWS_IDLE_US (24 * 86400 * TCP_SECOND) /* RFC 7323, 5.5 */
#define TCP_QUEUE_MAX (UINT32_C(1) << 30)          /* sequence numbers must stay comparable */

enum tcp_flag {
    TCP_FIN = 1 << 0,
    TCP_SYN = 1 << 1,
    TCP_RST = 1 << 2,
    TCP_PSH = 1 << 3,
    TCP_ACK = 1 << 4,
    TCP_ECE = 1 << 6, /* RFC 3168 */
    TCP_CWR = 1 << 7,
};

/* A received segment; @p's data is its payload. */
struct tcp_seg {
    uint32_t seq, ack;
    uint32_t len; /* payload */
    uint16_t wnd; /* as in the header */
    uint8_t flags;
    bool ce; /* marked on its way (ECN) */
    struct tcp_opts opts;
};

/* What the timer of ->rtx_at_us is for. */
enum tcp_rtx {
    RTX_NONE,
    RTX_TIMEOUT, /* RFC 6298 */
    RTX_PROBE,   /* tail loss probe */
    RTX_REORDER, /* RACK */
    RTX_PERSIST, /* zero window */
};

enum tcp_event {
    TCP_EV_OPEN = 1 << 0,
    TCP_EV_READABLE = 1 << 1,
    TCP_EV_PEER_CLOSED = 1 << 2,
    TCP_EV_WRITABLE = 1 << 3,
};

/* Payload that has arrived before its turn. */
struct tcp_holes {
    struct pkt *head;     /* sorted, without overlaps */
    struct pkt *last_run; /* the first packet of the last run without a gap */
    uint32_t n, n_runs;
    uint8_t n_sacks;
    struct tcp_sack sacks[TCP_SACKS_MAX]; /* what is told of it, the newest first (RFC 2018, 4) */
};

struct tcp_conn {
    struct flow flow; /* first: net finds a connection by it */

    /* Every segment. */
    struct tcp *tcp;
    enum tcp_state state;
    uint32_t snd_una, snd_nxt, snd_end;
    uint32_t snd_wnd, snd_wnd_max, snd_wl1, snd_wl2;
    uint32_t rcv_nxt;
    uint32_t rcv_adv; /* right edge of the window, as promised to the peer */
    uint32_t ts_recent, ts_offset, last_ack_sent;
    uint16_t mss; /* payload of a full segment */
    uint16_t rec; /* its flight recorder, from 1; 0: it has none */
    uint8_t snd_shift, rcv_shift;
    uint8_t rtx; /* enum tcp_rtx: what ->rtx_at_us is for */
    uint8_t backoff, retries, keepalives;
    uint8_t quick_acks;
    uint8_t events; /* enum tcp_event */
    uint8_t busy;
    bool ts_on : 1, sack_on : 1, wscale_on : 1, ecn_on : 1;
    bool fin_queued : 1; /* the owner has finished: a FIN at snd_end */
    bool fin_placed : 1; /* and it has its packet */
    bool fin_seen : 1;   /* the peer's FIN is at rcv_fin; it may still be out of order */
    bool fin_rcvd : 1;   /* and everything before it has come */
    bool ack_now : 1;    /* owed at the next flush */
    bool new_first : 1;  /* one new segment goes before those that are lost (F-RTO) */
    bool room_low : 1;   /* on_writable is owed */
    bool released : 1;   /* nobody owns it */
    bool ended : 1;      /* the protocol is done: on_closed as soon as everything is read */
    bool gone : 1;       /* freed as soon as it is not busy */
    bool answering : 1;  /* bytes go out soon after some have come in: ACKs go with them */
    bool syn_lost : 1;   /* the SYN was sent more than once */
    bool rtt_known : 1;  /* all the same */
    bool ecn_echo : 1;   /* tell the peer that a mark has come, until it says that it has heard */
    bool ecn_seen : 1;
    bool active : 1;         /* opened by us */
    bool rests : 1;          /* ->rest counts */
    bool hole_suspected : 1; /* segments are smaller, and none of them has been acknowledged yet */
    struct tcp_flight *fl;   /* NULL: nothing was sent lately */
    struct tcp_estats *es;   /* NULL: no data so far, or lately */
    struct tcp_holes *holes; /* NULL: nothing is out of order */
    struct pktq rxq;
    struct list pending;     /* in tcp->pending */
    struct list delayed_ack; /* in tcp->delayed_acks */

    /* Timers. */
    struct wheel_timer timer;
    uint64_t rtx_at_us;
    uint64_t give_up_at_us; /* opening, or lingering; 0: none */
    uint64_t last_rx_us, last_tx_us;
    uint32_t delayed_at_us; /* low bits of the clock */
    struct rtt rtt;
    uint8_t n_challenges;
    uint16_t challenge_period; /* in which ->n_challenges were sent */

    /* Rarely. */
    uint16_t peer_mss;
    uint16_t rcv_mss; /* payload of a full segment of the peer's, as far as seen */
    int16_t why;      /* of on_closed */
    uint32_t iss, irs, rcv_fin;
    struct tcp_sack dsack;   /* what has come twice, and the next ACK is to tell; empty: nothing */
    uint32_t cwnd, ssthresh; /* while there is no ->fl */
    uint32_t recv_buf;       /* of now: from tuning->recv_buf to ->recv_buf_max */
    union {
        /* Before any data: segments, and how often a SYN was sent again. */
        struct {
            uint32_t early_in : 12, early_out : 12, early_resent : 8;
        };
        uint32_t rest; /* where its totals are: estats.c */
    };
    uint32_t min_rtt_us; /* while there is no ->fl; 0: not known */
    uint32_t wider_at_s; /* when a narrow path is tried anew; 0: it is not; UINT32_MAX: never */
    const struct tcp_ops *ops;
    void *owner;
    const struct tcp_tuning *tuning; /* tcp->defaults, or one of tcp->tunings */
    struct net_dst dst;
    uint64_t ts_recent_us, opened_us;
};

_Static_assert(sizeof(struct tcp_conn) <= 448, "struct tcp_conn has grown");

/*
 * What a parked connection keeps, under the names that it has in struct tcp_conn. All else is as in
 * a connection on which nothing is under way, or follows from the key and the numbers here.
 */
#define TCP_PARKED_KEPT(X)                                                                         \
    X(struct tcp *, tcp)                                                                           \
    X(const struct tcp_ops *, ops)                                                                 \
    X(void *, owner)                                                                               \
    X(const struct tcp_tuning *, tuning)                                                           \
    X(struct net_dst, dst)                                                                         \
    X(uint64_t, opened_us)                                                                         \
    X(uint64_t, last_rx_us)                                                                        \
    X(uint64_t, last_tx_us)                                                                        \
    X(uint64_t, ts_recent_us)                                                                      \
    X(uint32_t, snd_nxt)                                                                           \
    X(uint32_t, snd_wnd)                                                                           \
    X(uint32_t, snd_wnd_max)                                                                       \
    X(uint32_t, rcv_nxt)                                                                           \
    X(uint32_t, rcv_adv)                                                                           \
    X(uint32_t, ts_recent)                                                                         \
    X(uint32_t, iss)                                                                               \
    X(uint32_t, irs)                                                                               \
    X(uint32_t, cwnd)                                                                              \
    X(uint32_t, ssthresh)                                                                          \
    X(uint32_t, recv_buf)                                                                          \
    X(uint32_t, min_rtt_us)                                                                        \
    X(uint32_t, wider_at_s)                                                                        \
    X(uint32_t, rest)                                                                              \
    X(struct rtt, rtt)                                                                             \
    X(uint16_t, mss)                                                                               \
    X(uint16_t, peer_mss)                                                                          \
    X(uint16_t, rcv_mss)                                                                           \
    X(uint16_t, rec)

/* And those of a few bits. */
#define TCP_PARKED_BITS(X)                                                                         \
    X(snd_shift, 4)                                                                                \
    X(rcv_shift, 4)                                                                                \
    X(quick_acks, 5)                                                                               \
    X(ts_on, 1)                                                                                    \
    X(sack_on, 1)                                                                                  \
    X(wscale_on, 1)                                                                                \
    X(ecn_on, 1)                                                                                   \
    X(ecn_echo, 1)                                                                                 \
    X(ecn_seen, 1)                                                                                 \
    X(answering, 1)                                                                                \
    X(active, 1)                                                                                   \
    X(rests, 1)

#define TCP_PARKED_MEMBER(type, name) type name;
#define TCP_PARKED_BIT(name, width) uint32_t name : (width);
struct tcp_parked {
    struct flow flow;
    TCP_PARKED_KEPT(TCP_PARKED_MEMBER)
    TCP_PARKED_BITS(TCP_PARKED_BIT)
    uint32_t es_stays : 1;    /* ->rest is the place of its totals, which could not be folded */
    struct wheel_timer timer; /* for the keepalive */
};
_Static_assert(TCP_WSCALE_MAX < 16 && TCP_QUICK_ACKS < 32, "for the bits above");

/* An idle client is budgeted at half a KiB: this, a cell with its totals (estats.h), its share of
 * the flow table, 16 to 32 bytes, and what the layers above keep. */
_Static_assert(sizeof(struct tcp_parked) <= 256, "struct tcp_parked has grown");

struct tcp_listener {
    struct list link; /* in its bucket */
    struct list halves;
    struct tcp *tcp;
    struct ipport local;
    struct tcp_tuning tuning;
    tcp_accept_fn accept;
    void *ctx;
    bool full; /* tcp_listener_hold() */
};

/* What a SYN has brought, and what we have made of it. */
struct tcp_offer {
    uint32_t iss, irs, ts_recent;
    uint32_t snd_wnd;
    uint16_t peer_mss;
    uint8_t snd_shift, rcv_shift;
    bool ts_on, wscale_on, sack_on, ecn_on;
};

/* Between a SYN and the handshake's last ACK. */
struct tcp_half {
    struct flow flow;
    struct list link; /* in the listener's */
    struct wheel_timer timer;
    struct tcp_listener *listener;
    uint64_t since_us;
    struct tcp_offer offer;
    uint8_t tries; /* SYN-ACKs sent */
    uint16_t segs_in, segs_out;
};

/* What goes into a header. */
struct tcp_hdr {
    uint32_t seq, ack;
    uint16_t wnd;
    uint8_t flags;
    struct tcp_opts opts;
};

/*
 * Segments that one call of tcp_output() sends one after the other, with one header, as a train
 * (base/pkt.h). It holds those from ->h.seq to ->end, and leaves before anything else does.
 */
struct tcp_train {
    struct pkt *head, *last; /* NULL: none is open */
    struct tcp_hdr h;        /* of the first, with FIN and PSH of the last */
    uint32_t end;
    uint32_t most; /* packets that it may have */
    bool closed;   /* nothing may follow */
};

/* TIME_WAIT. */
struct tcp_tw {
    struct flow flow;
    struct list link; /* in tcp->tws, the oldest first */
    uint64_t until_us, ts_recent_us;
    struct tcp *tcp;
    uint32_t snd_nxt, rcv_nxt, ts_recent, ts_offset;
    bool ts_on;
};

#define TCP_LISTENER_BUCKETS 64

struct tcp {
    struct core *core;
    struct net *net;
    struct tcp_conf conf;
    struct tcp_tuning defaults;
    struct slab conns, parked, halves, tws, tunings, flights, holes, estats, rests[TCP_REST_SIZES];
    struct tcp_recorders *recorders; /* NULL: there are none */
    /* A bit for every connection in use, and every parked one, by its place in the slab. */
    uint64_t *live, *live_parked;
    struct tcp_conn look; /* tcp_parked_look() */
    struct list pending, delayed_acks, tw_list;
    struct wheel_timer delayed_ack_timer, tw_timer;
    struct list listeners[TCP_LISTENER_BUCKETS];
    struct hash_key isn_key, ts_key, cookie_key;
    uint64_t cookies_until_us; /* an ACK up to then may be the answer to a cookie */
    struct limit challenges, resets;
    uint64_t recv_grown; /* bytes, of all connections */
    uint32_t n_ooo;      /* packets out of order, of all connections */
    struct tcp_train train;
    struct tcp_counters counters;
};

/* ---- conn.c: make, free, and the one place that assigns ->state */

/* A connection in state CLOSED under @key, busy once, not in the flow table. Takes @dst's reference
 * if it does not return NULL. */
struct tcp_conn *tcp_conn_new(struct tcp *tcp, const struct flow_key *key,
                              const struct net_dst *dst);
void tcp_conn_move(struct tcp_conn *c, enum tcp_state next);

/* Zeroed memory for a connection, or NULL; and back, if nothing is left in it. */
struct tcp_conn *tcp_conn_alloc(struct tcp *tcp);
void tcp_conn_dealloc(struct tcp_conn *c);

/* The opposite of tcp_conn_new(), for one that never was in the flow table. */
void tcp_conn_unmake(struct tcp_conn *c);

/* As tcp_tune(), before anything has been agreed on. */
void tcp_conn_set_tuning(struct tcp_conn *c, const struct tcp_tuning *tuning);

/* The protocol is done with @c: out of the flow table, on_closed(why) will follow. */
void tcp_conn_end(struct tcp_conn *c, int why);

/* Nobody wants to hear of @c any more: freed, at once or when it is not busy. */
void tcp_conn_drop(struct tcp_conn *c);

/* Keeps the memory of @c until the matching tcp_conn_leave(), which may free it. */
static inline void tcp_conn_enter(struct tcp_conn *c)
{
    c->busy++;
}
void tcp_conn_leave(struct tcp_conn *c);

/* Tells the owner what has happened. @c is busy. */
void tcp_events(struct tcp_conn *c);

/* Has it sent and received a SYN? (RFC 9293: a synchronized state) */
bool tcp_conn_is_synchronized(const struct tcp_conn *c);

/* From the MTU of the path and what the peer takes. */
void tcp_conn_set_mss(struct tcp_conn *c);

/* The path takes no more than @mtu, which it has shown: other connections are told. */
void tcp_conn_path_is_narrow(struct tcp_conn *c, uint16_t mtu);

/* What was learned of the path has become old (RFC 1191, 6.3). */
void tcp_conn_look_for_wider_path(struct tcp_conn *c);

/* Has a FIN of ours been acknowledged? */
static inline bool tcp_fin_acked(const struct tcp_conn *c)
{
    return c->fin_queued && seq_gt(c->snd_una, c->snd_end);
}

/* Bytes queued or in flight: twice what may be in flight, so that an ACK finds the next window. */
static inline uint32_t tcp_send_buf(const struct tcp_conn *c)
{
    const uint32_t cwnd = c->fl != NULL ? c->fl->cc.cwnd : c->cwnd;
    const uint32_t want = 2 * MIN(cwnd, MIN(c->snd_wnd, TCP_QUEUE_MAX / 2));

    return MAX(c->tuning->send_buf, MIN(want, c->tuning->send_buf_max));
}

/* tcp_send_room() of an empty queue. */
static inline uint32_t tcp_send_limit(const struct tcp_conn *c)
{
    return MIN(tcp_send_buf(c), c->tuning->notsent_lowat);
}

/* @c's output is looked at in the next tcp_flush(). */
static inline void tcp_schedule(struct tcp_conn *c)
{
    if (!list_is_linked(&c->pending))
        list_push_tail(&c->tcp->pending, &c->pending);
}

/* ---- what is counted (estats.h), and recorded (recorder.h) */

static inline struct tcp_estats *tcp_estats_get(struct tcp_conn *c)
{
    return likely(c->es != NULL) ? c->es : tcp_estats_wake(c);
}

/* A segment for @c has come, or leaves, with @len bytes of payload. */
static inline void tcp_estats_rcvd(struct tcp_conn *c, uint32_t len)
{
    struct tcp_estats *es = c->es;

    if (unlikely(es == NULL)) {
        tcp_estats_rcvd_slow(c, len);
        return;
    }
    es->segs_in++;
    es->data_segs_in += len > 0;
    es->octets_in += len;
}

static inline void tcp_estats_sent(struct tcp_conn *c, uint32_t len)
{
    struct tcp_estats *es = c->es;

    if (unlikely(es == NULL)) {
        tcp_estats_sent_slow(c, len);
        return;
    }
    es->segs_out++;
    es->data_segs_out += len > 0;
}

static inline void tcp_record_in(struct tcp_conn *c, const struct tcp_seg *s)
{
    if (c->rec != 0)
        tcp_record_in_slow(c, s);
}

static inline void tcp_record_out(struct tcp_conn *c, const struct tcp_hdr *h, uint32_t len,
                                  bool again)
{
    if (c->rec != 0)
        tcp_record_out_slow(c, h, len, again);
}

static inline void tcp_record_bytes(struct tcp_conn *c, enum tcp_record_kind kind, uint64_t n)
{
    if (c->rec != 0)
        tcp_record_bytes_slow(c, kind, n);
}

#define tcp_record(c, kind, ...)                                                                   \
    do {                                                                                           \
        if ((c)->rec != 0)                                                                         \
            tcp_record_slow((c), (kind), &(struct tcp_record){ __VA_ARGS__ });                     \
    } while (0)

/* It carries data: it wants a recorder. */
static inline void tcp_recorder_want(struct tcp_conn *c)
{
    if (unlikely(c->rec == 0) && c->tcp->recorders != NULL)
        tcp_recorder_take(c);
}

/* RFC 6528. */
uint32_t tcp_isn(const struct tcp *tcp, const struct flow_key *key);

/* Our timestamp clock: 1 ms, from an offset of its own for every pair of hosts (RFC 7323, 7.1). */
uint32_t tcp_ts_offset(const struct tcp *tcp, const struct flow_key *key);
static inline uint32_t tcp_ts_now(const struct tcp *tcp, uint32_t offset)
{
    return (uint32_t)(tcp->core->now_us / 1000) + offset;
}

/* ---- input.c */
extern const struct flow_ops tcp_conn_flow_ops;

/* Checks header, options and checksum; then @p's data is the payload. */
enum drop tcp_parse(struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst,
                    struct tcp_seg *ret);

/* A segment for @c, before anything is done with it. */
void tcp_note_segment(struct tcp_conn *c, const struct tcp_seg *s);

/* One segment, in the order of RFC 9293, 3.10.7. Takes @p only if DROP_NONE. */
enum drop tcp_segment(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p);

/* Payload that starts at rcv_nxt: to the owner's queue. Takes @p. */
void tcp_deliver(struct tcp_conn *c, struct pkt *p);

/* @len bytes have come in order, and are to be acknowledged. */
void tcp_ack_owed(struct tcp_conn *c, uint32_t len);

/* True if the timestamp says that the segment is from an earlier life (RFC 7323, 5.3). */
bool tcp_ts_is_old(uint32_t tsval, uint32_t ts_recent, uint64_t ts_recent_us, uint64_t now_us);

/* ICMP: net_error_fn. */
void tcp_icmp_error(void *ctx, const struct ipport *local, const struct ipport *remote, int err,
                    uint16_t mtu, const uint8_t payload[8]);

/* ---- fast.c: true if @s was the expected next segment of an open connection. Takes @p then, which
 * may be a train: @s speaks of the first then. */
bool tcp_fast(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p);

/* ---- ack.c */

/* An ACK that is acceptable: snd_una <= ack <= snd_nxt, or older. */
void tcp_ack_rcvd(struct tcp_conn *c, const struct tcp_seg *s);

/* Something was acknowledged or sent: is on_writable owed? */
void tcp_note_room(struct tcp_conn *c);

/* ---- window.c: how much a connection may hold unread */

/* What the window may say: the start of a connection, a change of its tuning, its end. */
void tcp_recv_buf_set(struct tcp_conn *c, uint32_t bytes);

/* The owner has read @n bytes: does it read more in a round trip than the buffer holds? */
void tcp_recv_buf_taken(struct tcp_conn *c, uint64_t n);

/* A segment with payload in order: how far away is its sender? */
void tcp_recv_buf_segment(struct tcp_conn *c, const struct tcp_seg *s);

/* ---- reass.c */

/* Keeps a segment until what comes before it is there. Takes @p. */
void tcp_reass_add(struct tcp_conn *c, struct pkt *p, uint32_t seq);

/* Delivers what has become in order. True if anything has. */
bool tcp_reass_drain(struct tcp_conn *c);
void tcp_reass_clear(struct tcp_conn *c);

/* [@start, @end) has come twice: the next ACK says so (RFC 2883). */
void tcp_reass_twice(struct tcp_conn *c, uint32_t start, uint32_t end);

/* The SACK blocks of the ACK that is being written, as far as @room bytes of options hold them. */
void tcp_reass_sacks(struct tcp_conn *c, struct tcp_opts *to, uint32_t room);

/* ---- output.c */

/* Sends whatever may be sent now, and the ACK that is owed. @force: also what is too small for its
 * own good (the persist timer's override). */
void tcp_output(struct tcp_conn *c, bool force);

/* One segment beyond the congestion window, for a probe: a new one; the last one again. False:
 * there is none, or no memory. */
bool tcp_send_new(struct tcp_conn *c);
bool tcp_resend_last(struct tcp_conn *c);
void tcp_send_syn(struct tcp_conn *c);
void tcp_send_ack(struct tcp_conn *c);
void tcp_send_rst(struct tcp_conn *c);

/* snd_una - 1 and no payload: the peer must answer with an ACK. */
void tcp_send_probe(struct tcp_conn *c);

/* An ACK that says "prove it" (RFC 5961), rate limited. */
void tcp_challenge(struct tcp_conn *c);
bool tcp_challenge_pass(struct tcp *tcp);

/* A segment without payload, and without a connection. */
void tcp_send_ctl(struct tcp *tcp, const struct flow_key *key, const struct tcp_hdr *h);

/* The RST that answers @s (RFC 9293, 3.10.7.1), rate limited. False: none was sent. */
bool tcp_refuse(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s);

/* Payload and options that a segment may have on the way to @dst. */
uint16_t tcp_our_mss(const struct net_dst *dst, const struct tcp_tuning *tuning);

/* MSS to announce: what may come, which the path that we send by does not tell (RFC 9293, 3.7.1).
 */
uint16_t tcp_adv_mss(const struct tcp *tcp, const struct net_dst *dst,
                     const struct tcp_tuning *tuning);

/* Is there anything to acknowledge the peer for having room again? Schedules it. */
void tcp_window_opened(struct tcp_conn *c);

/* The window in the header of a SYN, which is never scaled, and the scale of those after it. */
uint16_t tcp_syn_window(const struct tcp_tuning *tuning);
uint8_t tcp_window_shift(const struct tcp_tuning *tuning);

/* Is @local, whose address may be IP_NONE, the end of ours? */
static inline bool tcp_key_is_at(const struct flow_key *key, const struct ipport *local)
{
    return key->local_port == local->port &&
           (local->addr.family == IP_NONE || ipaddr_eq(&key->local, &local->addr));
}

/* ---- park.c */

/* The owners are not told. */
void tcp_parked_free_all(struct tcp *tcp);

/* Is one of them at @local? */
bool tcp_parked_at(const struct tcp *tcp, const struct ipport *local);

/* ---- timer.c */
void tcp_timer_init(struct tcp_conn *c);

/* When the peer is asked whether it is still there; UINT64_MAX: never. */
uint64_t tcp_keepalive_at(const struct tcp_conn *c);

/* Starts the wheel timer if a deadline comes before it. */
void tcp_timer_arm(struct tcp_conn *c);

/* @kind in @us from now, instead of whatever was to come. */
void tcp_rtx_start(struct tcp_conn *c, enum tcp_rtx kind, uint64_t us);

/* A tail loss probe or the retransmission timeout, if anything is in flight. */
void tcp_rtx_rearm(struct tcp_conn *c);

/* The retransmission timeout, from now. */
void tcp_rtx_restart(struct tcp_conn *c);
void tcp_on_delayed_acks(struct wheel_timer *t, uint64_t now_us);

/* ---- listen.c */
enum drop tcp_unknown_rx(void *ctx, struct pkt *p, const struct ipaddr *src,
                         const struct ipaddr *dst);

/* A SYN for a listener of ours, or not. @min_iss: where the last life of this tuple ended; 0 and
 * !@has_min: there was none. */
enum drop tcp_syn_rcvd(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s,
                       bool has_min, uint32_t min_iss);
void tcp_listeners_free(struct tcp *tcp);

/* ---- cookie.c */

/* Sets ->iss of an offer that is not to be remembered; returns the timestamp that goes with it, and
 * forgets what neither can hold. */
uint32_t tcp_cookie_bake(struct tcp *tcp, const struct flow_key *key, struct tcp_offer *offer);

/* The offer that @s, an ACK, answers. False: it answers none of ours. */
bool tcp_cookie_read(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s,
                     struct tcp_offer *ret);

/* ---- timewait.c */

/* Puts a struct tcp_tw where @c is in the flow table. False: no memory, @c is still there. */
bool tcp_tw_enter(struct tcp_conn *c);

/* Ends @f, which yields: a connection of ours takes its tuple. Returns its snd_nxt. */
uint32_t tcp_tw_take(struct flow *f);
void tcp_tw_init(struct tcp *tcp);
void tcp_tw_free_all(struct tcp *tcp);
