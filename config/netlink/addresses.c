#include "config/netlink/addresses.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

static struct nlmsghdr *request(char *buf, unsigned ifindex, const struct ipaddr *addr, uint8_t len)
{
    const unsigned n = addr->family == IP_V4 ? 4 : 16;
    struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
    struct ifaddrmsg *ifa;

    m->nlmsg_type = RTM_NEWADDR;
    m->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
    m->nlmsg_seq = 1;
    ifa = mnl_nlmsg_put_extra_header(m, sizeof(*ifa));
    ifa->ifa_family = addr->family == IP_V4 ? AF_INET : AF_INET6;
    ifa->ifa_prefixlen = len;
    ifa->ifa_flags = IFA_F_NODAD;
    ifa->ifa_index = ifindex;
    mnl_attr_put(m, IFA_LOCAL, n, addr->b);
    mnl_attr_put(m, IFA_ADDRESS, n, addr->b);
    return m;
}

/* 0 or -errno: what the kernel answers. */
static int add(struct mnl_socket *s, unsigned ifindex, const struct ipaddr *addr, uint8_t len)
{
    char buf[1024] __attribute__((aligned(8)));
    const struct nlmsghdr *m = request(buf, ifindex, addr, len);
    ssize_t n;

    if (mnl_socket_sendto(s, m, m->nlmsg_len) < 0)
        return -errno;
    n = mnl_socket_recvfrom(s, buf, sizeof(buf));
    if (n < 0)
        return -errno;
    return mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(s), NULL, NULL) < 0 ? -errno : 0;
}

static int give(struct mnl_socket *s, const struct port_conf *conf, const struct ipaddr *addr,
                uint8_t len, struct cfg_err *err)
{
    char text[IPADDR_STRLEN];
    int rc = add(s, if_nametoindex(conf->kernel_interface), addr, len);

    if (rc < 0)
        return cfg_err_set(err, &conf->where, "port %s: %s cannot be given %s/%u: %s", conf->name,
                           conf->kernel_interface, ipaddr_str(addr, text), len, strerror(-rc));
    return 0;
}

int addresses_give(const struct port_conf *conf, const struct ipaddr *link_local,
                   struct cfg_err *err)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    int rc = 0;

    if (s == NULL || mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0)
        rc = cfg_err_set(err, &conf->where, "port %s: no netlink: %s", conf->name, strerror(errno));
    if (rc == 0 && link_local != NULL)
        rc = give(s, conf, link_local, 64, err);
    for (uint32_t i = 0; rc == 0 && i < conf->n_addrs; i++)
        if (conf->addrs[i].vlan == 0)
            rc = give(s, conf, &conf->addrs[i].addr, conf->addrs[i].prefix_len, err);
    if (s != NULL)
        mnl_socket_close(s);
    return rc;
}
