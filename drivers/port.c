#include "drivers/port.h"

#include "dataplane/base/hash.h"
#include "dataplane/base/log.h"
#include "dataplane/base/own.h"
#include "dataplane/base/ring.h"
#include "drivers/capture.h"
#include "drivers/eal.h"
#include "drivers/kernel.h"
#include "drivers/offload.h"
#include "drivers/pktpool.h"
#include "drivers/vdev.h"
#include "drivers/wake.h"

#include <errno.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <stdlib.h>

#define REDIRECT_RING 1024
#define PUNT_RING 256 /* a flood of it must not hold many packets */
#define TX_BATCH 128
#define ETH_OVERHEAD (RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN)
#define TSO_SEGMENT_MIN 256 /* some NICs take shorter segments for an attack */

struct port {
    const struct port_conf *conf;
    struct port_info info;
    uint16_t ethdev;
    bool started;
    uint16_t n_sockets; /* of its queues, that a worker can wait for */
    bool merge;         /* received segments, here or in net */
};

struct ports {
    const struct machine_conf *conf;
    struct steer steer;
    uint32_t n;
    struct port port[MACHINE_MAX_PORTS];
    /* From any worker to worker w: received frames that w owns; frames to send by a queue that w
     * has. */
    struct ring *redirect[MACHINE_MAX_WORKERS];
    struct ring *outbound[MACHINE_MAX_WORKERS];
    /* Used by the first worker; from the others to it: frames for the kernel. */
    struct kernel_if kernel[MACHINE_MAX_PORTS];
    bool has_kernel; /* has any port? */
    struct ring *punted;
    struct wake wake[MACHINE_MAX_WORKERS];
};

struct tx_batch {
    unsigned n;
    struct pkt *pkts[TX_BATCH];
};

_Static_assert(MACHINE_MAX_WORKERS <= 32, "a bit of to_wake for each");

struct port_io {
    struct ports *ports;
    struct pkt_pool *pool;
    uint32_t worker;
    struct port_counters counters;
    struct capture_tap *capture; /* NULL: none */
    const uint64_t *wall_us;
    uint32_t to_wake; /* workers that were given something, a bit for each */
    bool can_wait;
    bool drowsy; /* others see that it sleeps: it does after one more turn without work */
    struct steer_check check[MACHINE_MAX_PORTS];
    struct tx_batch tx[MACHINE_MAX_PORTS];
};

/* --- opening --------------------------------------------------------------------------------- */

static const char *yes(bool b)
{
    return b ? "by the port" : "in software";
}

static void log_capabilities(const struct port *port, uint32_t n_workers)
{
    const struct port_info *i = &port->info;

    log_info("port",
             "%s: %s, %02x:%02x:%02x:%02x:%02x:%02x, mtu %u, %u queue%s for %u worker%s; "
             "checksums: received %s, "
             "sent %s; segments cut %s, merged %s; flows to cores: %s",
             i->name, i->driver, i->mac[0], i->mac[1], i->mac[2], i->mac[3], i->mac[4], i->mac[5],
             i->mtu, i->n_queues, i->n_queues == 1 ? "" : "s", n_workers, n_workers == 1 ? "" : "s",
             yes(i->rx_csum), yes(i->tx_tcp_csum), i->train_max > 0 ? yes(i->tx_tso) : "never",
             port->merge ? yes(i->rx_lro) : "never",
             n_workers == 1 ? "one core has them all" : yes(i->rss));
}

static void offloads(const struct rte_eth_dev_info *dev, struct rte_eth_conf *eth,
                     struct port_info *info)
{
    uint64_t rx = dev->rx_offload_capa, tx = dev->tx_offload_capa;

    info->rx_csum = (rx & RTE_ETH_RX_OFFLOAD_CHECKSUM) == RTE_ETH_RX_OFFLOAD_CHECKSUM ||
                    ((rx & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) && (rx & RTE_ETH_RX_OFFLOAD_TCP_CKSUM));
    info->tx_ip_csum = tx & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
    info->tx_tcp_csum = info->tx_ip_csum && (tx & RTE_ETH_TX_OFFLOAD_TCP_CKSUM);
    if (info->rx_csum)
        eth->rxmode.offloads |= RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
    if (info->tx_tcp_csum)
        eth->txmode.offloads |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    info->tx_ip_csum = info->tx_tcp_csum;
}

