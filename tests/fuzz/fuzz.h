/*
 * fuzz.h - what a fuzz target is: one function over any bytes, which never fails but by crashing
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
