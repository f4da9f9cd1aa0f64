#include "drivers/offload.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "drivers/frame.h"

#define TCP_MIN 20
#define TCP_MAX 60
#define HEADERS_MAX (ETH_LEN + VLAN_LEN + IP6_LEN + TCP_MAX)

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, URG = 32, CWR = 128 };

/* ---- sending */

/* What is the same in every frame of a train. */
struct mould {
    uint8_t bytes[PKT_HEADROOM];
    uint32_t len, ip_at, tcp_at;
    uint16_t flags; /* of a packet */
    uint8_t l2_len, l3_len, l4_len, port;
    uint32_t seq;
    uint8_t tcp_flags;
    uint16_t pseudo; /* sum of the pseudo header without its length */
    uint16_t ip_sum; /* of an IPv4 header without length and checksum */
    bool tcp_csum;
};

static void mould_init(struct mould *m, const struct pkt *head, bool tcp_csum)
{
    const uint8_t *tcp = head->data + head->l2_len + head->l3_len;

    m->len = (uint32_t)head->l2_len + head->l3_len + head->l4_len;
    m->ip_at = head->l2_len;
    m->tcp_at = m->ip_at + head->l3_len;
    assert(m->len <= sizeof(m->bytes) && m->len <= head->len);
    memcpy(m->bytes, head->data, m->len);
    m->flags = head->flags;
    m->l2_len = head->l2_len;
    m->l3_len = head->l3_len;
    m->l4_len = head->l4_len;
    m->port = head->port;
    m->seq = get32(tcp + 4);
    m->tcp_flags = tcp[13];
    memcpy(&m->pseudo, tcp + 16, sizeof(m->pseudo));
    m->tcp_csum = tcp_csum;
    if ((m->flags & PKT_TX_IP6) != 0)
        return;
    put16(m->bytes + m->ip_at + 2, 0);
    put16(m->bytes + m->ip_at + 10, 0);
    m->ip_sum = cksum_fold(cksum_add(0, m->bytes + m->ip_at, m->l3_len));
}

static void write_ip(const struct mould *m, uint8_t *ip, uint32_t len)
{
    if ((m->flags & PKT_TX_IP6) != 0) {
        put16(ip + 4, (uint16_t)(len - IP6_LEN));
        return;
    }
    put16(ip + 2, (uint16_t)len);
    put16(ip + 10, 0);
    if ((m->flags & PKT_TX_IP_CSUM) == 0)
        cksum_store(ip + 10, cksum_finish(cksum_add(m->ip_sum, ip + 2, 2)));
}

static void write_tcp_csum(const struct mould *m, struct pkt *p, uint8_t *tcp, uint32_t len)
{
    uint8_t len_be[2];
    uint64_t sum;

    put16(len_be, (uint16_t)len);
    sum = cksum_add(m->pseudo, len_be, sizeof(len_be));
    if (m->tcp_csum) {
        cksum_store(tcp + 16, cksum_fold(sum));
        return;
    }
    p->flags &= (uint16_t)~PKT_TX_TCP_CSUM;
    put16(tcp + 16, 0);
    cksum_store(tcp + 16, cksum_finish(cksum_add(sum, tcp, len)));
}

/* @p holds payload alone, or (the head) has been a frame before. @off: bytes of payload before it.
 */
static void cast(const struct mould *m, struct pkt *p, uint32_t off, bool first, bool last)
{
    uint8_t flags = m->tcp_flags, *tcp;

    if (!first)
        memcpy(pkt_push(p, m->len), m->bytes, m->len);
    p->flags = m->flags;
    p->l2_len = m->l2_len;
    p->l3_len = m->l3_len;
    p->l4_len = m->l4_len;
    p->port = m->port;
    tcp = p->data + m->tcp_at;
    if (!first)
        flags &= (uint8_t)~CWR;
    if (!last)
        flags &= (uint8_t) ~(FIN | PSH);
    put32(tcp + 4, m->seq + off);
    tcp[13] = flags;
    write_ip(m, p->data + m->ip_at, p->len - m->ip_at);
    write_tcp_csum(m, p, tcp, p->len - m->tcp_at);
}

