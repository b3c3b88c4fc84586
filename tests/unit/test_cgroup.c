// SPDX-License-Identifier: Apache-2.0
//
// Control groups on the version this host has: limits hold and are counted, killing and removing
// leave nothing. Needs a hierarchy this user may write to.
#include "cgroup/cgroup.h"
#include "tap.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)

static int join(struct cgroup *cg)
{
    const char *const *paths = cgroup_procs_paths(cg);

    if (paths == NULL)
        return fd_write_file(cgroup_dirfd(cg), "cgroup.procs", "0");
    for (; *paths != NULL; paths++) {
        int r = fd_write_file(AT_FDCWD, *paths, "0");

        if (r < 0)
            return r;
    }
    return 0;
}

static pid_t start(struct cgroup *cg, int (*body)(void))
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(join(cg) < 0 ? 99 : body());
    return pid;
}

static int hog(void)
{
    for (int i = 0; i < 64; i++) {
        char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
            return 1;
        memset(p, 1, MIB);
    }
    return 0;
}

static int forks(void)
{
    int made = 0;

    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();

        if (pid < 0)
            return errno == EAGAIN ? made : 98;
        if (pid == 0) {
            (void)poll(NULL, 0, 60000);
            _exit(0);
        }
        made++;
    }
    return made;
}

static int sleeper(void)
{
    (void)poll(NULL, 0, 60000);
    return 0;
}

// Uses half a second of processor time.
static int spinner(void)
{
    while (clock() < CLOCKS_PER_SEC / 2)
        ;
    return 0;
}

static struct cgroup *group(struct cgroup_root *root, const char *name, struct cgroup_limits limits)
{
    struct err err = ERR_INIT;
    struct cgroup *cg = NULL;

    if (cgroup_new(root, name, &limits, &cg, &err) < 0)
        tap_ok(false, "%s: %s", name, err.message);
    return cg;
}

static void test_memory(struct cgroup_root *root)
{
    struct cgroup *cg = group(root, "mem", (struct cgroup_limits){.memory_bytes = 16 * MIB});
    struct cgroup_usage u;
    int status = 0;
    pid_t pid;

    if (cg == NULL)
        return;
    pid = start(cg, hog);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_INT(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u), 0);
    CHECK(u.oom_kills >= 1);
    CHECK(u.memory_peak_bytes > 8 * MIB && u.memory_peak_bytes <= 16 * MIB);
    CHECK_INT(cgroup_set_limits(cg, &(struct cgroup_limits){.memory_bytes = 128 * MIB}, NULL), 0);
    pid = start(cg, hog);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_INT(cgroup_set_limits(cg, &(struct cgroup_limits){.memory_bytes = 16 * MIB}, NULL), 0);
    cgroup_free(cg);
}

static void test_processes(struct cgroup_root *root)
{
    struct cgroup *cg = group(root, "pids", (struct cgroup_limits){.processes = 5});
    struct cgroup_usage u;
    int status = 0;
    pid_t pid;

    if (cg == NULL)
        return;
    CHECK(cgroup_is_empty(cg));
    pid = start(cg, forks);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
    CHECK(!cgroup_is_empty(cg));
    CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u) == 0 && u.processes == 4);
    CHECK_INT(cgroup_kill(cg), 0);
    cgroup_free(cg);
}

static void test_cpu(struct cgroup_root *root)
{
    struct cgroup *cg = group(root, "cpu", (struct cgroup_limits){.cpu_quota_us = 20000});
    struct cgroup_usage u;
    uint64_t start_ns, took_ns, used_ns;
    pid_t pid;

    if (cg == NULL)
        return;
    start_ns = clock_mono_ns();
    pid = start(cg, spinner);
    (void)waitpid(pid, NULL, 0);
    took_ns = clock_mono_ns() - start_ns;
    CHECK_INT(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u), 0);
    used_ns = u.cpu_user_ns + u.cpu_system_ns;
    // A wide bound: on a busy host throttling comes late.
    CHECK_MSG(used_ns > 450 * NS_PER_MS && used_ns < took_ns / 10 * 7,
              "a fifth of a CPU: %llu us used in %llu us", (unsigned long long)used_ns / 1000,
              (unsigned long long)took_ns / 1000);
    cgroup_free(cg);
}

