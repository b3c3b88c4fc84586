// SPDX-License-Identifier: Apache-2.0
//
// The system call filters. Deny-lists on top of namespaces, an own uid and no capabilities: what is
// listed is either kernel surface that programs in a jail have no use for, or a way to make new
// namespaces. Other architectures' calls (i386, x32) fail with ENOSYS, and so do calls that are
// newer than this file. ENOSYS stands where programs probe for a feature and fall back, EPERM
// elsewhere. A jail's init, which has one thing to do, gets an allow-list.
#include "jail/jail_internal.h"

#include "base/buf.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// Calls that the headers of the oldest supported libseccomp do not name.
#define NR_QUOTACTL_FD    443
#define NR_MEMFD_SECRET   447
#define NR_OPEN_TREE_ATTR 467

// The last call that was looked at: file_setattr, of Linux 6.17.
#define NR_LAST          469

#define KIND_RUN         1u
#define KIND_VMM         2u
#define KIND_AGENT       4u
#define KIND_SESSION     8u
#define KIND_ALL         15u
#define KIND_PROGRAM     (KIND_RUN | KIND_SESSION | KIND_VMM) // whoever makes no jails

#define SOCKET_TYPE_MASK 0xf // of a socket's type; above it are flags

#define FILTER_INIT      (JAIL_SECCOMP_SESSION + 1)

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
    {SCMP_SYS(mount), EPERM, KIND_PROGRAM},
    {SCMP_SYS(umount2), EPERM, KIND_PROGRAM},
    {SCMP_SYS(open_tree), EPERM, KIND_PROGRAM},
    {SCMP_SYS(move_mount), EPERM, KIND_PROGRAM},
    {SCMP_SYS(fsopen), EPERM, KIND_PROGRAM},
    {SCMP_SYS(fsconfig), EPERM, KIND_PROGRAM},
    {SCMP_SYS(fsmount), EPERM, KIND_PROGRAM},
    {SCMP_SYS(fspick), EPERM, KIND_PROGRAM},
    {SCMP_SYS(mount_setattr), EPERM, KIND_PROGRAM},
    {NR_OPEN_TREE_ATTR, EPERM, KIND_PROGRAM},
    {SCMP_SYS(pivot_root), EPERM, KIND_PROGRAM},
    {SCMP_SYS(chroot), EPERM, KIND_ALL},
    // Namespaces; for clone see add_clone_rules(). The flags of clone3 lie in memory, which a
    // filter cannot read; with ENOSYS the C library falls back to clone.
    {SCMP_SYS(unshare), EPERM, KIND_PROGRAM},
    {SCMP_SYS(setns), EPERM, KIND_PROGRAM},
    {SCMP_SYS(clone3), ENOSYS, KIND_PROGRAM},
    // Opens files by inode, past every mount.
    {SCMP_SYS(open_by_handle_at), EPERM, KIND_ALL},
    {SCMP_SYS(name_to_handle_at), EPERM, KIND_ALL},
    // Watching file systems as a whole.
    {SCMP_SYS(fanotify_init), EPERM, KIND_ALL},
    // Watching files: the image's are the same for all runs, and so each would see which programs
    // and modules others use. Besides, a user may have but 128 instances, and those of all jails
    // count as the launcher's too. See also add_watch_rules().
    {SCMP_SYS(inotify_init), ENOSYS, KIND_RUN | KIND_VMM},
    {SCMP_SYS(inotify_init1), ENOSYS, KIND_RUN | KIND_VMM},
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
    {SCMP_SYS(sethostname), EPERM, KIND_PROGRAM},
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

// Protocols that the kernel would load a module for: of IP all but TCP, UDP and ICMP, of netlink
// all but the one by which the C library lists interfaces. Each family's whole range is small. Some
// types of sockets bring a protocol, and SOCK_PACKET another family.
static int add_protocol_rules(scmp_filter_ctx ctx)
{
    static const unsigned ip[] = {AF_INET, AF_INET6};
    static const unsigned types[] = {SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET};
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
                             SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_NE, NETLINK_ROUTE));

    for (size_t i = 0; r == 0 && i < sizeof(ip) / sizeof(ip[0]); i++) {
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), 2,
                             SCMP_A0(SCMP_CMP_EQ, ip[i]), SCMP_A2(SCMP_CMP_EQ, IPPROTO_DCCP));
        if (r == 0)
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), 2,
                                 SCMP_A0(SCMP_CMP_EQ, ip[i]), SCMP_A2(SCMP_CMP_GT, IPPROTO_ICMPV6));
        for (size_t t = 0; r == 0 && t < sizeof(types) / sizeof(types[0]); t++)
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
                                 SCMP_A0(SCMP_CMP_EQ, ip[i]),
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, types[t]));
    }
    return r;
}

// Signals that tell of what others do in a directory, or that another opens a file (who has to wait
// then): as inotify, and nothing but file servers uses them. EINVAL is what a kernel without them
// says.
static int add_watch_rules(scmp_filter_ctx ctx)
{
    static const unsigned commands[] = {F_NOTIFY, F_SETLEASE};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(fcntl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, commands[i]));
    return r;
}

