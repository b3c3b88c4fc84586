// SPDX-License-Identifier: Apache-2.0
//
// What the program inside a jail does in test_jail.c: each probe prints what is not as it should
// be, or what it found.
#ifndef CSB_TESTS_JAIL_PROBES_H
#define CSB_TESTS_JAIL_PROBES_H

#include "base/buf.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ABSTRACT_NAME "csb-jail-test"

static int fd_count(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    if (d == NULL)
        return -1;
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n - 3; // ".", "..", the directory itself
}

static void print_status_lines(void)
{
    static const char *const keys[] = {"Uid:",    "Gid:",    "Groups:", "CapInh:",     "CapPrm:",
                                       "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:"};
    _cleanup_free_ char *text = NULL;

    if (fd_read_file(AT_FDCWD, "/proc/self/status", 65536, &text, NULL) < 0)
        return;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *p = strstr(text, keys[i]);

        if (p != NULL)
            printf("%.*s\n", (int)strcspn(p, "\n"), p);
    }
}

static long try_clone_newuser(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0)
        _exit(0);
    return pid;
}

// Each is called with arguments that would fail otherwise too, but with another error.
#define TRY(name, want, call)                                                                      \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long r_ = (call);                                                                          \
        if (r_ != -1 || errno != (want))                                                           \
            printf("%s: result %ld, %s\n", name, r_, strerror(errno));                             \
    } while (0)

static void probe_denied(void)
{
    int pair[2];

    TRY("io_uring_setup", ENOSYS, syscall(SYS_io_uring_setup, 1, NULL));
    TRY("io_uring_enter", ENOSYS, syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL));
    TRY("keyctl", EPERM, syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    TRY("add_key", EPERM, syscall(SYS_add_key, "user", "x", "y", 1, -2));
    TRY("request_key", EPERM, syscall(SYS_request_key, "user", "x", NULL, 0));
    TRY("bpf", EPERM, syscall(SYS_bpf, 9999, NULL, 0));
    TRY("perf_event_open", EPERM, syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    TRY("userfaultfd", ENOSYS, syscall(SYS_userfaultfd, 0xffff));
    TRY("mount", EPERM, mount(NULL, "/nonexistent", NULL, 0, NULL));
    TRY("umount2", EPERM, umount2("/nonexistent", 0));
    TRY("open_tree", EPERM, syscall(SYS_open_tree, -1, "/nonexistent", 0));
    TRY("move_mount", EPERM, syscall(SYS_move_mount, -1, "", -1, "", 0));
    TRY("fsopen", EPERM, syscall(SYS_fsopen, "nonexistent", 0));
    TRY("fsmount", EPERM, syscall(SYS_fsmount, -1, 0, 0));
    TRY("fspick", EPERM, syscall(SYS_fspick, -1, "x", 0));
    TRY("mount_setattr", EPERM, syscall(SYS_mount_setattr, -1, "", 0, NULL, 0));
    TRY("pivot_root", EPERM, syscall(SYS_pivot_root, "/nonexistent", "/nonexistent"));
    TRY("chroot", EPERM, chroot("/nonexistent"));
    TRY("unshare", EPERM, unshare(CLONE_NEWUSER));
    TRY("setns", EPERM, setns(-1, 0));
    TRY("clone newuser", EPERM, try_clone_newuser());
    TRY("clone3", ENOSYS, syscall(SYS_clone3, NULL, 0));
    TRY("open_by_handle_at", EPERM, syscall(SYS_open_by_handle_at, -1, NULL, 0));
    TRY("quotactl", EPERM, syscall(SYS_quotactl, 0, NULL, 0, NULL));
    TRY("quotactl_fd", EPERM, syscall(SYS_quotactl_fd, -1, 0, 0, NULL));
    TRY("reboot", EPERM, syscall(SYS_reboot, 0, 0, 0, NULL));
    TRY("swapon", EPERM, syscall(SYS_swapon, "/nonexistent", 0));
    TRY("syslog", EPERM, syscall(SYS_syslog, 9999, NULL, 0));
    TRY("acct", EPERM, syscall(SYS_acct, "/nonexistent"));
    TRY("settimeofday", EPERM, syscall(SYS_settimeofday, (void *)1, NULL));
    TRY("clock_settime", EPERM, syscall(SYS_clock_settime, 9999, NULL));
    TRY("kexec_load", EPERM, syscall(SYS_kexec_load, 0, 0, NULL, 0));
    TRY("init_module", EPERM, syscall(SYS_init_module, NULL, 0, NULL));
    TRY("finit_module", EPERM, syscall(SYS_finit_module, -1, NULL, 0));
    TRY("modify_ldt", ENOSYS, syscall(SYS_modify_ldt, 99, NULL, 0));
    TRY("memfd_secret", ENOSYS, syscall(447, 0xffff));
    TRY("vsock", EPERM, socket(AF_VSOCK, SOCK_STREAM, 0));
    TRY("packet", EPERM, socket(AF_PACKET, SOCK_RAW, 0));
    TRY("alg", EPERM, socket(AF_ALG, SOCK_SEQPACKET, 0));
    TRY("pair of vsock", EPERM, socketpair(AF_VSOCK, SOCK_STREAM, 0, pair));
    TRY("pair of netlink", EPERM, socketpair(AF_NETLINK, SOCK_RAW, 0, pair));
    TRY("inotify_init", ENOSYS, syscall(SYS_inotify_init));
    TRY("inotify_init1", ENOSYS, syscall(SYS_inotify_init1, -1));
    TRY("F_NOTIFY", EINVAL, fcntl(-1, F_NOTIFY, DN_ACCESS));
    TRY("F_SETLEASE", EINVAL, fcntl(-1, F_SETLEASE, F_UNLCK));
    TRY("socket DCCP", EPERM, socket(AF_INET, SOCK_DCCP | SOCK_CLOEXEC, 0));
    TRY("socket packet of IP", EPERM, socket(AF_INET, SOCK_PACKET, 0));
    TRY("ioctl TIOCSETD", EPERM, syscall(SYS_ioctl, -1, 0x5423, NULL));
    TRY("MADV_MERGEABLE", EINVAL, madvise((void *)4096, 4096, MADV_MERGEABLE));
    TRY("PR_SCHED_CORE", EINVAL, prctl(62, 1, -1, 0, 0));
    TRY("high bits", EPERM, syscall(SYS_socket, 0x100000000ul | AF_VSOCK, SOCK_STREAM, 0));
    TRY("ioctl TIOCSTI", EPERM, syscall(SYS_ioctl, -1, 0x5412, NULL));
    TRY("open_tree_attr", EPERM, syscall(467, -1, "/nonexistent", 0, NULL, 0));
    TRY("newer calls", ENOSYS, syscall(470));
    TRY("newer calls", ENOSYS, syscall(100000));
    TRY("x32 getpid", ENOSYS, syscall(0x40000000 | SYS_getpid));
    printf("checked\n");
}

static void probe_allowed(void)
{
    int fds[2];
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        (void)raise(SIGSTOP);
        _exit(7);
    }
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
        printf("no ptrace stop\n");
    (void)ptrace(PTRACE_CONT, pid, NULL, 0);
    if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7)
        printf("no exit after ptrace\n");
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 || socket(AF_INET, SOCK_STREAM, 0) < 0 ||
        socket(AF_NETLINK, SOCK_RAW, 0) < 0)
        printf("no sockets\n");
    printf("checked\n");
}

