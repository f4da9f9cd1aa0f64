/*
 * call.h - the Unix socket: requests, replies, and calls that wait
 *
 * A client connects, sends a request and waits for the reply; then it closes the connection, or
 * sends the next request. A call that blocks keeps its connection busy, so calls that are to
 * block at the same time come on connections of their own. All numbers are in host order:
 *
 *   request   struct agent_request, then ->dlen bytes
 *   reply     struct agent_reply, then ->dlen bytes; ->ret is what the call returns, ->err Linux'
 *             errno if that is -1
 *
 *   op             a         b        c        data        reply data
 *   1  socket      domain    type     proto
 *   2  bind                                    sockaddr
 *   3  listen      backlog
 *   4  accept                                              sockaddr
 *   5  connect                                 sockaddr
 *   6  read        length                                  bytes
 *   7  write                                   bytes
 *   8  send                  flags             bytes
 *   9  recv        length    flags                         bytes
 *   10 close
 *   11 shutdown    how
 *   12 getsockopt  level     name     length               value
 *   13 setsockopt  level     name              value
 *   14 fcntl       cmd       arg
 *   15 poll        timeout                     pollfds     pollfds
 *   16 ioctl       request                                 int
 *
 * A request whose dlen is too large (AGENT_DATA_MAX) is answered with EMSGSIZE, and the connection
 * is closed, as nobody knows where the next one begins; an op that is none, with ENOSYS. A client
 * that goes away within a call ends it as a signal would: what has been done stays done.
 *
 * An operation is a function that is called until it returns true, which it does at once or after
 * call_wait(); then ->ret, ->err and ->out are the answer.
 */
#pragma once

#include "tests/agent/agent.h"

#define AGENT_DATA_MAX (4u << 20)
#define AGENT_CLIENTS_MAX 1024

struct agent_request {
    int32_t op, fd, a, b, c;
    uint32_t dlen;
};

struct agent_reply {
    int64_t ret;
    int32_t err;
    uint32_t dlen;
};

struct call {
    struct agent *agent;
    struct agent_request req;
    const uint8_t *data; /* ->req.dlen bytes */

    /* The answer. */
    int64_t ret;
    int32_t err;
    uint8_t *out; /* malloc */
    uint32_t out_len;

    /* While it goes on; references, so that a call outlives its descriptor as on Linux. */
    struct sock *sock;
    struct sock **polled;
    uint32_t n_polled;
    uint64_t progress; /* bytes */
    bool again;        /* it is not the first try */
    bool timed_out;
    struct wheel_timer timer;
};

/* An operation, tried: true if ->ret and the rest are set. */
typedef bool (*call_fn)(struct call *c);

/* ->ret, and true. */
bool call_return(struct call *c, int64_t ret);

/* -1 and @err, and true. */
bool call_fail(struct call *c, int err);

/* Room for @len bytes of reply data, which are sent even if the call fails. NULL: no memory. */
void *call_out(struct call *c, uint32_t len);

/*
 * To be tried again, when something has happened or, with ->timed_out set, after @timeout_us
 * (UINT64_MAX: never) from the first time. Returns false.
 */
bool call_wait(struct call *c, uint64_t timeout_us);

/* The Unix socket, ready; and its end. 0 or -errno, with words on stderr. */
NODISCARD int calls_open(struct agent *a);
void calls_close(struct agent *a);

/* Waits for at most @sleep_us for something from a client, and executes it. True if there was
 * anything. */
bool calls_run(struct agent *a, uint64_t sleep_us);

/* Tries what is parked, if ->woken. */
void calls_retry(struct agent *a);
