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

    if (warm_cold(ch, rt, deadline_ns, err) < 0 || warm_prepared(ch, rt, deadline_ns, err) < 0)
        return -1;
    log_debug("template: %s is warm after %llu ms", rt->id,
              (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
    return 0;
}

static size_t count_warm(const struct runtime_table *runtimes)
{
    size_t n = 0;

    for (size_t i = 0; i < runtime_count(runtimes); i++)
        n += runtime_at(runtimes, i)->warm_code != NULL;
    return n;
}

static int warm_all(struct channel *ch, const struct template_warm *w, struct err *err)
{
    const struct runtime_table *runtimes = w->runtimes;
    uint64_t deadline = clock_deadline_ms(WARM_MS);
    size_t number = 0;

    if (agent_wait_healthy(ch, deadline, err) < 0 || agent_sync(ch, "template", deadline, err) < 0)
        return -1;
    for (size_t i = 0; i < runtime_count(runtimes); i++) {
        const struct runtime *rt = runtime_at(runtimes, i);

        if (rt->warm_code == NULL)
            continue;
        if (w->progress != NULL)
            w->progress(w->progress_arg, rt->id, ++number, count_warm(runtimes));
        if (warm_runtime(ch, rt, deadline, err) < 0)
            return -1;
    }
    return 0;
}

int template_warm(void *arg, int channel_fd, struct err *err)
{
    const struct template_warm *w = arg;
    struct channel *ch;
    int r;

    if (channel_open(w->loop, channel_fd, &ch, err) < 0)
        return -1;
    r = warm_all(ch, w, err);
    channel_close(ch);
    return r;
}