unsigned offload_split(struct pkt *train, bool tcp_csum, struct pkt **to)
{
    const unsigned n = pkt_n(train);
    struct mould m;
    uint32_t off = 0;

    to[0] = train;
    if (n == 1)
        return 1;
    assert(n <= PKT_TRAIN_MAX);
    mould_init(&m, train, tcp_csum);
    for (unsigned i = 0; i < n; i++) {
        struct pkt *p = train;
        const uint32_t payload = i == 0 ? p->len - m.len : p->len;

        if (i + 1 < n)
            train = pkt_uncouple(p);
        cast(&m, p, off, i == 0, i + 1 == n);
        off += payload;
        to[i] = p;
    }
    return n;
}

/* ---- receiving */

/* Where the headers of a frame are; all of them lie in its first buffer. */
struct layout {
    uint8_t *ip, *tcp;
    uint32_t ip_at, tcp_at;
    uint32_t ip_len, tcp_hdr; /* as the headers say */
    bool is_ip6;
};

static void drop_rest(struct pkt *p)
{
    if (p->n_more > 0)
        pkt_free(pkt_uncouple(p));
}

/* The first @n bytes of @p, or all there are, into its first buffer: where there are less, there is
 * room. */
static void gather(struct pkt *p, uint32_t n)
{
    while (p->n_more > 0 && p->len < n) {
        struct pkt *next = p->more;
        const uint32_t part = MIN(MIN(n - p->len, next->len), pkt_tailroom(p));

        if (part == 0)
            return;
        memcpy(pkt_put(p, part), next->data, part);
        pkt_pull(next, part);
        p->more_len -= part;
        if (next->len > 0)
            continue;
        p->more = next->more;
        p->n_more--;
        pkt_unref(next);
    }
}

/* Only the first @len bytes of @p, which are in the first buffer at least in part. */
static void cut(struct pkt *p, uint32_t len)
{
    struct pkt *at = p;
    uint32_t n = MIN(p->len, len), kept = 0;

    pkt_trim(p, n);
    for (len -= n; len > 0; len -= n) {
        at = at->more;
        n = MIN(at->len, len);
        pkt_trim(at, n);
        kept++;
    }
    for (struct pkt *gone = at->more; kept < p->n_more; p->n_more--) {
        struct pkt *next = gone->more;

        pkt_unref(gone);
        gone = next;
    }
    p->more_len = 0;
    at = p;
    for (unsigned i = 0; i < p->n_more; i++) {
        at = at->more;
        p->more_len += at->len;
    }
}

static bool find_ip(const struct pkt *p, struct layout *l)
{
    uint16_t type;

    l->ip_at = ETH_LEN;
    if (p->len < ETH_LEN + VLAN_LEN)
        return false;
    type = get16(p->data + 12);
    if (type == TYPE_VLAN) {
        type = get16(p->data + 16);
        l->ip_at += VLAN_LEN;
    }
    l->ip = p->data + l->ip_at;
    l->is_ip6 = type == TYPE_IP6;
    return type == TYPE_IP4 || type == TYPE_IP6;
}

/* Is @p a plain segment: no options of IP, no fragment, no extension header? */
static bool find_tcp(const struct pkt *p, struct layout *l)
{
    if (!find_ip(p, l) || p->len < l->ip_at + (l->is_ip6 ? IP6_LEN : IP4_MIN) + TCP_MIN)
        return false;
    if (l->is_ip6) {
        if (l->ip[0] >> 4 != 6 || l->ip[6] != PROTO_TCP)
            return false;
        l->ip_len = IP6_LEN + get16(l->ip + 4);
        l->tcp_at = l->ip_at + IP6_LEN;
    } else {
        if (l->ip[0] != 0x45 || l->ip[9] != PROTO_TCP || (get16(l->ip + 6) & 0x3fff) != 0)
            return false;
        l->ip_len = get16(l->ip + 2);
        l->tcp_at = l->ip_at + IP4_MIN;
    }
    l->tcp = p->data + l->tcp_at;
    l->tcp_hdr = (uint32_t)(l->tcp[12] >> 4) * 4;
    return (l->tcp[13] & (SYN | RST | URG)) == 0;
}

