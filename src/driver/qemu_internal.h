// SPDX-License-Identifier: Apache-2.0
//
// Shared by the parts of the qemu driver: qemu.c (the driver's functions), qemu_vm.c (one QEMU
// process), qemu_template.c (building and finding templates), qemu_image.c (freezing and restoring
// sandboxes), qemu_key.c (what a template depends on), template_store.c and image_store.c (both on
// disk).
#ifndef CSB_DRIVER_QEMU_INTERNAL_H
#define CSB_DRIVER_QEMU_INTERNAL_H

#include "driver/driver.h"
#include "driver/image_store.h"
#include "driver/template_store.h"
#include "launch/launch.h"

#include <pthread.h>
#include <stdatomic.h>

struct qmp;

// Immutable after open(), but for what is said.
struct driver {
    struct driver_config config; // what its pointers name is borrowed
    enum launch_accel accel;
    char qemu_version[sizeof(((struct launch_info *)0)->qemu_version)];
    char machine_key[TEMPLATE_KEY_LEN + 1]; // "": unknown, and no images
    int templates_fd;                       // the directory of templates
    int images_fd;                          // the directory of images
    atomic_uint_least64_t next_id;
    pthread_mutex_t build_lock;        // one template is built, loaded or pruned at a time
    pthread_mutex_t lock;              // guards what follows; taken after build_lock
    struct driver_template *templates; // all that somebody refers to
};

// Immutable, but for what the driver's lock guards.
struct driver_template {
    struct driver *driver;
    char key[TEMPLATE_KEY_LEN + 1];
    char build_key[TEMPLATE_KEY_LEN + 1]; // of this very one: a hash of its device state, in which
                                          // clocks and counters are
    struct driver_shape shape;
    struct template_image image;
    uint32_t refs;                // the lock's
    bool stored;                  // on disk; the lock's
    struct driver_template *next; // the lock's
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
    uint64_t root; // as in launch_vm
    int ram_fd;    // borrowed
    int state_fd;  // borrowed
};

// Starts QEMU through the launcher; its monitor was not spoken to yet. Blocks as launch_spawn().
int qemu_vm_start(struct driver *d, const struct qemu_vm_spec *spec, struct qemu_vm *ret,
                  struct err *err);
// Kills it and frees all. Safe on a half-made or ended one.
void qemu_vm_end(struct driver *d, struct qemu_vm *vm);
// Adds the last thing QEMU printed to an error that is about its end. Returns -1.
int qemu_vm_blame(struct qemu_vm *vm, struct err *err);

// One thread at a time, but for what is said.
struct driver_sandbox {
    struct driver *driver;
    struct driver_template *template; // a reference
    struct qemu_vm vm;
    bool paused;
    pthread_mutex_t lock; // guards `calls` and `ending`
    pthread_cond_t idle;  // signalled when `calls` falls to 0
    unsigned calls;       // under way; destroy() waits for them
    bool ending;
};

// Between a begin and its end the sandbox is not freed. ERR_GONE when it is being destroyed.
int qemu_begin_call(struct driver_sandbox *s, struct err *err);
void qemu_end_call(struct driver_sandbox *s);

// Starts a VM from the template's RAM and the migration stream in `state_fd`, a file with an offset
// of its own (borrowed).
int qemu_start(struct driver *d, struct driver_template *t, int state_fd, uint64_t deadline_ns,
               struct driver_sandbox **ret, struct err *err);

// What must not change under a machine that runs: see qemu_key.c. 64 hex digits.
int qemu_machine_key(struct driver *d, char ret[TEMPLATE_KEY_LEN + 1], struct err *err);

// The key of a template (see qemu_key.c): 64 hex digits.
int qemu_key(struct driver *d, const struct driver_template_spec *spec,
             char ret[TEMPLATE_KEY_LEN + 1], struct err *err);

int qemu_build_template(struct driver *d, const struct driver_template_spec *spec,
                        uint64_t deadline_ns, struct driver_template **ret, bool *ret_built,
                        struct err *err);
void qemu_template_free(struct driver_template *t);
struct driver_template *qemu_template_ref(struct driver_template *t); // returns it
// A reference to the very template that an image was made with, loaded from disk if need be.
// ERR_GONE when there is no such.
int qemu_template_find(struct driver *d, const struct image_facts *facts,
                       struct driver_template **ret, struct err *err);
// Makes sure that it is on disk. ERR_SYSTEM.
int qemu_template_keep(struct driver_template *t, struct err *err);

// As driver_ops.clone and destroy.
int qemu_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
               struct driver_sandbox **ret, struct err *err);
void qemu_destroy(struct driver_sandbox *s);

// As the functions of driver_ops, for images.
int qemu_snapshot(struct driver_sandbox *s, bool leave_paused, uint64_t deadline_ns,
                  struct driver_image **ret, struct err *err);
int qemu_restore(struct driver *d, struct driver_image *image, uint64_t deadline_ns,
                 struct driver_sandbox **ret, struct err *err);
int qemu_image_store(struct driver *d, struct driver_image *image, const char *id, struct err *err);
int qemu_image_load(struct driver *d, const char *id, struct driver_image **ret, struct err *err);
int qemu_image_remove(struct driver *d, const char *id, struct err *err);
void qemu_image_each(struct driver *d,
                     void (*each)(void *arg, const char *id, uint64_t stored_bytes), void *arg);
void qemu_image_info(const struct driver_image *image, struct driver_image_info *ret);
void qemu_image_free(struct driver_image *image);

#endif
