#include "tests/agent/call.h"

#include "dataplane/base/log.h"
#include "tests/agent/sock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EVENTS (AGENT_CLIENTS_MAX + 1) /* of all of them, and of who comes */

enum client_state { CLIENT_READING, CLIENT_PARKED, CLIENT_WRITING };

/* A connection to the Unix socket, with one call at a time. */
struct client {
    struct list link;   /* of agent->clients */
    struct list parked; /* of agent->parked */
    int fd;
    enum client_state state;
    bool refused; /* ends after its reply */
    size_t at;    /* bytes read of request and data, or written of reply and data */
    uint8_t *data;
    struct agent_reply reply;
    struct call call;
};

static const call_fn operations[] = {
    [1] = op_socket,      [2] = op_bind,   [3] = op_listen,    [4] = op_accept,
    [5] = op_connect,     [6] = op_read,   [7] = op_write,     [8] = op_send,
    [9] = op_recv,        [10] = op_close, [11] = op_shutdown, [12] = op_getsockopt,
    [13] = op_setsockopt, [14] = op_fcntl, [15] = op_poll,     [16] = op_ioctl,
};

/* ---- what operations call */

bool call_return(struct call *c, int64_t ret)
{
    c->ret = ret;
    c->err = 0;
    return true;
}

bool call_fail(struct call *c, int err)
{
    c->ret = -1;
    c->err = err;
    return true;
}

void *call_out(struct call *c, uint32_t len)
{
    free(c->out);
    c->out = malloc(MAX(len, 1));
    c->out_len = c->out != NULL ? len : 0;
    return c->out;
}

static void on_timeout(struct wheel_timer *t, uint64_t now_us)
{
    struct call *c = container_of(t, struct call, timer);

    c->timed_out = true;
    c->agent->woken = true;
}

bool call_wait(struct call *c, uint64_t timeout_us)
{
    struct core *core = &c->agent->core;

    if (!c->again && timeout_us < UINT64_MAX - core->now_us)
        wheel_start(&core->wheel, &c->timer, core->now_us + timeout_us);
    c->again = true;
    return false;
}

/* ---- clients */

static void watch(struct agent *a, struct client *cl, int how)
{
    /* While a call waits only the end of its client is of interest, which is always told. */
    static const uint32_t events[] = {
        [CLIENT_READING] = EPOLLIN, [CLIENT_PARKED] = 0, [CLIENT_WRITING] = EPOLLOUT
    };
    struct epoll_event ev = { .events = events[cl->state], .data.ptr = cl };

    epoll_ctl(a->epoll, how, cl->fd, &ev);
}

static void move(struct agent *a, struct client *cl, enum client_state next)
{
    if (cl->state == next)
        return;
    cl->state = next;
    watch(a, cl, EPOLL_CTL_MOD);
}

/* Lets go of the sockets of a call, which may be the end of them. */
static void put_socks(struct call *c)
{
    if (c->sock != NULL)
        sock_put(c->sock);
    c->sock = NULL;
    for (uint32_t i = 0; i < c->n_polled; i++)
        if (c->polled[i] != NULL)
            sock_put(c->polled[i]);
    free(c->polled);
    c->polled = NULL;
    c->n_polled = 0;
}

/* Lets go of everything a call holds; the client may bring another one. */
static void end_call(struct agent *a, struct client *cl)
{
    struct call *c = &cl->call;

    list_remove(&cl->parked);
    wheel_stop(&a->core.wheel, &c->timer);
    put_socks(c);
    free(c->out);
    free(cl->data);
    cl->data = NULL;
    *c = (struct call){ .agent = a };
    wheel_timer_init(&c->timer, on_timeout);
}

static void client_free(struct agent *a, struct client *cl)
{
    if (cl->state == CLIENT_PARKED)
        a->counters.abandoned++;
    else if (cl->state == CLIENT_READING && cl->at > 0)
        a->counters.bad_requests++;
    end_call(a, cl);
    list_remove(&cl->link);
    close(cl->fd);
    free(cl);
    a->n_clients--;
}

