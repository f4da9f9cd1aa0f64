/*
 * ticket_data.h - what a ticket says of a client, beside what OpenSSL keeps in it
 *
 * Until when its chain is valid, and its certificate, if it has shown one. Both are the session's
 * application data (RFC 5077 3.2, RFC 8446 4.6.1: a ticket is what its server likes), sealed and
 * proved with the rest of it.
 *
 * OpenSSL would keep the certificate in the session itself, and decode it, public key and all,
 * whenever it reads one: when a ticket comes, and also when it makes one, as it then reads what it
 * has just written. Of a server's part of a resumed mutual handshake that was 3.0 of 5.1 million
 * instructions, and 1.4 of 4.7 of a full one that gives a ticket. From here it is looked for among
 * those the worker knows (certs.h), by all of its bytes.
 *
 * OpenSSL has no hook for what a session is written as. But libssl asks for i2d_SSL_SESSION()
 * through the dynamic linker, which finds ours first: it writes what libssl's does, without the
 * certificate where the ticket has it besides. Only while a session is at hand (schedule.h), and
 * where the linker is not asked, as in a program that is linked in one piece, the certificate is
 * in the ticket twice, and all else is the same.
 */
#pragma once

#include "dataplane/base/slice.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct ticket_data {
    int64_t valid_until; /* Unix time: the first end of validity in the client's chain */
    struct slice cert;   /* DER, the session's; SLICE_NONE: it has shown none */
};

/* @cert: NULL for none. False: no memory. */
bool ticket_data_put(SSL_SESSION *session, int64_t valid_until, X509 *cert);

/* False: it has none, which those of ours never do. */
bool ticket_data_get(const SSL_SESSION *session, struct ticket_data *ret);

/*
 * The certificate's place in a session as OpenSSL writes it: @front are the fields before it,
 * @back those behind. False: there is none, or this is no such session.
 */
bool ticket_data_find_cert(struct slice der, struct slice *front, struct slice *back);
