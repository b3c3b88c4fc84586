// SPDX-License-Identifier: Apache-2.0
//
// The system call filters. Deny-lists on top of namespaces, an own uid and no capabilities: what is
// listed is either kernel surface that programs in a jail have no use for, or a way to make new
// namespaces. Other architectures' calls (i386, x32) fail with ENOSYS. ENOSYS stands where programs
// probe for a feature and fall back, EPERM elsewhere.
#include "jail/jail_internal.h"

#include "base/buf.h"
#include "base/fd.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

// Calls that the headers of the oldest supported libseccomp do not name.
#define NR_QUOTACTL_FD  443
#define NR_MEMFD_SECRET 447

#define KIND_RUN        1u
#define KIND_VMM        2u
#define KIND_ALL        3u

struct deny {
    int nr;
    int error;
    unsigned kinds;
};

static const struct deny deny_list[] = {
    // io_uring: large, young, and its operations escape this filter.
    {SCMP_SYS(io_uring_setup), ENOSYS, KIND_ALL},
    {SCMP_SYS(io_uring_enter), ENOSYS, KIND_ALL},
    {SCMP_SYS(io_uring_register), ENOSYS, KIND_ALL},
    // Keyrings: not namespaced by the pid or mount namespace, shared by uid.
    {SCMP_SYS(add_key), EPERM, KIND_ALL},
    {SCMP_SYS(request_key), EPERM, KIND_ALL},
    {SCMP_SYS(keyctl), EPERM, KIND_ALL},
    // Kernel code loading and tracing.
    {SCMP_SYS(bpf), EPERM, KIND_ALL},
    {SCMP_SYS(perf_event_open), EPERM, KIND_ALL},
    {SCMP_SYS(init_module), EPERM, KIND_ALL},
    {SCMP_SYS(finit_module), EPERM, KIND_ALL},
    {SCMP_SYS(delete_module), EPERM, KIND_ALL},
    {SCMP_SYS(kexec_load), EPERM, KIND_ALL},
    {SCMP_SYS(kexec_file_load), EPERM, KIND_ALL},
    // Lets a program stop the kernel in the middle of a copy: a classic aid of exploits.
    {SCMP_SYS(userfaultfd), ENOSYS, KIND_ALL},
    // Mounts, old and new interface.
    {SCMP_SYS(mount), EPERM, KIND_ALL},
    {SCMP_SYS(umount2), EPERM, KIND_ALL},
    {SCMP_SYS(open_tree), EPERM, KIND_ALL},
    {SCMP_SYS(move_mount), EPERM, KIND_ALL},
    {SCMP_SYS(fsopen), EPERM, KIND_ALL},
    {SCMP_SYS(fsconfig), EPERM, KIND_ALL},
    {SCMP_SYS(fsmount), EPERM, KIND_ALL},
    {SCMP_SYS(fspick), EPERM, KIND_ALL},
    {SCMP_SYS(mount_setattr), EPERM, KIND_ALL},
    {SCMP_SYS(pivot_root), EPERM, KIND_ALL},
    {SCMP_SYS(chroot), EPERM, KIND_ALL},
    // Namespaces; for clone see add_clone_rules(). The flags of clone3 lie in memory, which a
    // filter cannot read; with ENOSYS the C library falls back to clone.
    {SCMP_SYS(unshare), EPERM, KIND_ALL},
    {SCMP_SYS(setns), EPERM, KIND_ALL},
    {SCMP_SYS(clone3), ENOSYS, KIND_ALL},
    // Opens files by inode, past every mount.
    {SCMP_SYS(open_by_handle_at), EPERM, KIND_ALL},
    {SCMP_SYS(name_to_handle_at), EPERM, KIND_ALL},
    // Watching file systems as a whole.
    {SCMP_SYS(fanotify_init), EPERM, KIND_ALL},
    {SCMP_SYS(lookup_dcookie), EPERM, KIND_ALL},
    // Administration of the machine.
    {SCMP_SYS(quotactl), EPERM, KIND_ALL},
    {NR_QUOTACTL_FD, EPERM, KIND_ALL},
    {SCMP_SYS(reboot), EPERM, KIND_ALL},
    {SCMP_SYS(swapon), EPERM, KIND_ALL},
    {SCMP_SYS(swapoff), EPERM, KIND_ALL},
    {SCMP_SYS(syslog), EPERM, KIND_ALL},
    {SCMP_SYS(acct), EPERM, KIND_ALL},
    {SCMP_SYS(settimeofday), EPERM, KIND_ALL},
    {SCMP_SYS(clock_settime), EPERM, KIND_ALL},
    {SCMP_SYS(sethostname), EPERM, KIND_ALL},
    {SCMP_SYS(setdomainname), EPERM, KIND_ALL},
    {SCMP_SYS(vhangup), EPERM, KIND_ALL},
    {SCMP_SYS(iopl), EPERM, KIND_ALL},
    {SCMP_SYS(ioperm), EPERM, KIND_ALL},
    // Segment descriptors: only 16-bit code has a use for them, and they had their share of holes.
    {SCMP_SYS(modify_ldt), ENOSYS, KIND_ALL},
    // Leftovers of other decades.
    {SCMP_SYS(uselib), ENOSYS, KIND_ALL},
    {SCMP_SYS(ustat), ENOSYS, KIND_ALL},
    {SCMP_SYS(sysfs), ENOSYS, KIND_ALL},
    {SCMP_SYS(_sysctl), ENOSYS, KIND_ALL},
    {SCMP_SYS(nfsservctl), ENOSYS, KIND_ALL},
    // Moves pages of other processes between NUMA nodes.
    {SCMP_SYS(move_pages), EPERM, KIND_ALL},
    {SCMP_SYS(migrate_pages), EPERM, KIND_ALL},
    // Memory the kernel cannot reach is memory that limits and dumps do not see.
    {NR_MEMFD_SECRET, ENOSYS, KIND_ALL},
    // Debuggers are honest programs in a run (the pid namespace bounds them); a VMM has no use for
    // them.
    {SCMP_SYS(ptrace), EPERM, KIND_VMM},
    {SCMP_SYS(process_vm_readv), EPERM, KIND_VMM},
    {SCMP_SYS(process_vm_writev), EPERM, KIND_VMM},
    {SCMP_SYS(pidfd_getfd), EPERM, KIND_VMM},
    {SCMP_SYS(kcmp), EPERM, KIND_VMM},
    {SCMP_SYS(connect), EPERM, KIND_VMM},
    {SCMP_SYS(bind), EPERM, KIND_VMM},
    {SCMP_SYS(listen), EPERM, KIND_VMM},
};

