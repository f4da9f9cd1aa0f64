#include "config/model/dump.h"

#include <inttypes.h>
#include <stdio.h>

/* jansson takes the reference also when it fails, and NULL is a failure: so sums of these hold. */
static void set(json_t *to, const char *name, json_t *value)
{
    (void)json_object_set_new(to, name, value);
}

/* Absent stays absent. So does a path that is not UTF-8: it has no place in JSON. */
static void set_text(json_t *to, const char *name, const char *value)
{
    if (value != NULL)
        set(to, name, json_string(value));
}

static void set_number(json_t *to, const char *name, uint64_t value)
{
    set(to, name, json_integer((json_int_t)value));
}

static void set_bool(json_t *to, const char *name, bool value)
{
    set(to, name, json_boolean(value));
}

static void set_texts(json_t *to, const char *name, uint32_t n, const char *const *texts)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < n; i++)
        (void)json_array_append_new(array, json_string(texts[i]));
    set(to, name, array);
}

static void set_where(json_t *to, const struct cfg_where *where)
{
    if (where->file != NULL)
        set(to, "where", json_sprintf("%s:%u", where->file, where->line));
}

static void set_prefix(json_t *to, const char *name, const struct ipaddr *addr, unsigned len)
{
    char ip[IPADDR_STRLEN], text[IPADDR_STRLEN + 8];

    snprintf(text, sizeof(text), "%s/%u", ipaddr_str(addr, ip), len);
    if (name != NULL)
        set_text(to, name, text);
    else
        (void)json_array_append_new(to, json_string(text));
}

static json_t *dump_port(const struct port_conf *p)
{
    static const char *const devices[] = { "pci",   "af_xdp", "af_packet", "tap",
                                           "memif", "ring",   "pcap" };
    json_t *to = json_object(), *addrs = json_array();

    set_text(to, "name", p->name);
    set_text(to, "device", devices[p->device]);
    set_text(to, "interface", p->interface);
    set_text(to, "pci", p->pci);
    set_text(to, "socket", p->socket);
    if (p->device == PORT_MEMIF) {
        set_number(to, "memif_id", p->memif_id);
        set_bool(to, "memif_server", p->memif_server);
    }
    set_text(to, "ring_peer", p->ring_peer);
    set_text(to, "pcap_rx", p->pcap_rx);
    set_text(to, "pcap_tx", p->pcap_tx);
    set_text(to, "mac", p->mac);
    set_number(to, "mtu", p->mtu);
    set_number(to, "mss", p->mss);
    set_number(to, "duplicate_probes", p->duplicate_probes);
    set_bool(to, "router_advertisements", p->router_advertisements);
    set_number(to, "queues", p->queues);
    set_number(to, "rx_descriptors", p->rx_descriptors);
    set_number(to, "tx_descriptors", p->tx_descriptors);
    for (uint32_t i = 0; i < p->n_addrs; i++) {
        json_t *addr = json_object();

        set_prefix(addr, "address", &p->addrs[i].addr, p->addrs[i].prefix_len);
        if (p->addrs[i].vlan != 0)
            set_number(addr, "vlan", p->addrs[i].vlan);
        (void)json_array_append_new(addrs, addr);
    }
    set(to, "addresses", addrs);
    set_text(to, "kernel_interface", p->kernel_interface);
    if (p->kernel_interface != NULL)
        set_bool(to, "kernel_addresses", p->kernel_addresses);
    set_where(to, &p->where);
    return to;
}

static json_t *dump_fixed_route(const struct fixed_route_conf *r)
{
    static const char *const types[] = { "forward", "blackhole", "unreachable" };
    json_t *to = json_object(), *hops = json_array();
    char via[IPADDR_STRLEN];

    set_prefix(to, "prefix", &r->prefix.addr, r->prefix.len);
    for (uint32_t i = 0; i < MACHINE_MAX_HOPS && r->via[i].family != IP_NONE; i++)
        (void)json_array_append_new(hops, json_string(ipaddr_str(&r->via[i], via)));
    set(to, "via", hops);
    set_text(to, "port", r->port);
    set_text(to, "type", types[r->type]);
    set_where(to, &r->where);
    return to;
}

