#include "dataplane/net/neigh.h"

#include "dataplane/net/eth.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>

#define SECOND UINT64_C(1000000)
#define REACHABLE_US (30 * SECOND)
#define DELAY_US (5 * SECOND)
#define RETRY_US (1 * SECOND)
#define IDLE_US (600 * SECOND)
#define ASK_DEAD_US (5 * SECOND)
#define TRIES 3
#define SEARCH_MAX 64 /* buckets looked at for an entry to throw out */

#define TO(name) (1u << NEIGH_##name)

#define ALLOWED(name, next) [NEIGH_##name] = (next),
static const unsigned allowed[] = { NEIGH_STATES(ALLOWED) };

#define NAME(name, next) [NEIGH_##name] = #name,
static const char *const names[] = { NEIGH_STATES(NAME) };

const char *neigh_state_name(enum neigh_state state)
{
    return names[state];
}

static void arm(struct neigh *n, uint64_t in_us)
{
    wheel_start(&n->net->core->wheel, &n->timer, n->net->core->now_us + in_us);
}

static void ask(struct neigh *n)
{
    struct net *net = n->net;

    const struct iface *i = &net->ifaces.ifaces[n->iface];
    const uint8_t *to = n->state == NEIGH_PROBE ? n->mac : NULL;

    if (n->addr.family == IP_V4)
        arp_request(net, i, ipaddr_u32(&n->addr), to);
    else
        nd_solicit(net, i, &n->addr, to);
    n->tries++;
    arm(n, RETRY_US);
}

/* The one place a state changes, with what goes with entering it. */
static void move(struct neigh *n, enum neigh_state next)
{
    assert(allowed[n->state] & (1u << next));

    n->state = next;
    n->tries = 0;
    switch (next) {
    case NEIGH_INCOMPLETE:
    case NEIGH_PROBE:
        ask(n);
        break;
    case NEIGH_REACHABLE:
        arm(n, REACHABLE_US);
        break;
    case NEIGH_DELAY:
        arm(n, DELAY_US);
        break;
    case NEIGH_STALE:
    case NEIGH_FAILED:
    case NEIGH_PERMANENT:
        arm(n, IDLE_US);
        break;
    }
}

static uint32_t bucket_of(const struct net *net, uint8_t iface, const struct ipaddr *addr)
{
    const uint64_t *k = net->core->secret.k;
    uint64_t words[2];

    memcpy(words, addr->b, sizeof(words));
    return hash_mix(k[0] ^ words[0] ^ iface ^ hash_mix(k[1] ^ words[1])) % NEIGH_BUCKETS;
}

static struct neigh *find(const struct net *net, uint8_t iface, const struct ipaddr *addr)
{
    struct neigh *n = net->neighs.buckets[bucket_of(net, iface, addr)];

    while (n != NULL && (!ipaddr_eq(&n->addr, addr) || n->iface != iface))
        n = n->next;
    return n;
}

static void drop_waiting(struct neigh *n, enum drop why)
{
    for (unsigned i = 0; i < n->n_waiting; i++)
        net_drop(n->net, n->waiting[i], why);
    n->n_waiting = 0;
}

static void forget(struct neigh *n)
{
    struct neigh_table *t = &n->net->neighs;
    struct neigh **at = &t->buckets[bucket_of(n->net, n->iface, &n->addr)];

    assert(n->refs == 0);
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    t->n--;
    wheel_stop(&n->net->core->wheel, &n->timer);
    drop_waiting(n, DROP_NEIGH_QUEUE_FULL);
    slab_free(&t->slab, n);
}

static bool is_unanswered(const struct neigh *n)
{
    return n->state == NEIGH_INCOMPLETE || n->state == NEIGH_FAILED;
}

