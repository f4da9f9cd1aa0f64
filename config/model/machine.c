#include "config/model/machine.h"

#include "dataplane/base/compiler.h"

#include <stdio.h>

/* IANA's numbers, of those that a router's programs speak. */
static const struct {
    const char *name;
    uint8_t number;
} protocols[] = {
    { "igmp", 2 },   { "tcp", 6 },    { "udp", 17 },   { "rsvp", 46 }, { "gre", 47 },
    { "esp", 50 },   { "ah", 51 },    { "eigrp", 88 }, { "ospf", 89 }, { "pim", 103 },
    { "vrrp", 112 }, { "l2tp", 115 }, { "sctp", 132 },
};

bool ip_protocol_parse(const char *name, uint8_t *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
        if (strcmp(protocols[i].name, name) == 0) {
            *ret = protocols[i].number;
            return true;
        }
    }
    return false;
}

static const char *protocol_name(uint8_t number)
{
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
        if (protocols[i].number == number)
            return protocols[i].name;
    return NULL;
}

const char *punt_conf_text(const struct punt_conf *rule, char buf[PUNT_TEXT])
{
    const char *name = protocol_name(rule->protocol);
    size_t n;

    if (rule->protocol == 0)
        n = (size_t)snprintf(buf, PUNT_TEXT, "ethertype 0x%04x", rule->ethertype);
    else if (name != NULL)
        n = (size_t)snprintf(buf, PUNT_TEXT, "%s", name);
    else
        n = (size_t)snprintf(buf, PUNT_TEXT, "protocol %u", rule->protocol);
    for (uint32_t i = 0; i < rule->n_ports; i++)
        n += (size_t)snprintf(buf + n, PUNT_TEXT - n, "%s%u", i == 0 ? " " : ",", rule->ports[i]);
    if (rule->port != NULL)
        snprintf(buf + n, PUNT_TEXT - n, " on %s", rule->port);
    return buf;
}

bool machine_has_kernel_interface(const struct machine_conf *m)
{
    for (uint32_t i = 0; i < m->n_ports; i++)
        if (m->ports[i].kernel_interface != NULL)
            return true;
    return false;
}

bool punt_conf_is_for(const struct punt_conf *rule, const struct port_conf *port)
{
    return port->kernel_interface != NULL &&
           (rule->port == NULL || strcmp(rule->port, port->name) == 0);
}

