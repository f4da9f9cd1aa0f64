#include "config/model/cluster.h"
#include "config/file/objects.h"
#include "config/model/machine.h"

static int read_endpoint(struct reader *r, const config_setting_t *s, void *element)
{
    struct endpoint_conf *to = element;

    to->where = field_where(r, s);
    return field_ipport(r, s, &to->address);
}

static const char *const policies[] = { "round_robin", NULL };

#define C struct cluster_conf
static const struct field cluster_fields[] = {
    FIELD(FIELD_TEXT, C, name, .required = true,
          .help = "What routes, logs and counters call it, such as "
                  "\"outbound|8000||httpbin.foo.svc.cluster.local\"."),
    FIELD(FIELD_WORD, C, lb_policy, .words = policies, .def = LB_ROUND_ROBIN,
          .help = "How an endpoint is chosen."),
    FIELD_OPTIONAL(C, tls, object_tls, .help = "TLS towards the endpoints. Absent: plaintext."),
    FIELD_AS("connect_timeout", FIELD_DURATION, C, connect_timeout_us, .min = 1000, .max = HOURS,
             .def = 5 * SECONDS, .help = "For TCP and TLS together."),
    FIELD_AS("idle_timeout", FIELD_DURATION, C, idle_timeout_us, .min = 1000, .max = 30 * DAYS,
             .def = HOURS, .help = "How long an unused connection is kept."),
    FIELD(FIELD_NUMBER, C, max_connections, .min = 1, .max = 16 * 1024 * 1024, .def = 1024,
          .help = "Connections of one worker to the whole cluster."),
    FIELD(FIELD_NUMBER, C, max_pending, .max = 16 * 1024 * 1024, .def = 1024,
          .help = "Requests of one worker that wait for a connection."),
    FIELD(FIELD_NUMBER, C, max_requests_per_connection, .max = UINT32_MAX,
          .help = "Requests after which a connection is closed. 0: no limit."),
    FIELD_MANY("source_addresses", FIELD_EACH, C, source_addresses, n_source_addresses,
               .pointer = true, .max = MACHINE_MAX_ADDRS, .each = field_each_ipaddr,
               .form = "IP addresses of ports",
               .help = "Where connections come from, taken in turn: each address has ports of its "
                       "own, some 28,000 for every endpoint. Absent: the address nearest to the "
                       "next hop, and if it has no port left, the others of its prefix."),
    FIELD_MANY("endpoints", FIELD_EACH, C, endpoints, n_endpoints, .pointer = true,
               .may_be_empty = true, .max = 65536, .each = read_endpoint,
               .form = "texts, such as \"10.0.0.1:8080\"",
               .help = "Addresses that serve it. None: requests are answered with 503."),
};
const struct object object_cluster = OBJECT(
    "clusters", C, cluster_fields, .where_at = offsetof(C, where), .help = "A service upstream.");
