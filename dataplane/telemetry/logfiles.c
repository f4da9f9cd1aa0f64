#include "dataplane/telemetry/logfiles.h"

#include "dataplane/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH (64 * 1024)

struct logfile {
    char *path;
    int fd;
    bool told; /* that it cannot be written */
    size_t len;
    char *batch;
};

struct logfiles {
    unsigned n;
    struct logfile *v;
    uint64_t lost;
};

struct logfiles *logfiles_new(void)
{
    return calloc(1, sizeof(struct logfiles));
}

static int open_path(const char *path)
{
    if (strcmp(path, "/dev/stdout") == 0)
        return dup(STDOUT_FILENO);
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

static void write_out(struct logfiles *f, struct logfile *file)
{
    size_t at = 0;

    while (at < file->len) {
        ssize_t n = write(file->fd, file->batch + at, file->len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            f->lost++;
            if (!file->told)
                log_error("accesslog", "%s cannot be written: %s", file->path, strerror(errno));
            file->told = true;
            break;
        }
        at += (size_t)n;
    }
    file->len = 0;
}

void logfiles_free(struct logfiles *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        write_out(f, &f->v[i]);
        close(f->v[i].fd);
        free(f->v[i].path);
        free(f->v[i].batch);
    }
    free(f->v);
    free(f);
}

int logfiles_id(struct logfiles *f, const char *path)
{
    struct logfile file = { 0 }, *more;

    for (unsigned i = 0; i < f->n; i++)
        if (strcmp(f->v[i].path, path) == 0)
            return (int)i;
    more = realloc(f->v, (f->n + 1) * sizeof(f->v[0]));
    if (more == NULL)
        return -ENOMEM;
    f->v = more;
    file.fd = open_path(path);
    if (file.fd < 0)
        return -errno;
    file.path = strdup(path);
    file.batch = malloc(BATCH);
    if (file.path == NULL || file.batch == NULL) {
        close(file.fd);
        free(file.path);
        free(file.batch);
        return -ENOMEM;
    }
    f->v[f->n] = file;
    return (int)f->n++;
}

unsigned logfiles_drain(struct logfiles *f, struct accesslog_ring *ring, unsigned max)
{
    char line[ACCESSLOG_LINE_MAX];
    unsigned n = 0;
    uint32_t id;
    size_t len;

    while (n < max && (len = accesslog_pop(ring, &id, line)) > 0) {
        struct logfile *file = &f->v[id];

        n++;
        if (id >= f->n)
            continue;
        if (file->len + len > BATCH)
            write_out(f, file);
        memcpy(file->batch + file->len, line, len);
        file->len += len;
    }
    for (unsigned i = 0; i < f->n; i++)
        if (f->v[i].len > 0)
            write_out(f, &f->v[i]);
    return n;
}

void logfiles_reopen(struct logfiles *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        int fd = open_path(f->v[i].path);

        if (fd < 0) {
            log_error("accesslog", "%s cannot be opened again: %s; the old file stays",
                      f->v[i].path, strerror(errno));
            continue;
        }
        close(f->v[i].fd);
        f->v[i].fd = fd;
        f->v[i].told = false;
    }
}

uint64_t logfiles_lost(const struct logfiles *f)
{
    return f->lost;
}
