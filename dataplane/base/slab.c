#include "dataplane/base/slab.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_ASAN 1
#endif
#endif

#ifdef SLAB_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define poison(p, n) ((void)0)
#define unpoison(p, n) ((void)0)
#endif

static size_t span(const struct slab *s)
{
    return (size_t)s->size * s->max;
}

int slab_init(struct slab *s, uint32_t size, uint32_t max)
{
    *s = (struct slab){ .size = (size + CACHE_LINE - 1) & ~(uint32_t)(CACHE_LINE - 1), .max = max };
    return reserve_init(&s->mem, span(s));
}

int slab_init_raw(struct slab *s, uint32_t size, uint32_t max)
{
    const int rc = slab_init(s, size, max);

    s->raw = true;
    return rc;
}

void slab_fini(struct slab *s)
{
    if (s->mem.base == NULL)
        return;
    unpoison(s->mem.base, span(s));
    reserve_fini(&s->mem);
}

void *slab_alloc(struct slab *s)
{
    void *obj = s->free;

    if (obj != NULL) {
        unpoison(obj, s->size);
        memcpy(&s->free, obj, sizeof(s->free));
        if (!s->raw)
            memset(obj, 0, s->size);
    } else if (s->n_touched < s->max) {
        obj = s->mem.base + (size_t)s->size * s->n_touched++; /* zero already */
        reserve_use(&s->mem, (size_t)s->size * s->n_touched);
    } else {
        s->failed++;
        return NULL;
    }
    s->in_use++;
    return obj;
}

void slab_free(struct slab *s, void *obj)
{
    memcpy(obj, &s->free, sizeof(s->free));
    s->free = obj;
    s->in_use--;
    poison(obj, s->size);
}
