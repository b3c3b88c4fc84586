// SPDX-License-Identifier: Apache-2.0
//
// How it works. Single-threaded: poll(2) over the socket and a signalfd for SIGCHLD. A request is
// one message of fixed size with a known number of descriptors; every field is checked before
// anything is done, and every request is answered, also one that makes no sense. A descriptor that
// came with a message is closed when the request was handled. Ending something takes as long as the
// kernel pleases, so a KILL is answered later, when the loop finds nothing left or its time is
// over, and holds nobody else up. The end of the socket is the end of the launcher and of all it
// started; should the launcher itself be killed, the kernel kills them (parent death signal) and
// the next launcher of the same label removes their control groups.
#include "launch/launch_server.h"

#include "launch/kvm_probe.h"
#include "launch/launch_vms.h"
#include "launch/tsc.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_MIN_MIB   128u
#define MEMORY_MAX_MIB   16384u
#define CPUS_MAX         16u
#define PROCESSES_MIN    8u
#define PROCESSES_MAX    32768u
#define LOCK_DEADLINE_MS 10000
#define KILL_ANSWER_MS   5000 // then the daemon is told that it takes longer
#define KILLS_MAX        128  // that wait for their answer

// A KILL that was not answered yet.
struct kill {
    uint64_t id;
    uint64_t deadline_ns;
    uint32_t serial;
};

struct server {
    int sock;
    int signals;
    int lock;
    struct vmm_host host;
    struct agent_host agents;
    struct cgroup_root *cgroups;
    struct launch_vms *vms;
    struct launch_info info;
    struct launch_vms_config files;
    struct kill kills[KILLS_MAX];
    size_t kill_count;
};

