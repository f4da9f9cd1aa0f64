/*
 * machine.h - the desired state of the machine: cores, ports, addresses, routes
 *
 * Plain data in the snapshot's arena, read by all, written only while the
 * snapshot is built. These settings are applied at start; a reload that changes
 * them is refused with the name of the setting (a restart applies it).
 */
#pragma once

#include "config/model/where.h"
#include "dataplane/base/ipaddr.h"

#include <stdbool.h>
#include <stdint.h>

#define MACHINE_MAX_PORTS 8
#define MACHINE_MAX_WORKERS 32
#define MACHINE_MAX_ADDRS 16
#define MACHINE_MAX_ROUTES 64
#define MACHINE_MAX_HOPS 8 /* of one route */
#define MACHINE_MAX_PUNTS 32
#define MACHINE_MAX_PUNT_PORTS 32 /* of one rule */

enum port_device {
    PORT_PCI,       /* a NIC bound to vfio-pci, or a bifurcated one: ->pci */
    PORT_AF_XDP,    /* ->interface of the kernel */
    PORT_AF_PACKET, /* ->interface of the kernel */
    PORT_TAP,       /* makes ->interface */
    PORT_MEMIF,     /* ->socket, ->memif_id, ->memif_server */
    PORT_RING,      /* in this process: ->ring_peer names the other port */
    PORT_PCAP,      /* ->pcap_rx and ->pcap_tx files */
};

enum congestion_control { CONGESTION_CUBIC, CONGESTION_RENO };

enum idle_mode { IDLE_ADAPTIVE, IDLE_SPIN };

struct addr_conf {
    struct ipaddr addr;
    uint8_t prefix_len;
    uint16_t vlan; /* 0: untagged */
};

struct port_conf {
    const char *name;
    enum port_device device;
    const char *interface;
    const char *pci;
    const char *socket;
    uint32_t memif_id;
    bool memif_server;
    const char *ring_peer;
    const char *pcap_rx, *pcap_tx;
    const char *mac; /* "02:...": NULL: the device's own */
    uint16_t mtu;
    uint16_t mss;               /* of TCP, both ways, at most; 0: what the MTU allows */
    uint16_t duplicate_probes;  /* before an IPv6 address is used; 0: none */
    bool router_advertisements; /* believe them: routes, prefixes, addresses, MTU */
    uint16_t queues;            /* 0: one per worker, where the device has them */
    uint16_t rx_descriptors, tx_descriptors;
    uint32_t n_addrs;
    struct addr_conf addrs[MACHINE_MAX_ADDRS];
    const char *kernel_interface; /* made for what is the kernel's; NULL: none */
    bool kernel_addresses;        /* it gets the untagged ones of ->addrs */
    struct cfg_where where;
};

/* What is the kernel's, of what arrives for us or for a group. */
struct punt_conf {
    uint8_t protocol;   /* of IP; 0: ->ethertype says what */
    uint16_t ethertype; /* 0: none */
    uint32_t n_ports;
    uint16_t ports[MACHINE_MAX_PUNT_PORTS]; /* of TCP and UDP */
    const char *port;                       /* NULL: every one with a kernel_interface */
    uint32_t rate;                          /* a second; 0: only punt_rate counts */
    struct cfg_where where;
};

enum fixed_route_type { ROUTE_FORWARD, ROUTE_BLACKHOLE, ROUTE_UNREACHABLE };

struct fixed_route_conf {
    struct ipprefix prefix;
    struct ipaddr
        via[MACHINE_MAX_HOPS]; /* equal next hops, up to the first IP_NONE; none: on link */
    const char *port;          /* NULL: the port whose prefix holds ->via */
    enum fixed_route_type type;
    struct cfg_where where;
};

struct machine_conf {
    uint32_t n_workers;
    int32_t cores[MACHINE_MAX_WORKERS];        /* CPU of each worker; -1: any */
    uint32_t n_helpers;                        /* 0: workers compute all of their handshakes */
    int32_t helper_cores[MACHINE_MAX_WORKERS]; /* CPU of each helper; -1: any */
    enum idle_mode idle;
    bool hugepages;
    uint32_t memory_mb;
    uint32_t packets; /* packet buffers of one worker */
    const char *file_prefix;
    uint32_t n_eal;
    const char **eal; /* further EAL arguments */
    uint32_t n_ports;
    struct port_conf ports[MACHINE_MAX_PORTS];
    uint32_t n_routes;
    struct fixed_route_conf routes[MACHINE_MAX_ROUTES];
    uint32_t n_punts;
    struct punt_conf punts[MACHINE_MAX_PUNTS];
    uint32_t punt_rate, punt_burst; /* of all rules: a second, at once */
    bool mirror_routes, mirror_neighbors;
    struct {
        uint32_t max_connections; /* of one worker */
        uint32_t max_half_open;
        /* bytes of one connection: at first, and at most */
        uint32_t receive_buffer, receive_buffer_max, send_buffer, send_buffer_max;
        uint32_t initial_window; /* segments */
        enum congestion_control congestion_control;
        bool pacing, ecn;
        bool segmentation_offload, receive_offload;
        uint64_t time_wait_us, keepalive_us, user_timeout_us, rto_min_us, delayed_ack_us;
        /* of one worker: connections whose segments are recorded, records of each, episodes kept */
        uint32_t recorders, recorder_records, recorder_episodes;
    } tcp;
    struct cfg_where where;
};

/* Has any port an interface of the kernel's? */
bool machine_has_kernel_interface(const struct machine_conf *m);

/* Does @rule count for what arrives at @port? */
bool punt_conf_is_for(const struct punt_conf *rule, const struct port_conf *port);

/* "tcp 22,179", "ospf", "ethertype 0x88cc", and "on PORT" if it is for one alone. Returns @buf. */
#define PUNT_TEXT 320
const char *punt_conf_text(const struct punt_conf *rule, char buf[PUNT_TEXT]);

/* Of IP, by its name ("ospf"); false: it has none here. */
bool ip_protocol_parse(const char *name, uint8_t *ret);

/* The name of the first setting that differs; NULL: none does. */
const char *machine_conf_diff(const struct machine_conf *a, const struct machine_conf *b);
