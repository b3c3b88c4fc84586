// SPDX-License-Identifier: Apache-2.0
//
// The outer jail of an agent that runs programs on this host's own kernel: root of a user namespace
// in which it can make the programs' jails, with the image's tree as its root and nothing of the
// host's but that, its control group, and its sessions.
#ifndef CSB_LAUNCH_AGENT_JAIL_H
#define CSB_LAUNCH_AGENT_JAIL_H

#include "cgroup/cgroup.h"
#include "jail/jail.h"
#include "launch/launch.h"

#include <limits.h>
#include <stdbool.h>

#define AGENT_IDS        65536u // a user namespace's worth of ids
#define AGENT_MOUNTS_MAX 16
#define AGENT_RANGES_MAX 1024 // lasting agents that have ids of their own at a time

struct agent_host {
    bool root;                     // of this host: the agent gets ids of its own
    struct jail_id_map uids, gids; // of an agent's user namespace
    char tree[PATH_MAX];           // the root tree
    char files[PATH_MAX];          // what an agent sees as /csb
    int templates_fd;              // of our mount namespace: the templates' directory, or -1
    bool lasting;                  // lasting agents can be started
    char lasting_note[160];        // why not, or ""
    struct agent_mount {
        bool mounted;
        uint64_t root; // whose tree it is, as in launch_request
    } ranges[AGENT_RANGES_MAX];
    char note[160];       // what an agent lacks on this host, or why none can be started
    uint32_t confinement; // what agents get, without LAUNCH_CONFINED_CGROUP; 0: none starts
};

struct agent_host_config {
    const char *agent;     // the program csb-agent; wait.so and zygote.so are found near it
    const char *runtimes;  // the table of runtimes, whose directories hold the shims
    const char *tree;      // the root tree, a directory
    const char *templates; // the directory of the templates, or NULL
    const char *run_dir;   // ours, for copies of those files
    uid_t uid_base;
};

// Copies the agent's files, and tries what agents need. What the host does not allow is no error
// but said in `note` and `confinement`. As root, makes a mount namespace for the calling process.
// Blocks up to a second. -1 when files are missing.
int agent_host_open(struct agent_host *host, const struct agent_host_config *config,
                    struct err *err);

// The ids of one lasting agent and the root tree as it sees it.
struct agent_range {
    struct jail_id_map ids; // users and groups alike; of an ordinary user one, which all share
    char tree[PATH_MAX];
};

// The range of that index, below AGENT_RANGES_MAX, with those of all others apart and no agent in
// it. As root, the first time or when it had another root, it mounts the tree with its ids, which
// stays; that blocks some 100 us. `tree` is the directory (O_PATH, borrowed) of the root of that
// id; of root 0 it is the host's own and not looked at.
int agent_range_open(struct agent_host *host, uint32_t index, uint64_t root, int tree,
                     struct agent_range *ret, struct err *err);

// One agent's jail. Filled by agent_jail_plan(); must not be moved, the plan points into it.
struct agent_jail {
    struct jail_mount mounts[AGENT_MOUNTS_MAX];
    char sources[4][PATH_MAX]; // of control groups version 1
    char targets[4][64];
    struct jail_rlimit rlimits[5];
    struct jail_plan plan;
};

// The plan but for its descriptors: control socket as 3, messages as 1 and 2.
void agent_jail_plan(const struct agent_host *host, const struct cgroup *cgroup,
                     struct agent_jail *ret);

// What a lasting agent and its programs may use. Memory and processes are those of its control
// group; where there is none, memory is bounded process by process, and processes all the same.
struct agent_limits {
    uint64_t memory_bytes;
    uint64_t processes;
    uint64_t disk_bytes;
};

// The same for a lasting agent, whose root can be written to; its session is 3. `range` is borrowed
// by the plan.
void agent_jail_plan_lasting(const struct agent_host *host, const struct agent_range *range,
                             const struct cgroup *cgroup, const struct agent_limits *limits,
                             struct agent_jail *ret);

#endif