static void segmentation(const struct rte_eth_dev_info *dev, struct rte_eth_conf *eth,
                         struct port_info *info)
{
    const uint64_t need = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    const uint16_t most = dev->tx_desc_lim.nb_seg_max;

    info->train_max = PKT_TRAIN_MAX;
    info->tx_tso = info->tx_tcp_csum && (dev->tx_offload_capa & need) == need && most != 1;
    if (!info->tx_tso)
        return;
    eth->txmode.offloads |= need;
    if (most != 0)
        info->train_max = (uint8_t)MIN(most, PKT_TRAIN_MAX);
}

/* A port that merges puts what it has merged into several buffers; so does one whose frames are
 * longer than a buffer. */
static void merging(const struct rte_eth_dev_info *dev, struct rte_eth_conf *eth, bool wanted,
                    bool jumbo, struct port_info *info)
{
    const bool scatters = (dev->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0;

    info->rx_lro = wanted && scatters && (dev->rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0;
    if (info->rx_lro) {
        eth->rxmode.offloads |= RTE_ETH_RX_OFFLOAD_TCP_LRO;
        eth->rxmode.max_lro_pkt_size = dev->max_lro_pkt_size;
    }
    if (scatters && (jumbo || info->rx_lro))
        eth->rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
}

static void more_offloads(const struct rte_eth_dev_info *dev, const struct machine_conf *machine,
                          struct rte_eth_conf *eth, struct port *port)
{
    const bool jumbo =
        port->conf->mtu + ETH_OVERHEAD > RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM;

    if (machine->tcp.segmentation_offload)
        segmentation(dev, eth, &port->info);
    port->merge = machine->tcp.receive_offload;
    /* The kernel gets frames as they came. */
    merging(dev, eth, port->merge && port->conf->kernel_interface == NULL, jumbo, &port->info);
}

/* Asks for RSS by our key. Whether the port keeps to it is seen after the start, by upload_reta().
 */
static bool ask_for_rss(const struct ports *p, const struct rte_eth_dev_info *dev,
                        struct rte_eth_conf *eth)
{
    const uint64_t must = RTE_ETH_RSS_NONFRAG_IPV4_TCP, may = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
    const uint64_t types = must | (dev->flow_type_rss_offloads & may);

    if (p->steer.n_workers == 1 || dev->hash_key_size != STEER_KEY_LEN ||
        (dev->flow_type_rss_offloads & must) != must)
        return false;
    eth->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    eth->rx_adv_conf.rss_conf = (struct rte_eth_rss_conf){
        .rss_key = (uint8_t *)(uintptr_t)p->steer.key, .rss_key_len = STEER_KEY_LEN, .rss_hf = types
    };
    return true;
}

/* The port's table, entry by entry: hash & (size - 1) must lead where steer says. */
static bool upload_reta(const struct ports *p, const struct port *port, uint16_t reta_size)
{
    struct rte_eth_rss_reta_entry64 reta[RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE];

    if (reta_size == 0 || reta_size > RTE_ETH_RSS_RETA_SIZE_512 || reta_size % STEER_RETA != 0 ||
        port->info.n_queues < p->steer.n_workers)
        return false;
    memset(reta, 0, sizeof(reta));
    for (unsigned i = 0; i < reta_size; i++) {
        reta[i / RTE_ETH_RETA_GROUP_SIZE].mask |= UINT64_C(1) << (i % RTE_ETH_RETA_GROUP_SIZE);
        reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] =
            p->steer.reta[i % STEER_RETA];
    }
    return rte_eth_dev_rss_reta_update(port->ethdev, reta, reta_size) == 0;
}

/* Some drivers take a key and a table, and keep others. */
static bool keeps_to_it(const struct ports *p, const struct port *port, uint16_t reta_size)
{
    struct rte_eth_rss_reta_entry64 reta[RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE];
    uint8_t key[STEER_KEY_LEN] = { 0 };
    struct rte_eth_rss_conf rss = { .rss_key = key, .rss_key_len = sizeof(key) };

    if (rte_eth_dev_rss_hash_conf_get(port->ethdev, &rss) < 0 ||
        memcmp(key, p->steer.key, sizeof(key)) != 0)
        return false;
    memset(reta, 0, sizeof(reta));
    for (unsigned i = 0; i < ARRAY_SIZE(reta); i++)
        reta[i].mask = UINT64_MAX;
    if (rte_eth_dev_rss_reta_query(port->ethdev, reta, reta_size) < 0)
        return false;
    for (unsigned i = 0; i < reta_size; i++)
        if (reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] !=
            p->steer.reta[i % STEER_RETA])
            return false;
    return true;
}

