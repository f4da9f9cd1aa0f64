/*
 * badwire - a bad cable between two interfaces of the kernel, or one and a memif
 *
 * Relays frames both ways with loss, delay, reordering, duplication, corruption
 * and a rate, each direction for itself, for machines whose kernel has no netem.
 * The meanings are netem's:
 *
 *   --loss PCT        of the frames, each for itself; with --burst N in bursts of N on
 *                     average (a Gilbert channel of the same overall loss)
 *   --delay MS        and --jitter MS: a uniform share of plus or minus so much. Frames
 *                     overtake each other where the jitter says so
 *   --reorder PCT     of the frames skip the delay
 *   --duplicate PCT   are sent twice (the copy is delayed by itself)
 *   --corrupt PCT     have one bit flipped, behind the Ethernet header
 *   --rate MBIT       of the line; what does not fit --limit FRAMES is dropped
 *   --seed N          the same frames in the same order meet the same fate
 *
 * An option with -ab or -ba behind its name is for one direction. Statistics go to
 * standard output on SIGUSR1 and at the end (SIGTERM, SIGINT); "ready" when frames pass.
 *
 * The kernel must send whole frames: `ethtool -K IF tx off tso off gso off gro off` at
 * the far ends. Longer ones than the other side can send are dropped, with a complaint.
 *
 * IF_B may be memif:SOCKET, the server's side of that socket (wireport.h), for a gateway whose
 * packets no kernel is to see.
 *
 * One thread: ppoll, recvmmsg into frames, a heap ordered by the time they are due,
 * sendmmsg out of them. With a memif, which has nothing to wait for, it polls, and sleeps a
 * little when nothing comes.
 */
#include "tests/lib/wireport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define SOCKET_BUFFER (64 << 20)
#define NSEC UINT64_C(1000000000)
#define VLAN_LEN 4
#define PORT (-1) /* in the place of a socket: the memif */
#define PORT_PREFIX "memif:"
#define SPINS 64 /* looks at a memif without a frame before the first sleep */
#define SLEEP_NS 20000
#define CONTROL_LEN CMSG_SPACE(sizeof(struct tpacket_auxdata))

struct setting {
    double loss, burst, delay, jitter, reorder, duplicate, corrupt, rate, limit;
};

static const struct setting defaults = { .burst = 1, .limit = 10000 };

/* Name, place and upper bound of every option that a direction has. */
static const struct option_row {
    const char *name;
    size_t at;
    double max;
} option_rows[] = {
    { "loss", offsetof(struct setting, loss), 100 },
    { "burst", offsetof(struct setting, burst), 1e6 },
    { "delay", offsetof(struct setting, delay), 60000 },
    { "jitter", offsetof(struct setting, jitter), 60000 },
    { "reorder", offsetof(struct setting, reorder), 100 },
    { "duplicate", offsetof(struct setting, duplicate), 100 },
    { "corrupt", offsetof(struct setting, corrupt), 100 },
    { "rate", offsetof(struct setting, rate), 1e6 },
    { "limit", offsetof(struct setting, limit), 1e6 },
};

#define N_OPTIONS (sizeof(option_rows) / sizeof(option_rows[0]))

#define COUNTERS(X)                                                                                \
    X(received)                                                                                    \
    X(sent)                                                                                        \
    X(lost)                                                                                        \
    X(duplicated)                                                                                  \
    X(reordered)                                                                                   \
    X(corrupted)                                                                                   \
    X(queue_full)  /* more frames than --limit under way */                                        \
    X(device_full) /* the kernel would not take it */                                              \
    X(too_long)    /* a frame that was meant to be cut by a NIC */                                 \
    X(half_summed) /* a checksum that was meant to be finished by a NIC; passed on as it is */     \
    X(missed)      /* we were too slow */

#define FIELD(name) uint64_t name;
struct counters {
    COUNTERS(FIELD)
};

struct frame {
    uint64_t due, seq; /* seq: frames due at the same time keep their order */
    struct frame *next;
    uint32_t len;
    uint8_t *bytes; /* with VLAN_LEN of room in front */
};

