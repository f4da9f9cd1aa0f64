/* A lost wake-up is one after which these sleep until the test is given up. */
#include "drivers/wake.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONG_US (600 * UINT64_C(1000000))
#define N 20000

static struct wake wakes[2];
static atomic_uint given, taken;

static int start(void **state)
{
    memset(wakes, 0, sizeof(wakes));
    assert_int_equal(wake_init(&wakes[0]), 0);
    assert_int_equal(wake_init(&wakes[1]), 0);
    return 0;
}

static int stop(void **state)
{
    wake_close(&wakes[0]);
    wake_close(&wakes[1]);
    return 0;
}

static void woken_before_it_sleeps_it_does_not_sleep(void **state)
{
    wake_expect(&wakes[0]);
    wake_up(&wakes[0]);
    wake_sleep(&wakes[0], LONG_US);
    assert_false(atomic_load(&wakes[0].asleep));
}

static void one_that_is_awake_costs_no_system_call(void **state)
{
    eventfd_t n;

    wake_up(&wakes[0]);
    wake_expect(&wakes[0]);
    wake_cancel(&wakes[0]);
    wake_up(&wakes[0]);
    assert_int_equal(eventfd_read(wakes[0].event, &n), -1);
    assert_int_equal(errno, EAGAIN);
}

static void it_sleeps_no_longer_than_it_was_told(void **state)
{
    wake_expect(&wakes[0]);
    wake_sleep(&wakes[0], 100);
    assert_false(atomic_load(&wakes[0].asleep));
}

static void *take_all(void *arg)
{
    unsigned seen = 0;

    while (seen < N) {
        wake_expect(&wakes[0]);
        if (atomic_load_explicit(&given, memory_order_relaxed) == seen) {
            wake_sleep(&wakes[0], LONG_US);
            continue;
        }
        wake_cancel(&wakes[0]);
        seen++;
        atomic_store_explicit(&taken, seen, memory_order_relaxed);
    }
    return NULL;
}

/* The other thread has always taken what came before: it is about to sleep, or asleep. */
static void no_wake_up_is_lost(void **state)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, take_all, NULL), 0);
    for (unsigned i = 1; i <= N; i++) {
        atomic_store_explicit(&given, i, memory_order_relaxed);
        wake_up(&wakes[0]);
        while (atomic_load_explicit(&taken, memory_order_relaxed) < i)
            sched_yield();
    }
    pthread_join(thread, NULL);
}

static void each_socket_of_af_xdp_is_found_once(void **state)
{
    int fd[2];

    for (unsigned i = 0; i < 2; i++) {
        fd[i] = socket(AF_XDP, SOCK_RAW, 0);
        if (fd[i] < 0) {
            print_message("no AF_XDP here: %s\n", strerror(errno));
            skip();
        }
        assert_true(wake_add_xdp(&wakes[i], wakes, 2));
        assert_int_equal(wakes[i].sockets[0], fd[i]);
    }
    assert_false(wake_add_xdp(&wakes[0], wakes, 2));
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(woken_before_it_sleeps_it_does_not_sleep, start, stop),
        cmocka_unit_test_setup_teardown(one_that_is_awake_costs_no_system_call, start, stop),
        cmocka_unit_test_setup_teardown(it_sleeps_no_longer_than_it_was_told, start, stop),
        cmocka_unit_test_setup_teardown(no_wake_up_is_lost, start, stop),
        cmocka_unit_test_setup_teardown(each_socket_of_af_xdp_is_found_once, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
