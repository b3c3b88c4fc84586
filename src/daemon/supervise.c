// SPDX-License-Identifier: Apache-2.0
//
// How it works: two children. csb-launch dying is survivable: a new one is started (with a growing
// pause when it dies young) and its socket is sent to the server over the control socket. The
// server, when it gave a launcher up that does not answer, asks over the same socket to have it
// killed. The server dying ends everything with its exit code. SIGTERM and SIGINT are passed to the
// server, which drains; a second one makes it cut what still runs. Each child is told by the kernel
// when this process is killed. SIGHUP reads the configuration again; from a terminal it means that
// the terminal is gone, and ends the service. A service manager that wants to know is told of all
// this, and that the server still answers.
#include "daemon/daemon.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "config/config.h"
#include "daemon/notify.h"
#include "daemon/privileges.h"
#include "daemon/programs.h"
#include "daemon/reload.h"
#include "daemon/state.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS   10000
#define YOUNG_MS       5000  // a launcher that dies before this is failing, not unlucky
#define LAUNCH_STOP_MS 10000 // time for csb-launch to end its VMs
#define STOP_GRACE_MS  30000 // beyond DRAIN_MS and SANDBOX_KEEP_MS, for the server to end
#define FILES_WANTED   65536
#define LAUNCH_OPTIONS 10 // at most

struct supervisor {
    struct config *config;
    const struct config_sources *sources;
    char *const *argv;
    struct notify notify;
    char program[PATH_MAX];
    char launch_path[PATH_MAX];
    bool with_launcher;
    bool ready;        // the server listens
    bool reload_later; // once it does
    pid_t server;
    pid_t launcher;      // 0: none runs
    int control;         // to the server
    int signals;         // signalfd
    int exit_code;       // of the server
    uint64_t started_ns; // the launcher
    uint64_t pause_ms;
    uint64_t respawn_ns; // CLOCK_NEVER: nothing to start
    uint64_t kill_ns;    // when the server must have ended; CLOCK_NEVER until it was told to
    uint64_t beat_ns;    // when to ask the server whether it hangs
};

static void find_programs(struct supervisor *s)
{
    ssize_t n = readlink("/proc/self/exe", s->program, sizeof(s->program) - 1);

    s->program[n < 0 ? 0 : n] = '\0';
    programs_find_launch(s->config, s->launch_path);
}

struct launch_args {
    char text[LAUNCH_OPTIONS][PATH_MAX];
    char *argv[2 * LAUNCH_OPTIONS + 2];
    size_t count;
};

// `name` is a literal and stays.
static void add_option(struct launch_args *args, const char *name, const char *value)
{
    char *text = args->text[args->count];

    (void)snprintf(text, sizeof(args->text[0]), "%s", value);
    args->argv[2 * args->count + 1] = (char *)(uintptr_t)name;
    args->argv[2 * args->count + 2] = text;
    args->count++;
}

// What marks the control groups of this service's VMs, so that its next start removes what a killed
// one left, and nobody else's: a hash (FNV-1a) of where the state directory is.
static void make_label(const char *state_dir, char *ret, size_t size)
{
    char real[PATH_MAX];
    uint32_t hash = 0x811c9dc5;
    const char *path = realpath(state_dir, real) != NULL ? real : state_dir;

    for (; *path != '\0'; path++)
        hash = (hash ^ (uint8_t)*path) * 0x01000193;
    (void)snprintf(ret, size, "csb-%08x", (unsigned)hash);
}

static void build_launch_args(struct supervisor *s, struct launch_args *args)
{
    const struct config *c = s->config;
    char number[24];
    char label[24];
    char dir[CONFIG_TEXT_MAX + 16];

    memset(args, 0, sizeof(*args));
    args->argv[0] = s->launch_path;
    (void)snprintf(number, sizeof(number), "%d", DAEMON_LAUNCH_FD);
    add_option(args, "--fd", number);
    if (strcmp(c->isolation, "process") == 0) {
        char agent[PATH_MAX];

        programs_find_agent(c, agent);
        add_option(args, "--agent", agent);
        add_option(args, "--runtimes", c->runtimes_dir);
        add_option(args, "--tree", c->rootfs_tree);
    } else {
        add_option(args, "--qemu", c->qemu_path);
        add_option(args, "--kernel", c->kernel_path);
        add_option(args, "--initrd", c->initrd_path);
        add_option(args, "--rootfs", c->rootfs_path);
    }
    add_option(args, "--templates", c->templates_dir);
    (void)snprintf(dir, sizeof(dir), "%s/launch", c->state_dir);
    add_option(args, "--run-dir", dir);
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)c->uid_base);
    add_option(args, "--uid-base", number);
    add_option(args, "--cgroup-name", c->cgroup_name);
    make_label(c->state_dir, label, sizeof(label));
    add_option(args, "--label", label);
}

