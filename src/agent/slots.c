// SPDX-License-Identifier: Apache-2.0
#include "agent/slots.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

// True when one line of the map (inside, outside, count) covers all our ids.
static bool range_is_mapped(void)
{
    _cleanup_free_ char *map = NULL;

    if (fd_read_file(AT_FDCWD, "/proc/self/uid_map", 65536, &map, NULL) < 0)
        return false;
    for (const char *line = map; line != NULL && *line != '\0';) {
        unsigned long long first = 0, outside = 0, count = 0;
        if (sscanf(line, "%llu %llu %llu", &first, &outside, &count) == 3 &&
            first <= SLOTS_UID_BASE && first + count >= SLOTS_UID_BASE + SLOTS_MAX)
            return true;
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return false;
}

void slots_init(struct slots *s, bool vm, uid_t vm_uid)
{
    memset(s, 0, sizeof(*s));
    s->shared = vm || !range_is_mapped();
    s->shared_uid = vm ? vm_uid : 0;
}

int slots_take(struct slots *s, uid_t *ret)
{
    if (s->shared) {
        *ret = s->shared_uid;
        return 0;
    }
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        unsigned slot = (s->next + i) % SLOTS_MAX;
        if (s->holders[slot] > 0)
            continue;
        s->holders[slot] = 1;
        s->next = (slot + 1) % SLOTS_MAX;
        *ret = SLOTS_UID_BASE + slot;
        return 0;
    }
    return -EAGAIN;
}

void slots_hold(struct slots *s, uid_t uid)
{
    if (!s->shared && uid != SLOTS_NO_UID)
        s->holders[uid - SLOTS_UID_BASE]++;
}

void slots_drop(struct slots *s, uid_t uid)
{
    if (!s->shared && uid != SLOTS_NO_UID)
        s->holders[uid - SLOTS_UID_BASE]--;
}
