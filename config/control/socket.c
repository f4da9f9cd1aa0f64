#include "config/control/socket.h"

#include "dataplane/base/list.h"
#include "dataplane/base/log.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const struct control_times default_times = { 300000, 10000, 10000 };

struct control {
    uv_loop_t *loop;
    uv_pipe_t pipe;
    const struct cmd_set *cmds;
    struct control_counters n;
    struct control_times times;
    unsigned n_clients; /* until their handles are closed */
    struct list clients;
    bool closing, pipe_closed;
};

struct client {
    struct list link;
    struct control *control;
    uv_pipe_t pipe;
    uv_timer_t deadline; /* of whatever state the dialog is in */
    unsigned n_handles;  /* still to be closed */
    bool closing;
    uv_write_t write;
    char *answer; /* being written */
    struct dialog dialog;
};

/* --- one client --- */

static void free_if_done(struct control *c)
{
    if (c->pipe_closed && c->n_clients == 0)
        free(c);
}

static void on_client_closed(uv_handle_t *h)
{
    struct client *cl = h->data;
    struct control *c = cl->control;

    if (--cl->n_handles > 0)
        return;
    free(cl->answer);
    free(cl);
    c->n_clients--;
    free_if_done(c);
}

static void let_go(struct client *cl)
{
    if (cl->closing)
        return;
    cl->closing = true;
    list_remove(&cl->link);
    dialog_fini(&cl->dialog);
    uv_close((uv_handle_t *)&cl->pipe, on_client_closed);
    uv_close((uv_handle_t *)&cl->deadline, on_client_closed);
}

static void give_room(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct client *cl = h->data;

    ret->base = dialog_room(&cl->dialog, &ret->len);
}

static void on_deadline(uv_timer_t *t);

static uint64_t patience_ms(const struct client *cl)
{
    const struct control_times *t = &cl->control->times;

    switch (cl->dialog.state) {
    case DIALOG_IDLE:
        return t->idle_ms;
    case DIALOG_ASKED:
        return t->command_ms;
    case DIALOG_ANSWERING:
    case DIALOG_ENDED:
        return t->answer_ms;
    }
    return 0;
}

static void on_bytes(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

/* Reads only while the dialog listens, and starts the clock of its new state. */
static void follow(struct client *cl)
{
    if (cl->closing)
        return;
    if (cl->dialog.state == DIALOG_IDLE && !cl->dialog.at_end)
        uv_read_start((uv_stream_t *)&cl->pipe, give_room, on_bytes);
    else
        uv_read_stop((uv_stream_t *)&cl->pipe);
    uv_timer_start(&cl->deadline, on_deadline, patience_ms(cl), 0);
}

static void on_bytes(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct client *cl = s->data;

    if (n == 0)
        return; /* try again */
    if (n > 0)
        dialog_received(&cl->dialog, (size_t)n);
    else if (n == UV_EOF)
        dialog_eof(&cl->dialog);
    else
        let_go(cl);
    follow(cl);
}

static void on_deadline(uv_timer_t *t)
{
    struct client *cl = t->data;

    if (cl->dialog.state == DIALOG_ASKED) {
        log_warning("control", "command %s has no answer yet: its client is told so",
                    dialog_command(&cl->dialog));
        cl->control->n.timed_out++;
        dialog_timed_out(&cl->dialog);
        follow(cl);
        return;
    }
    cl->control->n.slow++;
    let_go(cl);
}

static void on_written(uv_write_t *w, int status)
{
    struct client *cl = w->data;

    free(cl->answer);
    cl->answer = NULL;
    if (cl->closing)
        return;
    if (status < 0) {
        let_go(cl);
        return;
    }
    dialog_sent(&cl->dialog);
    follow(cl);
}

static void send_answer(struct dialog *d, char *line, size_t len)
{
    struct client *cl = container_of(d, struct client, dialog);
    uv_buf_t buf = uv_buf_init(line, (unsigned)len);

    cl->answer = line;
    cl->write.data = cl;
    if (uv_write(&cl->write, (uv_stream_t *)&cl->pipe, &buf, 1, on_written) < 0)
        let_go(cl);
    follow(cl); /* also where the command answered by itself, later */
}

static void dialog_ended(struct dialog *d)
{
    let_go(container_of(d, struct client, dialog));
}

static const struct dialog_ops dialog_ops = { send_answer, dialog_ended };

/* --- who comes in --- */

/* For a client that is not to stay: one line, if it fits, and the end. */
static void refuse(struct client *cl, const char *line)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)line, (unsigned)strlen(line));

    uv_try_write((uv_stream_t *)&cl->pipe, &buf, 1);
    let_go(cl);
}

static bool is_allowed(struct client *cl)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    int fd;

    if (uv_fileno((uv_handle_t *)&cl->pipe, &fd) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    log_limited(LOG_LVL_WARNING, "control", "user %u (process %d) may not ask", peer.uid, peer.pid);
    return false;
}

