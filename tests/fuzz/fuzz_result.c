// SPDX-License-Identifier: Apache-2.0
//
// The decoder of an agent's RESULT: whatever it is sent, what it takes is within its own rules.
#include "sandbox/agent_client.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_step(const struct run_step *s)
{
    const unsigned ends = RUN_BIT(RUN_EXIT) | RUN_BIT(RUN_SIGNAL) | RUN_BIT(RUN_INTERNAL);

    if ((unsigned)s->reason >= RUN_REASON_COUNT || s->exit_code < -1 || s->exit_code > 255 ||
        s->signal < 0 || s->signal > 64)
        abort();
    if ((s->reason == RUN_EXIT && s->exit_code < 0) || (s->reason == RUN_SIGNAL && s->signal == 0))
        abort();
    if ((s->limits_hit & ends) != 0 || s->limits_hit >= RUN_BIT(RUN_REASON_COUNT))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run_result r;
    struct err err = ERR_INIT;

    memset(&r, 0, sizeof(r));
    if (agent_decode_result(data, len, &r, &err) < 0) {
        if (err.code != ERR_PROTOCOL)
            abort();
        return 0;
    }
    if (!r.ran && !r.compiled)
        abort();
    if (memchr(r.message, '\0', sizeof(r.message)) == NULL)
        abort();
    if (r.ran)
        check_step(&r.run);
    if (r.compiled)
        check_step(&r.compile);
    return 0;
}
