/*
 * hostname.h - what a host name may look like, and when a certificate's fits
 *
 * The letters of RFC 952 and 1123, and the underscore, because a mesh puts it
 * into server names ("outbound_.8000_._.reviews.default.svc.cluster.local").
 * Everything else, NUL bytes above all, is no host name.
 */
#pragma once

#include "dataplane/base/slice.h"

#define HOSTNAME_MAX 253

/* Copies in lower case, without a dot at the end. False: not a host name. */
bool hostname_copy(struct slice from, char to[HOSTNAME_MAX + 1]);

/*
 * Does the DNS name @pattern of a certificate stand for @name (from hostname_copy())? A star is
 * good for one whole label, the first, with two more to follow (RFC 6125 6.4.3).
 */
bool hostname_matches(struct slice pattern, const char *name);
