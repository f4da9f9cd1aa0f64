/*
 * port.h - ports and their queues: open, receive, send
 *
 * A port is any ethdev (drivers/vdev.h). The set of ports is opened once, by the
 * control thread, before the workers start, and closed after they have stopped.
 * Each worker then receives and sends by its own struct port_io, which nobody
 * else touches.
 *
 * Receiving: worker w reads queue w of each port; of a port with fewer queues,
 * the workers beyond read nothing. Frames that belong to another worker (where
 * the port cannot steer, or steers by another key) go to it through a ring and
 * are counted; the owner gets them from its own port_rx().
 *
 * Where a port has an interface of the kernel's (kernel.h), the first worker reads
 * and writes it; the others send to it by a ring.
 *
 * Sending: port_tx() collects; port_flush() at the end of the turn sends, and
 * frees and counts what the port did not take. Trains (base/pkt.h) go to a port that
 * cuts them up itself as they are, and are cut up in port_tx() for any other.
 */
#pragma once

#include "config/model/machine.h"
#include "config/model/where.h"
#include "drivers/steer.h"

#define PORT_BURST 64

struct capture_tap;
struct pktpool;
struct ports;
struct port_io;

/* What a port can do, and what was asked of it. */
struct port_info {
    const char *name;
    const char *driver;
    uint8_t mac[6];
    uint16_t mtu;
    uint16_t n_queues;
    bool link_up;
    bool rx_csum, tx_ip_csum, tx_tcp_csum;
    bool tx_tso, rx_lro;
    uint8_t train_max; /* packets of a train, at most; 0: it is to get none */
    bool rss;          /* the port steers by our key and table: no software check */
};

/*
 * Opens every port of @conf for its workers, whose packets come from @pools. The capabilities are
 * logged in words. On failure nothing is left open and @err has the words.
 */
struct ports *ports_open(const struct machine_conf *conf, struct pktpool **pools,
                         struct cfg_err *err);
void ports_close(struct ports *p);

uint32_t ports_count(const struct ports *p);
/* Any thread. Refreshes the link state. */
void ports_info(struct ports *p, uint32_t i, struct port_info *ret);
const struct steer *ports_steer(const struct ports *p);

/* The device's own counters. */
struct port_stats {
    uint64_t rx_pkts, tx_pkts, rx_bytes, tx_bytes, rx_missed, rx_errors, tx_errors, rx_no_mbuf;
};
void ports_stats(struct ports *p, uint32_t i, struct port_stats *ret);

/* Counters of one worker's port_io. */
#define PORT_COUNTERS(X)                                                                           \
    X(rx, "packets received from queues")                                                          \
    X(tx, "packets given to queues")                                                               \
    X(tx_dropped, "packets dropped: the port's queue was full")                                    \
    X(tx_trains, "trains of segments given to the port to cut up")                                 \
    X(rx_in_parts, "packets dropped: received in several buffers, not TCP, and too long for one")  \
    X(tx_by_other, "packets sent by another worker, which has a queue of that port")               \
    X(redirect_out, "packets handed to the worker that owns their flow")                           \
    X(redirect_in, "packets that another worker handed over")                                      \
    X(redirect_dropped, "packets dropped: the other worker's ring was full")                       \
    X(shared_out, "ARP and neighbour discovery frames copied to other workers")                    \
    X(misdirected, "packets the port steered to a worker that does not own them")                  \
    X(hash_wrong, "ports whose hash is not ours: flows are hashed in software")                    \
    X(punt_out, "packets for the kernel handed to the first worker")                               \
    X(punt_dropped, "packets for the kernel dropped: the first worker's ring was full")            \
    X(kernel_tx, "packets given to interfaces of the kernel")                                      \
    X(kernel_rx, "packets taken from interfaces of the kernel")                                    \
    X(kernel_tx_dropped, "packets dropped: too long for the kernel's interface, or it was full")

#define PORT_COUNTER_FIELD(name, text) uint64_t name;
struct port_counters {
    PORT_COUNTERS(PORT_COUNTER_FIELD)
};

/* One worker's side of all ports. */
struct port_io *port_io_new(struct ports *p, uint32_t worker, struct pkt_pool *pool);
void port_io_free(struct port_io *io);

/*
 * Up to PORT_BURST packets of this worker from queue of port @i; with @i == ports_count(), those
 * that other workers handed over.
 */
unsigned port_rx(struct port_io *io, uint32_t i, struct pkt **pkts);

/* Takes @p (its ->port says where to). */
void port_tx(struct port_io *io, struct pkt *p);
void port_flush(struct port_io *io);

/* Gives @p, a frame that this worker has put together, to the worker that owns its flow. False:
 * that is this one, and @p is not taken. */
bool port_steer(struct port_io *io, struct pkt *p);

/* Does whatever comes end a sleep? Then a worker need not look every now and then. */
bool port_can_wait(const struct port_io *io);

/*
 * The end of a turn: 0, or the time for which there is nothing to do, as long as nothing comes.
 * Sleeps as long, or until something does where port_can_wait(); there at the second of two turns
 * without work only, as others know from the first on that it has to be woken. Returns whether it
 * slept.
 */
bool port_rest(struct port_io *io, uint64_t us);

/* Any thread, after it has put something there for @worker. */
void port_wake(struct ports *p, uint32_t worker);

/* A copy of @p for every other worker. Does not take @p. */
void port_share(struct port_io *io, const struct pkt *p);

/* Takes @p, a frame for the kernel, to the first worker. */
void port_punt(struct port_io *io, struct pkt *p);

/* The first worker's: up to PORT_BURST packets that others have punted; some that the kernel has
 * sent by its interface of port @i. */
unsigned port_punted(struct port_io *io, struct pkt **pkts);
unsigned port_kernel_rx(struct port_io *io, uint32_t i, struct pkt **pkts);

/* The first worker's: takes @p to the kernel's interface of p->port, at the end of the turn. */
void port_kernel_tx(struct port_io *io, struct pkt *p);

/*
 * From now on frames that this worker receives and sends are also copied into @tap, received ones
 * as they come from the queue, sent ones as they are given to it; NULL: no more. @wall_us: where
 * the worker keeps the time.
 */
void port_capture(struct port_io *io, struct capture_tap *tap, const uint64_t *wall_us);

const struct port_counters *port_counters(const struct port_io *io);
