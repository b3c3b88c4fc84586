// SPDX-License-Identifier: Apache-2.0
//
// How it works, in this order: open what needs the privileges of the start; give them up; start the
// engine and the HTTP server; wait for SIGTERM; drain. A thread takes fresh launcher sockets from
// the supervisor. Files are handed on as /proc/self/fd/N: the path that leads to them may be closed
// to the user this process becomes.
#include "daemon/daemon.h"

#include "api/api.h"
#include "api/auth.h"
#include "api/data_plane.h"
#include "api/jobs.h"
#include "api/metrics.h"
#include "api/observe.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "config/config.h"
#include "daemon/confinement.h"
#include "daemon/privileges.h"
#include "daemon/programs.h"
#include "daemon/reload.h"
#include "daemon/state.h"
#include "driver/driver.h"
#include "http/listen.h"
#include "http/server.h"
#include "launch/launch.h"
#include "sandbox/engine.h"
#include "sandbox/live.h"
#include "sandbox/pool.h"
#include "sandbox/runtime.h"
#include "sandbox/tenant.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGE_BLOCK (1 << 20) // from here memory is the kernel's again as soon as it is freed
#define CUT_WAIT_MS 10000     // after cutting, for answers to be written
#define RELOADS_MAX 1024      // about 15 KiB of memory each

// A file opened with the privileges of the start, and the name it has from then on.
struct opened {
    int fd;
    char path[32];
};

struct server {
    const struct config *config;             // of the start; what may be reloaded is in api.config
    struct config *old_configs[RELOADS_MAX]; // a request may still look at one
    size_t old_count;
    bool fake;
    bool process;
    int listen_fd;
    char address[80]; // "127.0.0.1:8000"
    int templates;
    int store_dir;
    int runtimes_dir;
    int made_templates;                   // TEMPLATES_DIR, or -1
    struct opened kernel, initrd, rootfs; // of virtual machines
    struct opened tree, agent, table;     // of process isolation
    struct confinement *confinement;
    struct launch_client *launch;
    struct runtime_table *runtimes;
    struct engine *engine;
    struct store *store;
    struct live_table *live;
    struct http_server *http;
    struct api api;
    pthread_t control;
    bool control_runs;
    _Atomic bool started; // all of the above is there
};

// `flags` O_DIRECTORY, or 0.
static int open_file(const char *name, const char *path, int flags, struct opened *ret,
                     struct err *err)
{
    struct stat st;

