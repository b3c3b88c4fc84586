// SPDX-License-Identifier: Apache-2.0
//
// How it works: every sandbox is a QEMU process of its own, started and confined by csb-launch,
// which restores a template (qemu_template.c): its RAM is the template's sealed memfd, mapped
// privately, so a clone costs the pages it changes. The agent's stream is a virtio-serial port that
// QEMU connects to one end of a socket pair; this driver never reads it.
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "driver/qemu_internal.h"
#include "driver/qmp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void choose_accel(const struct driver_config *config, struct driver_probe *ret)
{
    struct launch_kvm kvm = {0};
    struct err err = ERR_INIT;
    bool asked = strcmp(config->accel, "tcg") != 0;

    if (asked && launch_probe_kvm(config->launch, &kvm, &err) < 0)
        (void)snprintf(kvm.note, sizeof(kvm.note), "KVM could not be probed: %.100s", err.message);
    if (strcmp(config->accel, "kvm") == 0) {
        ret->usable = kvm.present != 0;
        (void)snprintf(ret->accel, sizeof(ret->accel), "kvm");
        (void)snprintf(ret->note, sizeof(ret->note), "KVM was asked for: %.150s", kvm.note);
    } else if (kvm.accelerated != 0) {
        (void)snprintf(ret->accel, sizeof(ret->accel), "kvm");
        (void)snprintf(ret->note, sizeof(ret->note), "hardware virtualisation: %.150s", kvm.note);
    } else {
        (void)snprintf(ret->accel, sizeof(ret->accel), "tcg");
        (void)snprintf(
            ret->note, sizeof(ret->note),
            "software emulation, same isolation, computing about 14 times slower: %.150s",
            asked ? kvm.note : "it was asked for");
    }
}

static void qemu_probe(const struct driver_config *config, struct driver_probe *ret)
{
    struct launch_info info;
    struct err err = ERR_INIT;

    *ret = (struct driver_probe){.usable = true, .isolation = "microvm", .accel = "none"};
    if (config->launch == NULL) {
        ret->usable = false;
        (void)snprintf(ret->note, sizeof(ret->note), "the launcher of VMs is not running");
    } else if (launch_hello(config->launch, &info, &err) < 0) {
        ret->usable = false;
        (void)snprintf(ret->note, sizeof(ret->note), "the launcher of VMs: %.200s", err.message);
    } else if (info.qemu_version[0] == '\0') {
        ret->usable = false;
        (void)snprintf(ret->note, sizeof(ret->note),
                       "QEMU (qemu-system-x86_64) is not installed or does not start");
    } else {
        choose_accel(config, ret);
    }
}

static int open_parts(struct driver *d, struct err *err)
{
    struct launch_info info;
    struct driver_probe probe;
    uint32_t seed;

    qemu_probe(&d->config, &probe);
    if (!probe.usable)
        return err_set(err, ERR_UNSUPPORTED, "%s", probe.note);
    if (launch_hello(d->config.launch, &info, err) < 0)
        return -1;
    d->accel = strcmp(probe.accel, "kvm") == 0 ? LAUNCH_ACCEL_KVM : LAUNCH_ACCEL_TCG;
    (void)snprintf(d->qemu_version, sizeof(d->qemu_version), "%.*s",
                   (int)sizeof(info.qemu_version) - 1, info.qemu_version);
    // Ids of a former daemon, whose VMs the launcher may still be ending, are not met again.
    id_random(&seed, sizeof(seed));
    atomic_init(&d->next_id, (uint64_t)seed << 24 | 1);
    if (qemu_machine_key(d, d->machine_key, NULL) < 0)
        d->machine_key[0] = '\0';
    if (template_store_open(d->config.state_dir_fd, &d->templates_fd, err) < 0)
        return -1;
    return image_store_open(d->config.state_dir_fd, &d->images_fd, err);
}

static void qemu_close(struct driver *d)
{
    if (d == NULL)
        return;
    fd_close(&d->templates_fd);
    fd_close(&d->images_fd);
    (void)pthread_mutex_destroy(&d->lock);
    (void)pthread_mutex_destroy(&d->build_lock);
    free(d);
}

