#include "config/netlink/message.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

const struct nlmsghdr *message_next(const void **at, size_t *len)
{
    const struct nlmsghdr *m = *at;
    size_t step;

    if (*len < sizeof(*m) || m->nlmsg_len < sizeof(*m) || m->nlmsg_len > *len)
        return NULL;
    step = MIN(*len, (size_t)NLMSG_ALIGN((size_t)m->nlmsg_len));
    *at = (const char *)*at + step;
    *len -= step;
    return m;
}

/* Attributes by their type; a longer one than its kind is as good as a malformed one. */
struct attrs {
    const struct nlattr *of[RTA_MAX + 1];
};

static void collect(struct attrs *a, const struct nlattr *attr)
{
    const uint16_t type = mnl_attr_get_type(attr);

    if (type <= RTA_MAX)
        a->of[type] = attr;
}

/* False: bytes are left over that are no attribute. */
static bool collect_all(struct attrs *a, const void *at, size_t len)
{
    const char *end = (const char *)at + len;
    const struct nlattr *attr = at;

    *a = (struct attrs){ { NULL } };
    while (end - (const char *)attr > 0) {
        if (!mnl_attr_ok(attr, (int)(end - (const char *)attr)))
            return false;
        collect(a, attr);
        attr = mnl_attr_next(attr);
    }
    return true;
}

static bool get_u32(const struct nlattr *attr, uint32_t *ret)
{
    if (attr == NULL)
        return true;
    if (mnl_attr_get_payload_len(attr) != sizeof(*ret))
        return false;
    memcpy(ret, mnl_attr_get_payload(attr), sizeof(*ret));
    return true;
}

static uint32_t addr_len(unsigned family)
{
    return family == AF_INET ? 4 : 16;
}

static bool get_addr(const struct nlattr *attr, unsigned family, struct ipaddr *ret)
{
    if (attr == NULL)
        return true;
    if (mnl_attr_get_payload_len(attr) != addr_len(family))
        return false;
    ret->family = family == AF_INET ? IP_V4 : IP_V6;
    memcpy(ret->b, mnl_attr_get_payload(attr), addr_len(family));
    return true;
}

static bool is_ip(unsigned family)
{
    return family == AF_INET || family == AF_INET6;
}

static int type_of(unsigned rtm_type, enum kernel_route_type *ret)
{
    switch (rtm_type) {
    case RTN_UNICAST:
        *ret = KERNEL_ROUTE_FORWARD;
        return 0;
    case RTN_BLACKHOLE:
        *ret = KERNEL_ROUTE_BLACKHOLE;
        return 0;
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
        *ret = KERNEL_ROUTE_UNREACHABLE;
        return 0;
    default:
        return -ENOENT;
    }
}

#define NOT_OURS(a) ((a)->of[RTA_VIA] != NULL || (a)->of[RTA_ENCAP] != NULL)

