#include "config/model/machine.h"
#include "config/file/objects.h"

#include "dataplane/base/num.h"

/* "192.0.2.1/24", "192.0.2.1/24 vlan 5" */
static int read_address(struct reader *r, const config_setting_t *s, void *element)
{
    struct addr_conf *to = element;
    struct ipprefix whole;
    const char *value;
    struct slice text;
    uint64_t vlan = 0;
    size_t space, slash;
    int rc = field_text(r, s, &value);

    if (rc < 0)
        return rc;
    text = slice_of(value);
    space = slice_find(text, ' ');
    if (space < text.len &&
        (!slice_starts(slice_skip(text, space), SLICE(" vlan ")) ||
         !num_u64(slice_skip(text, space + strlen(" vlan ")), 4094, &vlan) || vlan == 0))
        return field_err(r, s,
                         "\"%s\": after the address only \"vlan N\" may stand, N from 1 to "
                         "4094",
                         value);
    text = slice_head(text, space);
    slash = slice_find(text, '/');
    if (slash == text.len || !ipprefix_parse(text, false, &whole) ||
        !ipaddr_parse(slice_head(text, slash), &to->addr))
        return field_err(r, s,
                         "\"%s\" is not an address with its prefix length, such as "
                         "\"192.0.2.1/24\"",
                         value);
    to->prefix_len = whole.len;
    to->vlan = (uint16_t)vlan;
    return 0;
}

static int read_core(struct reader *r, const config_setting_t *s, void *element)
{
    int64_t core = 0;
    int rc = field_integer(r, s, 0, 1023, &core);

    *(int32_t *)element = (int32_t)core;
    return rc;
}

static int read_prefix(struct reader *r, const config_setting_t *s, void *obj)
{
    struct fixed_route_conf *to = obj;
    const char *value;
    int rc = field_text(r, s, &value);

    if (rc < 0)
        return rc;
    if (!ipprefix_parse(slice_of(value), true, &to->prefix))
        return field_err(r, s,
                         "\"%s\" is not a prefix such as \"10.0.0.0/8\" (bits beyond its "
                         "length must be zero)",
                         value);
    return 0;
}

/* "10.0.0.1", or several in a list. */
static int read_via(struct reader *r, const config_setting_t *s, void *obj)
{
    struct fixed_route_conf *to = obj;
    int rc = 0;

    if (!config_setting_is_aggregate(s))
        return field_each_ipaddr(r, s, &to->via[0]);
    if (config_setting_is_group(s) || config_setting_length(s) < 1 ||
        config_setting_length(s) > MACHINE_MAX_HOPS)
        return field_err(r, s, "must be an IP address, or a list of 1 to %d of them",
                         MACHINE_MAX_HOPS);
    for (int i = 0; i < config_setting_length(s) && rc == 0; i++)
        rc = field_each_ipaddr(r, config_setting_get_elem(s, (unsigned)i), &to->via[i]);
    return rc;
}

static int read_protocol(struct reader *r, const config_setting_t *s, void *obj)
{
    struct punt_conf *to = obj;
    int64_t number = 0;
    const char *name;
    int rc;

    if (config_setting_type(s) != CONFIG_TYPE_STRING) {
        rc = field_integer(r, s, 1, 254, &number);
        to->protocol = (uint8_t)number;
        return rc;
    }
    rc = field_text(r, s, &name);
    if (rc < 0)
        return rc;
    if (!ip_protocol_parse(name, &to->protocol))
        return field_err(r, s, "\"%s\" is not an IP protocol known by name: its number will do",
                         name);
    return 0;
}

/* Ethernet's types are written in hexadecimal by everybody. */
static int read_ethertype(struct reader *r, const config_setting_t *s, void *obj)
{
    struct punt_conf *to = obj;
    const int value = config_setting_get_int(s);

    if (config_setting_type(s) != CONFIG_TYPE_INT || value < 0x600 || value > 0xffff)
        return field_err(r, s, "must be a number from 0x0600 to 0xffff");
    to->ethertype = (uint16_t)value;
    return 0;
}

static int read_punt_port(struct reader *r, const config_setting_t *s, void *element)
{
    int64_t port = 0;
    int rc = field_integer(r, s, 1, UINT16_MAX, &port);

    *(uint16_t *)element = (uint16_t)port;
    return rc;
}

/*
 * The setting @names has @cores, of @n threads; the setting @count is their number. Cores alone say
 * how many there are; a number alone leaves the cores to the kernel.
 */