/* Queue @q, and by what its worker can be woken. */
static int setup_rx_queue(struct ports *p, struct port *port, uint16_t q, uint16_t n_rx,
                          struct pktpool **pools)
{
    const uint32_t w = q % p->conf->n_workers;
    const int rc = rte_eth_rx_queue_setup(port->ethdev, q, n_rx, SOCKET_ID_ANY, NULL,
                                          pktpool_mempool(pools[w]));

    if (rc == 0 && port->conf->device == PORT_AF_XDP)
        port->n_sockets += wake_add_xdp(&p->wake[w], p->wake, p->conf->n_workers);
    return rc;
}

static int setup_queues(struct ports *p, struct port *port, struct pktpool **pools)
{
    uint16_t n_rx = port->conf->rx_descriptors, n_tx = port->conf->tx_descriptors;
    int rc;

    rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->ethdev, &n_rx, &n_tx);
    for (uint16_t q = 0; rc == 0 && q < port->info.n_queues; q++)
        rc = setup_rx_queue(p, port, q, n_rx, pools);
    for (uint16_t q = 0; rc == 0 && q < port->info.n_queues; q++)
        rc = rte_eth_tx_queue_setup(port->ethdev, q, n_tx, SOCKET_ID_ANY, NULL);
    return rc;
}

static int tell_mtu(const struct port *port, uint16_t mtu, uint16_t now)
{
    return mtu == now ? 0 : rte_eth_dev_set_mtu(port->ethdev, mtu);
}

static void set_mtu(struct port *port)
{
    uint16_t mtu = port->conf->mtu, now, told;
    int rc;

    if (rte_eth_dev_get_mtu(port->ethdev, &now) < 0)
        now = 1500;
    if (mtu == 0)
        mtu = MIN(now, 1500);
    told = vdev_mtu(port->conf, mtu, port->info.tx_tso);
    rc = tell_mtu(port, told, now);
    if (rc < 0 && told != mtu) { /* too long for what it would cut */
        port->info.tx_tso = false;
        rc = tell_mtu(port, mtu, now);
    }
    if (rc < 0)
        log_warning("port",
                    "%s: the device does not take mtu %u (%s): its interface must have it already",
                    port->conf->name, mtu, rte_strerror(-rc));
    port->info.mtu = mtu;
}

/* A ring has no address of its own: a locally administered one that follows from its name. */
static void read_mac(struct port *port)
{
    static const uint8_t none[6];
    struct rte_ether_addr mac;
    uint64_t h = 0;

    rte_eth_macaddr_get(port->ethdev, &mac);
    memcpy(port->info.mac, mac.addr_bytes, 6);
    if (memcmp(port->info.mac, none, 6) != 0)
        return;
    for (const char *c = port->conf->name; *c != '\0'; c++)
        h = hash_mix(h ^ (uint8_t)*c);
    memcpy(port->info.mac, &h, 6);
    port->info.mac[0] = 0x02;
}

/* Those of neighbour discovery, and those that only the kernel is a member of; a virtual device
 * takes all frames anyway. */
static void hear_groups(struct port *port)
{
    bool wanted = port->conf->kernel_interface != NULL || port->conf->router_advertisements;
    int rc;

    for (uint32_t i = 0; i < port->conf->n_addrs; i++)
        wanted |= port->conf->addrs[i].addr.family == IP_V6;
    rc = wanted ? rte_eth_allmulticast_enable(port->ethdev) : 0;
    if (rc < 0 && rc != -ENOTSUP)
        log_warning("port", "%s: does not take frames to groups (%s)", port->conf->name,
                    rte_strerror(-rc));
}