/* One direction of the wire. */
struct direction {
    const char *name;
    struct setting set;
    int from, to; /* sockets, or PORT */
    uint32_t max_len;
    uint64_t rng;
    bool in_burst;
    uint64_t line_free; /* when the line has sent all that it has taken */
    uint64_t seq;
    struct frame **heap;
    uint32_t n_heap, limit;
    struct frame *free;
    struct frame *batch[BATCH]; /* what the next recvmmsg() fills */
    struct counters n;
    bool complained;
};

static volatile sig_atomic_t stop, tell;

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "badwire: %s: %s\n", what, detail);
    exit(1);
}

static void on_signal(int sig)
{
    if (sig == SIGUSR1)
        tell = 1;
    else
        stop = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

/* --- chance: SplitMix64 --- */

static uint64_t draw(struct direction *d)
{
    uint64_t x = d->rng += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* 0 to 1, without 1 */
static double draw_share(struct direction *d)
{
    return (double)(draw(d) >> 11) / (double)(UINT64_C(1) << 53);
}

static bool happens(struct direction *d, double percent)
{
    return percent > 0 && draw_share(d) * 100 < percent;
}

/* In a burst everything is lost; it ends with 1/N, and begins so that the overall loss is right. */
static bool is_lost(struct direction *d)
{
    double p = d->set.loss / 100, ends = 1 / d->set.burst;

    if (d->set.burst <= 1 || d->set.loss >= 100)
        return happens(d, d->set.loss);
    if (d->in_burst)
        d->in_burst = draw_share(d) >= ends;
    else
        d->in_burst = p > 0 && draw_share(d) < p * ends / (1 - p);
    return d->in_burst;
}

/* --- frames under way: a heap, the next one due on top --- */

static bool before(const struct frame *a, const struct frame *b)
{
    return a->due < b->due || (a->due == b->due && a->seq < b->seq);
}

static void heap_push(struct direction *d, struct frame *f)
{
    uint32_t i = d->n_heap++;

    for (; i > 0 && before(f, d->heap[(i - 1) / 2]); i = (i - 1) / 2)
        d->heap[i] = d->heap[(i - 1) / 2];
    d->heap[i] = f;
}

static struct frame *heap_pop(struct direction *d)
{
    struct frame *top = d->heap[0], *last = d->heap[--d->n_heap];
    uint32_t i = 0, child;

    while ((child = 2 * i + 1) < d->n_heap) {
        if (child + 1 < d->n_heap && before(d->heap[child + 1], d->heap[child]))
            child++;
        if (!before(d->heap[child], last))
            break;
        d->heap[i] = d->heap[child];
        i = child;
    }
    if (d->n_heap > 0)
        d->heap[i] = last;
    return top;
}

static struct frame *frame_get(struct direction *d)
{
    struct frame *f = d->free;

    if (f != NULL)
        d->free = f->next;
    return f;
}

/* Where its bytes begin, behind the room for a VLAN tag. */
static uint8_t *home_of(struct frame *f)
{
    return (uint8_t *)(f + 1) + VLAN_LEN;
}

static void frame_put(struct direction *d, struct frame *f)
{
    f->bytes = home_of(f);
    f->next = d->free;
    d->free = f;
}

/* --- what happens to a frame --- */

static uint64_t delay_ns(struct direction *d)
{
    double ms = d->set.delay;

    if (d->set.jitter > 0)
        ms += (2 * draw_share(d) - 1) * d->set.jitter;
    return ms > 0 ? (uint64_t)(ms * 1e6) : 0;
}

/* When the last bit of it has left, behind all that went before. */
static uint64_t line_time(struct direction *d, uint32_t len, uint64_t now)
{
    if (d->set.rate <= 0)
        return now;
    if (d->line_free < now)
        d->line_free = now;
    d->line_free += (uint64_t)(len * 8 * 1e3 / d->set.rate);
    return d->line_free;
}

static void corrupt(struct direction *d, struct frame *f)
{
    uint64_t r = draw(d);

    if (f->len <= ETH_HLEN)
        return;
    f->bytes[ETH_HLEN + (r >> 8) % (f->len - ETH_HLEN)] ^= (uint8_t)(1 << r % 8);
    d->n.corrupted++;
}

static void enqueue(struct direction *d, struct frame *f, uint64_t now)
{
    if (d->n_heap >= d->limit) {
        d->n.queue_full++;
        frame_put(d, f);
        return;
    }
    if (happens(d, d->set.corrupt))
        corrupt(d, f);
    f->due = line_time(d, f->len, now);
    f->seq = d->seq++;
    if (happens(d, d->set.reorder))
        d->n.reordered++;
    else
        f->due += delay_ns(d);
    heap_push(d, f);
}

static void duplicate(struct direction *d, const struct frame *f, uint64_t now)
{
    struct frame *copy = frame_get(d);

    if (copy == NULL) {
        d->n.queue_full++;
        return;
    }
    memcpy(copy->bytes, f->bytes, f->len);
    copy->len = f->len;
    d->n.duplicated++;
    enqueue(d, copy, now);
}

/* Takes @f. A frame that is both duplicated and lost arrives once, as with netem. */
static void frame_arrived(struct direction *d, struct frame *f, uint64_t now)
{
    bool twice = happens(d, d->set.duplicate), lost = is_lost(d);

    d->n.received++;
    if (lost)
        d->n.lost++;
    if (lost && !twice) {
        frame_put(d, f);
        return;
    }
    if (twice && !lost)
        duplicate(d, f, now);
    enqueue(d, f, now);
}

/* --- in and out --- */

static const struct tpacket_auxdata *aux_of(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA)
            return (const struct tpacket_auxdata *)CMSG_DATA(c);
    }
    return NULL;
}