static bool is_socket(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int check_spawn(const struct launch_request *q, const int *fds, size_t fd_count,
                       struct err *err)
{
    struct stat ram;
    struct stat state;

    if (q->accel != LAUNCH_ACCEL_TCG && q->accel != LAUNCH_ACCEL_KVM)
        return err_field(err, ERR_INVALID, "accel", "unknown accelerator %u", q->accel);
    if (q->mode != LAUNCH_MODE_BOOT && q->mode != LAUNCH_MODE_RESTORE)
        return err_field(err, ERR_INVALID, "mode", "unknown mode %u", q->mode);
    if (q->memory_mib < MEMORY_MIN_MIB || q->memory_mib > MEMORY_MAX_MIB)
        return err_field(err, ERR_INVALID, "memory_mib", "%u MiB is out of range", q->memory_mib);
    if (q->cpus < 1 || q->cpus > CPUS_MAX)
        return err_field(err, ERR_INVALID, "cpus", "%u CPUs are out of range", q->cpus);
    if (fd_count != LAUNCH_FD_COUNT)
        return err_field(err, ERR_INVALID, "fds", "%zu descriptors came, %d belong here", fd_count,
                         LAUNCH_FD_COUNT);
    if (!is_socket(fds[LAUNCH_FD_CHANNEL]) || !is_socket(fds[LAUNCH_FD_QMP]))
        return err_field(err, ERR_INVALID, "fds", "channel and QMP must be sockets");
    // The size is what QEMU will map: a shorter file would end it by SIGBUS at a guest's touch.
    if (fstat(fds[LAUNCH_FD_RAM], &ram) < 0 || !S_ISREG(ram.st_mode) ||
        ram.st_size != (off_t)q->memory_mib << 20)
        return err_field(err, ERR_INVALID, "fds", "the RAM file is not of %u MiB", q->memory_mib);
    if (fstat(fds[LAUNCH_FD_STATE], &state) < 0 || !S_ISREG(state.st_mode))
        return err_field(err, ERR_INVALID, "fds", "the state must be a file");
    return 0;
}

static int check_agent_limits(const struct launch_request *q, struct err *err)
{
    if (q->mode != LAUNCH_AGENT_LASTING) {
        if (q->cpu_percent != 0 || q->processes != 0 || q->disk_mib != 0)
            return err_field(err, ERR_INVALID, "mode", "limits are of lasting agents");
        return 0;
    }
    if (q->memory_mib < MEMORY_MIN_MIB || q->memory_mib > MEMORY_MAX_MIB)
        return err_field(err, ERR_INVALID, "memory_mib", "%u MiB is out of range", q->memory_mib);
    if (q->cpu_percent < 1 || q->cpu_percent > 100 * CPUS_MAX)
        return err_field(err, ERR_INVALID, "cpu_percent", "%u %% is out of range", q->cpu_percent);
    if (q->processes < PROCESSES_MIN || q->processes > PROCESSES_MAX)
        return err_field(err, ERR_INVALID, "processes", "%u is out of range", q->processes);
    if (q->disk_mib < 1 || q->disk_mib > q->memory_mib)
        return err_field(err, ERR_INVALID, "disk_mib", "%u MiB is out of range", q->disk_mib);
    return 0;
}

static int check_spawn_agent(const struct launch_request *q, const int *fds, size_t fd_count,
                             struct err *err)
{
    if (q->memory_mib != 0 && q->memory_mib < MEMORY_MIN_MIB)
        return err_field(err, ERR_INVALID, "memory_mib", "%u MiB is out of range", q->memory_mib);
    if (q->accel != 0 || q->mode > LAUNCH_AGENT_LASTING || q->cpus != 0)
        return err_field(err, ERR_INVALID, "mode",
                         "an agent has no accelerator, CPUs or such mode");
    if (check_agent_limits(q, err) < 0)
        return -1;
    if (fd_count != LAUNCH_AGENT_FD_COUNT)
        return err_field(err, ERR_INVALID, "fds", "%zu descriptors came, %d belong here", fd_count,
                         LAUNCH_AGENT_FD_COUNT);
    if (!is_socket(fds[LAUNCH_AGENT_FD_CONTROL]))
        return err_field(err, ERR_INVALID, "fds", "the control must be a socket");
    return 0;
}

static int check_request(const struct launch_request *q, ssize_t len, size_t fd_count,
                         struct err *err)
{
    if (len != (ssize_t)sizeof(*q))
        return err_set(err, ERR_INVALID, "a request has %zu bytes, not %zd", sizeof(*q), len);
    if (q->magic != LAUNCH_MAGIC)
        return err_field(err, ERR_INVALID, "magic", "not a launcher request");
    if (q->version != LAUNCH_VERSION)
        return err_field(err, ERR_INVALID, "version", "version %u is not spoken here", q->version);
    if (q->root != 0 && q->op != LAUNCH_OP_SPAWN &&
        (q->op != LAUNCH_OP_SPAWN_AGENT || q->mode != LAUNCH_AGENT_LASTING))
        return err_field(err, ERR_INVALID, "root", "this request takes no root");
    if (q->op != LAUNCH_OP_SPAWN && q->op != LAUNCH_OP_SPAWN_AGENT && fd_count != 0)
        return err_field(err, ERR_INVALID, "fds", "this request takes no descriptors");
    return 0;
}

#define REPLY_FDS_MAX LAUNCH_MEMORY_FD_COUNT

// Descriptors that go with a reply.
struct reply_fds {
    int fds[REPLY_FDS_MAX];
    size_t count;
    bool owned; // closed once they were sent
};

static int answer(struct server *s, struct launch_reply *reply, const struct reply_fds *fds,
                  const struct err *err)
{
    reply->magic = LAUNCH_MAGIC;
    reply->version = LAUNCH_VERSION;
    reply->code = (uint32_t)err->code;
    reply->sys = err->sys;
    (void)snprintf(reply->message, sizeof(reply->message), "%s", err->message);
    return fd_send_msg(s->sock, reply, sizeof(*reply), fds->fds, fds->count);
}

// Answers the kills that are done or have taken too long. Returns when the next one will have, or
// CLOCK_NEVER. *ret_failed: the peer is gone.
static uint64_t answer_kills(struct server *s, bool *ret_failed)
{
    uint64_t now = clock_mono_ns();
    uint64_t next = CLOCK_NEVER;
    size_t kept = 0;

    for (size_t i = 0; i < s->kill_count; i++) {
        struct kill k = s->kills[i];
        struct launch_reply reply = {.id = k.id, .serial = k.serial};
        struct err err = ERR_INIT;

        if (launch_vms_has(s->vms, k.id)) {
            if (now < k.deadline_ns) {
                s->kills[kept++] = k;
                next = k.deadline_ns < next ? k.deadline_ns : next;
                continue;
            }
            (void)err_set(&err, ERR_TIMEOUT, "it was killed %d ms ago and is still ending",
                          KILL_ANSWER_MS);
        }
        if (answer(s, &reply, &(struct reply_fds){.count = 0}, &err) < 0)
            *ret_failed = true;
    }
    s->kill_count = kept;
    return next;
}

// True when the answer comes later.
static bool begin_kill(struct server *s, const struct launch_request *q, struct err *err)
{
    launch_vms_kill(s->vms, q->id);
    (void)launch_vms_step(s->vms);
    if (!launch_vms_has(s->vms, q->id))
        return false;
    if (s->kill_count == KILLS_MAX) {
        (void)err_set(err, ERR_TIMEOUT, "%d others are ending, too", KILLS_MAX);
        return false;
    }
    s->kills[s->kill_count++] = (struct kill){
        .id = q->id, .deadline_ns = clock_deadline_ms(KILL_ANSWER_MS), .serial = q->serial};
    return true;
}

// Carries one checked request out. *ret_later: it is answered by answer_kills().
static int handle(struct server *s, const struct launch_request *q, const int *fds, size_t fd_count,
                  struct launch_reply *reply, struct reply_fds *ret_fds, bool *ret_later,
                  struct err *err)
{
    int r;

    switch (q->op) {
    case LAUNCH_OP_HELLO:
        reply->u.info = s->info;
        return 0;
    case LAUNCH_OP_SPAWN:
        if (check_spawn(q, fds, fd_count, err) < 0)
            return -1;
        r = launch_vms_spawn(s->vms, q, fds, &reply->pid, &ret_fds->fds[0], err);
        ret_fds->count = r == 0 ? 1 : 0;
        return r;
    case LAUNCH_OP_SPAWN_AGENT:
        if (check_spawn_agent(q, fds, fd_count, err) < 0)
            return -1;
        r = launch_vms_spawn_agent(s->vms, q, fds, &reply->pid, &ret_fds->fds[0], err);
        ret_fds->count = r == 0 ? 1 : 0;
        return r;
    case LAUNCH_OP_OPEN_MEMORY:
        r = launch_vms_open_memory(s->vms, q->id, ret_fds->fds, err);
        ret_fds->count = r == 0 ? LAUNCH_MEMORY_FD_COUNT : 0;
        ret_fds->owned = true;
        return r;
    case LAUNCH_OP_USAGE:
        return launch_vms_usage(s->vms, q->id, &reply->u.usage, err);
    case LAUNCH_OP_KILL:
        *ret_later = begin_kill(s, q, err);
        return 0;
    case LAUNCH_OP_PROBE_KVM:
        kvm_probe(&reply->u.kvm);
        return 0;
    default:
        return err_field(err, ERR_INVALID, "op", "unknown operation %u", q->op);
    }
}

// One request and its reply. 0, or -1 when the peer is gone.
static int serve_one(struct server *s)
{
    struct launch_request q = {0};
    struct launch_reply reply = {0};
    struct err err = ERR_INIT;
    int fds[LAUNCH_FD_COUNT] = {-1, -1, -1, -1, -1};
    size_t fd_count = 0;
    struct reply_fds reply_fds = {.count = 0};
    bool later = false;
    int r;
    ssize_t n = fd_recv_msg(s->sock, &q, sizeof(q), fds, LAUNCH_FD_COUNT, &fd_count);

    if (n == 0 || (n < 0 && n != -EMSGSIZE && n != -EINTR && n != -EAGAIN))
        return -1;
    if (n == -EINTR || n == -EAGAIN)
        return 0;
    if (n < 0)
        (void)err_set(&err, ERR_INVALID, "a request of too many bytes or descriptors");
    else if (check_request(&q, n, fd_count, &err) == 0)
        (void)handle(s, &q, fds, fd_count, &reply, &reply_fds, &later, &err);
    reply.id = q.id;
    reply.serial = q.serial;
    for (size_t i = 0; i < fd_count; i++)
        fd_close(&fds[i]);
    if (later)
        return 0;
    r = answer(s, &reply, &reply_fds, &err);
    for (size_t i = 0; reply_fds.owned && i < reply_fds.count; i++)
        fd_close(&reply_fds.fds[i]);
    return r < 0 ? -1 : 0;
}

// False when told to end.
static bool take_signals(struct server *s)
{
    struct signalfd_siginfo info;
    bool go_on = true;

    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo == SIGUSR1)
            go_on = false;
    return go_on;
}

