#include "dataplane/flightlog.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/tcp/tcp_conn.h"

#include <stdio.h>
#include <time.h>

#define LINE_MAX 768
#define COMMENTS_MAX 32 /* of one packet; those beyond go */
#define COMMENT_MAX 96
#define FRAME_MAX 128 /* Ethernet, IPv6, TCP with all its options */
#define ETH 14

const char *flightlog_why(enum tcp_log_why why)
{
    switch (why) {
    case TCP_LOG_LIVE:
        return "live";
    case TCP_LOG_REPAIRED:
        return "losses repaired";
    case TCP_LOG_TIMED_OUT:
        return "timed out";
    case TCP_LOG_RESET:
        return "reset";
    }
    return "";
}

static bool is_segment(const struct tcp_record *r)
{
    return tcp_record_kind(r) <= TCP_RECORD_AGAIN;
}

static bool is_ours(const struct tcp_record *r)
{
    return tcp_record_kind(r) != TCP_RECORD_IN;
}

static bool is_block(const struct tcp_record *r)
{
    return tcp_record_kind(r) == TCP_RECORD_BLOCK_IN || tcp_record_kind(r) == TCP_RECORD_BLOCK_OUT;
}

/* SACK blocks follow their segment. Returns how many. */
static unsigned blocks_of(const struct tcp_record *r, const struct tcp_record *end)
{
    unsigned n = 0;

    while (r + 1 + n < end && n < TCP_SACKS_MAX && is_block(r + 1 + n))
        n++;
    return n;
}

static uint64_t wall_us(const struct tcp_log *log, const struct tcp_record *r)
{
    return log->wall_us - (log->at_us - tcp_record_us(r));
}

/* --- text ------------------------------------------------------------------------------------ */

#define STATE_NAME(name, next) [TCP_##name] = #name,
static const char *const states[] = { TCP_STATES(STATE_NAME) };

static const char *state_name(unsigned state)
{
    return state < ARRAY_SIZE(states) ? states[state] : "?";
}

static const char *repair_name(unsigned state)
{
    static const char *const names[] = { [CA_OPEN] = "open",
                                         [CA_DISORDER] = "disorder",
                                         [CA_CWR] = "window reduced",
                                         [CA_RECOVERY] = "recovery",
                                         [CA_LOSS] = "loss" };

    return state < ARRAY_SIZE(names) ? names[state] : "?";
}

/* What a record that is no segment says. */
static void event_text(const struct tcp_record *r, char *to, size_t room)
{
    switch (tcp_record_kind(r)) {
    case TCP_RECORD_STATE:
        snprintf(to, room, "%s -> %s", state_name(r->mark), state_name(r->len));
        return;
    case TCP_RECORD_REPAIR:
        snprintf(to, room, "%s -> %s, cwnd %u, ssthresh %u, in flight %u", repair_name(r->mark),
                 repair_name(r->len), r->seq, r->ack, r->wnd);
        return;
    case TCP_RECORD_UNDO:
        snprintf(to, room, "the loss was none: cwnd %u and ssthresh %u again", r->seq, r->ack);
        return;
    case TCP_RECORD_TIMEOUT:
        snprintf(to, room, "retransmission timeout, %u before it", r->len);
        return;
    case TCP_RECORD_PROBE:
        snprintf(to, room, "tail loss probe");
        return;
    case TCP_RECORD_LATE:
        snprintf(to, room, "reordering timer: what is late may be lost");
        return;
    case TCP_RECORD_ASK:
        snprintf(to, room, "zero window probe");
        return;
    case TCP_RECORD_KEEPALIVE:
        snprintf(to, room, "keepalive probe");
        return;
    case TCP_RECORD_RTT:
        snprintf(to, room, "round trip %u us; smoothed %u, timeout %u", r->wnd, r->seq, r->ack);
        return;
    case TCP_RECORD_WRITE:
        snprintf(to, room, "%u octets written", r->seq);
        return;
    case TCP_RECORD_READ:
        snprintf(to, room, "%u octets read", r->seq);
        return;
    case TCP_RECORD_IN:
    case TCP_RECORD_OUT:
    case TCP_RECORD_AGAIN:
    case TCP_RECORD_BLOCK_IN:
    case TCP_RECORD_BLOCK_OUT:
    case TCP_RECORD_COUNT:
        break;
    }
    snprintf(to, room, "SACK block %u:%u without its segment", r->seq, r->ack);
}

static void flags_text(uint8_t flags, char to[10])
{
    static const char names[] = "FSRP.UEW"; /* as tcpdump has them */
    unsigned n = 0;

    for (unsigned i = 0; i < 8; i++)
        if ((flags >> i & 1) != 0)
            to[n++] = names[i];
    if (n == 0)
        to[n++] = 'n';
    to[n] = '\0';
}

