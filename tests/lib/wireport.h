/*
 * wireport.h - an end of a bad cable that is a port of DPDK's: memif
 *
 * What an interface of the kernel is to a machine of the kernel, this is to one of ours: the
 * gateway's NIC is at the other side of it, without a kernel between. Once per process, by its only
 * thread. Frames are copied in and out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The server side of @socket. Ends the process with words where that cannot be. */
void wireport_open(const char *socket, uint32_t mtu);
void wireport_close(void);

/* Frames that @fn is shown, one after the other, each until it returns; up to a burst of them. */
unsigned wireport_receive(void (*fn)(void *ctx, const uint8_t *frame, uint32_t len), void *ctx);

/* False: there is no memory for it. */
bool wireport_send(const uint8_t *frame, uint32_t len);
void wireport_flush(void);
/* Sent, and not taken by the port. */
uint64_t wireport_dropped(void);
