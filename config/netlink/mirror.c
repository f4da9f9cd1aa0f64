#include "config/netlink/mirror.h"

#include "dataplane/base/log.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define COALESCE_MS 50
#define AGAIN_MS 1000 /* after a dump that could not be asked for */
#define READS_PER_TURN 32
#define BUFFER 32768 /* what the kernel fills at once */

enum mirror_state { RESTING, WAITING, ASKING };

/* What is asked for, one after the other. */
static const struct question {
    uint16_t type;
    uint8_t family;
} questions[] = {
    { RTM_GETROUTE, AF_INET },
    { RTM_GETROUTE, AF_INET6 },
    { RTM_GETNEIGH, AF_UNSPEC },
};

struct mirror {
    struct mirror_conf conf;
    enum mirror_state state;
    bool again;     /* something has changed since the dump began */
    bool disturbed; /* the kernel says that this dump is not of one moment */
    unsigned question;
    uint32_t seq;
    uint64_t asked_ms, took_ms;
    struct mnl_socket *events, *dump;
    uv_poll_t on_events, on_dump;
    uv_timer_t timer;
    struct table now, last; /* being read; told */
    struct mirror_counters counters;
    char buf[BUFFER] __attribute__((aligned(8)));
};

static bool wants(const struct mirror *m, const struct question *q)
{
    return q->type == RTM_GETROUTE ? m->conf.routes : m->conf.neighbors;
}

static void wait_for(struct mirror *m, uint64_t ms);

/* ---- asking */

static int ask(struct mirror *m)
{
    const struct question *q = &questions[m->question];
    char buf[256] __attribute__((aligned(8)));
    struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

    msg->nlmsg_type = q->type;
    msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    msg->nlmsg_seq = ++m->seq;
    if (q->type == RTM_GETROUTE) {
        struct rtmsg *rtm = mnl_nlmsg_put_extra_header(msg, sizeof(*rtm));

        rtm->rtm_family = q->family;
        rtm->rtm_table = RT_TABLE_MAIN;
    } else {
        struct ndmsg *ndm = mnl_nlmsg_put_extra_header(msg, sizeof(*ndm));

        ndm->ndm_family = q->family;
    }
    return mnl_socket_sendto(m->dump, msg, msg->nlmsg_len) < 0 ? -errno : 0;
}

static void tell(struct mirror *m)
{
    struct table was = m->last;

    table_settle(&m->now);
    if (table_view_eq(&m->now.view, &m->last.view))
        return;
    m->last = m->now;
    m->now = was;
    m->conf.changed(m->conf.ctx, &m->last.view);
}

static void rest(struct mirror *m)
{
    m->took_ms = uv_now(uv_handle_get_loop((uv_handle_t *)&m->timer)) - m->asked_ms;
    m->state = RESTING;
    if (m->disturbed) {
        m->counters.resyncs++;
        m->again = true;
    } else {
        tell(m);
    }
    if (m->again)
        wait_for(m, MAX(COALESCE_MS, 10 * m->took_ms));
}

