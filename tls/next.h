/*
 * next.h - the function in whose place we stand
 *
 * Some functions of libcrypto and libssl are defined here, too, under their names, and exported:
 * the other library of the two, which looks for them by name, finds ours first. Ours do what is
 * ours to do, and call theirs.
 */
#pragma once

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

/* Theirs; it is kept in *@known. NULL: there is none, which does not happen with OpenSSL 3. */
static inline void *next_function(_Atomic(void *) *known, const char *name)
{
    void *fn = atomic_load_explicit(known, memory_order_relaxed);

    if (fn == NULL) {
        fn = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(known, fn, memory_order_relaxed); /* the same, whoever finds it */
    }
    return fn;
}

#define NEXT_EXPORT __attribute__((visibility("default")))
