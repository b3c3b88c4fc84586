// SPDX-License-Identifier: Apache-2.0
//
// How it works: the template boots with its RAM in a memfd that QEMU maps shared. Once the caller
// has warmed it up, QEMU is stopped and writes its device state, without the RAM (capability
// x-ignore-shared), to another memfd. Then QEMU ends, the RAM is sealed against any change, and
// clones map it privately. Both are stored on disk for the next start.
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "driver/qemu_internal.h"
#include "driver/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_MS 300
#define QUIT_MS   5000
#define MIB       (1ull << 20)

// A new one, with one reference; nobody else knows of it.
static struct driver_template *template_new(struct driver *d, const struct driver_shape *shape)
{
    struct driver_template *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->driver = d;
    t->shape = *shape;
    t->image = (struct template_image)TEMPLATE_IMAGE_INIT;
    t->refs = 1;
    return t;
}

// From here on it can be found.
static void publish(struct driver_template *t)
{
    struct driver *d = t->driver;

    template_hash(t->image.state, t->image.state_len, t->build_key);
    (void)pthread_mutex_lock(&d->lock);
    t->next = d->templates;
    d->templates = t;
    (void)pthread_mutex_unlock(&d->lock);
}

static void unlink_template(struct driver *d, const struct driver_template *t)
{
    struct driver_template **at = &d->templates;

    while (*at != NULL && *at != t)
        at = &(*at)->next;
    if (*at != NULL)
        *at = t->next;
}

void qemu_template_free(struct driver_template *t)
{
    bool last;

    if (t == NULL)
        return;
    (void)pthread_mutex_lock(&t->driver->lock);
    last = --t->refs == 0;
    if (last)
        unlink_template(t->driver, t);
    (void)pthread_mutex_unlock(&t->driver->lock);
    if (!last)
        return;
    template_image_release(&t->image);
    free(t);
}

struct driver_template *qemu_template_ref(struct driver_template *t)
{
    (void)pthread_mutex_lock(&t->driver->lock);
    t->refs++;
    (void)pthread_mutex_unlock(&t->driver->lock);
    return t;
}

// A tiny machine cannot hold the agent; a huge one is a mistake. The launcher has the same limits.
static int check_shape(const struct driver_shape *shape, struct err *err)
{
    if (shape->memory_mib < 128 || shape->memory_mib > 16384)
        return err_field(err, ERR_INVALID, "memory_mib", "memory_mib must be in 128..16384");
    if (shape->cpus < 1 || shape->cpus > 16)
        return err_field(err, ERR_INVALID, "cpus", "cpus must be in 1..16");
    return 0;
}

