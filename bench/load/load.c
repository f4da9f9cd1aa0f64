#include "bench/load/load.h"

#include <string.h>

void load_stats_init(struct load_stats *s)
{
    memset(s, 0, offsetof(struct load_stats, latency_ns));
    hist_init(&s->latency_ns);
    hist_init(&s->connect_ns);
}

void load_stats_add(struct load_stats *to, const struct load_stats *from)
{
    to->requests += from->requests;
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
    to->opened += from->opened;
    to->handshakes += from->handshakes;
    to->resumed += from->resumed;
    to->missed += from->missed;
    to->total_requests += from->total_requests;
    to->open += from->open;
    to->pending += from->pending;
    for (unsigned i = 0; i < LOAD_ERROR_COUNT; i++)
        to->errors[i] += from->errors[i];
    hist_add(&to->latency_ns, &from->latency_ns);
    hist_add(&to->connect_ns, &from->connect_ns);
}

uint64_t load_stats_errors(const struct load_stats *s)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < LOAD_ERROR_COUNT; i++)
        n += s->errors[i];
    return n;
}

#define NAME(name, text) #name,
#define TEXT(name, text) text,

const char *load_error_name(enum load_error e)
{
    static const char *const names[] = { LOAD_ERRORS(NAME) };

    return names[e];
}

const char *load_error_text(enum load_error e)
{
    static const char *const texts[] = { LOAD_ERRORS(TEXT) };

    return texts[e];
}

void load_times_init(struct load_times *t)
{
    atomic_init(&t->begin, UINT64_MAX);
    atomic_init(&t->from, UINT64_MAX);
    atomic_init(&t->until, UINT64_MAX);
    atomic_init(&t->stop, false);
}
