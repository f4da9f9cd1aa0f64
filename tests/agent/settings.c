#include "tests/agent/settings.h"

#include "dataplane/base/num.h"

#include <getopt.h>
#include <net/if.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define MS UINT64_C(1000)
#define SECOND (1000 * MS)

enum kind {
    KIND_NUMBER,   /* uint32_t */
    KIND_SMALL,    /* uint8_t */
    KIND_MTU,      /* of the port */
    KIND_MS,       /* uint64_t, in microseconds */
    KIND_ON,       /* bool */
    KIND_OFF,      /* bool that says the contrary */
    KIND_CC,       /* enum cc_algorithm */
    KIND_NEIGHBOR, /* once more each time */
};

struct setting {
    const char *name;
    enum kind kind;
    size_t at;
    uint64_t min, max, def;
    const char *help;
};

#define AT(field) offsetof(struct settings, field)

/* Sorted by what they are about. */
static const struct setting all[] = {
    { "congestion-control", KIND_CC, AT(tcp.cc), 0, 0, CC_CUBIC, "reno or cubic" },
    { "initial-window", KIND_NUMBER, AT(tcp.initial_window), 1, 1000, 10, "segments" },
    { "pacing", KIND_ON, AT(tcp.pacing), 0, 1, 0, "spread a window over its round trip" },
    { "ecn", KIND_ON, AT(tcp.ecn), 0, 1, 0,
      "ask for ECN when opening; it is always granted to those who ask" },
    { "sack", KIND_OFF, AT(tcp.no_sack), 0, 1, 1, "offer and accept selective acknowledgements" },
    { "timestamps", KIND_OFF, AT(tcp.no_timestamps), 0, 1, 1, "offer and accept timestamps" },
    { "window-scale", KIND_OFF, AT(tcp.no_window_scale), 0, 1, 1,
      "offer and accept window scaling" },
    { "receive-buffer", KIND_NUMBER, AT(tcp.recv_buf), 1152, 1 << 30, 65536,
      "bytes of the window; SO_RCVBUF is twice as much, as on Linux" },
    { "receive-buffer-max", KIND_NUMBER, AT(tcp.recv_buf_max), 1152, 1 << 30, 6291456,
      "what it may grow to by itself, unless SO_RCVBUF is set; the window scale is for it" },
    { "send-buffer", KIND_NUMBER, AT(tcp.send_buf), 2304, 1 << 30, 65536,
      "bytes queued and in flight; SO_SNDBUF is twice as much" },
    { "send-buffer-max", KIND_NUMBER, AT(tcp.send_buf_max), 2304, 1 << 30, 4194304,
      "what it may grow to, unless SO_SNDBUF is set" },
    { "nagle", KIND_ON, AT(nagle), 0, 1, 1, "of sockets without TCP_NODELAY" },
    { "delayed-ack-ms", KIND_MS, AT(tcp.delayed_ack_us), 1, 1000, 40, "how late an ACK may be" },
    { "rto-min-ms", KIND_MS, AT(tcp.rto_min_us), 1, 120000, 200, "least retransmission timeout" },
    { "max-retries", KIND_NUMBER, AT(tcp.max_retries), 1, 254, 15,
      "retransmissions of a segment, then ETIMEDOUT" },
    { "syn-retries", KIND_SMALL, AT(syn_retries), 1, 127, 6,
      "of connect(), then ETIMEDOUT (TCP_SYNCNT)" },
    { "syn-timeout-ms", KIND_MS, AT(tcp.syn_timeout_us), 1, 3600000, 63000,
      "how long a connection may be half-open (SYN_RECV)" },
    { "time-wait-ms", KIND_MS, AT(tcp.time_wait_us), 1, 3600000, 60000, "length of TIME_WAIT" },
    { "fin-timeout-ms", KIND_MS, AT(fin_timeout_us), 1, 3600000, 60000,
      "how long a closed socket's connection may take to end" },
    { "user-timeout-ms", KIND_MS, AT(user_timeout_us), 0, 3600000, 0,
      "of sockets without TCP_USER_TIMEOUT; 0: none" },
    { "keepalive", KIND_ON, AT(keepalive), 0, 1, 0, "of sockets without SO_KEEPALIVE" },
    { "keepalive-idle-ms", KIND_MS, AT(tcp.keepalive_us), 1, 32767000, 7200000, "TCP_KEEPIDLE" },
    { "keepalive-interval-ms", KIND_MS, AT(keepalive_interval_us), 1, 32767000, 75000,
      "TCP_KEEPINTVL" },
    { "keepalive-probes", KIND_SMALL, AT(keepalive_probes), 1, 127, 9, "TCP_KEEPCNT" },
    { "somaxconn", KIND_NUMBER, AT(somaxconn), 0, 65535, 4096, "largest backlog of listen()" },
    { "mtu", KIND_MTU, 0, 576, 9000, 1500, "of the port; its interface must have it" },
    { "neighbor", KIND_NEIGHBOR, 0, 0, 0, 0,
      "ADDRESS[/PREFIX]@MAC: is there, without being asked, whether it exists or not; "
      "may be given up to 64 times" },
};