static bool denied_write(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return true;
    (void)close(fd);
    return false;
}

static void probe_files(void)
{
    static const char *const shut[] = {"/x", "/dev/x", "/proc/sys/kernel/hostname", "/self",
                                       "/proc/sysrq-trigger"};
    struct stat st;

    for (size_t i = 0; i < sizeof(shut) / sizeof(shut[0]); i++)
        if (!denied_write(shut[i]) && strcmp(shut[i], "/proc/sysrq-trigger") != 0)
            printf("%s is writable\n", shut[i]);
    if (denied_write("/work/x") || denied_write("/dev/shm/x"))
        printf("no scratch: %s\n", strerror(errno));
    if (stat("/work", &st) < 0 || st.st_uid != getuid() || (st.st_mode & 07777) != 0700)
        printf("/work: uid %u mode %o\n", st.st_uid, st.st_mode);
    if (stat("/proc/kcore", &st) == 0 && !S_ISCHR(st.st_mode))
        printf("kcore is not masked\n");
    if (denied_write("/dev/null") || open("/dev/urandom", O_RDONLY) < 0 ||
        access("/dev/stdout", W_OK) < 0)
        printf("/dev is not usable: %s\n", strerror(errno));
    if (access("/etc/passwd", F_OK) == 0)
        printf("the outer tree shows\n");
    printf("checked\n");
}

static void probe_fill(void)
{
    static char block[65536];
    int fd = open("/work/fill", O_WRONLY | O_CREAT, 0600);
    long total = 0;
    ssize_t n;

    while ((n = write(fd, block, sizeof(block))) > 0)
        total += n;
    printf("%ld %s\n", total, errno == ENOSPC ? "ENOSPC" : strerror(errno));
    fflush(stdout);
    // Waits for the size to change, then tells how far it gets now.
    if (read(0, block, 1) == 1) {
        while ((n = write(fd, block, sizeof(block))) > 0)
            total += n;
        printf("%ld %s\n", total, errno == ENOSPC ? "ENOSPC" : strerror(errno));
    }
}

static void probe_hog(void)
{
    for (int i = 0; i < 64; i++)
        memset(malloc(1u << 20), 1, 1u << 20);
    printf("survived\n");
}

