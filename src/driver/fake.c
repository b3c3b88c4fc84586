// SPDX-License-Identifier: Apache-2.0
//
// The driver that isolates nothing: a sandbox is a thread behind a socket pair. For tests of
// everything above the drivers, and the place to learn what a driver has to do. Its agents remember
// nothing, so an image is no more than the name of its template.
#include "base/fd.h"
#include "driver/driver.h"
#include "driver/fake_agent.h"
#include "driver/image_store.h"

#include <nettle/sha2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define KEY_BYTES (2 * SHA256_DIGEST_SIZE + 1)

struct driver_image {
    struct driver_image_info info;
    char id[DRIVER_IMAGE_ID_MAX + 1]; // of a stored one
    struct driver_image *next;        // in the driver's list
};

// Sandboxes, templates and images of callers stand alone.
struct driver {
    pthread_mutex_t lock;        // guards what follows
    struct driver_image *stored; // copies
};

struct driver_template {
    char key[KEY_BYTES];
    struct driver_shape shape;
};

// One thread at a time, but for the agent, which has its own.
struct driver_sandbox {
    struct driver_template template; // a copy
    struct fake_agent *agent;
    bool paused;
    int channel_fd; // -1 once given away
};

static void fake_probe(const struct driver_config *config, struct driver_probe *ret)
{
    (void)config;
    *ret = (struct driver_probe){
        .usable = true,
        .isolation = "fake",
        .accel = "none",
        .note = "programs are not run at all: the fake driver interprets a language of its own",
    };
}

