/*
 * secret.h - a certificate with its key, a set of trusted roots, or both, by name
 *
 * The files of one secret are one set: they are watched together, and replaced
 * together or not at all (a key that does not fit the chain, or a file that
 * cannot be read, leaves the old set in force). The bytes never enter the model;
 * tls/secret.h loads them.
 */
#pragma once

#include "config/model/where.h"

struct secret_conf {
    const char *name;
    const char
        *certificate_chain;  /* PEM file, leaf first; NULL with private_key: only trusted_ca */
    const char *private_key; /* PEM file */
    const char *trusted_ca;  /* PEM file, one or more roots; NULL: none */
    struct cfg_where where;
};