static void probe_forks(void)
{
    int made = 0;

    for (; made < 40; made++) {
        pid_t pid = fork();

        if (pid < 0)
            break;
        if (pid == 0) {
            (void)poll(NULL, 0, 60000);
            _exit(0);
        }
    }
    printf("%d %s\n", made, strerror(errno));
}

static void probe_terminal(void)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY);

    printf("%s\n", fd >= 0 && unlockpt(fd) == 0 && open(ptsname(fd), O_RDWR) >= 0
                       ? "checked"
                       : strerror(errno));
}

// A tmpfs mount and one by descriptor.
static void probe_mounts(void)
{
    struct stat st;

    if (stat("/given/passwd", &st) < 0 || !denied_write("/given/x"))
        printf("no descriptor mount: %s\n", strerror(errno));
    if (denied_write("/own/x") || stat("/own/x", &st) < 0 || st.st_uid != getuid())
        printf("no tmpfs: %s\n", strerror(errno));
    printf("checked\n");
}

static void probe_init(void)
{
    printf("pid %d parent %d\n", getpid(), getppid());
    (void)kill(1, SIGKILL);
    (void)kill(1, SIGTERM);
    (void)kill(1, SIGSEGV);
    (void)kill(1, SIGSTOP);
    if (ptrace(PTRACE_ATTACH, 1, NULL, NULL) == 0)
        printf("init can be traced\n");
    if (open("/proc/1/mem", O_RDWR) >= 0)
        printf("init's memory can be opened\n");
    printf("checked\n");
}

// Makes orphans that end by themselves, and counts what is left of them in /proc: at last nothing
// but init and this.
static void probe_orphans(void)
{
    int left = 0;

    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            if (fork() == 0)
                _exit(0);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    for (int i = 0; i < 600; i++) {
        DIR *d = opendir("/proc");

        left = 0;
        for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
            left += e->d_name[0] >= '0' && e->d_name[0] <= '9';
        if (d != NULL)
            (void)closedir(d);
        if (left <= 2)
            break;
        (void)poll(NULL, 0, 50);
    }
    printf("%d processes\n", left);
}

static void probe_abstract(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(addr.sun_path + 1, ABSTRACT_NAME, sizeof(ABSTRACT_NAME));
    printf("%s\n",
           connect(s, (struct sockaddr *)&addr, sizeof(addr)) == 0 ? "connected" : strerror(errno));
}

static void probe_rename(void)
{
    if (mkdir("a", 0700) < 0 || mkdir("b", 0700) < 0 || mknod("a/f", S_IFREG | 0600, 0) < 0 ||
        rename("a/f", "b/f") < 0 || truncate("b/f", 10) < 0 || link("b/f", "a/g") < 0)
        printf("no rename: %s\n", strerror(errno));
    printf("checked\n");
}

static int probe_main(const char *name)
{
    if (strcmp(name, "status") == 0) {
        print_status_lines();
        printf("fds %d\n", fd_count());
    } else if (strcmp(name, "denied") == 0) {
        probe_denied();
    } else if (strcmp(name, "allowed") == 0) {
        probe_allowed();
    } else if (strcmp(name, "files") == 0) {
        probe_files();
    } else if (strcmp(name, "fill") == 0) {
        probe_fill();
    } else if (strcmp(name, "init") == 0) {
        probe_init();
    } else if (strcmp(name, "hog") == 0) {
        probe_hog();
    } else if (strcmp(name, "forks") == 0) {
        probe_forks();
    } else if (strcmp(name, "terminal") == 0) {
        probe_terminal();
    } else if (strcmp(name, "abstract") == 0) {
        probe_abstract();
    } else if (strcmp(name, "rename") == 0) {
        probe_rename();
    } else if (strcmp(name, "mounts") == 0) {
        probe_mounts();
    } else if (strcmp(name, "orphans") == 0) {
        probe_orphans();
    } else if (strcmp(name, "exit42") == 0) {
        _exit(42);
    } else if (strcmp(name, "abort") == 0) {
        abort();
    } else if (strcmp(name, "term") == 0) {
        (void)raise(SIGTERM);
    } else if (strcmp(name, "sleep") == 0) {
        (void)poll(NULL, 0, 60000);
    } else if (strcmp(name, "family") == 0) {
        // A descendant that outlives its parents and holds stdout open.
        if (fork() == 0) {
            (void)setsid();
            if (fork() == 0)
                (void)poll(NULL, 0, 60000);
            _exit(0);
        }
        (void)wait(NULL);
        printf("left\n");
    } else if (strcmp(name, "network") == 0) {
        _cleanup_free_ char *text = NULL;

        (void)fd_read_file(AT_FDCWD, "/proc/net/dev", 65536, &text, NULL);
        printf("%s", text);
    }
    fflush(stdout);
    return 0;
}

#endif