static int fake_open(const struct driver_config *config, struct driver **ret, struct err *err)
{
    struct driver *d = calloc(1, sizeof(*d));

    (void)config;
    if (d == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    (void)pthread_mutex_init(&d->lock, NULL); // default attributes: cannot fail on Linux
    *ret = d;
    return 0;
}

static void fake_close(struct driver *d)
{
    while (d != NULL && d->stored != NULL) {
        struct driver_image *image = d->stored;

        d->stored = image->next;
        free(image);
    }
    if (d != NULL)
        (void)pthread_mutex_destroy(&d->lock);
    free(d);
}

// A new agent and our end of its stream, non-blocking as the contract of channel() wants it.
static int start_agent(struct fake_agent **ret_agent, int *ret_fd, struct err *err)
{
    int fds[2];
    int r = fd_socketpair(SOCK_STREAM, fds);

    for (int i = 0; r == 0 && i < 2; i++)
        r = fd_set_nonblock(fds[i], 1);
    if (r < 0)
        return err_sys(err, r, "cannot make a stream");
    if (fake_agent_start(fds[1], ret_agent, err) < 0) {
        fd_close(&fds[0]);
        return -1;
    }
    *ret_fd = fds[0];
    return 0;
}

static void make_key(const struct driver_template_spec *spec, struct driver_template *t)
{
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char shape[64];

    (void)snprintf(shape, sizeof(shape), "%u MiB %u cpus;", spec->shape.memory_mib,
                   spec->shape.cpus);
    sha256_init(&hash);
    sha256_update(&hash, strlen(shape), (const uint8_t *)shape);
    if (spec->seed != NULL)
        sha256_update(&hash, strlen(spec->seed), (const uint8_t *)spec->seed);
    sha256_digest(&hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(t->key + 2 * i, 3, "%02x", digest[i]);
}

static int fake_build_template(struct driver *d, const struct driver_template_spec *spec,
                               uint64_t deadline_ns, struct driver_template **ret, bool *ret_built,
                               struct err *err)
{
    struct driver_template *t = calloc(1, sizeof(*t));
    struct fake_agent *agent;
    int r = 0;
    int fd;

    (void)d;
    (void)deadline_ns; // nothing here takes long
    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    make_key(spec, t);
    t->shape = spec->shape;
    if (spec->warm != NULL) {
        r = start_agent(&agent, &fd, err);
        if (r == 0) {
            r = spec->warm(spec->warm_arg, fd, err);
            fake_agent_stop(agent);
        }
    }
    if (r < 0) {
        free(t);
        return -1;
    }
    *ret = t;
    *ret_built = true;
    return 0;
}

static const char *fake_template_key(const struct driver_template *t)
{
    return t->key;
}

static void fake_template_free(struct driver_template *t)
{
    free(t);
}

static int start_sandbox(const struct driver_template *t, struct driver_sandbox **ret,
                         struct err *err)
{
    struct driver_sandbox *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->template = *t;
    if (start_agent(&s->agent, &s->channel_fd, err) < 0) {
        free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

static int fake_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
                      struct driver_sandbox **ret, struct err *err)
{
    (void)d;
    (void)deadline_ns;
    return start_sandbox(t, ret, err);
}

static int fake_clone_lasting(struct driver *d, struct driver_template *t,
                              const struct driver_limits *limits, uint64_t deadline_ns,
                              struct driver_sandbox **ret, struct err *err)
{
    (void)limits;
    return fake_clone(d, t, deadline_ns, ret, err);
}

static int fake_channel(struct driver_sandbox *s, int *ret_fd, struct err *err)
{
    if (s->channel_fd < 0)
        return err_set(err, ERR_INVALID, "the sandbox's stream was handed out before");
    *ret_fd = fd_steal(&s->channel_fd);
    return 0;
}

static int fake_death_fd(struct driver_sandbox *s)
{
    return fake_agent_death_fd(s->agent);
}

static int fake_usage(struct driver_sandbox *s, struct driver_usage *ret, struct err *err)
{
    (void)s;
    (void)err;
    *ret = (struct driver_usage){.private_bytes = 1 << 20, .cpu_ns = 1};
    return 0;
}

static void fake_destroy(struct driver_sandbox *s)
{
    if (s == NULL)
        return;
    fake_agent_stop(s->agent);
    fd_close(&s->channel_fd);
    free(s);
}

static int set_paused(struct driver_sandbox *s, bool paused)
{
    s->paused = paused;
    fake_agent_pause(s->agent, paused);
    return 0;
}

static int fake_pause(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err)
{
    (void)deadline_ns;
    (void)err;
    return set_paused(s, true);
}

static int fake_resume(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err)
{
    (void)deadline_ns;
    (void)err;
    return set_paused(s, false);
}

static int fake_snapshot(struct driver_sandbox *s, bool leave_paused, uint64_t deadline_ns,
                         struct driver_image **ret, struct err *err)
{
    struct driver_image *image = calloc(1, sizeof(*image));

    (void)deadline_ns;
    if (image == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    image->info.shape = s->template.shape;
    memcpy(image->info.template_key, s->template.key, sizeof(s->template.key));
    (void)set_paused(s, s->paused || leave_paused);
    *ret = image;
    return 0;
}

static int fake_restore(struct driver *d, struct driver_image *image, uint64_t deadline_ns,
                        struct driver_sandbox **ret, struct err *err)
{
    struct driver_template t = {.shape = image->info.shape};

    (void)d;
    (void)deadline_ns;
    memcpy(t.key, image->info.template_key, sizeof(t.key));
    return start_sandbox(&t, ret, err);
}

// With the lock held: where an image of that id is, or the end of the list.
static struct driver_image **find_image(struct driver *d, const char *id)
{
    struct driver_image **at = &d->stored;

    while (*at != NULL && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    return at;
}

static int check_id(const char *id, struct err *err)
{
    return image_id_is_valid(id) ? 0 : err_set(err, ERR_INVALID, "not an id of an image");
}

static int fake_image_remove(struct driver *d, const char *id, struct err *err)
{
    struct driver_image **at;
    struct driver_image *gone;

    if (check_id(id, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&d->lock);
    at = find_image(d, id);
    gone = *at;
    if (gone != NULL)
        *at = gone->next;
    (void)pthread_mutex_unlock(&d->lock);
    free(gone);
    return 0;
}

static int fake_image_store(struct driver *d, struct driver_image *image, const char *id,
                            struct err *err)
{
    struct driver_image *copy;

    if (fake_image_remove(d, id, err) < 0)
        return -1;
    copy = calloc(1, sizeof(*copy));
    if (copy == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    copy->info = image->info;
    (void)snprintf(copy->id, sizeof(copy->id), "%s", id);
    (void)pthread_mutex_lock(&d->lock);
    copy->next = d->stored;
    d->stored = copy;
    (void)pthread_mutex_unlock(&d->lock);
    return 0;
}

static int fake_image_load(struct driver *d, const char *id, struct driver_image **ret,
                           struct err *err)
{
    const struct driver_image *found;
    struct driver_image *image;

    if (check_id(id, err) < 0)
        return -1;
    image = calloc(1, sizeof(*image));
    if (image == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    (void)pthread_mutex_lock(&d->lock);
    found = *find_image(d, id);
    if (found != NULL)
        image->info = found->info;
    (void)pthread_mutex_unlock(&d->lock);
    if (found == NULL) {
        free(image);
        return err_set(err, ERR_GONE, "there is no image of this id");
    }
    *ret = image;
    return 0;
}

static void fake_image_each(struct driver *d,
                            void (*each)(void *arg, const char *id, uint64_t stored_bytes),
                            void *arg)
{
    (void)pthread_mutex_lock(&d->lock);
    for (const struct driver_image *i = d->stored; i != NULL; i = i->next)
        each(arg, i->id, i->info.stored_bytes);
    (void)pthread_mutex_unlock(&d->lock);
}

static void fake_image_info(const struct driver_image *image, struct driver_image_info *ret)
{
    *ret = image->info;
}

static void fake_image_free(struct driver_image *image)
{
    free(image);
}

const struct driver_ops driver_fake = {
    .name = "fake",
    .caps = DRIVER_CAP_PAUSE | DRIVER_CAP_SNAPSHOT | DRIVER_CAP_LASTING,
    .probe = fake_probe,
    .open = fake_open,
    .close = fake_close,
    .build_template = fake_build_template,
    .template_key = fake_template_key,
    .template_free = fake_template_free,
    .clone = fake_clone,
    .channel = fake_channel,
    .death_fd = fake_death_fd,
    .usage = fake_usage,
    .destroy = fake_destroy,
    .clone_lasting = fake_clone_lasting,
    .pause = fake_pause,
    .resume = fake_resume,
    .snapshot = fake_snapshot,
    .restore = fake_restore,
    .image_store = fake_image_store,
    .image_load = fake_image_load,
    .image_remove = fake_image_remove,
    .image_each = fake_image_each,
    .image_info = fake_image_info,
    .image_free = fake_image_free,
};
