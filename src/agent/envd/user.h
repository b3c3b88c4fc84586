// SPDX-License-Identifier: Apache-2.0
//
// Accounts of this machine, read from /etc/passwd and /etc/group anew for each request (programs in
// the sandbox change them). By hand: a static program cannot ask the C library's services.
#ifndef CSB_AGENT_ENVD_USER_H
#define CSB_AGENT_ENVD_USER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define USER_NAME_MAX   64
#define USER_GROUPS_MAX 64 // supplementary groups of one user; more are left out
#define USER_FILE_MAX   (1u << 20)

struct user {
    char name[USER_NAME_MAX + 1];
    char home[PATH_MAX];
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS_MAX]; // the primary one first
    size_t group_count;
};

// Whether the machine has one id only, 0, of an ordinary user of the host: whoever else's programs
// show their user in a namespace of their own (spawn_plan.view), all make the same user's files,
// and each sees them as its own.
bool user_one_id(void);

// 0, -ENOENT when there is no such user, or another -errno.
int user_find(const char *name, struct user *ret);

// Makes the user's what the agent has just made: `path` below the directory `fd`, as for openat(2),
// or `fd` itself with "". An agent that is not root, or has one id, makes everything its own:
// nothing is done. 0 or -errno.
int user_give(const struct user *user, int fd, const char *path);

// Both files' text, to name many ids in a row. Zero-initialise; release when done.
struct user_names {
    char *passwd;
    char *group;
    uid_t uid; // the last answers
    gid_t gid;
    uid_t viewer_uid; // who asks, see user_one_id()
    gid_t viewer_gid;
    char user_text[USER_NAME_MAX + 1];
    char group_text[USER_NAME_MAX + 1];
};

// Who asks; before that it is root.
void user_names_for(struct user_names *names, const struct user *viewer);
void user_names_release(struct user_names *names);

// The name, or the number as text when there is none. Borrowed until the next call.
const char *user_name(struct user_names *names, uid_t uid);
const char *user_group_name(struct user_names *names, gid_t gid);

#endif
