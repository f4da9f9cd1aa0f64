#include "config/model/listener.h"
#include "config/file/objects.h"

static int read_address(struct reader *r, const config_setting_t *s, void *obj)
{
    return field_ipport(r, s, &((struct listener_conf *)obj)->address);
}

static int read_destination(struct reader *r, const config_setting_t *s, void *element)
{
    const char *value;
    int rc = field_text(r, s, &value);

    if (rc < 0)
        return rc;
    if (!ipprefix_parse(slice_of(value), true, element))
        return field_err(r, s,
                         "\"%s\" is not a prefix such as \"10.0.0.0/8\" (bits beyond its "
                         "length must be zero)",
                         value);
    return 0;
}

static const char *const xfcc_modes[] = { "sanitize",     "forward_only",        "append_forward",
                                          "sanitize_set", "always_forward_only", NULL };

#define H struct http_chain_conf
static const struct field http_fields[] = {
    FIELD(FIELD_TEXT, H, stat_prefix, .def_text = "the listener's name",
          .help = "Names its counters."),
    FIELD(FIELD_TEXT, H, route_config, .required = true, .help = "Routes of its requests."),
    FIELD(FIELD_TEXT, H, server_name, .may_be_empty = true, .def_text = "istio-envoy",
          .help = "`server` field of responses. Empty: the upstream's is passed on."),
    FIELD(FIELD_TEXT, H, access_log, .help = "Access log. Absent: none."),
    FIELD(FIELD_WORD, H, forward_client_cert, .words = xfcc_modes, .def = XFCC_SANITIZE,
          .help = "What becomes of `x-forwarded-client-cert`: removed; passed on over mTLS; "
                  "ours appended; replaced by ours; always passed on."),
    FIELD(FIELD_BOOL, H, set_subject, .help = "Our element of it has Subject."),
    FIELD(FIELD_BOOL, H, set_uri, .help = "Our element of it has URI."),
    FIELD(FIELD_BOOL, H, set_dns, .help = "Our element of it has DNS."),
    FIELD(FIELD_BOOL, H, use_remote_address, .def = true,
          .help = "We are the edge: the client's address is the peer's, and fields that only an "
                  "inner proxy may set are not believed."),
    FIELD(FIELD_NUMBER, H, xff_trusted_hops, .max = 32,
          .help = "Trusted proxies in front of us, counted from the right of `x-forwarded-for`."),
    FIELD(FIELD_BOOL, H, preserve_request_id, .help = "Keep an `x-request-id` from outside."),
    FIELD_AS("idle_timeout", FIELD_DURATION, H, idle_timeout_us, .max = 30 * DAYS, .def = HOURS,
             .help = "For a connection without a request. 0s: none."),
    FIELD_AS("headers_timeout", FIELD_DURATION, H, headers_timeout_us, .max = DAYS,
             .def = 60 * SECONDS,
             .help = "From the first byte of a request to the end of its header. 0s: none."),
    FIELD_AS("stream_idle_timeout", FIELD_DURATION, H, stream_idle_timeout_us, .max = 30 * DAYS,
             .def = 300 * SECONDS, .help = "How long nothing may move on a stream. 0s: none."),
    FIELD_AS("request_timeout", FIELD_DURATION, H, request_timeout_us, .max = 30 * DAYS,
             .help = "Until a request has been received in full. 0s: none."),
    FIELD_AS("delayed_close", FIELD_DURATION, H, delayed_close_us, .max = 60 * SECONDS,
             .def = SECONDS, .help = "How long we wait for the peer's close after ours."),
    FIELD_AS("max_header_size", FIELD_SIZE, H, max_header_bytes, .min = 1024, .max = 1 << 20,
             .def = 60 * 1024, .help = "Header of a request; a larger one is answered with 431."),
    FIELD_AS("max_headers", FIELD_NUMBER, H, max_fields, .min = 1, .max = 100, .def = 100,
             .help = "Fields of a header; more are answered with 431."),
};
static const struct object http_object =
    OBJECT("http", H, http_fields, .where_at = offsetof(H, where),
           .help = "Requests are read and routed one by one.");
#undef H