// What a killed owner leaves behind is found by name and ended.
static void test_sweep(struct cgroup_root *root)
{
    struct cgroup *old = group(root, "vm-1", (struct cgroup_limits){0});
    struct cgroup *other = group(root, "keep", (struct cgroup_limits){0});
    int status = 0;
    pid_t pid;

    if (old == NULL || other == NULL)
        return;
    pid = start(old, sleeper);
    for (int i = 0; i < 6000 && cgroup_is_empty(old); i++)
        (void)poll(NULL, 0, 10);
    CHECK(!cgroup_is_empty(old));
    // The first try cannot remove the group while its process is a zombie on some kernels.
    cgroup_root_sweep(root, "vm-");
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    cgroup_root_sweep(root, "vm-");
    CHECK(!cgroup_is_empty(old)); // its directory is gone
    CHECK(cgroup_is_empty(other));
    cgroup_free(old);
    cgroup_free(other);
}

// The first hierarchy's directory of the group.
static int group_dir(const struct cgroup *cg)
{
    const char *const *paths = cgroup_procs_paths(cg);
    char path[4096];

    if (paths == NULL)
        return dup(cgroup_dirfd(cg));
    (void)snprintf(path, sizeof(path), "%.*s", (int)(strrchr(paths[0], '/') - paths[0]), paths[0]);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

// Whoever was given a group makes others in it, and processes in those. All of it goes.
static void test_delegated(struct cgroup_root *root)
{
    struct cgroup *cg = group(root, "given", (struct cgroup_limits){0});
    int dir = cg == NULL ? -1 : group_dir(cg);
    pid_t pid;
    int r;

    if (!CHECK(dir >= 0))
        return;
    CHECK_INT(cgroup_delegate(cg, geteuid(), getegid()), 0);
    CHECK(mkdirat(dir, "a", 0755) == 0 && mkdirat(dir, "a/b", 0755) == 0 &&
          mkdirat(dir, "c", 0755) == 0);
    pid = fork();
    if (pid == 0)
        _exit(fd_write_file(dir, "a/b/cgroup.procs", "0") < 0 ? 99 : sleeper());
    for (int i = 0; i < 6000; i++) {
        char *text = NULL;
        size_t len = 0;

        if (fd_read_file(dir, "a/b/cgroup.procs", 4096, &text, &len) == 0)
            free(text);
        if (len > 0)
            break;
        (void)poll(NULL, 0, 10);
    }
    r = cgroup_try_remove(cg);
    CHECK_MSG(r == -EBUSY || r == 0, "a try does not wait: %d", r);
    CHECK(waitpid(pid, &r, 0) == pid && WIFSIGNALED(r));
    for (int i = 0; i < 6000 && (r = cgroup_try_remove(cg)) == -EBUSY; i++)
        (void)poll(NULL, 0, 10);
    CHECK_INT(r, 0);
    CHECK(faccessat(dir, "a", F_OK, 0) < 0);
    fd_close(&dir);
    cgroup_free(cg);
    // The same of a former owner's.
    cg = group(root, "given", (struct cgroup_limits){0});
    dir = cg == NULL ? -1 : group_dir(cg);
    if (!CHECK(dir >= 0))
        return;
    CHECK(mkdirat(dir, "a", 0755) == 0 && mkdirat(dir, "a/b", 0755) == 0);
    cgroup_root_sweep(root, "given");
    CHECK(faccessat(dir, "a", F_OK, 0) < 0);
    fd_close(&dir);
    cgroup_free(cg);
}

// A group that served once serves again as if new; and goes without anybody waiting.
static void test_reuse(struct cgroup_root *root)
{
    struct cgroup *cg = group(root, "again", (struct cgroup_limits){.processes = 5});
    struct cgroup_usage u;
    struct cgroup_usage after;
    int status = 0;
    pid_t pid;
    int r;

    if (cg == NULL)
        return;
    pid = start(cg, hog);
    (void)waitpid(pid, &status, 0);
    pid = start(cg, forks);
    (void)waitpid(pid, &status, 0);
    CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u) == 0 && u.pids_refused == 1 &&
          u.cpu_system_ns > 0);
    CHECK(u.memory_peak_bytes > 32 * MIB);
    CHECK_INT(cgroup_reset(cg), -EBUSY);
    CHECK_INT(cgroup_kill(cg), 0);
    // The dead count as long as nobody reaped them.
    for (int i = 0; (r = cgroup_reset(cg)) == -EBUSY && i < 6000; i++)
        (void)poll(NULL, 0, 10);
    CHECK(cgroup_is_empty(cg));
    if (r != -EOPNOTSUPP) {
        CHECK_INT(r, 0);
        CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &after) == 0 && after.pids_refused == 0 &&
              after.oom_kills == 0);
        CHECK(after.memory_peak_bytes < 8 * MIB);
        CHECK(after.cpu_user_ns + after.cpu_system_ns < u.cpu_user_ns + u.cpu_system_ns);
    }
    CHECK(cgroup_try_free(&cg) == 0 && cg == NULL);
}

