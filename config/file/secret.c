#include "config/model/secret.h"
#include "config/file/objects.h"

#define S struct secret_conf
static const struct field secret_fields[] = {
    FIELD(FIELD_TEXT, S, name, .required = true, .help = "What a `tls` group calls it."),
    FIELD(FIELD_TEXT, S, certificate_chain, .help = "PEM file: our certificate, then its issuers."),
    FIELD(FIELD_TEXT, S, private_key, .help = "PEM file: the key of the certificate."),
    FIELD(FIELD_TEXT, S, trusted_ca,
          .help = "PEM file: the roots that peers are verified against."),
};
const struct object object_secret =
    OBJECT("secrets", S, secret_fields, .where_at = offsetof(S, where),
           .help = "A certificate with its key, a set of trusted roots, or both. The files are "
                   "watched: a new set takes effect once it is whole.");