/* One next hop, unless it is down or there are enough. */
static int add_hop(struct kernel_route *r, unsigned family, unsigned flags, uint32_t ifindex,
                   const struct attrs *a)
{
    struct kernel_hop hop = { .ifindex = ifindex };

    if (!get_addr(a->of[RTA_GATEWAY], family, &hop.via))
        return -EBADMSG;
    if (NOT_OURS(a) || (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0 ||
        r->n_hops == MACHINE_MAX_HOPS)
        return 0;
    r->hops[r->n_hops++] = hop;
    return 0;
}

static int add_hops(struct kernel_route *r, unsigned family, const struct nlattr *multipath)
{
    const char *at = mnl_attr_get_payload(multipath);
    size_t left = mnl_attr_get_payload_len(multipath);

    while (left > 0) {
        const struct rtnexthop *nh = (const struct rtnexthop *)(const void *)at;
        struct attrs a;
        size_t step;
        int rc;

        if (left < sizeof(*nh) || nh->rtnh_len < sizeof(*nh) || nh->rtnh_len > left ||
            !collect_all(&a, at + sizeof(*nh), nh->rtnh_len - sizeof(*nh)))
            return -EBADMSG;
        rc = add_hop(r, family, nh->rtnh_flags, (uint32_t)nh->rtnh_ifindex, &a);
        if (rc < 0)
            return rc;
        step = MIN(left, (size_t)RTNH_ALIGN(nh->rtnh_len));
        at += step;
        left -= step;
    }
    return 0;
}

/* Bits beyond the length are zero, or it is no prefix. */
static bool is_prefix(const struct ipprefix *p)
{
    struct ipaddr bare = p->addr;

    for (unsigned i = 0; i < sizeof(bare.b); i++) {
        const unsigned keep = p->len <= i * 8 ? 0 : MIN(8u, p->len - i * 8u);

        bare.b[i] &= (uint8_t)(0xff00u >> keep);
    }
    return ipaddr_eq(&bare, &p->addr);
}

static bool is_of_link(const struct ipprefix *p)
{
    return p->addr.family == IP_V6 && p->len >= 10 && p->addr.b[0] == 0xfe &&
           (p->addr.b[1] & 0xc0) == 0x80;
}

static int hops_of(struct kernel_route *r, const struct rtmsg *rtm, const struct attrs *a)
{
    uint32_t ifindex = 0;

    if (a->of[RTA_MULTIPATH] != NULL)
        return add_hops(r, rtm->rtm_family, a->of[RTA_MULTIPATH]);
    if (!get_u32(a->of[RTA_OIF], &ifindex))
        return -EBADMSG;
    return ifindex != 0 ? add_hop(r, rtm->rtm_family, rtm->rtm_flags, ifindex, a) : 0;
}

int message_route(const struct nlmsghdr *m, struct kernel_route *ret)
{
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(m);
    struct kernel_route r;
    struct attrs a;
    uint32_t table;
    int rc;

    if (mnl_nlmsg_get_payload_len(m) < sizeof(*rtm))
        return -EBADMSG;
    if (!is_ip(rtm->rtm_family) || rtm->rtm_tos != 0 || (rtm->rtm_flags & RTM_F_CLONED) != 0)
        return -ENOENT;
    memset(&r, 0, sizeof(r)); /* the padding, too */
    rc = type_of(rtm->rtm_type, &r.type);
    if (rc < 0)
        return rc;
    if (!collect_all(&a, mnl_nlmsg_get_payload_offset(m, sizeof(*rtm)),
                     mnl_nlmsg_get_payload_len(m) - MNL_ALIGN(sizeof(*rtm))))
        return -EBADMSG;
    table = rtm->rtm_table;
    r.prefix.len = rtm->rtm_dst_len;
    r.prefix.addr.family = rtm->rtm_family == AF_INET ? IP_V4 : IP_V6;
    if (!get_u32(a.of[RTA_TABLE], &table) || !get_u32(a.of[RTA_PRIORITY], &r.metric) ||
        !get_addr(a.of[RTA_DST], rtm->rtm_family, &r.prefix.addr) ||
        rtm->rtm_dst_len > addr_len(rtm->rtm_family) * 8 || !is_prefix(&r.prefix))
        return -EBADMSG;
    if (table != RT_TABLE_MAIN || rtm->rtm_src_len != 0 || is_of_link(&r.prefix))
        return -ENOENT;
    if (r.type == KERNEL_ROUTE_FORWARD)
        rc = hops_of(&r, rtm, &a);
    if (rc == 0 && r.type == KERNEL_ROUTE_FORWARD && r.n_hops == 0)
        rc = -ENOENT;
    if (rc == 0)
        *ret = r;
    return rc;
}

int message_neigh(const struct nlmsghdr *m, struct kernel_neigh *ret)
{
    const struct ndmsg *ndm = mnl_nlmsg_get_payload(m);
    struct kernel_neigh n;
    struct attrs a;

    if (mnl_nlmsg_get_payload_len(m) < sizeof(*ndm))
        return -EBADMSG;
    if (!is_ip(ndm->ndm_family) || (ndm->ndm_state & NUD_PERMANENT) == 0 ||
        (ndm->ndm_flags & NTF_PROXY) != 0)
        return -ENOENT;
    if (!collect_all(&a, mnl_nlmsg_get_payload_offset(m, sizeof(*ndm)),
                     mnl_nlmsg_get_payload_len(m) - MNL_ALIGN(sizeof(*ndm))))
        return -EBADMSG;
    memset(&n, 0, sizeof(n));
    n.ifindex = (uint32_t)ndm->ndm_ifindex;
    if (!get_addr(a.of[NDA_DST], ndm->ndm_family, &n.addr))
        return -EBADMSG;
    if (n.addr.family == IP_NONE || a.of[NDA_LLADDR] == NULL)
        return -ENOENT;
    if (mnl_attr_get_payload_len(a.of[NDA_LLADDR]) != sizeof(n.mac))
        return -EBADMSG;
    memcpy(n.mac, mnl_attr_get_payload(a.of[NDA_LLADDR]), sizeof(n.mac));
    if ((n.mac[0] & 1) != 0) /* the groups are entries, too */
        return -ENOENT;
    *ret = n;
    return 0;
}
