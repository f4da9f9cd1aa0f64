#include "config/model/tls.h"
#include "config/file/objects.h"

static int read_peer_id(struct reader *r, const config_setting_t *s, void *element)
{
    struct peer_id_conf *to = element;
    const char *value;
    int rc = field_text(r, s, &value);
    size_t len;

    if (rc < 0)
        return rc;
    len = strlen(value);
    to->is_prefix = value[len - 1] == '*';
    to->text = to->is_prefix ? arena_strndup(r->arena, value, len - 1) : value;
    if (strchr(to->text, '*') != NULL)
        return field_err(r, s, "\"%s\": a star may stand at the end only", value);
    return 0;
}

static const char *const modes[] = { "simple", "mutual", NULL };
static const char *const versions[] = { "1.2", "1.3", NULL };

#define T struct tls_conf
static const struct field tls_fields[] = {
    FIELD(FIELD_WORD, T, mode, .required = true, .words = modes,
          .help = "`simple`: the server shows a certificate. `mutual`: both sides do."),
    FIELD(FIELD_TEXT, T, secret,
          .help = "Secret with our certificate. Needed but for a `simple` client."),
    FIELD(FIELD_TEXT, T, trust,
          .help = "Secret whose roots verify the peer. Default: those of `secret`."),
    FIELD(FIELD_TEXT, T, sni, .help = "Client: server name to ask for."),
    FIELD_MANY("alpn", FIELD_EACH, T, alpn, n_alpn, .pointer = true, .may_be_empty = true, .max = 8,
               .each = field_each_text, .form = "texts, such as \"http/1.1\"",
               .help = "Protocols to offer or to accept, the preferred one first."),
    FIELD(FIELD_WORD, T, min_version, .words = versions, .def = TLS_VERSION_1_2,
          .help = "Oldest version of TLS."),
    FIELD(FIELD_WORD, T, max_version, .words = versions, .def = TLS_VERSION_1_3,
          .help = "Newest version of TLS."),
    FIELD(FIELD_TEXT, T, cipher_list,
          .help = "Suites of TLS 1.2, in OpenSSL's words: of AES and ChaCha20, with RSA or ECDHE. "
                  "Default: "
                  "those with forward secrecy and AEAD."),
    FIELD(FIELD_TEXT, T, trust_domain, .def_text = "cluster.local",
          .help = "SPIFFE trust domain of the mesh."),
    FIELD_MANY("trust_domain_aliases", FIELD_EACH, T, trust_domain_aliases, n_trust_domain_aliases,
               .pointer = true, .may_be_empty = true, .max = 64, .each = field_each_text,
               .form = "texts", .help = "Trust domains that stand for the same mesh."),
    FIELD_MANY("peer_ids", FIELD_EACH, T, peer_ids, n_peer_ids, .pointer = true, .max = 1024,
               .each = read_peer_id,
               .form = "texts, such as \"spiffe://cluster.local/ns/foo/sa/*\"",
               .help = "Who the peer may be: its URI SAN is one of these, or begins with one that "
                       "ends in a star. Absent, on a `mutual` server: everybody in the trust "
                       "domain."),
    FIELD_MANY("dns_names", FIELD_EACH, T, dns_names, n_dns_names, .pointer = true, .max = 1024,
               .each = field_each_text, .form = "texts",
               .help = "Client: DNS names of which the server's certificate must hold one. Absent: "
                       "`sni`, unless there are `peer_ids`."),
    FIELD(FIELD_BOOL, T, session_tickets, .def = true, .help = "Server: let clients resume."),
    FIELD_AS("handshake_timeout", FIELD_DURATION, T, handshake_timeout_us, .min = 1000,
             .max = HOURS, .def = 15 * SECONDS, .help = "How long a handshake may take."),
};
const struct object object_tls =
    OBJECT("tls", T, tls_fields, .where_at = offsetof(T, where),
           .help = "TLS of a filter chain (as server) or of a cluster (as client). A peer is "
                   "accepted for who it is, never for a valid chain alone.");
