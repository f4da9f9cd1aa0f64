/*
 * kernel.h - the control thread's side of what is shared with the kernel
 *
 * What machine.punt names goes to the kernel by interfaces beside the ports (net/punt.h,
 * drivers/kernel.h). Here is what that takes once, at the start (the interfaces get the ports'
 * addresses), and what it takes all the time: the kernel's routes and neighbours, where they are
 * mirrored (config/netlink/mirror.h), become a struct net_mirror, which is published to the workers
 * by one pointer and freed when no worker can see it any more.
 */
#pragma once

#include "dataplane/base/cmd.h"
#include "dataplane/net/punt.h"

struct daemon;
struct kernel_side;

/* After the ports, before the workers: *@ret stays NULL where no port has a kernel_interface. 0, or
 * -EINVAL with words in @err. */
NODISCARD int kernel_side_start(struct daemon *d, struct kernel_side **ret, struct cfg_err *err);

/* NULL is allowed below. */
struct punt *kernel_side_punt(struct kernel_side *k);

/* After the workers were made: the mirror starts. */
NODISCARD int kernel_side_follow(struct kernel_side *k, struct cfg_err *err);

/* A few times a second: frees what is over, publishes what had to wait for that. */
void kernel_side_tick(struct kernel_side *k);

/* Next hops in the routes that are mirrored. */
uint32_t kernel_side_hops(const struct kernel_side *k);

/* Before the loop ends; after the workers, and the loop, have. */
void kernel_side_close(struct kernel_side *k);
void kernel_side_free(struct kernel_side *k);

/* `isthmusctl punt`. */
extern const struct cmd kernel_side_cmd;
