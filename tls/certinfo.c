#include "tls/certinfo.h"

#include "dataplane/base/compiler.h"
#include "tls/hostname.h"

#include <openssl/err.h>
#include <stdio.h>
#include <time.h>

bool cert_sans(X509 *cert, GENERAL_NAMES **ret)
{
    int found;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &found, NULL);

    /* -1: there is none; -2: several, of which a verifier might see the other one. */
    if (names == NULL && found != -1)
        return false;
    *ret = names;
    return true;
}

struct slice cert_san(const GENERAL_NAME *name, int type)
{
    const ASN1_STRING *s;

    if (name->type != type)
        return SLICE_NONE;
    s = name->d.ia5; /* the same member for URI, DNS and e-mail */
    return (struct slice){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) };
}

bool cert_time(const ASN1_TIME *t, int64_t *ret)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *ret = timegm(&tm);
    return true;
}

static void put_uri(struct cert_text *to, struct slice uri)
{
    if (uri.ptr == NULL || to->uri[0] != '\0' || uri.len >= sizeof(to->uri))
        return;
    for (size_t i = 0; i < uri.len; i++) {
        if (uri.ptr[i] <= 0x20 || uri.ptr[i] >= 0x7f)
            return;
    }
    memcpy(to->uri, uri.ptr, uri.len);
    to->uri[uri.len] = '\0';
}

static void put_dns(struct cert_text *to, struct slice name)
{
    bool has_star = slice_starts(name, SLICE("*."));
    size_t used = strlen(to->dns);
    char plain[HOSTNAME_MAX + 1];

    if (!hostname_copy(has_star ? slice_skip(name, 2) : name, plain))
        return;
    if (used + strlen(plain) + sizeof(",*.") > sizeof(to->dns))
        return;
    snprintf(to->dns + used, sizeof(to->dns) - used, "%s%s%s", used > 0 ? "," : "",
             has_star ? "*." : "", plain);
}

static bool put_subject(X509 *cert, char *to, size_t room)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    if (bio == NULL)
        return false;
    to[0] = '\0';
    if (X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
        len = BIO_get_mem_data(bio, &text);
        if (len > 0 && (size_t)len < room) {
            memcpy(to, text, (size_t)len);
            to[len] = '\0';
        }
    }
    BIO_free(bio);
    return true;
}

static bool put_fingerprint(X509 *cert, char *to)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len;

    if (X509_digest(cert, EVP_sha256(), hash, &len) != 1)
        return false;
    for (unsigned i = 0; i < len; i++)
        snprintf(to + 2 * i, 3, "%02x", hash[i]);
    return true;
}

bool cert_text(X509 *cert, struct cert_text *ret)
{
    GENERAL_NAMES *names;

    ret->uri[0] = ret->dns[0] = '\0';
    if (!put_subject(cert, ret->subject, sizeof(ret->subject)) ||
        !put_fingerprint(cert, ret->fingerprint) || !cert_sans(cert, &names))
        return false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        put_uri(ret, cert_san(name, GEN_URI));
        put_dns(ret, cert_san(name, GEN_DNS));
    }
    GENERAL_NAMES_free(names);
    return true;
}