static int qemu_open(const struct driver_config *config, struct driver **ret, struct err *err)
{
    struct driver *d;

    if (config->kernel_path == NULL || config->initrd_path == NULL || config->rootfs_path == NULL ||
        config->accel == NULL)
        return err_set(err, ERR_INVALID,
                       "kernel, initramfs, root image and accelerator are needed");
    d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    d->config = *config;
    d->templates_fd = -1;
    d->images_fd = -1;
    (void)pthread_mutex_init(&d->build_lock, NULL); // default attributes: cannot fail on Linux
    (void)pthread_mutex_init(&d->lock, NULL);
    if (open_parts(d, err) < 0) {
        qemu_close(d);
        return -1;
    }
    *ret = d;
    return 0;
}

static const char *qemu_template_key(const struct driver_template *t)
{
    return t->key;
}

// Commands are sent ahead of the replies: QEMU works through them as soon as it is up.
static int restore(struct qemu_vm *vm, uint64_t deadline_ns, struct err *err)
{
    static const struct {
        const char *command, *arguments;
    } steps[] = {
        {"qmp_capabilities", NULL},
        {"migrate-set-capabilities",
         "{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"
         "{\"capability\":\"events\",\"state\":true}]}"},
        {"migrate-incoming", "{\"uri\":\"fd:13\"}"},
    };
    size_t count = sizeof(steps) / sizeof(steps[0]);

    for (size_t i = 0; i < count; i++)
        if (qmp_send(vm->qmp, steps[i].command, steps[i].arguments, -1, err) < 0)
            return -1;
    for (size_t i = 0; i < count; i++)
        if (qmp_reply(vm->qmp, deadline_ns, err) < 0)
            return err_wrap(err, "%s", steps[i].command);
    if (qmp_wait_migration(vm->qmp, deadline_ns, err) < 0)
        return -1;
    return qmp_execute(vm->qmp, "cont", NULL, deadline_ns, err);
}
static_assert(LAUNCH_QEMU_STATE_FD == 13, "restore() names it");

// QEMU moves the offset of what it reads, so each clone has a file of its own.
static int copy_state(const struct template_image *image, int *ret_fd)
{
    _cleanup_fd_ int fd = memfd_create("csb-state", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, image->state, image->state_len);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        *ret_fd = fd_steal(&fd);
    return r;
}

static int start_vm(struct driver *d, const struct driver_template *t, int state_fd,
                    uint64_t deadline_ns, struct qemu_vm *ret, struct err *err)
{
    struct qemu_vm vm = QEMU_VM_INIT;
    int r = qemu_vm_start(d,
                          &(struct qemu_vm_spec){.mode = LAUNCH_MODE_RESTORE,
                                                 .shape = t->shape,
                                                 .root = t->image.root,
                                                 .ram_fd = t->image.ram_fd,
                                                 .state_fd = state_fd},
                          &vm, err);

    if (r == 0 && restore(&vm, deadline_ns, err) < 0)
        r = qemu_vm_blame(&vm, err);
    if (r < 0) {
        qemu_vm_end(d, &vm);
        return -1;
    }
    *ret = vm;
    return 0;
}

int qemu_start(struct driver *d, struct driver_template *t, int state_fd, uint64_t deadline_ns,
               struct driver_sandbox **ret, struct err *err)
{
    struct driver_sandbox *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->driver = d;
    if (start_vm(d, t, state_fd, deadline_ns, &s->vm, err) < 0) {
        free(s);
        return -1;
    }
    s->template = qemu_template_ref(t);
    (void)pthread_mutex_init(&s->lock, NULL); // default attributes: cannot fail on Linux
    (void)pthread_cond_init(&s->idle, NULL);
    *ret = s;
    return 0;
}

int qemu_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
               struct driver_sandbox **ret, struct err *err)
{
    _cleanup_fd_ int state_fd = -1;
    int r = copy_state(&t->image, &state_fd);

    if (r < 0)
        return err_sys(err, r, "cannot copy the device state");
    return qemu_start(d, t, state_fd, deadline_ns, ret, err);
}

// All VMs have the limits of their template's shape.
static int qemu_clone_lasting(struct driver *d, struct driver_template *t,
                              const struct driver_limits *limits, uint64_t deadline_ns,
                              struct driver_sandbox **ret, struct err *err)
{
    (void)limits;
    return qemu_clone(d, t, deadline_ns, ret, err);
}

int qemu_begin_call(struct driver_sandbox *s, struct err *err)
{
    bool ending;

    (void)pthread_mutex_lock(&s->lock);
    ending = s->ending;
    if (!ending)
        s->calls++;
    (void)pthread_mutex_unlock(&s->lock);
    return ending ? err_set(err, ERR_GONE, "the sandbox is being destroyed") : 0;
}

