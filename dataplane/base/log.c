#include "dataplane/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 2048
#define PER_SECOND 10

static _Atomic int current = LOG_LVL_INFO;
static const char *const names[] = { "error", "warning", "info", "debug" };

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current, level, memory_order_relaxed);
}

enum log_level log_level(void)
{
    return atomic_load_explicit(&current, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return names[level];
}

bool log_level_parse(const char *name, enum log_level *ret)
{
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static size_t put_escaped(char *to, size_t room, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (; *text != '\0' && n + 5 < room; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c != 0x7f) {
            to[n++] = (char)c;
            continue;
        }
        to[n++] = '\\';
        to[n++] = 'x';
        to[n++] = hex[c >> 4];
        to[n++] = hex[c & 15];
    }
    to[n++] = '\n';
    return n;
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
    char text[LINE_MAX_LEN / 2], line[LINE_MAX_LEN];
    struct timespec now;
    struct tm tm;
    va_list args;
    int n;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = snprintf(line, sizeof(line),
                 "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s: ", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000, names[level],
                 module);
    if (n < 0 || (size_t)n >= sizeof(line))
        return;
    n += (int)put_escaped(line + n, sizeof(line) - (size_t)n, text);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* there is nobody left to tell */
}

bool log_limit_pass(struct log_limit *l, uint32_t *swallowed)
{
    struct timespec now;
    uint64_t second;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    second = (uint64_t)now.tv_sec + 1;
    /* Races between threads cost at most a few lines more or less. */
    if (atomic_load_explicit(&l->second, memory_order_relaxed) != second) {
        atomic_store_explicit(&l->second, second, memory_order_relaxed);
        atomic_store_explicit(&l->n, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&l->n, 1, memory_order_relaxed) >= PER_SECOND) {
        atomic_fetch_add_explicit(&l->swallowed, 1, memory_order_relaxed);
        return false;
    }
    *swallowed = atomic_exchange_explicit(&l->swallowed, 0, memory_order_relaxed);
    return true;
}
