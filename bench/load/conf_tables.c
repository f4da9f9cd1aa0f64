#include "bench/load/conf_impl.h"
#include "config/file/objects.h"

#include <errno.h>

/* --- tls: isthmusd's rows, and the files in the place of names of secrets ------------------------
 */

#define TLS_ROWS_MAX 32

static int name_secret(struct reader *r, const config_setting_t *s, void *obj)
{
    struct load_tls_conf *t = obj;

    t->secret.where = t->conf.where;
    if ((t->secret.certificate_chain == NULL) != (t->secret.private_key == NULL))
        return field_err(r, s, "%s is missing",
                         t->secret.private_key == NULL ? "private_key" : "certificate");
    return 0;
}

#define T struct load_tls_conf
static const struct field file_fields[] = {
    FIELD_AS("certificate", FIELD_TEXT, T, secret.certificate_chain,
             .help = "PEM file: our certificate, then its issuers."),
    FIELD_AS("private_key", FIELD_TEXT, T, secret.private_key,
             .help = "PEM file: the key of the certificate."),
    FIELD_AS("trusted_ca", FIELD_TEXT, T, secret.trusted_ca,
             .help = "PEM file: the roots that the peer is verified against."),
    FIELD(FIELD_BOOL, T, resume,
          .help = "Client: resume sessions, each connection by a ticket of an earlier one. OpenSSL "
                  "opens what it receives then, not our own records."),
};
#undef T

static struct field tls_fields[TLS_ROWS_MAX];
static struct object tls_object = {
    .name = "tls",
    .size = sizeof(struct load_tls_conf),
    .where_at = offsetof(struct load_tls_conf, conf.where),
    .fields = tls_fields,
    .check = name_secret,
    .help = "TLS, as of a cluster (client) or of a filter chain (server).",
};

static void make_tls_object(void)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(file_fields); i++)
        tls_fields[n++] = file_fields[i];
    for (size_t i = 0; i < object_tls.n_fields && n < TLS_ROWS_MAX; i++) {
        const char *name = object_tls.fields[i].name;

        if (strcmp(name, "secret") != 0 && strcmp(name, "trust") != 0)
            tls_fields[n++] = object_tls.fields[i];
    }
    tls_object.n_fields = n;
}

/* --- client -------------------------------------------------------------------------------------
 */

static const char *const protocols[] = { "http1", "raw", NULL };

const char *load_protocol_name(enum load_protocol p)
{
    return protocols[p];
}

/* "10.0.0.1:80", or several in a list. */
static int read_target(struct reader *r, const config_setting_t *s, void *obj)
{
    struct load_client_conf *to = obj;
    int rc = 0;

    to->n_targets = 1;
    if (!config_setting_is_aggregate(s))
        return field_ipport(r, s, &to->targets[0]);
    to->n_targets = (uint32_t)config_setting_length(s);
    if (config_setting_is_group(s) || to->n_targets < 1 || to->n_targets > LOAD_MAX_TARGETS)
        return field_err(r, s, "must be an address and port, or a list of 1 to %d of them",
                         LOAD_MAX_TARGETS);
    for (uint32_t i = 0; i < to->n_targets && rc == 0; i++)
        rc = field_ipport(r, config_setting_get_elem(s, i), &to->targets[i]);
    return rc;
}

static int read_rate(struct reader *r, const config_setting_t *s, void *obj)
{
    const int type = config_setting_type(s);
    double rate = config_setting_get_float(s);

    if (type == CONFIG_TYPE_INT)
        rate = config_setting_get_int(s);
    else if (type != CONFIG_TYPE_FLOAT)
        return field_err(r, s, "must be a number of requests a second");
    if (!(rate >= 0 && rate <= 1e9))
        return field_err(r, s, "is not between 0 and 1000000000");
    ((struct load_client_conf *)obj)->rate = rate;
    return 0;
}

