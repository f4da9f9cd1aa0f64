#include "config/control/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (256u << 20)

int ask_cannot(const struct ask_conf *o, int err)
{
    const char *what = strerror(err), *hint = "";

    switch (err) {
    case ENOENT:
    case ECONNREFUSED:
        what = "no daemon listens";
        hint = "is isthmusd running? systemctl status isthmusd; another socket: --socket PATH";
        break;
    case EACCES:
    case EPERM:
        what = "no permission";
        hint = "run it as root, or as the user of the daemon";
        break;
    case EAGAIN:
        what = "no answer in time";
        hint = "the daemon may be busy: look at its log; to wait longer: --timeout SECONDS";
        break;
    case ENOTSOCK:
    case EPROTOTYPE:
        what = "not a control socket";
        hint = "which path has control.socket in the configuration?";
        break;
    default:
        break;
    }
    fprintf(stderr, "isthmusctl: %s: %s\n", o->socket, what);
    if (hint[0] != '\0')
        fprintf(stderr, "  %s\n", hint);
    return ASK_NOT_ASKED;
}

int ask_open(const struct ask_conf *o)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = o->timeout_s };
    int fd;

    if (strlen(o->socket) >= sizeof(at.sun_path))
        return -ENAMETOOLONG;
    memcpy(at.sun_path, o->socket, strlen(o->socket));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    return fd;
}

static int send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* One line, without its newline, from malloc. 0 or -errno; -EPIPE: it ended before. */
static int receive_line(int fd, char **ret)
{
    size_t len = 0, room = 16384;
    char *line = malloc(room + 1);

    while (line != NULL) {
        ssize_t n = recv(fd, line + len, room - len, 0);
        int err = errno;
        char *end;

        if (n < 0 && err == EINTR)
            continue;
        if (n <= 0) {
            free(line);
            return n < 0 ? -err : -EPIPE;
        }
        end = memchr(line + len, '\n', (size_t)n);
        len += (size_t)n;
        if (end != NULL) {
            *end = '\0';
            *ret = line;
            return 0;
        }
        if (len == room) {
            char *more = room < ANSWER_MAX ? realloc(line, 2 * room + 1) : NULL;

            if (more == NULL)
                free(line);
            line = more;
            room *= 2;
        }
    }
    return -ENOMEM;
}

int ask_line(int fd, const char *request, char **ret)
{
    int rc = send_all(fd, request, strlen(request));

    if (rc == 0)
        rc = send_all(fd, "\n", 1);
    /* A daemon that refuses us closes at once, but has told us why. */
    return rc == 0 || rc == -EPIPE ? receive_line(fd, ret) : rc;
}

int ask(const struct ask_conf *o, const char *request, char **ret)
{
    int fd = ask_open(o), rc;

    if (fd < 0)
        return fd;
    rc = ask_line(fd, request, ret);
    close(fd);
    return rc;
}