/* The kernel takes the VLAN tag out of the frame: it goes back in. */
static void put_vlan(struct frame *f, const struct tpacket_auxdata *aux)
{
    uint16_t tpid =
        htons(aux->tp_status & TP_STATUS_VLAN_TPID_VALID ? aux->tp_vlan_tpid : ETH_P_8021Q);
    uint16_t tci = htons(aux->tp_vlan_tci);

    f->bytes -= VLAN_LEN;
    f->len += VLAN_LEN;
    memmove(f->bytes, f->bytes + VLAN_LEN, 2 * ETH_ALEN);
    memcpy(f->bytes + 2 * ETH_ALEN, &tpid, 2);
    memcpy(f->bytes + 2 * ETH_ALEN + 2, &tci, 2);
}

static void complain(struct direction *d, const char *what)
{
    if (!d->complained)
        fprintf(stderr,
                "badwire: %s: %s; turn offloads off: ethtool -K IF tx off tso off gso off "
                "gro off\n",
                d->name, what);
    d->complained = true;
}

static void take(struct direction *d, struct frame *f, struct mmsghdr *m, uint64_t now)
{
    const struct tpacket_auxdata *aux = aux_of(&m->msg_hdr);

    f->len = m->msg_len;
    if ((m->msg_hdr.msg_flags & MSG_TRUNC) || f->len > d->max_len) {
        d->n.too_long++;
        complain(d, "a frame longer than the other side can send is dropped");
        frame_put(d, f);
        return;
    }
    if (aux != NULL && (aux->tp_status & TP_STATUS_CSUMNOTREADY)) {
        d->n.half_summed++;
        complain(d, "a frame without its checksum passes as it is");
    }
    if (aux != NULL && (aux->tp_status & TP_STATUS_VLAN_VALID))
        put_vlan(f, aux);
    frame_arrived(d, f, now);
}

/* Fills up d->batch; returns how many frames there are. */
static unsigned fill_batch(struct direction *d)
{
    unsigned n = 0;

    while (n < BATCH && (d->batch[n] != NULL || (d->batch[n] = frame_get(d)) != NULL))
        n++;
    return n;
}

