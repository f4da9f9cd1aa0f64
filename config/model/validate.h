/*
 * validate.h - is a snapshot consistent in itself?
 *
 * Whatever source filled it (files, xDS), it is checked here before anything is
 * built from it: names are unique, what is referred to exists, matches do not
 * contradict each other, and TLS verifies who the peer is. Opens no file, and writes
 * nothing but the snapshot's indexes.
 *
 * What only shows when a thing is opened (a key that does not fit its
 * certificate, a log format, a device) is found by those who open it.
 */
#pragma once

#include "config/model/snapshot.h"

/* 0, or -EINVAL and the first mistake, at the place of the object that makes it. */
int snapshot_validate(struct snapshot *s, struct cfg_err *err);
