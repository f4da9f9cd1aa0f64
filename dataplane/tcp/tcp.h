/*
 * tcp.h - TCP for the layers above: listen, connect, send, receive, close
 *
 * RFC 9293, with 7323 (window scaling, timestamps), 6298 (retransmission timer),
 * 2018, 2883 and 6675 (SACK), 8985 (RACK-TLP), 6937 (PRR), 5682, 3522 and 3708 (undo), 9438
 * (CUBIC), 5681 and 6582 (NewReno), 3168 (ECN), 6528 (initial sequence numbers), 5961 (blind
 * attacks), 5482 (user timeout) and 6191 (TIME_WAIT). struct tcp is one worker's TCP; a connection
 * lives and dies on that worker, and every function here is called on it. Nothing blocks, takes a
 * lock or makes a system call. Time comes from core->now_us alone.
 *
 * A byte stream is passed in packets (base/pkt.h), both ways:
 *
 *   down  tcp_send() takes a queue of packets. Each holds at most tcp_mss() bytes and has
 *         PKT_HEADROOM in front; such a packet is sent in place, without a copy. Others are
 *         sent too, at the price of one. The caller watches tcp_send_room().
 *   up    in-order payload waits inside TCP until tcp_recv() takes it: what waits closes the
 *         advertised window, so that not reading is back-pressure.
 *
 * Events come from within tcp_input(), timers and tcp_flush(), never from within
 * a function the owner calls: an owner may close or abort in any of them. After
 * on_closed the connection is gone; it is always the last event, and it always
 * comes, unless the owner let go first with tcp_abort() or tcp_release().
 *
 *   owner                         connection                     peer
 *   tcp_connect() --------------> SYN_SENT ---- on_open -------> ESTABLISHED
 *   tcp_listen() ops->on_accept <-------------- SYN_RCVD
 *   tcp_shutdown(): no more from us (FIN after what is queued); on_peer_closed: no more from them
 *   both done ------------------> on_closed(0); TIME_WAIT is kept by TCP alone in a small struct
 *   RST, timeout, ICMP ---------> on_closed(-ECONNRESET, -ETIMEDOUT, -ECONNREFUSED, ...)
 *   tcp_park() -----------------> a struct tcp_parked -- on_woken --> a connection again
 *
 * on_closed(0) waits until the owner has taken every byte with tcp_recv(); any other reason does
 * not: what waits may be taken in on_closed, and is dropped after it.
 */
#pragma once

#include "dataplane/base/core.h"
#include "dataplane/base/ipaddr.h"
#include "dataplane/tcp/cc.h"

#include <stdbool.h>
#include <stdint.h>

struct net;
struct tcp;
struct tcp_conn;
struct tcp_parked;
struct tcp_listener;

/* Any but on_closed may be NULL, and on_woken where nothing is parked. */
struct tcp_ops {
    void (*on_open)(struct tcp_conn *c);     /* active open: the handshake is done */
    void (*on_readable)(struct tcp_conn *c); /* new in-order bytes wait in tcp_recv() */
    void (*on_writable)(struct tcp_conn *c); /* tcp_send_room() was under half of the limit, and is
                                                again half or more */
    void (*on_peer_closed)(struct tcp_conn *c);     /* FIN in order; after the last on_readable */
    void (*on_closed)(struct tcp_conn *c, int why); /* last: 0, or -errno; @c is gone afterwards */
    void (*on_woken)(struct tcp_conn *c); /* first: it was parked, and @c is where it is now */
};

/*
 * What one connection may have of its own. Made from tcp_defaults() or from what it has; all fields
 * count. A listener's are its connections' at their start.
 */
struct tcp_tuning {
    /* Bytes it may hold unread: at first, and once the owner reads more than that in a round trip.
     */
    uint32_t recv_buf, recv_buf_max;
    /* Bytes queued or unacknowledged, from which tcp_send_room() is 0: with a small congestion
     * window, and with a large one. */
    uint32_t send_buf, send_buf_max;
    uint32_t notsent_lowat; /* bytes queued and not yet sent, from which it is 0 too */
    uint16_t mss_max; /* payload and options of one segment, both ways; 0: what the path takes */
    bool nagle;       /* one small segment in flight at a time (RFC 9293, 3.7.4) */
    bool cork;        /* whole segments only; what is less waits TCP_CORK_US at most */
    bool keepalive;
    enum cc_algorithm cc;     /* counts from the next byte that is sent after a pause */
    uint8_t keepalive_probes; /* unanswered, then -ETIMEDOUT */
    uint8_t syn_retries;   /* unanswered SYNs after the first, then -ETIMEDOUT; 0: syn_timeout_us */
    uint64_t keepalive_us; /* idle time before the first probe */
    uint64_t keepalive_interval_us; /* between two */
    uint64_t user_timeout_us; /* bytes unacknowledged for so long: -ETIMEDOUT (RFC 5482); 0: none */
};

