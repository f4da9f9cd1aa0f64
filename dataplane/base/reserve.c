#include "dataplane/base/reserve.h"

#include "dataplane/base/list.h"
#include "dataplane/base/own.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE ((size_t)2 << 20)
#define AHEAD_MIN ((size_t)512 << 10)
#define AHEAD_MAX HUGE

#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

struct reserve_ready {
    const struct reserve *of;
    size_t bytes;     /* so many of them are memory */
    struct list link; /* in the list of all */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all = LIST_INIT(all);

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* At a border of huge pages: a little more is mapped, and given back. */
static char *map(size_t size)
{
    const size_t room = size + HUGE;
    char *at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    size_t before;

    if (at == MAP_FAILED)
        return NULL;
    before = round_up((uintptr_t)at, HUGE) - (uintptr_t)at;
    if (before > 0)
        munmap(at, before);
    munmap(at + before + size, room - before - size);
    return at + before;
}

/* A kernel without huge pages refuses both, which changes nothing. */
static void advise(struct reserve *r)
{
    (void)madvise(r->base, MIN(r->size, HUGE), MADV_NOHUGEPAGE);
    if (r->size > HUGE)
        (void)madvise(r->base + HUGE, r->size - HUGE, MADV_HUGEPAGE);
}

int reserve_init(struct reserve *r, size_t size)
{
    *r = (struct reserve){ .size = round_up(MAX(size, 1u), page_size()) };
    r->ready = own_alloc(1, sizeof(*r->ready));
    r->base = r->ready != NULL ? map(r->size) : NULL;
    if (r->base == NULL) {
        free(r->ready);
        return -ENOMEM;
    }
    advise(r);
    r->ready->of = r;
    pthread_mutex_lock(&lock);
    list_push_tail(&all, &r->ready->link);
    pthread_mutex_unlock(&lock);
    return 0;
}

void reserve_fini(struct reserve *r)
{
    if (r->base == NULL)
        return;
    pthread_mutex_lock(&lock);
    list_remove(&r->ready->link);
    pthread_mutex_unlock(&lock);
    free(r->ready);
    munmap(r->base, r->size);
    r->base = NULL;
}

static size_t wanted(const struct reserve *r)
{
    const size_t used = atomic_load_explicit(&r->used, memory_order_relaxed);
    const size_t want = used + MIN(MAX(used / 4, AHEAD_MIN), AHEAD_MAX);

    /* Where pages are huge, the whole one comes of itself. */
    return MIN(round_up(want, page_size()), r->size);
}

static size_t prepare(struct reserve_ready *ready)
{
    const struct reserve *r = ready->of;
    const size_t want = wanted(r), n = want > ready->bytes ? want - ready->bytes : 0;

    /* Without memory it is tried again; a kernel that does not know this will never do it. */
    if (n == 0 || (madvise(r->base + ready->bytes, n, MADV_POPULATE_WRITE) < 0 && errno != EINVAL))
        return 0;
    ready->bytes = want;
    return n;
}

size_t reserves_prepare(void)
{
    struct list *l;
    size_t n = 0;

    pthread_mutex_lock(&lock);
    list_for_each(l, &all)
    {
        n += prepare(container_of(l, struct reserve_ready, link));
    }
    pthread_mutex_unlock(&lock);
    return n;
}