/* One from the memif. */
static void take_copy(void *ctx, const uint8_t *bytes, uint32_t len)
{
    struct direction *d = ctx;
    struct frame *f;

    if (len > d->max_len) {
        d->n.too_long++;
        complain(d, "a frame longer than the other side can send is dropped");
        return;
    }
    f = frame_get(d);
    if (f == NULL) {
        d->n.queue_full++;
        return;
    }
    memcpy(f->bytes, bytes, len);
    f->len = len;
    frame_arrived(d, f, now_ns());
}

static unsigned receive(struct direction *d)
{
    uint8_t control[BATCH][CONTROL_LEN];
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];
    unsigned n = fill_batch(d);
    uint64_t now;
    int got;

    if (d->from == PORT)
        return wireport_receive(take_copy, d);
    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){ d->batch[i]->bytes, d->max_len + 1 };
        m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i],
                                              .msg_iovlen = 1,
                                              .msg_control = control[i],
                                              .msg_controllen = CONTROL_LEN } };
    }
    got = recvmmsg(d->from, m, n, MSG_DONTWAIT, NULL);
    now = now_ns();
    for (int i = 0; i < got; i++) {
        take(d, d->batch[i], &m[i], now);
        d->batch[i] = NULL;
    }
    for (unsigned i = (unsigned)(got > 0 ? got : 0), k = 0; got > 0 && i < n; i++, k++) {
        d->batch[k] = d->batch[i];
        d->batch[i] = NULL;
    }
    return got > 0 ? (unsigned)got : 0;
}

static unsigned collect_due(struct direction *d, struct frame **due, uint64_t now)
{
    unsigned n = 0;

    while (n < BATCH && d->n_heap > 0 && d->heap[0]->due <= now)
        due[n++] = heap_pop(d);
    return n;
}

/* The kernel takes a frame or it does not: nothing is tried twice. */
static void send_to_socket(struct direction *d, struct frame *const *due, unsigned n)
{
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];

    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){ due[i]->bytes, due[i]->len };
        m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 } };
    }
    for (unsigned at = 0; at < n;) {
        int done = sendmmsg(d->to, m + at, n - at, MSG_DONTWAIT);

        if (done > 0) {
            d->n.sent += (unsigned)done;
            at += (unsigned)done;
        } else if (errno != EINTR) {
            d->n.device_full++;
            at++;
        }
    }
}

static void send_to_port(struct direction *d, struct frame *const *due, unsigned n)
{
    const uint64_t dropped = wireport_dropped();
    uint64_t full = 0;

    for (unsigned i = 0; i < n; i++)
        full += !wireport_send(due[i]->bytes, due[i]->len);
    wireport_flush();
    full += wireport_dropped() - dropped;
    d->n.device_full += full;
    d->n.sent += n - full;
}

/* Sends what is due. */
static unsigned transmit(struct direction *d, uint64_t now)
{
    struct frame *due[BATCH];
    unsigned n, total = 0;

    while ((n = collect_due(d, due, now)) > 0) {
        if (d->to == PORT)
            send_to_port(d, due, n);
        else
            send_to_socket(d, due, n);
        for (unsigned i = 0; i < n; i++)
            frame_put(d, due[i]);
        total += n;
    }
    return total;
}

/* --- setting up --- */

static int open_interface(const char *name, uint32_t *mtu)
{
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
    struct packet_mreq promisc = { .mr_type = PACKET_MR_PROMISC };
    int size = SOCKET_BUFFER, on = 1;
    struct ifreq req = { 0 };
    int fd;

    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* nothing arrives before bind() */
    if (fd < 0)
        die("cannot open a packet socket (root is needed)", strerror(errno));
    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFMTU, &req) != 0)
        die(name, strerror(errno));
    *mtu = (uint32_t)req.ifr_mtu;
    at.sll_ifindex = promisc.mr_ifindex = (int)if_nametoindex(name);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promisc, sizeof(promisc)) != 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        die(name, strerror(errno));
    return fd;
}