    ret->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
    if (ret->fd < 0 || fstat(ret->fd, &st) < 0)
        return err_sys(err, errno, "%s: cannot open %s (`make` makes it)", name, path);
    if ((flags & O_DIRECTORY) == 0 && !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: %s is not a file", name, path);
    (void)snprintf(ret->path, sizeof(ret->path), "/proc/self/fd/%d", ret->fd);
    return 0;
}

// Only to tell what the sandboxes are made of: the launcher uses its own.
static int open_process(struct server *s, struct err *err)
{
    char agent[PATH_MAX];

    programs_find_agent(s->config, agent);
    if (open_file("ROOTFS_TREE", s->config->rootfs_tree, O_DIRECTORY, &s->tree, err) < 0 ||
        open_file("AGENT_PATH", agent, 0, &s->agent, err) < 0 ||
        open_file("RUNTIMES_DIR", s->config->runtimes_dir, O_DIRECTORY, &s->table, err) < 0)
        return -1;
    if (faccessat(s->tree.fd, "proc", F_OK, 0) < 0)
        return err_sys(err, errno, "ROOTFS_TREE: %s is no root file system, without a /proc",
                       s->config->rootfs_tree);
    return 0;
}

static int open_all(struct server *s, struct err *err)
{
    const struct config *c = s->config;

    if (listen_tcp(c->api_host, (uint16_t)c->api_port, &s->listen_fd, s->address,
                   sizeof(s->address), err) < 0 ||
        state_open(c->state_dir, "templates", &s->templates, err) < 0 ||
        state_open(c->state_dir, "store", &s->store_dir, err) < 0)
        return -1;
    s->runtimes_dir = open(c->runtimes_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->runtimes_dir < 0)
        return err_sys(err, errno, "RUNTIMES_DIR: cannot open %s", c->runtimes_dir);
    s->made_templates = open(c->templates_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->fake)
        return 0;
    if (s->process)
        return open_process(s, err);
    if (open_file("KERNEL_PATH", c->kernel_path, 0, &s->kernel, err) < 0 ||
        open_file("INITRD_PATH", c->initrd_path, 0, &s->initrd, err) < 0 ||
        open_file("ROOTFS_PATH", c->rootfs_path, 0, &s->rootfs, err) < 0)
        return -1;
    return 0;
}

// As the new user. The files were opened by the old one; drivers open them again by the names.
static int check_readable(const struct server *s, struct err *err)
{
    const struct opened *const files[] = {&s->kernel, &s->initrd, &s->rootfs,
                                          &s->tree,   &s->agent,  &s->table};
    const char *const names[] = {"KERNEL_PATH", "INITRD_PATH", "ROOTFS_PATH",
                                 "ROOTFS_TREE", "AGENT_PATH",  "RUNTIMES_DIR"};
    const char *ca_file = s->config->webhook_ca_file;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (files[i]->fd >= 0 && access(files[i]->path, R_OK) < 0)
            return err_sys(err, errno, "%s: uid %u may not read it", names[i], (unsigned)geteuid());
    if (ca_file[0] != '\0' && access(ca_file, R_OK) < 0)
        return err_sys(err, errno, "WEBHOOK_CA_FILE: uid %u cannot read %s", (unsigned)geteuid(),
                       ca_file);
    return 0;
}

// Without an answer: the supervisor may be about to stop us.
static void tell_supervisor(char byte)
{
    (void)send(DAEMON_CONTROL_FD, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// The whole configuration is replaced at once, and the old one stays readable.
static void replace_config(struct server *s, const char *text)
{
    struct config *next = s->old_count < RELOADS_MAX ? calloc(1, sizeof(*next)) : NULL;
    struct err err = ERR_INIT;

    if (next == NULL) {
        log_error("the configuration was reloaded too often for one life of the service");
        return;
    }
    if (reload_take(s->api.config, text, next, &err) < 0) { // the supervisor checked it
        log_error("cannot reload: %s", err.message);
        free(next);
        return;
    }
    s->old_configs[s->old_count++] = next;
    s->api.config = next;
    log_set_level(reload_log_level(next));
    engine_tune(s->engine, &(struct pool_sizes){.ready = (uint32_t)next->pool_size,
                                                .max = (uint32_t)next->pool_max,
                                                .queue_max = (uint32_t)next->queue_max,
                                                .queue_wait_ms = next->queue_wait_ms});
    log_info("the configuration was reloaded");
}

// Whoever tells the service to look every few minutes does not use its reloads up.
static void take_settings(struct server *s, const char *text)
{
    if (*text == '\0')
        log_info("the configuration was reloaded: nothing that can be was changed");
    else
        replace_config(s, text);
}

// The locks that every request takes are not held for good.
static void answer_ping(struct server *s)
{
    struct engine_status status;

    engine_status(s->engine, &status);
    tell_supervisor(DAEMON_PING);
}

static void *control_main(void *arg)
{
    struct server *s = arg;
    char message[1 + RELOAD_TEXT_MAX + 1];
    size_t count;

    for (;;) {
        int fd = -1;
        ssize_t n = fd_recv_msg(DAEMON_CONTROL_FD, message, sizeof(message) - 1, &fd, 1, &count);

        if (n == -EINTR)
            continue;
        if (n <= 0)
            return NULL; // the supervisor is gone, and the kernel ends us for it
        message[n] = '\0';
        if (count == 1)
            launch_client_replace(s->launch, fd);
        else if (!s->started) // only a launcher is sent before
            continue;
        else if (message[0] == DAEMON_PING)
            answer_ping(s);
        else if (message[0] == DAEMON_SETTINGS) {
            take_settings(s, message + 1);
            tell_supervisor(DAEMON_SETTINGS);
        }
    }
}

// By the thread of a call that gave the launcher up.
static void on_stuck(void *arg)
{
    (void)arg;
    tell_supervisor(DAEMON_STUCK);
}

static int connect_launcher(struct server *s, struct err *err)
{
    if (!s->fake) {
        if (launch_client_new(DAEMON_LAUNCH_FD, &s->launch, err) < 0)
            return -1;
        launch_client_on_stuck(s->launch, on_stuck, NULL);
    }
    if (pthread_create(&s->control, NULL, control_main, s) != 0)
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    s->control_runs = true;
    if (s->fake)
        return 0;
    if (confinement_new(s->launch, s->config, &s->confinement, err) < 0)
        return err_wrap(err, "csb-launch");
    s->api.confinement = confinement_get;
    s->api.confinement_arg = s->confinement;
    return 0;
}

// For all that runs at once.
static uint32_t agent_memory_mib(const struct config *c)
{
    uint64_t host_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    return c->process_memory_mb != 0 ? (uint32_t)c->process_memory_mb
                                     : (uint32_t)(host_bytes / 4 * 3 >> 20);
}

static int start_engine(struct server *s, struct err *err)
{
    const struct config *c = s->config;
    struct engine_config config = {
        .driver = s->fake      ? &driver_fake
                  : s->process ? &driver_process
                               : &driver_qemu,
        .driver_config = {.state_dir_fd = s->templates,
                          .launch = s->launch,
                          .kernel_path = s->kernel.path,
                          .initrd_path = s->initrd.path,
                          .rootfs_path = s->rootfs.path,
                          .accel = c->accel,
                          .tree_path = s->tree.path,
                          .agent_path = s->agent.path,
                          .runtimes_path = s->table.path,
                          .agent_memory_mib = agent_memory_mib(c)},
        .shape = {.memory_mib = (uint32_t)c->vm_memory_mb, .cpus = (uint32_t)c->vm_cpus},
        .pool_ready = (uint32_t)c->pool_size,
        .pool_plain = c->sandbox_max > 0 ? (uint32_t)c->sandbox_ready : 0,
        .pool_max = (uint32_t)c->pool_max,
        .compile_cache_bytes = c->compile_cache_bytes,
        .queue_max = (uint32_t)c->queue_max,
        .queue_wait_ms = c->queue_wait_ms,
        .limits = {.wall_ms = c->limits[CONFIG_LIMIT_WALL_MS].def,
                   .cpu_ms = c->limits[CONFIG_LIMIT_WALL_MS].def,
                   .memory_bytes = c->limits[CONFIG_LIMIT_MEMORY_BYTES].def,
                   .processes = c->limits[CONFIG_LIMIT_PROCESSES].def,
                   .output_bytes = c->limits[CONFIG_LIMIT_OUTPUT_BYTES].def,
                   .disk_bytes = c->limits[CONFIG_LIMIT_DISK_BYTES].def},
    };

    if (runtime_table_load(s->runtimes_dir, &s->runtimes, err) < 0)
        return err_wrap(err, "RUNTIMES_DIR: %s", c->runtimes_dir);
    config.runtimes = s->runtimes;
    config.templates_fd = s->made_templates;
    return engine_new(&config, &s->engine, err);
}

// Who may use the service. Before the engine: a service that nobody may use need not build a
// template.
static int start_auth(struct server *s, struct err *err)
{
    const struct config *c = s->config;
    const struct tenant_limits limits = {
        .requests_per_minute = c->tenant_requests_per_minute,
        .requests_burst = c->tenant_requests_burst,
        .runs = (uint32_t)c->tenant_runs,
        .queue = (uint32_t)c->tenant_queue,
        .cpu_seconds_per_hour = c->tenant_cpu_s_per_hour,
        .sandboxes = (uint32_t)c->sandbox_max_per_key,
        .jobs = (uint32_t)c->job_max_per_key,
    };
    struct api_auth_config config = {.loopback = listen_is_loopback(c->api_host),
                                     .allow_unauthenticated = c->allow_unauthenticated};

    if (store_open(s->store_dir, STORE_SYNC_PROCESS, &s->store, err) < 0 ||
        tenant_table_new(&limits, &s->api.tenants, err) < 0)
        return -1;
    config.store = s->store;
    config.tenants = s->api.tenants;
    return api_auth_new(&config, &s->api.auth, err);
}

static int start_sandboxes(struct server *s, struct err *err)
{
    const struct config *c = s->config;
    struct live_config config = {
        .engine = s->engine,
        .max = (uint32_t)c->sandbox_max,
        .tenants = s->api.tenants,
        .life_max_ms = c->sandbox_life_max_s * 1000,
        .snapshots_per_key = (uint32_t)c->snapshot_max_per_key,
        .snapshot_bytes = c->snapshot_max_bytes,
        .cpus = (uint32_t)c->vm_cpus,
        .memory_mib = (uint32_t)c->vm_memory_mb,
    };

    config.store = s->store;
    return live_table_new(&config, &s->live, err);
}

// What the SDKs are told of the names of ports.
static void set_domain(struct server *s)
{
    const char *port = strrchr(s->address, ':');

    s->api.loopback = listen_is_loopback(s->config->api_host);
    if (s->config->sandbox_domain[0] != '\0')
        (void)snprintf(s->api.domain, sizeof(s->api.domain), "%.127s", s->config->sandbox_domain);
    else if (s->api.loopback && port != NULL)
        (void)snprintf(s->api.domain, sizeof(s->api.domain), "localhost%s", port);
}

static int start_http(struct server *s, struct err *err)
{
    const struct config *c = s->config;
    bool open_to_all = !listen_is_loopback(c->api_host) && c->allowed_hosts[0] == '\0';
    struct http_options options = {
        .listen_fd = s->listen_fd,
        .routes = api_routes,
        .app = &s->api,
        .take = data_plane_take,
        .admit = api_admit,
        .observe = api_observe,
        .body_max_bytes = c->body_max_bytes,
        .connections_max = (uint32_t)c->http_connections_max,
        .connections_per_address_max = (uint32_t)c->http_connections_per_address,
        .idle_ms = c->http_idle_ms,
        .body_ms = c->http_body_ms,
        .write_ms = c->http_write_ms,
        .allowed_hosts = open_to_all ? NULL : c->allowed_hosts,
    };

    s->api.engine = s->engine;
    s->api.config = c;
    s->api.live = s->live;
    s->api.store = s->store;
    set_domain(s);
    if (api_metrics_new(s->runtimes, &s->api.metrics, err) < 0 ||
        api_http_metrics_new(&s->api.http_metrics, err) < 0 ||
        jobs_new(&s->api, s->store_dir, &s->api.jobs, err) < 0 || jobs_start(s->api.jobs, err) < 0)
        return -1;
    if (http_server_new(&options, &s->http, err) < 0)
        return -1;
    (void)fd_steal(&s->listen_fd);
    return 0;
}

static int start(struct server *s, struct err *err)
{
    int parent = getppid();

    // Request bodies of many megabytes come and go. Unless the threshold is fixed, the C library
    // raises it at the first one, and each thread's arena keeps what it had.
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    if (fcntl(DAEMON_CONTROL_FD, F_GETFD) < 0)
        return err_set(err, ERR_INVALID,
                       DAEMON_SERVE_OPTION " is how codesandboxd starts itself; leave it out");
    if (open_all(s, err) < 0 || privileges_drop((uint32_t)s->config->uid_base, err) < 0 ||
        privileges_die_with(parent, err) < 0 || check_readable(s, err) < 0 ||
        start_auth(s, err) < 0 || connect_launcher(s, err) < 0 || start_engine(s, err) < 0 ||
        start_sandboxes(s, err) < 0 || start_http(s, err) < 0)
        return -1;
    return 0;
}

static void announce(const struct server *s)
{
    struct engine_status status;

    engine_status(s->engine, &status);
    log_info("listening on http://%s, isolation %s, accel %s: %s", s->address, status.isolation,
             status.accel, status.note);
    if (s->confinement != NULL)
        confinement_log(s->confinement);
}

// Waits for SIGTERM or SIGINT, at most until the deadline. False: the deadline passed.
static bool await_signal(const sigset_t *set, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = clock_mono_ns();
        struct timespec left = clock_to_timespec(deadline_ns > now ? deadline_ns - now : 0);

        if (sigtimedwait(set, NULL, deadline_ns == CLOCK_NEVER ? NULL : &left) > 0)
            return true;
        if (errno == EAGAIN)
            return false;
    }
}

// Lets requests end; a second signal or the deadline cuts them. Sandboxes are stored meanwhile, in
// a time of their own, which a second signal cuts, too.
static void drain(struct server *s, const sigset_t *set)
{
    const struct config *c = s->api.config;
    uint64_t deadline = clock_deadline_ms(c->drain_ms);

    log_info("stopping: requests under way have %llu ms", (unsigned long long)c->drain_ms);
    http_server_quiesce(s->http);
    live_table_stop(s->live, c->sandbox_keep_ms); // their streams would have no end
    jobs_quiesce(s->api.jobs);
    while (!http_server_wait_idle(s->http, clock_deadline_ms(50))) {
        bool cut = await_signal(set, clock_deadline_ms(1));

        if (cut)
            live_table_cut(s->live);
        else if (clock_mono_ns() < deadline)
            continue;
        log_warn("cutting what still runs");
        http_server_cut(s->http);
        (void)http_server_wait_idle(s->http, clock_deadline_ms(CUT_WAIT_MS));
        break;
    }
    jobs_stop(s->api.jobs, deadline);
    while (!live_table_wait(s->live, clock_deadline_ms(50)))
        if (await_signal(set, clock_deadline_ms(1)))
            live_table_cut(s->live);
}

// Making a sandbox or a template takes long, and the engine waits for both. Taking the launcher
// away ends every machine at once; no run is left by now.
static void end_machines(struct server *s)
{
    int pair[2];

    if (s->launch == NULL || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
        return;
    fd_close(&pair[1]);
    launch_client_replace(s->launch, pair[0]);
}

static void stop(struct server *s)
{
    http_server_free(s->http);
    jobs_free(s->api.jobs);
    live_table_free(s->live);
    engine_stop(s->engine);
    end_machines(s);
    engine_free(s->engine, 0);
    api_auth_free(s->api.auth);
    tenant_table_free(s->api.tenants);
    store_close(s->store);
    api_metrics_free(s->api.metrics);
    api_http_metrics_free(s->api.http_metrics);
    runtime_table_free(s->runtimes);
    if (s->control_runs) {
        (void)shutdown(DAEMON_CONTROL_FD, SHUT_RDWR); // wakes the thread
        (void)pthread_join(s->control, NULL);
    }
    for (size_t i = 0; i < s->old_count; i++)
        free(s->old_configs[i]);
    confinement_free(s->confinement);
    launch_client_free(s->launch);
    fd_close(&s->listen_fd);
    fd_close(&s->tree.fd);
    fd_close(&s->agent.fd);
    fd_close(&s->table.fd);
    fd_close(&s->templates);
    fd_close(&s->store_dir);
    fd_close(&s->runtimes_dir);
    fd_close(&s->made_templates);
    fd_close(&s->kernel.fd);
    fd_close(&s->initrd.fd);
    fd_close(&s->rootfs.fd);
}

int serve(const struct config *config)
{
    static struct server s; // large

    s = (struct server){
        .config = config,
        .fake = strcmp(config->isolation, "fake") == 0,
        .process = strcmp(config->isolation, "process") == 0,
        .listen_fd = -1,
        .templates = -1,
        .store_dir = -1,
        .runtimes_dir = -1,
        .made_templates = -1,
        .kernel.fd = -1,
        .initrd.fd = -1,
        .rootfs.fd = -1,
        .tree.fd = -1,
        .agent.fd = -1,
        .table.fd = -1,
    };
    struct err err = ERR_INIT;
    sigset_t set;

    // Before any thread: all of them inherit the mask, and only this one takes the signals.
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN); // a closed connection is an error code here
    if (start(&s, &err) < 0) {
        log_error("%s", err.message);
        stop(&s);
        return 1;
    }
    announce(&s);
    s.started = true;
    tell_supervisor(DAEMON_READY);
    (void)await_signal(&set, CLOCK_NEVER);
    drain(&s, &set);
    stop(&s);
    log_info("stopped");
    return 0;
}
