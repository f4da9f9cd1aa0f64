/*
 * doctor.h - is this machine ready for the daemon? Asked when none is running
 *
 * Looks at what DPDK needs of the kernel: hugepages, vfio, rights. Each finding is
 * a row with what to do about it. Nothing is changed.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* An array of {"check", "state": "ok" | "missing" | "optional", "found", "advice"}. *@ready: no row
 * is missing. */
json_t *doctor(bool *ready);
