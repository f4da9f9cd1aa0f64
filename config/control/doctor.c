#include "config/control/doctor.h"

#include <dirent.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define HUGEPAGES "/sys/kernel/mm/hugepages"

struct report {
    json_t *rows;
    bool ready;
};

static void tell(struct report *r, const char *check, const char *state, const char *found,
                 const char *advice)
{
    bool ok = strcmp(state, "ok") == 0;

    json_array_append_new(r->rows, json_pack("{s:s, s:s, s:s, s:s}", "check", check, "state", state,
                                             "found", found, "advice", ok ? "" : advice));
    if (strcmp(state, "missing") == 0)
        r->ready = false;
}

/* The number in a file of the kernel; 0 if there is none. */
static unsigned long read_number(const char *path)
{
    unsigned long n = 0;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu", &n) != 1)
        n = 0;
    fclose(f);
    return n;
}

/* Free hugepages of all sizes, in MiB. */
static unsigned long free_hugepage_mb(void)
{
    DIR *dir = opendir(HUGEPAGES);
    unsigned long mb = 0, kb;
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        char path[512];

        if (sscanf(e->d_name, "hugepages-%lukB", &kb) != 1)
            continue;
        snprintf(path, sizeof(path), HUGEPAGES "/%s/free_hugepages", e->d_name);
        mb += read_number(path) * kb / 1024;
    }
    if (dir != NULL)
        closedir(dir);
    return mb;
}

static void check_hugepages(struct report *r)
{
    unsigned long mb = free_hugepage_mb();
    char found[64];

    snprintf(found, sizeof(found), "%lu MiB free", mb);
    tell(r, "hugepages", mb >= 64 ? "ok" : "optional", found,
         "for machine.hugepages = true: sysctl vm.nr_hugepages=512");
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    unsigned n = 0;

    while (dir != NULL && (e = readdir(dir)) != NULL)
        n += e->d_name[0] != '.' && strcmp(e->d_name, "vfio") != 0;
    if (dir != NULL)
        closedir(dir);
    return n;
}

static void check_vfio(struct report *r)
{
    char found[64];

    if (access("/dev/vfio/vfio", F_OK) != 0) {
        tell(r, "vfio", "optional", "no /dev/vfio",
             "for ports of device = \"pci\": modprobe vfio-pci");
        return;
    }
    snprintf(found, sizeof(found), "%u devices bound", count_entries("/dev/vfio"));
    tell(r, "vfio", count_entries("/dev/vfio") > 0 ? "ok" : "optional", found,
         "for ports of device = \"pci\": dpdk-devbind.py --bind=vfio-pci ADDRESS");
    tell(r, "iommu", count_entries("/sys/class/iommu") > 0 ? "ok" : "optional",
         count_entries("/sys/class/iommu") > 0 ? "on" : "off",
         "for vfio: turn it on in the firmware, and intel_iommu=on for the kernel");
}

static void check_tun(struct report *r)
{
    const bool there = access("/dev/net/tun", R_OK | W_OK) == 0;

    tell(r, "tun", there ? "ok" : "optional", there ? "/dev/net/tun" : "no /dev/net/tun",
         "for a kernel_interface, and for ports of device = \"tap\": modprobe tun");
}

static unsigned long long effective_caps(void)
{
    unsigned long long caps = 0;
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "CapEff: %llx", &caps) == 1)
            break;
    }
    if (f != NULL)
        fclose(f);
    return caps;
}

static void check_rights(struct report *r)
{
    static const struct {
        int cap;
        const char *name, *advice;
    } needed[] = {
        { CAP_NET_ADMIN, "CAP_NET_ADMIN",
          "for af_packet, af_xdp, tap, kernel_interface: run the daemon as root" },
        { CAP_NET_RAW, "CAP_NET_RAW", "for af_packet, af_xdp: run the daemon as root" },
        { CAP_IPC_LOCK, "CAP_IPC_LOCK", "to keep keys and packets in memory" },
        { CAP_SYS_NICE, "CAP_SYS_NICE", "to place workers on cores" },
    };
    unsigned long long caps = effective_caps();

    for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        bool has = caps >> needed[i].cap & 1;

        tell(r, needed[i].name, has ? "ok" : "optional", has ? "yes" : "not for this user",
             needed[i].advice);
    }
}

static void check_memlock(struct report *r)
{
    struct rlimit limit = { 0, 0 };
    char found[64] = "unlimited";
    bool enough;

    getrlimit(RLIMIT_MEMLOCK, &limit);
    enough = limit.rlim_cur == RLIM_INFINITY || (effective_caps() >> CAP_IPC_LOCK & 1);
    if (limit.rlim_cur != RLIM_INFINITY)
        snprintf(found, sizeof(found), "%lu KiB", (unsigned long)(limit.rlim_cur / 1024));
    tell(r, "locked memory", enough ? "ok" : "optional", found,
         "for vfio and af_xdp: ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit");
}

static void check_cores(struct report *r)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    char found[64];

    snprintf(found, sizeof(found), "%ld", n);
    tell(r, "cores", n >= 2 ? "ok" : "optional", found,
         "a worker wants a core of its own, beside the control thread's");
}

static void check_configuration(struct report *r)
{
    bool there = access("/etc/isthmus/isthmus.conf", R_OK) == 0;

    tell(r, "configuration", there ? "ok" : "missing", "/etc/isthmus/isthmus.conf",
         "write one (isthmusd --reference tells every setting), or start isthmusd -c FILE");
}

json_t *doctor(bool *ready)
{
    struct report r = { json_array(), true };

    check_configuration(&r);
    check_cores(&r);
    check_hugepages(&r);
    check_vfio(&r);
    check_tun(&r);
    check_rights(&r);
    check_memlock(&r);
    *ready = r.ready;
    return r.rows;
}