static void admit(struct client *cl)
{
    struct control *c = cl->control;

    if (!is_allowed(cl)) {
        c->n.refused_uid++;
        refuse(cl, "{\"ok\":false,\"asked\":false,\"error\":\"this user may not ask\","
                   "\"hint\":\"run it as root, or as the user of the daemon\"}\n");
        return;
    }
    if (c->n_clients > CONTROL_CLIENTS) {
        c->n.refused_full++;
        refuse(cl, "{\"ok\":false,\"asked\":false,\"error\":\"too many clients\","
                   "\"hint\":\"try again when another one is done\"}\n");
        return;
    }
    c->n.clients++;
    follow(cl);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct control *c = s->data;
    struct client *cl;

    if (status < 0) {
        log_limited(LOG_LVL_WARNING, "control", "accept: %s", uv_strerror(status));
        return;
    }
    cl = malloc(sizeof(*cl)); /* its buffer needs no zeroes */
    if (cl == NULL) {
        log_error("control", "out of memory");
        abort(); /* as everywhere in the control thread: libuv would never accept again */
    }
    cl->control = c;
    cl->closing = false;
    cl->answer = NULL;
    cl->n_handles = 2;
    uv_pipe_init(c->loop, &cl->pipe, 0);
    uv_timer_init(c->loop, &cl->deadline);
    cl->pipe.data = cl->deadline.data = cl;
    dialog_init(&cl->dialog, c->cmds, &dialog_ops, &c->n.dialog);
    list_push_tail(&c->clients, &cl->link);
    c->n_clients++;
    if (uv_accept(s, (uv_stream_t *)&cl->pipe) < 0)
        let_go(cl);
    else
        admit(cl);
}

/* --- the socket --- */

/* Does anybody listen at @path? Returns 0 if not, or -errno if that cannot be said. */
static int probe(const struct sockaddr_un *at)
{
    struct stat st;
    int fd, rc;

    if (lstat(at->sun_path, &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    rc = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ? -EADDRINUSE : -errno;
    close(fd);
    return rc == -ECONNREFUSED || rc == -ENOENT ? 0 : rc;
}

static int explain(struct cfg_err *err, const struct control_conf *conf, int rc)
{
    const char *why = rc == -EADDRINUSE || rc == -EAGAIN ? "another daemon listens there"
                      : rc == -EEXIST                    ? "exists, and is not a socket"
                                                         : strerror(-rc);

    return cfg_err_set(err, &conf->where, "control socket %s: %s", conf->socket, why);
}

/*
 * The directory it lies in is made, if only that is missing: /run is empty after a boot. Returns 0
 * or -errno, also because uv_pipe_bind() would call a missing directory a lack of permission.
 */
static int make_directory(const char *path)
{
    char copy[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    const char *dir;

    memcpy(copy, path, strlen(path) + 1);
    dir = dirname(copy);
    return mkdir(dir, 0755) == 0 || errno == EEXIST ? 0 : -errno;
}

static int bind_pipe(struct control *c, const struct control_conf *conf)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    mode_t old;
    int rc;

    if (conf->socket[0] == '\0' || strlen(conf->socket) >= sizeof(at.sun_path))
        return -ENAMETOOLONG;
    memcpy(at.sun_path, conf->socket, strlen(conf->socket));
    rc = probe(&at);
    if (rc < 0)
        return rc;
    unlink(conf->socket); /* nobody listens */
    rc = make_directory(conf->socket);
    if (rc < 0)
        return rc;
    /* The file must never be open to more than it should be, not even for a moment. */
    old = umask(0777 & ~conf->mode);
    rc = uv_pipe_bind(&c->pipe, conf->socket);
    umask(old);
    return rc == 0 ? uv_listen((uv_stream_t *)&c->pipe, CONTROL_CLIENTS, on_connection) : rc;
}

struct control *control_open(uv_loop_t *loop, const struct control_conf *conf,
                             const struct cmd_set *cmds, struct cfg_err *err)
{
    struct control *c = calloc(1, sizeof(*c));
    int rc;

    if (c == NULL) {
        explain(err, conf, -ENOMEM);
        return NULL;
    }
    c->loop = loop;
    c->cmds = cmds;
    c->times = default_times;
    list_init(&c->clients);
    uv_pipe_init(loop, &c->pipe, 0);
    c->pipe.data = c;
    rc = bind_pipe(c, conf);
    if (rc == 0)
        return c;
    explain(err, conf, rc);
    control_close(c);
    return NULL;
}

static void on_pipe_closed(uv_handle_t *h)
{
    struct control *c = h->data;

    c->pipe_closed = true;
    free_if_done(c);
}

void control_close(struct control *c)
{
    struct list *pos, *tmp;

    if (c == NULL || c->closing)
        return;
    c->closing = true;
    list_for_each_safe(pos, tmp, &c->clients) let_go(container_of(pos, struct client, link));
    uv_close((uv_handle_t *)&c->pipe, on_pipe_closed); /* removes the file */
}

const struct control_counters *control_counters(const struct control *c)
{
    return &c->n;
}

void control_set_times(struct control *c, const struct control_times *times)
{
    c->times = *times;
}
