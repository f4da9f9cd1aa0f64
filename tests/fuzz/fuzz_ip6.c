/*
 * IPv6: extension headers, ICMPv6, neighbour discovery, router advertisements and fragments, and
 * IPv4's fragments with them, while time goes by.
 *
 * Records: how, then the bytes behind the IP header. Sums and lengths are right if a bit says so:
 * else nothing would get past them.
 */
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_net.h"
#include "tests/lib/stack6.h"

#include <stdlib.h>

static void packet6(struct frame *f, struct fuzz *in, uint8_t how)
{
    static const char *const srcs[] = { PEER6, PEER_NEAR6, "::",      US6,
                                        FAR6,  "fe80::99", "ff02::1", "2001:db8::3" };
    static const char *const dsts[] = { US6, NEAR6, NODES6, GROUP6 };
    static const uint8_t nexts[] = { 58, 0, 60, 44, 6, 43, 17, 59 };
    const uint8_t which = fuzz_u8(in), kind = fuzz_u8(in);
    uint8_t body[256];
    uint32_t len;

    stack6_frame(f, srcs[which & 7], dsts[which >> 3 & 3], nexts[which >> 5]);
    f->b[f->ip_at + 7] = (how & 4) != 0 ? 255 : kind;
    len = fuzz_bytes(in, body, fuzz_u8(in));
    frame_bytes(f, body, len);
    if ((how & 8) != 0)
        frame_done(f);
}

static void packet4(struct frame *f, struct fuzz *in)
{
    const uint16_t frag = fuzz_u16(in), id = fuzz_u8(in) & 3;
    static const uint8_t protocols[] = { 1, 6, 17, 253 };
    uint8_t body[256];
    const uint8_t n = fuzz_u8(in);
    const uint32_t len = fuzz_bytes(in, body, n);

    frame_eth(f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(f, PEER, US, protocols[frag >> 14], NULL, 0);
    put16(f->b + f->ip_at + 4, id);
    frame_bytes(f, body, len);
    frame_done(f);
    put16(f->b + f->ip_at + 6, frag & 0x3fff & ((n & 1) != 0 ? 0x203f : 0x3fff));
    put16(f->b + f->ip_at + 10, 0);
    cksum_store(f->b + f->ip_at + 10, cksum_finish(cksum_add(0, f->b + f->ip_at, 20)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz in = { data, size };
    struct stack s;

    stack6_defaults(&s);
    s.machine.ports[0].duplicate_probes = (uint16_t)(size & 1);
    s.machine.ports[0].router_advertisements = (size & 2) != 0;
    s.first = true;
    fuzz_net_share(&s.machine);
    if (!stack_start(&s))
        abort();
    net_set_proto(s.net, 6, fuzz_net_take, &s);
    net_set_error(s.net, 6, fuzz_net_error, &s);
    while (in.len > 0) {
        const uint8_t how = fuzz_u8(&in);
        struct frame f;

        if ((how & 3) == 3)
            packet4(&f, &in);
        else
            packet6(&f, &in, how);
        if ((how & 0x60) == 0x60)
            stack_from_kernel(&s, &f);
        stack_rx_flags(&s, &f, (how & 16) != 0 ? PKT_STEERED : 0);
        s.at = s.n_out;
        if (how >= 0xe0)
            stack_run(&s, (uint64_t)(how & 15) * 1000000);
        s.at = s.n_out;
    }
    stack_fini(&s);
    return 0;
}
