// SPDX-License-Identifier: Apache-2.0
#include "launch_harness.h"

#include "base/fd.h"
#include "base/proc.h"
#include "launch/launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_FD    3
#define NOBODY       65534
#define UID_BASE     "310000"
#define DEFAULT_QEMU "/usr/bin/qemu-system-x86_64"

static int image_path(char ret[PATH_MAX], const char *name, struct err *err)
{
    const char *dir = getenv("CSB_IMAGE_DIR");

    if (dir == NULL)
        return err_set(err, ERR_UNSUPPORTED, "CSB_IMAGE_DIR does not name an image");
    (void)snprintf(ret, PATH_MAX, "%s/%s", dir, name);
    if (access(ret, R_OK) < 0)
        return err_set(err, ERR_UNSUPPORTED, "there is no image file %.150s", ret);
    return 0;
}

static int launcher_path(char ret[PATH_MAX], struct err *err)
{
    const char *given = getenv("CSB_LAUNCH");
    ssize_t len = readlink("/proc/self/exe", ret, PATH_MAX - sizeof("csb-launch"));
    char *slash;

    if (given != NULL) {
        (void)snprintf(ret, PATH_MAX, "%s", given);
    } else {
        ret[len < 0 ? 0 : len] = '\0';
        slash = strrchr(ret, '/');
        memcpy(slash == NULL ? ret : slash + 1, "csb-launch", sizeof("csb-launch"));
    }
    if (access(ret, X_OK) < 0)
        return err_set(err, ERR_UNSUPPORTED, "there is no launcher %.150s", ret);
    return 0;
}

static int make_dirs(struct launch_harness *h, struct err *err)
{
    char path[sizeof(h->dir) + 8];

    (void)snprintf(h->dir, sizeof(h->dir), "/tmp/csb-test-XXXXXX");
    if (mkdtemp(h->dir) == NULL)
        return err_sys(err, errno, "mkdtemp");
    (void)snprintf(path, sizeof(path), "%s/run", h->dir);
    if (chmod(h->dir, 0755) < 0 || mkdir(path, 0755) < 0)
        return err_sys(err, errno, "mkdir %s", path);
    (void)snprintf(path, sizeof(path), "%s/state", h->dir);
    if (mkdir(path, 0700) < 0)
        return err_sys(err, errno, "mkdir %s", path);
    h->state_fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    return h->state_fd < 0 ? err_sys(err, errno, "open %s", path) : 0;
}

static size_t add(const char **args, size_t n, const char *name, const char *value)
{
    args[n] = name;
    args[n + 1] = value;
    return n + 2;
}

static int spawn(struct launch_harness *h, bool agents, const char *program, int sock,
                 struct err *err)
{
    const char *qemu = getenv("CSB_QEMU");
    char run_dir[sizeof(h->dir) + 8];
    char label[32];
    char number[8];
    const char *args[24] = {program};
    struct proc_fd fds[1] = {{.from = sock, .to = SOCKET_FD}};
    size_t n = 1;
    int r;

    (void)snprintf(number, sizeof(number), "%d", SOCKET_FD);
    (void)snprintf(label, sizeof(label), "csb-test-%d", (int)getpid());
    (void)snprintf(run_dir, sizeof(run_dir), "%s/run", h->dir);
    n = add(args, n, "--fd", number);
    n = add(args, n, "--uid-base", UID_BASE);
    n = add(args, n, "--cgroup-name", label);
    n = add(args, n, "--run-dir", run_dir);
    n = add(args, n, "--label", label);
    if (agents) {
        n = add(args, n, "--agent", h->agent);
        n = add(args, n, "--runtimes", h->runtimes);
        n = add(args, n, "--tree", h->tree);
    } else {
        n = add(args, n, "--qemu", qemu == NULL ? DEFAULT_QEMU : qemu);
        n = add(args, n, "--kernel", h->kernel);
        n = add(args, n, "--initrd", h->initrd);
        n = add(args, n, "--rootfs", h->rootfs);
    }
    r = proc_spawn(&(struct proc_spec){.path = program,
                                       .argv = (char *const *)(uintptr_t)args,
                                       .fds = fds,
                                       .fd_count = 1,
                                       .death_signal = SIGTERM},
                   &h->pid);
    return r < 0 ? err_sys(err, r, "cannot start %.150s", program) : 0;
}

