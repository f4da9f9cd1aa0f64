/*
 * pmtu.h - what the paths to some destinations take (RFC 1191, 8201)
 *
 * Shared by the flows of a worker: what one has learned, and has checked (RFC 5927), those
 * after it know from the start. Small and bounded, as strangers make us fill
 * it: sets of four, of which the one nearest to its end goes. After ten minutes
 * a path is tried anew.
 */
#pragma once

#include "dataplane/base/hash.h"
#include "dataplane/base/ipaddr.h"

#define PMTU_SETS 256
#define PMTU_WAYS 4
#define PMTU_AGE_US UINT64_C(600000000)
#define PMTU_MIN4 552 /* RFC 1191 says 68: but nobody shall make us send dust (RFC 5927, 7.2) */
#define PMTU_MIN6 1280

struct pmtu {
    struct ipaddr addr; /* IP_NONE: free */
    uint16_t mtu;
    uint64_t until_us;
};

struct pmtu_cache {
    uint32_t n; /* ever learned: a cache that never was used costs nothing */
    struct pmtu sets[PMTU_SETS][PMTU_WAYS];
};

/* What is known of the path to @addr, at most @mtu. */
uint16_t pmtu_get(const struct pmtu_cache *c, const struct hash_key *secret,
                  const struct ipaddr *addr, uint16_t mtu, uint64_t now_us);

/* Raised to the minimum of its family. */
void pmtu_put(struct pmtu_cache *c, const struct hash_key *secret, const struct ipaddr *addr,
              uint16_t mtu, uint64_t now_us);
