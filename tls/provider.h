/*
 * provider.h - OpenSSL's algorithms without those that TLS here never uses
 *
 * OpenSSL 3.0 looks for the decoder of a public key among all that its provider has,
 * each time, for each certificate: some sixty, most of them for formats and kinds of
 * key that no peer may show us. That is more work than to verify the certificate's
 * signature. So a library context of ours has a provider of its own, whose algorithms
 * are the default provider's, but for decoders and kinds of keys, where it has RSA,
 * EC and Ed25519 certificates, the key exchanges we offer, and no more. What is not
 * there cannot be attacked, either.
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