/* Returns the ops and sets *@owner for a new connection, or NULL to have it reset. */
typedef const struct tcp_ops *(*tcp_accept_fn)(void *listener_ctx, struct tcp_conn *c,
                                               void **owner);

struct tcp_conf {
    uint32_t max_conns; /* default 65536 */
    /* Flight recorders (recorder.h), default none; records of each, default 256; episodes kept,
     * default 64. */
    uint32_t recorders, recorder_records, recorder_episodes;
    uint32_t max_half_open; /* default 4096: SYN_RCVD at once, of one worker */
    uint32_t max_time_wait; /* default 65536; the oldest goes first */
    /* As in struct tcp_tuning; default 64 KiB each, and no more than that. */
    uint32_t recv_buf, recv_buf_max, send_buf, send_buf_max, notsent_lowat;
    /* Bytes that all connections together may grow their receive buffers by; default 64 MiB. */
    uint64_t recv_grow_max;
    uint32_t ooo_pkts;        /* out-of-order packets a connection may hold; default: as many as */
    uint32_t ooo_pkts_all;    /* there is room for: all of a worker together, default 8192 */
    uint64_t time_wait_us;    /* default 60 s (2 MSL) */
    uint64_t syn_timeout_us;  /* give up opening, either way, default 30 s */
    uint32_t max_retries;     /* retransmissions of one segment before -ETIMEDOUT, default 15 */
    uint64_t rto_min_us;      /* default 200 ms */
    uint64_t keepalive_us;    /* idle time before probes, default 2 h; UINT64_MAX: none */
    uint64_t user_timeout_us; /* default 0: none */
    uint64_t delayed_ack_us;  /* default 40 ms */
    uint32_t initial_window;  /* segments; 0: RFC 6928 */
    enum cc_algorithm cc;     /* default CUBIC */
    bool pacing;     /* spread a window over its round trip, as far as a clock of 1 ms can */
    bool ecn;        /* ask for it (RFC 3168); it is always granted */
    bool no_cookies; /* never: drop SYNs when there is no room (for tests) */
    bool no_sack, no_timestamps, no_window_scale; /* neither offer nor accept */
};

struct tcp_conn_info {
    struct ipport local, remote;
    const char *state; /* "ESTABLISHED" */
    uint64_t bytes_in, bytes_out, bytes_acked, retransmits;
    uint32_t cwnd, ssthresh, srtt_us, rttvar_us, min_rtt_us, rto_us, mss, peer_mss, snd_wnd,
        rcv_wnd;
    uint32_t send_queue, unsent, recv_queue;
    uint16_t path_mtu, adv_mss; /* of the path, and what our SYN has announced */
    uint16_t rcv_mss;           /* the largest payload that has come, as far as that is known */
    uint64_t opened_us, last_rx_us, last_tx_us;
    /* What is in flight, in packets; the values of @ca_state are those of Linux. */
    uint8_t ca_state, retries, backoff, probes;
    uint32_t unacked, sacked, lost, resent, reordering, delivered, dsacks, total_resent;
    uint64_t delivery_rate, pacing_rate; /* bytes a second; 0: not known, or none */
    bool delivery_app_limited;
    bool sack_on, ts_on, wscale_on, ecn_on, ecn_seen;
    uint8_t snd_shift, rcv_shift;
    uint8_t state_number; /* as Linux numbers them: 1 is ESTABLISHED */
};

/* One TCP for @net, which hands it segments. NULL: out of memory. Zero fields of @conf take
 * defaults. */
struct tcp *tcp_new(struct core *core, struct net *net, const struct tcp_conf *conf);

/* Resets what is open (no events), frees everything. */
void tcp_free(struct tcp *tcp);

/*
 * Listens on @local; an address of IP_NONE takes any address of ours. Returns NULL if
 * that exact pair is taken, or out of memory.
 */
struct tcp_listener *tcp_listen(struct tcp *tcp, const struct ipport *local, tcp_accept_fn accept,
                                void *ctx);

/* For connections whose SYN comes from now on. */
void tcp_listener_tune(struct tcp_listener *l, const struct tcp_tuning *tuning);

/*
 * @full: the owner has no room for another connection. SYNs, and the last ACKs of handshakes, are
 * dropped until it has: the peers repeat them.
 */
void tcp_listener_hold(struct tcp_listener *l, bool full);

/* Half-open connections are dropped; open ones live on. */
void tcp_unlisten(struct tcp_listener *l);

/*
 * Opens a connection. @local may be NULL (address by route, port chosen so that replies
 * reach this worker), @tuning too (the defaults). Returns NULL and sets *@err: -EHOSTUNREACH,
 * -EADDRNOTAVAIL, -ENOMEM.
 */