/* Throws out an entry that nobody holds: an unanswered one, or else the one longest unused. */
static bool make_room(struct neigh_table *t)
{
    struct neigh *victim = NULL;

    for (unsigned i = 0; i < SEARCH_MAX; i++) {
        t->hand = (t->hand + 1) % NEIGH_BUCKETS;
        for (struct neigh *n = t->buckets[t->hand]; n != NULL; n = n->next) {
            if (n->refs > 0 || n->given != 0)
                continue;
            if (victim == NULL || is_unanswered(n) > is_unanswered(victim) ||
                (is_unanswered(n) == is_unanswered(victim) && n->used_us < victim->used_us))
                victim = n;
        }
        if (victim != NULL && is_unanswered(victim))
            break;
    }
    if (victim == NULL)
        return false;
    forget(victim);
    return true;
}

/* Nobody answered: whoever waits is told as if by an ICMP error. */
static void failed(struct neigh *n)
{
    struct net *net = n->net;
    struct pkt *waiting[NEIGH_WAITING];
    const unsigned n_waiting = n->n_waiting;

    memcpy(waiting, n->waiting, sizeof(waiting));
    n->n_waiting = 0;
    net->counters.neigh_failed++;
    n->dead = true;
    n->failed_us = net->core->now_us;
    move(n, NEIGH_FAILED);

    n->refs++; /* those who are told may let go of it */
    for (unsigned i = 0; i < n_waiting; i++) {
        if (n->addr.family == IP_V4)
            ip4_undeliverable(net, waiting[i]);
        else
            ip6_undeliverable(net, n->iface, waiting[i]);
        net_drop(net, waiting[i], DROP_NEIGH_UNREACHABLE);
    }
    n->refs--;
}

static void on_idle(struct neigh *n, uint64_t now_us)
{
    if (n->refs == 0 && n->given == 0 && now_us - n->used_us >= IDLE_US)
        forget(n);
    else
        arm(n, IDLE_US);
}

static void on_timer(struct wheel_timer *timer, uint64_t now_us)
{
    struct neigh *n = container_of(timer, struct neigh, timer);
    const uint64_t quiet_us = n->net->core->now_us - n->heard_us;

    switch (n->state) {
    case NEIGH_INCOMPLETE:
    case NEIGH_PROBE:
        if (n->tries < TRIES)
            ask(n);
        else
            failed(n);
        return;
    case NEIGH_REACHABLE:
        if (quiet_us >= REACHABLE_US)
            move(n, NEIGH_STALE);
        else
            arm(n, REACHABLE_US - quiet_us);
        return;
    case NEIGH_DELAY:
        move(n, NEIGH_PROBE);
        return;
    case NEIGH_STALE:
    case NEIGH_FAILED:
    case NEIGH_PERMANENT:
        on_idle(n, n->net->core->now_us);
        return;
    }
}

int net_set_static_neigh(struct net *net, const struct ipprefix *of, const uint8_t mac[6])
{
    struct neigh_table *t = &net->neighs;
    struct neigh_static *s;

    if (t->n_statics == NEIGH_STATICS)
        return -ENOSPC;
    s = &t->statics[t->n_statics++];
    s->of = *of;
    memcpy(s->mac, mac, sizeof(s->mac));
    return 0;
}

/* A new entry: is it said where it is? */
static void look_up_static(struct neigh *n)
{
    const struct neigh_table *t = &n->net->neighs;
    const struct neigh_static *best = NULL;

    for (uint32_t i = 0; i < t->n_statics; i++) {
        const struct neigh_static *s = &t->statics[i];

        if (ipprefix_contains(&s->of, &n->addr) && (best == NULL || s->of.len > best->of.len))
            best = s;
    }
    if (best == NULL)
        return;
    memcpy(n->mac, best->mac, sizeof(n->mac));
    move(n, NEIGH_PERMANENT);
}

static struct neigh *make(struct net *net, uint8_t iface, const struct ipaddr *addr)
{
    struct neigh_table *t = &net->neighs;
    const uint32_t bucket = bucket_of(net, iface, addr);
    struct neigh *n;

