/*
 * lb.h - which endpoint comes next
 *
 * A policy is a const table; a cluster finds its own once, when it adopts a
 * configuration.
 */
#pragma once

#include "config/model/cluster.h"

struct cluster;
struct endpoint;

struct lb_ops {
    const char *name;
    struct endpoint *(*pick)(struct cluster *c); /* NULL: there is none */
};

const struct lb_ops *lb_find(enum lb_policy policy);

extern const struct lb_ops lb_round_robin;