static json_t *dump_punt(const struct punt_conf *u)
{
    json_t *to = json_object(), *ports = json_array();

    if (u->protocol != 0)
        set_number(to, "protocol", u->protocol);
    else
        set_number(to, "ethertype", u->ethertype);
    for (uint32_t i = 0; i < u->n_ports; i++)
        (void)json_array_append_new(ports, json_integer(u->ports[i]));
    set(to, "ports", ports);
    set_text(to, "port", u->port);
    set_number(to, "rate", u->rate);
    set_where(to, &u->where);
    return to;
}

static json_t *dump_tcp(const struct machine_conf *m)
{
    json_t *to = json_object();

    set_number(to, "max_connections", m->tcp.max_connections);
    set_number(to, "max_half_open", m->tcp.max_half_open);
    set_number(to, "receive_buffer", m->tcp.receive_buffer);
    set_number(to, "receive_buffer_max", m->tcp.receive_buffer_max);
    set_number(to, "send_buffer", m->tcp.send_buffer);
    set_number(to, "send_buffer_max", m->tcp.send_buffer_max);
    set_text(to, "congestion_control",
             m->tcp.congestion_control == CONGESTION_RENO ? "reno" : "cubic");
    set_number(to, "initial_window", m->tcp.initial_window);
    set(to, "pacing", json_boolean(m->tcp.pacing));
    set(to, "ecn", json_boolean(m->tcp.ecn));
    set(to, "segmentation_offload", json_boolean(m->tcp.segmentation_offload));
    set(to, "receive_offload", json_boolean(m->tcp.receive_offload));
    set_number(to, "time_wait_us", m->tcp.time_wait_us);
    set_number(to, "keepalive_us", m->tcp.keepalive_us);
    set_number(to, "user_timeout_us", m->tcp.user_timeout_us);
    set_number(to, "delayed_ack_us", m->tcp.delayed_ack_us);
    set_number(to, "min_rto_us", m->tcp.rto_min_us);
    set_number(to, "recorders", m->tcp.recorders);
    set_number(to, "recorder_records", m->tcp.recorder_records);
    set_number(to, "recorder_episodes", m->tcp.recorder_episodes);
    return to;
}

/* An array of what @dump makes of each element. */
#define SET_EACH(to, name, array, n, dump)                                                         \
    do {                                                                                           \
        json_t *each_ = json_array();                                                              \
        for (uint32_t i_ = 0; i_ < (n); i_++)                                                      \
            (void)json_array_append_new(each_, dump(&(array)[i_]));                                \
        set((to), (name), each_);                                                                  \
    } while (0)

static json_t *dump_core(const int32_t *core)
{
    return *core >= 0 ? json_integer(*core) : json_null();
}

static json_t *dump_machine(const struct machine_conf *m)
{
    json_t *to = json_object();

    set_number(to, "workers", m->n_workers);
    SET_EACH(to, "cores", m->cores, m->n_workers, dump_core);
    set_number(to, "helpers", m->n_helpers);
    SET_EACH(to, "helper_cores", m->helper_cores, m->n_helpers, dump_core);
    set_text(to, "idle", m->idle == IDLE_SPIN ? "spin" : "adaptive");
    set_bool(to, "hugepages", m->hugepages);
    set_number(to, "memory_mb", m->memory_mb);
    set_number(to, "packets", m->packets);
    set_text(to, "file_prefix", m->file_prefix);
    set_texts(to, "eal", m->n_eal, m->eal);
    SET_EACH(to, "ports", m->ports, m->n_ports, dump_port);
    SET_EACH(to, "routes", m->routes, m->n_routes, dump_fixed_route);
    SET_EACH(to, "punt", m->punts, m->n_punts, dump_punt);
    set_number(to, "punt_rate", m->punt_rate);
    set_number(to, "punt_burst", m->punt_burst);
    set_bool(to, "mirror_routes", m->mirror_routes);
    set_bool(to, "mirror_neighbors", m->mirror_neighbors);
    set(to, "tcp", dump_tcp(m));
    set_where(to, &m->where);
    return to;
}

static json_t *dump_control(const struct control_conf *c)
{
    json_t *to = json_object();
    char mode[16];

    set_text(to, "socket", c->socket);
    snprintf(mode, sizeof(mode), "%04o", c->mode);
    set_text(to, "mode", mode);
    set_number(to, "drain_time_us", c->drain_time_us);
    set_where(to, &c->where);
    return to;
}

