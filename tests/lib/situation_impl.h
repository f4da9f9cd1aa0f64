/*
 * situation_impl.h - a situation that runs, for the files of situation.h
 */
#pragma once

#include "tests/lib/peer.h"

#include <stdbool.h>

#define WORDS_MAX 64
#define TRACE_LINES 24
#define TEXT_MAX 256

struct sit {
    struct peer t;
    const char *file, *name;
    unsigned line;
    struct tcp_conf conf;
    bool begun; /* the stack is there: no more "set" */
    struct tcp_tuning tuning;
    bool tuned;

    /* The peer. */
    bool sack, ecn;
    uint32_t window;                          /* in bytes */
    uint32_t their_nxt, their_ack;            /* what its next segment says */
    bool scaled, stamped;                     /* our SYN agreed */
    uint32_t read; /* bytes that the owner has read */

    /* We. */
    bool rebase; /* the next SYN of ours sets where its numbers start */
    uint32_t last_end, iss_ahead;
    uint32_t our_nxt, written;
    int our_wscale;
    bool ts_known;
    uint32_t ts_base, last_tsval;
    uint64_t start_us;

    /* The words of the line. */
    char text[1024];
    char *words[WORDS_MAX];
    unsigned n_words, at;
    bool timed;
    uint64_t from_us, to_us; /* since now: when it is to happen */

    char trace[TRACE_LINES][TEXT_MAX];
    unsigned n_traced;
};

/* ---- situation.c */

/* Says what is wrong and what has happened so far, and ends the process. */
void sit_fail(struct sit *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void sit_trace(struct sit *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The next word, NULL at the end; one that must be there; one if it is @word. */
char *sit_word(struct sit *s);
char *sit_need(struct sit *s, const char *what);
bool sit_if(struct sit *s, const char *word);
uint64_t sit_number(struct sit *s, const char *word); /* 12, 30ms, 2s, on, yes */
uint64_t sit_next_number(struct sit *s);

/* The stack is made, if it is not. */
void sit_begin(struct sit *s);

/* Nothing may be left that was sent and not named. */
void sit_all_named(struct sit *s);

/* Time goes on until something is sent, at most for @us. */
void sit_run(struct sit *s, uint64_t us, bool stop);

/* The bytes of both streams. */
static inline uint8_t sit_our_byte(uint32_t at)
{
    return (uint8_t)(at * 7 + (at >> 8));
}

static inline uint8_t sit_their_byte(uint32_t at)
{
    return (uint8_t)(at * 11 + (at >> 7) + 1);
}

/* ---- situation_seg.c */
void sit_their_segment(struct sit *s);
void sit_our_segment(struct sit *s);

/* The next frame that was sent as text; false: there is none. */
bool sit_draw_next(struct sit *s, char to[TEXT_MAX]);

/* ---- situation_expect.c */
void sit_expect(struct sit *s);
void sit_events(struct sit *s);
