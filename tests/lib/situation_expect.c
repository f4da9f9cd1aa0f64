#include "dataplane/net/flow_table.h"
#include "tests/lib/situation_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct field {
    const char *name;
    size_t offset, size;
} fields[] = {
#define FIELD(name, member)                                                                        \
    {                                                                                              \
        name, offsetof(struct tcp_conn_info, member), sizeof(((struct tcp_conn_info *)0)->member)  \
    }
    FIELD("bytes_in", bytes_in),
    FIELD("bytes_out", bytes_out),
    FIELD("retransmits", retransmits),
    FIELD("cwnd", cwnd),
    FIELD("ssthresh", ssthresh),
    FIELD("srtt", srtt_us),
    FIELD("rttvar", rttvar_us),
    FIELD("min_rtt", min_rtt_us),
    FIELD("rto", rto_us),
    FIELD("mss", mss),
    FIELD("peer_mss", peer_mss),
    FIELD("snd_wnd", snd_wnd),
    FIELD("rcv_wnd", rcv_wnd),
    FIELD("send_queue", send_queue),
    FIELD("unsent", unsent),
    FIELD("recv_queue", recv_queue),
    FIELD("retries", retries),
    FIELD("backoff", backoff),
    FIELD("probes", probes),
    FIELD("unacked", unacked),
    FIELD("sacked", sacked),
    FIELD("lost", lost),
    FIELD("resent", resent),
    FIELD("reordering", reordering),
    FIELD("delivered", delivered),
    FIELD("dsacks", dsacks),
    FIELD("total_resent", total_resent),
    FIELD("delivery_rate", delivery_rate),
    FIELD("pacing_rate", pacing_rate),
    FIELD("snd_shift", snd_shift),
    FIELD("rcv_shift", rcv_shift),
#undef FIELD
};

static const struct counter {
    const char *name;
    size_t offset;
} counters[] = {
#define COUNTER(name, text) { #name, offsetof(struct tcp_counters, name) },
    TCP_COUNTERS(COUNTER)
#undef COUNTER
};

static struct tcp_conn_info info_of(struct sit *s)
{
    struct tcp_conn_info info;

    if (s->t.conn == NULL)
        sit_fail(s, "there is no connection any more");
    tcp_info(s->t.conn, &info);
    return info;
}

static bool read_flag(struct sit *s, const char *name, uint64_t *ret)
{
    const struct tcp_conn_info info = s->t.conn != NULL ? info_of(s) : (struct tcp_conn_info){ 0 };
    const struct {
        const char *name;
        uint64_t value;
    } values[] = {
        { "app_limited", info.delivery_app_limited },
        { "sack_on", info.sack_on },
        { "ts_on", info.ts_on },
        { "wscale_on", info.wscale_on },
        { "ecn_on", info.ecn_on },
        { "ecn_seen", info.ecn_seen },
        { "gone", s->t.conn == NULL },
        { "conns", tcp_n_conns(s->t.tcp) },
        { "time_wait", tcp_n_time_wait(s->t.tcp) },
        { "flows", net_flows(s->t.stack.net)->n },
        { "room", s->t.conn != NULL ? tcp_send_room(s->t.conn) : 0 },
        { "eof", s->t.conn != NULL && tcp_recv_eof(s->t.conn) },
        { "iss_ahead", s->iss_ahead },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        if (strcmp(values[i].name, name) == 0) {
            *ret = values[i].value;
            return true;
        }
    }
    return false;
}

static uint64_t drops(struct sit *s, const char *name)
{
    char whole[64];

    snprintf(whole, sizeof(whole), "TCP_%s", name);
    for (int i = 0; i < DROP_COUNT; i++)
        if (strcmp(drop_name((enum drop)i), name) == 0 ||
            strcmp(drop_name((enum drop)i), whole) == 0)
            return net_counters(s->t.stack.net)->drops[i];
    sit_fail(s, "no reason to drop anything: %s", name);
}

static uint64_t value_of(struct sit *s, const char *name)
{
    uint64_t value = 0;

    if (name[0] >= 'A' && name[0] <= 'Z')
        return drops(s, name);
    if (read_flag(s, name, &value))
        return value;
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        struct tcp_conn_info info;

        if (strcmp(fields[i].name, name) != 0)
            continue;
        info = info_of(s);
        memcpy(&value, (const char *)&info + fields[i].offset, fields[i].size);
        return value;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
        if (strcmp(counters[i].name, name) == 0)
            return *(const uint64_t *)((const char *)tcp_counters(s->t.tcp) + counters[i].offset);
    sit_fail(s, "nothing of this name can be expected: %s", name);
}

/* Of the connection, as RFC 9293 spells it in small letters; or of its recovery. */
static void expect_state(struct sit *s)
{
    static const char *const names[] = { "open", "disorder", "cwr", "recovery", "loss" };
    const char *want = sit_need(s, "a state");
    const struct tcp_conn_info info = info_of(s);
    char state[32];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], want) != 0)
            continue;
        if (info.ca_state != i)
            sit_fail(s, "state is %s, not %s", names[info.ca_state], want);
        return;
    }
    for (i = 0; info.state[i] != '\0' && i + 1 < sizeof(state); i++)
        state[i] = info.state[i] == '_' ? '-' : (char)(info.state[i] | 0x20);
    state[i] = '\0';
    if (strcmp(state, want) != 0)
        sit_fail(s, "state is %s, not %s", state, want);
}

void sit_expect(struct sit *s)
{
    const char *name = sit_need(s, "what is expected");

    sit_begin(s);
    for (; name != NULL; name = sit_word(s)) {
        uint64_t value, low, high;
        char *want, *dots;

        if (strcmp(name, "state") == 0) {
            expect_state(s);
            continue;
        }
        value = value_of(s, name);
        want = sit_need(s, "a value");
        dots = strstr(want, "..");
        if (dots != NULL)
            *dots = '\0';
        low = sit_number(s, want);
        high = dots != NULL ? sit_number(s, dots + 2) : low;
        if (value < low || value > high)
            sit_fail(s, "%s is %llu", name, (unsigned long long)value);
    }
}

static const char *errno_name(int why)
{
    switch (-why) {
    case ECONNRESET:
        return "ECONNRESET";
    case ECONNREFUSED:
        return "ECONNREFUSED";
    case ETIMEDOUT:
        return "ETIMEDOUT";
    case EHOSTUNREACH:
        return "EHOSTUNREACH";
    case ENETUNREACH:
        return "ENETUNREACH";
    case EPROTO:
        return "EPROTO";
    case EACCES:
        return "EACCES";
    case EPIPE:
        return "EPIPE";
    default:
        return "another error";
    }
}

void sit_events(struct sit *s)
{
    char want[256] = "", seen[300];
    const char *word;

    sit_begin(s);
    while ((word = sit_word(s)) != NULL)
        snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s%s", want[0] ? " " : "", word);
    snprintf(seen, sizeof(seen), "%s", s->t.events[0] != '\0' ? s->t.events : "none");
    if (strstr(seen, "failed") != NULL)
        snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), " %s", errno_name(s->t.why));
    if (strcmp(want, seen) != 0)
        sit_fail(s, "events are: %s", seen);
    s->t.events[0] = '\0';
}
