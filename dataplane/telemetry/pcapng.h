/*
 * pcapng.h - packets as Wireshark and tcpdump read them (draft-ietf-opsawg-pcapng)
 *
 * Blocks are written into memory of the caller's, whole or not at all, in this machine's byte
 * order, as the format allows. First the section, then its interfaces, which count from 0; then
 * packets, in any order of the two. Times are Unix time in microseconds, which is the format's
 * default.
 *
 * No I/O, no allocation; for any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcapng {
    uint8_t *at;
    size_t room, len;
};

enum pcapng_direction { PCAPNG_UNKNOWN, PCAPNG_IN, PCAPNG_OUT };

struct pcapng_packet {
    uint32_t interface;
    enum pcapng_direction direction;
    uint64_t us;
    uint32_t cap_len, orig_len; /* bytes there are, and there were */
    const void *bytes;          /* from the Ethernet header on */
};

/* Room that a packet's block takes beside its bytes, without comments. */
#define PCAPNG_PACKET_MAX 48

static inline void pcapng_init(struct pcapng *w, void *to, size_t room)
{
    *w = (struct pcapng){ to, room, 0 };
}

/* Each returns false, and has written nothing, if there is no room. */
bool pcapng_section(struct pcapng *w, const char *application);
bool pcapng_interface(struct pcapng *w, const char *name, uint32_t snaplen);
/* @comments: what is told of it, @n texts of at most 4 KiB. */
bool pcapng_packet(struct pcapng *w, const struct pcapng_packet *p, const char *const *comments,
                   unsigned n);
/* @us: now. */
bool pcapng_statistics(struct pcapng *w, uint32_t interface, uint64_t us, uint64_t received,
                       uint64_t dropped);
