#include "dataplane/base/wheel.h"

#include <string.h>

#define MASK (WHEEL_SLOTS - 1)
#define BITS 8
#define MOVES_PER_FIRED 4 /* to move a timer is cheap beside what one does that fires */

void wheel_init(struct wheel *w, uint64_t now_us)
{
    w->tick = now_us / WHEEL_TICK_US;
    w->n = 0;
    w->level = 0;
    list_init(&w->due);
    list_init(&w->moving);
    memset(w->used, 0, sizeof(w->used));
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned i = 0; i < WHEEL_SLOTS; i++)
            list_init(&w->slots[level][i]);
}

/* The slot where a timer waits: the level at which its tick and the wheel's first differ. */
static struct list *slot_of(struct wheel *w, uint64_t tick)
{
    uint64_t ahead = tick - w->tick;

    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        if (ahead < UINT64_C(1) << (BITS * (level + 1)))
            return &w->slots[level][(tick >> (BITS * level)) & MASK];
    return &w->slots[WHEEL_LEVELS - 1][((w->tick >> (BITS * (WHEEL_LEVELS - 1))) - 1) & MASK];
}

static void place(struct wheel *w, struct wheel_timer *t)
{
    if (t->tick < w->tick) {
        list_push_tail(&w->due, &t->link);
        return;
    }
    if (t->tick - w->tick < WHEEL_SLOTS)
        w->used[(t->tick & MASK) / 64] |= UINT64_C(1) << (t->tick & 63);
    list_push_tail(slot_of(w, t->tick), &t->link);
}

/* The next tick with a timer in the first level, or at which a higher one is to be looked at. */
static uint64_t next_tick(const struct wheel *w)
{
    const uint64_t start = w->tick & MASK;

    if (start == 0)
        return w->tick;
    for (uint64_t word = start / 64; word < WHEEL_SLOTS / 64; word++) {
        uint64_t bits = w->used[word];

        if (word == start / 64)
            bits &= ~UINT64_C(0) << (start & 63);
        if (bits != 0)
            return (w->tick & ~(uint64_t)MASK) + word * 64 + (uint64_t)__builtin_ctzll(bits);
    }
    return (w->tick | MASK) + 1;
}

void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t at_us)
{
    uint64_t tick = at_us / WHEEL_TICK_US + (at_us % WHEEL_TICK_US != 0);

    if (wheel_timer_is_running(t)) {
        if (t->tick == tick)
            return;
        list_remove(&t->link);
    } else {
        w->n++;
    }
    t->tick = tick;
    place(w, t);
}

void wheel_stop(struct wheel *w, struct wheel_timer *t)
{
    if (!wheel_timer_is_running(t))
        return;
    list_remove(&t->link);
    w->n--;
}

/*
 * Brings the timers of the slots that begin at this tick down to where they now belong, the lowest
 * level first: what comes from a higher one may have its place in a slot of that. False: the budget
 * is used up before that is done.
 */
static bool cascade(struct wheel *w, uint64_t *moves)
{
    struct list *l;

    for (;;) {
        while (*moves > 0 && (l = list_pop_head(&w->moving)) != NULL) {
            __builtin_prefetch(w->moving.next);
            place(w, container_of(l, struct wheel_timer, link));
            --*moves;
        }
        if (!list_is_empty(&w->moving))
            return false;
        if (w->level + 1 == WHEEL_LEVELS ||
            (w->tick & ((UINT64_C(1) << (BITS * (w->level + 1))) - 1)) != 0)
            break;
        w->level++;
        list_splice_tail(&w->moving, &w->slots[w->level][(w->tick >> (BITS * w->level)) & MASK]);
    }
    w->level = 0;
    return true;
}

static bool advance(struct wheel *w, uint64_t *moves)
{
    if (!cascade(w, moves))
        return false;
    list_splice_tail(&w->due, &w->slots[0][w->tick & MASK]);
    w->used[(w->tick & MASK) / 64] &= ~(UINT64_C(1) << (w->tick & 63));
    w->tick++;
    return true;
}

unsigned wheel_run(struct wheel *w, uint64_t now_us, unsigned budget)
{
    uint64_t now_tick = now_us / WHEEL_TICK_US, moves = (uint64_t)budget * MOVES_PER_FIRED;
    unsigned fired = 0;

    if (w->n == 0 && w->tick <= now_tick) {
        w->tick = now_tick + 1;
        w->level = 0;
        return 0;
    }
    for (;;) {
        struct list *l;

        while (fired < budget && (l = list_pop_head(&w->due)) != NULL) {
            struct wheel_timer *t = container_of(l, struct wheel_timer, link);

            __builtin_prefetch(w->due.next);
            w->n--;
            fired++;
            t->fn(t, now_us); /* last: the callback may free @t */
        }
        if (fired == budget || w->tick > now_tick)
            return fired;
        w->tick = next_tick(w);
        if (w->tick > now_tick) {
            w->tick = now_tick + 1;
            return fired;
        }
        if (!advance(w, &moves))
            return fired;
    }
}

uint64_t wheel_next_us(const struct wheel *w)
{
    if (w->n == 0)
        return UINT64_MAX;
    if (!list_is_empty(&w->due) || !list_is_empty(&w->moving))
        return 0;
    return next_tick(w) * WHEEL_TICK_US;
}