// The launcher and the server open it when they start. Best effort: without it there are no
// templates but the service's own.
static void make_templates_dir(const struct config *c)
{
    if (mkdir(c->templates_dir, 0755) == 0)
        (void)chmod(c->templates_dir, 0755);
}

// Starts csb-launch. *ret_socket is the daemon's end.
static int start_launcher(struct supervisor *s, int *ret_socket)
{
    _cleanup_fd_ int ours = -1;
    _cleanup_fd_ int theirs = -1;
    struct launch_args args;
    int pair[2];
    int r = fd_socketpair(SOCK_SEQPACKET, pair);
    struct proc_fd fds[1];

    if (r < 0)
        return r;
    ours = pair[0];
    theirs = pair[1];
    make_templates_dir(s->config);
    build_launch_args(s, &args);
    fds[0] = (struct proc_fd){.from = theirs, .to = DAEMON_LAUNCH_FD};
    r = proc_spawn(&(struct proc_spec){.path = s->launch_path,
                                       .argv = args.argv,
                                       .fds = fds,
                                       .fd_count = 1,
                                       .death_signal = SIGTERM,
                                       .own_group = true},
                   &s->launcher);
    if (r < 0) {
        s->launcher = 0;
        return r;
    }
    s->started_ns = clock_mono_ns();
    *ret_socket = fd_steal(&ours);
    return 0;
}

// The server: this program once more, with --serve in front of the other options.
static int start_server(struct supervisor *s, int launch_socket)
{
    _cleanup_fd_ int ours = -1;
    _cleanup_fd_ int theirs = -1;
    char **argv;
    char serve_option[] = DAEMON_SERVE_OPTION;
    size_t count = 0;
    struct proc_fd fds[2];
    size_t fd_count = 0;
    int pair[2];
    int r = fd_socketpair(SOCK_SEQPACKET, pair);

    if (r < 0)
        return r;
    ours = pair[0];
    theirs = pair[1];
    while (s->argv[count] != NULL)
        count++;
    argv = calloc(count + 2, sizeof(*argv));
    if (argv == NULL)
        return -ENOMEM;
    argv[0] = s->argv[0];
    argv[1] = serve_option;
    for (size_t i = 1; i < count; i++)
        argv[i + 1] = s->argv[i];
    fds[fd_count++] = (struct proc_fd){.from = theirs, .to = DAEMON_CONTROL_FD};
    if (launch_socket >= 0)
        fds[fd_count++] = (struct proc_fd){.from = launch_socket, .to = DAEMON_LAUNCH_FD};
    r = proc_spawn(&(struct proc_spec){.path = s->program,
                                       .argv = argv,
                                       .fds = fds,
                                       .fd_count = fd_count,
                                       .death_signal = SIGKILL,
                                       .own_group = true},
                   &s->server);
    free(argv);
    if (r < 0)
        return r;
    s->control = fd_steal(&ours);
    return 0;
}

static void respawn_launcher(struct supervisor *s)
{
    _cleanup_fd_ int socket = -1;
    int r = start_launcher(s, &socket);

    s->respawn_ns = CLOCK_NEVER;
    if (r < 0) {
        log_error("cannot start %s: %s", s->launch_path, strerror(-r));
        s->respawn_ns = clock_deadline_ms(PAUSE_MAX_MS);
        return;
    }
    r = fd_send_msg(s->control, &(char){DAEMON_LAUNCHER}, 1, &socket, 1);
    if (r < 0)
        log_error("cannot hand the new launcher to the server: %s", strerror(-r));
    else
        log_info("csb-launch was started again, pid %d", (int)s->launcher);
}

