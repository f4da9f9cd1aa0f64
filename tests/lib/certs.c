#include "tests/lib/certs.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DAY 86400

/* Asserts that also hold where asserts are compiled out. */
#define must(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            ERR_print_errors_fp(stderr);                                                           \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void add_ext(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    must(ext != NULL && X509_add_ext(x, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

static void add_san(GENERAL_NAMES *names, int type, struct slice value)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();

    must(name != NULL && s != NULL && ASN1_STRING_set(s, value.ptr, (int)value.len) == 1);
    GENERAL_NAME_set0_value(name, type, s);
    must(sk_GENERAL_NAME_push(names, name) > 0);
}

static void add_sans(X509 *x, const struct test_cert_conf *conf)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

    must(names != NULL);
    for (unsigned i = 0; i < 3 && conf->uri[i] != NULL; i++)
        add_san(names, GEN_URI, slice_of(conf->uri[i]));
    for (unsigned i = 0; i < 3 && conf->dns[i] != NULL; i++)
        add_san(names, GEN_DNS, slice_of(conf->dns[i]));
    if (conf->raw_uri.ptr != NULL)
        add_san(names, GEN_URI, conf->raw_uri);
    if (conf->raw_dns.ptr != NULL)
        add_san(names, GEN_DNS, conf->raw_dns);
    if (conf->email != NULL)
        add_san(names, GEN_EMAIL, slice_of(conf->email));
    if (sk_GENERAL_NAME_num(names) > 0)
        must(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0) == 1);
    GENERAL_NAMES_free(names);
}

void test_cert_make(struct test_cert *to, const struct test_cert_conf *conf)
{
    static long serial = 1000;
    const struct test_cert *issuer = conf->issuer != NULL ? conf->issuer : to;
    const char *usage = conf->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature";
    const char *eku = conf->eku != NULL ? conf->eku : "clientAuth,serverAuth";
    X509_NAME *name;

    to->key = EVP_EC_gen("P-256");
    to->x509 = X509_new();
    must(to->key != NULL && to->x509 != NULL);
    X509_set_version(to->x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(to->x509), ++serial);
    ASN1_TIME_set(X509_getm_notBefore(to->x509), conf->from != 0 ? conf->from : time(NULL) - DAY);
    ASN1_TIME_set(X509_getm_notAfter(to->x509),
                  conf->until != 0 ? conf->until : time(NULL) + 10 * DAY);
    name = X509_get_subject_name(to->x509);
    must(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"test", -1, -1,
                                    0) == 1);
    must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)conf->cn, -1,
                                    -1, 0) == 1);
    must(X509_set_issuer_name(to->x509, X509_get_subject_name(issuer->x509)) == 1);
    must(X509_set_pubkey(to->x509, to->key) == 1);
    add_ext(to->x509, NID_basic_constraints,
            conf->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_ext(to->x509, NID_key_usage, conf->key_usage != NULL ? conf->key_usage : usage);
    if (!conf->is_ca && eku[0] != '\0')
        add_ext(to->x509, NID_ext_key_usage, eku);
    add_sans(to->x509, conf);
    must(X509_sign(to->x509, issuer->key, EVP_sha256()) > 0);
}

void test_cert_free(struct test_cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    *c = (struct test_cert){ NULL, NULL };
}

void test_dir_init(struct test_dir *d)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(d->path, sizeof(d->path), "%s/isthmus-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    must(mkdtemp(d->path) != NULL);
}

void test_dir_fini(struct test_dir *d)
{
    DIR *dir = opendir(d->path);
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL)
        unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(d->path);
}

const char *test_path(const struct test_dir *d, const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *to = paths[next++ % 8];

    snprintf(to, sizeof(paths[0]), "%s/%s", d->path, name);
    return to;
}

const char *test_write_certs(const struct test_dir *d, const char *name,
                             const struct test_cert *const *certs)
{
    const char *path = test_path(d, name);
    FILE *f = fopen(path, "w");

    must(f != NULL);
    for (; *certs != NULL; certs++)
        must(PEM_write_X509(f, (*certs)->x509) == 1);
    fclose(f);
    return path;
}

const char *test_write_key(const struct test_dir *d, const char *name, const struct test_cert *c,
                           const char *passphrase)
{
    const char *path = test_path(d, name);
    FILE *f = fopen(path, "w");

    must(f != NULL);
    must(PEM_write_PKCS8PrivateKey(f, c->key, passphrase != NULL ? EVP_aes_256_cbc() : NULL,
                                   passphrase, passphrase != NULL ? (int)strlen(passphrase) : 0,
                                   NULL, NULL) == 1);
    fclose(f);
    return path;
}

const char *test_write_file(const struct test_dir *d, const char *name, const void *bytes,
                            size_t len)
{
    const char *path = test_path(d, name);
    FILE *f = fopen(path, "w");

    must(f != NULL && fwrite(bytes, 1, len, f) == len);
    fclose(f);
    return path;
}
