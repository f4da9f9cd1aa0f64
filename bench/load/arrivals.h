/*
 * arrivals.h - when the requests of an open loop are to begin: a Poisson process
 *
 * The moments follow from a seed, so a backlog needs no memory, however long it
 * grows: the same sequence is walked twice. ->due is the next arrival that is still
 * to come, ->served the next that is still to be served; what lies between waits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arrivals {
    double mean; /* cycles between two */
    uint64_t start;
    struct arrival {
        uint64_t rng;
        double at; /* cycles since ->start */
    } due, served;
    uint64_t waiting; /* due, and not served */
};

/* @rate: arrivals a second, more than 0. @seed: not 0. */
void arrivals_init(struct arrivals *a, double rate, double hz, uint64_t start, uint64_t seed);

/* Has another arrived by @now? Then *@at is its moment, and it waits. */
bool arrivals_next(struct arrivals *a, uint64_t now, uint64_t *at);

/* The moment of the one that has waited longest, which now is served. One must be waiting. */
uint64_t arrivals_serve(struct arrivals *a);
