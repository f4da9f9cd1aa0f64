/* getsockopt() and setsockopt(): a value is kept as Linux gives it back, and told to TCP. */
#include "tests/agent/sock.h"
#include "tests/agent/tcpinfo.h"

#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/time.h>

/* Linux' limits. */
#define BUF_MAX 212992 /* net.core.rmem_max, wmem_max */
#define RCVBUF_MIN 2304
#define SNDBUF_MIN 4608
#define MSS_MIN 88
#define MSS_MAX 32767
#define MSS_DEFAULT 536
#define KEEP_MAX_S 32767
#define KEEP_MAX_PROBES 127
#define SYNCNT_MAX 127
#define CC_NAME_LEN 16
#define SECOND UINT64_C(1000000)

/* ---- what the options mean */

struct sock_opts sock_opts_default(const struct agent *a)
{
    const struct settings *s = &a->settings;

    return (struct sock_opts){
        .keepalive = s->keepalive,
        .nodelay = !s->nagle,
        .quickack = true,
        .rcvbuf = 2 * s->tcp.recv_buf,
        .sndbuf = 2 * s->tcp.send_buf,
        .rcvlowat = 1,
        .user_timeout_ms = (uint32_t)(s->user_timeout_us / 1000),
        .rcvtimeo_us = UINT64_MAX,
        .sndtimeo_us = UINT64_MAX,
        .cc = s->tcp.cc,
    };
}

/* Half of a buffer is for bytes, as on Linux. An option that nobody has set is 0. */
struct tcp_tuning sock_opts_tuning(const struct sock *s)
{
    const struct sock_opts *o = &s->opts;
    struct tcp_tuning t = settings_tuning(&s->agent->settings);

    t.recv_buf = o->rcvbuf / 2;
    if (o->rcvbuf_set)
        t.recv_buf_max = t.recv_buf;
    if (o->window_clamp != 0) {
        t.recv_buf = MIN(t.recv_buf, o->window_clamp);
        t.recv_buf_max = MIN(t.recv_buf_max, o->window_clamp);
    }
    t.send_buf = o->sndbuf / 2;
    if (o->sndbuf_set)
        t.send_buf_max = t.send_buf;
    t.notsent_lowat = o->notsent_lowat != 0 ? o->notsent_lowat : UINT32_MAX;
    t.mss_max = (uint16_t)o->mss;
    t.nagle = !o->nodelay;
    t.cork = o->cork || s->more;
    t.cc = o->cc;
    t.keepalive = o->keepalive;
    if (o->keepidle_s != 0)
        t.keepalive_us = o->keepidle_s * SECOND;
    if (o->keepintvl_s != 0)
        t.keepalive_interval_us = o->keepintvl_s * SECOND;
    if (o->keepcnt != 0)
        t.keepalive_probes = (uint8_t)o->keepcnt;
    if (o->syncnt != 0)
        t.syn_retries = (uint8_t)o->syncnt;
    t.user_timeout_us = o->user_timeout_ms * UINT64_C(1000);
    return t;
}

/* ---- setsockopt: each returns 0 or a positive errno */

static bool read_int(const struct call *c, int *ret)
{
    if (c->req.dlen < sizeof(*ret))
        return false;
    memcpy(ret, c->data, sizeof(*ret));
    return true;
}

static int set_range(uint32_t *to, int v, int min, int max)
{
    if (v < min || v > max)
        return EINVAL;
    *to = (uint32_t)v;
    return 0;
}

static uint32_t buffer(int v, uint32_t min, bool force)
{
    const uint32_t most = force ? INT_MAX / 2 : BUF_MAX;
    const uint32_t n = force && v < 0 ? 0 : (uint32_t)v;

    return MAX(2 * MIN(n, most), min);
}

