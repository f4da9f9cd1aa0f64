#include "tests/lib/wireport.h"

#include "drivers/eal.h"
#include "drivers/pktpool.h"
#include "drivers/port.h"

#include <stdio.h>
#include <stdlib.h>

static struct machine_conf machine = {
    .n_workers = 1,
    .cores = { -1 },
    .memory_mb = 96,
    .packets = 16384,
    .n_ports = 1,
    .ports = { { .name = "wire",
                 .device = PORT_MEMIF,
                 .memif_server = true,
                 .queues = 1,
                 .rx_descriptors = 1024,
                 .tx_descriptors = 1024 } },
};

static struct pktpool *pool;
static struct ports *ports;
static struct port_io *io;

void wireport_open(const char *socket, uint32_t mtu)
{
    struct cfg_err err = { "no memory" };

    machine.ports[0].socket = socket;
    machine.ports[0].mtu = (uint16_t)mtu;
    if (eal_start(&machine, &err) == 0) {
        pool = pktpool_new(&machine, 0);
        ports = pool != NULL ? ports_open(&machine, &pool, &err) : NULL;
        io = ports != NULL ? port_io_new(ports, 0, pktpool_pool(pool)) : NULL;
    }
    if (io != NULL)
        return;
    fprintf(stderr, "badwire: %s: %s\n", socket, err.text);
    exit(1);
}

void wireport_close(void)
{
    port_io_free(io);
    ports_close(ports);
    pktpool_free(pool);
    eal_stop();
}

unsigned wireport_receive(void (*fn)(void *ctx, const uint8_t *frame, uint32_t len), void *ctx)
{
    struct pkt *pkts[PORT_BURST];
    const unsigned n = port_rx(io, 0, pkts);

    for (unsigned i = 0; i < n; i++) {
        fn(ctx, pkts[i]->data, pkts[i]->len);
        pkt_free(pkts[i]);
    }
    return n;
}

bool wireport_send(const uint8_t *frame, uint32_t len)
{
    struct pkt *p = pkt_alloc(pktpool_pool(pool));

    if (p == NULL || len > pkt_tailroom(p)) {
        pkt_free(p);
        return false;
    }
    memcpy(pkt_put(p, len), frame, len);
    p->port = 0;
    port_tx(io, p);
    return true;
}

void wireport_flush(void)
{
    port_flush(io);
}

uint64_t wireport_dropped(void)
{
    return port_counters(io)->tx_dropped;
}