static int configure(struct ports *p, struct port *port, struct pktpool **pools)
{
    struct rte_eth_conf eth = { .rxmode.mq_mode = RTE_ETH_MQ_RX_NONE };
    struct rte_eth_dev_info dev;
    bool rss;
    int rc;

    rc = rte_eth_dev_info_get(port->ethdev, &dev);
    if (rc < 0)
        return rc;
    port->info.driver = dev.driver_name;
    port->info.n_queues = MIN(port->info.n_queues, MIN(dev.max_rx_queues, dev.max_tx_queues));
    offloads(&dev, &eth, &port->info);
    more_offloads(&dev, p->conf, &eth, port);
    rss = ask_for_rss(p, &dev, &eth);

    rc = rte_eth_dev_configure(port->ethdev, port->info.n_queues, port->info.n_queues, &eth);
    if (rc < 0)
        return rc;
    set_mtu(port);
    rc = setup_queues(p, port, pools);
    if (rc < 0)
        return rc;
    rc = rte_eth_dev_start(port->ethdev);
    if (rc < 0)
        return rc;
    port->started = true;
    rc = vdev_started(port->conf, port->ethdev, port->info.mtu);
    if (rc < 0)
        return rc;
    port->info.rss =
        rss && upload_reta(p, port, dev.reta_size) && keeps_to_it(p, port, dev.reta_size);
    if (rss && !port->info.rss)
        log_warning("port",
                    "%s: the device does not keep to our key and table: flows are handed "
                    "to their cores in software",
                    port->conf->name);
    if (port->conf->device == PORT_RING) /* demultiplex() has our key and table */
        port->info.rss = port->info.n_queues >= p->conf->n_workers;
    hear_groups(port);
    read_mac(port);
    log_capabilities(port, p->conf->n_workers);
    return 0;
}

static int open_kernel(struct ports *p, uint32_t i, struct pktpool **pools, struct cfg_err *err)
{
    struct port *port = &p->port[i];

    if (port->conf->kernel_interface == NULL)
        return 0;
    p->has_kernel = true;
    return kernel_if_open(&p->kernel[i], port->conf, i, port->info.mac, port->info.mtu,
                          pktpool_mempool(pools[0]), err);
}

static int open_port(struct ports *p, uint32_t i, struct pktpool **pools, struct cfg_err *err)
{
    struct port *port = &p->port[i];
    int rc;

    port->conf = &p->conf->ports[i];
    port->info.name = port->conf->name;
    port->info.n_queues =
        port->conf->queues != 0 ? port->conf->queues : (uint16_t)p->conf->n_workers;
    rc = vdev_open(p->conf, i, &port->info.n_queues, &port->ethdev, err);
    if (rc < 0)
        return cfg_err_set(err, NULL, "port %s: %s", port->conf->name, rte_strerror(-rc));
    p->n++;
    for (uint32_t w = 0; port->conf->device == PORT_AF_XDP && w < p->conf->n_workers; w++)
        if (!pktpool_is_dense(pools[w]))
            return cfg_err_set(err, NULL,
                               "port %s: af_xdp needs packets without gaps between them, which a "
                               "pci port without an IOMMU does not allow: use af_packet, or "
                               "hugepages that are enough for machine.memory_mb",
                               port->conf->name);
    rc = configure(p, port, pools);
    if (rc < 0)
        return cfg_err_set(err, NULL, "port %s: the device cannot be started: %s", port->conf->name,
                           rte_strerror(-rc));
    return open_kernel(p, i, pools, err);
}

struct ports *ports_open(const struct machine_conf *conf, struct pktpool **pools,
                         struct cfg_err *err)
{
    struct ports *p = own_alloc(1, sizeof(*p));
    const char *wrong;

