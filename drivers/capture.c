#include "drivers/capture.h"

#include "dataplane/base/own.h"
#include "dataplane/base/pkt.h"

#include <pcap/pcap.h>
#include <stdlib.h>

/* --- filters --------------------------------------------------------------------------------- */

struct capture_filter {
    uint32_t n;
    struct bpf_insn insns[];
};

_Static_assert(sizeof(struct bpf_insn) == CAPTURE_INSN_SIZE, "as it comes from the compiler");

/* bpf_validate() looks at classes alone, and bpf_filter() ends the process at what it does not
 * know. */
static bool is_known(uint16_t code)
{
    static const uint16_t both[] = { BPF_ALU | BPF_ADD, BPF_ALU | BPF_SUB, BPF_ALU | BPF_MUL,
                                     BPF_ALU | BPF_DIV, BPF_ALU | BPF_MOD, BPF_ALU | BPF_AND,
                                     BPF_ALU | BPF_OR,  BPF_ALU | BPF_XOR, BPF_ALU | BPF_LSH,
                                     BPF_ALU | BPF_RSH, BPF_JMP | BPF_JEQ, BPF_JMP | BPF_JGT,
                                     BPF_JMP | BPF_JGE, BPF_JMP | BPF_JSET };
    static const uint16_t one[] = {
        BPF_RET | BPF_K,
        BPF_RET | BPF_A,
        BPF_LD | BPF_W | BPF_ABS,
        BPF_LD | BPF_H | BPF_ABS,
        BPF_LD | BPF_B | BPF_ABS,
        BPF_LD | BPF_W | BPF_LEN,
        BPF_LD | BPF_W | BPF_IND,
        BPF_LD | BPF_H | BPF_IND,
        BPF_LD | BPF_B | BPF_IND,
        BPF_LD | BPF_IMM,
        BPF_LD | BPF_MEM,
        BPF_LDX | BPF_W | BPF_LEN,
        BPF_LDX | BPF_MSH | BPF_B,
        BPF_LDX | BPF_IMM,
        BPF_LDX | BPF_MEM,
        BPF_ST,
        BPF_STX,
        BPF_JMP | BPF_JA,
        BPF_ALU | BPF_NEG,
        BPF_MISC | BPF_TAX,
        BPF_MISC | BPF_TXA,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(both); i++)
        if (code == (both[i] | BPF_K) || code == (both[i] | BPF_X))
            return true;
    for (unsigned i = 0; i < ARRAY_SIZE(one); i++)
        if (code == one[i])
            return true;
    return false;
}

/* Nor does it mind a "ja" that wraps around, which is a jump back. */
static bool is_sound(const struct capture_filter *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (!is_known(f->insns[i].code))
            return false;
        if (f->insns[i].code == (BPF_JMP | BPF_JA) && f->insns[i].k >= f->n - i - 1)
            return false;
    }
    return bpf_validate(f->insns, (int)f->n) != 0;
}

struct capture_filter *capture_filter_new(const void *bytes, size_t len, const char **why)
{
    const size_t n = len / CAPTURE_INSN_SIZE;
    struct capture_filter *f;

    if (n > CAPTURE_INSNS_MAX) {
        *why = "the filter is too long";
        return NULL;
    }
    *why = "the filter is no program";
    if (len % CAPTURE_INSN_SIZE != 0)
        return NULL;
    f = malloc(sizeof(*f) + len);
    if (f == NULL) {
        *why = "no memory";
        return NULL;
    }
    f->n = (uint32_t)n;
    if (n > 0)
        memcpy(f->insns, bytes, len);
    if (n == 0 || is_sound(f))
        return f;
    free(f);
    return NULL;
}

void capture_filter_free(struct capture_filter *f)
{
    free(f);
}

/* Of a frame of @whole bytes the first @len. */
static bool matches(const struct capture_filter *f, const uint8_t *frame, uint32_t whole,
                    uint32_t len)
{
    return f->n == 0 || bpf_filter(f->insns, frame, whole, len) != 0;
}

bool capture_filter_match(const struct capture_filter *f, const uint8_t *frame, uint32_t len)
{
    return matches(f, frame, len, len);
}

/* --- the ring -------------------------------------------------------------------------------- */

struct head {
    uint64_t us;
    uint32_t cap_len, orig_len; /* ->cap_len SKIP: the rest of the ring is passed over */
    uint8_t port;
    bool out;
    uint8_t _pad[6];
};

#define SKIP UINT32_MAX

struct capture_tap {
    /* the worker's */
    CACHE_ALIGNED struct capture_conf conf;
    uint64_t seen_tail;
    _Atomic uint64_t head, dropped;
    /* the control thread's */
    CACHE_ALIGNED _Atomic uint64_t tail;
    CACHE_ALIGNED uint8_t bytes[CAPTURE_RING];
};

struct capture_tap *capture_tap_new(const struct capture_conf *conf)
{
    struct capture_tap *t =
        own_alloc(1, sizeof(*t)); /* touched: the worker is to fault in no page */

