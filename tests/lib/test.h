/*
 * test.h - cmocka and its four prerequisite headers, in order
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dataplane/base/compiler.h"
