// SPDX-License-Identifier: Apache-2.0
//
// Shared by the parts of the qemu driver: qemu.c (the driver's functions), qemu_vm.c (one QEMU
// process), qemu_template.c (building and finding templates), qemu_key.c (what a template depends
// on), template_store.c (templates on disk).
#ifndef CSB_DRIVER_QEMU_INTERNAL_H
#define CSB_DRIVER_QEMU_INTERNAL_H

#include "driver/driver.h"
#include "driver/template_store.h"
#include "launch/launch.h"

#include <pthread.h>
#include <stdatomic.h>

struct qmp;

// Immutable after open(), but for next_id.
struct driver {
    struct driver_config config; // what its pointers name is borrowed
    enum launch_accel accel;
    char qemu_version[sizeof(((struct launch_info *)0)->qemu_version)];
    int templates_fd; // the directory of templates
    atomic_uint_least64_t next_id;
    pthread_mutex_t build_lock; // one template is built, loaded or pruned at a time
};

struct driver_template {
    char key[TEMPLATE_KEY_LEN + 1];
    struct driver_shape shape;
    struct template_image image;
};

// One QEMU process and our ends of its descriptors.
struct qemu_vm {
    uint64_t id;
    int channel_fd; // non-blocking
    int pidfd;
    int log_fd; // what it printed
    struct qmp *qmp;
};
#define QEMU_VM_INIT {.channel_fd = -1, .pidfd = -1, .log_fd = -1}

struct qemu_vm_spec {
    enum launch_mode mode;
    struct driver_shape shape;
    int ram_fd;   // borrowed
    int state_fd; // borrowed
};

// Starts QEMU through the launcher; its monitor was not spoken to yet. Blocks as launch_spawn().
int qemu_vm_start(struct driver *d, const struct qemu_vm_spec *spec, struct qemu_vm *ret,
                  struct err *err);
// Kills it and frees all. Safe on a half-made or ended one.
void qemu_vm_end(struct driver *d, struct qemu_vm *vm);
// Adds the last thing QEMU printed to an error that is about its end. Returns -1.
int qemu_vm_blame(struct qemu_vm *vm, struct err *err);

// The key of a template (see qemu_key.c): 64 hex digits.
int qemu_key(struct driver *d, const struct driver_template_spec *spec,
             char ret[TEMPLATE_KEY_LEN + 1], struct err *err);

int qemu_build_template(struct driver *d, const struct driver_template_spec *spec,
                        uint64_t deadline_ns, struct driver_template **ret, bool *ret_built,
                        struct err *err);
void qemu_template_free(struct driver_template *t);

// As driver_ops.clone and destroy.
int qemu_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
               struct driver_sandbox **ret, struct err *err);
void qemu_destroy(struct driver_sandbox *s);

#endif
