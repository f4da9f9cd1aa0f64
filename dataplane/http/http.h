/*
 * http.h - what the codecs of one worker share (files of this folder only)
 */
#pragma once

#include "dataplane/base/slab.h"
#include "dataplane/http/codec.h"

#define HTTP_BLOCK 4096 /* one block of a stream's arena: most requests need no second */

struct http {
    struct core *core;
    struct slab h1;     /* struct h1, h1.c */
    struct slab blocks; /* of arenas */
    uint32_t n_streams; /* open now */
    struct http_counters counters;
};

/* sizeof(struct h1): only h1.c knows what is in it. */
extern const uint32_t h1_size;