struct tcp_conn *tcp_connect(struct tcp *tcp, const struct ipport *remote,
                             const struct ipport *local, const struct tcp_tuning *tuning,
                             const struct tcp_ops *ops, void *owner, int *err);

void *tcp_owner(const struct tcp_conn *c);
/* Also changes the ops: a connection can be handed from one layer to another. */
void tcp_set_owner(struct tcp_conn *c, const struct tcp_ops *ops, void *owner);

/* What a connection has if nobody tunes it. */
const struct tcp_tuning *tcp_defaults(const struct tcp *tcp);
const struct tcp_tuning *tcp_tuning(const struct tcp_conn *c);

/*
 * From now on. What the handshake has agreed on stays: a larger @recv_buf than at the SYN may not
 * fit the window scale, and counts as far as it does.
 */
void tcp_tune(struct tcp_conn *c, const struct tcp_tuning *tuning);

/* @on: acknowledge every segment at once for a while, and now what is owed. Else: delay, two
 * segments an ACK. */
void tcp_quick_ack(struct tcp_conn *c, bool on);

/* Payload of one full segment to this peer, now. */
uint32_t tcp_mss(const struct tcp_conn *c);

/* Bytes that may be queued now. tcp_send() takes more, too: the limit is the caller's discipline.
 */
uint32_t tcp_send_room(const struct tcp_conn *c);

/*
 * Takes every packet of @q. Sent at tcp_flush() at the latest. After tcp_shutdown() or the end of
 * the connection: freed, -EPIPE. -ENOBUFS, also freed, if more than 1 GiB would be queued.
 */
int tcp_send(struct tcp_conn *c, struct pktq *q);

/* Moves up to about @max bytes (whole packets, at least one if any waits) to @to. Returns bytes
 * moved. */
uint64_t tcp_recv(struct tcp_conn *c, struct pktq *to, uint64_t max);
uint64_t tcp_recv_waiting(const struct tcp_conn *c);

/* For owners who want bytes, not packets: copies up to @max to @to; takes them unless @peek. */
uint64_t tcp_read(struct tcp_conn *c, void *to, uint64_t max, bool peek);

/* True after the peer's FIN, once everything before it has been taken. */
bool tcp_recv_eof(const struct tcp_conn *c);

/* FIN after everything queued. Receiving goes on. Idempotent. */
void tcp_shutdown(struct tcp_conn *c);

/* RST, at once, queued bytes dropped. No event follows; @c is gone. */
void tcp_abort(struct tcp_conn *c);

/*
 * The owner lets go: queued bytes and a FIN are still delivered, later input is answered with
 * RST (RFC 9293, 3.6.1), unread input too (RFC 2525, 2.17). No event follows. Bounded by
 * @linger_us, then RST; 0: at once, as tcp_abort().
 */
void tcp_release(struct tcp_conn *c, uint64_t linger_us);

/*
 * A connection on which nothing happens, parked: in a struct of little more than half the size,
 * which takes the place of @c. NULL: not now, as something is queued, in flight, unread or owed, or
 * it is about to end. Not from within an event. With the next segment, or a keepalive that is due,
 * it is a connection again, with @ops and @owner, whose first event is on_woken.
 */
struct tcp_parked *tcp_park(struct tcp_conn *c, const struct tcp_ops *ops, void *owner);

/* By its owner: without an event. There is always room: who is parked counts as a connection. */
struct tcp_conn *tcp_unpark(struct tcp_parked *p);

/* The connection that it would be, to be looked at, until the next such call. */
const struct tcp_conn *tcp_parked_look(const struct tcp_parked *p);

void tcp_info(const struct tcp_conn *c, struct tcp_conn_info *ret);
struct ipport tcp_local(const struct tcp_conn *c);
struct ipport tcp_remote(const struct tcp_conn *c);

/* Once at the end of each turn of the loop: sends what was queued, and delayed ACKs. */
void tcp_flush(struct tcp *tcp);

/* Is there a connection at @local, be it in TIME_WAIT or without an owner? An address of IP_NONE
 * stands for any. Looks at every connection: for owners who choose a port by hand. */
bool tcp_port_in_use(const struct tcp *tcp, const struct ipport *local);

/* Connections in use, TIME_WAIT excluded; those of them that are parked; TIME_WAIT entries. */
uint32_t tcp_n_conns(const struct tcp *tcp);
uint32_t tcp_n_parked(const struct tcp *tcp);
uint32_t tcp_n_time_wait(const struct tcp *tcp);

/* Calls @fn for up to @n connections that are not parked, from position *@at (start with 0) on;
 * false when all were seen. */
bool tcp_each(struct tcp *tcp, uint32_t *at, uint32_t n, void (*fn)(struct tcp_conn *c, void *ctx),
              void *ctx);

