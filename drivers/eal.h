/*
 * eal.h - DPDK on and off, from our own configuration
 *
 * The user never types EAL flags: they follow from the machine's settings
 * (hugepages, memory, cores, devices), and eal = [...] is the escape hatch that
 * is appended. DPDK's own messages go through our log. Memory is anonymous
 * (--in-memory, or --no-huge), so that a crash leaves nothing but an empty directory
 * in /run/dpdk, isthmus-PID, which the next process to start removes. One named by
 * machine.file_prefix stays for the next process of that name.
 *
 * The main lcore is the control thread, free to run on any CPU that the process was
 * started with (taskset, systemd's CPUAffinity=); lcores 1..n are the workers, pinned
 * to the cores that the configuration gives them, be they among these or not.
 */
#pragma once

#include "config/model/machine.h"
#include "config/model/where.h"

/* Once per process. 0 or -errno with words in @err. */
NODISCARD int eal_start(const struct machine_conf *conf, struct cfg_err *err);
void eal_stop(void);

/*
 * From now on DPDK's interrupt thread does nothing: nothing that a driver has left with it is
 * called any more. For the end of the process. The memif driver needs it: the thread that hears of
 * the other side may otherwise be at work in a device while it is closed, and a server's socket
 * stays with the thread when its memory is gone.
 */
void eal_park_interrupts(void);

/* Runs @fn on the core of worker @i (from 0). 0 or -errno. */
NODISCARD int eal_launch(unsigned i, int (*fn)(void *arg), void *arg);

/* Waits until @fn of worker @i has returned. */
void eal_join(unsigned i);

/* Cycles of the time-stamp counter, and how many there are in a second. */
uint64_t eal_cycles(void);
uint64_t eal_hz(void);