/* "Flags [P.], seq 1:101, ack 1, win 65535, length 100" */
static void segment_text(const struct tcp_record *r, unsigned n_blocks, char *to, size_t room)
{
    char flags[10];
    int n;

    flags_text(tcp_record_flags(r), flags);
    n = snprintf(to, room, "Flags [%s], seq %u", flags, r->seq);
    if (r->len > 0)
        n += snprintf(to + n, room - (size_t)n, ":%u", r->seq + r->len);
    if ((tcp_record_flags(r) & TCP_ACK) != 0)
        n += snprintf(to + n, room - (size_t)n, ", ack %u", r->ack);
    n += snprintf(to + n, room - (size_t)n, ", win %u", r->wnd);
    for (unsigned i = 0; i < n_blocks; i++)
        n += snprintf(to + n, room - (size_t)n, "%s{%u:%u}", i == 0 ? ", sack " : "", r[1 + i].seq,
                      r[1 + i].ack);
    n += snprintf(to + n, room - (size_t)n, ", length %u", r->len);
    if (tcp_record_kind(r) == TCP_RECORD_AGAIN)
        n += snprintf(to + n, room - (size_t)n, ", again");
    if (r->mark != 0 && !is_ours(r))
        n += snprintf(to + n, room - (size_t)n, ", marked CE");
    if (r->wnd == 0 && (tcp_record_flags(r) & TCP_RST) == 0)
        snprintf(to + n, room - (size_t)n, ", zero window");
}

static void clock_text(uint64_t us, char to[20])
{
    const time_t s = (time_t)(us / 1000000);
    struct tm tm;

    gmtime_r(&s, &tm);
    snprintf(to, 20, "%02d:%02d:%02d.%06u", tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100,
             (unsigned)(us % 1000000));
}

void flightlog_text(const struct tcp_log *log, const struct tcp_record *records,
                    void (*fn)(const char *line, void *ctx), void *ctx)
{
    const struct tcp_record *end = records + log->n;
    char line[LINE_MAX], what[240], clock[20], local[IPPORT_STRLEN], remote[IPPORT_STRLEN];
    uint64_t before = log->n > 0 ? tcp_record_us(records) : 0;
    unsigned n_blocks;

    ipport_str(&log->local, local);
    ipport_str(&log->remote, remote);
    for (const struct tcp_record *r = records; r < end; r += 1 + n_blocks) {
        const uint64_t us = tcp_record_us(r), delta = us - MIN(before, us);

        n_blocks = is_segment(r) ? blocks_of(r, end) : 0;
        clock_text(wall_us(log, r), clock);
        if (is_segment(r)) {
            segment_text(r, n_blocks, what, sizeof(what));
            snprintf(line, sizeof(line), "%s %+11.6f %s > %s: %s", clock, (double)delta / 1e6,
                     is_ours(r) ? local : remote, is_ours(r) ? remote : local, what);
        } else {
            event_text(r, what, sizeof(what));
            snprintf(line, sizeof(line), "%s %+11.6f # %s", clock, (double)delta / 1e6, what);
        }
        before = us;
        fn(line, ctx);
    }
}

/* --- pcapng ---------------------------------------------------------------------------------- */

static const uint8_t our_mac[6] = { 2, 0, 0, 0, 0, 1 }, their_mac[6] = { 2, 0, 0, 0, 0, 2 };

/* Returns the length. */
static uint32_t put_options(const struct tcp_log *log, const struct tcp_record *r,
                            unsigned n_blocks, uint8_t *at)
{
    uint32_t n = log->ts_on ? TCP_OPT_TS_LEN : 0;

    memset(at, TCP_OPT_NOP, TCP_OPTS_MAX);
    n_blocks = MIN(n_blocks, (TCP_OPTS_MAX - n - 4) / 8);
    if (n_blocks == 0)
        return n;
    at[n + 2] = TCP_OPT_SACK;
    at[n + 3] = (uint8_t)(2 + 8 * n_blocks);
    n += 4;
    for (unsigned i = 0; i < n_blocks; i++, n += 8) {
        put32(at + n, r[1 + i].seq);
        put32(at + n + 4, r[1 + i].ack);
    }
    return n;
}

/* @len: of what follows the header. Returns the header's length. */
static uint32_t put_ip(const struct ipport *from, const struct ipport *to, uint32_t len,
                       uint8_t *at)
{
    if (from->addr.family == IP_V4) {
        memset(at, 0, 20);
        at[0] = 0x45;
        put16(at + 2, (uint16_t)(20 + len));
        put16(at + 6, 0x4000);
        at[8] = 64;
        at[9] = TCP_PROTOCOL;
        memcpy(at + 12, from->addr.b, 4);
        memcpy(at + 16, to->addr.b, 4);
        cksum_store(at + 10, cksum_finish(cksum_add(0, at, 20)));
        return 20;
    }
    put32(at, 0x60000000);
    put16(at + 4, (uint16_t)len);
    at[6] = TCP_PROTOCOL;
    at[7] = 64;
    memcpy(at + 8, from->addr.b, 16);
    memcpy(at + 24, to->addr.b, 16);
    return 40;
}

