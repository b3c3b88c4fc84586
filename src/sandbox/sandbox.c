// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sandbox.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "channel/channel.h"
#include "sandbox/agent_client.h"
#include "sandbox/runtime.h"
#include "sandbox/warm.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY_MIN_MS 100ull
#define RETRY_MAX_MS 5000ull

// For sandbox_totals().
static atomic_uint_fast64_t restored, ended, life_ns;

static int connect_agent(struct sandbox *s, struct channel_loop *loop, struct err *err)
{
    int fd;

    if (s->ops->channel(s->driver, &fd, err) < 0)
        return -1;
    return channel_open(loop, fd, &s->channel, err);
}

int sandbox_resync(struct sandbox *s, uint64_t deadline_ns, struct err *err)
{
    // On the host's own kernel time and entropy are always fresh.
    if (!(s->ops->caps & DRIVER_CAP_SHARED) &&
        agent_sync(s->channel, s->name, deadline_ns, err) < 0)
        return -1;
    s->synced_ns = clock_mono_ns();
    return 0;
}

// Notes how long the phase took that began at *since, and begins the next.
static void end_phase(struct sandbox *s, enum sandbox_phase phase, uint64_t *since)
{
    uint64_t now = clock_mono_ns();

    s->start_ns[phase] = now - *since;
    *since = now;
}

static int bring_up(struct sandbox *s, const struct sandbox_origin *origin,
                    const struct runtime *rt, uint64_t deadline_ns, struct err *err)
{
    uint64_t since = clock_mono_ns();

    if (origin->ops->clone(origin->driver, origin->template, deadline_ns, &s->driver, err) < 0)
        return -1;
    sandbox_born(s);
    end_phase(s, SANDBOX_PHASE_CLONE, &since);
    if (connect_agent(s, origin->loop, err) < 0)
        return -1;
    if (sandbox_resync(s, deadline_ns, err) < 0)
        return -1;
    end_phase(s, SANDBOX_PHASE_SYNC, &since);
    if (rt == NULL || rt->prepare.argc == 0)
        return 0;
    if (origin->warm && rt->warm_clone) {
        if (warm_prepared(s->channel, rt, deadline_ns, err) < 0)
            return -1;
        end_phase(s, SANDBOX_PHASE_WARM, &since);
    }
    if (agent_prepare(s->channel, rt, &origin->limits, deadline_ns, err) < 0)
        return -1;
    end_phase(s, SANDBOX_PHASE_PREPARE, &since);
    s->prepared = rt;
    return 0;
}

int sandbox_start(const struct sandbox_origin *origin, const struct runtime *rt,
                  uint64_t deadline_ns, struct sandbox **ret, struct err *err)
{
    struct sandbox *s = calloc(1, sizeof(*s));
    char hex[17];

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->ops = origin->ops;
    id_hex(hex, 8);
    (void)snprintf(s->name, sizeof(s->name), "sandbox-%s", hex);
    if (bring_up(s, origin, rt, deadline_ns, err) < 0) {
        sandbox_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

bool sandbox_is_alive(struct sandbox *s)
{
    int fd = s->ops->death_fd(s->driver);

    if (channel_is_dead(s->channel))
        return false;
    return fd < 0 || fd_wait(fd, POLLIN, 0) == 0;
}

uint64_t sandbox_retry_ms(uint32_t failures)
{
    uint64_t ms = RETRY_MIN_MS << (failures < 6 ? failures : 6);

    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

void sandbox_born(struct sandbox *s)
{
    s->born_ns = clock_mono_ns();
    atomic_fetch_add(&restored, 1);
}

void sandbox_totals(struct sandbox_totals *ret)
{
    ret->restored = atomic_load(&restored);
    ret->life_ns = atomic_load(&life_ns);
    ret->ended = atomic_load(&ended);
}

void sandbox_end(struct sandbox *s)
{
    if (s->driver == NULL)
        return;
    if (s->born_ns > 0) {
        atomic_fetch_add(&life_ns, clock_mono_ns() - s->born_ns);
        atomic_fetch_add(&ended, 1);
    }
    s->ops->destroy(s->driver);
    s->driver = NULL;
}

void sandbox_free(struct sandbox *s)
{
    if (s == NULL)
        return;
    channel_close(s->channel);
    sandbox_end(s);
    free(s);
}
