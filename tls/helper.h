/*
 * helper.h - public-key operations of handshakes, on another core
 *
 * More than half of a handshake is four kinds of operations: a key pair is made, a secret is
 * agreed on, a signature is made, one is verified. A worker that has a desk computes none of them.
 * It puts the operation on the desk, and the handshake stands still: OpenSSL runs it as a job
 * (ASYNC_start_job(3)), with a stack of its own, that goes on where it has stopped. The worker
 * sees to its packets meanwhile. A helper, a thread on another core, takes what is on the desk,
 * computes it, and puts it back. All else stays with the worker, as it is without: the state of the
 * handshake, its records, what is known of certificates and chains, and who is accepted.
 *
 * A desk is two rings, of one worker and one helper, without locks. What finds it full is computed
 * by the worker: so nothing waits for more than TLS_DESK operations, and a helper that is slow, or
 * not scheduled, is one that helps less.
 *
 * A session that is freed while the helper has its operation is cleared away when that comes back.
 *
 * This works in every handshake, of servers and clients, TLS 1.2 and 1.3, with keys of any kind: we
 * stand in the place of the four functions of libcrypto that libssl calls for it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tls_lib;
struct tls_session;
struct tls_desk;

#define TLS_DESK 32 /* operations that wait on one, a power of two */

/*
 * What is called when there is something new: on the desk for the helper, back for the worker. On
 * the thread of the other; must not block.
 */
struct tls_desk_conf {
    void (*on_asked)(void *helper);
    void *helper;
    void (*on_answered)(void *worker);
    void *worker;
};

/* Control thread. NULL: no memory. */
struct tls_desk *tls_desk_new(const struct tls_desk_conf *conf);
/* After its helper has ended and everything was answered. NULL is allowed. */
void tls_desk_free(struct tls_desk *d);

/* Helper: computes the operation that has waited longest. False: none does. */
bool tls_desk_work(struct tls_desk *d);

/* Before the first session: @lib's handshakes use @d, which outlives them. */
void tls_lib_use_desk(struct tls_lib *lib, struct tls_desk *d);

/*
 * Worker, every turn: a session whose operation has come back. The caller goes on with it at once,
 * by tls_read(), even without anything new to read, or frees it. NULL: none has. Those that are
 * not asked for wait on the desk.
 */
struct tls_session *tls_lib_answered(struct tls_lib *lib);

/* Operations that have not come back yet. */
uint32_t tls_lib_n_asked(const struct tls_lib *lib);

/*
 * Worker, at its end, on its own thread, as a job cannot go on in another: waits for what has not
 * come back, and ends those handshakes, whose sessions have failed then. The helper still runs.
 */
void tls_lib_settle(struct tls_lib *lib);
