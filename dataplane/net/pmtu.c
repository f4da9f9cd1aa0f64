#include "dataplane/net/pmtu.h"

#include "dataplane/base/compiler.h"

static uint32_t set_of(const struct hash_key *secret, const struct ipaddr *addr)
{
    return (uint32_t)hash_sip(secret, addr, sizeof(*addr)) % PMTU_SETS;
}

uint16_t pmtu_get(const struct pmtu_cache *c, const struct hash_key *secret,
                  const struct ipaddr *addr, uint16_t mtu, uint64_t now_us)
{
    const struct pmtu *set;

    if (likely(c->n == 0))
        return mtu;
    set = c->sets[set_of(secret, addr)];
    for (unsigned i = 0; i < PMTU_WAYS; i++)
        if (set[i].until_us > now_us && ipaddr_eq(&set[i].addr, addr))
            return MIN(mtu, set[i].mtu);
    return mtu;
}

void pmtu_put(struct pmtu_cache *c, const struct hash_key *secret, const struct ipaddr *addr,
              uint16_t mtu, uint64_t now_us)
{
    struct pmtu *set = c->sets[set_of(secret, addr)], *to = &set[0];
    const uint16_t least = addr->family == IP_V4 ? PMTU_MIN4 : PMTU_MIN6;

    for (unsigned i = 0; i < PMTU_WAYS; i++) {
        if (ipaddr_eq(&set[i].addr, addr)) {
            to = &set[i];
            break;
        }
        if (set[i].until_us < to->until_us)
            to = &set[i];
    }
    c->n++;
    *to = (struct pmtu){ *addr, MAX(mtu, least), now_us + PMTU_AGE_US };
}
