/*
 * transport.h - one byte stream, whatever is below
 *
 * Plain TCP, or TCP with TLS (secure.c); HBONE comes as a third kind behind the
 * same calls. Bytes pass in packets, both ways, and both ways there is
 * back-pressure: what is not taken by transport_recv() stays below and closes
 * TCP's window; transport_room() says how much the stream would like to be given.
 *
 *   transport_connect() --> CONNECTING -- on_open --> OPEN ----------------+
 *   transport_accept()  ------------------------------> OPEN (plain)       |
 *   transport_secure()  OPEN (plain) --> SECURING -- on_open --> OPEN      |
 *                                           on_readable, on_writable, on_eof
 *                                                                          v
 *   anything that ends it from below: on_closed, the last event; the transport is gone
 *
 *   transport_park()    OPEN --> struct transport_parked, in its owner's memory -- on_woken -->
 * OPEN
 *
 * Events never come from within a call that the owner makes; transport_abort()
 * and transport_release() are the owner's last word, no event follows.
 *
 * TLS work is done in transports_run(), a bounded number of handshake steps a
 * turn, so that a burst of clients cannot stall the others. A handshake that waits for a helper
 * takes none.
 *
 * Owned by one worker.
 */
#pragma once

#include "dataplane/base/core.h"
#include "dataplane/tcp/tcp.h"
#include "tls/session.h"

struct transports;
struct transport;
struct transport_parked;

/* Why a stream ended before its time. */
enum transport_end {
    TRANSPORT_END_OK,      /* both sides closed in order */
    TRANSPORT_END_REFUSED, /* could not connect: RST, no route, no port */
    TRANSPORT_END_TIMEOUT, /* could not connect, or the peer went silent */
    TRANSPORT_END_RESET,   /* RST, or TLS ended without close_notify */
    TRANSPORT_END_TLS,     /* handshake or record failed; transport_reason() has the words */
    TRANSPORT_END_MEMORY,  /* no packets, no sessions */
};

struct transport_events {
    void (*on_open)(struct transport *t);
    void (*on_readable)(struct transport *t);
    void (*on_writable)(struct transport *t);
    void (*on_eof)(
        struct transport *t); /* the peer will send no more; everything before was taken */
    void (*on_closed)(struct transport *t, enum transport_end why); /* last */
    /* First: something has come for @p, which is @t from now on; its owner sets itself and its
     * events. @t NULL: there was no memory for it, and what was there is gone. */
    void (*on_woken)(struct transport_parked *p, struct transport *t);
};

/* What is left of an accepted stream on which nothing happens. It stays where it is. */
struct transport_parked {
    struct transports *all;
    const struct transport_events *ev; /* on_woken alone */
    struct tcp_parked *tcp;
    struct tls_session *tls; /* NULL: plain */
};

/* One worker's transports. */
struct transports *transports_new(struct core *core, struct tcp *tcp, uint32_t max);
void transports_free(struct transports *ts);

/* Handshakes with contexts of @lib may wait for its helper (tls/helper.h), and go on when that has
 * computed. */
void transports_use_tls(struct transports *ts, struct tls_lib *lib);

/* Once a turn: TLS work that is waiting, at most @handshakes handshake steps. Returns how much was
 * done. */
unsigned transports_run(struct transports *ts, unsigned handshakes);
/* True if TLS work still waits: do not sleep. */
bool transports_pending(const struct transports *ts);
uint32_t transports_count(const struct transports *ts);

/* Takes over an open connection, from within tcp's accept (sets its owner). NULL: no memory. */
struct transport *transport_accept(struct transports *ts, struct tcp_conn *c,
                                   const struct transport_events *ev, void *owner);

/* What tcp's accept function returns for a connection that transport_accept() took. */
const struct tcp_ops *transport_tcp_ops(void);

/*
 * Opens a stream, from @source if that is not NULL; with @ctx it is TLS. NULL and *@err (-errno) if
 * that fails at once. Bounded by @timeout_us, TCP and TLS together.
 */
struct transport *transport_connect(struct transports *ts, const struct ipport *remote,
                                    const struct ipaddr *source, struct tls_ctx *ctx,
                                    uint64_t timeout_us, const struct transport_events *ev,
                                    void *owner, int *err);

/* Server: TLS from here on, beginning with what transport_peek() shows. False: no memory. on_open
 * follows. */
bool transport_secure(struct transport *t, struct tls_ctx *ctx);

void transport_set_owner(struct transport *t, const struct transport_events *ev, void *owner);
void *transport_owner(const struct transport *t);

/* Pulls up to about @max bytes in and shows everything that waits, without taking it. Plain
 * transports only. */
const struct pktq *transport_peek(struct transport *t, uint64_t max);

/* Moves up to about @max bytes to @to. Returns how many. */
uint64_t transport_recv(struct transport *t, struct pktq *to, uint64_t max);

/* Takes every packet. They leave later in this turn (struct work), with what else is sent in it: a
 * response's head and its body are one record, and one segment if they fit. */
void transport_send(struct transport *t, struct pktq *q);
/* Who is told that there is none has an on_writable when there is some. */
uint32_t transport_room(struct transport *t);
/* Best size of a packet's bytes for transport_send(). */
uint32_t transport_seg(const struct transport *t);

/* No more from us: close_notify and FIN after what was sent. Receiving goes on. */
void transport_shutdown(struct transport *t);

/* What was sent is still delivered, then it is closed; @linger_us bounds that. No event follows. */
void transport_release(struct transport *t, uint64_t linger_us);

/* RST. No event follows. */
void transport_abort(struct transport *t);

/*
 * Leaves *@ret in the place of @t, if nothing waits in either direction and nothing is under way.
 * False: not now. Not from within an event.
 */
bool transport_park(struct transport *t, const struct transport_events *ev,
                    struct transport_parked *ret);

/* By its owner: it is a stream again, without an event. NULL: no memory, and it is gone. */
struct transport *transport_unpark(struct transport_parked *p);

/* As transport_tls_peer() and transport_tcp(), until the next such call. */
const struct tls_peer *transport_parked_tls_peer(const struct transport_parked *p);
const struct tcp_conn *transport_parked_tcp(const struct transport_parked *p);

/* NULL unless it is TLS and open. */
const struct tls_peer *transport_tls_peer(const struct transport *t);
const struct tls_ctx *transport_tls_ctx(const struct transport *t);
bool transport_is_secure(const struct transport *t);

const struct ipport *transport_local(const struct transport *t);
const struct ipport *transport_remote(const struct transport *t);
/* NULL once it has ended, though what it has brought may still be read. */
struct tcp_conn *transport_tcp(const struct transport *t);

/* In on_closed: the words for %UPSTREAM_TRANSPORT_FAILURE_REASON%, "" if there is nothing to say.
 */
const char *transport_reason(const struct transport *t);
