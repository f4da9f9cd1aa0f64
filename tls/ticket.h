/*
 * ticket.h - keys that seal session tickets, shared by all workers
 *
 * AES-256-GCM keys from the kernel's random numbers. The newest seals; the
 * one before still opens. The control thread rotates; workers read without a
 * lock. Cleared when replaced.
 */
#pragma once

#include <stdint.h>

struct tls_tickets;

struct tls_tickets *tls_tickets_new(void);
void tls_tickets_free(struct tls_tickets *t);

/* A new key seals from now on. Control thread only; every few hours. */
void tls_tickets_rotate(struct tls_tickets *t);