/* All frames at once, as address space: what is never used costs nothing. */
static void make_frames(struct direction *d)
{
    size_t size = (sizeof(struct frame) + VLAN_LEN + d->max_len + 1 + 63) & ~(size_t)63;
    size_t n = d->limit + BATCH + 1;
    uint8_t *at = mmap(NULL, size * n, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    d->heap = calloc(d->limit + 1, sizeof(struct frame *));
    if (at == MAP_FAILED || d->heap == NULL)
        die("no memory for frames", strerror(errno));
    while (n-- > 0)
        frame_put(d, (struct frame *)(at + n * size));
}

static void start_direction(struct direction *d, const char *name, int from, int to, uint32_t mtu,
                            uint64_t seed)
{
    if (d->set.reorder > 0 && d->set.delay <= 0)
        die(name, "--reorder needs a --delay to skip");
    if (d->set.burst > 1 && d->set.loss < 100 && d->set.loss / (100 - d->set.loss) > d->set.burst)
        die(name, "so much loss needs longer bursts");
    d->name = name;
    d->from = from;
    d->to = to;
    d->max_len = mtu + ETH_HLEN + VLAN_LEN;
    d->rng = seed;
    d->limit = (uint32_t)d->set.limit;
    make_frames(d);
}

static double number(const char *name, const char *text, double max)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end != '\0' || !(v >= 0 && v <= max)) {
        fprintf(stderr, "badwire: --%s %s: not a number from 0 to %g\n", name, text, max);
        exit(2);
    }
    return v;
}

static void usage(void)
{
    fputs(
        "usage: badwire IF_A IF_B [--seed N] [--loss PCT] [--burst N] [--delay MS] [--jitter MS]\n"
        "               [--reorder PCT] [--duplicate PCT] [--corrupt PCT] [--rate MBIT]\n"
        "               [--limit FRAMES]\n"
        "IF_B may be memif:SOCKET.\n"
        "Each but --seed also for one direction: --loss-ab PCT, --loss-ba PCT, ...\n",
        stderr);
    exit(2);
}

static void set(struct setting *s, const struct option_row *row, double v)
{
    *(double *)((char *)s + row->at) = v;
}

/* Options 0.. are for both directions, N.. for a to b, 2N.. for b to a. */
static void parse(int argc, char **argv, struct direction d[2], uint64_t *seed)
{
    static char names[3 * N_OPTIONS][24];
    struct option options[3 * N_OPTIONS + 2] = { 0 };
    static const char *const suffixes[] = { "", "-ab", "-ba" };
    int c;

    for (unsigned i = 0; i < 3 * N_OPTIONS; i++) {
        snprintf(names[i], sizeof(names[i]), "%s%s", option_rows[i % N_OPTIONS].name,
                 suffixes[i / N_OPTIONS]);
        options[i] = (struct option){ names[i], required_argument, NULL, (int)(1000 + i) };
    }
    options[3 * N_OPTIONS] = (struct option){ "seed", required_argument, NULL, 's' };
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const struct option_row *row = &option_rows[(unsigned)(c - 1000) % N_OPTIONS];

        if (c == 's') {
            *seed = (uint64_t)number("seed", optarg, 9e15);
        } else if (c >= 1000) {
            unsigned which = (unsigned)(c - 1000) / N_OPTIONS;
            double v = number(names[c - 1000], optarg, row->max);

            if (which != 2)
                set(&d[0].set, row, v);
            if (which != 1)
                set(&d[1].set, row, v);
        } else {
            usage();
        }
    }
    if (argc - optind != 2)
        usage();
}

