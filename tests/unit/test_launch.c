// SPDX-License-Identifier: Apache-2.0
//
// csb-launch from outside: what it refuses, how a real QEMU is confined, and that nothing is left
// when a VMM, the launcher or both are killed. argv[1]: the launcher. QEMU is started in restore
// mode, where it waits for a snapshot and needs no kernel.
#include "launch/launch.h"
#include "launch/qemu_argv.h"
#include "tap.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define QEMU     "/usr/bin/qemu-system-x86_64"
#define UID_BASE "610000"
#define MEMORY   128u

static const char *launcher_path;
static char dir[64];
static char group_name[64];
static char file_path[96];

struct launcher {
    pid_t pid;
    int sock;
};

static bool launch(struct launcher *l)
{
    int fds[2];

    if (fd_socketpair(SOCK_SEQPACKET, fds) < 0)
        return false;
    l->pid = fork();
    if (l->pid == 0) {
        (void)close(fds[0]);
        (void)dup2(fds[1], 30);
        (void)execl(launcher_path, launcher_path, "--fd", "30", "--qemu", QEMU, "--kernel",
                    file_path, "--initrd", file_path, "--rootfs", file_path, "--uid-base", UID_BASE,
                    "--cgroup-name", group_name, "--run-dir", dir, "--label", "t", (char *)NULL);
        _exit(99);
    }
    (void)close(fds[1]);
    l->sock = fds[0];
    return true;
}

static int stop(struct launcher *l)
{
    int status = -1;

    fd_close(&l->sock);
    (void)waitpid(l->pid, &status, 0);
    return status;
}

struct vm_fds {
    int mine_channel;
    int mine_qmp;
    int fds[LAUNCH_FD_COUNT];
};

