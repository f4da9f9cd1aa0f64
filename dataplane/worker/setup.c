#include "dataplane/worker/setup.h"

#include <string.h>

void setup_net_ports(struct net_port_info info[MACHINE_MAX_PORTS], struct ports *ports)
{
    for (uint32_t i = 0; i < ports_count(ports); i++) {
        struct port_info port;

        ports_info(ports, i, &port);
        memcpy(info[i].mac, port.mac, 6);
        info[i].mtu = port.mtu;
        info[i].tx_ip_csum = port.tx_ip_csum;
        info[i].tx_tcp_csum = port.tx_tcp_csum;
        info[i].train_max = port.train_max;
    }
}

struct tcp_conf setup_tcp(const struct machine_conf *m, const struct pkt_pool *pool)
{
    return (struct tcp_conf){
        .max_conns = m->tcp.max_connections,
        .max_half_open = m->tcp.max_half_open,
        .recv_buf = m->tcp.receive_buffer,
        .recv_buf_max = m->tcp.receive_buffer_max,
        .send_buf = m->tcp.send_buffer,
        .send_buf_max = m->tcp.send_buffer_max,
        .notsent_lowat = m->tcp.send_buffer,
        /* A quarter of the packets may wait in grown windows, an eighth out of order. */
        .recv_grow_max = (uint64_t)m->packets / 4 * pool->room,
        .ooo_pkts_all = m->packets / 8,
        .cc = m->tcp.congestion_control == CONGESTION_RENO ? CC_NEWRENO : CC_CUBIC,
        .initial_window = m->tcp.initial_window == 10 ? 0 : m->tcp.initial_window,
        .pacing = m->tcp.pacing,
        .ecn = m->tcp.ecn,
        .time_wait_us = MAX(m->tcp.time_wait_us, 1u),
        .keepalive_us = m->tcp.keepalive_us != 0 ? m->tcp.keepalive_us : UINT64_MAX,
        .user_timeout_us = m->tcp.user_timeout_us,
        .rto_min_us = m->tcp.rto_min_us,
        .delayed_ack_us = m->tcp.delayed_ack_us,
        .recorders = m->tcp.recorders,
        .recorder_records = m->tcp.recorder_records,
        .recorder_episodes = m->tcp.recorder_episodes,
    };
}