/* Returns the length of all headers. */
static uint32_t put_frame(const struct tcp_log *log, const struct tcp_record *r, unsigned n_blocks,
                          uint8_t to[FRAME_MAX])
{
    const bool ours = is_ours(r);
    const struct ipport *from = ours ? &log->local : &log->remote;
    const struct ipport *at_end = ours ? &log->remote : &log->local;
    uint8_t opts[TCP_OPTS_MAX];
    const uint32_t tcp_len = TCP_HDR + put_options(log, r, n_blocks, opts);
    const uint32_t ip_len = put_ip(from, at_end, tcp_len + r->len, to + ETH);
    uint8_t *tcp = to + ETH + ip_len;

    memcpy(to, ours ? their_mac : our_mac, 6);
    memcpy(to + 6, ours ? our_mac : their_mac, 6);
    put16(to + 12, ip_len == 20 ? 0x0800 : 0x86dd);
    put16(tcp, from->port);
    put16(tcp + 2, at_end->port);
    put32(tcp + 4, r->seq);
    put32(tcp + 8, (tcp_record_flags(r) & TCP_ACK) != 0 ? r->ack : 0);
    tcp[12] = (uint8_t)(tcp_len / 4 << 4);
    tcp[13] = tcp_record_flags(r);
    put16(tcp + 14, (uint16_t)MIN(r->wnd >> (ours ? log->rcv_shift : log->snd_shift), 65535u));
    put32(tcp + 16, 0);
    memcpy(tcp + TCP_HDR, opts, tcp_len - TCP_HDR);
    if (r->len == 0)
        cksum_store(tcp + 16, cksum_finish(cksum_add(
                                  cksum_pseudo(&from->addr, &at_end->addr, TCP_PROTOCOL, tcp_len),
                                  tcp, tcp_len)));
    return ETH + ip_len + tcp_len;
}

/* What is told with the next packet. */
struct comments {
    unsigned n;
    char text[COMMENTS_MAX][COMMENT_MAX];
};

static char *next_comment(struct comments *c)
{
    return c->text[c->n < COMMENTS_MAX ? c->n++ : COMMENTS_MAX - 1];
}

static bool put_packet(const struct tcp_log *log, const struct tcp_record *r, unsigned n_blocks,
                       struct comments *c, struct pcapng *to)
{
    uint8_t frame[FRAME_MAX];
    const uint32_t headers = put_frame(log, r, n_blocks, frame);
    const struct pcapng_packet p = { .direction = is_ours(r) ? PCAPNG_OUT : PCAPNG_IN,
                                     .us = wall_us(log, r),
                                     .cap_len = headers,
                                     .orig_len = headers + r->len,
                                     .bytes = frame };
    const char *texts[COMMENTS_MAX];
    unsigned n;

    if (tcp_record_kind(r) == TCP_RECORD_AGAIN)
        snprintf(next_comment(c), COMMENT_MAX, "sent again");
    for (n = 0; n < c->n; n++)
        texts[n] = c->text[n];
    c->n = 0;
    return pcapng_packet(to, &p, texts, n);
}

size_t flightlog_pcapng_max(const struct tcp_log *log)
{
    return 1024 + (size_t)log->n * (PCAPNG_PACKET_MAX + FRAME_MAX + COMMENT_MAX + 8);
}

/* Nothing but events follow: nobody else will tell them. */
static void take_last(const struct tcp_record *r, const struct tcp_record *end, struct comments *c)
{
    for (const struct tcp_record *k = r; k < end; k++)
        if (is_segment(k))
            return;
    for (; r < end; r++)
        event_text(r, next_comment(c), COMMENT_MAX);
}

bool flightlog_pcapng(const struct tcp_log *log, const struct tcp_record *records,
                      struct pcapng *to)
{
    const struct tcp_record *end = records + log->n;
    struct comments c = { .n = 0 };
    unsigned n_blocks;

    if (!pcapng_section(to, "isthmusd, flight recorder") ||
        !pcapng_interface(to, "recorder", FRAME_MAX))
        return false;
    snprintf(next_comment(&c), COMMENT_MAX,
             "windows are scaled: theirs by %u bits, ours by %u; sequence numbers from the SYN",
             log->snd_shift, log->rcv_shift);
    for (const struct tcp_record *r = records; r < end; r += 1 + n_blocks) {
        n_blocks = is_segment(r) ? blocks_of(r, end) : 0;
        if (!is_segment(r)) {
            event_text(r, next_comment(&c), COMMENT_MAX);
            continue;
        }
        take_last(r + 1 + n_blocks, end, &c);
        if (!put_packet(log, r, n_blocks, &c, to))
            return false;
    }
    return true;
}