static int set_linger(struct sock *s, const struct call *c)
{
    struct linger l;

    if (c->req.dlen < sizeof(l))
        return EINVAL;
    memcpy(&l, c->data, sizeof(l));
    s->opts.linger_on = l.l_onoff != 0;
    if (l.l_onoff != 0)
        s->opts.linger_s = (uint32_t)l.l_linger;
    return 0;
}

static int set_timeout(uint64_t *to, const struct call *c)
{
    struct timeval t;

    if (c->req.dlen < sizeof(t))
        return EINVAL;
    memcpy(&t, c->data, sizeof(t));
    if (t.tv_usec < 0 || t.tv_usec >= (suseconds_t)SECOND)
        return EDOM;
    if (t.tv_sec < 0)
        *to = 0;
    else if (t.tv_sec == 0 && t.tv_usec == 0)
        *to = UINT64_MAX;
    else
        *to = MIN((uint64_t)t.tv_sec, UINT32_MAX) * SECOND + (uint64_t)t.tv_usec;
    return 0;
}

static int set_socket(struct sock *s, const struct call *c)
{
    struct sock_opts *o = &s->opts;
    int v;

    if (!read_int(c, &v))
        return EINVAL;
    switch (c->req.b) {
    case SO_REUSEADDR:
        o->reuse_addr = v != 0;
        return 0;
    case SO_KEEPALIVE:
        o->keepalive = v != 0;
        return 0;
    case SO_LINGER:
        return set_linger(s, c);
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
        o->rcvbuf_set = true;
        o->rcvbuf = buffer(v, RCVBUF_MIN, c->req.b == SO_RCVBUFFORCE);
        return 0;
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
        o->sndbuf_set = true;
        o->sndbuf = buffer(v, SNDBUF_MIN, c->req.b == SO_SNDBUFFORCE);
        return 0;
    case SO_RCVLOWAT: /* Linux: 0 is 1, and no more than what fits */
        o->rcvlowat = v < 0 ? INT_MAX : (uint32_t)MAX(v, 1);
        o->rcvlowat = MIN(o->rcvlowat, o->rcvbuf / 2);
        return 0;
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
        return set_timeout(&o->rcvtimeo_us, c);
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
        return set_timeout(&o->sndtimeo_us, c);
    default: /* SO_TYPE and the like cannot be set; others are not there */
        return ENOPROTOOPT;
    }
}

static int set_congestion(struct sock *s, const struct call *c)
{
    char name[CC_NAME_LEN] = "";

    if (c->req.dlen < 1)
        return EINVAL;
    memcpy(name, c->data, MIN(c->req.dlen, CC_NAME_LEN - 1));
    for (unsigned i = 0; i < CC_ALGORITHMS; i++) {
        if (strcmp(name, cc_algorithms[i]->name) == 0) {
            s->opts.cc = (enum cc_algorithm)i;
            return 0;
        }
    }
    return ENOENT;
}

/* It flushes what is queued, a cork notwithstanding. */
static int set_nodelay(struct sock *s, bool on)
{
    const bool cork = s->opts.cork;

    s->opts.nodelay = on;
    if (on && cork) {
        s->opts.cork = false;
        sock_tune(s);
        agent_flush(s->agent);
        s->opts.cork = cork;
    }
    return 0;
}

static int set_quickack(struct sock *s, bool on)
{
    s->opts.quickack = on;
    if (s->conn != NULL)
        tcp_quick_ack(s->conn, on);
    return 0;
}

static int set_clamp(struct sock *s, int v)
{
    if (v == 0 && sock_state(s) != STATE_CLOSE)
        return EINVAL;
    s->opts.window_clamp = v == 0 ? 0 : MAX((uint32_t)v, RCVBUF_MIN / 2);
    return 0;
}

