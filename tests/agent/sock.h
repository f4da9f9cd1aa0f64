/*
 * sock.h - a socket as Linux has it, over a listener or a connection of dataplane/tcp
 *
 *              listen()
 *   CLOSED  -------------> LISTEN                 accept() makes OPEN ones of those in ->queue
 *      |  ^------------------- shutdown(SHUT_RD)
 *      | connect()
 *      v          SYN-ACK              both FINs, RST, timeout
 *   CONNECTING -----------> OPEN -----------------------------> CLOSED, ->done
 *      |                                                          ^
 *      +---- refused, timeout, shutdown() ------------------------+
 *
 * As in the kernel there are two states: ->ss is what connect() has seen, and ->conn's own state
 * is the truth; ->conn is NULL as soon as TCP is done with it. What was not read then lies in
 * ->left. ->shut is sk_shutdown: what we, the peer's FIN or the end of the connection have shut.
 *
 * A socket lives as long as a descriptor or a call refers to it; when the last lets go it is
 * closed, so a call that blocks keeps working after close() in another thread, as on Linux.
 */
#pragma once

#include "tests/agent/call.h"

#include <sys/socket.h>

/* Linux' numbers of states; TCP's others come from struct tcp_conn_info. */
enum {
    STATE_ESTABLISHED = 1,
    STATE_SYN_SENT = 2,
    STATE_SYN_RECV = 3,
    STATE_FIN_WAIT1 = 4,
    STATE_FIN_WAIT2 = 5,
    STATE_CLOSE = 7,
    STATE_CLOSE_WAIT = 8,
    STATE_LAST_ACK = 9,
    STATE_LISTEN = 10,
    STATE_CLOSING = 11
};

enum { SHUT_READ = 1, SHUT_WRITE = 2, SHUT_BOTH = 3 };

enum sock_seen { SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED };

/* What setsockopt() has set, as it is read back; a child of a listener inherits it. */
struct sock_opts {
    bool reuse_addr, keepalive, linger_on, nodelay, cork, quickack, v6only;
    bool rcvbuf_set, sndbuf_set; /* they do not grow by themselves any more */
    uint32_t linger_s;
    uint32_t rcvbuf, sndbuf; /* doubled, as Linux does */
    uint32_t rcvlowat, window_clamp, notsent_lowat, mss, user_timeout_ms;
    uint32_t keepidle_s, keepintvl_s, keepcnt, syncnt;
    uint64_t rcvtimeo_us, sndtimeo_us; /* UINT64_MAX: none */
    enum cc_algorithm cc;
};

struct sock {
    struct list link; /* of agent->socks */
    struct agent *agent;
    uint32_t refs;
    int domain;
    bool nonblock;
    bool bound;      /* a port was asked for, or chosen by listen() */
    bool bound_addr; /* an address too */
    bool active;     /* opened by connect() */
    bool fin_rcvd;
    bool more;      /* MSG_MORE of the last send() */
    bool lingering; /* close() waits */
    enum sock_seen ss;
    uint8_t shut;
    int err; /* sk_err, positive */
    struct ipport local, remote;
    struct sock_opts opts;
    struct tcp_conn *conn;
    struct tcp_conn_info last; /* of ->conn, when it ended */
    uint64_t data_us;          /* when bytes came last */
    uint8_t *left;             /* unread, of a connection that has ended */
    uint64_t left_at, left_len;

    struct tcp_listener *listener;
    struct list queue; /* of those not yet accepted, by ->in_queue */
    struct list in_queue;
    uint32_t n_queued, backlog;
};

/* The socket of a call's descriptor, to which the call refers from now on. NULL: there is none. */
struct sock *sock_of(struct call *c);
void sock_get(struct sock *s);
void sock_put(struct sock *s);

/* What ->opts mean to TCP: to the connection or the listener. */
void sock_tune(struct sock *s);

/* STATE_... */
uint8_t sock_state(const struct sock *s);

/* Bytes to be read. */
uint64_t sock_unread(const struct sock *s);

/* Takes ->err. */
int sock_take_err(struct sock *s);

/* POLL... */
short sock_poll(const struct sock *s);

/* The operations of call.h. */
bool op_socket(struct call *c);
bool op_bind(struct call *c);
bool op_listen(struct call *c);
bool op_accept(struct call *c);
bool op_connect(struct call *c);
bool op_read(struct call *c);
bool op_write(struct call *c);
bool op_send(struct call *c);
bool op_recv(struct call *c);
bool op_close(struct call *c);
bool op_shutdown(struct call *c);
bool op_getsockopt(struct call *c); /* sockopt.c */
bool op_setsockopt(struct call *c);
bool op_fcntl(struct call *c);
bool op_poll(struct call *c);
bool op_ioctl(struct call *c);

/* Ends every socket, of scripts that have not done so. */
void socks_close(struct agent *a);

/* sockopt.c */
struct sock_opts sock_opts_default(const struct agent *a);
struct tcp_tuning sock_opts_tuning(const struct sock *s);

/* addr.c: 0 or a positive errno. */
int addr_read(const struct sock *s, const uint8_t *data, uint32_t len, struct ipport *ret);
void addr_write(struct call *c, const struct sock *s, const struct ipport *addr);
