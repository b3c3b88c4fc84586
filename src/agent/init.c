// SPDX-License-Identifier: Apache-2.0
//
// Init of the virtual machine. Orphans: a jailed program's are reaped by the init of its PID
// namespace; those of a long-lived sandbox's programs come to PID 1, which does nothing else once
// the agent has left it.
#include "agent/init.h"

#include "agent/init_root.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "channel/agent_wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICE_WAIT_MS 10000
#define ROOT_DEVICE    "/dev/vda"
#define MODULES_MAX    (64u << 10)

static const struct {
    const char *type;
    const char *target;
    unsigned long flags;
} early_mounts[] = {
    {"devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC},
    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC},
};

static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        fd = open("/dev/kmsg", O_RDWR | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < 3; i++)
        if (fd != i)
            dup2(fd, i);
    if (fd > 2)
        close(fd);
}

int init_early(struct err *err)
{
    struct err first = ERR_INIT;

    for (size_t i = 0; i < sizeof(early_mounts) / sizeof(early_mounts[0]); i++) {
        mkdir(early_mounts[i].target, 0755);
        if (mount(early_mounts[i].type, early_mounts[i].target, early_mounts[i].type,
                  early_mounts[i].flags, NULL) < 0 &&
            errno != EBUSY)
            err_sys(&first, errno, "mount %s", early_mounts[i].target);
    }
    open_console();
    reboot(RB_DISABLE_CAD);
    if (first.code != ERR_NONE) {
        *err = first;
        return -1;
    }
    return 0;
}

static int insert_module(const char *name, struct err *err)
{
    char path[160];

    snprintf(path, sizeof(path), "/modules/%s", name);
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
        return err_sys(err, errno, "insert %s", path);
    return 0;
}

static int insert_modules(struct err *err)
{
    _cleanup_free_ char *order = NULL;
    int rc = fd_read_file(AT_FDCWD, "/modules/order", MODULES_MAX, &order, NULL);

    if (rc < 0)
        return err_sys(err, rc, "read /modules/order");
    for (char *name = order; *name != '\0';) {
        size_t len = strcspn(name, "\n");
        char *next = name + len + (name[len] == '\n');
        name[len] = '\0';
        if (len > 0 && insert_module(name, err) < 0)
            return -1;
        name = next;
    }
    return 0;
}

// Calls `probe` until it gives >= 0, each time something appears in /dev, up to DEVICE_WAIT_MS.
static int wait_device(int (*probe)(void))
{
    uint64_t deadline = clock_deadline_ms(DEVICE_WAIT_MS);
    char scrap[4096];
    _cleanup_fd_ int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (watch < 0 || inotify_add_watch(watch, "/dev", IN_CREATE | IN_ATTRIB) < 0)
        return -errno;
    for (;;) {
        int fd = probe();
        if (fd >= 0)
            return fd;
        int n = fd_wait(watch, POLLIN, deadline);
        if (n <= 0)
            return n == 0 ? -ETIMEDOUT : n;
        while (read(watch, scrap, sizeof(scrap)) > 0)
            ;
    }
}

static int probe_root(void)
{
    int fd = open(ROOT_DEVICE, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int raise_loopback(void)
{
    struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    _cleanup_fd_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    return sock < 0 || ioctl(sock, SIOCSIFFLAGS, &req) < 0 ? -errno : 0;
}

int init_machine(struct err *err)
{
    if (insert_modules(err) < 0)
        return -1;
    _cleanup_fd_ int disk = wait_device(probe_root);
    if (disk < 0)
        return err_sys(err, disk, "wait for " ROOT_DEVICE);
    if (init_root(ROOT_DEVICE, err) < 0)
        return -1;
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return err_sys(err, errno, "mount cgroup2");
    int rc = raise_loopback();
    return rc < 0 ? err_sys(err, rc, "raise the loopback") : 0;
}

int init_leave(struct err *err)
{
    int rc = proc_leave_init();

    if (rc < 0)
        return err_sys(err, rc, "leave PID 1");
    return rc == 0 ? 0 : err_set(err, ERR_INTERNAL, "the agent ended");
}

// The device of the port named AGENT_PORT_NAME, opened, or -errno.
static int probe_port(void)
{
    DIR *dir = opendir("/sys/class/virtio-ports");
    int fd = -ENOENT;

    if (dir == NULL)
        return -errno;
    for (const struct dirent *e = readdir(dir); e != NULL && fd < 0; e = readdir(dir)) {
        char path[320];
        _cleanup_free_ char *name = NULL;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
        if (fd_read_file(AT_FDCWD, path, 256, &name, NULL) < 0)
            continue;
        name[strcspn(name, "\n")] = '\0';
        if (strcmp(name, AGENT_PORT_NAME) != 0)
            continue;
        snprintf(path, sizeof(path), "/dev/%s", e->d_name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            fd = -errno;
    }
    closedir(dir);
    return fd;
}

int init_open_port(int *ret_fd, struct err *err)
{
    int fd = wait_device(probe_port);

    if (fd < 0)
        return err_sys(err, fd, "open the virtio port " AGENT_PORT_NAME);
    *ret_fd = fd;
    return 0;
}

void init_fatal(const struct err *err)
{
    log_error("%s: powering off", err->message);
    sync();
    reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}
