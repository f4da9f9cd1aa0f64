/*
 * recorder.h - flight recorders: what the last segments of a connection were
 *
 * A worker has a fixed number of recorders, each a ring of a fixed number of records of 24
 * bytes. A connection takes one when it carries data and has none: a free one, or that of the
 * connection that was quiet the longest, if that was at least a second (a minute, where losses
 * are being repaired): in a second no more are taken than there are. If all are busy it goes
 * without, which is counted.
 *
 * When an episode is over, in which losses were repaired (RECOVERY or LOSS of recovery.c), or a
 * connection ends by a timeout, or by a reset with bytes in flight, the ring is copied to an
 * archive, where the oldest goes for it. A peer can bring about as many episodes as it likes:
 * at most EPISODE_RATE are copied, the others are counted.
 *
 *   record ---> ring of the connection --- end of an episode ---> archive (the oldest goes)
 *                      \_______________________________________________/
 *                             tcp_logs_each(), tcp_log_find(): a copy
 *
 * No allocation after tcp_new(), no pointers inside records: they are copied as they are.
 * Owned by the worker.
 */
#pragma once

#include "dataplane/base/ipaddr.h"
#include "dataplane/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct tcp;
struct tcp_conn;
struct tcp_hdr;
struct tcp_parked;
struct tcp_seg;

/* What a record is of, and what its fields hold; those that are not named are 0. */
#define TCP_RECORD_KINDS(X)                                                                        \
    X(IN, "received") /* seq, ack, wnd (octets), len, flags (TCP's); mark: 1 with CE */            \
    X(OUT, "sent")    /* the same */                                                               \
    X(AGAIN, "sent again")                                                                         \
    X(BLOCK_IN, "SACK") /* of the segment before: [seq, ack) */                                    \
    X(BLOCK_OUT, "SACK")                                                                           \
    X(STATE, "state")     /* mark: from, len: to (enum tcp_state) */                               \
    X(REPAIR, "repair")   /* the same (enum tcp_ca_state); seq: cwnd, ack: ssthresh, wnd: pipe */  \
    X(UNDO, "undo")       /* seq: cwnd, ack: ssthresh, as they are again */                        \
    X(TIMEOUT, "timeout") /* len: how often in a row before */                                     \
    X(PROBE, "tail loss probe")                                                                    \
    X(LATE, "reordering timer")                                                                    \
    X(ASK, "zero window probe")                                                                    \
    X(KEEPALIVE, "keepalive")                                                                      \
    X(RTT, "round trip") /* wnd: sample, seq: smoothed, ack: RTO; only what is news */             \
    X(WRITE, "written")  /* seq: octets; those in a row are one */                                 \
    X(READ, "read")

#define TCP_RECORD_ENUM(name, text) TCP_RECORD_##name,
enum tcp_record_kind { TCP_RECORD_KINDS(TCP_RECORD_ENUM) TCP_RECORD_COUNT };

/* Sequence numbers count from the sender's SYN. */
struct tcp_record {
    uint64_t head; /* 48 bits: the worker's clock, in us; 8: kind; 8: flags */
    uint32_t seq, ack, wnd;
    uint16_t len, mark;
};
_Static_assert(sizeof(struct tcp_record) == 24, "records are copied as they are");

#define TCP_RECORD_CLOCK 48
static inline uint64_t tcp_record_us(const struct tcp_record *r)
{
    return r->head & ((UINT64_C(1) << TCP_RECORD_CLOCK) - 1);
}

static inline enum tcp_record_kind tcp_record_kind(const struct tcp_record *r)
{
    return (enum tcp_record_kind)(r->head >> TCP_RECORD_CLOCK & 0xff);
}

static inline uint8_t tcp_record_flags(const struct tcp_record *r)
{
    return (uint8_t)(r->head >> 56);
}

enum tcp_log_why { TCP_LOG_LIVE, TCP_LOG_REPAIRED, TCP_LOG_TIMED_OUT, TCP_LOG_RESET };

/* Whose the records are. */
struct tcp_log {
    uint32_t id; /* from 1; 0: of a connection as it is now */
    enum tcp_log_why why;
    struct ipport local, remote;
    uint64_t at_us, wall_us; /* when it was kept; live: now. The same moment on both clocks. */
    uint16_t mss;
    uint8_t snd_shift, rcv_shift;
    bool ts_on, sack_on, active;
    uint32_t n;           /* records */
    uint64_t overwritten; /* before them */
};

/* Episodes, the oldest first, then live recorders, from position *@at (start with 0) on, at most
 * @n; false when all were told. @records: @log->n of them, in order, in up to two pieces. */
struct tcp_log_pieces {
    const struct tcp_record *v[2];
    uint32_t n[2];
};
typedef void (*tcp_log_fn)(const struct tcp_log *log, const struct tcp_log_pieces *records,
                           void *ctx);
bool tcp_logs_each(const struct tcp *tcp, uint32_t *at, uint32_t n, tcp_log_fn fn, void *ctx);

/*
 * One of them: by @id, or, with 0, the newest that has @end as its local or remote one. Copies at
 * most @max records, the newest. False: there is none.
 */
bool tcp_log_find(const struct tcp *tcp, uint32_t id, const struct ipport *end, struct tcp_log *ret,
                  struct tcp_record *records, uint32_t max);

/* ---- for the files of this folder */

struct tcp_recorder {
    struct tcp_record *next; /* to be written */
    struct tcp_record *v, *end;
    uint64_t moved_us;         /* when it was put at the end of the list */
    struct list link;          /* in recorders->by_use, the one used longest ago first */
    struct tcp_conn *conn;     /* NULL: nobody's, */
    struct tcp_parked *parked; /* or of a connection that is parked */
    uint64_t rounds;           /* that ->next has made */
};

struct tcp_recorders; /* one worker's; NULL where there are none */

/* NULL, and *@err -ENOMEM: no memory. NULL and 0: none are wanted. */
struct tcp_recorders *tcp_recorders_new(const struct tcp *tcp, int *err);
void tcp_recorders_free(struct tcp_recorders *r);

/* @c carries data and has no recorder: it takes one if it can. */
void tcp_recorder_take(struct tcp_conn *c);
/* The connection goes: its recorder is free. */
void tcp_recorder_leave(struct tcp_conn *c);
/* It is another struct from now on: one of @c and @p is NULL. */
void tcp_recorder_follow(struct tcp *tcp, uint16_t rec, struct tcp_conn *c, struct tcp_parked *p);

/* Each does nothing for a connection without a recorder. */
void tcp_record_in_slow(struct tcp_conn *c, const struct tcp_seg *s);
void tcp_record_out_slow(struct tcp_conn *c, const struct tcp_hdr *h, uint32_t len, bool again);
void tcp_record_slow(struct tcp_conn *c, enum tcp_record_kind kind, const struct tcp_record *what);
void tcp_record_bytes_slow(struct tcp_conn *c, enum tcp_record_kind kind, uint64_t n);

/* Its recorder's content is kept. */
void tcp_recorder_keep(struct tcp_conn *c, enum tcp_log_why why);
