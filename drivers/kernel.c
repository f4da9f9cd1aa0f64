#include "drivers/kernel.h"

#include "dataplane/base/log.h"
#include "drivers/pktpool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <rte_bus_vdev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DESCRIPTORS 64
#define TUN "/dev/net/tun"

/* DPDK says "invalid argument" whatever is wrong: here the kernel is asked itself, and in words. */
static int may_be_made(const struct port_conf *conf, struct cfg_err *err)
{
    struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE };
    const char *name = conf->kernel_interface;
    int fd, rc;

    if (if_nametoindex(name) != 0)
        return cfg_err_set(err, &conf->where,
                           "port %s: kernel_interface %s: there is an interface of that name "
                           "already",
                           conf->name, name);
    fd = open(TUN, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return cfg_err_set(err, &conf->where,
                           "port %s: kernel_interface %s cannot be made: " TUN ": %s (modprobe "
                           "tun; in a container the device must be given to it)",
                           conf->name, name, strerror(errno));
    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
    rc = ioctl(fd, TUNSETIFF, &req) < 0 ? errno : 0;
    close(fd);
    if (rc != 0)
        return cfg_err_set(err, &conf->where, "port %s: kernel_interface %s cannot be made: %s%s",
                           conf->name, name, strerror(rc),
                           rc == EPERM ? " (it takes CAP_NET_ADMIN)" : "");
    return 0;
}

/* Before it is up: it must make no address of its own, and ask nobody. A kernel without IPv6 has no
 * such files. */
static void set_quiet(const char *name, const char *setting, const char *value)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name, setting);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, value, strlen(value)) < 0)
        log_warning("port", "%s: %s", path, strerror(errno));
    close(fd);
}

static bool has_v6(const struct port_conf *conf)
{
    for (uint32_t i = 0; i < conf->n_addrs; i++)
        if (conf->addrs[i].addr.family == IP_V6)
            return true;
    return false;
}

static void quieten(const struct port_conf *conf)
{
    static const char *const settings[][2] = { { "addr_gen_mode", "1" },
                                               { "accept_dad", "0" },
                                               { "accept_ra", "0" } };

    for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
        set_quiet(conf->kernel_interface, settings[i][0], settings[i][1]);
    set_quiet(conf->kernel_interface, "disable_ipv6", has_v6(conf) ? "0" : "1");
}

static void device_name(char name[RTE_ETH_NAME_MAX_LEN], uint32_t index)
{
    snprintf(name, RTE_ETH_NAME_MAX_LEN, "net_tap_kernel%u", index);
}

static int start(struct kernel_if *k, uint16_t mtu, struct rte_mempool *mempool)
{
    const struct rte_eth_conf eth = { .rxmode.mq_mode = RTE_ETH_MQ_RX_NONE };
    int rc = rte_eth_dev_configure(k->ethdev, 1, 1, &eth);

    if (rc == 0)
        rc = rte_eth_dev_set_mtu(k->ethdev, mtu);
    if (rc == 0)
        rc = rte_eth_rx_queue_setup(k->ethdev, 0, DESCRIPTORS, SOCKET_ID_ANY, NULL, mempool);
    if (rc == 0)
        rc = rte_eth_tx_queue_setup(k->ethdev, 0, DESCRIPTORS, SOCKET_ID_ANY, NULL);
    if (rc == 0)
        rc = rte_eth_dev_start(k->ethdev);
    k->started = rc == 0;
    return rc;
}

int kernel_if_open(struct kernel_if *k, const struct port_conf *conf, uint32_t index,
                   const uint8_t mac[6], uint16_t mtu, struct rte_mempool *mempool,
                   struct cfg_err *err)
{
    char device[RTE_ETH_NAME_MAX_LEN], args[128];
    int rc = may_be_made(conf, err);

    if (rc < 0)
        return rc;
    device_name(device, index);
    snprintf(args, sizeof(args), "iface=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x",
             conf->kernel_interface, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    rc = rte_vdev_init(device, args);
    if (rc == 0)
        rc = rte_eth_dev_get_port_by_name(device, &k->ethdev);
    if (rc < 0)
        return cfg_err_set(err, &conf->where, "port %s: kernel_interface %s does not start: %s",
                           conf->name, conf->kernel_interface, rte_strerror(-rc));
    k->name = conf->kernel_interface;
    mtu = MIN(mtu, KERNEL_MTU_MAX);
    k->max_len = mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN;
    quieten(conf);
    rc = start(k, mtu, mempool);
    if (rc < 0)
        return cfg_err_set(err, &conf->where, "port %s: kernel_interface %s does not start: %s",
                           conf->name, k->name, rte_strerror(-rc));
    log_info("port", "%s: the kernel has %s", conf->name, k->name);
    return 0;
}

void kernel_if_close(struct kernel_if *k, uint32_t index)
{
    char device[RTE_ETH_NAME_MAX_LEN];

    if (k->name == NULL)
        return;
    if (k->started)
        rte_eth_dev_stop(k->ethdev);
    rte_eth_dev_close(k->ethdev);
    device_name(device, index);
    rte_vdev_uninit(device);
    k->name = NULL;
}

unsigned kernel_if_rx(struct kernel_if *k, struct pkt_pool *pool, uint8_t port, struct pkt **pkts)
{
    struct rte_mbuf *burst[KERNEL_BURST];
    unsigned n, kept = 0;

    if (k->name == NULL)
        return 0;
    n = rte_eth_rx_burst(k->ethdev, 0, burst, KERNEL_BURST);
    for (unsigned i = 0; i < n; i++) {
        pkts[kept] = pkt_of_mbuf(burst[i], pool, port);
        kept += pkts[kept] != NULL; /* never, as it is asked for frames in one buffer */
    }
    return kept;
}

unsigned kernel_if_tx(struct kernel_if *k, struct pkt *p)
{
    unsigned lost = 0;

    /* One that is too long would keep DPDK from sending those behind it. */
    if (k->name == NULL || p->len > k->max_len) {
        p->pool->ops->put_shared(p->pool, p);
        return 1;
    }
    if (k->n_tx == KERNEL_BURST)
        lost = kernel_if_flush(k);
    k->tx[k->n_tx++] = p;
    return lost;
}

unsigned kernel_if_flush(struct kernel_if *k)
{
    struct rte_mbuf *burst[KERNEL_BURST];
    const unsigned n = k->n_tx;
    unsigned sent;

    if (n == 0)
        return 0;
    for (unsigned i = 0; i < n; i++)
        burst[i] = mbuf_of_pkt(k->tx[i]);
    sent = rte_eth_tx_burst(k->ethdev, 0, burst, (uint16_t)n);
    for (unsigned i = sent; i < n; i++)
        k->tx[i]->pool->ops->put_shared(k->tx[i]->pool, k->tx[i]);
    k->n_tx = 0;
    return n - sent;
}
