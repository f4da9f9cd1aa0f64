/*
 * agent.h - the socket agent: our TCP with Linux' socket calls, for test scripts of other people
 *
 * Scripts in the manner of packetdrill describe what Linux does: which call returns what, with
 * which errno, and which segments it sends. The agent lets them ask the same of our TCP. A script
 * runner sends segments to a port of the agent's and socket calls to its Unix socket; Linux'
 * meanings and errnos are the measure, down to TCP_INFO.
 *
 *      script runner                              isthmus-agent, one thread
 *   --- socket calls ---> PATH (Unix) --> call.c --> sock.c, sockopt.c --> dataplane/tcp
 *   --- segments -------> interface ----> loop.c --> dataplane/net ------> dataplane/tcp
 *
 * There is no worker here, but what a worker is made of: one port, one net, one tcp, and a loop
 * around them. Everything, the Unix socket too, is done by one thread, so that a script sees one
 * order of events, and nothing needs a lock: with a second thread, a call and the segment that
 * follows it could overtake each other. A call that blocks is not a thread, but a struct call that
 * is parked: whenever a segment or a timer has changed anything, all that are parked are tried
 * again, the oldest first.
 *
 * What a gateway does for speed is off: segments are taken one by one, and what a call or a
 * segment makes TCP send leaves at once and not at the end of a turn.
 *
 * The protocol of the Unix socket is in call.h. What Linux has and the agent has not is refused
 * with the errno of a Linux that was built without it (ENOPROTOOPT, EOPNOTSUPP):
 *
 *   urgent data (MSG_OOB), TCP Fast Open, MPTCP, TCP_REPAIR, TCP_MD5SIG, ULPs, zero-copy, error
 *   queues and timestamps of packets, SO_REUSEPORT, TCP_DEFER_ACCEPT, TCP_LINGER2, IP options, TOS.
 *
 * A connection cannot be opened to an address of the agent's own: there is no loopback.
 */
#pragma once

#include "dataplane/base/core.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tests/agent/settings.h"

#define AGENT_FDS 1024

struct sock;

#define AGENT_COUNTERS(X)                                                                          \
    X(calls, "calls executed")                                                                     \
    X(parked, "calls that had to wait")                                                            \
    X(abandoned, "calls whose client went away")                                                   \
    X(bad_requests, "requests refused: too long, or cut short")                                    \
    X(bad_ops, "requests refused: no such operation")                                              \
    X(too_many, "connections to the Unix socket refused: too many")

#define AGENT_COUNTER_FIELD(name, text) uint64_t name;
struct agent_counters {
    AGENT_COUNTERS(AGENT_COUNTER_FIELD)
};

struct agent {
    struct core core;
    struct settings settings;
    struct ports *ports;
    struct pktpool *pool;
    struct port_io *io;
    struct net *net;
    struct tcp *tcp;

    /* call.c */
    int epoll, listener;
    bool socket_made;
    bool woken; /* something has happened: what is parked is to be tried again */
    uint32_t n_clients;
    struct list clients, parked;
    struct agent_counters counters;

    /* sock.c */
    struct list socks;
    struct sock *fds[AGENT_FDS]; /* by the script's descriptor; some may be the same */
    bool cloexec[AGENT_FDS];
};

/* Port, net and tcp, from ->settings. 0 or -errno, with words on stderr. */
NODISCARD int agent_start(struct agent *a);

/* Until *@stop. */
void agent_run(struct agent *a, const volatile bool *stop);
void agent_stop(struct agent *a);

void agent_read_clock(struct agent *a);

/* What was queued leaves now. */
void agent_flush(struct agent *a);