    if (p == NULL) {
        cfg_err_set(err, NULL, "ports: no memory");
        return NULL;
    }
    p->conf = conf;
    for (uint32_t w = 0; w < MACHINE_MAX_WORKERS; w++)
        p->wake[w].event = -1;
    steer_init(&p->steer, conf->n_workers);
    wrong = steer_self_test(&p->steer);
    if (wrong != NULL) {
        cfg_err_set(err, NULL, "ports: the self-test of steering fails: %s", wrong);
        goto err_ports;
    }
    p->punted = ring_new(PUNT_RING, RING_MANY_PRODUCERS);
    if (p->punted == NULL) {
        cfg_err_set(err, NULL, "ports: no memory");
        goto err_ports;
    }
    for (uint32_t w = 0; w < conf->n_workers; w++) {
        p->redirect[w] = ring_new(REDIRECT_RING, RING_MANY_PRODUCERS);
        p->outbound[w] = ring_new(REDIRECT_RING, RING_MANY_PRODUCERS);
        if (p->redirect[w] == NULL || p->outbound[w] == NULL) {
            cfg_err_set(err, NULL, "ports: no memory");
            goto err_ports;
        }
        if (wake_init(&p->wake[w]) < 0) {
            cfg_err_set(err, NULL, "ports: no eventfd: %s", strerror(errno));
            goto err_ports;
        }
    }
    for (uint32_t i = 0; i < conf->n_ports; i++)
        if (open_port(p, i, pools, err) < 0)
            goto err_ports;
    return p;

err_ports:
    ports_close(p);
    return NULL;
}

/* Gives back a reference of a packet that another worker may hold too, or whose pool is another's.
 */
static void put_anywhere(struct pkt *p)
{
    while (p->n_more > 0) {
        struct pkt *rest = pkt_uncouple(p);

        p->pool->ops->put_shared(p->pool, p);
        p = rest;
    }
    p->pool->ops->put_shared(p->pool, p);
}

static void free_ring(struct ring *r)
{
    struct pkt *left;

    if (r == NULL)
        return;
    while (ring_pop_burst(r, (void **)&left, 1) == 1)
        put_anywhere(left);
    ring_free(r);
}

void ports_close(struct ports *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->conf->ports[i].device == PORT_MEMIF)
            eal_park_interrupts();
    }
    for (uint32_t i = 0; i < p->n; i++) {
        kernel_if_close(&p->kernel[i], i);
        if (p->port[i].started)
            rte_eth_dev_stop(p->port[i].ethdev);
        rte_eth_dev_close(p->port[i].ethdev);
        vdev_close(p->conf, i);
    }
    for (uint32_t w = 0; w < MACHINE_MAX_WORKERS; w++) {
        free_ring(p->redirect[w]);
        free_ring(p->outbound[w]);
        wake_close(&p->wake[w]);
    }
    free_ring(p->punted);
    free(p);
}

uint32_t ports_count(const struct ports *p)
{
    return p->n;
}

void ports_info(struct ports *p, uint32_t i, struct port_info *ret)
{
    struct rte_eth_link link = { 0 };

    if (rte_eth_link_get_nowait(p->port[i].ethdev, &link) == 0)
        p->port[i].info.link_up = link.link_status == RTE_ETH_LINK_UP;
    *ret = p->port[i].info;
}

const struct steer *ports_steer(const struct ports *p)
{
    return &p->steer;
}

void ports_stats(struct ports *p, uint32_t i, struct port_stats *ret)
{
    struct rte_eth_stats s = { 0 };

    rte_eth_stats_get(p->port[i].ethdev, &s);
    *ret = (struct port_stats){
        .rx_pkts = s.ipackets,
        .tx_pkts = s.opackets,
        .rx_bytes = s.ibytes,
        .tx_bytes = s.obytes,
        .rx_missed = s.imissed,
        .rx_errors = s.ierrors,
        .tx_errors = s.oerrors,
        .rx_no_mbuf = s.rx_nombuf,
    };
}

/* --- one worker's side ----------------------------------------------------------------------- */

/* Does all that worker @w receives come by sockets that it can wait for, or by another worker? */
static bool can_wait(const struct ports *p, uint32_t w)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct port *port = &p->port[i];

        if (w < port->info.n_queues && port->n_sockets < port->info.n_queues)
            return false;
    }
    return w != 0 || !p->has_kernel;
}

