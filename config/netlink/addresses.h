/*
 * addresses.h - gives an interface of the kernel's the addresses of its port
 *
 * At the start, by the control thread, which waits for the kernel's answer to each. No duplicates
 * are looked for (the gateway has done so, or does): IFA_F_NODAD.
 */
#pragma once

#include "config/model/machine.h"
#include "config/model/where.h"

/* The untagged addresses of @conf for its kernel_interface, and @link_local if it is not NULL. 0,
 * or -EINVAL with words in @err. */
NODISCARD int addresses_give(const struct port_conf *conf, const struct ipaddr *link_local,
                             struct cfg_err *err);
