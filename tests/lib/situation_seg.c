#include "dataplane/base/bytes.h"
#include "tests/lib/situation_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128 };
enum { PAYLOAD_MAX = 2048, THEIR_TS = 0xfffffe00 /* wraps half a second later */ };

static const struct flag {
    const char *name;
    uint8_t bit;
} flags[] = {
    { "syn", SYN }, { "fin", FIN }, { "rst", RST }, { "psh", PSH },
    { "urg", URG }, { "ece", ECE }, { "cwr", CWR },
};

/* A segment as the text has it; what is not said is not set in ->said. */
enum said {
    HAS_RANGE = 1 << 0,
    HAS_SEQ = 1 << 1,
    HAS_ACK = 1 << 2,
    HAS_WIN = 1 << 3,
    HAS_VAL = 1 << 4,
    HAS_ECR = 1 << 5,
    HAS_MSS = 1 << 6,
    HAS_WSCALE = 1 << 7,
    SACKOK = 1 << 8,
    TS = 1 << 9,
    NOTS = 1 << 10,
    NOSACK = 1 << 11,
    NOWSCALE = 1 << 12,
    ECT = 1 << 13,
    NOECT = 1 << 14,
    CE = 1 << 15,
    NOACK = 1 << 16,
    BADSUM = 1 << 17,
    HAS_HDR = 1 << 18,
};

struct text {
    unsigned said;
    uint8_t flags;
    uint32_t seq, end, ack, win, val, ecr, mss, wscale, hdr;
    uint32_t last_end; /* of the last of several alike */
    unsigned n_sacks;
    uint32_t sacks[4][2];
    uint8_t opts[40];
    uint32_t opts_len;
};

/* ---- reading */

static bool read_range(const char *word, uint32_t ret[2])
{
    char *at;

    ret[0] = (uint32_t)strtoul(word, &at, 10);
    if (at == word || *at != ':')
        return false;
    word = at + 1;
    ret[1] = (uint32_t)strtoul(word, &at, 10);
    return at != word && *at == '\0';
}

static void read_sacks(struct sit *s, struct text *x)
{
    while (s->at < s->n_words && x->n_sacks < 4 &&
           read_range(s->words[s->at], x->sacks[x->n_sacks])) {
        x->n_sacks++;
        s->at++;
    }
    if (x->n_sacks == 0)
        sit_fail(s, "\"sack\" wants blocks: 1001:2001");
}

static void read_hex(struct sit *s, struct text *x)
{
    const char *hex = sit_need(s, "bytes in hexadecimal");
    unsigned byte;

    for (; sscanf(hex, "%2x", &byte) == 1 && x->opts_len < sizeof(x->opts); hex += 2)
        x->opts[x->opts_len++] = (uint8_t)byte;
    if (*hex != '\0')
        sit_fail(s, "no hexadecimal: %s", hex);
}

static bool read_number(struct sit *s, struct text *x, const char *word)
{
    const struct {
        const char *name;
        unsigned said;
        uint32_t *to;
    } numbers[] = {
        { "seq", HAS_SEQ, &x->seq },          { "ack", HAS_ACK, &x->ack },
        { "win", HAS_WIN, &x->win },          { "val", HAS_VAL, &x->val },
        { "ecr", HAS_ECR, &x->ecr },          { "mss", HAS_MSS, &x->mss },
        { "wscale", HAS_WSCALE, &x->wscale }, { "hdr", HAS_HDR, &x->hdr },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (strcmp(word, numbers[i].name) != 0)
            continue;
        x->said |= numbers[i].said;
        *numbers[i].to = (uint32_t)sit_next_number(s);
        return true;
    }
    return false;
}

