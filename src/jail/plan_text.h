// SPDX-License-Identifier: Apache-2.0
//
// The text form of a jail plan: what csb-jail reads and what the agent sends to a zygote. Lines of
// UTF-8 or other bytes, the first "jail-plan 1", then one directive per line, words between single
// spaces, every byte up to space, '%' and DEL as %XX. Descriptors are named by their index in an
// array that travels beside the text.
//
//     ns user pid mount net ipc uts cgroup
//     root PATH
//     mount KIND TARGET [source=PATH] [fd=INDEX] [size=BYTES] [inodes=N] [mode=OCTAL]
//           [read_only] [exec] [dev] [optional] [reuse] [unmasked]
//           KIND: bind bind_fd tmpfs proc dev scratch symlink cgroup2
//     scratch BYTES INODES
//     user UID GID
//     groups GID...
//     uid_map INSIDE OUTSIDE COUNT          (gid_map alike; once per line of the map)
//     keep_caps HEX
//     identity UID GID
//     cgroup_fd INDEX
//     cgroup_procs PATH                     (version 1; once per hierarchy)
//     net_fd INDEX
//     hostname NAME
//     cwd PATH
//     rlimit NAME VALUE|unlimited           (core, nofile, ...)
//     fd TARGET INDEX
//     seccomp none|run|vmm|agent
//     set FLAG...                           (landlock no_new_privs die_with_parent new_session
//                                            want_scratch_fd exec_as_init loopback_up)
//     arg TEXT                              (once per argument, in order)
//     env NAME=VALUE
#ifndef CSB_JAIL_PLAN_TEXT_H
#define CSB_JAIL_PLAN_TEXT_H

#include "base/err.h"
#include "jail/jail.h"

#include <stddef.h>

#define JAIL_PLAN_TEXT_MAX (128u * 1024u) // bytes of one text
#define JAIL_PLAN_FDS_MAX  (JAIL_FDS_MAX + JAIL_MOUNTS_MAX + 2)

struct buf;

// A plan that was read, with all it points to. `plan` may be used as any other while it lives.
struct jail_plan_owned {
    struct jail_plan plan;
};

// Appends the text of `plan` to `out` and puts the descriptors it names into `fds` (borrowed, room
// for *fd_count; at most JAIL_PLAN_FDS_MAX are needed), whose number *fd_count becomes. 0, or -1:
// ERR_TOO_LARGE when the text or the descriptors do not fit.
int jail_plan_write(const struct jail_plan *plan, struct buf *out, int fds[], size_t *fd_count,
                    struct err *err);

// Reads the text of `len` bytes. Indices in it choose from `fds`, which stay the caller's. 0 with
// *ret to be freed by jail_plan_free(), or -1 with the line at fault in the message: ERR_INVALID
// for what is not in the form above, ERR_TOO_LARGE above a limit. Whatever the text, the result is
// safe to hand to jail_spawn().
int jail_plan_read(const char *text, size_t len, const int fds[], size_t fd_count,
                   struct jail_plan_owned **ret, struct err *err);
void jail_plan_free(struct jail_plan_owned *plan); // NULL allowed

// The same for who must not touch its heap: the plan and all it points to lie in `memory`, `size`
// bytes aligned as malloc()'s, until the caller uses them for something else. ERR_TOO_LARGE when
// they do not suffice: a plan without arguments takes some 6 KiB and twice its text.
struct jail_plan_text {
    const char *text;
    size_t len;
    const int *fds;
    size_t fd_count;
};
int jail_plan_read_in(void *memory, size_t size, const struct jail_plan_text *from,
                      struct jail_plan **ret, struct err *err);

#endif
