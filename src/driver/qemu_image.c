// SPDX-License-Identifier: Apache-2.0
//
// Freezing running VMs, and VMs from what was frozen.
//
// How it works: a VM maps its template's RAM privately, so what it has of its own is the pages it
// changed. A snapshot stops it, has QEMU write its device state, reads those pages from outside
// (qemu_memory.c) and composes of both and the template's stream one from which QEMU can restore it
// (qemu_stream.c): a sealed memory file. A restored VM is a clone of the same template that is
// given this stream; it costs the changed pages and nothing more. Stored, the stream is compressed.
// An image can thus be used only with the very template it was made from, which is kept on disk as
// long as there are images of it, and with the same root image, processor and QEMU.
#include "base/clock.h"
#include "base/fd.h"
#include "driver/agent_greet.h"
#include "driver/qemu_internal.h"
#include "driver/qemu_memory.h"
#include "driver/qemu_stream.h"
#include "driver/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB          (1ull << 20)
#define RESUME_MS    2000 // for a VM that goes on after its snapshot failed
#define DEVICES_MAX  TEMPLATE_STATE_MAX
#define STREAM_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

// Immutable, but for facts.stored_bytes, which the driver's lock guards.
struct driver_image {
    struct driver_template *template; // a reference
    int stream_fd;                    // a sealed memory file
    struct image_facts facts;
};

static struct driver_image *image_new(struct driver_template *t, const struct image_facts *facts)
{
    struct driver_image *image = calloc(1, sizeof(*image));

    if (image == NULL)
        return NULL;
    image->template = qemu_template_ref(t);
    image->facts = *facts;
    image->stream_fd = memfd_create("csb-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (image->stream_fd < 0) {
        qemu_image_free(image);
        return NULL;
    }
    return image;
}

void qemu_image_free(struct driver_image *image)
{
    if (image == NULL)
        return;
    fd_close(&image->stream_fd);
    qemu_template_free(image->template);
    free(image);
}

// The same file anew, with an offset and a direction of its own. 0 or -errno.
static int reopen(int fd, int flags, int *ret_fd)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    *ret_fd = open(path, flags | O_CLOEXEC);
    return *ret_fd < 0 ? -errno : 0;
}

// QEMU, whose guest may have taken it over, cannot change what others are restored from.
static int seal(struct driver_image *image)
{
    return fcntl(image->stream_fd, F_ADD_SEALS, STREAM_SEALS) < 0 ? -errno : 0;
}

// Has the stopped QEMU write the state of its devices, and nothing of the RAM, to a descriptor: the
// command is meant for another hypervisor, but does just that.
static int write_devices(struct qmp *q, int fd, uint64_t deadline_ns, struct err *err)
{
    if (qmp_send(q, "add-fd", "{\"fdset-id\":2}", fd, err) < 0 ||
        qmp_reply(q, deadline_ns, err) < 0)
        return err_wrap(err, "add-fd");
    if (qmp_execute(q, "xen-save-devices-state", "{\"filename\":\"/dev/fdset/2\",\"live\":false}",
                    deadline_ns, err) < 0)
        return -1;
    return qmp_execute(q, "remove-fd", "{\"fdset-id\":2}", deadline_ns, err);
}

// *ret is the caller's.
static int save_devices(struct qmp *q, uint64_t deadline_ns, uint8_t **ret, size_t *ret_len,
                        struct err *err)
{
    _cleanup_fd_ int fd = memfd_create("csb-devices", MFD_CLOEXEC);
    _cleanup_fd_ int write_fd = -1;
    struct stat st;
    int r = fd < 0 ? -errno : reopen(fd, O_WRONLY, &write_fd);