struct port_io *port_io_new(struct ports *p, uint32_t worker, struct pkt_pool *pool)
{
    struct port_io *io = rte_zmalloc("port_io", sizeof(*io), CACHE_LINE);

    if (io == NULL)
        return NULL;
    io->ports = p;
    io->worker = worker;
    io->pool = pool;
    io->can_wait = can_wait(p, worker);
    return io;
}

void port_io_free(struct port_io *io)
{
    if (io == NULL)
        return;
    for (uint32_t i = 0; i < MACHINE_MAX_PORTS; i++)
        for (unsigned n = 0; n < io->tx[i].n; n++)
            pkt_free(io->tx[i].pkts[n]);
    rte_free(io);
}

/* Those that were given something: once for a burst, as each time costs a fence. */
static void wake_others(struct port_io *io)
{
    for (; io->to_wake != 0; io->to_wake &= io->to_wake - 1)
        wake_up(&io->ports->wake[__builtin_ctz(io->to_wake)]);
}

/* From now on another worker's. */
static void hand_over(struct port_io *io, uint32_t owner, struct pkt *p)
{
    if (likely(ring_push(io->ports->redirect[owner], p))) {
        io->counters.redirect_out++;
        io->to_wake |= UINT32_C(1) << owner;
        return;
    }
    io->counters.redirect_dropped++;
    pkt_free(p);
}

static unsigned receive_redirected(struct port_io *io, struct pkt **pkts)
{
    unsigned n = ring_pop_burst(io->ports->redirect[io->worker], (void **)pkts, PORT_BURST);

    for (unsigned i = 0; i < n; i++)
        pkt_adopt(pkts[i], io->pool);
    io->counters.redirect_in += n;
    return n;
}

/* Keeps what belongs to this worker, in order, and returns how much. */
static unsigned steer_burst(struct port_io *io, const struct port *port, struct steer_check *check,
                            struct pkt **pkts, unsigned n)
{
    const bool was_wrong = check->wrong;
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        uint32_t owner = steer_frame(&io->ports->steer, pkts[i], check);

        if (owner == STEER_ANY || owner == io->worker) {
            pkts[kept++] = pkts[i];
            continue;
        }
        if (port->info.rss)
            io->counters.misdirected++;
        hand_over(io, owner, pkts[i]);
    }
    wake_others(io);
    if (unlikely(check->wrong && !was_wrong)) {
        io->counters.hash_wrong++;
        log_warning("port", "%s: its hash is not ours: flows are hashed in software",
                    port->conf->name);
    }
    return kept;
}

bool port_steer(struct port_io *io, struct pkt *p)
{
    const uint32_t owner =
        io->ports->steer.n_workers > 1 ? steer_frame(&io->ports->steer, p, NULL) : STEER_ANY;

    if (owner == STEER_ANY || owner == io->worker)
        return false;
    hand_over(io, owner, p);
    wake_others(io);
    return true;
}

static unsigned take_burst(struct port_io *io, struct rte_mbuf **burst, unsigned n, uint8_t port,
                           struct pkt **pkts)
{
    unsigned kept = 0;

    for (unsigned k = 0; k < n; k++) {
        struct pkt *p = pkt_of_mbuf(burst[k], io->pool, port);

        if (likely(p != NULL))
            pkts[kept++] = p;
        else
            io->counters.rx_in_parts++;
    }
    return kept;
}

unsigned port_rx(struct port_io *io, uint32_t i, struct pkt **pkts)
{
    struct rte_mbuf *burst[PORT_BURST];
    struct port *port;
    unsigned n;

    if (i == io->ports->n)
        return io->ports->steer.n_workers > 1 ? receive_redirected(io, pkts) : 0;
    port = &io->ports->port[i];
    if (io->worker >= port->info.n_queues)
        return 0;
    n = rte_eth_rx_burst(port->ethdev, (uint16_t)io->worker, burst, PORT_BURST);
    if (n == 0)
        return 0;
    io->counters.rx += n;
    n = take_burst(io, burst, n, (uint8_t)i, pkts);
    if (unlikely(io->capture != NULL))
        capture_received(io->capture, *io->wall_us, pkts, n);
    return io->ports->steer.n_workers > 1 ? steer_burst(io, port, &io->check[i], pkts, n) : n;
}