// A run may have unix, IPv4, IPv6 and netlink sockets (the C library lists interfaces through
// netlink); everything else, such as packet, vsock, crypto and bluetooth sockets, is kernel surface
// without a use. A VMM gets its sockets handed in. Comparing all 64 bits of the argument also
// refuses a family hidden under high bits. A pair makes sockets of its family before it finds that
// this has no pairs, so it gets unix ones only.
static int add_socket_rules(scmp_filter_ctx ctx, enum jail_seccomp kind)
{
    static const unsigned allowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socketpair), 1,
                             SCMP_A0(SCMP_CMP_NE, AF_UNIX));

    if (r == 0 && kind == JAIL_SECCOMP_VMM)
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
    return r == 0 && kind != JAIL_SECCOMP_AGENT ? add_protocol_rules(ctx) : r;
}

// The limit of core dumps stays what it is (see jail_set_rlimits). Setting it succeeds without a
// word, or is refused where an old value is asked for too: programs that turn dumps off have what
// they want.
static int add_core_rules(scmp_filter_ctx ctx)
{
    const struct scmp_arg_cmp core = SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, RLIMIT_CORE);
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(0), SCMP_SYS(setrlimit), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, RLIMIT_CORE));

    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(0), SCMP_SYS(prlimit64), 3, core,
                             SCMP_A2(SCMP_CMP_NE, 0), SCMP_A3(SCMP_CMP_EQ, 0));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 3, core,
                             SCMP_A2(SCMP_CMP_NE, 0), SCMP_A3(SCMP_CMP_NE, 0));
    return r;
}

// Typing into a terminal that is shared with somebody outside; and line disciplines, protocols over
// serial lines that the kernel loads a module for.
static int add_ioctl_rules(scmp_filter_ctx ctx)
{
    static const unsigned commands[] = {TIOCSTI, TIOCLINUX, TIOCSETD};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, commands[i]));
    return r;
}

// What would be felt beside the jail: memory that is merged with that of others, who learn by time
// what it holds, or it theirs; and a core that runs nobody else on its other thread. EINVAL is what
// a kernel without them says.
static int add_neighbour_rules(scmp_filter_ctx ctx)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(madvise), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, MADV_MERGEABLE));

    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, PR_SCHED_CORE));
    return r;
}

static unsigned kind_bit(enum jail_seccomp kind)
{
    switch (kind) {
    case JAIL_SECCOMP_RUN:
        return KIND_RUN;
    case JAIL_SECCOMP_VMM:
        return KIND_VMM;
    case JAIL_SECCOMP_AGENT:
        return KIND_AGENT;
    case JAIL_SECCOMP_SESSION:
        return KIND_SESSION;
    case JAIL_SECCOMP_NONE:
        break;
    }
    return 0;
}

static int add_rules(scmp_filter_ctx ctx, enum jail_seccomp kind)
{
    unsigned bit = kind_bit(kind);
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
    if (kind != JAIL_SECCOMP_AGENT)
        r = add_clone_rules(ctx);
    if (r == 0)
        r = add_socket_rules(ctx, kind);
    if (r == 0)
        r = add_ioctl_rules(ctx);
    if (r == 0 && kind != JAIL_SECCOMP_AGENT)
        r = add_core_rules(ctx);
    if (r == 0 && kind != JAIL_SECCOMP_AGENT)
        r = add_neighbour_rules(ctx);
    if (r == 0 && kind == JAIL_SECCOMP_RUN)
        r = add_watch_rules(ctx);
    return r;
}

// Init reaps, tells and ends.
static int add_init_rules(scmp_filter_ctx ctx)
{
    static const int allowed[] = {
        SCMP_SYS(wait4),
        SCMP_SYS(write),
        SCMP_SYS(exit_group),
        SCMP_SYS(restart_syscall), // after a stop and continue from outside
        SCMP_SYS(dup2),
        SCMP_SYS(close_range), // be_init(): lets go of all but the pipe
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    return r;
}

// Calls with numbers above NR_LAST, x32 ones among them. Jumps are relative, so this goes in front
// of what the library compiled.
static int append_newer_calls(struct buf *filter)
{
    const struct sock_filter refuse[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NR_LAST, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };

    return buf_append(filter, refuse, sizeof(refuse));
}

static int export_filter(scmp_filter_ctx ctx, struct buf *ret)
{
    _cleanup_fd_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return r;
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : fd_read_to_buf(fd, ret);
}

static int compile_filter(unsigned kind, struct buf *ret)
{
    bool init = kind == FILTER_INIT;
    scmp_filter_ctx ctx = seccomp_init(init ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ALLOW);
    int r;

    if (ctx == NULL)
        return -ENOMEM;
    r = init ? add_init_rules(ctx) : add_rules(ctx, (enum jail_seccomp)kind);
    if (r == 0 && !init)
        r = append_newer_calls(ret);
    if (r == 0)
        r = export_filter(ctx, ret);
    seccomp_release(ctx);
    return r;
}

static int get_filter(unsigned kind, struct sock_fprog *ret)
{
    // Process-wide cache: compiling takes longer than all the rest of a spawn. jail_spawn() is for
    // single-threaded processes, so it needs no lock.
    static struct buf cache[FILTER_INIT + 1];
    struct buf *b;

    if (kind > FILTER_INIT)
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

int jail_seccomp_get(enum jail_seccomp kind, struct sock_fprog *ret)
{
    *ret = (struct sock_fprog){0};
    return kind == JAIL_SECCOMP_NONE ? 0 : get_filter(kind, ret);
}

int jail_seccomp_init(struct sock_fprog *ret)
{
    return get_filter(FILTER_INIT, ret);
}

int jail_prepare(enum jail_seccomp kind)
{
    struct sock_fprog unused;
    int r = jail_seccomp_init(&unused);

    return r < 0 ? r : jail_seccomp_get(kind, &unused);
}