// Groups that are kept are handed out again, with new limits and nothing of what was.
static void test_spares(struct cgroup_root *root)
{
    struct cgroup *cg;
    struct cgroup_usage u;
    int status = 0;
    pid_t pid;

    cgroup_root_reuse(root, 2);
    for (int i = 0; i < 3; i++) {
        cg = group(root,
                   i == 0   ? "s0"
                   : i == 1 ? "s1"
                            : "s2",
                   (struct cgroup_limits){.processes = 5 + (uint64_t)i});
        if (cg == NULL)
            return;
        CHECK(cgroup_is_empty(cg));
        CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u) == 0 && u.pids_refused == 0 &&
              u.memory_peak_bytes < 2 * MIB && u.cpu_user_ns + u.cpu_system_ns == 0);
        pid = start(cg, forks);
        CHECK_INT(waitpid(pid, &status, 0), pid);
        CHECK_INT(status, (4 + i) << 8);
        CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u) == 0 && u.pids_refused == 1);
        CHECK_INT(cgroup_kill(cg), 0);
        for (int t = 0;
             t < 6000 && cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u) == 0 && u.processes > 0;
             t++)
            (void)poll(NULL, 0, 10);
        cgroup_free(cg);
    }
    cgroup_root_reuse(root, 0);
}

static void test_freeze(struct cgroup_root *root)
{
    struct cgroup *cg = group(root, "ice", (struct cgroup_limits){0});
    struct cgroup_usage before;
    struct cgroup_usage after;
    pid_t pid;
    int r;

    if (cg == NULL)
        return;
    pid = start(cg, spinner);
    (void)poll(NULL, 0, 50);
    r = cgroup_freeze(cg, true);
    if (cgroup_root_version(root) == CGROUP_V1) {
        CHECK_INT(r, -EOPNOTSUPP);
    } else {
        CHECK_INT(r, 0);
        (void)cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &before);
        (void)poll(NULL, 0, 100);
        (void)cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &after);
        CHECK_INT(after.cpu_user_ns, before.cpu_user_ns);
        CHECK_INT(cgroup_freeze(cg, false), 0);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    cgroup_free(cg);
}

static void test_bad_names(struct cgroup_root *root)
{
    static const char *const bad[] = {"", "..", "a/b", ".x", "-x"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cgroup *cg = NULL;

        CHECK(cgroup_new(root, bad[i], &(struct cgroup_limits){0}, &cg, NULL) < 0);
    }
}

// A group that is not there costs nothing and breaks nothing.
static void test_none(void)
{
    char note[160];
    struct cgroup_root *root = NULL;
    struct cgroup *cg;
    struct cgroup_usage u;

    CHECK_INT(cgroup_root_open("/nonexistent", "x", &root, note, NULL), 0);
    CHECK_INT(cgroup_root_version(root), CGROUP_NONE);
    CHECK(note[0] != '\0');
    cg = group(root, "a", (struct cgroup_limits){.memory_bytes = MIB});
    if (cg != NULL) {
        CHECK(cgroup_dirfd(cg) == -1 && cgroup_procs_paths(cg) == NULL);
        CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &u) == 0 && u.oom_kills == 0);
        CHECK_INT(cgroup_kill(cg), 0);
    }
    cgroup_free(cg);
    cgroup_root_close(root);
}

int main(void)
{
    char note[160];
    struct cgroup_root *root = NULL;
    struct err err = ERR_INIT;
    char name[32];

    test_none();
    (void)snprintf(name, sizeof(name), "csb-test-%d", getpid());
    if (cgroup_root_open(NULL, name, &root, note, &err) < 0) {
        tap_ok(false, "open: %s", err.message);
        return tap_done();
    }
    printf("# version %d %s\n", (int)cgroup_root_version(root), note);
    test_bad_names(root);
    if (cgroup_root_version(root) == CGROUP_NONE) {
        tap_skip("jail", note);
    } else {
        test_memory(root);
        test_processes(root);
        test_cpu(root);
        test_reuse(root);
        test_freeze(root);
        test_spares(root);
        test_sweep(root);
        test_delegated(root);
    }
    cgroup_root_close(root);
    return tap_done();
}