#define T struct tcp_chain_conf
static const struct field tcp_fields[] = {
    FIELD(FIELD_TEXT, T, stat_prefix, .def_text = "the listener's name",
          .help = "Names its counters."),
    FIELD(FIELD_TEXT, T, cluster, .required = true, .help = "Cluster the connection goes to."),
    FIELD(FIELD_TEXT, T, access_log, .help = "Access log. Absent: none."),
    FIELD_AS("idle_timeout", FIELD_DURATION, T, idle_timeout_us, .max = 30 * DAYS, .def = HOURS,
             .help = "How long nothing may move. 0s: none."),
};
static const struct object tcp_object = OBJECT("tcp", T, tcp_fields, .where_at = offsetof(T, where),
                                               .help = "Bytes are passed on as they are.");
#undef T

static int check_chain(struct reader *r, const config_setting_t *s, void *obj)
{
    struct chain_conf *c = obj;

    if ((c->http != NULL) == (c->tcp != NULL))
        return field_err(r, s,
                         c->http != NULL ? "a chain has http or tcp, not both"
                                         : "http is missing (or tcp)");
    c->kind = c->http != NULL ? CHAIN_HTTP : CHAIN_TCP;
    return 0;
}

#define C struct chain_conf
static const struct field chain_fields[] = {
    FIELD(FIELD_TEXT, C, name, .def_text = "the listener's name and a number", .help = "For logs."),
    FIELD_MANY("server_names", FIELD_EACH, C, server_names, n_server_names, .pointer = true,
               .max = 4096, .each = field_each_text, .form = "texts: \"a.example\", \"*.example\"",
               .help = "TLS server names it is for. Absent: any, and none."),
    FIELD_MANY("destinations", FIELD_EACH, C, destinations, n_destinations, .pointer = true,
               .max = 256, .each = read_destination, .form = "texts, such as \"10.0.0.0/8\"",
               .help = "Addresses of ours it is for. Absent: any."),
    FIELD_OPTIONAL(C, tls, object_tls, .help = "TLS towards clients. Absent: plaintext."),
    FIELD_OPTIONAL(C, http, http_object, .help = "Forward requests. Either this or `tcp`."),
    FIELD_OPTIONAL(C, tcp, tcp_object, .help = "Forward bytes."),
};
static const struct object chain_object =
    OBJECT("filter_chains", C, chain_fields, .where_at = offsetof(C, where), .check = check_chain,
           .help = "What becomes of a connection. The most specific match is taken: destination, "
                   "then server name.");
#undef C

/* Names that were left out. */
static int check_listener(struct reader *r, const config_setting_t *s, void *obj)
{
    struct listener_conf *l = obj;

    for (uint32_t i = 0; i < l->n_chains; i++) {
        struct chain_conf *c = &l->chains[i];

        if (config_setting_get_member(
                config_setting_get_elem(config_setting_get_member(s, "filter_chains"), i),
                "name") == NULL)
            c->name = arena_printf(r->arena, "%s.%u", l->name, i);
        if (c->http != NULL && c->http->stat_prefix == http_fields[0].def_text)
            c->http->stat_prefix = l->name;
        if (c->tcp != NULL && c->tcp->stat_prefix == tcp_fields[0].def_text)
            c->tcp->stat_prefix = l->name;
    }
    return 0;
}

#define L struct listener_conf
static const struct field listener_fields[] = {
    FIELD(FIELD_TEXT, L, name, .required = true, .help = "For logs and counters."),
    FIELD(FIELD_CUSTOM, L, address, .required = true, .read = read_address,
          .form = "text, such as \"0.0.0.0:443\" or \"[::]:443\"",
          .help = "Where it listens. 0.0.0.0 and [::] stand for every address of ours."),
    FIELD_AS("hello_timeout", FIELD_DURATION, L, hello_timeout_us, .min = 1000, .max = HOURS,
             .def = 15 * SECONDS,
             .help = "How long a client may take until its first bytes choose a chain."),
    FIELD_MANY("filter_chains", FIELD_LIST, L, chains, n_chains, .required = true, .pointer = true,
               .max = 4096, .object = &chain_object, .help = "What becomes of its connections."),
};
const struct object object_listener =
    OBJECT("listeners", L, listener_fields, .where_at = offsetof(L, where), .check = check_listener,
           .help = "Where clients come in.");
