// SPDX-License-Identifier: Apache-2.0
#include "sandbox/lasting.h"

#include "base/clock.h"
#include "base/id.h"
#include "channel/channel.h"
#include "sandbox/contexts_client.h"
#include "sandbox/engine_internal.h"
#include "sandbox/runtime.h"
#include "sandbox/stock.h"
#include "sandbox/templates.h"

#include <stdio.h>
#include <stdlib.h>

#define START_MS    30000
#define CONTEXTS_MS 20000

// The agent's stream, and what every machine is told before it is anybody's.
static int connect_agent(struct engine *e, struct sandbox *s, uint64_t deadline_ns, struct err *err)
{
    int fd;

    sandbox_born(s);
    if (s->ops->channel(s->driver, &fd, err) < 0 || channel_open(e->loop, fd, &s->channel, err) < 0)
        return -1;
    return sandbox_resync(s, deadline_ns, err);
}

static struct sandbox *new_sandbox(struct engine *e)
{
    struct sandbox *s = calloc(1, sizeof(*s));
    char hex[17];

    if (s == NULL)
        return NULL;
    s->ops = e->config.driver;
    id_hex(hex, 8);
    (void)snprintf(s->name, sizeof(s->name), "sandbox-%s", hex);
    return s;
}

// The driver's template. *ret_own: it is to be freed; a driver whose machines share the host's
// kernel has nothing to build for it.
static int get_template(struct engine *e, const struct template *is, struct driver_template **ret,
                        bool *ret_own, struct err *err)
{
    const struct driver_template_spec spec = {
        .shape = e->config.shape, .root = is->root, .seed = runtime_table_hash(e->config.runtimes)};
    struct driver_template *t;
    bool built;

    (void)pthread_mutex_lock(&e->lock);
    t = e->template;
    (void)pthread_mutex_unlock(&e->lock);
    if (t == NULL)
        return err_set(err, ERR_BUSY, "the template is not built yet");
    *ret_own = is->root != 0;
    *ret = t;
    if (is->root == 0)
        return 0;
    return e->config.driver->build_template(e->driver, &spec, clock_deadline_ms(START_MS), ret,
                                            &built, err);
}

int lasting_start(struct engine *e, const struct template *is, struct sandbox **ret,
                  struct err *err)
{
    const struct driver_ops *ops = e->config.driver;
    const struct driver_limits limits = {.memory_mib = e->config.shape.memory_mib};
    uint64_t deadline = clock_deadline_ms(START_MS);
    struct driver_template *t;
    struct sandbox *s;
    bool own = false;
    int r;

    if (!(ops->caps & DRIVER_CAP_LASTING))
        return err_set(err, ERR_UNSUPPORTED,
                       "long-lived sandboxes need virtual machines: this service runs with "
                       "ISOLATION=process, where all programs share one agent");
    if (get_template(e, is, &t, &own, err) < 0)
        return -1;
    s = new_sandbox(e);
    if (s == NULL)
        r = err_set(err, ERR_INTERNAL, "out of memory");
    else
        r = ops->clone_lasting(e->driver, t, &limits, deadline, &s->driver, err);
    if (own)
        ops->template_free(t);
    if (r == 0)
        r = connect_agent(e, s, deadline, err);
    if (r < 0) {
        sandbox_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

int lasting_take(struct engine *e, const struct template *is, struct sandbox **ret, struct err *err)
{
    struct sandbox *s = stock_take(e->stock, is);

    if (s != NULL) {
        *ret = s;
        return 0;
    }
    if (lasting_start(e, is, &s, err) < 0)
        return -1;
    if (is->contexts &&
        contexts_start(s->channel, CONTEXTS_COLD, clock_deadline_ms(CONTEXTS_MS), err) < 0) {
        sandbox_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

int lasting_restore(struct engine *e, struct driver_image *image, struct sandbox **ret,
                    struct err *err)
{
    uint64_t deadline = clock_deadline_ms(START_MS);
    struct sandbox *s = new_sandbox(e);

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (s->ops->restore(e->driver, image, deadline, &s->driver, err) < 0 ||
        connect_agent(e, s, deadline, err) < 0) {
        sandbox_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}
