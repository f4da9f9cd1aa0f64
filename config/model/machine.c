#include "config/model/machine.h"

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
           addrs_eq(a, b);
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
        a->tcp.ecn != b->tcp.ecn || a->tcp.user_timeout_us != b->tcp.user_timeout_us ||
        a->tcp.delayed_ack_us != b->tcp.delayed_ack_us ||
        a->tcp.time_wait_us != b->tcp.time_wait_us || a->tcp.keepalive_us != b->tcp.keepalive_us ||
        a->tcp.rto_min_us != b->tcp.rto_min_us || a->tcp.recorders != b->tcp.recorders ||
        a->tcp.recorder_records != b->tcp.recorder_records ||
        a->tcp.recorder_episodes != b->tcp.recorder_episodes)
        return "tcp";
    setting = eal_diff(a, b);
    return setting != NULL ? setting : ports_diff(a, b);
}