static void make_vm_fds(struct vm_fds *v)
{
    int pair[2];

    (void)fd_socketpair(SOCK_STREAM, pair);
    v->mine_channel = pair[0];
    v->fds[LAUNCH_FD_CHANNEL] = pair[1];
    (void)fd_socketpair(SOCK_STREAM, pair);
    v->mine_qmp = pair[0];
    v->fds[LAUNCH_FD_QMP] = pair[1];
    v->fds[LAUNCH_FD_RAM] = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_INT(ftruncate(v->fds[LAUNCH_FD_RAM], (off_t)MEMORY << 20), 0);
    (void)fcntl(v->fds[LAUNCH_FD_RAM], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    v->fds[LAUNCH_FD_STATE] = memfd_create("state", MFD_CLOEXEC);
    v->fds[LAUNCH_FD_LOG] = memfd_create("log", MFD_CLOEXEC);
}

static void close_vm_fds(struct vm_fds *v)
{
    fd_close(&v->mine_channel);
    fd_close(&v->mine_qmp);
    for (int i = 0; i < LAUNCH_FD_COUNT; i++)
        fd_close(&v->fds[i]);
}

static void print_log(struct vm_fds *v)
{
    char text[2000];
    ssize_t n = pread(v->fds[LAUNCH_FD_LOG], text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    printf("# VMM's log: %s\n", text);
}

static struct launch_request spawn_request(uint64_t id)
{
    return (struct launch_request){
        .magic = LAUNCH_MAGIC,
        .version = LAUNCH_VERSION,
        .op = LAUNCH_OP_SPAWN,
        .accel = LAUNCH_ACCEL_TCG,
        .mode = LAUNCH_MODE_RESTORE,
        .memory_mib = MEMORY,
        .cpus = 1,
        .id = id,
    };
}

// Sends raw bytes and gives the reply; *ret_fd is the pidfd or -1.
static bool exchange(int sock, const void *data, size_t len, const int *fds, size_t fd_count,
                     struct launch_reply *ret, int *ret_fd)
{
    size_t n = 0;

    *ret_fd = -1;
    return fd_send_msg(sock, data, len, fds, fd_count) == 0 &&
           fd_wait(sock, POLLIN, clock_deadline_ms(60000)) > 0 &&
           fd_recv_msg(sock, ret, sizeof(*ret), ret_fd, 1, &n) == (ssize_t)sizeof(*ret);
}

static void refuse(int sock, const void *data, size_t len, const int *fds, size_t fd_count,
                   const char *what)
{
    struct launch_reply reply;
    int fd;
    bool ok = exchange(sock, data, len, fds, fd_count, &reply, &fd);

    CHECK_MSG(ok && reply.code == ERR_INVALID && fd < 0, "refuses %s: %s", what,
              ok ? reply.message : "no reply");
    fd_close(&fd);
}

static void test_malformed(int sock)
{
    struct vm_fds v;
    struct launch_request q = spawn_request(1);
    char big[sizeof(q) + 8] = {0};
    int swapped[LAUNCH_FD_COUNT];
    int many[LAUNCH_FD_COUNT + 2];

#define REFUSE_FIELD(field, value)                                                                 \
    do {                                                                                           \
        struct launch_request bad = spawn_request(1);                                              \
        bad.field = (value);                                                                       \
        refuse(sock, &bad, sizeof(bad), v.fds, LAUNCH_FD_COUNT, #field " = " #value);              \
    } while (0)

    make_vm_fds(&v);
    REFUSE_FIELD(magic, 0);
    REFUSE_FIELD(version, 1);
    REFUSE_FIELD(op, 0);
    REFUSE_FIELD(op, 77);
    REFUSE_FIELD(op, LAUNCH_OP_HELLO); // with descriptors
    REFUSE_FIELD(op, LAUNCH_OP_USAGE);
    REFUSE_FIELD(accel, 0);
    REFUSE_FIELD(accel, 3);
    REFUSE_FIELD(mode, 0);
    REFUSE_FIELD(mode, 3);
    REFUSE_FIELD(memory_mib, 0);
    REFUSE_FIELD(memory_mib, 127);
    REFUSE_FIELD(memory_mib, 16385);
    REFUSE_FIELD(memory_mib, UINT32_MAX);
    REFUSE_FIELD(memory_mib, 256); // not the size of the RAM file
    REFUSE_FIELD(cpus, 0);
    REFUSE_FIELD(cpus, 17);
    REFUSE_FIELD(root, 1); // no directory of templates was given
    refuse(sock,
           &(struct launch_request){.magic = LAUNCH_MAGIC,
                                    .version = LAUNCH_VERSION,
                                    .op = LAUNCH_OP_KILL,
                                    .serial = 1,
                                    .id = 1,
                                    .root = 1},
           sizeof(q), NULL, 0, "a root where none belongs");
    refuse(sock, &q, sizeof(q) - 1, v.fds, LAUNCH_FD_COUNT, "a short request");
    refuse(sock, &q, 1, NULL, 0, "one byte");
    refuse(sock, big, sizeof(big), NULL, 0, "a long request");
    refuse(sock, &q, sizeof(q), NULL, 0, "no descriptors");
    refuse(sock, &q, sizeof(q), v.fds, LAUNCH_FD_COUNT - 1, "a missing descriptor");
    for (int i = 0; i < LAUNCH_FD_COUNT + 2; i++)
        many[i] = v.fds[0];
    refuse(sock, &q, sizeof(q), many, LAUNCH_FD_COUNT + 2, "too many descriptors");
    memcpy(swapped, v.fds, sizeof(swapped));
    swapped[LAUNCH_FD_CHANNEL] = v.fds[LAUNCH_FD_RAM];
    refuse(sock, &q, sizeof(q), swapped, LAUNCH_FD_COUNT, "a file as channel");
    memcpy(swapped, v.fds, sizeof(swapped));
    swapped[LAUNCH_FD_STATE] = v.fds[LAUNCH_FD_QMP];
    refuse(sock, &q, sizeof(q), swapped, LAUNCH_FD_COUNT, "a socket as state");
    close_vm_fds(&v);
}

// Whatever the bytes, each request is answered and the launcher lives.
static void test_random(int sock)
{
    int answered = 0;

    for (int i = 0; i < 500; i++) {
        struct launch_request q = spawn_request(1);
        struct launch_reply reply;
        size_t len = sizeof(q);
        int fd;

        ((unsigned char *)&q)[(unsigned)rand() % sizeof(q)] = (unsigned char)rand();
        ((unsigned char *)&q)[(unsigned)rand() % sizeof(q)] = (unsigned char)rand();
        // The KVM probe is slow and has a test of its own.
        if (q.op == LAUNCH_OP_PROBE_KVM)
            q.op = 99;
        if (i % 7 == 0)
            len = 1 + (unsigned)rand() % sizeof(q);
        answered += exchange(sock, &q, len, NULL, 0, &reply, &fd) && reply.magic == LAUNCH_MAGIC;
        fd_close(&fd);
    }
    CHECK_INT(answered, 500);
}

static bool spawn(int sock, uint64_t id, struct vm_fds *v, struct launch_reply *reply, int *pidfd)
{
    struct launch_request q = spawn_request(id);

    make_vm_fds(v);
    if (!CHECK(exchange(sock, &q, sizeof(q), v->fds, LAUNCH_FD_COUNT, reply, pidfd)))
        return false;
    return CHECK_MSG(reply->code == 0 && *pidfd >= 0 && reply->pid > 0, "spawns: %s",
                     reply->message);
}

// QEMU greets on QMP once it is set up.
static bool greeted(struct vm_fds *v)
{
    char text[512] = "";

    if (fd_wait(v->mine_qmp, POLLIN, clock_deadline_ms(60000)) > 0)
        (void)!read(v->mine_qmp, text, sizeof(text) - 1);
    if (!CHECK_MSG(strstr(text, "\"QMP\"") != NULL, "QEMU greets on QMP: %.60s", text)) {
        print_log(v);
        return false;
    }
    return true;
}

static bool status_has(pid_t pid, const char *line)
{
    char path[64];
    _cleanup_free_ char *text = NULL;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    return fd_read_file(AT_FDCWD, path, 65536, &text, NULL) == 0 && strstr(text, line) != NULL;
}

static void check_namespace(pid_t pid, const char *name)
{
    char path[64];
    char own[64] = "";
    char its[64] = "";

    (void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
    CHECK_MSG(readlink(path, its, sizeof(its) - 1) > 0, "%s of the VMM is readable", name);
    (void)snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
    CHECK(readlink(path, own, sizeof(own) - 1) > 0);
    CHECK_MSG(strcmp(own, its) != 0, "a %s namespace of its own", name);
}

static void test_confinement(const struct launch_info *info, pid_t pid)
{
    static const char *const spaces[] = {"pid", "mnt", "net", "ipc", "uts"};
    char path[64];
    _cleanup_free_ char *text = NULL;

    CHECK(status_has(pid, "CapEff:\t0000000000000000"));
    CHECK(status_has(pid, "CapPrm:\t0000000000000000"));
    CHECK(status_has(pid, "CapBnd:\t0000000000000000"));
    CHECK(status_has(pid, "NoNewPrivs:\t1"));
    CHECK(status_has(pid, "Seccomp:\t2"));
    CHECK_MSG(!(info->confinement & LAUNCH_CONFINED_UID) || status_has(pid, "Uid:\t6100"),
              "a uid of its own");
    // An ordinary user may not look into a VMM that cannot be traced.
    if (geteuid() != 0)
        return;
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
        check_namespace(pid, spaces[i]);
    (void)snprintf(path, sizeof(path), "/proc/%d/net/dev", pid);
    CHECK(fd_read_file(AT_FDCWD, path, 65536, &text, NULL) == 0 && strstr(text, "eth") == NULL);
    (void)snprintf(path, sizeof(path), "/proc/%d/root/etc/passwd", pid);
    CHECK(access(path, F_OK) < 0);
    (void)snprintf(path, sizeof(path), "/proc/%d/root/tmp", pid);
    CHECK(access(path, F_OK) < 0);
}

static bool ended(int pidfd, int ms)
{
    return fd_wait(pidfd, POLLIN, clock_deadline_ms((uint64_t)ms)) > 0;
}

// Control groups of ours that are left in any hierarchy.
static int groups_left(void)
{
    static const char *const bases[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids",
                                        "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct",
                                        "/sys/fs/cgroup"};
    int count = 0;

    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        char path[160];
        DIR *d;

        (void)snprintf(path, sizeof(path), "%s/%s", bases[i], group_name);
        d = opendir(path);
        if (d == NULL)
            continue;
        for (struct dirent *e; (e = readdir(d)) != NULL;)
            count += e->d_type == DT_DIR && strncmp(e->d_name, "t-", 2) == 0;
        (void)closedir(d);
    }
    return count;
}

// A group goes when the kernel has let go of the last process, a while after its end was told.
static bool groups_become(int count)
{
    uint64_t end = clock_deadline_ms(60000);

    while (groups_left() != count && clock_mono_ns() < end)
        (void)poll(NULL, 0, 10);
    return groups_left() == count;
}

// The daemon may read a VMM's memory, and no more: neither write it nor see where it is.
static void test_memory(struct launch_client *c, uint64_t id)
{
    int fds[LAUNCH_MEMORY_FD_COUNT];
    struct err err = ERR_INIT;
    unsigned long long start = 0;
    uint64_t entry = 0;
    uint8_t byte = 0;
    char line[256] = "";

    CHECK(launch_open_memory(c, 12345, fds, &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    if (!CHECK_MSG(launch_open_memory(c, id, fds, &err) == 0, "memory %s", err.message))
        return;
    CHECK(pread(fds[LAUNCH_MEMORY_FD_MAPS], line, sizeof(line) - 1, 0) > 0);
    start = strtoull(line, NULL, 16);
    CHECK_INT(pread(fds[LAUNCH_MEMORY_FD_MEM], &byte, 1, (off_t)start), 1);
    CHECK(pwrite(fds[LAUNCH_MEMORY_FD_MEM], &byte, 1, (off_t)start) < 0);
    CHECK_INT(
        pread(fds[LAUNCH_MEMORY_FD_PAGEMAP], &entry, sizeof(entry), (off_t)(start / 4096 * 8)),
        sizeof(entry));
    CHECK((entry >> 63) == 1 && (entry & ((1ull << 55) - 1)) == 0);
    for (int i = 0; i < LAUNCH_MEMORY_FD_COUNT; i++)
        fd_close(&fds[i]);
}

// What QEMU used to start, where there are groups that tell.
static void test_usage(struct launch_client *c, const struct launch_info *info, uint64_t id)
{
    struct launch_usage first = {0}, second = {0};
    struct err err = ERR_INIT;

    CHECK(launch_usage(c, 12345, &first, &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    CHECK(launch_usage(c, id, &first, &err) == 0 && launch_usage(c, id, &second, &err) == 0);
    CHECK((first.cpu_ns > 0) == (info->cgroup_version != 0) && second.cpu_ns >= first.cpu_ns);
}

static void test_life(void)
{
    struct launcher l;
    struct launch_info info;
    struct launch_reply reply;
    struct launch_client *c = NULL;
    struct err err = ERR_INIT;
    struct vm_fds a;
    struct vm_fds b;
    int pidfd_a = -1;
    int pidfd_b = -1;
    int fd;
    struct launch_request q = {
        .magic = LAUNCH_MAGIC, .version = LAUNCH_VERSION, .op = LAUNCH_OP_HELLO};

    if (!launch(&l))
        return;
    if (!exchange(l.sock, &q, sizeof(q), NULL, 0, &reply, &fd)) {
        tap_ok(false, "the launcher starts");
        (void)stop(&l);
        return;
    }
    info = reply.u.info;
    printf("# confinement %#x, cgroup v%u (%s), QEMU %s\n", info.confinement, info.cgroup_version,
           info.cgroup_note, info.qemu_version);
    CHECK(info.confinement & LAUNCH_CONFINED_SECCOMP);
    CHECK(info.qemu_version[0] >= '1' && info.qemu_version[0] <= '9');
    CHECK(geteuid() != 0 || info.cgroup_version == 0 || info.confinement == 0x3f);
    test_malformed(l.sock);
    test_random(l.sock);
    if (spawn(l.sock, 7, &a, &reply, &pidfd_a) && greeted(&a)) {
        struct launch_request twice = spawn_request(7);

        test_confinement(&info, reply.pid);
        refuse(l.sock, &twice, sizeof(twice), a.fds, LAUNCH_FD_COUNT, "an id in use");
    }
    if (!CHECK(spawn(l.sock, 8, &b, &reply, &pidfd_b)))
        return;
    // One ends by itself: noticed, cleaned up, its id is free again.
    (void)kill(reply.pid, SIGKILL);
    CHECK(ended(pidfd_b, 60000));
    CHECK(launch_client_new(l.sock, &c, &err) == 0);
    CHECK_INT(launch_hello(c, &info, &err), 0);
    CHECK(geteuid() != 0 || groups_become(info.cgroup_version == 1 ? 4 : 1));
    CHECK_INT(launch_kill(c, 8, &err), 0);
    test_memory(c, 7);
    test_usage(c, &info, 7);
    CHECK_INT(launch_kill(c, 7, &err), 0);
    CHECK(ended(pidfd_a, 0));
    CHECK(launch_open_memory(c, 7, (int[LAUNCH_MEMORY_FD_COUNT]){-1, -1, -1}, &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    CHECK(launch_usage(c, 7, &(struct launch_usage){0}, &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    CHECK_INT(launch_kill(c, 7, &err), 0);
    CHECK_INT(launch_kill(c, 12345, &err), 0);
    CHECK(groups_become(0));
    close_vm_fds(&a);
    close_vm_fds(&b);
    fd_close(&pidfd_a);
    fd_close(&pidfd_b);
    // The end of the socket ends the launcher, and with it the VMM that still runs.
    {
        struct launch_vm vm = {.id = 9,
                               .accel = LAUNCH_ACCEL_TCG,
                               .mode = LAUNCH_MODE_RESTORE,
                               .memory_mib = MEMORY,
                               .cpus = 1};

        make_vm_fds(&a);
        memcpy(vm.fds, a.fds, sizeof(vm.fds));
        CHECK_INT(launch_spawn(c, &vm, &pidfd_a, &err), 0);
        launch_client_free(c);
        l.sock = -1;
        CHECK_INT(stop(&l), 0);
        CHECK(ended(pidfd_a, 0));
        CHECK(groups_become(0));
        close_vm_fds(&a);
        fd_close(&pidfd_a);
    }
}

static void test_killed_launcher(void)
{
    struct launcher l;
    struct launcher next;
    struct launch_client *c = NULL;
    struct launch_info info;
    struct launch_reply reply;
    struct err err = ERR_INIT;
    struct vm_fds v;
    int pidfd = -1;

    if (!launch(&l) || !spawn(l.sock, 1, &v, &reply, &pidfd))
        return;
    (void)greeted(&v);
    (void)kill(l.pid, SIGKILL);
    CHECK(ended(pidfd, 60000));
    CHECK(launch_client_new(fd_steal(&l.sock), &c, &err) == 0);
    CHECK(launch_hello(c, &info, &err) < 0 && err.code == ERR_GONE);
    CHECK_INT(launch_kill(c, 1, &err), 0);
    (void)stop(&l);
    close_vm_fds(&v);
    fd_close(&pidfd);
    if (!launch(&next))
        return;
    launch_client_replace(c, fd_steal(&next.sock));
    CHECK_INT(launch_client_generation(c), 1);
    CHECK_INT(launch_hello(c, &info, &err), 0);
    CHECK(groups_become(0));
    launch_client_free(c);
    CHECK_INT(stop(&next), 0);
}

static char freezer[96]; // a group of this process's

static bool write_freezer(const char *file, const char *text)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", freezer, file);
    return fd_write_file(AT_FDCWD, path, text) == 0;
}

// A frozen process of a v1 freezer does not even die of SIGKILL, as one that sleeps in the kernel.
static bool freeze(pid_t pid)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%d", (int)pid);
    (void)snprintf(freezer, sizeof(freezer), "/sys/fs/cgroup/freezer/%s", group_name);
    return (mkdir(freezer, 0755) == 0 || errno == EEXIST) && write_freezer("cgroup.procs", text) &&
           write_freezer("freezer.state", "FROZEN");
}

// What cannot be killed holds nobody up.
static void test_stuck_vmm(void)
{
    struct launch_request kill_it = {.magic = LAUNCH_MAGIC,
                                     .version = LAUNCH_VERSION,
                                     .op = LAUNCH_OP_KILL,
                                     .serial = 77,
                                     .id = 1};
    struct launcher l;
    struct launch_reply reply;
    struct vm_fds stuck, other;
    int pidfd = -1, other_pidfd = -1, fd;

    if (!launch(&l) || !spawn(l.sock, 1, &stuck, &reply, &pidfd))
        return;
    (void)greeted(&stuck);
    if (!freeze(reply.pid)) {
        printf("# no v1 freezer here\n");
    } else {
        CHECK_INT(fd_send_msg(l.sock, &kill_it, sizeof(kill_it), NULL, 0), 0);
        CHECK(spawn(l.sock, 2, &other, &reply, &other_pidfd));
        kill_it.id = 2;
        kill_it.serial = 78;
        CHECK(exchange(l.sock, &kill_it, sizeof(kill_it), NULL, 0, &reply, &fd) &&
              reply.serial == 78 && reply.code == 0); // another is started and killed meanwhile
        CHECK(ended(other_pidfd, 0) && !ended(pidfd, 0));
        CHECK(fd_wait(l.sock, POLLIN, clock_deadline_ms(60000)) > 0);
        CHECK(fd_recv_msg(l.sock, &reply, sizeof(reply), NULL, 0, &(size_t){0}) > 0);
        CHECK_INT(reply.serial, 77);
        CHECK_INT(reply.code, ERR_TIMEOUT);
        (void)write_freezer("freezer.state", "THAWED");
        CHECK(ended(pidfd, 60000));
        kill_it.id = 1;
        CHECK(exchange(l.sock, &kill_it, sizeof(kill_it), NULL, 0, &reply, &fd) && reply.code == 0);
        CHECK(groups_become(0));
        close_vm_fds(&other);
        fd_close(&other_pidfd);
    }
    CHECK_INT(stop(&l), 0);
    (void)rmdir(freezer);
    close_vm_fds(&stuck);
    fd_close(&pidfd);
}

static void count_stuck(void *arg)
{
    (*(int *)arg)++;
}

// A launcher that does not answer: others get their answers' lack in time, and it is told of.
static void test_stopped_launcher(void)
{
    struct launcher l;
    struct launch_client *c = NULL;
    struct launch_info info;
    struct err err = ERR_INIT;
    uint64_t t0;
    int told = 0;

    if (!launch(&l) || launch_client_new(fd_steal(&l.sock), &c, &err) < 0)
        return;
    launch_client_on_stuck(c, count_stuck, &told);
    CHECK_INT(launch_hello(c, &info, &err), 0);
    (void)kill(l.pid, SIGSTOP);
    t0 = clock_mono_ns();
    CHECK(launch_hello_by(c, clock_deadline_ms(300), &info, &err) < 0);
    CHECK_INT(err.code, ERR_TIMEOUT);
    CHECK(clock_mono_ns() - t0 < 15 * NS_PER_S); // others wait for twenty
    CHECK_INT(told, 0);
    (void)kill(l.pid, SIGCONT);
    CHECK_INT(launch_hello(c, &info, &err), 0);
    (void)kill(l.pid, SIGKILL);
    CHECK(launch_hello(c, &info, &err) < 0 && err.code == ERR_GONE);
    CHECK_INT(told, 0); // it is gone already
    launch_client_free(c);
    (void)stop(&l);
}

static void test_kvm_probe(void)
{
    struct launcher l;
    struct launch_client *c = NULL;
    struct launch_kvm kvm = {0};
    struct launch_info info;
    struct err err = ERR_INIT;
    uint64_t t0;
    uint64_t ms;

    if (!launch(&l) || launch_client_new(fd_steal(&l.sock), &c, &err) < 0)
        return;
    CHECK_INT(launch_hello(c, &info, &err), 0);
    t0 = clock_mono_ns();
    CHECK_INT(launch_probe_kvm(c, &kvm, &err), 0);
    ms = (clock_mono_ns() - t0) / NS_PER_MS;
    printf("# present %u accelerated %u loop %llu us: %s\n", kvm.present, kvm.accelerated,
           (unsigned long long)kvm.loop_us, kvm.note);
    CHECK_MSG(ms <= 15000, "answers in %llu ms", (unsigned long long)ms);
    CHECK(kvm.accelerated == 0 || (kvm.present && kvm.loop_us < 100000));
    CHECK(kvm.accelerated || kvm.note[0] != '\0');
    launch_client_free(c);
    CHECK_INT(stop(&l), 0);
}

static bool has_arg(const struct qemu_argv *a, const char *text)
{
    for (size_t i = 0; i < a->count; i++)
        if (strstr(a->argv[i], text) != NULL)
            return true;
    return false;
}

static void test_argv(void)
{
    struct qemu_machine m = {.path = "/q",
                             .name = "n",
                             .accel = LAUNCH_ACCEL_TCG,
                             .mode = LAUNCH_MODE_BOOT,
                             .memory_mib = 512,
                             .cpus = 2,
                             .tsc_khz = 2500000};
    struct qemu_argv a;

    CHECK_INT(qemu_argv_build(&m, &a), 0);
    CHECK_STR(a.argv[0], "/q");
    CHECK(a.argv[a.count] == NULL);
    CHECK(has_arg(&a, "size=512M") && has_arg(&a, "share=on") &&
          has_arg(&a, "tsc_early_khz=2500000") && has_arg(&a, "norandmaps"));
    CHECK(has_arg(&a, "spawn=deny") && has_arg(&a, "/proc/self/fd/15") && !has_arg(&a, "defer"));
    m.accel = LAUNCH_ACCEL_KVM;
    CHECK_INT(qemu_argv_build(&m, &a), 0);
    CHECK(has_arg(&a, "quiet") && !has_arg(&a, "norandmaps") && !has_arg(&a, "tsc_early_khz"));
    m.mode = LAUNCH_MODE_RESTORE;
    CHECK_INT(qemu_argv_build(&m, &a), 0);
    CHECK(has_arg(&a, "share=off") && has_arg(&a, "defer") && !has_arg(&a, "fd/15"));
    CHECK(has_arg(&a, "kvm") && !has_arg(&a, "tcg"));
}

int main(int argc, char **argv)
{
    int fd;

    if (argc != 2)
        return 2;
    launcher_path = argv[1];
    test_argv();
    (void)snprintf(dir, sizeof(dir), "/tmp/csb-launch-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 2;
    (void)snprintf(group_name, sizeof(group_name), "csb-launch-test-%d", getpid());
    (void)snprintf(file_path, sizeof(file_path), "%s/file", dir);
    fd = open(file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, 1 << 20) < 0)
        return 2;
    (void)close(fd);
    if (access(QEMU, X_OK) < 0) {
        tap_skip("launch", "no " QEMU);
    } else {
        test_life();
        test_killed_launcher();
        test_stuck_vmm();
        test_stopped_launcher();
        test_kvm_probe();
    }
    (void)unlink(file_path);
    (void)snprintf(file_path, sizeof(file_path), "%s/t.lock", dir);
    (void)unlink(file_path);
    CHECK_INT(rmdir(dir), 0);
    return tap_done();
}
