#include "tls/memory.h"

#include <mimalloc.h>
#include <openssl/crypto.h>

#ifdef __has_feature /* clang's; gcc defines __SANITIZE_ADDRESS__ */
#if __has_feature(address_sanitizer)
#define IS_WATCHED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define IS_WATCHED 1
#endif

#ifdef IS_WATCHED

bool tls_memory_start(void)
{
    return true;
}

#else

static void *take(size_t n, const char *file, int line)
{
    return mi_malloc(n);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    return mi_realloc(p, n);
}

static void give_back(void *p, const char *file, int line)
{
    mi_free(p);
}

bool tls_memory_start(void)
{
    return CRYPTO_set_mem_functions(take, resize, give_back) == 1;
}

#endif