static int named_path(char ret[PATH_MAX], const char *variable, struct err *err)
{
    const char *path = getenv(variable);

    if (path == NULL || access(path, R_OK) < 0)
        return err_set(err, ERR_UNSUPPORTED, "%s does not name a file", variable);
    (void)snprintf(ret, PATH_MAX, "%s", path);
    return 0;
}

static int find_files(struct launch_harness *h, bool agents, struct err *err)
{
    if (agents)
        return image_path(h->tree, "rootfs", err) < 0 ||
                       named_path(h->agent, "CSB_AGENT", err) < 0 ||
                       named_path(h->runtimes, "CSB_RUNTIMES", err) < 0
                   ? -1
                   : 0;
    return image_path(h->kernel, "vmlinuz", err) < 0 ||
                   image_path(h->initrd, "initrd.img", err) < 0 ||
                   image_path(h->rootfs, "rootfs.erofs", err) < 0
               ? -1
               : 0;
}

static int start(struct launch_harness *h, struct err *err)
{
    char program[PATH_MAX];
    int pair[2];
    int r;

    if (launcher_path(program, err) < 0)
        return -1;
    r = fd_socketpair(SOCK_SEQPACKET, pair);
    if (r < 0)
        return err_sys(err, r, "socketpair");
    r = spawn(h, h->agents, program, pair[1], err);
    fd_close(&pair[1]);
    if (r < 0) {
        fd_close(&pair[0]);
        return -1;
    }
    return launch_client_new(pair[0], &h->client, err);
}

int launch_harness_start(struct launch_harness *h, bool agents, struct err *err)
{
    *h = (struct launch_harness){.state_fd = -1, .agents = agents};
    if (find_files(h, agents, err) < 0 || make_dirs(h, err) < 0)
        return -1;
    return start(h, err);
}

static int end(struct launch_harness *h)
{
    int status = -1;

    launch_client_free(h->client);
    h->client = NULL;
    if (h->pid > 0)
        (void)waitpid(h->pid, &status, 0); // it ends with its socket
    h->pid = 0;
    return status;
}

int launch_harness_restart(struct launch_harness *h, struct err *err)
{
    (void)end(h);
    return start(h, err);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int launch_harness_stop(struct launch_harness *h)
{
    int status = end(h);

    fd_close(&h->state_fd);
    if (h->dir[0] != '\0')
        (void)nftw(h->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return status;
}

static pid_t parent_of(pid_t pid)
{
    char path[64];
    char *text;
    const char *at;
    size_t len;
    long parent = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
        return 0;
    at = strrchr(text, ')');
    if (at != NULL && strlen(at) > 4)
        parent = strtol(at + 4, NULL, 10);
    free(text);
    return (pid_t)parent;
}

static bool is_below(pid_t pid, pid_t ancestor)
{
    for (int depth = 0; pid > 1 && depth < 32; depth++) {
        pid = parent_of(pid);
        if (pid == ancestor)
            return true;
    }
    return false;
}

bool launch_harness_be_ordinary(void)
{
    if (geteuid() != 0)
        return true;
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

int launch_harness_processes(const struct launch_harness *h)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        long pid = strtol(entry->d_name, NULL, 10);

        if (pid > 1 && is_below((pid_t)pid, h->pid))
            count++;
    }
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

struct driver_config launch_harness_config(const struct launch_harness *h)
{
    const char *accel = getenv("ACCEL");

    return (struct driver_config){
        .state_dir_fd = h->state_fd,
        .launch = h->client,
        .kernel_path = h->kernel,
        .initrd_path = h->initrd,
        .rootfs_path = h->rootfs,
        .accel = accel == NULL ? "tcg" : accel,
        .tree_path = h->tree,
        .agent_path = h->agent,
        .runtimes_path = h->runtimes,
    };
}
