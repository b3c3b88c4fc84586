// SPDX-License-Identifier: Apache-2.0
//
// The text of a jail plan: what is read is within every limit, and what is written of it reads as
// the same. First byte: how many descriptors come along; then the text.
#include "base/buf.h"
#include "jail/plan_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_limits(const struct jail_plan *p)
{
    if (p->mount_count > JAIL_MOUNTS_MAX || p->fd_count > JAIL_FDS_MAX ||
        p->rlimit_count > JAIL_RLIMITS_MAX || p->group_count > JAIL_GROUPS_MAX ||
        p->uid_map_count > JAIL_MAPS_MAX || p->gid_map_count > JAIL_MAPS_MAX)
        abort();
    for (size_t i = 0; i < p->mount_count; i++)
        if (p->mounts[i].target == NULL || p->mounts[i].target[0] != '/')
            abort();
}

// Text of the plan, with the descriptors it used in `fds`.
static void write_plan(const struct jail_plan *p, struct buf *out, int *fds, size_t *fd_count)
{
    *fd_count = JAIL_PLAN_FDS_MAX;
    if (jail_plan_write(p, out, fds, fd_count, NULL) < 0)
        abort();
}

static void check_round_trip(const struct jail_plan *p)
{
    struct buf first = BUF_INIT;
    struct buf second = BUF_INIT;
    int fds[JAIL_PLAN_FDS_MAX];
    int again[JAIL_PLAN_FDS_MAX];
    size_t fd_count;
    size_t again_count;
    struct jail_plan_owned *copy = NULL;
    struct jail_plan without_env = *p;

    // Environment without arguments is not a program's and is not written.
    if (p->argv == NULL)
        without_env.envp = NULL;
    write_plan(&without_env, &first, fds, &fd_count);
    if (jail_plan_read((const char *)first.data, first.len, fds, fd_count, &copy, NULL) < 0)
        abort();
    write_plan(&copy->plan, &second, again, &again_count);
    if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0 ||
        fd_count != again_count || memcmp(fds, again, fd_count * sizeof(int)) != 0)
        abort();
    jail_plan_free(copy);
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct jail_plan_owned *plan = NULL;
    int fds[256];

    if (len < 1)
        return 0;
    for (size_t i = 0; i < 256; i++)
        fds[i] = (int)(1000 + i);
    if (jail_plan_read((const char *)data + 1, len - 1, fds, data[0], &plan, NULL) < 0)
        return 0;
    check_limits(&plan->plan);
    check_round_trip(&plan->plan);
    jail_plan_free(plan);
    return 0;
}
