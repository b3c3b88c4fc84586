// SPDX-License-Identifier: Apache-2.0
#include "launch/vmm_jail.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define VMM_NOFILE       256
#define VMM_NPROC        128           // as in the control group, see VMM_PROCESSES
#define FILE_SLACK_BYTES (64ull << 20) // device state and log beside the RAM file
#define VERSION_MS       5000
#define VERSION_BYTES    4096

static struct jail_mount *add_mount(struct vmm_jail *j, enum jail_mount_kind kind,
                                    const char *source, const char *target)
{
    struct jail_mount *m = &j->mounts[j->mount_count++];

    *m = (struct jail_mount){
        .kind = kind, .source = source, .target = target, .fd = -1, .read_only = 1};
    return m;
}

// The root of a VMM: the program, the libraries, its firmware, and nothing of the host's /etc, /var
// or homes.
static void plan_root(const struct vmm_host *host, bool kvm, struct vmm_jail *j)
{
    static const char *const libraries[] = {"/usr/lib", "/usr/lib64", "/usr/local/lib"};
    static const char *const links[][2] = {{"usr/lib", "/lib"}, {"usr/lib64", "/lib64"}};
    static const char *const firmware[] = {"/usr/share/qemu", "/usr/share/seabios",
                                           "/usr/local/share/qemu"};

    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        struct jail_mount *m = add_mount(j, JAIL_MOUNT_BIND, libraries[i], libraries[i]);

        m->exec = 1;
        m->optional = 1;
    }
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        add_mount(j, JAIL_MOUNT_SYMLINK, links[i][0], links[i][1]);
    for (size_t i = 0; i < sizeof(firmware) / sizeof(firmware[0]); i++)
        add_mount(j, JAIL_MOUNT_BIND, firmware[i], firmware[i])->optional = 1;
    // Finding a hundred libraries is quicker with it.
    add_mount(j, JAIL_MOUNT_BIND, "/etc/ld.so.cache", "/etc/ld.so.cache")->optional = 1;
    add_mount(j, JAIL_MOUNT_BIND, host->qemu, host->qemu)->exec = 1;
    // QEMU opens its memory by /proc/self/fd.
    if (host->level == VMM_LEVEL_FULL)
        add_mount(j, JAIL_MOUNT_PROC, NULL, "/proc");
    else
        add_mount(j, JAIL_MOUNT_BIND, "/proc", "/proc");
    add_mount(j, JAIL_MOUNT_DEV, kvm ? "/dev/kvm" : NULL, "/dev");
}

static uint32_t namespaces(const struct vmm_host *host)
{
    uint32_t ns = 0;

    if (host->level == VMM_LEVEL_BARE)
        return 0;
    ns = JAIL_NS_MOUNT | JAIL_NS_NET | JAIL_NS_IPC | JAIL_NS_UTS | JAIL_NS_CGROUP;
    if (host->level == VMM_LEVEL_FULL)
        ns |= JAIL_NS_PID;
    if (!host->root)
        ns |= JAIL_NS_USER;
    return ns;
}

void vmm_jail_plan(const struct vmm_host *host, uint32_t slot, bool kvm, uint64_t memory_bytes,
                   struct vmm_jail *ret)
{
    struct jail_plan *p = &ret->plan;

    *ret = (struct vmm_jail){.plan = JAIL_PLAN_INIT};
    p->ns = namespaces(host);
    if (p->ns & JAIL_NS_MOUNT)
        plan_root(host, kvm, ret);
    p->mounts = ret->mounts;
    p->mount_count = ret->mount_count;
    p->uid = host->root ? host->uid_base + 1 + slot : geteuid();
    p->gid = host->root ? (gid_t)p->uid : getegid();
    p->hostname = "vmm";
    p->cwd = "/";
    ret->rlimits[0] = (struct jail_rlimit){RLIMIT_CORE, 0};
    ret->rlimits[1] = (struct jail_rlimit){RLIMIT_NOFILE, VMM_NOFILE};
    ret->rlimits[2] = (struct jail_rlimit){RLIMIT_FSIZE, memory_bytes + FILE_SLACK_BYTES};
    ret->rlimits[3] = (struct jail_rlimit){RLIMIT_NPROC, VMM_NPROC};
    p->rlimits = ret->rlimits;
    // An ordinary user's VMMs share its uid, and so one count of processes with all it does.
    p->rlimit_count = host->root ? 4 : 3;
    p->seccomp = JAIL_SECCOMP_VMM;
    p->no_new_privs = 1;
    p->die_with_parent = 1;
    p->new_session = 1;
    p->exec_as_init = 1; // one process less; QEMU starts none, so there is nothing to reap
}

uint32_t vmm_host_confinement(const struct vmm_host *host)
{
    uint32_t bits = LAUNCH_CONFINED_SECCOMP;

    if (host->root)
        bits |= LAUNCH_CONFINED_UID;
    if (host->level <= VMM_LEVEL_NO_PID)
        bits |= LAUNCH_CONFINED_NET | LAUNCH_CONFINED_ROOT;
    if (host->level == VMM_LEVEL_FULL)
        bits |= LAUNCH_CONFINED_PID;
    return bits;
}

// Collects what the version query prints, with a deadline: a hanging program is no VMM.
static int read_version(int fd, char ret[64])
{
    uint64_t deadline = clock_deadline_ms(VERSION_MS);
    char text[VERSION_BYTES];
    size_t len = 0;
    const char *p;

    while (len < sizeof(text) - 1) {
        int r = fd_wait(fd, POLLIN, deadline);
        ssize_t n;

        if (r <= 0)
            return r == 0 ? -ETIMEDOUT : r;
        n = read(fd, text + len, sizeof(text) - 1 - len);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    p = strstr(text, "version ");
    if (p == NULL)
        return -EPROTO;
    (void)snprintf(ret, 64, "%.*s", (int)strcspn(p + 8, "\n"), p + 8);
    return 0;
}

static int try_level(struct vmm_host *host, struct err *err)
{
    const char *argv[] = {host->qemu, "--version", NULL};
    const char *envp[] = {NULL};
    struct jail_child child = JAIL_CHILD_INIT;
    struct jail_fd out[2];
    struct vmm_jail j;
    int fds[2];
    int r;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    vmm_jail_plan(host, LAUNCH_VMS_MAX, false, 0, &j);
    out[0] = (struct jail_fd){fds[1], STDOUT_FILENO};
    out[1] = (struct jail_fd){fds[1], STDERR_FILENO};
    j.plan.fds = out;
    j.plan.fd_count = 2;
    j.plan.argv = argv;
    j.plan.envp = envp;
    r = jail_spawn(&j.plan, &child, err);
    fd_close(&fds[1]);
    if (r == 0) {
        r = read_version(fds[0], host->qemu_version);
        if (r < 0)
            r = err_sys(err, r, "%.100s --version", host->qemu);
    }
    jail_child_release(&child);
    fd_close(&fds[0]);
    return r;
}

int vmm_host_probe(struct vmm_host *host, struct err *err)
{
    struct err last = ERR_INIT;

    host->note[0] = '\0';
    for (int level = 0; level < VMM_LEVEL_COUNT; level++) {
        host->level = (enum vmm_level)level;
        if (try_level(host, &last) == 0)
            return 0;
        // The first failure is the one that explains.
        if (host->note[0] == '\0')
            (void)snprintf(host->note, sizeof(host->note), "%.150s", last.message);
    }
    *err = last;
    return -1;
}
