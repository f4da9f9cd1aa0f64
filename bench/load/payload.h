/*
 * payload.h - bytes that mean nothing, and packets that are not sent half empty
 */
#pragma once

#include "dataplane/base/pkt.h"

/* Appends @n bytes in packets of at most @seg. Returns how many: fewer if the pool is empty. */
uint64_t payload_append(struct pktq *to, struct pkt_pool *pool, uint64_t n, uint32_t seg);

/*
 * Moves everything from @from to @to; a packet that fits into what is left of the last one is
 * copied into it, so that a head and a small body are one segment, as they are of servers that
 * write both at once.
 */
void payload_join(struct pktq *to, struct pktq *from, struct pkt_pool *pool, uint32_t seg);