static void launcher_ended(struct supervisor *s, int status)
{
    uint64_t lived_ms = (clock_mono_ns() - s->started_ns) / NS_PER_MS;
    const char *how = WIFSIGNALED(status) ? "signal" : "exit code";
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);

    s->launcher = 0;
    if (s->kill_ns != CLOCK_NEVER || s->server == 0) // stopping, or there is nobody to serve
        return;
    if (lived_ms >= YOUNG_MS || s->pause_ms == 0)
        s->pause_ms = PAUSE_FIRST_MS;
    else
        s->pause_ms = s->pause_ms * 2 < PAUSE_MAX_MS ? s->pause_ms * 2 : PAUSE_MAX_MS;
    s->respawn_ns = clock_deadline_ms(s->pause_ms);
    // It ends well when the server let go of it, which is about to end itself.
    if (!WIFSIGNALED(status) && WEXITSTATUS(status) == 0)
        return;
    if (s->ready)
        log_warn("csb-launch ended (%s %d), and all it had started; starting it again in %" PRIu64
                 " ms",
                 how, number, s->pause_ms);
    else // the server, which cannot do without it, says so and ends
        log_error("csb-launch ended (%s %d) before the service had started", how, number);
}

static void server_ended(struct supervisor *s, int status)
{
    s->server = 0;
    if (WIFSIGNALED(status)) {
        log_error("the server was killed by signal %d", WTERMSIG(status));
        s->exit_code = 128 + WTERMSIG(status);
    } else {
        s->exit_code = WEXITSTATUS(status);
    }
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->server)
            server_ended(s, status);
        else if (pid == s->launcher)
            launcher_ended(s, status);
    }
}

static void stop_server(struct supervisor *s)
{
    notify_send(&s->notify, "STOPPING=1");
    s->beat_ns = CLOCK_NEVER;
    (void)kill(s->server, SIGTERM); // our child, not reaped yet: the pid is its
    if (s->kill_ns == CLOCK_NEVER)
        s->kill_ns =
            clock_deadline_ms(s->config->drain_ms + s->config->sandbox_keep_ms + STOP_GRACE_MS);
}

// The server answers when it is done.
static void reload(struct supervisor *s)
{
    static struct config next; // large
    char message[1 + RELOAD_TEXT_MAX] = {DAEMON_SETTINGS};
    int r;

    if (s->control < 0 || s->kill_ns != CLOCK_NEVER)
        return;
    s->reload_later = !s->ready;
    if (s->reload_later)
        return;
    notify_send(&s->notify, "RELOADING=1");
    if (reload_read(s->config, s->sources, &next, message + 1) < 0) {
        notify_send(&s->notify, "READY=1");
        return;
    }
    *s->config = next;
    log_set_level(reload_log_level(s->config));
    r = fd_send_msg(s->control, message, 1 + strlen(message + 1), NULL, 0);
    if (r < 0)
        log_error("cannot hand the new configuration to the server: %s", strerror(-r));
}

static void on_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(s);
        else if (info.ssi_signo == SIGHUP)
            reload(s);
        else if (s->server > 0)
            stop_server(s);
    }
}

static void kill_stuck_launcher(struct supervisor *s)
{
    if (s->launcher == 0)
        return;
    log_warn("csb-launch does not answer; killing it");
    (void)kill(s->launcher, SIGKILL);
}

static void server_ready(struct supervisor *s)
{
    s->ready = true;
    notify_send(&s->notify, "READY=1");
    if (s->notify.beat_ns != 0)
        s->beat_ns = clock_mono_ns();
    if (s->reload_later)
        reload(s);
}

// What the server says. Its end SIGCHLD tells, too.
static void on_control(struct supervisor *s)
{
    char byte = 0;
    ssize_t n = recv(s->control, &byte, 1, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        fd_close(&s->control);
        return;
    }
    if (n != 1)
        return;
    if (byte == DAEMON_STUCK)
        kill_stuck_launcher(s);
    else if (byte == DAEMON_READY)
        server_ready(s);
    else if (byte == DAEMON_SETTINGS)
        notify_send(&s->notify, "READY=1");
    else if (byte == DAEMON_PING)
        notify_send(&s->notify, "WATCHDOG=1");
}