static int check_cores(struct reader *r, const config_setting_t *s, const char *names,
                       const char *count, int32_t *cores, uint32_t n)
{
    const config_setting_t *given = config_setting_get_member(s, names);
    const config_setting_t *counted = config_setting_get_member(s, count);

    if (given == NULL) {
        for (uint32_t i = 0; i < n; i++)
            cores[i] = -1;
        return 0;
    }
    if (counted != NULL && config_setting_get_int(counted) != config_setting_length(given))
        return field_err(r, given, "names %d cores for %d %s", config_setting_length(given),
                         config_setting_get_int(counted), count);
    return 0;
}

static int check_machine(struct reader *r, const config_setting_t *s, void *obj)
{
    struct machine_conf *m = obj;
    int rc = check_cores(r, s, "cores", "workers", m->cores, m->n_workers);

    if (rc == 0)
        rc = check_cores(r, s, "helper_cores", "helpers", m->helper_cores, m->n_helpers);
    return rc;
}

static const char *const devices[] = { "pci",   "af_xdp", "af_packet", "tap",
                                       "memif", "ring",   "pcap",      NULL };
static const char *const route_types[] = { "forward", "blackhole", "unreachable", NULL };
static const char *const congestion_controls[] = { "cubic", "reno", NULL };
static const char *const idle_modes[] = { "adaptive", "spin", NULL };

#define P struct port_conf
static const struct field port_fields[] = {
    FIELD(FIELD_TEXT, P, name, .required = true, .help = "What routes, logs and counters call it."),
    FIELD(FIELD_WORD, P, device, .required = true, .words = devices,
          .help =
              "What the port is: a NIC bound to vfio-pci or an mlx5 (`pci`), an interface of the "
              "kernel (`af_xdp`, `af_packet`), a new one (`tap`), another process (`memif`), "
              "another port of this process (`ring`), or capture files (`pcap`)."),
    FIELD(FIELD_TEXT, P, interface,
          .help =
              "`af_xdp`, `af_packet`: the interface that is used. `tap`: the one that is made."),
    FIELD(FIELD_TEXT, P, pci, .help = "`pci`: address of the NIC, such as \"0000:3b:00.0\"."),
    FIELD(FIELD_TEXT, P, socket, .help = "`memif`: Unix socket over which the two sides meet."),
    FIELD(FIELD_NUMBER, P, memif_id, .max = UINT32_MAX, .help = "`memif`: number of the pair."),
    FIELD(FIELD_BOOL, P, memif_server, .help = "`memif`: be the side that makes the socket."),
    FIELD(FIELD_TEXT, P, ring_peer, .help = "`ring`: name of the port at the other end."),
    FIELD(FIELD_TEXT, P, pcap_rx, .help = "`pcap`: file whose frames are received."),
    FIELD(FIELD_TEXT, P, pcap_tx, .help = "`pcap`: file that gets the frames sent."),
    FIELD(FIELD_TEXT, P, mac, .def_text = NULL,
          .help = "Ethernet address, where the device (`tap`, `memif`) can be given one. Default: "
                  "the device's own."),
    FIELD(FIELD_NUMBER, P, mtu, .max = 9000,
          .help = "Largest IP packet. 0: the device's, at most 1500."),
    FIELD(FIELD_NUMBER, P, mss, .max = 8960,
          .help = "Largest TCP segment, both ways, without its headers, where a tunnel on the way "
                  "takes less than the MTU and nobody says so. 0: what the MTU allows."),
    FIELD(FIELD_NUMBER, P, duplicate_probes, .max = 10, .def = 1,
          .help = "How often, a second apart, an IPv6 address is asked for before it is used: if "
                  "another machine has it, it is not. 0: it is used at once."),
    FIELD(FIELD_BOOL, P, router_advertisements,
          .help = "Believe routers on the (untagged) link: default routes, prefixes, addresses "
                  "made of them, MTU. Only for a link that you trust."),
    FIELD(FIELD_NUMBER, P, queues, .max = MACHINE_MAX_WORKERS,
          .help = "Queues each way. 0: one for each worker, where the device has so many."),
    FIELD(FIELD_NUMBER, P, rx_descriptors, .min = 64, .max = 16384, .def = 1024,
          .help = "Frames a receive queue can hold (a NIC's, `af_xdp`, `memif`)."),
    FIELD(FIELD_NUMBER, P, tx_descriptors, .min = 64, .max = 16384, .def = 1024,
          .help = "Frames a transmit queue can hold (the same; both rings of a `memif` are as long "
                  "as the larger number, which its client decides)."),
    FIELD_MANY("addresses", FIELD_EACH, P, addrs, n_addrs, .max = MACHINE_MAX_ADDRS,
               .may_be_empty = true, .each = read_address,
               .form = "texts, such as \"192.0.2.1/24\" or \"2001:db8::1/64 vlan 5\"",
               .help = "Our addresses on this port, of both families, each with the length of its "
                       "prefix. Where there is one of IPv6 there also is a link-local one."),
    FIELD(FIELD_TEXT, P, kernel_interface,
          .help = "Make an interface of this name, by which the kernel has its share of the port: "
                  "what `punt` names, and what the kernel sends."),
    FIELD(FIELD_BOOL, P, kernel_addresses, .def = 1,
          .help = "Give that interface the port's (untagged) addresses, so that programs can bind "
                  "and announce them."),
};
static const struct object port_object =
    OBJECT("ports", struct port_conf, port_fields, .where_at = offsetof(P, where),
           .help = "A way into the machine that this process owns.");
