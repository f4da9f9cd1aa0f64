/*
 * certs.h - certificates of peers, decoded once
 *
 * Peers in a mesh come again and again with the same certificates, and OpenSSL 3.0 decodes each
 * of them anew: of a mutual handshake that was a quarter, for the public key above all. So a
 * worker keeps the certificates of those chains that it has verified, or that a ticket says were
 * (ticket_data.h), and whose holder it has accepted; strangers cannot wash them away. One is found
 * by all of its bytes, and is then the same object that it was, with what else was found out about
 * it. Nothing is decided here: the chain's time and who the peer is are looked at each time
 * (verify.c), and that it holds the key is proved each time, or was for its ticket.
 *
 * OpenSSL has no hook for this. But libssl asks libcrypto for d2i_X509() through the dynamic
 * linker, which finds ours first. Ours knows certificates only while a session is at hand
 * (schedule.h), and else does what libcrypto's does. Where the linker is not asked, as in a
 * program that is linked in one piece, each certificate is decoded as ever.
 */
#pragma once

#include "dataplane/base/slice.h"

#include <openssl/x509v3.h>
#include <stdint.h>

#define CERT_HASH_LEN 32

struct certs; /* one worker's; NULL: empty */

/* Of a certificate that is known, for as long as it lives. */
struct cert_facts {
    uint8_t hash[CERT_HASH_LEN]; /* SHA-256 of the DER */
    GENERAL_NAMES *names;        /* NULL: it has none */
    const char *uri, *dns, *subject, *fingerprint;
    char *text; /* where they stand */
};

/* A reference of the one with exactly these bytes; NULL: it is not known. */
X509 *certs_find(const struct certs *c, struct slice der);

/* Without memory, or with names that cannot be read, it is not remembered. */
void certs_add(struct certs **c, X509 *cert);

void certs_free(struct certs *c);

/* NULL: it was never added. */
const struct cert_facts *cert_facts(const X509 *cert);
