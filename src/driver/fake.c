// SPDX-License-Identifier: Apache-2.0
//
// The driver that isolates nothing: a sandbox is a thread behind a socket pair. For tests of
// everything above the drivers, and the place to learn what a driver has to do.
#include "base/fd.h"
#include "driver/driver.h"
#include "driver/fake_agent.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct driver {
    int unused; // there is nothing to hold: sandboxes and templates stand alone
};

struct driver_template {
    char key[2 * SHA256_DIGEST_SIZE + 1];
};

// One thread at a time, but for the agent, which has its own.
struct driver_sandbox {
    struct fake_agent *agent;
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
    *ret = d;
    return 0;
}

static void fake_close(struct driver *d)
{
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

static int fake_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
                      struct driver_sandbox **ret, struct err *err)
{
    struct driver_sandbox *s = calloc(1, sizeof(*s));

    (void)d;
    (void)t;
    (void)deadline_ns;
    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (start_agent(&s->agent, &s->channel_fd, err) < 0) {
        free(s);
        return -1;
    }
    *ret = s;
    return 0;
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

const struct driver_ops driver_fake = {
    .name = "fake",
    .caps = 0,
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
};