static int set_tcp(struct sock *s, const struct call *c)
{
    struct sock_opts *o = &s->opts;
    int v;

    if (c->req.b == TCP_CONGESTION)
        return set_congestion(s, c);
    if (!read_int(c, &v))
        return EINVAL;
    switch (c->req.b) {
    case TCP_NODELAY:
        return set_nodelay(s, v != 0);
    case TCP_CORK:
        o->cork = v != 0;
        return 0;
    case TCP_MAXSEG:
        return v == 0 ? set_range(&o->mss, 0, 0, 0) : set_range(&o->mss, v, MSS_MIN, MSS_MAX);
    case TCP_USER_TIMEOUT:
        return set_range(&o->user_timeout_ms, v, 0, INT_MAX);
    case TCP_KEEPIDLE:
        return set_range(&o->keepidle_s, v, 1, KEEP_MAX_S);
    case TCP_KEEPINTVL:
        return set_range(&o->keepintvl_s, v, 1, KEEP_MAX_S);
    case TCP_KEEPCNT:
        return set_range(&o->keepcnt, v, 1, KEEP_MAX_PROBES);
    case TCP_SYNCNT:
        return set_range(&o->syncnt, v, 1, SYNCNT_MAX);
    case TCP_QUICKACK:
        return set_quickack(s, v != 0);
    case TCP_NOTSENT_LOWAT:
        o->notsent_lowat = (uint32_t)v;
        return 0;
    case TCP_WINDOW_CLAMP:
        return set_clamp(s, v);
    default:
        return ENOPROTOOPT;
    }
}

static int set_ipv6(struct sock *s, const struct call *c)
{
    int v;

    if (s->domain != AF_INET6 || c->req.b != IPV6_V6ONLY)
        return ENOPROTOOPT;
    if (!read_int(c, &v) || s->local.port != 0)
        return EINVAL;
    s->opts.v6only = v != 0;
    return 0;
}

bool op_setsockopt(struct call *c)
{
    struct sock *s = sock_of(c);
    int err = ENOPROTOOPT;

    if (s == NULL)
        return call_fail(c, EBADF);
    if (c->req.a == SOL_SOCKET)
        err = set_socket(s, c);
    else if (c->req.a == IPPROTO_TCP)
        err = set_tcp(s, c);
    else if (c->req.a == IPPROTO_IPV6)
        err = set_ipv6(s, c);
    if (err != 0)
        return call_fail(c, err);
    sock_tune(s);
    return call_return(c, 0);
}

/* ---- getsockopt */

static bool give(struct call *c, const void *value, uint32_t len)
{
    const uint32_t n = MIN(len, (uint32_t)c->req.c);
    void *out = call_out(c, n);

    if (out == NULL)
        return call_fail(c, ENOMEM);
    memcpy(out, value, n);
    return call_return(c, 0);
}

static bool give_int(struct call *c, uint32_t v)
{
    return give(c, &v, sizeof(v));
}

static bool give_linger(struct call *c, const struct sock *s)
{
    const struct linger l = { s->opts.linger_on, (int)s->opts.linger_s };

    return give(c, &l, sizeof(l));
}

static bool give_timeout(struct call *c, uint64_t us)
{
    struct timeval t = { 0 };

    if (us != UINT64_MAX) {
        t.tv_sec = (time_t)(us / SECOND);
        t.tv_usec = (suseconds_t)(us % SECOND);
    }
    return give(c, &t, sizeof(t));
}

static bool get_socket(struct call *c, struct sock *s)
{
    const struct sock_opts *o = &s->opts;

    switch (c->req.b) {
    case SO_TYPE:
        return give_int(c, SOCK_STREAM);
    case SO_PROTOCOL:
        return give_int(c, IPPROTO_TCP);
    case SO_DOMAIN:
        return give_int(c, (uint32_t)s->domain);
    case SO_ACCEPTCONN:
        return give_int(c, s->listener != NULL);
    case SO_ERROR:
        return give_int(c, (uint32_t)sock_take_err(s));
    case SO_REUSEADDR:
        return give_int(c, o->reuse_addr);
    case SO_KEEPALIVE:
        return give_int(c, o->keepalive);
    case SO_LINGER:
        return give_linger(c, s);
    case SO_RCVBUF:
        return give_int(c, o->rcvbuf);
    case SO_SNDBUF:
        return give_int(c, o->sndbuf);
    case SO_RCVLOWAT:
        return give_int(c, o->rcvlowat);
    case SO_SNDLOWAT:
        return give_int(c, 1);
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
        return give_timeout(c, o->rcvtimeo_us);
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
        return give_timeout(c, o->sndtimeo_us);
    default:
        return call_fail(c, ENOPROTOOPT);
    }
}

