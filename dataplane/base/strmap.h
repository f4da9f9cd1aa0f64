/*
 * strmap.h - a map from strings to pointers, filled once and then read by all
 *
 * Open addressing over SipHash, at most half full. Keys are slices into memory
 * that lives at least as long as the map (usually the same arena). Keys are
 * compared byte for byte: fold the case before, if it does not count.
 */
#pragma once

#include "dataplane/base/arena.h"
#include "dataplane/base/hash.h"

struct strmap_slot {
    struct slice key;
    void *value;
};

struct strmap {
    struct hash_key seed;
    uint32_t n, mask;
    struct strmap_slot *slots;
};

/* Room for @max keys, allocated in @a. */
void strmap_init(struct strmap *m, struct arena *a, uint32_t max);

/* Returns false if @key is already there (its value stays) or the map is full. */
bool strmap_add(struct strmap *m, struct slice key, void *value);

/* The value, or NULL. */
void *strmap_get(const struct strmap *m, struct slice key);
