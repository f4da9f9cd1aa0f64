/*
 * pki_group.h - one small mesh for a whole program of tests: cmocka's group setup and teardown
 */
#pragma once

#include "tests/lib/pki.h"

extern struct test_pki pki;

int pki_setup(void **state);
int pki_teardown(void **state);