static bool str_eq(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool addrs_eq(const struct port_conf *a, const struct port_conf *b)
{
    if (a->n_addrs != b->n_addrs)
        return false;
    for (uint32_t i = 0; i < a->n_addrs; i++)
        if (!ipaddr_eq(&a->addrs[i].addr, &b->addrs[i].addr) ||
            a->addrs[i].prefix_len != b->addrs[i].prefix_len ||
            a->addrs[i].vlan != b->addrs[i].vlan)
            return false;
    return true;
}

static bool port_eq(const struct port_conf *a, const struct port_conf *b)
{
    return str_eq(a->name, b->name) && a->device == b->device &&
           str_eq(a->interface, b->interface) && str_eq(a->pci, b->pci) &&
           str_eq(a->socket, b->socket) && a->memif_id == b->memif_id &&
           a->memif_server == b->memif_server && str_eq(a->ring_peer, b->ring_peer) &&
           str_eq(a->pcap_rx, b->pcap_rx) && str_eq(a->pcap_tx, b->pcap_tx) &&
           str_eq(a->mac, b->mac) && a->mtu == b->mtu && a->mss == b->mss &&
           a->duplicate_probes == b->duplicate_probes &&
           a->router_advertisements == b->router_advertisements && a->queues == b->queues &&
           a->rx_descriptors == b->rx_descriptors && a->tx_descriptors == b->tx_descriptors &&
           str_eq(a->kernel_interface, b->kernel_interface) &&
           a->kernel_addresses == b->kernel_addresses && addrs_eq(a, b);
}

static bool route_eq(const struct fixed_route_conf *a, const struct fixed_route_conf *b)
{
    return ipaddr_eq(&a->prefix.addr, &b->prefix.addr) && a->prefix.len == b->prefix.len &&
           a->type == b->type && memcmp(a->via, b->via, sizeof(a->via)) == 0 &&
           str_eq(a->port, b->port);
}

static const char *ports_diff(const struct machine_conf *a, const struct machine_conf *b)
{
    if (a->n_ports != b->n_ports)
        return "ports";
    for (uint32_t i = 0; i < a->n_ports; i++)
        if (!port_eq(&a->ports[i], &b->ports[i]))
            return "ports";
    if (a->n_routes != b->n_routes)
        return "routes";
    for (uint32_t i = 0; i < a->n_routes; i++)
        if (!route_eq(&a->routes[i], &b->routes[i]))
            return "routes";
    return NULL;
}

static bool punt_eq(const struct punt_conf *a, const struct punt_conf *b)
{
    return a->protocol == b->protocol && a->ethertype == b->ethertype && a->n_ports == b->n_ports &&
           memcmp(a->ports, b->ports, a->n_ports * sizeof(a->ports[0])) == 0 &&
           str_eq(a->port, b->port) && a->rate == b->rate;
}

static const char *punt_diff(const struct machine_conf *a, const struct machine_conf *b)
{
    if (a->n_punts != b->n_punts)
        return "punt";
    for (uint32_t i = 0; i < a->n_punts; i++)
        if (!punt_eq(&a->punts[i], &b->punts[i]))
            return "punt";
    if (a->punt_rate != b->punt_rate)
        return "punt_rate";
    if (a->punt_burst != b->punt_burst)
        return "punt_burst";
    if (a->mirror_routes != b->mirror_routes)
        return "mirror_routes";
    return a->mirror_neighbors != b->mirror_neighbors ? "mirror_neighbors" : NULL;
}

static const char *eal_diff(const struct machine_conf *a, const struct machine_conf *b)
{
    if (a->n_eal != b->n_eal)
        return "eal";
    for (uint32_t i = 0; i < a->n_eal; i++)
        if (!str_eq(a->eal[i], b->eal[i]))
            return "eal";
    return NULL;
}

const char *machine_conf_diff(const struct machine_conf *a, const struct machine_conf *b)
{
    const char *setting;

    if (a->n_workers != b->n_workers)
        return "workers";
    for (uint32_t i = 0; i < a->n_workers; i++)
        if (a->cores[i] != b->cores[i])
            return "cores";
    if (a->n_helpers != b->n_helpers)
        return "helpers";
    for (uint32_t i = 0; i < a->n_helpers; i++)
        if (a->helper_cores[i] != b->helper_cores[i])
            return "helper_cores";
    if (a->idle != b->idle)
        return "idle";
    if (a->hugepages != b->hugepages)
        return "hugepages";
    if (a->memory_mb != b->memory_mb)
        return "memory_mb";
    if (a->packets != b->packets)
        return "packets";
    if (!str_eq(a->file_prefix, b->file_prefix))
        return "file_prefix";
    if (a->tcp.max_connections != b->tcp.max_connections ||
        a->tcp.max_half_open != b->tcp.max_half_open ||
        a->tcp.receive_buffer != b->tcp.receive_buffer ||
        a->tcp.receive_buffer_max != b->tcp.receive_buffer_max ||
        a->tcp.send_buffer != b->tcp.send_buffer ||
        a->tcp.send_buffer_max != b->tcp.send_buffer_max ||
        a->tcp.initial_window != b->tcp.initial_window ||
        a->tcp.congestion_control != b->tcp.congestion_control || a->tcp.pacing != b->tcp.pacing ||
        a->tcp.ecn != b->tcp.ecn || a->tcp.segmentation_offload != b->tcp.segmentation_offload ||
        a->tcp.receive_offload != b->tcp.receive_offload ||
        a->tcp.user_timeout_us != b->tcp.user_timeout_us ||
        a->tcp.delayed_ack_us != b->tcp.delayed_ack_us ||
        a->tcp.time_wait_us != b->tcp.time_wait_us || a->tcp.keepalive_us != b->tcp.keepalive_us ||
        a->tcp.rto_min_us != b->tcp.rto_min_us || a->tcp.recorders != b->tcp.recorders ||
        a->tcp.recorder_records != b->tcp.recorder_records ||
        a->tcp.recorder_episodes != b->tcp.recorder_episodes)
        return "tcp";
    setting = eal_diff(a, b);
    if (setting == NULL)
        setting = ports_diff(a, b);
    return setting != NULL ? setting : punt_diff(a, b);
}