static int read_state(int state_fd, struct template_image *image, struct err *err)
{
    struct stat st;

    if (fstat(state_fd, &st) < 0)
        return err_sys(err, errno, "cannot read the device state");
    if (st.st_size <= 0 || st.st_size > TEMPLATE_STATE_MAX)
        return err_set(err, ERR_PROTOCOL, "QEMU wrote %lld bytes of device state",
                       (long long)st.st_size);
    image->state_len = (size_t)st.st_size;
    image->state = malloc(image->state_len);
    if (image->state == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (pread(state_fd, image->state, image->state_len, 0) != (ssize_t)image->state_len)
        return err_set(err, ERR_PROTOCOL, "the device state changed while it was read");
    return 0;
}

// Stops the machine and has its device state written to state_fd. QEMU takes that descriptor over
// the monitor: for an outgoing migration it does not accept an inherited one.
static int save_state(struct qemu_vm *vm, int state_fd, uint64_t deadline_ns, struct err *err)
{
    struct qmp *q = vm->qmp;

    if (qmp_execute(q, "qmp_capabilities", NULL, deadline_ns, err) < 0 ||
        qmp_execute(q, "stop", NULL, deadline_ns, err) < 0 ||
        qmp_send(q, "getfd", "{\"fdname\":\"state\"}", state_fd, err) < 0 ||
        qmp_reply(q, deadline_ns, err) < 0 ||
        qmp_execute(q, "migrate-set-capabilities",
                    "{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"
                    "{\"capability\":\"events\",\"state\":true}]}",
                    deadline_ns, err) < 0 ||
        qmp_execute(q, "migrate", "{\"uri\":\"fd:state\"}", deadline_ns, err) < 0)
        return -1;
    return qmp_wait_migration(q, deadline_ns, err);
}

// The RAM can be sealed once nothing maps it, so QEMU must be gone.
static void quit(struct qemu_vm *vm)
{
    if (qmp_send(vm->qmp, "quit", NULL, -1, NULL) == 0)
        (void)fd_wait(vm->pidfd, POLLIN, clock_deadline_ms(QUIT_MS)); // else it is killed
}

static int freeze(struct driver *d, struct qemu_vm *vm, int state_fd, uint64_t deadline_ns,
                  struct template_image *image, struct err *err)
{
    int r;

    // The guest hears that the stream was closed, and its agent is back at rest, before it is
    // frozen; a QEMU that dies meanwhile is noticed below.
    (void)fd_wait(vm->pidfd, POLLIN, clock_deadline_ms(SETTLE_MS));
    if (save_state(vm, state_fd, deadline_ns, err) < 0)
        return qemu_vm_blame(vm, err);
    quit(vm);
    qemu_vm_end(d, vm);
    r = template_ram_seal(image->ram_fd);
    if (r < 0)
        return err_sys(err, r, "cannot seal the template's RAM");
    return read_state(state_fd, image, err);
}

static int warm(struct qemu_vm *vm, const struct driver_template_spec *spec, struct err *err)
{
    int fd = fd_steal(&vm->channel_fd);

    if (spec->warm == NULL) {
        fd_close(&fd);
        return 0;
    }
    return spec->warm(spec->warm_arg, fd, err);
}

static int boot(struct driver *d, const struct driver_template_spec *spec, uint64_t deadline_ns,
                struct template_image *image, struct err *err)
{
    _cleanup_fd_ int state_fd = memfd_create("csb-state", MFD_CLOEXEC);
    struct qemu_vm vm = QEMU_VM_INIT;
    int r;

    if (state_fd < 0)
        return err_sys(err, errno, "cannot make the device state's file");
    image->memory_bytes = spec->shape.memory_mib * MIB;
    image->root = spec->root;
    r = template_ram_new(image->memory_bytes, &image->ram_fd);
    if (r < 0)
        return err_sys(err, r, "cannot make the template's RAM");
    r = qemu_vm_start(d,
                      &(struct qemu_vm_spec){.mode = LAUNCH_MODE_BOOT,
                                             .shape = spec->shape,
                                             .root = spec->root,
                                             .ram_fd = image->ram_fd,
                                             .state_fd = state_fd},
                      &vm, err);
    if (r == 0 && warm(&vm, spec, err) < 0)
        r = qemu_vm_blame(&vm, err);
    if (r == 0)
        r = freeze(d, &vm, state_fd, deadline_ns, image, err);
    qemu_vm_end(d, &vm);
    return r;
}

// A stored template that cannot be restored is as good as damaged: better found now than by every
// clone.
static int try_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
                     struct err *err)
{
    struct driver_sandbox *s;

    if (qemu_clone(d, t, deadline_ns, &s, err) < 0)
        return -1;
    qemu_destroy(s);
    return 0;
}

static int load(struct driver *d, struct driver_template *t, uint64_t deadline_ns, struct err *err)
{
    if (template_store_load(d->templates_fd, t->key, t->shape.memory_mib * MIB, &t->image, err) < 0)
        return -1;
    if (try_clone(d, t, deadline_ns, err) < 0) {
        template_image_release(&t->image);
        return err_wrap(err, "stored template");
    }
    t->stored = true;
    return 0;
}

struct search {
    const char *key;
    bool found;
};

static void look_at(void *arg, const char *id, const struct image_facts *facts)
{
    struct search *s = arg;

    (void)id;
    s->found = s->found || (facts != NULL && strcmp(facts->template_key, s->key) == 0);
}

static bool is_living(struct driver *d, const char *key)
{
    const struct driver_template *t;

    (void)pthread_mutex_lock(&d->lock);
    for (t = d->templates; t != NULL && strcmp(t->key, key) != 0;)
        t = t->next;
    (void)pthread_mutex_unlock(&d->lock);
    return t != NULL;
}

// An image is worth nothing without its template; of those in use, images may yet be made.
static bool is_wanted(void *arg, const char *key)
{
    struct driver *d = arg;
    struct search s = {.key = key};

    if (is_living(d, key))
        return true;
    image_store_each(d->images_fd, look_at, &s);
    return s.found;
}

