#include "tests/lib/stack.h"

#include "dataplane/base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

const uint8_t stack_mac[6] = { 2, 0, 0, 0, 0, 1 }, peer_mac[6] = { 2, 0, 0, 0, 0, 2 };

static void tx(void *ctx, uint8_t port, struct pkt *p)
{
    struct stack *s = ctx;

    assert(s->n_sending < STACK_OUT);
    s->sending[s->n_sending++] = p;
}

static void share(void *ctx, const struct pkt *p)
{
    struct stack *s = ctx;

    s->n_shared++;
}

static void punt(void *ctx, struct pkt *p)
{
    struct stack *s = ctx;

    net_to_kernel(s->net, &p, 1);
}

static void to_kernel(void *ctx, struct pkt *p)
{
    struct stack *s = ctx;

    assert(p->len <= FRAME_MAX);
    s->n_to_kernel++;
    memcpy(s->to_kernel.b, p->data, p->len);
    s->to_kernel.len = p->len;
    s->to_kernel.at_us = s->core.now_us;
    pkt_free(p);
}

void stack_defaults(struct stack *s)
{
    struct port_conf *port = &s->machine.ports[0];

    memset(s, 0, sizeof(*s));
    test_pool_init(&s->pool, 0);
    s->core = (struct core){ .now_us = 10000000, .pool = &s->pool.pool, .rng = 1 };
    s->core.secret = (struct hash_key){ { 1, 2 } };
    wheel_init(&s->core.wheel, s->core.now_us);
    s->machine.n_ports = 1;
    s->machine.tcp.max_connections = 64;
    s->machine.tcp.max_half_open = 16;
    port->name = "p0";
    port->n_addrs = 2;
    port->addrs[0] = (struct addr_conf){ ipaddr_v4(US), 24, 0 };
    port->addrs[1] = (struct addr_conf){ ipaddr_v4(US_VLAN), 24, 7 };
    s->machine.n_routes = 1;
    s->machine.routes[0] =
        (struct fixed_route_conf){ .prefix = { ipaddr_v4(0), 0 }, .via = { ipaddr_v4(GATEWAY) } };
    s->port = (struct net_port_info){ .mtu = 1500 };
    memcpy(s->port.mac, stack_mac, 6);
    s->ops =
        (struct net_port_ops){ .tx = tx, .share = share, .punt = punt, .to_kernel = to_kernel };
}

bool stack_start(struct stack *s)
{
    struct net_conf net_conf = {
        .machine = &s->machine, .ports = &s->port, .ops = &s->ops, .ctx = s, .merge = s->merge
    };

    s->punt_is_others = s->punt != NULL;
    if (s->punt == NULL && machine_has_kernel_interface(&s->machine))
        s->punt = punt_new(&s->machine, s->core.now_us);
    net_conf.punt = s->punt;
    s->net = net_new(&s->core, &net_conf);
    if (s->net != NULL)
        net_start(s->net, s->first);
    return s->net != NULL;
}

void stack_init(struct stack *s)
{
    stack_defaults(s);
    if (!stack_start(s))
        abort();
}

static void send_all(struct stack *s)
{
    for (unsigned i = 0; i < s->n_sending; i++) {
        struct pkt *p = s->sending[i];
        struct stack_frame *f = &s->out[s->n_out++];

        assert(s->n_out <= STACK_OUT && p->len <= FRAME_MAX);
        memcpy(f->b, p->data, p->len);
        f->len = p->len;
        f->flags = p->flags;
        f->at_us = s->core.now_us;
        pkt_free(p);
    }
    s->n_sending = 0;
}

void stack_fini(struct stack *s)
{
    send_all(s);
    net_free(s->net);
    if (!s->punt_is_others)
        punt_free(s->punt);
    if (s->core.wheel.n != 0) {
        fprintf(stderr, "%u timers still run\n", s->core.wheel.n);
        abort();
    }
    test_pool_fini(&s->pool);
}

static void answer(struct stack *s, const uint8_t *ask)
{
    const uint32_t tpa = get32(ask + 14 + 24), spa = get32(ask + 14 + 14);
    uint8_t mac[6];
    struct frame f;

    memcpy(mac, peer_mac, sizeof(mac));
    for (unsigned i = 0; i < ARRAY_SIZE(s->taught); i++)
        if (s->taught[i] == tpa)
            mac[5] = (uint8_t)(STACK_MAC + i);
    frame_eth(&f, stack_mac, mac, 0x0806, 0);
    frame_arp(&f, 2, mac, tpa, stack_mac, spa);
    stack_rx(s, &f);
}

void stack_teach(struct stack *s, uint32_t addr, uint8_t mac)
{
    s->taught[mac - STACK_MAC] = addr;
}

static bool is_arp_request(const struct stack_frame *f)
{
    return get16(f->b + 12) == 0x0806 && get16(f->b + 14 + 6) == 1;
}

void stack_flush(struct stack *s)
{
    unsigned from;

    if (s->at == s->n_out)
        s->at = s->n_out = 0;
    from = s->n_out;
    if (s->flush != NULL)
        s->flush(s->flush_ctx);
    send_all(s);
    if (!s->answer_arp)
        return;
    for (unsigned i = from; i < s->n_out; i++) {
        struct stack_frame ask = s->out[i];

        if (!is_arp_request(&ask))
            continue;
        memmove(&s->out[i], &s->out[i + 1], (s->n_out - i - 1) * sizeof(s->out[0]));
        s->n_out--;
        answer(s, ask.b);
        return; /* which has flushed, and so looked at the rest */
    }
}

void stack_rx_flags(struct stack *s, const struct frame *f, uint16_t flags)
{
    struct pkt *p = test_pkt(&s->pool, f->b, f->len);

    p->flags = flags;
    net_rx(s->net, &p, 1);
    stack_flush(s);
}

void stack_from_kernel(struct stack *s, const struct frame *f)
{
    struct pkt *p = test_pkt(&s->pool, f->b, f->len);

    net_from_kernel(s->net, &p, 1);
    stack_flush(s);
}

void stack_rx(struct stack *s, const struct frame *f)
{
    stack_rx_flags(s, f, 0);
}

void stack_run(struct stack *s, uint64_t for_us)
{
    const uint64_t until = s->core.now_us + for_us;

    stack_flush(s);
    while (s->core.now_us < until) {
        const uint64_t next = wheel_next_us(&s->core.wheel);

        s->core.now_us = MIN(until, MAX(next, s->core.now_us + 1));
        wheel_run(&s->core.wheel, s->core.now_us, 1000);
        stack_flush(s);
    }
}

const struct stack_frame *stack_next(struct stack *s)
{
    return s->at < s->n_out ? &s->out[s->at++] : NULL;
}