static json_t *dump_access_log(const struct access_log_conf *a)
{
    json_t *to = json_object();

    set_text(to, "name", a->name);
    set_text(to, "path", a->path);
    set_text(to, "format", a->format);
    set_where(to, &a->where);
    return to;
}

static json_t *dump_secret(const struct secret_conf *x)
{
    json_t *to = json_object();

    set_text(to, "name", x->name);
    set_text(to, "certificate_chain", x->certificate_chain);
    set_text(to, "private_key", x->private_key);
    set_text(to, "trusted_ca", x->trusted_ca);
    set_where(to, &x->where);
    return to;
}

static json_t *dump_peer_id(const struct peer_id_conf *p)
{
    return json_sprintf("%s%s", p->text, p->is_prefix ? "*" : "");
}

static void set_tls(json_t *in, const struct tls_conf *t)
{
    json_t *to;

    if (t == NULL)
        return;
    to = json_object();
    set_text(to, "mode", t->mode == TLS_MODE_MUTUAL ? "mutual" : "simple");
    set_text(to, "secret", t->secret);
    set_text(to, "trust", t->trust);
    set_text(to, "sni", t->sni);
    set_texts(to, "alpn", t->n_alpn, t->alpn);
    set_text(to, "min_version", t->min_version == TLS_VERSION_1_3 ? "1.3" : "1.2");
    set_text(to, "max_version", t->max_version == TLS_VERSION_1_3 ? "1.3" : "1.2");
    set_text(to, "cipher_list", t->cipher_list);
    set_text(to, "trust_domain", t->trust_domain);
    set_texts(to, "trust_domain_aliases", t->n_trust_domain_aliases, t->trust_domain_aliases);
    SET_EACH(to, "peer_ids", t->peer_ids, t->n_peer_ids, dump_peer_id);
    set_texts(to, "dns_names", t->n_dns_names, t->dns_names);
    set_bool(to, "session_tickets", t->session_tickets);
    set_number(to, "handshake_timeout_us", t->handshake_timeout_us);
    set_where(to, &t->where);
    set(in, "tls", to);
}

static json_t *dump_endpoint(const struct endpoint_conf *e)
{
    char text[IPPORT_STRLEN];

    return json_string(ipport_str(&e->address, text));
}

static json_t *dump_ipaddr(const struct ipaddr *a)
{
    char text[IPADDR_STRLEN];

    return json_string(ipaddr_str(a, text));
}

static json_t *dump_cluster(const struct cluster_conf *c)
{
    json_t *to = json_object();

    set_text(to, "name", c->name);
    switch (c->lb_policy) {
    case LB_ROUND_ROBIN:
        set_text(to, "lb_policy", "round_robin");
        break;
    }
    set_tls(to, c->tls);
    set_number(to, "connect_timeout_us", c->connect_timeout_us);
    set_number(to, "idle_timeout_us", c->idle_timeout_us);
    set_number(to, "max_connections", c->max_connections);
    set_number(to, "max_pending", c->max_pending);
    set_number(to, "max_requests_per_connection", c->max_requests_per_connection);
    if (c->n_source_addresses > 0)
        SET_EACH(to, "source_addresses", c->source_addresses, c->n_source_addresses, dump_ipaddr);
    SET_EACH(to, "endpoints", c->endpoints, c->n_endpoints, dump_endpoint);
    set_where(to, &c->where);
    return to;
}

static json_t *dump_route(const struct route_conf *r)
{
    json_t *to = json_object();

    set_text(to, "name", r->name);
    set_text(to, r->match == PATH_PREFIX ? "prefix" : "path", r->path);
    set_text(to, "cluster", r->cluster);
    set_number(to, "timeout_us", r->timeout_us);
    if (r->idle_timeout_us != 0)
        set_number(to, "idle_timeout_us", r->idle_timeout_us);
    set_where(to, &r->where);
    return to;
}

static json_t *dump_vhost(const struct vhost_conf *v)
{
    json_t *to = json_object();

    set_text(to, "name", v->name);
    set_texts(to, "domains", v->n_domains, v->domains);
    SET_EACH(to, "routes", v->routes, v->n_routes, dump_route);
    set_where(to, &v->where);
    return to;
}