// A server that hangs sends nothing back, and the service manager misses its sign of life.
static void beat(struct supervisor *s)
{
    (void)send(s->control, &(char){DAEMON_PING}, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    s->beat_ns = clock_mono_ns() + s->notify.beat_ns;
}

// Waits for a signal, a word of the server, or the deadline.
static void wait_events(struct supervisor *s, uint64_t deadline_ns)
{
    struct pollfd p[2] = {{.fd = s->signals, .events = POLLIN},
                          {.fd = s->control, .events = POLLIN}}; // -1 is passed over
    uint64_t now = clock_mono_ns();
    struct timespec left = clock_to_timespec(deadline_ns > now ? deadline_ns - now : 0);

    if (ppoll(p, 2, deadline_ns == CLOCK_NEVER ? NULL : &left, NULL) > 0 && p[1].revents != 0)
        on_control(s);
}

static void watch(struct supervisor *s)
{
    while (s->server > 0) {
        bool stopping = s->kill_ns != CLOCK_NEVER;
        uint64_t now = clock_mono_ns();

        if (now >= s->kill_ns) {
            log_error("the server does not end; killing it");
            (void)kill(s->server, SIGKILL);
            s->kill_ns = clock_deadline_ms(STOP_GRACE_MS);
        }
        if (s->launcher == 0 && s->with_launcher && !stopping && now >= s->respawn_ns)
            respawn_launcher(s);
        if (now >= s->beat_ns && s->control >= 0)
            beat(s);
        wait_events(s, stopping                     ? s->kill_ns
                       : s->beat_ns < s->respawn_ns ? s->beat_ns
                                                    : s->respawn_ns);
        on_signals(s);
    }
}

static void stop_launcher(struct supervisor *s)
{
    uint64_t deadline = clock_deadline_ms(LAUNCH_STOP_MS);

    fd_close(&s->control);
    if (s->launcher == 0)
        return;
    (void)kill(s->launcher, SIGTERM);
    while (s->launcher != 0 && clock_mono_ns() < deadline) {
        (void)fd_wait(s->signals, POLLIN, deadline);
        on_signals(s);
    }
    if (s->launcher == 0)
        return;
    log_warn("csb-launch does not end; killing it");
    (void)kill(s->launcher, SIGKILL);
    (void)waitpid(s->launcher, NULL, 0);
}

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    if (isatty(STDIN_FILENO) == 0)
        sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL); // cannot fail with these arguments
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int supervise(struct config *config, const struct config_sources *sources, char *const *argv)
{
    struct supervisor s = {.config = config,
                           .sources = sources,
                           .argv = argv,
                           .control = -1,
                           .signals = -1,
                           .respawn_ns = CLOCK_NEVER,
                           .kill_ns = CLOCK_NEVER,
                           .beat_ns = CLOCK_NEVER};
    _cleanup_fd_ int lock = -1;
    _cleanup_fd_ int launch_socket = -1;
    struct err err = ERR_INIT;
    int r;

    find_programs(&s);
    notify_open(&s.notify);
    s.with_launcher = strcmp(config->isolation, "fake") != 0;
    privileges_raise_files(FILES_WANTED);
    if (state_prepare(config->state_dir, (uint32_t)config->uid_base, &lock, &err) < 0) {
        log_error("%s", err.message);
        return 1;
    }
    s.signals = open_signals();
    r = s.signals < 0 ? -errno : 0;
    if (r == 0 && s.with_launcher)
        r = start_launcher(&s, &launch_socket);
    if (r < 0) {
        log_error("cannot start %s: %s", s.launch_path, strerror(-r));
        return 1;
    }
    r = start_server(&s, launch_socket);
    fd_close(&launch_socket);
    if (r < 0)
        log_error("cannot start %s: %s", s.program, strerror(-r));
    s.exit_code = r < 0 ? 1 : 0;
    watch(&s);
    s.respawn_ns = CLOCK_NEVER;
    stop_launcher(&s);
    fd_close(&s.signals);
    notify_close(&s.notify);
    return s.exit_code;
}
