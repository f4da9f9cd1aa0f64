#include "dataplane/net/punt.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/own.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"

#include <stdlib.h>

enum {
    SLOT_SHIFT = 8, /* of a ticket: above, one more than the place of its connection */
    IP4_OFFSET = 0x1fff,
    ICMP4_ECHO = 8,
    IGMP = 2,
};

/* ---- the list */

static struct punt_list *list_of(struct punt *u, uint8_t protocol)
{
    switch (protocol) {
    case IP4_PROTO_TCP:
        return &u->tcp;
    case IP4_PROTO_UDP:
        return &u->udp;
    default:
        return &u->protocols;
    }
}

/* Before all that are as large, or larger. */
static uint32_t place_of(const struct punt_list *l, uint16_t number)
{
    uint32_t low = 0, high = l->n;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (l->entries[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Of two rules the first one counts: a later one comes behind those that are there. */
static void list_add(struct punt_list *l, uint16_t number, uint8_t ports, uint8_t rule)
{
    uint32_t at = place_of(l, number);

    while (at < l->n && l->entries[at].number == number)
        at++;
    memmove(&l->entries[at + 1], &l->entries[at], (l->n - at) * sizeof(l->entries[0]));
    l->entries[at] = (struct punt_entry){ number, ports, rule };
    l->has[number / 64] |= UINT64_C(1) << number % 64;
    l->n++;
}

/* The rule for @number on @port, or -1. */
static int list_find(const struct punt_list *l, uint16_t number, uint8_t port)
{
    if (likely((l->has[number / 64] >> number % 64 & 1) == 0))
        return -1;
    for (uint32_t at = place_of(l, number); at < l->n && l->entries[at].number == number; at++)
        if ((l->entries[at].ports >> port & 1) != 0)
            return l->entries[at].rule;
    return -1;
}

static void add_rule(struct punt *u, const struct machine_conf *machine, uint8_t rule)
{
    const struct punt_conf *conf = &machine->punts[rule];
    uint8_t ports = 0;

    for (uint32_t i = 0; i < machine->n_ports; i++)
        if (punt_conf_is_for(conf, &machine->ports[i]))
            ports |= (uint8_t)(1u << i);
    if (conf->protocol == 0)
        list_add(&u->types, conf->ethertype, ports, rule);
    else if (conf->n_ports == 0)
        list_add(&u->protocols, conf->protocol, ports, rule);
    for (uint32_t i = 0; i < conf->n_ports; i++)
        list_add(list_of(u, conf->protocol), conf->ports[i], ports, rule);
}

_Static_assert(MACHINE_MAX_PORTS <= 8, "a bit for each port");

struct punt *punt_new(const struct machine_conf *machine, uint64_t now_us)
{
    const uint32_t tenth = MAX(machine->punt_rate / 10, 1u);
    struct punt *u = own_alloc(1, sizeof(*u));

    if (u == NULL)
        return NULL;
    hash_key_random(&u->secret);
    for (uint32_t i = 0; i < machine->n_ports; i++)
        if (machine->ports[i].kernel_interface != NULL)
            u->ports |= (uint8_t)(1u << i);
    limit_init(&u->all, machine->punt_rate, machine->punt_burst, now_us);
    for (uint32_t i = 0; i < machine->n_punts; i++) {
        add_rule(u, machine, (uint8_t)i);
        limit_init(&u->limits[i], machine->punts[i].rate,
                   MIN(machine->punts[i].rate, machine->punt_burst), now_us);
    }
    limit_init(&u->limits[PUNT_NEIGHBORS], tenth, tenth, now_us);
    limit_init(&u->limits[PUNT_ECHO_REPLIES], tenth, tenth, now_us);
    return u;
}

void punt_free(struct punt *u)
{
    free(u);
}

/* ---- connections of the kernel */

static uint64_t tag_of(const struct punt *u, const struct flow_key *key)
{
    struct flow_key plain = *key;
    uint64_t tag;

    plain.remote.scope = plain.local.scope = 0; /* the kernel's packets tell none */
    tag = hash_sip(&u->secret, &plain, sizeof(plain));
    return tag != 0 ? tag : 1;
}

/* Its place among all of them, or -1. */
static int flow_find(const struct punt *u, uint64_t tag)
{
    const uint32_t bucket = tag % PUNT_BUCKETS;

    /* Relaxed: an entry is one number, and nothing else is read because of it. */
    for (uint32_t i = 0; i < PUNT_BUCKET; i++)
        if (atomic_load_explicit(&u->tags[bucket][i], memory_order_relaxed) == tag)
            return (int)(bucket * PUNT_BUCKET + i);
    return -1;
}

static uint64_t *used_at(struct punt *u, uint32_t slot)
{
    return &u->used_us[slot / PUNT_BUCKET][slot % PUNT_BUCKET];
}

static void remember(struct punt *u, const struct flow_key *key, uint64_t now_us)
{
    const uint64_t tag = tag_of(u, key);
    const uint32_t bucket = tag % PUNT_BUCKETS;
    const int known = flow_find(u, tag);
    uint32_t oldest = 0;

    if (known >= 0) {
        *used_at(u, (uint32_t)known) = now_us;
        return;
    }
    for (uint32_t i = 1; i < PUNT_BUCKET; i++) /* a free place has not been used for longest */
        if (u->used_us[bucket][i] < u->used_us[bucket][oldest])
            oldest = i;
    u->used_us[bucket][oldest] = now_us;
    atomic_store_explicit(&u->tags[bucket][oldest], tag, memory_order_relaxed);
}

/* One is heard of again. False: it is too long ago, and it is forgotten. */
static bool hear_of(struct punt *u, uint32_t slot, uint64_t now_us)
{
    if (now_us - *used_at(u, slot) < PUNT_IDLE_US) {
        *used_at(u, slot) = now_us;
        return true;
    }
    *used_at(u, slot) = 0;
    atomic_store_explicit(&u->tags[slot / PUNT_BUCKET][slot % PUNT_BUCKET], 0,
                          memory_order_relaxed);
    return false;
}

uint32_t punt_n_flows(const struct punt *u)
{
    uint32_t n = 0;

    for (uint32_t b = 0; b < PUNT_BUCKETS; b++)
        for (uint32_t i = 0; i < PUNT_BUCKET; i++)
            n += atomic_load_explicit(&u->tags[b][i], memory_order_relaxed) != 0;
    return n;
}

/* ---- to the kernel */

static uint32_t ticket_of(int rule)
{
    return rule >= 0 ? (uint32_t)rule : PUNT_NO;
}

/* An answer to what the kernel has sent to a listed port. */
static uint32_t find_reply(const struct punt *u, const struct punt_list *list, uint8_t port,
                           const struct flow_key *key)
{
    const int rule = list_find(list, key->remote_port, port);
    const int slot = rule >= 0 ? flow_find(u, tag_of(u, key)) : -1;

    return slot >= 0 ? (uint32_t)rule | (uint32_t)(slot + 1) << SLOT_SHIFT : PUNT_NO;
}

uint32_t punt_find(const struct punt *u, uint8_t port, const struct flow_key *key)
{
    const struct punt_list *list;
    int rule;

    if (key->protocol != IP4_PROTO_TCP && key->protocol != IP4_PROTO_UDP)
        return ticket_of(list_find(&u->protocols, key->protocol, port));
    list = key->protocol == IP4_PROTO_TCP ? &u->tcp : &u->udp;
    rule = list_find(list, key->local_port, port);
    return rule >= 0 ? (uint32_t)rule : find_reply(u, list, port, key);
}

uint32_t punt_find_type(const struct punt *u, uint8_t port, uint16_t type)
{
    return ticket_of(list_find(&u->types, type, port));
}

uint32_t punt_other(const struct punt *u, uint8_t port, uint32_t rule)
{
    return (u->ports >> port & 1) != 0 ? rule : PUNT_NO;
}

enum drop punt_admit(struct punt *u, uint32_t ticket, uint64_t now_us)
{
    const uint32_t rule = ticket & ((1u << SLOT_SHIFT) - 1), slot = ticket >> SLOT_SHIFT;
    struct punt_counters *c = &u->counters[rule];

    if (slot != 0 && !hear_of(u, slot - 1, now_us))
        return DROP_PUNT_FORGOTTEN;
    if ((u->limits[rule].rate != 0 && !limit_pass(&u->limits[rule], now_us)) ||
        !limit_pass(&u->all, now_us)) {
        c->limited++;
        return DROP_PUNT_LIMITED;
    }
    c->to_kernel++;
    return DROP_NONE;
}

/* ---- from the kernel */

struct leaving {
    struct punt *u;
    uint8_t port;
    uint64_t now_us;
    const uint8_t *l4; /* what is left of the frame */
    uint32_t len;
    struct flow_key key; /* without its ports */
    bool later_fragment; /* which has no ports */
};

static enum drop count(const struct leaving *l, int rule)
{
    if (rule < 0)
        return DROP_KERNEL_NOT_LISTED;
    l->u->counters[rule].from_kernel++;
    return DROP_NONE;
}

/* One end's port is listed; if it is the other one's, the kernel is the client. */
static enum drop with_ports(struct leaving *l, const struct punt_list *list)
{
    int rule;

    if (l->later_fragment)
        return DROP_KERNEL_NOT_LISTED;
    if (l->len < 4)
        return DROP_KERNEL_SHORT;
    l->key.local_port = get16(l->l4);
    l->key.remote_port = get16(l->l4 + 2);
    rule = list_find(list, l->key.local_port, l->port);
    if (rule >= 0)
        return count(l, rule);
    rule = list_find(list, l->key.remote_port, l->port);
    if (rule >= 0)
        remember(l->u, &l->key, l->now_us);
    return count(l, rule);
}

static enum drop icmp4(const struct leaving *l)
{
    if (l->len < 1)
        return DROP_KERNEL_SHORT;
    switch (l->l4[0]) {
    case ICMP4_ECHO:
        return count(l, PUNT_ECHO_REPLIES);
    case ICMP4_UNREACHABLE:
    case ICMP4_TIME_EXCEEDED:
    case ICMP4_PARAMETER:
        return DROP_NONE;
    default:
        return DROP_KERNEL_NOT_LISTED;
    }
}

static enum drop icmp6(const struct leaving *l)
{
    if (l->len < 1)
        return DROP_KERNEL_SHORT;
    switch ((enum icmp6_type)l->l4[0]) {
    case ICMP6_ECHO:
        return count(l, PUNT_ECHO_REPLIES);
    case ICMP6_NEIGH_SOLICIT:
    case ICMP6_NEIGH_ADVERT:
        return count(l, PUNT_NEIGHBORS);
    case ICMP6_UNREACHABLE:
    case ICMP6_TOO_BIG:
    case ICMP6_TIME_EXCEEDED:
    case ICMP6_PARAMETER:
    case ICMP6_MLD_REPORT:
    case ICMP6_MLD_DONE:
    case ICMP6_MLD2_REPORT:
        return DROP_NONE;
    case ICMP6_ECHO_REPLY:
    case ICMP6_MLD_QUERY:
    case ICMP6_ROUTER_SOLICIT: /* the answer would be ours */
    case ICMP6_ROUTER_ADVERT:
    case ICMP6_REDIRECT:
        break;
    }
    return DROP_KERNEL_NOT_LISTED;
}

static enum drop by_protocol(struct leaving *l)
{
    switch (l->key.protocol) {
    case IP4_PROTO_TCP:
        return with_ports(l, &l->u->tcp);
    case IP4_PROTO_UDP:
        return with_ports(l, &l->u->udp);
    case IP4_PROTO_ICMP:
        return l->key.local.family == IP_V4 ? icmp4(l) : DROP_KERNEL_NOT_LISTED;
    case IP6_ICMP:
        return l->key.local.family == IP_V6 ? icmp6(l) : DROP_KERNEL_NOT_LISTED;
    case IGMP:
        return DROP_NONE;
    default:
        return count(l, list_find(&l->u->protocols, l->key.protocol, l->port));
    }
}

static enum drop packet4(struct leaving *l)
{
    const uint8_t *ip = l->l4;
    const uint32_t hdr_len = l->len >= IP4_HDR ? (ip[0] & 0xfu) * 4 : 0;

    if (hdr_len < IP4_HDR || ip[0] >> 4 != 4 || l->len < hdr_len)
        return DROP_KERNEL_SHORT;
    l->key = (struct flow_key){ .remote = ipaddr_v4(get32(ip + 16)),
                                .local = ipaddr_v4(get32(ip + 12)),
                                .protocol = ip[9] };
    l->later_fragment = (get16(ip + 6) & IP4_OFFSET) != 0;
    l->l4 += hdr_len;
    l->len -= hdr_len;
    return by_protocol(l);
}

static enum drop packet6(struct leaving *l)
{
    const uint8_t *ip = l->l4;
    uint8_t protocol;
    uint32_t at;

    if (l->len < IP6_HDR || ip[0] >> 4 != 6 || !ext6_find(ip, l->len, &protocol, &at))
        return DROP_KERNEL_SHORT;
    l->key = (struct flow_key){ .remote = ipaddr_v6(ip + 24),
                                .local = ipaddr_v6(ip + 8),
                                .protocol = protocol };
    l->l4 += at;
    l->len -= at;
    return by_protocol(l);
}

enum drop punt_may_leave(struct punt *u, uint8_t port, const uint8_t *frame, uint32_t len,
                         uint64_t now_us)
{
    struct leaving l = { .u = u, .port = port, .now_us = now_us };
    uint32_t hdr_len = ETH_HDR;
    uint16_t type;

    if (len < ETH_HDR)
        return DROP_KERNEL_SHORT;
    type = get16(frame + 12);
    if (type == ETH_TYPE_VLAN) {
        hdr_len += ETH_VLAN_TAG;
        if (len < hdr_len)
            return DROP_KERNEL_SHORT;
        type = get16(frame + 16);
    }
    l.l4 = frame + hdr_len;
    l.len = len - hdr_len;
    switch (type) {
    case ETH_TYPE_IP4:
        return packet4(&l);
    case ETH_TYPE_IP6:
        return packet6(&l);
    case ETH_TYPE_ARP:
        return count(&l, PUNT_NEIGHBORS);
    default:
        return count(&l, list_find(&u->types, type, port));
    }
}