/* The sum over all buffers, which may be of odd lengths. */
static uint64_t sum_all(const struct pkt *p, uint32_t from)
{
    uint64_t sum = cksum_add(0, p->data + from, p->len - from);
    uint32_t at = p->len - from;
    const struct pkt *q = p;

    for (unsigned i = 0; i < p->n_more; i++) {
        uint16_t part;

        q = q->more;
        part = cksum_fold(cksum_add(0, q->data, q->len));
        sum += at % 2 == 0 ? part : __builtin_bswap16(part);
        at += q->len;
    }
    return sum;
}

static bool is_good(const struct pkt *p, const struct layout *l)
{
    const struct ipaddr src = l->is_ip6 ? ipaddr_v6(l->ip + 8) : ipaddr_v4(get32(l->ip + 12));
    const struct ipaddr dst = l->is_ip6 ? ipaddr_v6(l->ip + 24) : ipaddr_v4(get32(l->ip + 16));
    const uint32_t len = pkt_total_len(p) - l->tcp_at;

    return cksum_is_good(cksum_pseudo(&src, &dst, PROTO_TCP, len) + sum_all(p, l->tcp_at));
}

static void check(struct pkt *p, const struct layout *l)
{
    if ((p->flags & (PKT_RX_L4_CSUM_GOOD | PKT_RX_L4_CSUM_BAD)) != 0)
        return;
    p->flags |= is_good(p, l) ? PKT_RX_L4_CSUM_GOOD : PKT_RX_L4_CSUM_BAD;
}

/* The IP header speaks of the head alone from now on; its checksum stays as right as it was. */
static void shorten(const struct pkt *p, const struct layout *l)
{
    const uint32_t len = p->len - l->ip_at;
    uint16_t old, new, sum;

    if (l->is_ip6) {
        put16(l->ip + 4, (uint16_t)(len - IP6_LEN));
        return;
    }
    memcpy(&old, l->ip + 2, sizeof(old));
    memcpy(&sum, l->ip + 10, sizeof(sum));
    put16(l->ip + 2, (uint16_t)len);
    memcpy(&new, l->ip + 2, sizeof(new));
    cksum_store(l->ip + 10, cksum_update16(sum, old, new));
}

static struct pkt *one_buffer(struct pkt *p)
{
    gather(p, pkt_total_len(p));
    if (p->n_more == 0)
        return p;
    pkt_free(p);
    return NULL;
}

struct pkt *offload_join(struct pkt *p)
{
    struct layout l;

    gather(p, HEADERS_MAX + 1); /* and some payload, or it would be taken for an ACK alone */
    if (p->n_more == 0)
        return p;
    if (!find_tcp(p, &l) || p->len <= HEADERS_MAX)
        return one_buffer(p);
    if (l.ip_at + l.ip_len > pkt_total_len(p)) {
        drop_rest(p); /* net finds it too short, and counts it */
        return p;
    }
    if (l.ip_at + l.ip_len <= p->len) {
        drop_rest(p); /* Ethernet pads short frames: the length that counts is IP's */
        return p;
    }
    cut(p, l.ip_at + l.ip_len);
    check(p, &l);
    shorten(p, &l);
    if (l.tcp_hdr < TCP_MIN || l.tcp_at + l.tcp_hdr > p->len)
        drop_rest(p); /* TCP finds that out, and counts it */
    return p;
}
