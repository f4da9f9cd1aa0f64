#include "drivers/eal.h"

#include "dataplane/base/arena.h"
#include "dataplane/base/log.h"
#include "dataplane/base/num.h"
#include "drivers/vdev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_interrupts.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_ARGS 128
#define PREFIX "isthmus-" /* of a process without machine.file_prefix: its number follows */

struct args {
    struct arena arena;
    char *v[MAX_ARGS];
    int n;
};

static void add(struct args *a, const char *text)
{
    if (a->n < MAX_ARGS - 1)
        a->v[a->n++] = arena_strdup(&a->arena, text);
}

/* DPDK's lines, one by one, into our log. */
static ssize_t on_dpdk_line(void *cookie, const char *text, size_t len)
{
    size_t end = len;

    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r'))
        end--;
    if (end > 0)
        log_info("dpdk", "%.*s", (int)end, text);
    return (ssize_t)len;
}

static void redirect_log(void)
{
    cookie_io_functions_t io = { .write = on_dpdk_line };
    FILE *f = fopencookie(NULL, "w", io);

    if (f == NULL)
        return;
    setvbuf(f, NULL, _IOLBF, 0);
    rte_openlog_stream(f);
}

/*
 * "(0-2,7-7)": where the process may run, by taskset or systemd's CPUAffinity=, as EAL reads it.
 * Without an answer of the kernel's all that are online.
 */
static char *allowed(struct args *a)
{
    char *text = arena_strdup(&a->arena, "");
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0) /* more than CPU_SETSIZE */
        return arena_printf(&a->arena, "(0-%ld)", sysconf(_SC_NPROCESSORS_ONLN) - 1);
    for (int first = 0, last; first < CPU_SETSIZE; first = last + 1) {
        last = first;
        if (!CPU_ISSET(first, &set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set))
            last++;
        text = arena_printf(&a->arena, "%s%s%d-%d", text, *text != '\0' ? "," : "", first, last);
    }
    return arena_printf(&a->arena, "(%s)", text);
}

/* "0@(0-N),1@3,2@5": the control thread floats, worker i is lcore i + 1. */
static char *lcores(struct args *a, const struct machine_conf *conf)
{
    char *all = allowed(a);
    char *text = arena_printf(&a->arena, "0@%s", all);

    for (uint32_t i = 0; i < conf->n_workers; i++) {
        if (conf->cores[i] >= 0)
            text = arena_printf(&a->arena, "%s,%u@%d", text, i + 1, conf->cores[i]);
        else
            text = arena_printf(&a->arena, "%s,%u@%s", text, i + 1, all);
    }
    return text;
}

static void build_args(struct args *a, const struct machine_conf *conf)
{
    bool pci = false;

    add(a, "isthmusd");
    add(a, "--lcores");
    add(a, lcores(a, conf));
    add(a, "--no-telemetry");
    add(a, "--log-level=warning");
    add(a, "-m");
    add(a, arena_printf(&a->arena, "%u", conf->memory_mb));
    if (conf->file_prefix != NULL)
        add(a, arena_printf(&a->arena, "--file-prefix=%s", conf->file_prefix));
    else
        add(a, arena_printf(&a->arena, "--file-prefix=" PREFIX "%d", (int)getpid()));
    if (conf->hugepages) {
        add(a, "--in-memory");
    } else {
        add(a, "--no-huge");
        add(a, "--no-shconf");
    }
    for (uint32_t i = 0; i < conf->n_ports; i++) {
        const struct port_conf *port = &conf->ports[i];

        if (port->device == PORT_PCI) {
            pci = true;
            add(a, "-a");
            add(a, port->pci);
        }
    }
    if (!pci)
        add(a, "--no-pci");
    for (uint32_t i = 0; i < conf->n_eal; i++)
        add(a, conf->eal[i]);
    a->v[a->n] = NULL;
}

/* Away with @name in @parent, and what lies in it. */
static void remove_dir(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        log_info("dpdk", "%s was left behind by a process that is gone: removed", name);
}

/* Is @name the directory of a process of ours that is no more? */
static bool is_left_behind(const char *name)
{
    uint64_t pid;

    return slice_starts(slice_of(name), SLICE(PREFIX)) &&
           num_u64(slice_of(name + strlen(PREFIX)), INT32_MAX, &pid) && pid > 0 &&
           kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/* A process that is killed leaves its directory; it lies beside ours. */
static void sweep(void)
{
    char path[PATH_MAX];
    const struct dirent *e;
    DIR *dir;

    snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
    dir = opendir(dirname(path));
    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (is_left_behind(e->d_name))
            remove_dir(dirfd(dir), e->d_name);
    if (dir != NULL)
        closedir(dir);
}

int eal_start(const struct machine_conf *conf, struct cfg_err *err)
{
    struct args a = { .n = 0 };
    int rc;

    arena_init(&a.arena, 0);
    build_args(&a, conf);
    redirect_log();
    rc = rte_eal_init(a.n, a.v);
    if (rc < 0)
        cfg_err_set(err, NULL, "DPDK does not start: %s%s", rte_strerror(rte_errno),
                    conf->hugepages ? "; are there enough hugepages? (isthmusctl check)" : "");
    else
        sweep();
    arena_fini(&a.arena);
    return rc < 0 ? -EIO : 0;
}

/* Memory is anonymous, but DPDK makes a directory at its start and leaves it: it goes if it is
 * empty. */
void eal_stop(void)
{
    const char *dir = rte_eal_get_runtime_dir();
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", dir != NULL ? dir : "");
    rte_eal_cleanup();
    if (path[0] != '\0' && rmdir(path) < 0 && errno != ENOENT && errno != ENOTEMPTY)
        log_warning("dpdk", "%s is left behind: %s", path, strerror(errno));
}

static void park(void *arg)
{
    sem_post(arg);
    for (;;)
        pause();
}

/* A source of its own, as DPDK waits for its alarms to return at the end. */
static struct rte_intr_handle *park_source(int fd)
{
    struct rte_intr_handle *h = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);

    if (h != NULL &&
        (rte_intr_fd_set(h, fd) != 0 || rte_intr_type_set(h, RTE_INTR_HANDLE_EXT) != 0)) {
        rte_intr_instance_free(h);
        return NULL;
    }
    return h;
}

void eal_park_interrupts(void)
{
    /* They outlive the call: the thread stays with them. */
    static struct rte_intr_handle *source;
    static sem_t parked;
    int fd;

    if (source != NULL)
        return;
    fd = eventfd(1, EFD_CLOEXEC);
    source = fd >= 0 ? park_source(fd) : NULL;
    sem_init(&parked, 0, 0);
    if (source == NULL || rte_intr_callback_register(source, park, &parked) < 0)
        return;
    while (sem_wait(&parked) < 0)
        ;
}

int eal_launch(unsigned i, int (*fn)(void *arg), void *arg)
{
    return rte_eal_remote_launch(fn, arg, i + 1);
}

void eal_join(unsigned i)
{
    rte_eal_wait_lcore(i + 1);
}

uint64_t eal_cycles(void)
{
    return rte_rdtsc();
}

uint64_t eal_hz(void)
{
    return rte_get_tsc_hz();
}
