/*
 * capture.h - copies of frames, from a worker to the control thread
 *
 * A tap belongs to one worker while it is attached (port_capture() in port.h): the worker copies
 * frames that match into it, the control thread takes them out. A ring of bytes of fixed size, one
 * writer, one reader, no lock; where it is full a frame is dropped, and counted. Without a tap a
 * worker pays one branch a burst.
 *
 * Filters are classic BPF programs, run by libpcap's interpreter, which neither allocates nor
 * loops: capture_filter_new() refuses what could. libpcap's own check is not enough for that: it
 * lets jumps back pass, which its compiler makes of "protochain", and unknown instructions, at
 * which its interpreter ends the process. So the work for a frame is bounded by
 * CAPTURE_INSNS_MAX instructions and the copy.
 *
 *      tail          head                      a frame never crosses the end: then the rest of
 *   |----|=== frames ===|------------|         the ring is passed over
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pkt;
struct capture_filter;
struct capture_tap;

enum {
    CAPTURE_INSNS_MAX = 2048,
    CAPTURE_INSN_SIZE = 8,  /* of struct bpf_insn, as the compiler has left it in memory */
    CAPTURE_RING = 4 << 20, /* bytes, of one worker */
    CAPTURE_SNAPLEN_MAX = 65535,
};

/* The program @bytes of @len bytes; an empty one lets everything pass. NULL, and *@why in words: it
 * is not to be run. */
struct capture_filter *capture_filter_new(const void *bytes, size_t len, const char **why);
void capture_filter_free(struct capture_filter *f);
bool capture_filter_match(const struct capture_filter *f, const uint8_t *frame, uint32_t len);

struct capture_conf {
    const struct capture_filter *filter; /* lives at least as long */
    uint32_t snaplen;
    int port; /* -1: any */
    bool in, out;
};

/* Control thread; not while a worker has it. NULL: no memory. */
struct capture_tap *capture_tap_new(const struct capture_conf *conf);
void capture_tap_free(struct capture_tap *t);

struct capture_frame {
    uint64_t us; /* Unix time */
    uint32_t cap_len, orig_len;
    uint8_t port;
    bool out;
    const uint8_t *bytes;
};

/* Control thread: the oldest frame, which stays until capture_pop(). False: there is none. */
bool capture_front(struct capture_tap *t, struct capture_frame *ret);
void capture_pop(struct capture_tap *t);

/* Frames that matched and found no room. Any thread. */
uint64_t capture_dropped(const struct capture_tap *t);

/* ---- the worker that has it */

/* @us: what the clock says, in Unix time. */
void capture_received(struct capture_tap *t, uint64_t us, struct pkt *const *pkts, unsigned n);

/* Before they are given to the queue, and after: only the first @sent have left. @ends: room for
 * @n. */
void capture_stage(struct capture_tap *t, uint64_t us, struct pkt *const *pkts, unsigned n,
                   uint64_t *ends);
void capture_commit(struct capture_tap *t, const uint64_t *ends, unsigned sent);
