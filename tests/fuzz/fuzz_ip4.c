/*
 * IPv4 packets and ICMP, with checksums that are right if a bit says so: else nothing
 * would get past them.
 */
#include "dataplane/base/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_net.h"
#include "tests/lib/stack.h"

#include <stdlib.h>

#define PACKET_MAX 256

/* Sums over what the header says is there, if it is. */
static void repair(struct frame *f)
{
    const uint32_t hdr_len = (f->b[14] & 0xfu) * 4;

    if (f->len < 14 + 20 || f->b[14] >> 4 != 4 || hdr_len < 20 || f->len < 14 + hdr_len)
        return;
    f->ip_at = 14;
    f->l4_at = 14 + hdr_len;
    frame_done(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz in = { data, size };
    struct stack s;

    stack_defaults(&s);
    fuzz_net_share(&s.machine);
    if (!stack_start(&s))
        abort();
    s.answer_arp = true;
    net_set_proto(s.net, 6, fuzz_net_take, &s);
    net_set_error(s.net, 6, fuzz_net_error, &s);
    while (in.len > 0) {
        const uint8_t how = fuzz_u8(&in);
        uint8_t body[PACKET_MAX];
        const uint32_t len = fuzz_bytes(&in, body, fuzz_u8(&in));
        struct frame f;

        frame_eth(&f, (how & 1) != 0 ? frame_broadcast : stack_mac, peer_mac, 0x0800,
                  (how & 2) != 0 ? 7 : 0);
        frame_bytes(&f, body, len);
        if ((how & 4) != 0 && (how & 2) == 0)
            repair(&f);
        if ((how & 0xf0) == 0xf0)
            stack_from_kernel(&s, &f);
        stack_rx_flags(&s, &f, (how & 8) != 0 ? PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD : 0);
        s.at = s.n_out;
        s.core.now_us += how >> 4;
    }
    stack_fini(&s);
    return 0;
}
