/*
 * x25519.h - key pairs of X25519 at the price of an exchange
 *
 * OpenSSL has two ways to multiply by a secret: the one that makes public keys is written in C
 * and takes almost twice as long as the other, for exchanges, which is written for the
 * processor. A public key is what an exchange with the base point, u = 9, gives (RFC 7748, 6.1):
 * so that is how it is made here, of OpenSSL's random numbers, by OpenSSL's exchange, which runs
 * in constant time. Everything else about such keys is the default provider's.
 */
#pragma once

#include <openssl/core.h>

/*
 * What the default provider has for X25519's keys (OSSL_OP_KEYMGMT) and exchanges
 * (OSSL_OP_KEYEXCH); it returns what to put in the place of @keys. Once, before it is used.
 */
const OSSL_DISPATCH *x25519_over(const OSSL_DISPATCH *keys, const OSSL_DISPATCH *exchange);
