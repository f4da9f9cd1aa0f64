/* Records of an open session that are OpenSSL's: those of TLS 1.2. */
#include "tls/inner.h"

#include <openssl/err.h>

#define ROOM_MIN 256 /* a packet with less room is passed on, and the next one begun */

/*
 * SSL_read() brought nothing. Returns true if there is more to read: it was a message of the
 * handshake (a ticket, a new key), and further bytes wait.
 */
static bool may_go_on(struct tls_session *s, uint64_t n_read_before)
{
    int why = SSL_get_error(s->ssl, 0);

    if (s->no_memory || (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN)) {
        session_failed(s);
        return false;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        s->state = TLS_CLOSED;
        return false;
    }
    if (s->n_idle > TLS_IDLE_MESSAGES) {
        session_counters(s)->records_failed++;
        session_refuse(s, "too many handshake messages without data between them");
        return false;
    }
    return s->in->bytes > 0 && s->n_read > n_read_before;
}

static bool has_input(const struct tls_session *s)
{
    return s->in->bytes > 0 || SSL_pending(s->ssl) > 0;
}

enum tls_state openssl_read(struct tls_session *s, struct pktq *plain, uint64_t max)
{
    struct pkt *p = NULL;

    while (plain->bytes + (p != NULL ? p->len : 0) < max && has_input(s)) {
        uint64_t n_read = s->n_read;
        size_t n;

        if (p == NULL && (p = pkt_alloc(s->core->pool)) == NULL) {
            s->no_memory = true;
            session_failed(s);
            break;
        }
        ERR_clear_error();
        if (SSL_read_ex(s->ssl, p->data + p->len, pkt_tailroom(p), &n) != 1) {
            if (!may_go_on(s, n_read))
                break;
            continue;
        }
        pkt_put(p, (uint32_t)n);
        s->n_idle = 0;
        if (pkt_tailroom(p) < ROOM_MIN) {
            pktq_push(plain, p);
            p = NULL;
        }
    }
    if (p != NULL && p->len > 0)
        pktq_push(plain, p);
    else
        pkt_free(p);
    return s->state;
}

enum tls_state openssl_write(struct tls_session *s, struct pktq *plain)
{
    struct pkt *p;

    while ((p = pktq_pop(plain)) != NULL) {
        size_t n;
        bool ok = true;

        ERR_clear_error();
        if (p->len > 0)
            ok = SSL_write_ex(s->ssl, p->data, p->len, &n) == 1;
        pkt_free(p);
        if (!ok || s->no_memory)
            return session_failed(s);
    }
    return s->state;
}

void openssl_close(struct tls_session *s)
{
    ERR_clear_error();
    if (SSL_shutdown(s->ssl) < 0 && s->no_memory)
        session_failed(s);
}