/* Counters, by name, for telemetry: values written by the worker, read by anyone. */
#define TCP_COUNTERS(X)                                                                            \
    X(segs_in, "segments received")                                                                \
    X(segs_out, "segments sent")                                                                   \
    X(trains_out, "times that several segments went out as one packet, for the port or its "       \
                  "driver to cut up")                                                              \
    X(train_segs_out, "segments sent in those")                                                    \
    X(trains_in, "times that several segments came in as one packet, merged by the port or from "  \
                 "a burst")                                                                        \
    X(train_segs_in, "segments received in those")                                                 \
    X(bytes_in, "payload bytes received in order")                                                 \
    X(bytes_out, "payload bytes sent, retransmissions excluded")                                   \
    X(active_opens, "connections opened by us")                                                    \
    X(passive_opens, "connections accepted")                                                       \
    X(open_failed, "connection attempts that failed")                                              \
    X(resets_in, "connections reset by the peer")                                                  \
    X(resets_out, "RST segments sent")                                                             \
    X(retrans_segs, "segments retransmitted")                                                      \
    X(retrans_timeouts, "retransmission timeouts")                                                 \
    X(rerouted, "connections that found another next hop, as nothing was acknowledged")            \
    X(fast_retrans, "fast retransmits")                                                            \
    X(tlp_probes, "tail loss probes sent (RFC 8985)")                                              \
    X(tlp_repaired, "losses that a tail loss probe has repaired")                                  \
    X(undone, "window reductions taken back: the loss was none")                                   \
    X(spurious_timeouts, "retransmission timeouts that were a mistake (F-RTO, RFC 5682)")          \
    X(sacks_in, "segments received with SACK blocks")                                              \
    X(dsacks_in, "D-SACK blocks received: something has come twice")                               \
    X(dsacks_out, "D-SACK blocks sent")                                                            \
    X(bad_sacks, "SACK blocks of what was never sent")                                             \
    X(reneged, "times that a peer threw away what it had acknowledged selectively")                \
    X(ecn_ce_in, "segments received with a mark of congestion")                                    \
    X(ecn_reduced, "window reductions that marks of congestion have caused")                       \
    X(dup_acks, "duplicate acknowledgements received")                                             \
    X(delayed_acks, "ACKs that went out because nothing else did in the time they may wait")       \
    X(ooo_segs, "segments received out of order and kept")                                         \
    X(merged, "segments copied into the buffer before them, as small ones held too much memory")   \
    X(recv_grown, "times that a receive buffer has grown")                                         \
    X(black_holes, "paths that took no large packets, and did not say so (RFC 4821)")              \
    X(ooo_dropped, "segments received out of order and dropped, for want of room")                 \
    X(challenge_acks, "challenge ACKs sent (RFC 5961)")                                            \
    X(paws_dropped, "segments dropped by PAWS (RFC 7323)")                                         \
    X(zero_windows, "zero windows advertised")                                                     \
    X(zero_window_probes, "zero-window probes sent")                                               \
    X(keepalive_probes, "keepalive probes sent")                                                   \
    X(half_open_dropped, "SYNs dropped, too many half-open connections")                           \
    X(cookies_out, "SYNs answered with a cookie: nothing is remembered of them (RFC 4987)")        \
    X(cookies_good, "connections opened from a cookie")                                            \
    X(cookies_bad, "ACKs of nobody, or of a cookie that is too old or not ours")                   \
    X(half_open_timeouts, "half-open connections given up")                                        \
    X(accept_held, "SYNs and last ACKs of handshakes dropped while the owner had no room")         \
    X(no_conn, "connections refused for want of memory")                                           \
    X(low_pool_dropped, "segments whose bytes were refused because few packets were left")         \
    X(no_pkt, "packets that could not be built for want of memory")                                \
    X(time_wait_reused, "TIME_WAIT entries taken over by a new connection (RFC 6191)")             \
    X(timeouts, "connections given up after too many retransmissions")                             \
    X(parked, "times that a connection was parked, as nothing happened on it")                     \
    X(woken, "times that one was taken up again")                                                  \
    X(recorders_taken, "flight recorders taken from a quiet connection for one that sends")        \
    X(unrecorded, "segments with data of connections that found no free flight recorder")          \
    X(episodes_kept, "episodes of loss that the flight recorders have kept")                       \
    X(episodes_dropped, "episodes of loss that went for newer ones")                               \
    X(episodes_skipped, "episodes of loss not kept: too many at once")

#define TCP_COUNTER_FIELD(name, text) uint64_t name;
struct tcp_counters {
    TCP_COUNTERS(TCP_COUNTER_FIELD)
};

const struct tcp_counters *tcp_counters(const struct tcp *tcp);