static void send_on(struct port_io *io, const struct port *port, uint16_t q, struct pkt **pkts,
                    unsigned n)
{
    struct rte_mbuf *burst[TX_BATCH];
    uint64_t ends[TX_BATCH];
    unsigned sent, frames = 0, dropped = 0;

    if (unlikely(io->capture != NULL))
        capture_stage(io->capture, *io->wall_us, pkts, n, ends);
    for (unsigned i = 0; i < n; i++) {
        frames += pkt_n(pkts[i]);
        io->counters.tx_trains += pkts[i]->n_more > 0;
        burst[i] = mbuf_of_pkt(pkts[i]);
    }
    sent = rte_eth_tx_burst(port->ethdev, q, burst, (uint16_t)n);
    if (unlikely(io->capture != NULL))
        capture_commit(io->capture, ends, sent);
    for (unsigned i = sent; i < n; i++) {
        dropped += burst[i]->nb_segs;
        rte_pktmbuf_free(burst[i]);
    }
    io->counters.tx += frames - dropped;
    io->counters.tx_dropped += dropped;
}

/*
 * The ring's far side takes the very buffer and will write into it: what TCP still holds for
 * retransmission is sent as a copy. Returns NULL if there is no packet for that.
 */
static struct pkt *exclusive(struct port_io *io, struct pkt *p)
{
    struct pkt *copy;

    if (!pkt_is_shared(p))
        return p;
    copy = pkt_copy(io->pool, p);
    if (copy == NULL)
        io->counters.tx_dropped++;
    put_anywhere(p);
    return copy;
}

/* What RSS does in a NIC: the frame's hash chooses the queue that it arrives on, with the hash. */
static void demultiplex(struct port_io *io, const struct port *port, struct tx_batch *tx)
{
    for (unsigned i = 0; i < tx->n; i++) {
        struct pkt *p = exclusive(io, tx->pkts[i]);
        uint32_t owner;

        if (p == NULL)
            continue;
        if (steer_hash(&io->ports->steer, p, &p->hash))
            p->flags |= PKT_RX_HASH;
        owner = steer_frame(&io->ports->steer, p, NULL);
        send_on(io, port, owner == STEER_ANY ? 0 : (uint16_t)(owner % port->info.n_queues), &p, 1);
    }
}

/* A queue has one sender: a worker without a queue of its own gives its frames to one that has. */
static void send_by_other(struct port_io *io, uint32_t other, struct tx_batch *tx)
{
    unsigned sent, frames = 0, dropped = 0;

    for (unsigned i = 0; i < tx->n; i++)
        frames += pkt_n(tx->pkts[i]);
    sent = ring_push_burst(io->ports->outbound[other], (void *const *)tx->pkts, tx->n);
    wake_up(&io->ports->wake[other]);
    for (unsigned i = sent; i < tx->n; i++) {
        dropped += pkt_n(tx->pkts[i]);
        pkt_free(tx->pkts[i]);
    }
    io->counters.tx_by_other += frames - dropped;
    io->counters.tx_dropped += dropped;
}

static void flush_port(struct port_io *io, uint32_t i)
{
    struct port *port = &io->ports->port[i];
    struct tx_batch *tx = &io->tx[i];

    if (tx->n == 0)
        return;
    if (port->conf->device == PORT_RING)
        demultiplex(io, port, tx);
    else if (io->worker < port->info.n_queues)
        send_on(io, port, (uint16_t)io->worker, tx->pkts, tx->n);
    else
        send_by_other(io, io->worker % port->info.n_queues, tx);
    tx->n = 0;
}

static void send_for_others(struct port_io *io)
{
    struct pkt *pkts[PORT_BURST];
    unsigned n = ring_pop_burst(io->ports->outbound[io->worker], (void **)pkts, PORT_BURST);

    for (unsigned i = 0; i < n; i++)
        port_tx(io, pkts[i]);
}

static void collect(struct port_io *io, struct pkt *p)
{
    struct tx_batch *tx = &io->tx[p->port];

    if (unlikely(tx->n == TX_BATCH))
        flush_port(io, p->port);
    tx->pkts[tx->n++] = p;
}

