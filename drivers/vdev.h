/*
 * vdev.h - virtual devices: from a port's settings to an ethdev
 *
 * `af_packet`, `af_xdp`, `tap`, `memif` and `pcap` are DPDK drivers with
 * arguments of their own; `ring` is a pair of ports inside this process. What
 * each can do is in the README's table of ports.
 */
#pragma once

#include "config/model/machine.h"
#include "config/model/where.h"

/*
 * Makes the device of @conf, port @index of @machine, with @n_queues queues. Sets *@ethdev to
 * DPDK's port number. 0 or -errno with words in @err. May lower *@n_queues to what the device has.
 */
NODISCARD int vdev_open(const struct machine_conf *machine, uint32_t index, uint16_t *n_queues,
                        uint16_t *ethdev, struct cfg_err *err);

/* What the ethdev is to be told, so that it takes IP packets of @mtu, also if it is to cut them
 * from longer ones (@tso). */
uint16_t vdev_mtu(const struct port_conf *conf, uint16_t mtu, bool tso);

/* May the port be given trains of IPv6, if it cuts up any? */
bool vdev_cuts_ip6(const struct port_conf *conf);

/* After the ethdev was started, which undoes some of what was set before. 0 or -errno. */
NODISCARD int vdev_started(const struct port_conf *conf, uint16_t ethdev, uint16_t mtu);

/* After the ethdev was closed. */
void vdev_close(const struct machine_conf *machine, uint32_t index);
