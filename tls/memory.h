/*
 * memory.h - where OpenSSL's objects lie
 *
 * A handshake takes and gives back some four hundred of them. The C library's allocator keeps the
 * last few of each size for a thread; for the others it takes a lock, and what one thread has
 * allocated and another frees (a context, at a reload) takes the lock of the first. mimalloc's
 * threads have heaps of their own, and what another thread frees comes back by one atomic
 * exchange: nobody waits for anybody. Our own objects are in slabs, or few.
 *
 * With AddressSanitizer OpenSSL stays with the allocator that it watches.
 */
#pragma once

#include <stdbool.h>

/* Once, before anything of OpenSSL is used. False: it has been, and it stays as it is. */
bool tls_memory_start(void);
