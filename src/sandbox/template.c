// SPDX-License-Identifier: Apache-2.0
#include "sandbox/template.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel/channel.h"
#include "sandbox/agent_client.h"
#include "sandbox/runtime.h"
#include "sandbox/warm.h"

#define WARM_MS 180000

static int warm_runtime(struct channel *ch, const struct runtime *rt, uint64_t deadline_ns,
                        struct err *err)
{
    uint64_t start = clock_mono_ns();

    if (rt->warm_code == NULL)
        return 0;
    if (warm_cold(ch, rt, deadline_ns, err) < 0 || warm_prepared(ch, rt, deadline_ns, err) < 0)
        return -1;
    log_info("template: %s is warm after %llu ms", rt->id,
             (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
    return 0;
}

static int warm_all(struct channel *ch, const struct runtime_table *runtimes, struct err *err)
{
    uint64_t deadline = clock_deadline_ms(WARM_MS);

    if (agent_wait_healthy(ch, deadline, err) < 0 || agent_sync(ch, "template", deadline, err) < 0)
        return -1;
    for (size_t i = 0; i < runtime_count(runtimes); i++)
        if (warm_runtime(ch, runtime_at(runtimes, i), deadline, err) < 0)
            return -1;
    return 0;
}

int template_warm(void *arg, int channel_fd, struct err *err)
{
    const struct template_warm *w = arg;
    struct channel *ch;
    int r;

    if (channel_open(w->loop, channel_fd, &ch, err) < 0)
        return -1;
    r = warm_all(ch, w->runtimes, err);
    channel_close(ch);
    return r;
}