static json_t *dump_route_config(const struct route_config_conf *c)
{
    json_t *to = json_object();

    set_text(to, "name", c->name);
    SET_EACH(to, "virtual_hosts", c->vhosts, c->n_vhosts, dump_vhost);
    set_where(to, &c->where);
    return to;
}

static json_t *dump_http(const struct http_chain_conf *h)
{
    static const char *const xfcc_modes[] = { "sanitize", "forward_only", "append_forward",
                                              "sanitize_set", "always_forward_only" };
    json_t *to = json_object();

    set_text(to, "stat_prefix", h->stat_prefix);
    set_text(to, "route_config", h->route_config);
    set_text(to, "server_name", h->server_name);
    set_text(to, "access_log", h->access_log);
    set_text(to, "forward_client_cert", xfcc_modes[h->forward_client_cert]);
    set_bool(to, "set_subject", h->set_subject);
    set_bool(to, "set_uri", h->set_uri);
    set_bool(to, "set_dns", h->set_dns);
    set_bool(to, "use_remote_address", h->use_remote_address);
    set_number(to, "xff_trusted_hops", h->xff_trusted_hops);
    set_bool(to, "preserve_request_id", h->preserve_request_id);
    set_number(to, "idle_timeout_us", h->idle_timeout_us);
    set_number(to, "headers_timeout_us", h->headers_timeout_us);
    set_number(to, "stream_idle_timeout_us", h->stream_idle_timeout_us);
    set_number(to, "request_timeout_us", h->request_timeout_us);
    set_number(to, "delayed_close_us", h->delayed_close_us);
    set_number(to, "max_header_size", h->max_header_bytes);
    set_number(to, "max_headers", h->max_fields);
    set_where(to, &h->where);
    return to;
}

static json_t *dump_tcp_chain(const struct tcp_chain_conf *t)
{
    json_t *to = json_object();

    set_text(to, "stat_prefix", t->stat_prefix);
    set_text(to, "cluster", t->cluster);
    set_text(to, "access_log", t->access_log);
    set_number(to, "idle_timeout_us", t->idle_timeout_us);
    set_where(to, &t->where);
    return to;
}

static json_t *dump_chain(const struct chain_conf *c)
{
    json_t *to = json_object(), *destinations = json_array();

    set_text(to, "name", c->name);
    set_texts(to, "server_names", c->n_server_names, c->server_names);
    for (uint32_t i = 0; i < c->n_destinations; i++)
        set_prefix(destinations, NULL, &c->destinations[i].addr, c->destinations[i].len);
    set(to, "destinations", destinations);
    set_tls(to, c->tls);
    switch (c->kind) {
    case CHAIN_HTTP:
        set(to, "http", dump_http(c->http));
        break;
    case CHAIN_TCP:
        set(to, "tcp", dump_tcp_chain(c->tcp));
        break;
    }
    set_where(to, &c->where);
    return to;
}

static json_t *dump_listener(const struct listener_conf *l)
{
    char address[IPPORT_STRLEN];
    json_t *to = json_object();

    set_text(to, "name", l->name);
    set_text(to, "address", ipport_str(&l->address, address));
    set_number(to, "hello_timeout_us", l->hello_timeout_us);
    SET_EACH(to, "filter_chains", l->chains, l->n_chains, dump_chain);
    set_where(to, &l->where);
    return to;
}

json_t *snapshot_dump(const struct snapshot *s)
{
    json_t *to = json_object();

    set_text(to, "source", s->source);
    set(to, "machine", dump_machine(&s->machine));
    set(to, "control", dump_control(&s->control));
    SET_EACH(to, "access_logs", s->access_logs, s->n_access_logs, dump_access_log);
    SET_EACH(to, "secrets", s->secrets, s->n_secrets, dump_secret);
    SET_EACH(to, "clusters", s->clusters, s->n_clusters, dump_cluster);
    SET_EACH(to, "route_configs", s->route_configs, s->n_route_configs, dump_route_config);
    SET_EACH(to, "listeners", s->listeners, s->n_listeners, dump_listener);
    return to;
}
