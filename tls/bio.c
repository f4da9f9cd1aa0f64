/* Where OpenSSL reads and writes: straight from and to the packet queues of the caller. */
#include "tls/inner.h"

static int read_bytes(BIO *bio, char *to, size_t len, size_t *done)
{
    struct tls_session *s = BIO_get_data(bio);
    uint64_t n;

    BIO_clear_retry_flags(bio);
    if (s->in == NULL || s->in->bytes == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    n = pktq_peek(s->in, to, len);
    pktq_consume(s->in, n);
    s->n_read += n;
    *done = n;
    return 1;
}

static int write_bytes(BIO *bio, const char *from, size_t len, size_t *done)
{
    struct tls_session *s = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (s->out == NULL || !pktq_append(s->out, s->core->pool, from, len, s->seg)) {
        s->no_memory = true; /* not to be tried again: the session ends */
        return 0;
    }
    *done = len;
    return 1;
}

static long control(BIO *bio, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH ? 1 : 0; /* nothing is held back; no other request is known */
}

BIO_METHOD *bio_method_new(void)
{
    int type = BIO_get_new_index();
    BIO_METHOD *m = type > 0 ? BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "packet queues") : NULL;

    if (m == NULL)
        return NULL;
    if (BIO_meth_set_read_ex(m, read_bytes) != 1 || BIO_meth_set_write_ex(m, write_bytes) != 1 ||
        BIO_meth_set_ctrl(m, control) != 1) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

BIO *bio_of_session(struct tls_session *s)
{
    BIO *bio = BIO_new(s->ctx->lib->bio);

    if (bio != NULL) {
        BIO_set_data(bio, s);
        BIO_set_init(bio, 1);
    }
    return bio;
}
