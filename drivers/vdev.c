#include "drivers/vdev.h"

#include "dataplane/base/log.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_SIZE 1024
#define ARGS_LEN 512
#define BUSY_BUDGET 64 /* the driver's own default */

static int need_interface(const struct port_conf *conf, struct cfg_err *err)
{
    if (if_nametoindex(conf->interface) != 0)
        return 0;
    cfg_err_set(err, NULL, "port %s: there is no interface %s (ip link)", conf->name,
                conf->interface);
    return -ENODEV;
}

static void add_mac(char *args, const struct port_conf *conf)
{
    size_t n = strlen(args);

    if (conf->mac != NULL)
        snprintf(args + n, ARGS_LEN - n, ",mac=%s", conf->mac);
}

/* Both rings of a memif are of one size, a power of two, which its client decides. */
static unsigned ring_log2(const struct port_conf *conf)
{
    const unsigned most = MAX(conf->rx_descriptors, conf->tx_descriptors);
    unsigned log2 = 0;

    while (1U << log2 < most)
        log2++;
    return log2;
}

/* Has @interface no device below it, as a veth? */
static bool is_virtual(const char *interface)
{
    struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
    struct ifreq req = { .ifr_data = (char *)&info };
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool known;

    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", interface);
    known = fd >= 0 && ioctl(fd, SIOCETHTOOL, &req) == 0;
    if (fd >= 0)
        close(fd);
    return known && info.bus_info[0] == '\0';
}

/*
 * How many frames the kernel is to fetch from the device when the driver finds none. It may fetch
 * them for a socket alone where there is a device with queues; elsewhere they come by themselves,
 * and to ask costs a system call each time that nothing is there.
 */
static unsigned busy_budget(const struct port_conf *conf)
{
    return is_virtual(conf->interface) ? 0 : BUSY_BUDGET;
}

/* The driver's arguments; the interface of the kernel that it needs must be there. */
static int arguments(const struct port_conf *conf, uint16_t n_queues, const char **driver,
                     char args[ARGS_LEN], struct cfg_err *err)
{
    switch (conf->device) {
    case PORT_AF_PACKET:
        *driver = "net_af_packet";
        snprintf(args, ARGS_LEN, "iface=%s,qpairs=%u,blocksz=65536,framesz=2048,framecnt=2048",
                 conf->interface, n_queues);
        return need_interface(conf, err);
    case PORT_AF_XDP:
        *driver = "net_af_xdp";
        snprintf(args, ARGS_LEN, "iface=%s,start_queue=0,queue_count=%u,busy_budget=%u",
                 conf->interface, n_queues, busy_budget(conf));
        return need_interface(conf, err);
    case PORT_TAP:
        *driver = "net_tap";
        snprintf(args, ARGS_LEN, "iface=%s", conf->interface);
        add_mac(args, conf);
        return 0;
    case PORT_MEMIF:
        *driver = "net_memif";
        snprintf(args, ARGS_LEN, "role=%s,id=%u,socket=%s,socket-abstract=no,bsize=2048,rsize=%u",
                 conf->memif_server ? "server" : "client", conf->memif_id, conf->socket,
                 ring_log2(conf));
        add_mac(args, conf);
        return 0;
    case PORT_PCAP:
        *driver = "net_pcap";
        snprintf(args, ARGS_LEN, "rx_pcap=%s,tx_pcap=%s", conf->pcap_rx, conf->pcap_tx);
        return 0;
    case PORT_PCI:
    case PORT_RING:
        break;
    }
    return -EINVAL;
}

static bool ring_name(char name[RTE_RING_NAMESIZE], const char *port, uint16_t q)
{
    return (size_t)snprintf(name, RTE_RING_NAMESIZE, "%s-rx%u", port, q) < RTE_RING_NAMESIZE;
}

/* The ring that carries frames to queue @q of @port, if there is one. */
static struct rte_ring *inbound_ring(const char *port, uint16_t q)
{
    char name[RTE_RING_NAMESIZE];

    return ring_name(name, port, q) ? rte_ring_lookup(name) : NULL;
}

/* The same, made by whichever side comes first. */
static struct rte_ring *inbound(const char *port, uint16_t q)
{
    struct rte_ring *r = inbound_ring(port, q);
    char name[RTE_RING_NAMESIZE];

    if (r != NULL || !ring_name(name, port, q))
        return r;
    /* Any worker of the other port may send to it, by our demultiplexer; one worker receives. */
    return rte_ring_create(name, RING_SIZE, SOCKET_ID_ANY, RING_F_SC_DEQ);
}

static int open_ring(const struct port_conf *conf, uint16_t n_queues, uint16_t *ethdev,
                     struct cfg_err *err)
{
    struct rte_ring *rx[MACHINE_MAX_WORKERS], *tx[MACHINE_MAX_WORKERS];
    int id;

    for (uint16_t q = 0; q < n_queues; q++) {
        rx[q] = inbound(conf->name, q);
        tx[q] = inbound(conf->ring_peer, q);
        if (rx[q] == NULL || tx[q] == NULL) {
            cfg_err_set(err, NULL, "port %s: no memory for its rings, or its name is too long",
                        conf->name);
            return -ENOMEM;
        }
    }
    id = rte_eth_from_rings(conf->name, rx, n_queues, tx, n_queues, SOCKET_ID_ANY);
    if (id < 0)
        return -rte_errno;
    *ethdev = (uint16_t)id;
    return 0;
}