#undef P

#define R struct fixed_route_conf
static const struct field route_fields[] = {
    FIELD_AS("prefix", FIELD_CUSTOM, R, prefix, .required = true, .read = read_prefix,
             .form = "text, such as \"0.0.0.0/0\"", .help = "Destinations this route is for."),
    FIELD_AS("via", FIELD_CUSTOM, R, via, .read = read_via,
             .form = "text, an IP address; or a list of up to 8",
             .help = "Next hop, or several of equal worth: each flow keeps to one, and those that "
                     "do not answer are passed over. Absent: the destination itself is on the "
                     "link of `port`."),
    FIELD(FIELD_TEXT, R, port,
          .help = "Port to send by. Absent: the one whose prefix holds `via`. A link-local `via` "
                  "needs it."),
    FIELD(FIELD_WORD, R, type, .words = route_types, .def = ROUTE_FORWARD,
          .help = "`blackhole` and `unreachable` refuse connections to these destinations (with "
                  "different errors), and have neither `via` nor `port`."),
};
static const struct object route_object =
    OBJECT("routes", R, route_fields, .where_at = offsetof(R, where),
           .help = "A fixed route of our own IP stack. The prefixes of the ports' addresses need "
                   "none.");
#undef R

#define U struct punt_conf
static const struct field punt_fields[] = {
    FIELD_AS("protocol", FIELD_CUSTOM, U, protocol, .read = read_protocol,
             .form = "a name (`tcp`, `udp`, `ospf`, `vrrp`, `igmp`, `pim`, `gre`, `esp`, `ah`, "
                     "`sctp`, ...) or a number",
             .help = "What the IP header says is in the packet."),
    FIELD_MANY("ports", FIELD_EACH, U, ports, n_ports, .max = MACHINE_MAX_PUNT_PORTS,
               .each = read_punt_port, .form = "numbers",
               .help = "`tcp`, `udp`: ports of ours that the kernel serves, and ports elsewhere "
                       "that it may connect to."),
    FIELD_AS("ethertype", FIELD_CUSTOM, U, ethertype, .read = read_ethertype,
             .form = "number, such as `0x88cc` (LLDP) or `0x8809` (LACP)",
             .help = "Instead of `protocol`: frames that carry no IP."),
    FIELD(FIELD_TEXT, U, port,
          .help = "Port that they arrive at. Absent: every one with a `kernel_interface`."),
    FIELD(FIELD_NUMBER, U, rate, .max = 10000000,
          .help = "Packets a second of this rule, so that one does not take the share of the "
                  "others. 0: only `punt_rate` counts."),
};
static const struct object punt_object =
    OBJECT("punt", U, punt_fields, .where_at = offsetof(U, where),
           .help = "Packets that are the kernel's, among those that are sent to an address of ours "
                   "(or to a group). What is not named is answered by the gateway, or dropped. A "
                   "TCP port on which a listener listens cannot be named.");
#undef U

/* What a buffer may grow to is no less than what it starts with; by default it is raised to that.
 */
static int check_growth(struct reader *r, const config_setting_t *s, const char *name,
                        uint32_t start, uint32_t *max)
{
    const config_setting_t *given = s != NULL ? config_setting_get_member(s, name) : NULL;

    if (*max >= start)
        return 0;
    if (given != NULL)
        return field_err(r, given, "is less than what it starts with, %u bytes", start);
    *max = start;
    return 0;
}

static int check_tcp(struct reader *r, const config_setting_t *s, void *obj)
{
    struct machine_conf *m = obj;
    int rc =
        check_growth(r, s, "receive_buffer_max", m->tcp.receive_buffer, &m->tcp.receive_buffer_max);

    return rc < 0
               ? rc
               : check_growth(r, s, "send_buffer_max", m->tcp.send_buffer, &m->tcp.send_buffer_max);
}

