/*
 * log.h - one line per event, subject first, to standard error
 *
 * For decisions, not for packets: what happens per packet or per connection is
 * counted, or goes to the access log. A line holds the time, the level, the
 * module and the text, and is written with one write(2), so lines of several
 * threads never mix. Control characters in the text are escaped: a peer's bytes
 * cannot forge a line.
 *
 * log_limited() is for sites a peer can reach: at most ten lines a second each;
 * what it swallows is told with the next line that passes.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARNING, LOG_LVL_INFO, LOG_LVL_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_level(void);
bool log_level_parse(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *module, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct log_limit {
    _Atomic uint64_t second;
    _Atomic uint32_t n, swallowed;
};

/* True if this site may write now. *@swallowed: how many lines were not written since the last. */
bool log_limit_pass(struct log_limit *l, uint32_t *swallowed);

#define log_at(level, module, ...)                                                                 \
    do {                                                                                           \
        if ((level) <= log_level())                                                                \
            log_write((level), (module), __VA_ARGS__);                                             \
    } while (0)

#define log_error(module, ...) log_at(LOG_LVL_ERROR, module, __VA_ARGS__)
#define log_warning(module, ...) log_at(LOG_LVL_WARNING, module, __VA_ARGS__)
#define log_info(module, ...) log_at(LOG_LVL_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_at(LOG_LVL_DEBUG, module, __VA_ARGS__)

#define log_limited(level, module, ...)                                                            \
    do {                                                                                           \
        static struct log_limit limit_;                                                            \
        uint32_t swallowed_ = 0;                                                                   \
        if ((level) <= log_level() && log_limit_pass(&limit_, &swallowed_)) {                      \
            if (swallowed_ > 0)                                                                    \
                log_write((level), (module), "%u lines like the next were not written",            \
                          swallowed_);                                                             \
            log_write((level), (module), __VA_ARGS__);                                             \
        }                                                                                          \
    } while (0)