static const struct option options[] = {
    { "interface", required_argument, NULL, 'i' },
    { "device", required_argument, NULL, 'd' },
    { "address", required_argument, NULL, 'a' },
    { "gateway", required_argument, NULL, 'g' },
    { "socket", required_argument, NULL, 's' },
    { "set", required_argument, NULL, 'S' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static void print_default(const struct setting *s)
{
    switch (s->kind) {
    case KIND_NUMBER:
    case KIND_SMALL:
    case KIND_MTU:
    case KIND_MS:
        printf("%lu", (unsigned long)s->def);
        return;
    case KIND_ON:
    case KIND_OFF:
        printf("%s", s->def != 0 ? "on" : "off");
        return;
    case KIND_CC:
        printf("%s", cc_algorithms[s->def]->name);
        return;
    case KIND_NEIGHBOR:
        printf("none");
        return;
    }
}

static void print_help(void)
{
    printf("usage: isthmus-agent --interface IF --address ADDRESS/PREFIX [--address ...]\n"
           "                     [--gateway ADDRESS] --socket PATH [--set NAME=VALUE]...\n\n"
           "Linux' socket calls on our TCP, for test scripts: see tests/agent/agent.h.\n\n"
           "  --interface IF         of the kernel; its addresses must not be those below\n"
           "  --device DEVICE        af_packet (the default) or af_xdp\n"
           "  --address A/PREFIX     of ours; up to %d\n"
           "  --gateway A            where everything else is; one for each family\n"
           "  --socket PATH          Unix socket to be made; ready when it accepts\n"
           "  --set NAME=VALUE       one of these:\n\n",
           MACHINE_MAX_ADDRS);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        printf("  %-22s %s (default: ", all[i].name, all[i].help);
        print_default(&all[i]);
        printf(")\n");
    }
}

PRINTF_LIKE(1, 2) static bool wrong(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "isthmus-agent: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    return false;
}

static bool read_mac(const char *text, uint8_t mac[6])
{
    int end = 0;

    return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
                  &mac[4], &mac[5], &end) == 6 &&
           text[end] == '\0' && (mac[0] & 1) == 0;
}

static bool add_neighbor(struct settings *s, const char *value)
{
    const char *mac = strchr(value, '@');
    struct settings_neighbor *n;

    if (s->n_neighbors == SETTINGS_NEIGHBORS)
        return wrong("neighbor: there are %d already", SETTINGS_NEIGHBORS);
    n = &s->neighbors[s->n_neighbors];
    if (mac == NULL ||
        !ipprefix_parse((struct slice){ value, (size_t)(mac - value) }, true, &n->of) ||
        !read_mac(mac + 1, n->mac))
        return wrong("neighbor: %s is not ADDRESS[/PREFIX]@MAC", value);
    s->n_neighbors++;
    return true;
}