static void device_name(char name[RTE_ETH_NAME_MAX_LEN], const char *driver, uint32_t index)
{
    snprintf(name, RTE_ETH_NAME_MAX_LEN, "%s%u", driver, index);
}

/* Where the device is one of DPDK's virtual ones: its name. */
static bool name_of(const struct machine_conf *machine, uint32_t index,
                    char name[RTE_ETH_NAME_MAX_LEN])
{
    char args[ARGS_LEN];
    const char *driver = NULL;
    struct cfg_err unused = { "" };

    (void)arguments(&machine->ports[index], 1, &driver, args, &unused);
    if (driver == NULL)
        return false;
    device_name(name, driver, index);
    return true;
}

/* When it cuts segments, the driver of a TAP takes the MTU for the length of a frame. */
uint16_t vdev_mtu(const struct port_conf *conf, uint16_t mtu, bool tso)
{
    if (conf->device != PORT_TAP || !tso)
        return mtu;
    return (uint16_t)(mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN);
}

/* A TAP's driver cuts with DPDK's library, which knows IPv4 alone. */
bool vdev_cuts_ip6(const struct port_conf *conf)
{
    return conf->device != PORT_TAP;
}

static int set_mac(int fd, struct ifreq *req, uint16_t ethdev)
{
    struct rte_ether_addr mac;

    rte_eth_macaddr_get(ethdev, &mac);
    mac.addr_bytes[5] ^= 1;
    req->ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(req->ifr_hwaddr.sa_data, mac.addr_bytes, 6);
    return ioctl(fd, SIOCSIFHWADDR, req) < 0 ? -errno : 0;
}

static int set_kernel_mtu(int fd, struct ifreq *req, uint16_t ethdev, uint16_t mtu)
{
    uint16_t told;

    if (rte_eth_dev_get_mtu(ethdev, &told) < 0 || told <= mtu)
        return 0;
    req->ifr_mtu = mtu;
    return ioctl(fd, SIOCSIFMTU, req) < 0 ? -errno : 0;
}

/*
 * DPDK gives the kernel's end of a TAP the address of ours. Then neither end believes that the
 * other is somebody else: the kernel's end gets the next one, and the MTU that was meant, if the
 * ethdev was told more (vdev_mtu()).
 */
int vdev_started(const struct port_conf *conf, uint16_t ethdev, uint16_t mtu)
{
    struct ifreq req = { 0 };
    int fd, rc;

    if (conf->device != PORT_TAP)
        return 0;
    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", conf->interface);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    rc = set_mac(fd, &req, ethdev);
    if (rc == 0)
        rc = set_kernel_mtu(fd, &req, ethdev, mtu);
    close(fd);
    return rc;
}

static int open_vdev(const struct machine_conf *machine, uint32_t index, uint16_t *n_queues,
                     uint16_t *ethdev, struct cfg_err *err)
{
    const struct port_conf *conf = &machine->ports[index];
    char name[RTE_ETH_NAME_MAX_LEN], args[ARGS_LEN];
    const char *driver = NULL;
    int rc;

    rc = arguments(conf, *n_queues, &driver, args, err);
    if (rc < 0)
        return rc;
    device_name(name, driver, index);
    rc = rte_vdev_init(name, args);
    if (rc < 0 && *n_queues > 1 && conf->queues == 0) {
        /* One queue is what veth gives AF_XDP; the other workers get their packets by redirect. */
        *n_queues = 1;
        arguments(conf, *n_queues, &driver, args, err);
        rc = rte_vdev_init(name, args);
    }
    if (rc < 0) {
        cfg_err_set(err, NULL, "port %s: device %s (%s) does not start: %s", conf->name, driver,
                    args, rte_strerror(-rc));
        return rc;
    }
    return rte_eth_dev_get_port_by_name(name, ethdev);
}

int vdev_open(const struct machine_conf *machine, uint32_t index, uint16_t *n_queues,
              uint16_t *ethdev, struct cfg_err *err)
{
    const struct port_conf *conf = &machine->ports[index];

    switch (conf->device) {
    case PORT_PCI:
        if (rte_eth_dev_get_port_by_name(conf->pci, ethdev) < 0) {
            cfg_err_set(err, NULL,
                        "port %s: DPDK has no device %s; is it bound to vfio-pci? (dpdk-devbind.py "
                        "--status)",
                        conf->name, conf->pci);
            return -ENODEV;
        }
        return 0;
    case PORT_RING:
        return open_ring(conf, *n_queues, ethdev, err);
    case PORT_AF_XDP:
    case PORT_AF_PACKET:
    case PORT_TAP:
    case PORT_MEMIF:
    case PORT_PCAP:
        return open_vdev(machine, index, n_queues, ethdev, err);
    }
    return -EINVAL;
}

/* Frames that nobody will receive any more. The rings themselves stay: the other end may still hold
 * them. */
static void drain_ring(const struct port_conf *conf)
{
    for (uint16_t q = 0; q < MACHINE_MAX_WORKERS; q++) {
        struct rte_ring *r = inbound_ring(conf->name, q);
        void *frame;

        while (r != NULL && rte_ring_dequeue(r, &frame) == 0)
            rte_pktmbuf_free(frame);
    }
}

void vdev_close(const struct machine_conf *machine, uint32_t index)
{
    char name[RTE_ETH_NAME_MAX_LEN];

    if (machine->ports[index].device == PORT_RING)
        drain_ring(&machine->ports[index]);
    if (name_of(machine, index, name))
        rte_vdev_uninit(name);
}
