/*
 * ticket.h - keys that seal session tickets, shared by all workers
 *
 * RFC 5077 section 4: AES-256-CBC, then HMAC-SHA-256 over name, IV and ciphertext
 * (the construction OpenSSL's callback offers: it takes no AEAD). Keys come from
 * the kernel's random numbers. The newest seals; the one before still opens. The
 * control thread rotates; workers read without a lock:
 *
 * Key sets live in a few slots. A reader counts itself into the slot that is
 * current and looks again: if it still is, its bytes stay as they are until the
 * reader has counted itself out, because rotation only writes into a slot that
 * is not current and that nobody reads. Keys that open nothing any more are
 * cleared, at the latest with the next rotation.
 */
#pragma once

#include <stdint.h>

struct tls_tickets;

/* NULL: no memory or no random numbers. */
struct tls_tickets *tls_tickets_new(void);

/* No worker may use them any more. */
void tls_tickets_free(struct tls_tickets *t);

/* A new key seals from now on. Control thread only; every few hours. */
void tls_tickets_rotate(struct tls_tickets *t);
