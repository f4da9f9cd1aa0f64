/* OpenSSL's objects lie in mimalloc's heaps, of which each thread has its own. */
#include "tls/memory.h"

#include "tests/lib/test.h"
#include "tls/ctx.h"

#include <mimalloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* AddressSanitizer's own allocator is kept. */
static bool is_watched(void)
{
    CRYPTO_malloc_fn take;

    CRYPTO_get_mem_functions(&take, NULL, NULL);
    return take == CRYPTO_malloc;
}

static void *first_block;
static int status_of_late; /* of a process that has used OpenSSL before */

static int start(void **state)
{
    const pid_t late = fork();

    if (late == 0)
        _exit(OPENSSL_malloc(100) != NULL && !tls_memory_start() ? 0 : 1);
    if (late < 0 || waitpid(late, &status_of_late, 0) != late || !tls_memory_start())
        return 1;
    first_block = OPENSSL_malloc(100);
    return 0;
}

static void openssl_takes_memory_from_it(void **state)
{
    assert_int_equal(mi_is_in_heap_region(first_block), !is_watched());
    assert_int_equal(mi_check_owned(first_block), !is_watched()); /* by this thread */
}

static void when_openssl_has_begun_it_is_too_late(void **state)
{
    assert_int_equal(status_of_late != 0, is_watched()); /* who changes nothing is never late */
}

static void *make_lib(void *arg)
{
    struct tls_lib **lib = arg;

    *lib = tls_lib_new();
    return NULL;
}

/* As a context, which the control thread makes and a worker may be the last to let go of. */
static void what_one_thread_has_made_another_frees(void **state)
{
    struct tls_lib *lib = NULL;
    pthread_t other;

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&other, NULL, make_lib, &lib), 0);
        assert_int_equal(pthread_join(other, NULL), 0);
        assert_non_null(lib);
        tls_lib_free(lib);
    }
    OPENSSL_free(first_block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openssl_takes_memory_from_it),
        cmocka_unit_test(when_openssl_has_begun_it_is_too_late),
        cmocka_unit_test(what_one_thread_has_made_another_frees),
    };

    return cmocka_run_group_tests_name("memory", tests, start, NULL);
}