static bool read_cc(const char *value, enum cc_algorithm *ret)
{
    for (unsigned i = 0; i < CC_ALGORITHMS; i++) {
        if (strcmp(cc_algorithms[i]->name, value) == 0) {
            *ret = (enum cc_algorithm)i;
            return true;
        }
    }
    return wrong("congestion-control: there is no %s", value);
}

static bool read_number(const struct setting *t, const char *value, uint64_t *ret)
{
    if (num_u64(slice_of(value), t->max, ret) && *ret >= t->min)
        return true;
    return wrong("%s: %s is not a number from %lu to %lu", t->name, value, (unsigned long)t->min,
                 (unsigned long)t->max);
}

static bool read_on(const struct setting *t, const char *value, uint64_t *ret)
{
    const bool on = strcmp(value, "on") == 0 || strcmp(value, "1") == 0;

    *ret = on;
    if (on || strcmp(value, "off") == 0 || strcmp(value, "0") == 0)
        return true;
    return wrong("%s: %s is neither on nor off", t->name, value);
}

static void store(struct settings *s, const struct setting *t, uint64_t n)
{
    char *at = (char *)s + t->at;

    switch (t->kind) {
    case KIND_NUMBER:
        *(uint32_t *)(void *)at = (uint32_t)n;
        return;
    case KIND_SMALL:
        *(uint8_t *)at = (uint8_t)n;
        return;
    case KIND_MTU:
        s->machine.ports[0].mtu = (uint16_t)n;
        return;
    case KIND_MS:
        *(uint64_t *)(void *)at = n * MS;
        return;
    case KIND_ON:
        *(bool *)at = n != 0;
        return;
    case KIND_OFF:
        *(bool *)at = n == 0;
        return;
    case KIND_CC:
        *(enum cc_algorithm *)(void *)at = (enum cc_algorithm)n;
        return;
    case KIND_NEIGHBOR:
        return;
    }
}

static bool set_one(struct settings *s, const struct setting *t, const char *value)
{
    enum cc_algorithm cc = CC_CUBIC;
    uint64_t n = 0;

    switch (t->kind) {
    case KIND_NUMBER:
    case KIND_SMALL:
    case KIND_MTU:
    case KIND_MS:
        if (!read_number(t, value, &n))
            return false;
        break;
    case KIND_ON:
    case KIND_OFF:
        if (!read_on(t, value, &n))
            return false;
        break;
    case KIND_CC:
        if (!read_cc(value, &cc))
            return false;
        n = cc;
        break;
    case KIND_NEIGHBOR:
        return add_neighbor(s, value);
    }
    store(s, t, n);
    return true;
}

static bool set(struct settings *s, const char *arg)
{
    const char *eq = strchr(arg, '=');

    if (eq == NULL)
        return wrong("--set %s: that is not NAME=VALUE", arg);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (strlen(all[i].name) == (size_t)(eq - arg) &&
            memcmp(all[i].name, arg, (size_t)(eq - arg)) == 0)
            return set_one(s, &all[i], eq + 1);
    return wrong("--set %s: there is no such name (see --help)", arg);
}

static bool add_address(struct settings *s, const char *arg)
{
    struct port_conf *port = &s->machine.ports[0];
    const char *slash = strchr(arg, '/');
    struct addr_conf *to;
    struct ipprefix prefix;

    if (port->n_addrs == MACHINE_MAX_ADDRS)
        return wrong("--address: there are %d already", MACHINE_MAX_ADDRS);
    to = &port->addrs[port->n_addrs];
    if (slash == NULL || !ipprefix_parse(slice_of(arg), false, &prefix) ||
        !ipaddr_parse((struct slice){ arg, (size_t)(slash - arg) }, &to->addr))
        return wrong("--address %s: that is not ADDRESS/PREFIX", arg);
    to->prefix_len = prefix.len;
    port->n_addrs++;
    return true;
}