static void client_new(struct agent *a, int fd)
{
    struct client *cl;

    cl = a->n_clients < AGENT_CLIENTS_MAX ? calloc(1, sizeof(*cl)) : NULL;
    if (cl == NULL) {
        a->counters.too_many++;
        close(fd);
        return;
    }
    cl->fd = fd;
    list_init(&cl->parked);
    list_push_tail(&a->clients, &cl->link);
    a->n_clients++;
    cl->call.agent = a;
    wheel_timer_init(&cl->call.timer, on_timeout);
    watch(a, cl, EPOLL_CTL_ADD);
}

/* One: before the next is looked at, those who have left meanwhile make room for it. */
static void accept_client(struct agent *a)
{
    const int fd = accept4(a->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0)
        client_new(a, fd);
}

/* ---- replies */

/* False: the client is gone. */
static bool send_reply(struct agent *a, struct client *cl)
{
    const struct call *c = &cl->call;
    const size_t head = sizeof(cl->reply), len = head + cl->reply.dlen;

    while (cl->at < len) {
        const bool in_head = cl->at < head;
        const void *from =
            in_head ? (const uint8_t *)&cl->reply + cl->at : c->out + (cl->at - head);
        const ssize_t n = send(cl->fd, from, in_head ? head - cl->at : len - cl->at, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0) {
            move(a, cl, CLIENT_WRITING);
            return true;
        }
        cl->at += (size_t)n;
    }
    cl->at = 0;
    end_call(a, cl);
    move(a, cl, CLIENT_READING);
    return !cl->refused;
}

static bool reply(struct agent *a, struct client *cl)
{
    const struct call *c = &cl->call;

    cl->reply = (struct agent_reply){ c->ret, c->err, c->out_len };
    cl->at = 0;
    return send_reply(a, cl);
}

/* ---- requests */

/* Once more. False: the client is gone. */
static bool try(struct agent *a, struct client *cl)
{
    const bool done = operations[cl->call.req.op](&cl->call);

    if (done)
        put_socks(&cl->call); /* what close() has left to do is done before it returns */
    agent_flush(a);
    if (done) {
        list_remove(&cl->parked);
        return reply(a, cl);
    }
    if (cl->state != CLIENT_PARKED) {
        a->counters.parked++;
        list_push_tail(&a->parked, &cl->parked);
        move(a, cl, CLIENT_PARKED);
    }
    return true;
}

static bool refuse(struct agent *a, struct client *cl, int err, const char *why)
{
    log_limited(LOG_LVL_WARNING, "agent", "request %d refused: %s", cl->call.req.op, why);
    call_fail(&cl->call, err);
    return reply(a, cl);
}

static bool execute(struct agent *a, struct client *cl)
{
    struct call *c = &cl->call;

    c->data = cl->data;
    if (c->req.op < 1 || c->req.op >= (int)ARRAY_SIZE(operations)) {
        a->counters.bad_ops++;
        return refuse(a, cl, ENOSYS, "no such operation");
    }
    a->counters.calls++;
    a->woken = true; /* those who are parked may have waited for this */
    return try(a, cl);
}

/* The head of a request is there. False: it is refused, and its reply, too, could not be sent. */
static bool prepare(struct agent *a, struct client *cl)
{
    const uint32_t len = cl->call.req.dlen;

    if (len > AGENT_DATA_MAX) {
        a->counters.bad_requests++;
        cl->refused = true;
        return refuse(a, cl, EMSGSIZE, "too long");
    }
    cl->data = malloc(MAX(len, 1));
    if (cl->data == NULL) {
        cl->refused = true;
        return refuse(a, cl, ENOMEM, "no memory");
    }
    return true;
}

