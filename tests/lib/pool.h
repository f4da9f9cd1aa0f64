/*
 * pool.h - a packet pool over malloc, for tests and fuzz targets
 *
 * Every packet is an allocation of its own and is freed as soon as it comes
 * back (nothing is cached), so that AddressSanitizer sees a use after
 * free or an overrun. pool_fini() asserts that everything came home.
 */
#pragma once

#include "dataplane/base/pkt.h"

struct test_pool {
    struct pkt_pool pool;
    uint32_t n_out;   /* packets not yet given back */
    uint32_t max;     /* 0: no limit; else refill fails beyond */
    uint32_t fail_at; /* 0, or: fails once, when so many allocations have been asked for */
};

void test_pool_init(struct test_pool *tp, uint32_t max);
void test_pool_fini(struct test_pool *tp);

/* A packet holding @len bytes. */
struct pkt *test_pkt(struct test_pool *tp, const void *bytes, size_t len);
