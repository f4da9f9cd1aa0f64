/*
 * certinfo.h - what a certificate says about its holder, as text
 *
 * For people and for headers: only names that are what they claim to be get
 * through (host names, printable URIs), so no name can carry a NUL, a comma or a
 * line break into a list that somebody splits again.
 */
#pragma once

#include "dataplane/base/slice.h"
#include "tls/spiffe.h"

#include <openssl/x509v3.h>

struct cert_text {
    char uri[SPIFFE_ID_MAX + 1]; /* the first URI SAN, "" */
    char dns[4096];              /* DNS SANs, comma separated; those that fit */
    char subject[2048];          /* RFC 2253; "" if it is longer */
    char fingerprint[65];        /* SHA-256 of the DER, lower-case hex */
};

/* False: no memory, or a subjectAltName that cannot be read. */
bool cert_text(X509 *cert, struct cert_text *ret);

/* The subject alternative names, NULL if there are none. False: they cannot be read. */
bool cert_sans(X509 *cert, GENERAL_NAMES **ret);

/* The bytes of a name of this type (GEN_URI, GEN_DNS), or SLICE_NONE if it is of another. */
struct slice cert_san(const GENERAL_NAME *name, int type);

/* Unix time. False: not a time. */
bool cert_time(const ASN1_TIME *t, int64_t *ret);
