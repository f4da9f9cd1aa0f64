#include "dataplane/base/wheel.h"

#define MASK (WHEEL_SLOTS - 1)
#define BITS 8

void wheel_init(struct wheel *w, uint64_t now_us)
{
    w->tick = now_us / WHEEL_TICK_US;
    w->n = 0;
    list_init(&w->due);
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
    if (t->tick < w->tick)
        list_push_tail(&w->due, &t->link);
    else
        list_push_tail(slot_of(w, t->tick), &t->link);
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

/* Brings the timers of one slot of @level down to where they now belong. */
static void cascade(struct wheel *w, unsigned level)
{
    struct list *slot = &w->slots[level][(w->tick >> (BITS * level)) & MASK];
    struct list moved = LIST_INIT(moved), *l;

    list_splice_tail(&moved, slot);
    while ((l = list_pop_head(&moved)) != NULL)
        place(w, container_of(l, struct wheel_timer, link));
}

static void advance(struct wheel *w)
{
    for (unsigned level = 1; level < WHEEL_LEVELS; level++) {
        if ((w->tick & ((UINT64_C(1) << (BITS * level)) - 1)) != 0)
            break;
        cascade(w, level);
    }
    list_splice_tail(&w->due, &w->slots[0][w->tick & MASK]);
    w->tick++;
}

unsigned wheel_run(struct wheel *w, uint64_t now_us, unsigned budget)
{
    uint64_t now_tick = now_us / WHEEL_TICK_US;
    unsigned fired = 0;

    if (w->n == 0 && w->tick <= now_tick) {
        w->tick = now_tick + 1;
        return 0;
    }
    for (;;) {
        struct list *l;

        while (fired < budget && (l = list_pop_head(&w->due)) != NULL) {
            struct wheel_timer *t = container_of(l, struct wheel_timer, link);

            w->n--;
            fired++;
            t->fn(t, now_us); /* last: the callback may free @t */
        }
        if (fired == budget || w->tick > now_tick)
            return fired;
        advance(w);
    }
}

uint64_t wheel_next_us(const struct wheel *w)
{
    if (w->n == 0)
        return UINT64_MAX;
    if (!list_is_empty(&w->due))
        return 0;
    for (uint64_t tick = w->tick; tick < w->tick + WHEEL_SLOTS; tick++) {
        /* A cascade may bring timers that are due before the next one of this level. */
        if ((tick & MASK) == 0)
            return tick * WHEEL_TICK_US;
        if (!list_is_empty(&w->slots[0][tick & MASK]))
            return tick * WHEEL_TICK_US;
    }
    return (w->tick + WHEEL_SLOTS) * WHEEL_TICK_US;
}
