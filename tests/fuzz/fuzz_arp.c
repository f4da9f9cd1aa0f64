/*
 * ARP packets, while we wait for neighbours and time goes by.
 *
 * Records: what to do, then its arguments. 0: a packet as it is; 1: one with a valid head; 2: send
 * to an address; 3: time.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/lib/stack.h"

#define ARP_LEN 28

static void packet(struct stack *s, struct fuzz *in, bool valid)
{
    static const uint8_t head[6] = { 0, 1, 8, 0, 6, 4 };
    const uint8_t how = fuzz_u8(in);
    uint8_t body[64];
    uint32_t len = fuzz_bytes(in, body, how & 63);
    struct frame f;

    frame_eth(&f, (how & 64) != 0 ? frame_broadcast : stack_mac, peer_mac, 0x0806, 0);
    if (valid)
        frame_bytes(&f, head, sizeof(head));
    frame_bytes(&f, body, len);
    stack_rx_flags(s, &f, (how & 128) != 0 ? PKT_STEERED : 0);
}

static void send_to(struct stack *s, uint32_t addr)
{
    const struct ipaddr remote = ipaddr_v4(addr);
    struct ipaddr from = { 0 };
    struct net_dst dst;

    if (net_route(s->net, &remote, &from, &dst) < 0)
        return;
    net_tx(s->net, &dst, &from, &remote, 253, test_pkt(&s->pool, "0123456789", 10));
    net_dst_put(s->net, &dst);
    stack_flush(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz in = { data, size };
    struct stack s;

    stack_init(&s);
    while (in.len > 0) {
        switch (fuzz_u8(&in) & 3) {
        case 0:
            packet(&s, &in, false);
            break;
        case 1:
            packet(&s, &in, true);
            break;
        case 2:
            send_to(&s, 0x0a000000 | (fuzz_u16(&in) & 0x7ff));
            break;
        case 3:
            stack_run(&s, (uint64_t)fuzz_u8(&in) * 200000);
            break;
        }
        s.at = s.n_out;
    }
    stack_fini(&s);
    return 0;
}