    if (t == NULL)
        return NULL;
    t->conf = *conf;
    return t;
}

void capture_tap_free(struct capture_tap *t)
{
    free(t);
}

static uint64_t load(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static bool has_room(struct capture_tap *t, uint64_t end)
{
    if (end - t->seen_tail <= CAPTURE_RING)
        return true;
    /* pairs with the release in capture_pop(): what lay there has been read */
    t->seen_tail = atomic_load_explicit(&t->tail, memory_order_acquire);
    return end - t->seen_tail <= CAPTURE_RING;
}

/* Where the next frame of @len bytes begins; false: the ring is full. */
static bool reserve(struct capture_tap *t, uint64_t *at, uint32_t len)
{
    const uint64_t left = CAPTURE_RING - *at % CAPTURE_RING;

    if (len <= left)
        return has_room(t, *at + len);
    if (!has_room(t, *at + left + len))
        return false;
    if (left >= sizeof(struct head))
        ((struct head *)(t->bytes + *at % CAPTURE_RING))->cap_len = SKIP;
    *at += left;
    return true;
}

/* The first @len bytes of @p, which may be a train. */
static void copy(const struct pkt *p, uint8_t *to, uint32_t len)
{
    uint32_t part = MIN(p->len, len);

    memcpy(to, p->data, part);
    for (unsigned left = p->n_more; left > 0 && part < len; left--) {
        const uint32_t n = MIN(p->more->len, len - part);

        p = p->more;
        memcpy(to + part, p->data, n);
        part += n;
    }
}

/* Behind @at, which moves. */
static void write_frame(struct capture_tap *t, uint64_t us, const struct pkt *p, bool out,
                        uint64_t *at)
{
    const uint32_t orig_len = pkt_total_len(p), cap_len = MIN(orig_len, t->conf.snaplen);
    const uint32_t len = (uint32_t)((sizeof(struct head) + cap_len + 7) & ~(size_t)7);
    uint64_t to = *at;

    if (t->conf.port >= 0 && p->port != t->conf.port)
        return;
    if (!matches(t->conf.filter, p->data, orig_len, p->len))
        return;
    if (!reserve(t, &to, len)) {
        atomic_store_explicit(&t->dropped, load(&t->dropped) + 1, memory_order_relaxed);
        return;
    }
    *(struct head *)(t->bytes + to % CAPTURE_RING) = (struct head){
        .us = us, .cap_len = cap_len, .orig_len = orig_len, .port = p->port, .out = out
    };
    copy(p, t->bytes + to % CAPTURE_RING + sizeof(struct head), cap_len);
    *at = to + len;
}

static void publish(struct capture_tap *t, uint64_t head)
{
    /* pairs with the acquire in capture_front(): the frames are whole */
    atomic_store_explicit(&t->head, head, memory_order_release);
}

void capture_received(struct capture_tap *t, uint64_t us, struct pkt *const *pkts, unsigned n)
{
    uint64_t at = load(&t->head);

    if (!t->conf.in)
        return;
    for (unsigned i = 0; i < n; i++)
        write_frame(t, us, pkts[i], false, &at);
    publish(t, at);
}

void capture_stage(struct capture_tap *t, uint64_t us, struct pkt *const *pkts, unsigned n,
                   uint64_t *ends)
{
    uint64_t at = load(&t->head);

    for (unsigned i = 0; i < n; i++) {
        if (t->conf.out)
            write_frame(t, us, pkts[i], true, &at);
        ends[i] = at;
    }
}

void capture_commit(struct capture_tap *t, const uint64_t *ends, unsigned sent)
{
    if (sent > 0)
        publish(t, ends[sent - 1]);
}

bool capture_front(struct capture_tap *t, struct capture_frame *ret)
{
    const uint64_t head = atomic_load_explicit(&t->head, memory_order_acquire);
    uint64_t tail = load(&t->tail);
    const uint64_t left = CAPTURE_RING - tail % CAPTURE_RING;
    const struct head *h;

    if (tail == head)
        return false;
    h = (const struct head *)(t->bytes + tail % CAPTURE_RING);
    if (left < sizeof(*h) || h->cap_len == SKIP) {
        tail += left;
        atomic_store_explicit(&t->tail, tail, memory_order_release);
        h = (const struct head *)t->bytes;
    }
    *ret = (struct capture_frame){ .us = h->us,
                                   .cap_len = h->cap_len,
                                   .orig_len = h->orig_len,
                                   .port = h->port,
                                   .out = h->out,
                                   .bytes = (const uint8_t *)(h + 1) };
    return true;
}

void capture_pop(struct capture_tap *t)
{
    const uint64_t tail = load(&t->tail);
    const struct head *h = (const struct head *)(t->bytes + tail % CAPTURE_RING);
    const uint64_t len = (sizeof(*h) + h->cap_len + 7) & ~(uint64_t)7;

    /* pairs with the acquire in has_room() */
    atomic_store_explicit(&t->tail, tail + len, memory_order_release);
}

uint64_t capture_dropped(const struct capture_tap *t)
{
    return load(&t->dropped);
}
