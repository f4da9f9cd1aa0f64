/*
 * offload.h - what a port does not do itself, done in software
 *
 * Sending (TSO, or GSO as it is called in software): a train (base/pkt.h) that the port
 * cannot cut up is cut up here, at the last moment before it is sent. Nothing is
 * allocated: each packet gets headers of its own in its headroom, copied from the head.
 *
 *      head: headers of all + bytes --more--> bytes --more--> bytes
 *      becomes headers + bytes,    headers + bytes,    headers + bytes
 *
 * Receiving (LRO, or a frame longer than a buffer): a port hands such a frame over in
 * several buffers. If it is a TCP segment it becomes a train as net knows it from its own
 * merging (net/gro.h); anything else goes into one buffer or is dropped.
 *
 * Plain functions on packets, without DPDK, so that tests' ports use them too.
 */
#pragma once

#include "dataplane/base/pkt.h"

/*
 * Cuts up @train, whose head is a whole frame as net_tx() makes it, into the frames that TCP would
 * have sent one by one; @to, of PKT_TRAIN_MAX, gets them. Checksums: of IP as the head's flags say,
 * of TCP by the port (@tcp_csum) or here. Returns how many. A single packet is one frame already.
 */
unsigned offload_split(struct pkt *train, bool tcp_csum, struct pkt **to);

/*
 * A received frame that lies in several buffers, none of them empty: @frame, with what the port
 * says of the checksums (if it is made of several segments: that they are good), and those coupled
 * to it. Takes it, and returns a packet, or a train whose head has headers for itself alone and
 * that is checked (PKT_RX_L4_CSUM_GOOD or _BAD). NULL: it is neither TCP nor fits one buffer, and
 * is gone.
 */
struct pkt *offload_join(struct pkt *frame);