    if (t->n == NEIGH_MAX && !make_room(t))
        n = NULL;
    else
        n = slab_alloc(&t->slab);
    if (n == NULL) {
        net->counters.neigh_table_full++;
        return NULL;
    }
    n->addr = *addr;
    n->iface = iface;
    n->net = net;
    n->state = NEIGH_FAILED; /* until it is asked for */
    n->heard_us = n->used_us = net->core->now_us;
    wheel_timer_init(&n->timer, on_timer);
    arm(n, IDLE_US);
    n->next = t->buckets[bucket];
    t->buckets[bucket] = n;
    t->n++;
    look_up_static(n);
    return n;
}

int neigh_table_init(struct neigh_table *t, struct net *net)
{
    return slab_init(&t->slab, sizeof(struct neigh), NEIGH_MAX);
}

void neigh_table_fini(struct neigh_table *t)
{
    for (unsigned i = 0; i < NEIGH_BUCKETS; i++) {
        for (struct neigh *n = t->buckets[i]; n != NULL; n = n->next) {
            wheel_stop(&n->net->core->wheel, &n->timer);
            drop_waiting(n, DROP_NEIGH_UNREACHABLE);
        }
    }
    slab_fini(&t->slab);
}

struct neigh *neigh_get(struct net *net, uint8_t iface, const struct ipaddr *addr)
{
    struct neigh *n = find(net, iface, addr);

    if (n == NULL)
        n = make(net, iface, addr);
    if (n == NULL)
        return NULL;
    n->used_us = net->core->now_us;
    n->refs++;
    return n;
}

void neigh_put(struct neigh *n)
{
    assert(n->refs > 0);
    n->refs--;
}

static void send(struct net *net, struct neigh *n, struct pkt *p)
{
    eth_tx(net, &net->ifaces.ifaces[n->iface], n->mac,
           n->addr.family == IP_V4 ? ETH_TYPE_IP4 : ETH_TYPE_IP6, p);
}

static void wait_for(struct net *net, struct neigh *n, struct pkt *p)
{
    if (n->n_waiting == NEIGH_WAITING) {
        net_drop(net, p, DROP_NEIGH_QUEUE_FULL);
        return;
    }
    n->waiting[n->n_waiting++] = p;
}

void neigh_tx(struct net *net, struct neigh *n, struct pkt *p)
{
    n->used_us = net->core->now_us;
    switch (n->state) {
    case NEIGH_REACHABLE:
    case NEIGH_DELAY:
    case NEIGH_PROBE:
    case NEIGH_PERMANENT:
        send(net, n, p);
        return;
    case NEIGH_STALE:
        /* Good enough to use, old enough to be checked if nothing confirms it soon. */
        move(n, NEIGH_DELAY);
        send(net, n, p);
        return;
    case NEIGH_INCOMPLETE:
        wait_for(net, n, p);
        return;
    case NEIGH_FAILED:
        wait_for(net, n, p);
        move(n, NEIGH_INCOMPLETE);
        return;
    }
}

bool neigh_is_dead(struct net *net, uint8_t iface, const struct ipaddr *addr)
{
    struct neigh *n = find(net, iface, addr);

    if (n == NULL || !n->dead)
        return false;
    if (n->state == NEIGH_FAILED && net->core->now_us - n->failed_us >= ASK_DEAD_US)
        move(n, NEIGH_INCOMPLETE);
    return true;
}

void neigh_confirm(struct neigh *n)
{
    n->heard_us = n->net->core->now_us;
    if (n->state == NEIGH_STALE || n->state == NEIGH_DELAY || n->state == NEIGH_PROBE)
        move(n, NEIGH_REACHABLE);
}

static void send_waiting(struct net *net, struct neigh *n)
{
    n->dead = false;
    for (unsigned i = 0; i < n->n_waiting; i++)
        send(net, n, n->waiting[i]);
    n->n_waiting = 0;
}

static void give(struct net *net, const struct net_mirror_neigh *g, uint32_t round)
{
    struct neigh *n = find(net, g->iface, &g->addr);

    if (n == NULL)
        n = make(net, g->iface, &g->addr);
    if (n == NULL || (n->state == NEIGH_PERMANENT && n->given == 0)) /* the configuration wins */
        return;
    memcpy(n->mac, g->mac, sizeof(n->mac));
    if (n->state != NEIGH_PERMANENT)
        move(n, NEIGH_PERMANENT);
    n->given = round;
    send_waiting(net, n);
}

