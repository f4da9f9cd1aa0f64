#include "tests/lib/pki_group.h"

struct test_pki pki;

int pki_setup(void **state)
{
    test_pki_init(&pki);
    return 0;
}

int pki_teardown(void **state)
{
    test_pki_fini(&pki);
    return 0;
}