static bool read_flag(struct text *x, const char *word)
{
    static const struct {
        const char *name;
        unsigned said;
    } others[] = {
        { "sackok", SACKOK },     { "ts", TS },         { "nots", NOTS },   { "nosack", NOSACK },
        { "nowscale", NOWSCALE }, { "ect", ECT },       { "noect", NOECT }, { "ce", CE },
        { "noack", NOACK },       { "badsum", BADSUM },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        if (strcmp(word, flags[i].name) == 0) {
            x->flags |= flags[i].bit;
            return true;
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        if (strcmp(word, others[i].name) == 0) {
            x->said |= others[i].said;
            return true;
        }
    }
    return false;
}

static void read_text(struct sit *s, struct text *x)
{
    uint32_t range[2];
    char *word;

    memset(x, 0, sizeof(*x));
    while ((word = sit_word(s)) != NULL) {
        if (read_range(word, range)) {
            x->said |= HAS_RANGE | HAS_SEQ;
            x->seq = range[0];
            x->end = x->last_end = range[1];
        } else if (strcmp(word, "..") == 0) {
            if (!read_range(sit_need(s, "the last of them"), range))
                sit_fail(s, "\"..\" goes between two ranges");
            x->last_end = range[1];
        } else if (strcmp(word, "sack") == 0) {
            read_sacks(s, x);
        } else if (strcmp(word, "opts") == 0) {
            read_hex(s, x);
        } else if (!read_number(s, x, word) && !read_flag(x, word)) {
            sit_fail(s, "unknown word: %s", word);
        }
    }
    if ((x->said & HAS_RANGE) == 0)
        x->end = x->last_end = x->seq;
    if ((int32_t)(x->end - x->seq) < 0 || x->end - x->seq > PAYLOAD_MAX)
        sit_fail(s, "a segment of that length there cannot be");
}

/* ---- drawing */

static void add(char to[TEXT_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(char to[TEXT_MAX], const char *fmt, ...)
{
    const size_t used = strlen(to);
    va_list args;

    va_start(args, fmt);
    vsnprintf(to + used, TEXT_MAX - used, fmt, args);
    va_end(args);
}

/* In the words in which it would be expected. */
static void draw(struct sit *s, const struct frame_tcp *f, bool ours, char to[TEXT_MAX])
{
    const uint32_t base = ours ? s->t.our_iss : s->t.their_iss;
    const uint32_t other = ours ? s->t.their_iss : s->t.our_iss;

    to[0] = '\0';
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        if ((f->flags & flags[i].bit) != 0)
            add(to, "%s ", flags[i].name);
    if (f->len > 0)
        add(to, "%u:%u", f->seq - base, f->seq - base + f->len);
    else
        add(to, "seq %u", f->seq - base);
    if ((f->flags & ACK) != 0)
        add(to, " ack %u", f->ack - other);
    add(to, " field %u", f->wnd);
    if (f->n_sacks > 0)
        add(to, " sack");
    for (unsigned i = 0; i < f->n_sacks; i++)
        add(to, " %u:%u", f->sacks[i][0] - other, f->sacks[i][1] - other);
    if (f->has_ts && ours)
        add(to, " val %u ecr %u", f->tsval - s->ts_base, f->tsecr - THEIR_TS);
    if ((f->flags & SYN) != 0)
        add(to, " mss %u wscale %d%s", f->mss, f->wscale, f->sack_ok ? " sackok" : "");
    if (f->ecn != 0)
        add(to, f->ecn == 3 ? " ce" : " ect");
}

/* ---- the peer's */

static uint16_t window_field(struct sit *s, const struct text *x)
{
    const unsigned shift = s->scaled && (x->flags & SYN) == 0 ? (unsigned)s->t.wscale : 0;

    if ((x->said & HAS_WIN) != 0)
        s->window = x->win;
    if ((s->window >> shift) > UINT16_MAX)
        return UINT16_MAX;
    return (uint16_t)(s->window >> shift);
}

static void set_options(struct sit *s, const struct text *x, struct frame_tcp *f)
{
    const uint32_t now_ms = (uint32_t)((s->t.stack.core.now_us - s->start_us) / 1000);
    const bool syn = (x->flags & SYN) != 0;

    f->wscale = -1;
    if (syn) {
        f->mss = (x->said & HAS_MSS) != 0 ? (uint16_t)x->mss : s->t.mss;
        f->wscale = (x->said & HAS_WSCALE) != 0 ? (int)x->wscale : s->t.wscale;
        f->sack_ok = s->sack || (x->said & SACKOK) != 0;
        if (s->ecn && (x->flags & (ECE | CWR)) == 0)
            f->flags |= (x->flags & ACK) != 0 || (x->said & HAS_ACK) != 0 ? ECE : ECE | CWR;
    }
    f->has_ts = (s->t.ts && (syn || s->stamped)) || (x->said & (TS | HAS_VAL | HAS_ECR)) != 0;
    f->has_ts = f->has_ts && (x->said & NOTS) == 0;
    f->tsval = THEIR_TS + ((x->said & HAS_VAL) != 0 ? x->val : now_ms);
    f->tsecr = (x->said & HAS_ECR) != 0 ? s->ts_base + x->ecr : s->last_tsval;
    f->n_sacks = x->n_sacks;
    for (unsigned i = 0; i < x->n_sacks; i++)
        for (unsigned k = 0; k < 2; k++)
            f->sacks[i][k] = s->t.our_iss + x->sacks[i][k];
    f->opts = x->opts;
    f->opts_len = x->opts_len;
}

static void put_frame(struct sit *s, const struct text *x, const struct frame_tcp *t)
{
    struct frame f;

    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 6, NULL, 0);
    if ((x->said & CE) != 0)
        f.b[f.ip_at + 1] = 3;
    frame_tcp(&f, t);
    if ((x->said & HAS_HDR) != 0)
        f.b[f.l4_at + 12] = (uint8_t)(x->hdr << 4);
    frame_done(&f);
    if ((x->said & BADSUM) != 0)
        f.b[f.l4_at + 16] ^= 1;
    stack_rx(&s->t.stack, &f);
}

static void send_one(struct sit *s, const struct text *x, uint32_t seq, uint32_t len)
{
    uint8_t payload[PAYLOAD_MAX];
    struct frame_tcp f = { .src = s->t.their_port,
                           .dst = s->t.our_port,
                           .seq = s->t.their_iss + seq,
                           .flags = x->flags,
                           .wnd = window_field(s, x),
                           .len = len,
                           .payload = payload };
    char text[TEXT_MAX];
    uint32_t end;

    for (uint32_t i = 0; i < len; i++)
        payload[i] = sit_their_byte(seq - 1 + i);
    if ((x->said & HAS_ACK) != 0)
        s->their_ack = x->ack;
    if ((x->said & HAS_ACK) != 0 || ((x->flags & (SYN | RST)) == 0 && (x->said & NOACK) == 0)) {
        f.flags |= ACK;
        f.ack = s->t.our_iss + s->their_ack;
    }
    set_options(s, x, &f);
    end = seq + len + ((x->flags & SYN) != 0) + ((x->flags & FIN) != 0);
    if ((x->flags & RST) == 0 && (int32_t)(end - s->their_nxt) > 0)
        s->their_nxt = end;
    f.ecn = (x->said & CE) != 0 ? 3 : 0;
    draw(s, &f, false, text);
    sit_trace(s, "< %s", text);
    put_frame(s, x, &f);
}

/* An ICMP message about the segment that starts at a sequence number of ours. */
static void send_icmp(struct sit *s)
{
    static const struct {
        const char *name;
        uint8_t type, code;
    } kinds[] = {
        { "net", 3, 0 },     { "host", 3, 1 },   { "protocol", 3, 2 }, { "port", 3, 3 },
        { "too-big", 3, 4 }, { "admin", 3, 13 }, { "ttl", 11, 0 },     { "parameter", 12, 0 },
    };
    const char *kind = sit_need(s, "the kind of message");
    uint8_t quote[28] = { 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6 };
    uint32_t mtu = 0;
    struct frame f;
    unsigned i = 0;

    while (i < ARRAY_SIZE(kinds) && strcmp(kinds[i].name, kind) != 0)
        i++;
    if (i == ARRAY_SIZE(kinds))
        sit_fail(s, "unknown message: %s", kind);
    if (strcmp(kind, "too-big") == 0)
        mtu = (uint32_t)sit_next_number(s);
    if (!sit_if(s, "about"))
        sit_fail(s, "about which segment?");
    put32(quote + 12, US);
    put32(quote + 16, PEER);
    put16(quote + 20, s->t.our_port);
    put16(quote + 22, s->t.their_port);
    put32(quote + 24, s->t.our_iss + (uint32_t)sit_next_number(s));
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, GATEWAY, US, 1, NULL, 0);
    frame_icmp(&f, kinds[i].type, kinds[i].code, mtu, quote, sizeof(quote));
    frame_done(&f);
    sit_trace(s, "< icmp %s %u", kind, mtu);
    stack_rx(&s->t.stack, &f);
}

void sit_their_segment(struct sit *s)
{
    struct text x;
    uint32_t len;

    sit_begin(s);
    if (sit_if(s, "icmp")) {
        send_icmp(s);
        return;
    }
    read_text(s, &x);
    if ((x.said & HAS_SEQ) == 0)
        x.seq = x.end = x.last_end = (x.flags & SYN) != 0 ? 0 : s->their_nxt;
    len = x.end - x.seq;
    if (len == 0) {
        send_one(s, &x, x.seq, 0);
        return;
    }
    for (uint32_t seq = x.seq; seq != x.last_end; seq += MIN(len, x.last_end - seq))
        send_one(s, &x, seq, MIN(len, x.last_end - seq));
}

/* ---- ours */

static bool next_frame(struct sit *s, struct frame_tcp *ret, uint64_t *at_us)
{
    const struct stack_frame *f = stack_next(&s->t.stack);

    if (f == NULL)
        return false;
    if (!frame_read_tcp(f->b, f->len, ret))
        sit_fail(s, "we have sent something that is no TCP over IPv4 with good checksums");
    *at_us = f->at_us;
    return true;
}

/* A SYN of ours: from here our numbers count, and this is what was agreed on. */
static void learn(struct sit *s, const struct frame_tcp *f, uint64_t at_us)
{
    if ((f->flags & SYN) != 0) {
        if (s->rebase) {
            s->iss_ahead = f->seq - s->last_end;
            s->t.our_iss = f->seq;
            s->rebase = false;
            s->our_nxt = 0;
        }
        s->our_wscale = f->wscale;
        s->scaled = f->wscale >= 0 && s->t.wscale >= 0;
        s->stamped = f->has_ts && s->t.ts;
    }
    if (f->has_ts) {
        if (!s->ts_known)
            s->ts_base = f->tsval - (uint32_t)(at_us / 1000 - s->start_us / 1000);
        s->ts_known = true;
        s->last_tsval = f->tsval;
    }
}

static void after(struct sit *s, const struct frame_tcp *f)
{
    const uint32_t end =
        f->seq - s->t.our_iss + f->len + ((f->flags & SYN) != 0) + ((f->flags & FIN) != 0);

    if ((int32_t)(end - s->our_nxt) > 0 && (f->flags & RST) == 0)
        s->our_nxt = end;
}

bool sit_draw_next(struct sit *s, char to[TEXT_MAX])
{
    struct frame_tcp f;
    uint64_t at_us;

    if (!next_frame(s, &f, &at_us))
        return false;
    if (f.dst != s->t.their_port)
        sit_fail(s, "we have sent something to port %u", f.dst);
    learn(s, &f, at_us);
    draw(s, &f, true, to);
    after(s, &f);
    return true;
}

/* What is certain without a word in the text: our clock and our bytes. */
static const char *wrong_anyway(struct sit *s, const struct frame_tcp *f, uint64_t at_us)
{
    if (f->has_ts && f->tsval - s->ts_base != (uint32_t)(at_us / 1000 - s->start_us / 1000))
        return "our timestamp is not our clock";
    for (uint32_t i = 0; i < f->len; i++)
        if (f->payload[i] != sit_our_byte(f->seq - s->t.our_iss - 1 + i))
            return "the bytes are not those that were written";
    return NULL;
}

static const char *wrong_flags(const struct text *x, const struct frame_tcp *f)
{
    const uint8_t strict = SYN | FIN | RST | URG | ECE | CWR;
    const bool needs_ack = (x->said & HAS_ACK) != 0 || (x->flags & (SYN | RST)) == 0;

    if ((f->flags & strict) != (x->flags & strict))
        return "flags";
    if ((x->flags & PSH) != 0 && (f->flags & PSH) == 0)
        return "psh";
    if (((f->flags & ACK) != 0) != needs_ack)
        return "the ACK flag";
    if ((x->said & ECT) != 0 && f->ecn != 2)
        return "it may not be marked";
    if ((x->said & NOECT) != 0 && f->ecn != 0)
        return "it may be marked";
    return NULL;
}

static const char *wrong_options(struct sit *s, const struct text *x, const struct frame_tcp *f)
{
    if (f->n_sacks != x->n_sacks)
        return "the number of SACK blocks";
    for (unsigned i = 0; i < x->n_sacks; i++)
        for (unsigned k = 0; k < 2; k++)
            if (f->sacks[i][k] - s->t.their_iss != x->sacks[i][k])
                return "a SACK block";
    if ((x->said & HAS_MSS) != 0 && f->mss != x->mss)
        return "mss";
    if ((x->said & HAS_WSCALE) != 0 && f->wscale != (int)x->wscale)
        return "wscale";
    if ((x->said & NOWSCALE) != 0 && f->wscale >= 0)
        return "there is a window scale";
    if ((x->said & SACKOK) != 0 && !f->sack_ok)
        return "no \"SACK permitted\"";
    if ((x->said & NOSACK) != 0 && f->sack_ok)
        return "\"SACK permitted\"";
    if ((x->said & (TS | HAS_ECR | HAS_VAL)) != 0 && !f->has_ts)
        return "no timestamps";
    if ((x->said & NOTS) != 0 && f->has_ts)
        return "timestamps";
    if ((x->said & HAS_ECR) != 0 && f->tsecr - THEIR_TS != x->ecr)
        return "the echoed timestamp";
    if ((x->said & HAS_VAL) != 0 && f->tsval - s->ts_base != x->val)
        return "the timestamp";
    return NULL;
}

static const char *wrong(struct sit *s, const struct text *x, uint32_t seq, uint32_t len,
                         const struct frame_tcp *f)
{
    const unsigned shift =
        s->our_wscale > 0 && s->scaled && (f->flags & SYN) == 0 ? (unsigned)s->our_wscale : 0;
    const char *why = wrong_flags(x, f);

    if (why != NULL)
        return why;
    if (f->seq - s->t.our_iss != seq)
        return "the sequence number";
    if (f->len != len)
        return "the length";
    if ((x->said & HAS_ACK) != 0 && f->ack - s->t.their_iss != x->ack)
        return "the number acknowledged";
    if ((x->said & HAS_WIN) != 0 && (uint32_t)f->wnd << shift != x->win)
        return "the window";
    return wrong_options(s, x, f);
}

static void expect_one(struct sit *s, const struct text *x, uint32_t seq, uint32_t len,
                       uint64_t from_us, uint64_t to_us)
{
    const uint64_t now_us = s->t.stack.core.now_us;
    char text[TEXT_MAX];
    struct frame_tcp f;
    const char *why;
    uint64_t at_us;

    if (s->t.stack.at == s->t.stack.n_out && to_us > now_us)
        sit_run(s, to_us - now_us, true);
    if (!next_frame(s, &f, &at_us))
        sit_fail(s, "nothing was sent (%u:%u was expected)", seq, seq + len);
    learn(s, &f, at_us);
    draw(s, &f, true, text);
    sit_trace(s, "> %s", text);
    why = wrong(s, x, seq, len, &f);
    why = why != NULL ? why : wrong_anyway(s, &f, at_us);
    if (why != NULL)
        sit_fail(s, "wrong: %s (%u:%u was expected)", why, seq, seq + len);
    if (at_us < from_us)
        sit_fail(s, "too early: %.3f ms before its time", (double)(from_us - at_us) / 1000);
    if (at_us > to_us)
        sit_fail(s, "too late: %.3f ms after its time", (double)(at_us - to_us) / 1000);
    after(s, &f);
}

static void expect_whatever(struct sit *s)
{
    char text[TEXT_MAX];

    while (sit_draw_next(s, text))
        sit_trace(s, "> %s", text);
}

static void no_more_words(struct sit *s)
{
    if (sit_word(s) != NULL)
        sit_fail(s, "too many words: %s", s->words[s->at - 1]);
}

void sit_our_segment(struct sit *s)
{
    const uint64_t now_us = s->t.stack.core.now_us;
    const uint64_t from_us = now_us + s->from_us, to_us = now_us + s->to_us;
    struct text x;
    uint32_t len;

    sit_begin(s);
    if (sit_if(s, "none") || sit_if(s, "...")) {
        const bool none = strcmp(s->words[s->at - 1], "none") == 0;

        no_more_words(s);
        sit_run(s, s->from_us, none);
        if (none)
            sit_all_named(s);
        else
            expect_whatever(s);
        return;
    }
    read_text(s, &x);
    if ((x.said & HAS_SEQ) == 0)
        x.seq = x.end = x.last_end = (x.flags & SYN) != 0 ? 0 : s->our_nxt;
    len = x.end - x.seq;
    if (len == 0) {
        expect_one(s, &x, x.seq, 0, from_us, to_us);
        return;
    }
    for (uint32_t seq = x.seq; seq != x.last_end;) {
        const uint32_t part = MIN(len, x.last_end - seq);
        struct text one = x;

        if (seq + part != x.last_end) /* a FIN is on the last of them, CWR on the first */
            one.flags &= (uint8_t)~FIN;
        if (seq != x.seq)
            one.flags &= (uint8_t)~CWR;
        expect_one(s, &one, seq, part, from_us, to_us);
        seq += part;
    }
}