#define M struct machine_conf
/* Its fields are those of the machine: the group has no struct of its own. */
static const struct field tcp_fields[] = {
    FIELD_AS("max_connections", FIELD_NUMBER, M, tcp.max_connections, .min = 16,
             .max = 16 * 1024 * 1024, .def = 65536, .help = "Open TCP connections of one worker."),
    FIELD_AS("max_half_open", FIELD_NUMBER, M, tcp.max_half_open, .min = 16,
             .max = 16 * 1024 * 1024, .def = 4096,
             .help = "TCP connections of one worker that are in their handshake."),
    FIELD_AS("receive_buffer", FIELD_SIZE, M, tcp.receive_buffer, .min = 4096, .max = 16 << 20,
             .def = 65536, .help = "Bytes a TCP connection may hold unread: its first window."),
    FIELD_AS("receive_buffer_max", FIELD_SIZE, M, tcp.receive_buffer_max, .min = 4096,
             .max = 16 << 20, .def = 128 << 10,
             .help = "What that may grow to for a connection whose bytes are read as fast as they "
                     "come. A slow reader behind the gateway can make it hold so much; a fast "
                     "sender far away (100 ms) sends ten times this a second."),
    FIELD_AS("send_buffer", FIELD_SIZE, M, tcp.send_buffer, .min = 4096, .max = 16 << 20,
             .def = 65536,
             .help = "Bytes a TCP connection may hold unsent, and also unacknowledged while its "
                     "congestion window is small."),
    FIELD_AS("send_buffer_max", FIELD_SIZE, M, tcp.send_buffer_max, .min = 4096, .max = 64 << 20,
             .def = 4 << 20,
             .help = "Bytes it may hold unacknowledged with a large one: the most that can be on "
                     "the way to one peer."),
    FIELD_AS("congestion_control", FIELD_WORD, M, tcp.congestion_control,
             .words = congestion_controls, .def = CONGESTION_CUBIC,
             .help = "How fast a connection sends: `cubic` (RFC 9438) or `reno` (RFC 5681)."),
    FIELD_AS("initial_window", FIELD_NUMBER, M, tcp.initial_window, .min = 1, .max = 100, .def = 10,
             .help = "Segments that are sent before the first is acknowledged."),
    FIELD_AS("pacing", FIELD_BOOL, M, tcp.pacing, .def = 1,
             .help = "Spread what is sent over the round trip, where that is longer than 2 ms."),
    FIELD_AS("ecn", FIELD_BOOL, M, tcp.ecn,
             .help = "Ask for explicit congestion notification (RFC 3168). A peer that asks gets "
                     "it in any case."),
    FIELD_AS("segmentation_offload", FIELD_BOOL, M, tcp.segmentation_offload, .def = 1,
             .help = "Send several segments as one packet, which the port cuts up (TSO) where it "
                     "can, and its driver otherwise."),
    FIELD_AS("receive_offload", FIELD_BOOL, M, tcp.receive_offload, .def = 1,
             .help =
                 "Merge segments of a connection that come together: by the port (LRO) where it "
                 "can, and in each burst of packets."),
    FIELD_AS("time_wait", FIELD_DURATION, M, tcp.time_wait_us, .max = 10 * 60 * SECONDS,
             .def = 60 * SECONDS, .help = "How long a closed connection is remembered (2 MSL)."),
    FIELD_AS("keepalive", FIELD_DURATION, M, tcp.keepalive_us, .max = 30 * DAYS, .def = 2 * HOURS,
             .help = "Idle time before a TCP connection is probed. 0s: never."),
    FIELD_AS("user_timeout", FIELD_DURATION, M, tcp.user_timeout_us, .max = 30 * DAYS,
             .help = "Bytes unacknowledged for so long end the connection (RFC 5482). 0s: only "
                     "fifteen retransmissions do."),
    FIELD_AS("delayed_ack", FIELD_DURATION, M, tcp.delayed_ack_us, .min = 1000, .max = SECONDS / 2,
             .def = 40 * 1000, .help = "How long the ACK of a lone segment may wait for company."),
    FIELD_AS("min_rto", FIELD_DURATION, M, tcp.rto_min_us, .min = 1000, .max = 10 * SECONDS,
             .def = 200 * 1000, .help = "Shortest wait before a segment is sent again."),
    FIELD_AS("recorders", FIELD_NUMBER, M, tcp.recorders, .max = 16384, .def = 256,
             .help = "TCP connections of one worker whose last segments are recorded: those that "
                     "have carried data last. `isthmusctl flights` shows them. 0: none."),
    FIELD_AS("recorder_records", FIELD_NUMBER, M, tcp.recorder_records, .min = 16, .max = 4096,
             .def = 256, .help = "Records of each, 24 bytes apiece: about as many segments."),
    FIELD_AS("recorder_episodes", FIELD_NUMBER, M, tcp.recorder_episodes, .min = 1, .max = 4096,
             .def = 64,
             .help = "How many such recordings a worker keeps from connections that have lost "
                     "segments; the oldest goes first."),
};
static const struct object tcp_object =
    OBJECT("tcp", M, tcp_fields, .where_at = -1, .check = check_tcp, .help = "Our own TCP.");