static bool add_gateway(struct settings *s, const char *arg)
{
    struct machine_conf *m = &s->machine;
    struct fixed_route_conf *route;

    if (m->n_routes == MACHINE_MAX_ROUTES)
        return wrong("--gateway: there are too many");
    route = &m->routes[m->n_routes];
    if (!ipaddr_parse(slice_of(arg), &route->via[0]))
        return wrong("--gateway %s: that is not an address", arg);
    route->prefix.addr.family = route->via[0].family;
    m->n_routes++;
    return true;
}

static bool set_device(struct settings *s, const char *arg)
{
    if (strcmp(arg, "af_packet") == 0)
        s->machine.ports[0].device = PORT_AF_PACKET;
    else if (strcmp(arg, "af_xdp") == 0)
        s->machine.ports[0].device = PORT_AF_XDP;
    else
        return wrong("--device %s: it is af_packet or af_xdp", arg);
    return true;
}

static bool take(struct settings *s, int option, const char *arg)
{
    switch (option) {
    case 'i':
        s->machine.ports[0].interface = arg;
        return strlen(arg) < IFNAMSIZ ? true : wrong("--interface %s: that is too long", arg);
    case 'd':
        return set_device(s, arg);
    case 'a':
        return add_address(s, arg);
    case 'g':
        return add_gateway(s, arg);
    case 's':
        s->socket = arg;
        return true;
    case 'S':
        return set(s, arg);
    }
    return false; /* getopt has said why */
}

/* Memory for 16,384 packets, without hugepages: scripts run anywhere. */
static void set_defaults(struct settings *s)
{
    *s = (struct settings){
        .machine = { .n_workers = 1,
                     .cores = { -1 },
                     .memory_mb = 128,
                     .packets = 16384,
                     .n_ports = 1,
                     .tcp = { .max_connections = 8192, .max_half_open = 4096 } },
        .tcp = { .max_conns = 8192, .max_half_open = 4096, .max_time_wait = 8192 },
    };
    s->machine.ports[0] = (struct port_conf){ .name = "agent",
                                              .device = PORT_AF_PACKET,
                                              .queues = 1,
                                              .rx_descriptors = 1024,
                                              .tx_descriptors = 1024 };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        store(s, &all[i], all[i].def);
}

static bool is_complete(const struct settings *s)
{
    if (s->machine.ports[0].interface == NULL)
        return wrong("--interface is missing (see --help)");
    if (s->machine.ports[0].n_addrs == 0)
        return wrong("--address is missing (see --help)");
    if (s->socket == NULL)
        return wrong("--socket is missing (see --help)");
    if (strlen(s->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return wrong("--socket %s: that is too long", s->socket);
    return true;
}

enum settings_next settings_read(struct settings *ret, int argc, char **argv)
{
    int option;

    set_defaults(ret);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return SETTINGS_HELP;
        }
        if (!take(ret, option, optarg))
            return SETTINGS_WRONG;
    }
    if (optind < argc) {
        wrong("%s: what is that? (see --help)", argv[optind]);
        return SETTINGS_WRONG;
    }
    return is_complete(ret) ? SETTINGS_RUN : SETTINGS_WRONG;
}

struct tcp_tuning settings_tuning(const struct settings *s)
{
    return (struct tcp_tuning){
        .recv_buf = s->tcp.recv_buf,
        .recv_buf_max = MAX(s->tcp.recv_buf_max, s->tcp.recv_buf),
        .send_buf = s->tcp.send_buf,
        .send_buf_max = MAX(s->tcp.send_buf_max, s->tcp.send_buf),
        .notsent_lowat = UINT32_MAX,
        .nagle = s->nagle,
        .keepalive = s->keepalive,
        .cc = s->tcp.cc,
        .keepalive_probes = s->keepalive_probes,
        .syn_retries = s->syn_retries,
        .keepalive_us = s->tcp.keepalive_us,
        .keepalive_interval_us = s->keepalive_interval_us,
        .user_timeout_us = s->user_timeout_us,
    };
}