    if (r < 0)
        return err_sys(err, r, "cannot make a file for the device state");
    if (write_devices(q, write_fd, deadline_ns, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)DEVICES_MAX)
        return err_set(err, ERR_PROTOCOL, "QEMU wrote device state of a wrong size");
    *ret = malloc((size_t)st.st_size);
    if (*ret == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    *ret_len = (size_t)st.st_size;
    if (pread(fd, *ret, *ret_len, 0) == (ssize_t)*ret_len)
        return 0;
    free(*ret);
    return err_set(err, ERR_PROTOCOL, "the device state changed while it was read");
}

static int take_page(void *arg, uint64_t offset, const uint8_t *page)
{
    return qemu_stream_page(arg, offset, page);
}

static int write_parts(struct driver_sandbox *s, struct qemu_stream_writer *w,
                       const uint8_t *devices, size_t len, uint64_t deadline_ns, struct err *err)
{
    const struct qemu_memory_spec memory = {
        .launch = s->driver->config.launch,
        .vm_id = s->vm.id,
        .ram_fd = s->template->image.ram_fd,
        .memory_bytes = s->template->image.memory_bytes,
        .deadline_ns = deadline_ns,
    };
    int r;

    if (qemu_memory_each(&memory, take_page, w, err) < 0)
        return -1;
    r = qemu_stream_end(w, devices, len);
    if (r == -EPROTO)
        return err_set(err, ERR_PROTOCOL, "QEMU's device state has an unknown format");
    return r < 0 ? err_sys(err, r, "cannot keep the image in memory") : 0;
}

static int write_stream(struct driver_sandbox *s, const uint8_t *devices, size_t len,
                        uint64_t deadline_ns, struct driver_image *image, struct err *err)
{
    const struct template_image *t = &s->template->image;
    struct qemu_stream_parts parts;
    struct qemu_stream_writer w = {0};
    int r;

    if (qemu_stream_parse(t->state, t->state_len, t->memory_bytes, &parts, err) < 0)
        return -1;
    r = qemu_stream_begin(&w, &parts, image->stream_fd);
    if (r < 0)
        r = err_sys(err, r, "cannot keep the image in memory");
    else
        r = write_parts(s, &w, devices, len, deadline_ns, err);
    image->facts.stream_bytes = w.total;
    qemu_stream_release(&w);
    if (r < 0)
        return -1;
    r = seal(image);
    return r < 0 ? err_sys(err, r, "cannot seal the image") : 0;
}

// Of a stopped VM.
static int freeze(struct driver_sandbox *s, uint64_t deadline_ns, struct driver_image *image,
                  struct err *err)
{
    uint8_t *devices = NULL;
    size_t len = 0;
    int r;

    if (save_devices(s->vm.qmp, deadline_ns, &devices, &len, err) < 0)
        return -1;
    r = write_stream(s, devices, len, deadline_ns, image, err);
    free(devices);
    return r;
}

static bool can_go_on(const struct err *err)
{
    return err->code != ERR_GONE && err->code != ERR_TIMEOUT;
}

static int stop_and_freeze(struct driver_sandbox *s, bool leave_paused, uint64_t deadline_ns,
                           struct driver_image *image, struct err *err)
{
    struct err why = ERR_INIT;
    bool was_paused = s->paused;
    int r = was_paused ? 0 : qmp_execute(s->vm.qmp, "stop", NULL, deadline_ns, &why);

    if (r == 0) {
        s->paused = true;
        r = freeze(s, deadline_ns, image, &why);
    }
    if (!was_paused && (r == 0 ? !leave_paused : can_go_on(&why))) {
        struct err *to = r == 0 ? &why : NULL;
        uint64_t until = r == 0 ? deadline_ns : clock_deadline_ms(RESUME_MS);

        if (qmp_execute(s->vm.qmp, "cont", NULL, until, to) == 0)
            s->paused = false;
        else
            r = -1;
    }
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

int qemu_snapshot(struct driver_sandbox *s, bool leave_paused, uint64_t deadline_ns,
                  struct driver_image **ret, struct err *err)
{
    const struct driver_template *t = s->template;
    struct image_facts facts = {.shape = t->shape};
    struct driver_image *image;
    int r;

    memcpy(facts.template_key, t->key, sizeof(facts.template_key));
    memcpy(facts.build_key, t->build_key, sizeof(facts.build_key));
    memcpy(facts.machine_key, s->driver->machine_key, sizeof(facts.machine_key));
    if (qemu_begin_call(s, err) < 0)
        return -1;
    image = image_new(s->template, &facts);
    r = image == NULL ? err_set(err, ERR_INTERNAL, "out of memory")
                      : stop_and_freeze(s, leave_paused, deadline_ns, image, err);
    qemu_end_call(s);
    if (r < 0) {
        qemu_image_free(image);
        return -1;
    }
    *ret = image;
    return 0;
}

int qemu_restore(struct driver *d, struct driver_image *image, uint64_t deadline_ns,
                 struct driver_sandbox **ret, struct err *err)
{
    _cleanup_fd_ int stream_fd = -1;
    struct driver_sandbox *s;
    int r = reopen(image->stream_fd, O_RDONLY, &stream_fd);