/* They are there, but must show it from now on. */
static void take_back(struct net *net, uint32_t round)
{
    for (unsigned i = 0; i < NEIGH_BUCKETS; i++) {
        for (struct neigh *n = net->neighs.buckets[i]; n != NULL; n = n->next) {
            if (n->given == 0 || n->given == round)
                continue;
            n->given = 0;
            move(n, NEIGH_STALE);
        }
    }
}

void neigh_give(struct net *net, const struct net_mirror_neigh *neighs, uint32_t n)
{
    struct neigh_table *t = &net->neighs;

    if (n == 0 && t->round == 0) /* there never were any */
        return;
    t->round = t->round + 1 != 0 ? t->round + 1 : 1;
    for (uint32_t i = 0; i < n; i++)
        give(net, &neighs[i], t->round);
    take_back(net, t->round);
}

bool neigh_heard(struct net *net, const struct iface *i, const struct ipaddr *addr,
                 const uint8_t mac[6], bool answer, bool learn)
{
    const uint8_t iface = (uint8_t)(i - net->ifaces.ifaces);
    struct neigh *n = find(net, iface, addr);
    bool moved;

    if (n == NULL && learn)
        n = make(net, iface, addr);
    if (n == NULL)
        return false;
    if (n->state == NEIGH_PERMANENT)
        return true;

    moved = memcmp(n->mac, mac, sizeof(n->mac)) != 0;
    memcpy(n->mac, mac, sizeof(n->mac));
    n->heard_us = net->core->now_us;
    /* Who only says where he is has not proven to hear us (RFC 4861, 7.2.5). */
    if (answer && n->state != NEIGH_REACHABLE)
        move(n, NEIGH_REACHABLE);
    else if (!answer && n->state != NEIGH_STALE && (moved || is_unanswered(n)))
        move(n, NEIGH_STALE);
    send_waiting(net, n);
    return true;
}

/* While REACHABLE only an advertisement that says so may replace the MAC address. */
bool neigh_advertised(struct net *net, const struct iface *i, const struct ipaddr *addr,
                      const uint8_t *mac, bool solicited, bool override)
{
    struct neigh *n = find(net, (uint8_t)(i - net->ifaces.ifaces), addr);
    bool moved;

    if (n == NULL)
        return false;
    if (is_unanswered(n))
        return mac == NULL || neigh_heard(net, i, addr, mac, solicited, false);

    moved = mac != NULL && memcmp(n->mac, mac, sizeof(n->mac)) != 0;
    if (moved && !override) {
        if (n->state == NEIGH_REACHABLE)
            move(n, NEIGH_STALE);
        return true;
    }
    if (mac != NULL)
        memcpy(n->mac, mac, sizeof(n->mac));
    n->heard_us = net->core->now_us;
    if (solicited && n->state != NEIGH_REACHABLE)
        move(n, NEIGH_REACHABLE);
    else if (!solicited && moved && n->state != NEIGH_STALE)
        move(n, NEIGH_STALE);
    return true;
}

const char *neigh_state_of(struct net *net, uint8_t iface, const struct ipaddr *addr)
{
    const struct neigh *n = find(net, iface, addr);

    return n != NULL ? names[n->state] : "";
}

void net_each_neigh(struct net *net, void (*fn)(const struct neigh_info *n, void *ctx), void *ctx)
{
    for (unsigned i = 0; i < NEIGH_BUCKETS; i++) {
        for (const struct neigh *n = net->neighs.buckets[i]; n != NULL; n = n->next) {
            const struct iface *iface = &net->ifaces.ifaces[n->iface];
            struct neigh_info info = { .addr = n->addr,
                                       .port = iface->port,
                                       .vlan = iface->vlan,
                                       .state = names[n->state],
                                       .age_us = net->core->now_us - n->heard_us };

            memcpy(info.mac, n->mac, sizeof(info.mac));
            fn(&info, ctx);
        }
    }
}