/* Does the port cut up @p, a train, itself? */
static bool is_cut_by(const struct port *port, const struct pkt *p)
{
    const uint32_t headers = (uint32_t)p->l2_len + p->l3_len + p->l4_len;

    if (!port->info.tx_tso || p->len - headers < TSO_SEGMENT_MIN)
        return false;
    return (p->flags & PKT_TX_IP6) == 0 || vdev_cuts_ip6(port->conf);
}

void port_tx(struct port_io *io, struct pkt *p)
{
    const struct port *port = &io->ports->port[p->port];
    struct pkt *frames[PKT_TRAIN_MAX];
    unsigned n;

    if (p->n_more == 0 || is_cut_by(port, p)) {
        collect(io, p);
        return;
    }
    n = offload_split(p, port->info.tx_tcp_csum, frames);
    for (unsigned i = 0; i < n; i++)
        collect(io, frames[i]);
}

void port_flush(struct port_io *io)
{
    if (io->ports->steer.n_workers > 1)
        send_for_others(io);
    for (uint32_t i = 0; i < io->ports->n; i++)
        flush_port(io, i);
    if (io->ports->has_kernel && io->worker == 0)
        for (uint32_t i = 0; i < io->ports->n; i++)
            io->counters.kernel_tx_dropped += kernel_if_flush(&io->ports->kernel[i]);
}

void port_share(struct port_io *io, const struct pkt *p)
{
    for (uint32_t w = 0; w < io->ports->steer.n_workers; w++) {
        struct pkt *copy;

        if (w == io->worker)
            continue;
        copy = pkt_copy(io->pool, p);
        if (copy == NULL)
            break;
        copy->flags |= PKT_STEERED;
        if (ring_push(io->ports->redirect[w], copy)) {
            io->counters.shared_out++;
            io->to_wake |= UINT32_C(1) << w;
        } else {
            io->counters.redirect_dropped++;
            pkt_free(copy);
        }
    }
    wake_others(io);
}

void port_capture(struct port_io *io, struct capture_tap *tap, const uint64_t *wall_us)
{
    io->capture = tap;
    io->wall_us = wall_us;
}

/* --- with nothing to do ---------------------------------------------------------------------- */

bool port_can_wait(const struct port_io *io)
{
    return io->can_wait;
}

bool port_rest(struct port_io *io, uint64_t us)
{
    struct wake *w = &io->ports->wake[io->worker];

    if (us == 0) {
        if (io->drowsy)
            wake_cancel(w);
        io->drowsy = false;
        return false;
    }
    if (io->can_wait && !io->drowsy) {
        wake_expect(w);
        io->drowsy = true;
        return false;
    }
    wake_sleep(w, us);
    io->drowsy = false;
    return true;
}

void port_wake(struct ports *p, uint32_t worker)
{
    wake_up(&p->wake[worker]);
}

/* --- the kernel's interfaces ------------------------------------------------------------------ */

void port_punt(struct port_io *io, struct pkt *p)
{
    if (likely(ring_push(io->ports->punted, p))) {
        io->counters.punt_out++;
        wake_up(&io->ports->wake[0]);
        return;
    }
    io->counters.punt_dropped++;
    pkt_free(p);
}

unsigned port_punted(struct port_io *io, struct pkt **pkts)
{
    unsigned n = 0;

    if (io->ports->steer.n_workers > 1)
        n = ring_pop_burst(io->ports->punted, (void **)pkts, PORT_BURST);
    for (unsigned i = 0; i < n; i++)
        pkt_adopt(pkts[i], io->pool);
    return n;
}

unsigned port_kernel_rx(struct port_io *io, uint32_t i, struct pkt **pkts)
{
    const unsigned n = kernel_if_rx(&io->ports->kernel[i], io->pool, (uint8_t)i, pkts);

    io->counters.kernel_rx += n;
    return n;
}

void port_kernel_tx(struct port_io *io, struct pkt *p)
{
    io->counters.kernel_tx++;
    io->counters.kernel_tx_dropped += kernel_if_tx(&io->ports->kernel[p->port], p);
}

const struct port_counters *port_counters(const struct port_io *io)
{
    return &io->counters;
}