static void count_missed(struct direction *d)
{
    struct tpacket_stats stats;
    socklen_t len = sizeof(stats);

    if (d->from == PORT)
        return;
    /* Reading clears it. */
    if (getsockopt(d->from, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
        d->n.missed += stats.tp_drops;
}

static void print_counters(struct direction *d)
{
    count_missed(d);
    printf("%s", d->name);
#define PRINT(field) printf(" " #field "=%lu", (unsigned long)d->n.field);
    COUNTERS(PRINT)
    printf(" waiting=%u\n", d->n_heap);
    fflush(stdout);
}

/* Until the next frame is due, or for ever. */
static struct timespec *wait_time(const struct direction d[2], struct timespec *t)
{
    uint64_t due = UINT64_MAX, now = now_ns();

    for (unsigned i = 0; i < 2; i++) {
        if (d[i].n_heap > 0 && d[i].heap[0]->due < due)
            due = d[i].heap[0]->due;
    }
    if (due == UINT64_MAX)
        return NULL;
    due = due > now ? due - now : 0;
    *t = (struct timespec){ (time_t)(due / NSEC), (long)(due % NSEC) };
    return t;
}

/* The interface went down: clears the error. */
static void clear_error(int fd)
{
    int err;
    socklen_t len = sizeof(err);

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
}

static void wait_for_frames(struct direction d[2], const sigset_t *waiting,
                            const struct timespec *most)
{
    struct pollfd fds[2] = { { d[0].from, POLLIN, 0 }, { d[1].from, POLLIN, 0 } };

    if (ppoll(fds, 2, most, waiting) < 0 && errno != EINTR)
        die("ppoll", strerror(errno));
    for (unsigned i = 0; i < 2; i++) {
        if (fds[i].revents & POLLERR)
            clear_error(d[i].from);
    }
}

static void relay(struct direction d[2], const sigset_t *waiting)
{
    const struct timespec no_time = { 0, 0 }, nap = { 0, SLEEP_NS };
    const bool polls = d[1].from == PORT;
    unsigned quiet = 0;

    while (!stop) {
        struct timespec t;
        unsigned n = 0;

        if (tell) {
            tell = 0;
            print_counters(&d[0]);
            print_counters(&d[1]);
        }
        if (!polls)
            wait_for_frames(d, waiting, wait_time(d, &t));
        else if (quiet % SPINS == SPINS - 1)
            wait_for_frames(d, waiting, quiet > SPINS ? &nap : &no_time);
        for (unsigned i = 0; i < 2; i++) {
            n += receive(&d[i]);
            n += transmit(&d[i], now_ns());
        }
        quiet = n > 0 ? 0 : quiet + 1;
    }
}

/* Signals come only while ppoll() waits: none is missed between the check and the wait. */
static void catch_signals(sigset_t *waiting)
{
    struct sigaction act = { .sa_handler = on_signal };
    static const int signals[] = { SIGTERM, SIGINT, SIGUSR1 };
    sigset_t block;

    sigemptyset(&block);
    for (unsigned i = 0; i < 3; i++) {
        sigaddset(&block, signals[i]);
        sigaction(signals[i], &act, NULL);
    }
    sigprocmask(SIG_BLOCK, &block, waiting);
}

static int open_end(const char *name, uint32_t other_mtu, uint32_t *mtu)
{
    const size_t n = strlen(PORT_PREFIX);

    if (strncmp(name, PORT_PREFIX, n) != 0)
        return open_interface(name, mtu);
    *mtu = other_mtu;
    wireport_open(name + n, other_mtu);
    prctl(PR_SET_TIMERSLACK, 1000UL); /* 1 us: or a nap lasts 70 */
    return PORT;
}

int main(int argc, char **argv)
{
    struct direction d[2] = { { .set = defaults }, { .set = defaults } };
    uint32_t mtu[2];
    uint64_t seed = 1;
    sigset_t waiting;
    int fd[2];

    parse(argc, argv, d, &seed);
    catch_signals(&waiting);
    fd[0] = open_interface(argv[optind], &mtu[0]);
    fd[1] = open_end(argv[optind + 1], mtu[0], &mtu[1]);
    start_direction(&d[0], "ab", fd[0], fd[1], mtu[1], 2 * seed);
    start_direction(&d[1], "ba", fd[1], fd[0], mtu[0], 2 * seed + 1);
    puts("ready");
    fflush(stdout);
    relay(d, &waiting);
    print_counters(&d[0]);
    print_counters(&d[1]);
    if (fd[1] == PORT)
        wireport_close();
    free(d[0].heap);
    free(d[1].heap);
    return 0;
}
