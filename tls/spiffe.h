/*
 * spiffe.h - the name of a workload: spiffe://TRUST-DOMAIN/PATH
 *
 * Read strictly, as "SPIFFE-ID" section 2 has it: a lower-case trust domain of
 * letters, digits, dots, dashes and underscores; a path of segments of letters,
 * digits and the same three signs, none of them empty, "." or ".."; no port, user,
 * query, fragment, percent sign or slash at the end; at most 2048 bytes. So two
 * identities are the same only if their bytes are.
 */
#pragma once

#include "dataplane/base/slice.h"

#define SPIFFE_ID_MAX 2048
#define SPIFFE_DOMAIN_MAX 255

struct spiffe_id {
    struct slice domain; /* "cluster.local" */
    struct slice path;   /* "/ns/foo/sa/bar"; empty: the trust domain itself */
};

/* @ret points into @uri. False: not a SPIFFE identity. */
bool spiffe_parse(struct slice uri, struct spiffe_id *ret);

/* The front of an identity, whose trust domain is whole: "spiffe://cluster.local/ns/fo". */
bool spiffe_parse_prefix(struct slice text, struct spiffe_id *ret);

bool spiffe_domain_ok(struct slice domain);