#define C struct load_client_conf
static const struct field client_fields[] = {
    { .name = "target",
      .type = FIELD_CUSTOM,
      .required = true,
      .read = read_target,
      .form = "address and port, or a list of up to 64",
      .help = "Where connections go; if there are several, in turn." },
    FIELD(FIELD_WORD, C, protocol, .words = protocols, .def = LOAD_HTTP1,
          .help = "`http1`, or `raw`: bytes that come back."),
    FIELD_MANY("source_addresses", FIELD_EACH, C, source_addresses, n_source_addresses,
               .pointer = true, .max = MACHINE_MAX_PORTS * MACHINE_MAX_ADDRS,
               .each = field_each_ipaddr, .form = "IP addresses of ports",
               .help = "Where connections come from, taken in turn: each address has some 28,000 "
                       "ports for each target. Absent: those of the only port, as far as they are "
                       "of one prefix."),
    FIELD(FIELD_NUMBER, C, connections, .min = 1, .max = 4 * 1024 * 1024, .def = 64,
          .help = "Connections, spread over the workers."),
    { .name = "rate",
      .type = FIELD_CUSTOM,
      .read = read_rate,
      .form = "number",
      .def_text = "0.0",
      .help = "Requests a second, at random moments (Poisson), whether answers come or not. 0: a "
              "connection's next request follows its last answer." },
    FIELD(FIELD_NUMBER, C, requests_per_connection, .max = INT32_MAX,
          .help = "Then the connection is closed, and another opened. 0: no limit."),
    FIELD(FIELD_TEXT, C, method, .def_text = "GET", .help = "HTTP method."),
    FIELD(FIELD_TEXT, C, path, .def_text = "/", .help = "Path, with its query."),
    FIELD(FIELD_TEXT, C, host, .help = "Host header. Default: the (first) target."),
    FIELD(FIELD_SIZE, C, request_body, .max = 1 << 30, .help = "Bytes sent with each request."),
    FIELD_AS("duration", FIELD_DURATION, C, duration_us, .min = 1000, .max = 30 * DAYS,
             .def = 10 * SECONDS, .help = "How long is measured."),
    FIELD_AS("warmup", FIELD_DURATION, C, warmup_us, .max = HOURS, .def = SECONDS,
             .help = "Load before that, which is not counted."),
    FIELD_AS("ramp", FIELD_DURATION, C, ramp_us, .min = 1000, .max = HOURS, .def = 60 * SECONDS,
             .help = "How long to wait for all connections to be open, before the load begins."),
    FIELD_AS("settle", FIELD_DURATION, C, settle_us, .max = HOURS,
             .help = "How long they then do nothing, before the load begins."),
    FIELD_AS("timeout", FIELD_DURATION, C, timeout_us, .min = 1000, .max = HOURS,
             .def = 10 * SECONDS, .help = "A request without its whole answer by then has failed."),
    FIELD_AS("connect_timeout", FIELD_DURATION, C, connect_timeout_us, .min = 1000, .max = HOURS,
             .def = 5 * SECONDS, .help = "For TCP and TLS together."),
    FIELD_OPTIONAL(C, tls, tls_object, .help = "Absent: plaintext."),
};
static const struct object client_object =
    OBJECT("client", C, client_fields, .where_at = offsetof(C, where), .help = "Who asks.");
#undef C

/* --- server, and the whole file -----------------------------------------------------------------
 */

static int read_listen(struct reader *r, const config_setting_t *s, void *obj)
{
    return field_ipport(r, s, &((struct load_server_conf *)obj)->listen);
}

#define S struct load_server_conf
static const struct field server_fields[] = {
    { .name = "listen",
      .type = FIELD_CUSTOM,
      .required = true,
      .read = read_listen,
      .form = "address and port",
      .help = "Where clients come in." },
    FIELD(FIELD_WORD, S, protocol, .words = protocols, .def = LOAD_HTTP1,
          .help = "`http1`, or `raw`: bytes that come go back."),
    FIELD(FIELD_SIZE, S, body, .max = 1 << 30, .def = 1024,
          .help = "Bytes of each answer; a path /bytes/N asks for N."),
    FIELD_OPTIONAL(S, tls, tls_object, .help = "Absent: plaintext."),
};
static const struct object server_object =
    OBJECT("server", S, server_fields, .where_at = offsetof(S, where), .help = "Who answers.");
#undef S

#define L struct load_conf
static const struct field load_fields[] = {
    FIELD(FIELD_GROUP, L, machine, .required = true, .object = &object_machine,
          .help = "Cores, ports and addresses."),
    FIELD_OPTIONAL(L, server_machine, object_machine, .help = "Another, for the server."),
    FIELD_OPTIONAL(L, client, client_object, .help = "Who asks."),
    FIELD_OPTIONAL(L, server, server_object, .help = "Who answers."),
};
static const struct object load_object =
    OBJECT("", L, load_fields, .where_at = -1, .help = "What isthmus-bench does.");
#undef L

const struct object *load_conf_object(void)
{
    make_tls_object();
    return &load_object;
}