static int build(struct driver *d, const struct driver_template_spec *spec, uint64_t deadline_ns,
                 struct driver_template *t, struct err *err)
{
    struct err why = ERR_INIT;

    log_info("building the template: once for this image and these settings, then it is loaded");
    if (boot(d, spec, deadline_ns, &t->image, err) < 0)
        return err_wrap(err, "building the template");
    // It works without: the next start builds it again.
    if (template_store_save(d->templates_fd, t->key, &t->image, &why) < 0)
        log_warn("STATE_DIR: %s; the next start builds it again", why.message);
    else
        t->stored = true;
    template_store_prune(d->templates_fd, t->key, is_wanted, d);
    return 0;
}

int qemu_build_template(struct driver *d, const struct driver_template_spec *spec,
                        uint64_t deadline_ns, struct driver_template **ret, bool *ret_built,
                        struct err *err)
{
    struct driver_template *t = template_new(d, &spec->shape);
    struct err why = ERR_INIT;
    bool loaded = false;
    int r;

    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    (void)pthread_mutex_lock(&d->build_lock);
    r = check_shape(&spec->shape, err);
    if (r == 0)
        r = qemu_key(d, spec, t->key, err);
    if (r == 0 && !spec->rebuild) {
        loaded = load(d, t, deadline_ns, &why) == 0;
        if (!loaded && why.code != ERR_GONE)
            log_warn("%s; it is built again", why.message);
    }
    if (r == 0 && !loaded)
        r = build(d, spec, deadline_ns, t, err);
    (void)pthread_mutex_unlock(&d->build_lock);
    if (r < 0) {
        qemu_template_free(t);
        return -1;
    }
    publish(t);
    *ret = t;
    *ret_built = !loaded;
    return 0;
}

// With a reference, or NULL.
static struct driver_template *find_living(struct driver *d, const struct image_facts *facts)
{
    struct driver_template *t;

    (void)pthread_mutex_lock(&d->lock);
    for (t = d->templates; t != NULL; t = t->next)
        if (strcmp(t->key, facts->template_key) == 0 && strcmp(t->build_key, facts->build_key) == 0)
            break;
    if (t != NULL)
        t->refs++;
    (void)pthread_mutex_unlock(&d->lock);
    return t;
}

static int find_stored(struct driver *d, const struct image_facts *facts,
                       struct driver_template **ret, struct err *err)
{
    struct driver_template *t = template_new(d, &facts->shape);

    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    memcpy(t->key, facts->template_key, sizeof(t->key));
    t->stored = true;
    if (template_store_load(d->templates_fd, t->key, t->shape.memory_mib * MIB, &t->image, err) <
        0) {
        qemu_template_free(t);
        return -1;
    }
    publish(t);
    if (strcmp(t->build_key, facts->build_key) != 0) {
        qemu_template_free(t);
        return err_set(err, ERR_GONE, "the template it depends on was built again");
    }
    *ret = t;
    return 0;
}

int qemu_template_find(struct driver *d, const struct image_facts *facts,
                       struct driver_template **ret, struct err *err)
{
    int r = 0;

    *ret = find_living(d, facts);
    if (*ret != NULL)
        return 0;
    (void)pthread_mutex_lock(&d->build_lock);
    *ret = find_living(d, facts); // another thread may have loaded it
    if (*ret == NULL)
        r = check_shape(&facts->shape, err) < 0 ? -1 : find_stored(d, facts, ret, err);
    (void)pthread_mutex_unlock(&d->build_lock);
    return r;
}

static bool is_stored(struct driver_template *t)
{
    bool stored;

    (void)pthread_mutex_lock(&t->driver->lock);
    stored = t->stored;
    (void)pthread_mutex_unlock(&t->driver->lock);
    return stored;
}

int qemu_template_keep(struct driver_template *t, struct err *err)
{
    struct driver *d = t->driver;
    int r = 0;

    // Before build_lock, which is held for a minute while another template is built.
    if (is_stored(t))
        return 0;
    (void)pthread_mutex_lock(&d->build_lock);
    if (!is_stored(t))
        r = template_store_save(d->templates_fd, t->key, &t->image, err);
    (void)pthread_mutex_lock(&d->lock);
    t->stored = r == 0;
    (void)pthread_mutex_unlock(&d->lock);
    (void)pthread_mutex_unlock(&d->build_lock);
    return r;
}