static uint32_t mss_of(const struct sock *s)
{
    if (s->conn != NULL)
        return tcp_mss(s->conn);
    return s->opts.mss != 0 ? s->opts.mss : MSS_DEFAULT;
}

static bool give_tcp_info(struct call *c, const struct sock *s)
{
    uint8_t *out = call_out(c, MIN((uint32_t)c->req.c, tcpinfo_size()));

    if (out == NULL)
        return call_fail(c, ENOMEM);
    c->out_len = tcpinfo_write(s, out, (uint32_t)c->req.c);
    return call_return(c, 0);
}

static bool give_congestion(struct call *c, const struct sock *s)
{
    char name[CC_NAME_LEN] = "";

    snprintf(name, sizeof(name), "%s", cc_algorithms[s->opts.cc]->name);
    return give(c, name, sizeof(name));
}

static bool get_tcp(struct call *c, const struct sock *s)
{
    const struct sock_opts *o = &s->opts;
    const struct tcp_tuning t = sock_opts_tuning(s);

    switch (c->req.b) {
    case TCP_NODELAY:
        return give_int(c, o->nodelay);
    case TCP_CORK:
        return give_int(c, o->cork);
    case TCP_MAXSEG:
        return give_int(c, mss_of(s));
    case TCP_USER_TIMEOUT:
        return give_int(c, o->user_timeout_ms);
    case TCP_KEEPIDLE:
        return give_int(c, (uint32_t)(t.keepalive_us / SECOND));
    case TCP_KEEPINTVL:
        return give_int(c, (uint32_t)(t.keepalive_interval_us / SECOND));
    case TCP_KEEPCNT:
        return give_int(c, t.keepalive_probes);
    case TCP_SYNCNT:
        return give_int(c, t.syn_retries);
    case TCP_CONGESTION:
        return give_congestion(c, s);
    case TCP_QUICKACK:
        return give_int(c, o->quickack);
    case TCP_NOTSENT_LOWAT:
        return give_int(c, o->notsent_lowat);
    case TCP_WINDOW_CLAMP:
        return give_int(c, o->window_clamp);
    case TCP_INFO:
        return give_tcp_info(c, s);
    default:
        return call_fail(c, ENOPROTOOPT);
    }
}

static bool get_ip(struct call *c, const struct sock *s)
{
    struct tcp_conn_info info;

    if (c->req.b != IP_MTU)
        return call_fail(c, ENOPROTOOPT);
    if (s->conn == NULL)
        return call_fail(c, ENOTCONN);
    tcp_info(s->conn, &info);
    return give_int(c, info.path_mtu);
}

bool op_getsockopt(struct call *c)
{
    struct sock *s = sock_of(c);

    if (s == NULL)
        return call_fail(c, EBADF);
    if (c->req.c < 0)
        return call_fail(c, EINVAL);
    if (c->req.a == SOL_SOCKET)
        return get_socket(c, s);
    if (c->req.a == IPPROTO_TCP)
        return get_tcp(c, s);
    if (c->req.a == IPPROTO_IP && s->domain == AF_INET)
        return get_ip(c, s);
    if (c->req.a == IPPROTO_IPV6 && s->domain == AF_INET6 && c->req.b == IPV6_V6ONLY)
        return give_int(c, s->opts.v6only);
    return call_fail(c, ENOPROTOOPT);
}