/* The next question; after the last one it is told. */
static void go_on(struct mirror *m)
{
    while (m->question < ARRAY_SIZE(questions) && !wants(m, &questions[m->question]))
        m->question++;
    if (m->question == ARRAY_SIZE(questions)) {
        rest(m);
        return;
    }
    if (ask(m) < 0) {
        m->state = RESTING;
        wait_for(m, AGAIN_MS);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct mirror *m = t->data;

    m->state = ASKING;
    m->again = m->disturbed = false;
    m->question = 0;
    m->asked_ms = uv_now(t->loop);
    m->counters.dumps++;
    table_clear(&m->now);
    go_on(m);
}

static void wait_for(struct mirror *m, uint64_t ms)
{
    m->state = WAITING;
    uv_timer_start(&m->timer, on_timer, ms, 0);
}

static void something_changed(struct mirror *m)
{
    switch (m->state) {
    case RESTING:
        wait_for(m, MAX(COALESCE_MS, 10 * m->took_ms));
        return;
    case ASKING:
        m->again = true;
        return;
    case WAITING:
        return;
    }
}

/* ---- what the kernel says */

/* Also again: an error of the socket (that events were lost) ends libuv's watch. */
static void watch(uv_poll_t *p, uv_poll_cb readable)
{
    uv_poll_start(p, UV_READABLE, readable);
}

static bool ends_dump(const struct nlmsghdr *msg)
{
    return msg->nlmsg_type == NLMSG_DONE || msg->nlmsg_type == NLMSG_ERROR;
}

/* Does a dump end in these bytes? Looks for what is wrong with it as well. */
static bool look_for_end(struct mirror *m, size_t len)
{
    const struct nlmsghdr *msg;
    const void *at = m->buf;
    bool end = false;

    while ((msg = message_next(&at, &len)) != NULL) {
        if (msg->nlmsg_seq != m->seq)
            continue;
        m->disturbed |= (msg->nlmsg_flags & NLM_F_DUMP_INTR) != 0 || msg->nlmsg_type == NLMSG_ERROR;
        end |= ends_dump(msg);
    }
    return end;
}

static void read_dump(struct mirror *m)
{
    for (unsigned i = 0; i < READS_PER_TURN && m->state == ASKING; i++) {
        const ssize_t len = recv(mnl_socket_get_fd(m->dump), m->buf, sizeof(m->buf), MSG_DONTWAIT);

        if (len < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (len <= 0) { /* what there was of an answer is lost */
            m->disturbed = true;
            rest(m);
            return;
        }
        table_add(&m->now, m->buf, (size_t)len, &m->counters);
        if (look_for_end(m, (size_t)len)) {
            m->question++;
            go_on(m);
        }
    }
}

static void dump_readable(uv_poll_t *p, int status, int events)
{
    read_dump(p->data);
    if (status < 0)
        watch(p, dump_readable);
}

/* Neighbours come and go all the time: only those that are there for good matter. */
static bool matters(const struct mirror *m, const struct nlmsghdr *msg)
{
    struct kernel_neigh n;

    switch (msg->nlmsg_type) {
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return true;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        /* One of those that were told may be no more. */
        return m->last.view.n_neighs > 0 || message_neigh(msg, &n) == 0;
    default:
        return false;
    }
}

static void read_events(struct mirror *m)
{
    for (unsigned i = 0; i < READS_PER_TURN; i++) {
        const ssize_t len =
            recv(mnl_socket_get_fd(m->events), m->buf, sizeof(m->buf), MSG_DONTWAIT);
        size_t left = len > 0 ? (size_t)len : 0;
        const struct nlmsghdr *msg;
        const void *at = m->buf;

        if (len < 0 && errno == ENOBUFS) {
            m->counters.resyncs++;
            something_changed(m);
            continue;
        }
        if (len <= 0)
            return;
        while ((msg = message_next(&at, &left)) != NULL)
            if (matters(m, msg))
                something_changed(m);
    }
}

static void events_readable(uv_poll_t *p, int status, int events)
{
    read_events(p->data);
    if (status < 0)
        watch(p, events_readable);
}

/* ---- life */

static struct mnl_socket *open_socket(unsigned groups)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    const int on = 1;

    if (s == NULL)
        return NULL;
    /* An old kernel, or one without it, sends more than was asked for, which is sorted out. */
    (void)mnl_socket_setsockopt(s, NETLINK_GET_STRICT_CHK, (void *)(uintptr_t)&on, sizeof(on));
    if (mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) == 0)
        return s;
    mnl_socket_close(s);
    return NULL;
}

static unsigned groups_of(const struct mirror_conf *conf)
{
    return (conf->routes ? RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE : 0) |
           (conf->neighbors ? RTMGRP_NEIGH : 0);
}

static void free_all(struct mirror *m)
{
    if (m->events != NULL)
        mnl_socket_close(m->events);
    if (m->dump != NULL)
        mnl_socket_close(m->dump);
    table_fini(&m->now);
    table_fini(&m->last);
    free(m);
}

struct mirror *mirror_new(uv_loop_t *loop, const struct mirror_conf *conf, struct cfg_err *err)
{
    struct mirror *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        cfg_err_set(err, NULL, "no memory to mirror the kernel's routes");
        return NULL;
    }
    m->conf = *conf;
    table_init(&m->now, &conf->table);
    table_init(&m->last, &conf->table);
    m->events = open_socket(groups_of(conf));
    m->dump = open_socket(0);
    if (m->events == NULL || m->dump == NULL) {
        cfg_err_set(err, NULL, "the kernel's routes cannot be mirrored: no netlink: %s",
                    strerror(errno));
        free_all(m);
        return NULL;
    }
    uv_timer_init(loop, &m->timer);
    uv_poll_init(loop, &m->on_events, mnl_socket_get_fd(m->events));
    uv_poll_init(loop, &m->on_dump, mnl_socket_get_fd(m->dump));
    m->timer.data = m->on_events.data = m->on_dump.data = m;
    watch(&m->on_events, events_readable);
    watch(&m->on_dump, dump_readable);
    wait_for(m, 0);
    return m;
}

void mirror_close(struct mirror *m)
{
    if (m == NULL)
        return;
    uv_close((uv_handle_t *)&m->timer, NULL);
    uv_close((uv_handle_t *)&m->on_events, NULL);
    uv_close((uv_handle_t *)&m->on_dump, NULL);
}

void mirror_free(struct mirror *m)
{
    if (m != NULL)
        free_all(m);
}

const struct mirror_counters *mirror_counters(const struct mirror *m)
{
    return &m->counters;
}
