#include "drivers/wake.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int wake_init(struct wake *w)
{
    w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->event < 0 ? -errno : 0;
}

void wake_close(struct wake *w)
{
    if (w->event >= 0)
        close(w->event);
    w->event = -1;
}

static bool is_known(int fd, const struct wake *all, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < all[i].n; k++)
            if (all[i].sockets[k] == fd)
                return true;
    return false;
}

static bool is_xdp(int fd)
{
    int domain;
    socklen_t len = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_XDP;
}

bool wake_add_xdp(struct wake *w, const struct wake *all, uint32_t n)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *e;
    int found = -1;

    while (found < 0 && dir != NULL && (e = readdir(dir)) != NULL) {
        const int fd = atoi(e->d_name);

        if (e->d_name[0] != '.' && is_xdp(fd) && !is_known(fd, all, n))
            found = fd;
    }
    if (dir != NULL)
        closedir(dir);
    if (found < 0 || w->n == MACHINE_MAX_PORTS)
        return false;
    w->sockets[w->n++] = found;
    return true;
}

void wake_expect(struct wake *w)
{
    atomic_store_explicit(&w->asleep, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* see wake_up() */
}

void wake_cancel(struct wake *w)
{
    atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
}

void wake_sleep(struct wake *w, uint64_t us)
{
    const struct timespec most = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };
    struct pollfd fds[MACHINE_MAX_PORTS + 1] = { { .fd = w->event, .events = POLLIN } };
    eventfd_t unused;

    for (uint32_t i = 0; i < w->n; i++)
        fds[i + 1] = (struct pollfd){ .fd = w->sockets[i], .events = POLLIN };
    (void)ppoll(fds, w->n + 1, &most, NULL);
    wake_cancel(w);
    if ((fds[0].revents & POLLIN) != 0)
        (void)eventfd_read(w->event, &unused);
}

void wake_up_slow(struct wake *w)
{
    /* the first of many who wake it writes */
    if (atomic_exchange_explicit(&w->asleep, false, memory_order_relaxed))
        (void)eventfd_write(w->event, 1);
}