static const struct field machine_fields[] = {
    FIELD_AS("workers", FIELD_NUMBER, M, n_workers, .min = 1, .max = MACHINE_MAX_WORKERS, .def = 1,
             .def_text = "1, or one for each of `cores`", .help = "Threads that carry traffic."),
    FIELD_MANY("cores", FIELD_EACH, M, cores, n_workers, .max = MACHINE_MAX_WORKERS,
               .each = read_core, .form = "numbers",
               .help = "CPU of each worker. Absent: the kernel places them."),
    FIELD_AS("helpers", FIELD_NUMBER, M, n_helpers, .max = MACHINE_MAX_WORKERS,
             .def_text = "0, or one for each of `helper_cores`",
             .help = "Threads that compute the public-key operations of TLS handshakes for the "
                     "workers; not more than there are workers. 0: workers compute them."),
    FIELD_MANY("helper_cores", FIELD_EACH, M, helper_cores, n_helpers, .max = MACHINE_MAX_WORKERS,
               .each = read_core, .form = "numbers",
               .help = "CPU of each helper, none of a worker's. Absent: the kernel places them."),
    FIELD(FIELD_WORD, M, idle, .words = idle_modes, .def = IDLE_ADAPTIVE,
          .help = "What a worker does when there is nothing to do: sleep a little (`adaptive`), or "
                  "poll on (`spin`)."),
    FIELD(FIELD_BOOL, M, hugepages, .help = "Take packet memory from hugepages."),
    FIELD_AS("memory", FIELD_SIZE, M, memory_mb, .unit = 1 << 20, .min = 64, .max = 1 << 20,
             .def = 512, .help = "Memory for packets, of all workers."),
    FIELD(FIELD_NUMBER, M, packets, .min = 1024, .max = 1 << 20, .def = 16384,
          .help = "Packet buffers of one worker (about 2.5 KiB each)."),
    FIELD(FIELD_TEXT, M, file_prefix, .def_text = NULL,
          .help =
              "Tells apart several DPDK processes on one machine. Default: isthmus- and the number "
              "of the process."),
    FIELD_MANY("eal", FIELD_EACH, M, eal, n_eal, .pointer = true, .may_be_empty = true, .max = 32,
               .each = field_each_text, .form = "texts",
               .help = "Further arguments for DPDK's environment layer, as they are."),
    FIELD_MANY("ports", FIELD_LIST, M, ports, n_ports, .required = true, .max = MACHINE_MAX_PORTS,
               .object = &port_object, .help = "The ports, at least one."),
    FIELD_MANY("routes", FIELD_LIST, M, routes, n_routes, .max = MACHINE_MAX_ROUTES,
               .may_be_empty = true, .object = &route_object, .help = "Routes of the IP stack."),
    FIELD_MANY("punt", FIELD_LIST, M, punts, n_punts, .max = MACHINE_MAX_PUNTS,
               .may_be_empty = true, .object = &punt_object,
               .help = "What is given to the kernel, by the ports' `kernel_interface`."),
    FIELD(FIELD_NUMBER, M, punt_rate, .min = 10, .max = 10000000, .def = 10000,
          .help = "Packets a second that the kernel is given, of all rules together."),
    FIELD(FIELD_NUMBER, M, punt_burst, .min = 1, .max = 100000, .def = 1000,
          .help = "Of them, so many at once."),
    FIELD(FIELD_BOOL, M, mirror_routes,
          .help = "Take over routes that the kernel has by a `kernel_interface` (those of BIRD, of "
                  "FRR, of `ip route`). A route of this file wins over one to the same prefix."),
    FIELD(FIELD_BOOL, M, mirror_neighbors,
          .help = "Take over neighbours that were given to the kernel for good (`ip neigh add ... "
                  "nud permanent`)."),
    { .name = "tcp", .type = FIELD_GROUP, .object = &tcp_object, .help = "TCP of every worker." },
};
const struct object object_machine = OBJECT(
    "machine", M, machine_fields, .where_at = offsetof(M, where), .check = check_machine,
    .help = "Cores, ports, addresses and TCP. Read at start: a reload that changes any of it "
            "is refused.");