static void loop(struct server *s)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = s->sock, .events = POLLIN},
                              {.fd = s->signals, .events = POLLIN}};
        bool failed = false;
        uint64_t next = launch_vms_step(s->vms);
        uint64_t answer_ns = answer_kills(s, &failed);
        uint64_t now = clock_mono_ns();
        struct timespec left;

        next = answer_ns < next ? answer_ns : next;
        left = clock_to_timespec(next > now ? next - now : 0);
        if (failed)
            return;
        if (ppoll(p, 2, next == CLOCK_NEVER ? NULL : &left, NULL) < 0) {
            if (errno == EINTR)
                continue;
            return;
        }
        if ((p[1].revents & POLLIN) && !take_signals(s))
            return;
        if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) && serve_one(s) < 0)
            return;
    }
}

// Terminal and service manager signals reach every process of the group at once, but the daemon
// drains first and then closes the socket, so they are no reason to end. SIGUSR1 is the parent
// death signal.
static int open_signals(struct server *s)
{
    sigset_t blocked;
    sigset_t watched;

    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGUSR1);
    blocked = watched;
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    sigaddset(&blocked, SIGPIPE);
    if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0)
        return -errno;
    s->signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals < 0 ? -errno : 0;
}

// Only one launcher of a label at a time: a second would sweep away the first one's VMMs. The
// former one may be about to end, so this waits a little.
static int take_lock(struct server *s, const struct launch_config *c, struct err *err)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    uint64_t deadline = clock_deadline_ms(LOCK_DEADLINE_MS);
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s.lock", c->run_dir, c->label);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0)
        return err_sys(err, errno, "open %.150s", path);
    while (flock(s->lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_sys(err, errno, "lock %.150s", path);
        if (clock_mono_ns() >= deadline)
            return err_set(err, ERR_BUSY, "another launcher holds %.150s", path);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return 0;
}

static int open_file(const char *path, bool by_path, int *ret, struct err *err)
{
    struct stat st;

    *ret = open(path, O_RDONLY | O_CLOEXEC);
    if (*ret < 0)
        return err_sys(err, errno, "open %.150s", path);
    if (fstat(*ret, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
        return err_set(err, ERR_INVALID, "%.150s is not a file", path);
    // QEMU opens these again by /proc/self/fd, as the VMM's user.
    if (by_path && geteuid() == 0 && !(st.st_mode & S_IROTH))
        return err_set(err, ERR_INVALID, "%.150s must be readable by all", path);
    return 0;
}

static int open_files(struct server *s, const struct launch_config *c, struct err *err)
{
    struct launch_vms_config *f = &s->files;

    if (c->qemu != NULL && (open_file(c->kernel, true, &f->kernel_fd, err) < 0 ||
                            open_file(c->initrd, true, &f->initrd_fd, err) < 0 ||
                            open_file(c->rootfs, false, &f->rootfs_fd, err) < 0))
        return -1;
    // Made while we run, it is found at our next start.
    f->templates_fd = -1;
    if (c->templates != NULL)
        f->templates_fd = open(c->templates, O_PATH | O_DIRECTORY | O_CLOEXEC);
    f->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (f->null_fd < 0)
        return err_sys(err, errno, "open /dev/null");
    return 0;
}

static int open_cgroups(struct server *s, const struct launch_config *c, struct err *err)
{
    char prefix[80];

    if (cgroup_root_open(NULL, c->cgroup_name, &s->cgroups, s->info.cgroup_note, err) < 0)
        return -1;
    (void)snprintf(prefix, sizeof(prefix), "%.40s-", c->label);
    cgroup_root_sweep(s->cgroups, prefix);
    return 0;
}

static int prepare(enum jail_seccomp kind, struct err *err)
{
    int r = jail_prepare(kind);

    return r < 0 ? err_sys(err, r, "build a seccomp filter") : 0;
}

static int open_vmms(struct server *s, const struct launch_config *c, struct err *err)
{
    s->host = (struct vmm_host){.qemu = c->qemu, .uid_base = c->uid_base, .root = geteuid() == 0};
    if (vmm_host_probe(&s->host, err) < 0 || prepare(JAIL_SECCOMP_VMM, err) < 0)
        return -1;
    if (s->host.note[0] != '\0')
        log_warn("VMMs are confined less than fully: %s", s->host.note);
    s->info.confinement = vmm_host_confinement(&s->host);
    memcpy(s->info.qemu_version, s->host.qemu_version, sizeof(s->info.qemu_version));
    memcpy(s->info.vmm_note, s->host.note, sizeof(s->info.vmm_note));
    s->files.host = &s->host;
    s->files.tsc_khz = tsc_measure_khz();
    return 0;
}

static int open_agents(struct server *s, const struct launch_config *c, struct err *err)
{
    struct agent_host_config config = {.agent = c->agent,
                                       .runtimes = c->runtimes,
                                       .tree = c->tree,
                                       .templates = c->templates,
                                       .run_dir = c->run_dir,
                                       .uid_base = c->uid_base};

    if (agent_host_open(&s->agents, &config, err) < 0 || prepare(JAIL_SECCOMP_AGENT, err) < 0)
        return -1;
    if (s->agents.note[0] != '\0')
        log_warn("process isolation: %s", s->agents.note);
    s->info.agent_confinement = s->agents.confinement;
    memcpy(s->info.agent_note, s->agents.note, sizeof(s->info.agent_note));
    memcpy(s->info.lasting_note, s->agents.lasting_note, sizeof(s->info.lasting_note));
    s->info.lasting = s->agents.lasting;
    if (s->agents.confinement != 0)
        s->files.agents = &s->agents;
    return 0;
}

static int open_server(struct server *s, const struct launch_config *c, struct err *err)
{
    int r = open_signals(s);

    if (r < 0)
        return err_sys(err, r, "set up signals");
    if (take_lock(s, c, err) < 0 || open_files(s, c, err) < 0 || open_cgroups(s, c, err) < 0)
        return -1;
    if ((c->qemu != NULL && open_vmms(s, c, err) < 0) ||
        (c->agent != NULL && open_agents(s, c, err) < 0))
        return -1;
    s->info.cgroup_version = (uint32_t)cgroup_root_version(s->cgroups);
    if (s->info.cgroup_version != 0 && s->files.host != NULL)
        s->info.confinement |= LAUNCH_CONFINED_CGROUP;
    if (s->info.cgroup_version != 0 && s->files.agents != NULL)
        s->info.agent_confinement |= LAUNCH_CONFINED_CGROUP;
    s->files.cgroups = s->cgroups;
    s->files.label = c->label;
    return launch_vms_new(&s->files, &s->vms, err);
}

static void close_server(struct server *s)
{
    launch_vms_free(s->vms);
    cgroup_root_close(s->cgroups);
    fd_close(&s->files.null_fd);
    fd_close(&s->files.kernel_fd);
    fd_close(&s->files.initrd_fd);
    fd_close(&s->files.rootfs_fd);
    fd_close(&s->files.templates_fd);
    fd_close(&s->signals);
    fd_close(&s->sock);
    fd_close(&s->lock);
}

int launch_serve(const struct launch_config *config, struct err *err)
{
    struct server s = {
        .sock = config->sock,
        .signals = -1,
        .lock = -1,
        .files = {
            .null_fd = -1, .kernel_fd = -1, .initrd_fd = -1, .rootfs_fd = -1, .templates_fd = -1}};
    int r = open_server(&s, config, err);

    if (r == 0)
        loop(&s);
    close_server(&s);
    return r;
}
