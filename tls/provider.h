/*
 * provider.h - OpenSSL's algorithms without those that TLS here never uses
 *
 * OpenSSL 3.0 looks for the decoder of a public key among all that its provider has, each time,
 * for each certificate, and walks through all algorithms of all kinds to find those of one: that
 * is more work than to verify the certificate's signature. So a library context of ours has a
 * provider of its own, whose algorithms are those of the default provider that TLS 1.2 and 1.3
 * with RSA, EC and Ed25519 certificates and our key exchanges ask for, and no more. What is not
 * there cannot be attacked, either: no suite of ARIA, Camellia or finite fields can be chosen.
 *
 * The default provider works in a second context, where it finds whatever it asks for.
 */
#pragma once

#include <openssl/provider.h>
#include <stdbool.h>

struct provider {
    OSSL_LIB_CTX *libctx; /* for everybody else */
    OSSL_PROVIDER *ours;
    OSSL_LIB_CTX *inner; /* where the default provider lives */
    OSSL_PROVIDER *whole;
    struct provider *next; /* of all there are */
};

/* False: OpenSSL's error queue says why; provider_stop() clears up. */
bool provider_start(struct provider *p);
/* After everything that came from ->libctx. Also of what is all zero. */
void provider_stop(struct provider *p);
