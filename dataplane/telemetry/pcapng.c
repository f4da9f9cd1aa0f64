#include "dataplane/telemetry/pcapng.h"

#include "dataplane/base/compiler.h"

#include <string.h>

enum block { SECTION = 0x0a0d0d0a, INTERFACE = 1, STATISTICS = 5, PACKET = 6 };

enum option {
    OPT_END = 0,
    OPT_COMMENT = 1,
    OPT_SECTION_APPLICATION = 4,
    OPT_INTERFACE_NAME = 2,
    OPT_INTERFACE_RESOLUTION = 9,
    OPT_PACKET_FLAGS = 2,
    OPT_STATISTICS_RECEIVED = 4,
    OPT_STATISTICS_DROPPED = 5,
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define LINKTYPE_ETHERNET 1
#define MICROSECONDS 6
#define TEXT_MAX 4096

/* --- a block being written: from ->len on, and not there before end() ------------------------ */

struct draft {
    struct pcapng *w;
    size_t len; /* of it, so far */
    bool full;
};

static void put(struct draft *d, const void *bytes, size_t len)
{
    static const uint8_t zeros[4];
    const size_t pad = -len & 3;

    if (d->full || d->w->room - d->w->len < d->len + len + pad) {
        d->full = true;
        return;
    }
    if (len > 0)
        memcpy(d->w->at + d->w->len + d->len, bytes, len);
    memcpy(d->w->at + d->w->len + d->len + len, zeros, pad);
    d->len += len + pad;
}

static void put_u32(struct draft *d, uint32_t n)
{
    put(d, &n, sizeof(n));
}

/* The high half first, whatever the byte order. */
static void put_time(struct draft *d, uint64_t us)
{
    put_u32(d, (uint32_t)(us >> 32));
    put_u32(d, (uint32_t)us);
}

static void put_option(struct draft *d, uint16_t code, const void *value, size_t len)
{
    const uint16_t head[2] = { code, (uint16_t)len };

    put(d, head, sizeof(head));
    put(d, value, len);
}

static void put_text(struct draft *d, uint16_t code, const char *text)
{
    put_option(d, code, text, strnlen(text, TEXT_MAX));
}

static struct draft begin(struct pcapng *w, uint32_t type)
{
    struct draft d = { .w = w };

    put_u32(&d, type);
    put_u32(&d, 0); /* its length */
    return d;
}

static bool end(struct draft *d)
{
    const uint32_t len = (uint32_t)(d->len + sizeof(len));

    put_u32(d, len);
    if (d->full)
        return false;
    memcpy(d->w->at + d->w->len + sizeof(uint32_t), &len, sizeof(len));
    d->w->len += len;
    return true;
}

/* --- the blocks ------------------------------------------------------------------------------ */

bool pcapng_section(struct pcapng *w, const char *application)
{
    static const uint16_t version[2] = { 1, 0 };
    static const int64_t unknown = -1; /* the section's length */
    struct draft d = begin(w, SECTION);

    put_u32(&d, BYTE_ORDER_MAGIC);
    put(&d, version, sizeof(version));
    put(&d, &unknown, sizeof(unknown));
    put_text(&d, OPT_SECTION_APPLICATION, application);
    put_u32(&d, OPT_END);
    return end(&d);
}

bool pcapng_interface(struct pcapng *w, const char *name, uint32_t snaplen)
{
    static const uint16_t link[2] = { LINKTYPE_ETHERNET, 0 };
    static const uint8_t resolution = MICROSECONDS;
    struct draft d = begin(w, INTERFACE);

    put(&d, link, sizeof(link));
    put_u32(&d, snaplen);
    put_text(&d, OPT_INTERFACE_NAME, name);
    put_option(&d, OPT_INTERFACE_RESOLUTION, &resolution, sizeof(resolution));
    put_u32(&d, OPT_END);
    return end(&d);
}

bool pcapng_packet(struct pcapng *w, const struct pcapng_packet *p, const char *const *comments,
                   unsigned n)
{
    const uint32_t flags = p->direction; /* the lowest two bits */
    struct draft d = begin(w, PACKET);

    put_u32(&d, p->interface);
    put_time(&d, p->us);
    put_u32(&d, p->cap_len);
    put_u32(&d, p->orig_len);
    put(&d, p->bytes, p->cap_len);
    for (unsigned i = 0; i < n; i++)
        put_text(&d, OPT_COMMENT, comments[i]);
    if (p->direction != PCAPNG_UNKNOWN)
        put_option(&d, OPT_PACKET_FLAGS, &flags, sizeof(flags));
    if (n > 0 || p->direction != PCAPNG_UNKNOWN)
        put_u32(&d, OPT_END);
    return end(&d);
}

bool pcapng_statistics(struct pcapng *w, uint32_t interface, uint64_t us, uint64_t received,
                       uint64_t dropped)
{
    struct draft d = begin(w, STATISTICS);

    put_u32(&d, interface);
    put_time(&d, us);
    put_option(&d, OPT_STATISTICS_RECEIVED, &received, sizeof(received));
    put_option(&d, OPT_STATISTICS_DROPPED, &dropped, sizeof(dropped));
    put_u32(&d, OPT_END);
    return end(&d);
}