void qemu_end_call(struct driver_sandbox *s)
{
    (void)pthread_mutex_lock(&s->lock);
    if (--s->calls == 0)
        (void)pthread_cond_signal(&s->idle);
    (void)pthread_mutex_unlock(&s->lock);
}

void qemu_destroy(struct driver_sandbox *s)
{
    if (s == NULL)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->ending = true;
    qmp_cut(s->vm.qmp);
    while (s->calls > 0)
        (void)pthread_cond_wait(&s->idle, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    qemu_vm_end(s->driver, &s->vm);
    qemu_template_free(s->template);
    (void)pthread_cond_destroy(&s->idle);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static int qemu_channel(struct driver_sandbox *s, int *ret_fd, struct err *err)
{
    if (s->vm.channel_fd < 0)
        return err_set(err, ERR_INVALID, "the sandbox's stream was handed out before");
    *ret_fd = fd_steal(&s->vm.channel_fd);
    return 0;
}

static int qemu_death_fd(struct driver_sandbox *s)
{
    return s->vm.pidfd;
}

static int set_paused(struct driver_sandbox *s, bool paused, uint64_t deadline_ns, struct err *err)
{
    int r;

    if (qemu_begin_call(s, err) < 0)
        return -1;
    r = qmp_execute(s->vm.qmp, paused ? "stop" : "cont", NULL, deadline_ns, err);
    if (r == 0)
        s->paused = paused;
    qemu_end_call(s);
    return r;
}

static int qemu_pause(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err)
{
    return set_paused(s, true, deadline_ns, err);
}

static int qemu_resume(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err)
{
    return set_paused(s, false, deadline_ns, err);
}

// The process id behind a pidfd, 0 when it has ended.
static long pid_of(int pidfd)
{
    char path[64];
    char *text;
    const char *line;
    size_t len;
    long pid = 0;

    (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
        return 0;
    line = strstr(text, "\nPid:");
    if (line != NULL)
        pid = strtol(line + 5, NULL, 10);
    free(text);
    return pid > 0 ? pid : 0;
}

// The file statm is readable for every user, unlike smaps: resident pages less those of files and
// shared memory are what the process alone has, its changed copies of the template's RAM included.
static uint64_t private_bytes(long pid)
{
    char path[64];
    char *text;
    char *at;
    size_t len;
    uint64_t resident, shared;

    (void)snprintf(path, sizeof(path), "/proc/%ld/statm", pid);
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
        return 0;
    (void)strtoull(text, &at, 10);
    resident = strtoull(at, &at, 10);
    shared = strtoull(at, &at, 10);
    free(text);
    return resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

// User and system time: fields 14 and 15 of stat, counted after the name, which ends with the last
// closing bracket.
static uint64_t cpu_ns(long pid)
{
    char path[64];
    char *text;
    char *at;
    size_t len;
    uint64_t ticks = 0;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
        return 0;
    at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (at != NULL) {
        ticks = strtoull(at, &at, 10);
        ticks += strtoull(at, NULL, 10);
    }
    free(text);
    return ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

static int qemu_usage(struct driver_sandbox *s, struct driver_usage *ret, struct err *err)
{
    long pid = pid_of(s->vm.pidfd);

    // One that ended still has its id until the launcher takes notice.
    if (pid == 0 || fd_wait(s->vm.pidfd, POLLIN, 0) > 0)
        return err_set(err, ERR_GONE, "the VM ended");
    *ret = (struct driver_usage){.private_bytes = private_bytes(pid), .cpu_ns = cpu_ns(pid)};
    return 0;
}

const struct driver_ops driver_qemu = {
    .name = "qemu",
    .caps = DRIVER_CAP_TEMPLATE_DISK | DRIVER_CAP_PAUSE | DRIVER_CAP_SNAPSHOT |
            DRIVER_CAP_IMAGE_DISK | DRIVER_CAP_LASTING,
    .probe = qemu_probe,
    .open = qemu_open,
    .close = qemu_close,
    .build_template = qemu_build_template,
    .template_key = qemu_template_key,
    .template_free = qemu_template_free,
    .clone = qemu_clone,
    .channel = qemu_channel,
    .death_fd = qemu_death_fd,
    .usage = qemu_usage,
    .destroy = qemu_destroy,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .clone_lasting = qemu_clone_lasting,
    .snapshot = qemu_snapshot,
    .restore = qemu_restore,
    .image_store = qemu_image_store,
    .image_load = qemu_image_load,
    .image_remove = qemu_image_remove,
    .image_each = qemu_image_each,
    .image_info = qemu_image_info,
    .image_free = qemu_image_free,
};
