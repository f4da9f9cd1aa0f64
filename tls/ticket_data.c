#include "tls/ticket_data.h"

#include "dataplane/base/compiler.h"
#include "tls/next.h"
#include "tls/schedule.h"

#include <openssl/asn1.h>
#include <openssl/x509.h>
#include <string.h>

bool ticket_data_put(SSL_SESSION *session, int64_t valid_until, X509 *cert)
{
    const int len = cert != NULL ? i2d_X509(cert, NULL) : 0;
    uint8_t *data = len >= 0 ? OPENSSL_malloc(sizeof(valid_until) + (size_t)len) : NULL;
    unsigned char *at;
    bool ok;

    if (data == NULL)
        return false;
    memcpy(data, &valid_until, sizeof(valid_until));
    at = data + sizeof(valid_until);
    ok = (cert == NULL || i2d_X509(cert, &at) == len) &&
         SSL_SESSION_set1_ticket_appdata(session, data, sizeof(valid_until) + (size_t)len) == 1;
    OPENSSL_free(data);
    return ok;
}

bool ticket_data_get(const SSL_SESSION *session, struct ticket_data *ret)
{
    const size_t time_len = sizeof(ret->valid_until);
    void *data;
    size_t len;

    if (SSL_SESSION_get0_ticket_appdata((SSL_SESSION *)session, &data, &len) != 1 || len < time_len)
        return false;
    memcpy(&ret->valid_until, data, time_len);
    ret->cert = len > time_len ? (struct slice){ (const char *)data + time_len, len - time_len }
                               : SLICE_NONE;
    return true;
}

/* --- a session without the certificate --- */

#define PEER 3 /* its field in OpenSSL's SSL_SESSION_ASN1, [3] EXPLICIT Certificate OPTIONAL */

bool ticket_data_find_cert(struct slice der, struct slice *front, struct slice *back)
{
    const unsigned char *at = (const unsigned char *)der.ptr, *end = at + der.len, *fields, *field;
    int tag, class;
    long len;

    if (ASN1_get_object(&at, &len, &tag, &class, (long)der.len) != V_ASN1_CONSTRUCTED ||
        class != V_ASN1_UNIVERSAL || tag != V_ASN1_SEQUENCE || at + len != end)
        return false;
    for (fields = field = at; field < end; field = at) {
        if (ASN1_get_object(&at, &len, &tag, &class, end - field) & 0x80)
            return false;
        at += len;
        if (class == V_ASN1_CONTEXT_SPECIFIC && tag == PEER) {
            *front = (struct slice){ (const char *)fields, (size_t)(field - fields) };
            *back = (struct slice){ (const char *)at, (size_t)(end - at) };
            return true;
        }
    }
    return false;
}

/* A SEQUENCE of both, to where i2d_*()'s caller has @to. Returns its length, -1: no memory. */
static int write_fields(struct slice front, struct slice back, unsigned char **to)
{
    const int n = (int)(front.len + back.len), len = ASN1_object_size(1, n, V_ASN1_SEQUENCE);
    unsigned char *at;

    if (to == NULL || len < 0)
        return len;
    at = *to != NULL ? *to : OPENSSL_malloc((size_t)len);
    if (at == NULL)
        return -1;
    if (*to == NULL)
        *to = at; /* it stays at the front of what the caller is to free */
    else
        *to += len;
    ASN1_put_object(&at, 1, n, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    memcpy(at, front.ptr, front.len);
    memcpy(at + front.len, back.ptr, back.len);
    return len;
}

/* --- in the place of libssl's --- */

typedef int i2d_fn(const SSL_SESSION *session, unsigned char **to);

static int encode(const SSL_SESSION *session, unsigned char **to)
{
    static _Atomic(void *) next;
    i2d_fn *fn = (i2d_fn *)next_function(&next, "i2d_SSL_SESSION");

    return fn != NULL ? fn(session, to) : -1;
}

static int encode_without_cert(const SSL_SESSION *session, unsigned char **to)
{
    struct slice front, back;
    unsigned char *whole = NULL;
    const int n = encode(session, &whole);
    int len = n;

    if (n > 0 && ticket_data_find_cert((struct slice){ (char *)whole, (size_t)n }, &front, &back))
        len = write_fields(front, back, to);
    else if (n > 0)
        len = encode(session, to);
    if (n > 0)
        OPENSSL_clear_free(whole, (size_t)n); /* the session's secret is in it */
    return len;
}

NEXT_EXPORT int i2d_SSL_SESSION(const SSL_SESSION *session, unsigned char **to)
{
    struct ticket_data d;

    if (schedule_whose() == NULL || !ticket_data_get(session, &d) || d.cert.len == 0)
        return encode(session, to);
    return encode_without_cert(session, to);
}
