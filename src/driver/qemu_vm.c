// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "base/fd.h"
#include "driver/last_words.h"
#include "driver/qemu_internal.h"
#include "driver/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_TAIL_BYTES 120
#define BLAME_WAIT_MS  200 // for QEMU's last words, once its monitor is closed

// Both ends of everything, until QEMU has its own.
struct ends {
    int channel[2], qmp[2], log[2];
};

static void close_ends(struct ends *e)
{
    for (int i = 0; i < 2; i++) {
        fd_close(&e->channel[i]);
        fd_close(&e->qmp[i]);
        fd_close(&e->log[i]);
    }
}

// The log is a pipe that does not block QEMU when it is full: what does not fit is lost.
static int make_ends(struct ends *e)
{
    int r = fd_socketpair(SOCK_STREAM, e->channel);

    if (r == 0)
        r = fd_socketpair(SOCK_STREAM, e->qmp);
    if (r == 0 && pipe2(e->log, O_CLOEXEC | O_NONBLOCK) < 0)
        r = -errno;
    if (r == 0)
        r = fd_set_nonblock(e->channel[0], 1);
    return r;
}

static int spawn(struct driver *d, const struct qemu_vm_spec *spec, const struct ends *e,
                 struct qemu_vm *vm, struct err *err)
{
    struct launch_vm request = {
        .id = vm->id,
        .accel = d->accel,
        .mode = spec->mode,
        .memory_mib = spec->shape.memory_mib,
        .cpus = spec->shape.cpus,
        .root = spec->root,
        .fds = {[LAUNCH_FD_CHANNEL] = e->channel[1],
                [LAUNCH_FD_QMP] = e->qmp[1],
                [LAUNCH_FD_RAM] = spec->ram_fd,
                [LAUNCH_FD_STATE] = spec->state_fd,
                [LAUNCH_FD_LOG] = e->log[1]},
    };

    return launch_spawn(d->config.launch, &request, &vm->pidfd, err);
}

int qemu_vm_start(struct driver *d, const struct qemu_vm_spec *spec, struct qemu_vm *ret,
                  struct err *err)
{
    struct ends e = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct qemu_vm vm = QEMU_VM_INIT;
    int r = make_ends(&e);

    if (r < 0) {
        close_ends(&e);
        return err_sys(err, r, "cannot make the descriptors of a VM");
    }
    vm.id = atomic_fetch_add(&d->next_id, 1);
    r = spawn(d, spec, &e, &vm, err);
    if (r == 0) {
        vm.channel_fd = fd_steal(&e.channel[0]);
        vm.log_fd = fd_steal(&e.log[0]);
        r = qmp_new(fd_steal(&e.qmp[0]), &vm.qmp, err);
    }
    close_ends(&e);
    if (r < 0) {
        qemu_vm_end(d, &vm);
        return -1;
    }
    *ret = vm;
    return 0;
}

void qemu_vm_end(struct driver *d, struct qemu_vm *vm)
{
    // An id of 0 was never given to the launcher. When the launcher is gone, so is the VM.
    if (vm->pidfd >= 0)
        (void)launch_kill(d->config.launch, vm->id, NULL);
    qmp_free(vm->qmp);
    vm->qmp = NULL;
    fd_close(&vm->channel_fd);
    fd_close(&vm->pidfd);
    fd_close(&vm->log_fd);
}

int qemu_vm_blame(struct qemu_vm *vm, struct err *err)
{
    char text[LAST_WORDS_BYTES + 1];
    const char *said;
    bool ended;

    if (vm->log_fd < 0 || err == NULL || err->code != ERR_GONE)
        return -1;
    ended = fd_wait(vm->pidfd, POLLIN, clock_deadline_ms(BLAME_WAIT_MS)) > 0;
    said = last_words(vm->log_fd, LOG_TAIL_BYTES, text);
    if (said == NULL)
        return ended ? err_wrap(err, "the virtual machine ended without a word") : -1;
    return err_set(err, ERR_GONE, "QEMU ended: %s", said);
}