/* Reads on; executes the request when it is whole. False: the client is gone. */
static bool read_request(struct agent *a, struct client *cl)
{
    struct call *c = &cl->call;
    const size_t head = sizeof(c->req);

    while (cl->state == CLIENT_READING) {
        const bool in_head = cl->at < head;
        void *to = in_head ? (uint8_t *)&c->req + cl->at : cl->data + (cl->at - head);
        const size_t want = in_head ? head - cl->at : head + c->req.dlen - cl->at;
        const ssize_t n = want > 0 ? recv(cl->fd, to, want, 0) : 0;

        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0 && want > 0)
            return false;
        cl->at += (size_t)n;
        if (in_head && cl->at == head && !prepare(a, cl))
            return false;
        if (cl->data != NULL && cl->at == head + c->req.dlen)
            return execute(a, cl); /* the next one when others have had their turn */
    }
    return true;
}

static void on_event(struct agent *a, struct client *cl, uint32_t events)
{
    bool there = (events & EPOLLERR) == 0;

    if (there && cl->state == CLIENT_PARKED)
        there = (events & EPOLLHUP) == 0;
    else if (there && cl->state == CLIENT_WRITING)
        there = send_reply(a, cl);
    else if (there)
        there = read_request(a, cl);
    if (!there) {
        client_free(a, cl);
        agent_flush(a);
    }
}

bool calls_run(struct agent *a, uint64_t sleep_us)
{
    const struct timespec t = { (time_t)(sleep_us / 1000000), (long)(sleep_us % 1000000) * 1000 };
    struct pollfd ready = { .fd = a->epoll, .events = POLLIN };
    struct epoll_event events[EVENTS];
    bool come = false;
    int n = ppoll(&ready, 1, &t, NULL);

    agent_read_clock(a);
    if (n <= 0)
        return false;
    n = epoll_wait(a->epoll, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL)
            come = true;
        else
            on_event(a, events[i].data.ptr, events[i].events);
    }
    if (come) /* last, when everybody before was heard */
        accept_client(a);
    return n > 0;
}

void calls_retry(struct agent *a)
{
    struct list *l, *next;

    while (a->woken) { /* what one does may concern those before it */
        a->woken = false;
        list_for_each_safe(l, next, &a->parked)
        {
            struct client *cl = container_of(l, struct client, parked);

            if (!try(a, cl)) {
                client_free(a, cl);
                agent_flush(a);
            }
        }
    }
}

/* ---- beginning and end */

/* A socket that nobody listens on any more was left behind by an agent that was killed. */
static bool is_left_behind(const struct sockaddr_un *path)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)path, sizeof(*path)) < 0 &&
                         errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return refused;
}

int calls_open(struct agent *a)
{
    struct sockaddr_un path = { .sun_family = AF_UNIX };
    struct epoll_event ev = { .events = EPOLLIN };

    snprintf(path.sun_path, sizeof(path.sun_path), "%s", a->settings.socket);
    a->epoll = epoll_create1(EPOLL_CLOEXEC);
    a->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->epoll < 0 || a->listener < 0)
        goto err;
    if (is_left_behind(&path))
        unlink(path.sun_path);
    if (bind(a->listener, (const struct sockaddr *)&path, sizeof(path)) < 0)
        goto err;
    a->socket_made = true;
    if (listen(a->listener, AGENT_CLIENTS_MAX) < 0 ||
        epoll_ctl(a->epoll, EPOLL_CTL_ADD, a->listener, &ev) < 0)
        goto err;
    return 0;

err:
    fprintf(stderr, "isthmus-agent: %s: %s\n", path.sun_path, strerror(errno));
    return -EIO;
}

void calls_close(struct agent *a)
{
    while (!list_is_empty(&a->clients))
        client_free(a, container_of(a->clients.next, struct client, link));
    if (a->socket_made)
        unlink(a->settings.socket);
    if (a->listener >= 0)
        close(a->listener);
    if (a->epoll >= 0)
        close(a->epoll);
}
