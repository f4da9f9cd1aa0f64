/*
 * kernel.h - the kernel's share of a port: an interface of its own
 *
 * A port with a kernel_interface has a TAP beside it (DPDK's net_tap), which looks to the kernel as
 * the port would: the same MAC address, the same MTU (at most 1500: DPDK's TAP takes no more). It
 * goes when the process does, however that ends. What is put into it is a matter of net/punt.h.
 *
 * Opened and closed by the control thread with the ports (port.h). The first worker alone sends and
 * receives; port.c brings it what the others have. An empty receive makes no system call.
 */
#pragma once

#include "config/model/machine.h"
#include "config/model/where.h"
#include "dataplane/base/pkt.h"

#define KERNEL_BURST 32
#define KERNEL_MTU_MAX 1500

struct rte_mempool;

struct kernel_if {
    const char *name; /* NULL: this port has none */
    uint16_t ethdev;
    bool started;
    uint32_t max_len; /* of a frame */
    unsigned n_tx;
    struct pkt *tx[KERNEL_BURST];
};

/*
 * Makes the interface of port @index. 0, or -EINVAL with words in @err: what there is not (a
 * device, a right, a free name).
 */
NODISCARD int kernel_if_open(struct kernel_if *k, const struct port_conf *conf, uint32_t index,
                             const uint8_t mac[6], uint16_t mtu, struct rte_mempool *mempool,
                             struct cfg_err *err);
void kernel_if_close(struct kernel_if *k, uint32_t index);

/* Up to KERNEL_BURST packets that the kernel has sent, which are said to be of @port. */
unsigned kernel_if_rx(struct kernel_if *k, struct pkt_pool *pool, uint8_t port, struct pkt **pkts);

/*
 * Takes @p for the interface, to be sent by kernel_if_flush(). One that is too long for it (which a
 * datagram that came in fragments may be) is freed. Both return how many packets were dropped.
 */
unsigned kernel_if_tx(struct kernel_if *k, struct pkt *p);
unsigned kernel_if_flush(struct kernel_if *k);