static int add_clone_rules(scmp_filter_ctx ctx)
{
    static const uint64_t flags[] = {CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                     CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));

        if (r < 0)
            return r;
    }
    return 0;
}

// A run may have unix, IPv4, IPv6 and netlink sockets (the C library lists interfaces through
// netlink); everything else, such as packet, vsock, crypto and bluetooth sockets, is kernel surface
// without a use. A VMM gets its sockets handed in. Comparing all 64 bits of the argument also
// refuses a family hidden under high bits.
static int add_socket_rules(scmp_filter_ctx ctx, enum jail_seccomp kind)
{
    static const unsigned allowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    int r = 0;

    if (kind == JAIL_SECCOMP_VMM)
        return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 0);
    for (unsigned family = 0; r == 0 && family <= AF_NETLINK; family++) {
        bool ok = false;

        for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
            ok = ok || allowed[i] == family;
        if (!ok)
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                                 SCMP_A0(SCMP_CMP_EQ, family));
    }
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
    return r;
}

// Typing into a terminal that is shared with somebody outside.
static int add_ioctl_rules(scmp_filter_ctx ctx)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCSTI));

    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCLINUX));
    return r;
}

static int add_rules(scmp_filter_ctx ctx, enum jail_seccomp kind)
{
    unsigned bit = kind == JAIL_SECCOMP_RUN ? KIND_RUN : KIND_VMM;
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

    if (r < 0)
        return r;
    // A tree of comparisons instead of a list: a denied call is rare, but so is the kernel's cache
    // of always-allowed calls on old kernels.
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; i < sizeof(deny_list) / sizeof(deny_list[0]); i++) {
        if ((deny_list[i].kinds & bit) == 0)
            continue;
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO((unsigned)deny_list[i].error), deny_list[i].nr, 0);
        if (r < 0)
            return r;
    }
    r = add_clone_rules(ctx);
    if (r == 0)
        r = add_socket_rules(ctx, kind);
    if (r == 0)
        r = add_ioctl_rules(ctx);
    return r;
}

static int compile_filter(enum jail_seccomp kind, struct buf *ret)
{
    _cleanup_fd_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
    scmp_filter_ctx ctx;
    int r;

    if (fd < 0)
        return -errno;
    ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (ctx == NULL)
        return -ENOMEM;
    r = add_rules(ctx, kind);
    if (r == 0)
        r = seccomp_export_bpf(ctx, fd);
    seccomp_release(ctx);
    if (r < 0)
        return r;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    return fd_read_to_buf(fd, ret);
}

int jail_seccomp_get(enum jail_seccomp kind, struct sock_fprog *ret)
{
    // Process-wide cache: compiling takes longer than all the rest of a spawn. jail_spawn() is for
    // single-threaded processes, so it needs no lock.
    static struct buf cache[JAIL_SECCOMP_VMM + 1];
    struct buf *b;

    *ret = (struct sock_fprog){0};
    if (kind == JAIL_SECCOMP_NONE)
        return 0;
    if (kind > JAIL_SECCOMP_VMM)
        return -EINVAL;
    b = &cache[kind];
    if (b->len == 0) {
        int r = compile_filter(kind, b);

        if (r < 0) {
            buf_release(b);
            return r;
        }
    }
    *ret = (struct sock_fprog){.len = (unsigned short)(b->len / sizeof(struct sock_filter)),
                               .filter = (struct sock_filter *)(void *)b->data};
    return 0;
}

int jail_prepare(enum jail_seccomp kind)
{
    struct sock_fprog unused;

    return jail_seccomp_get(kind, &unused);
}
