/*
 * pair.h - the server and the client of the tests' mesh, joined by a link
 */
#pragma once

#include "tests/lib/pki_group.h"
#include "tests/unit/tls/link.h"

/* A side's context: it has its secret of the mesh, or @secret, and trusts the mesh's root. */
void use_server(struct link *l, const struct tls_conf *conf);
void use_client(struct link *l, const struct tls_conf *conf, struct tls_secret *secret);
/* Of both, as most tests want it. */
void use_both(struct link *l);

/* Both sessions anew, and open. */
void both_open(struct link *l);
