// SPDX-License-Identifier: Apache-2.0
//
// What the files of the jail share: the context of one spawn, as the child sees it.
#ifndef CSB_JAIL_JAIL_INTERNAL_H
#define CSB_JAIL_JAIL_INTERNAL_H

#include "jail/jail.h"

#include <linux/filter.h>
#include <stdbool.h>

#define JAIL_WHAT_MAX 192

enum jail_report_kind {
    JAIL_REPORT_SCRATCH = 1, // carries the scratch descriptor
    JAIL_REPORT_FAILED,
};

// One message from the child over the report socket. The socket is CLOEXEC: its end without a
// FAILED message means that execve() succeeded.
struct jail_report {
    uint32_t kind;
    int32_t error;
    char what[JAIL_WHAT_MAX];
};

// What the parent has done and the child waits for, in this order: one byte over the same socket.
#define JAIL_GO_MAPS    'm'
#define JAIL_GO_CGROUPS 'g'

struct jail_ctx {
    const struct jail_plan *plan;
    bool reuse_dev;  // the caller's /dev may serve again
    bool forking;    // the program goes on in the caller's code
    uid_t outer_uid; // of the caller, for the user namespace's map
    gid_t outer_gid;
    int report;                 // our end of the report socket
    int status;                 // write end of the status pipe, or -1
    int trees[JAIL_MOUNTS_MAX]; // detached mounts to attach, by index of plan->mounts, or -1
    int root;
    int scratch;
    struct sock_fprog filter; // len 0: none
    struct sock_fprog init_filter;
    char what[JAIL_WHAT_MAX]; // the step that failed
};

// Notes which step failed and returns `error` as a negative errno.
int jail_step_failed(struct jail_ctx *c, int error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Whether the plan can be carried out at all. 0 or -1.
int jail_check_plan(const struct jail_plan *p, bool forking, struct err *err);

// Body of the child after clone3(2). Returns only in a forked program, which then has the plan's
// descriptors and no other.
void jail_child_main(struct jail_ctx *c);

// Mounts. Parent side: trees of descriptors, which only a process of their mount namespace can
// clone. Child side: builds the root and enters it. 0 or -errno with c->what set.
int jail_clone_fd_trees(struct jail_ctx *c);
int jail_enter_root(struct jail_ctx *c);

// The plan's root as an overlay, detached in c->root. Child side, as root of the jail. 0 or -errno
// with c->what set.
int jail_overlay_root(struct jail_ctx *c);

// Fills the overlay's upper directory for a jail that is nobody to the files below, with
// JAIL_SEED_MAX directories and files at most: the directories of larger trees cannot all be filled
// by programs. Both are directories. 0 or -errno with c->what set.
#define JAIL_SEED_MAX 8192
int jail_seed(struct jail_ctx *c, int lower, int upper);

// The /proc and /dev of the jail, attached at `target` (an O_PATH directory). 0 or -errno with
// c->what set.
int jail_mount_proc(struct jail_ctx *c, int target, bool unmasked);
int jail_mount_dev(struct jail_ctx *c, int target, const struct jail_mount *m);
int jail_reuse_dev(struct jail_ctx *c, int target, int tree); // a clone of the caller's
bool jail_dev_is_ours(void); // whether the caller's is such a /dev; found out once

uid_t jail_skeleton_uid(const struct jail_ctx *c);
gid_t jail_skeleton_gid(const struct jail_ctx *c);

// New mount API, in terms of descriptors. Each returns a descriptor or 0, or -errno.
int jail_tmpfs(uint64_t size_bytes, uint64_t inodes, uint32_t mode, uid_t uid, gid_t gid,
               unsigned attr);
int jail_open_tree(int dirfd, const char *path, bool recursive);
int jail_set_attr(int tree, uint64_t attr_set, bool recursive);
int jail_attach(int tree, int target_dirfd, const char *target);

// The jail's control groups as a file system, detached. A descriptor or -errno.
int jail_cgroup2(unsigned attr);

// Credentials. 0 or -errno with c->what set.
int jail_map_ids(struct jail_ctx *c);
int jail_become_root(struct jail_ctx *c); // of the user namespace whose maps the caller wrote
int jail_drop_bounding_set(struct jail_ctx *c);
int jail_set_rlimits(struct jail_ctx *c);
int jail_become_user(struct jail_ctx *c);
int jail_take_identity(struct jail_ctx *c);
int jail_keep_capabilities(struct jail_ctx *c, uint64_t caps); // exactly these

// Landlock: writing only beneath what the mounts made writable. In the jail's root. 0 or -errno
// with c->what set; 0 where the kernel has none.
int jail_landlock(struct jail_ctx *c);

// The filter of `kind`, compiled once per process; borrowed. 0 or -errno.
int jail_seccomp_get(enum jail_seccomp kind, struct sock_fprog *ret);

// What is left to do for a jail's init: an allow-list of a few calls. As above.
int jail_seccomp_init(struct sock_fprog *ret);

#endif