    if (r < 0)
        return err_sys(err, r, "cannot open the image");
    if (qemu_start(d, image->template, stream_fd, deadline_ns, &s, err) < 0)
        return -1;
    if (agent_greet(s->vm.channel_fd, deadline_ns, err) < 0) {
        (void)qemu_vm_blame(&s->vm, err);
        qemu_destroy(s);
        return -1;
    }
    *ret = s;
    return 0;
}

static int check_id(const char *id, struct err *err)
{
    return image_id_is_valid(id) ? 0 : err_set(err, ERR_INVALID, "not an id of an image");
}

int qemu_image_store(struct driver *d, struct driver_image *image, const char *id, struct err *err)
{
    struct image_facts facts = image->facts;

    if (check_id(id, err) < 0)
        return -1;
    if (d->machine_key[0] == '\0')
        return err_set(err, ERR_UNSUPPORTED, "the root image could not be read");
    if (image_store_save(d->images_fd, id, image->stream_fd, &facts, err) < 0)
        return -1;
    // In this order: a template that has images is not pruned.
    if (qemu_template_keep(image->template, err) < 0) {
        (void)image_store_remove(d->images_fd, id, NULL);
        return -1;
    }
    (void)pthread_mutex_lock(&d->lock);
    image->facts.stored_bytes = facts.stored_bytes;
    (void)pthread_mutex_unlock(&d->lock);
    return 0;
}

static int load_stream(struct driver *d, const char *id, struct driver_image *image,
                       struct err *err)
{
    int r;

    if (image_store_load(d->images_fd, id, &image->facts, image->stream_fd, err) < 0)
        return -1;
    r = seal(image);
    return r < 0 ? err_sys(err, r, "cannot seal the image") : 0;
}

int qemu_image_load(struct driver *d, const char *id, struct driver_image **ret, struct err *err)
{
    struct driver_template *t;
    struct driver_image *image;
    struct image_facts facts;
    struct err why = ERR_INIT;
    int r;

    if (check_id(id, err) < 0 || image_store_facts(d->images_fd, id, &facts, err) < 0)
        return -1;
    if (strcmp(facts.machine_key, d->machine_key) != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "the image was made with another root image, processor or QEMU");
    if (qemu_template_find(d, &facts, &t, &why) < 0)
        return err_set(err, ERR_PROTOCOL, "the image cannot be used: its template: %.150s",
                       why.message);
    image = image_new(t, &facts);
    qemu_template_free(t);
    r = image == NULL ? err_set(err, ERR_INTERNAL, "out of memory")
                      : load_stream(d, id, image, err);
    if (r < 0) {
        qemu_image_free(image);
        return -1;
    }
    *ret = image;
    return 0;
}

int qemu_image_remove(struct driver *d, const char *id, struct err *err)
{
    return check_id(id, err) < 0 ? -1 : image_store_remove(d->images_fd, id, err);
}

struct each {
    void (*fn)(void *arg, const char *id, uint64_t stored_bytes);
    void *arg;
};

static void tell(void *arg, const char *id, const struct image_facts *facts)
{
    const struct each *each = arg;

    each->fn(each->arg, id, facts == NULL ? 0 : facts->stored_bytes);
}

void qemu_image_each(struct driver *d,
                     void (*each)(void *arg, const char *id, uint64_t stored_bytes), void *arg)
{
    struct each e = {.fn = each, .arg = arg};

    image_store_each(d->images_fd, tell, &e);
}

void qemu_image_info(const struct driver_image *image, struct driver_image_info *ret)
{
    struct driver *d = image->template->driver;

    *ret = (struct driver_image_info){.shape = image->facts.shape,
                                      .image_bytes = image->facts.stream_bytes};
    memcpy(ret->template_key, image->facts.template_key, sizeof(ret->template_key));
    (void)pthread_mutex_lock(&d->lock);
    ret->stored_bytes = image->facts.stored_bytes;
    (void)pthread_mutex_unlock(&d->lock);
}
