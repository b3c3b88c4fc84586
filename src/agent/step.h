// SPDX-License-Identifier: Apache-2.0
//
// One program in a jail and a cgroup of its own, with its pipes and limits. Two stages, so that an
// interpreter can be started before its program is known: step_spawn() starts the process,
// step_arm() gives it standard input, starts the limits and lets its output flow.
//
// States: spawned -> armed -> (killed) -> exited -> done. It is done when the program has ended and
// all it wrote has been read; then sink.done is called, once, and nothing after it.
#ifndef CSB_AGENT_STEP_H
#define CSB_AGENT_STEP_H

#include "agent/agent.h"
#include "agent/space.h"
#include "agent/spec.h"
#include "jail/jail.h"

enum step_reason {
    STEP_EXIT,
    STEP_SIGNAL,
    STEP_TIMEOUT,
    STEP_CPU,
    STEP_MEMORY,
    STEP_OUTPUT_LIMIT,
    STEP_DISK,
    STEP_PROCESSES,
    STEP_INTERNAL,
    STEP_REASON_COUNT
};

// Of one step. When the step is done, verdict_settle() (agent/verdict.h) has the last word on it.
struct step_result {
    enum step_reason reason;
    int exit_code;       // -1 unless it exited by itself
    int signal;          // 0 unless a signal ended it that we did not send
    unsigned limits_hit; // STEP_BIT() of each limit it ran into, whether it minded or not
    bool truncated;
    uint64_t stdout_bytes, stderr_bytes;
    uint64_t wall_ns, cpu_user_ns, cpu_system_ns, memory_peak_bytes;
    uint64_t processes_peak; // the jail's init not counted; 0: not known
    char message[160];       // for STEP_INTERNAL
};

#define STEP_BIT(reason) (1u << (reason))

struct step_sink {
    // Takes what the program wrote: `stream` is 0 for stdout, 1 for stderr; `len` is 1 to
    // AGENT_FRAME_MAX; the FRAME_HEADER_BYTES bytes before `data` may be written to. False: taken,
    // but wait for step_resume() before the next.
    bool (*output)(void *arg, int stream, uint8_t *data, size_t len);
    // The step is done; its result is filled. May free the step.
    void (*done)(void *arg);
    void *arg;
};

struct step {
    struct agent *agent;
    struct jail_child child;
    struct grave *grave; // takes the jail with all it holds
    struct cgroup *cgroup;
    struct netns *netns;
    struct zygote_request *request; // not answered yet
    void (*forked)(void *arg, bool ok);
    void *forked_arg;
    struct cgroup_limits cgroup_limits; // as set
    int in_fd, out_fd[2];
    struct loop_source in, out[2], exit;
    struct loop_timer wall, cpu;
    struct spec_limits limits;
    struct step_sink sink;
    const uint8_t *input;
    size_t input_len;
    struct cgroup_usage base; // what it used before it had its program
    bool base_taken;
    pid_t program; // where there are no control groups: its pid, or <= 0
    uint64_t started_ns;
    int wait_status;
    bool armed, paused, exited, done;
    bool cut; // ended by us: result.reason says why
    struct step_result result;
};

struct step_spawn {
    const char *const *argv;
    const char *const *envp;
    struct cgroup_limits limits;
    const struct space *space;
    int control_fd; // becomes AGENT_CONTROL_FD of the program; or -1
    // Where a zygote forks the program, if one can, step_spawn() returns before it has, and this is
    // called from the loop when it has (then the step can be armed), or has not (then it can only
    // be freed). NULL: it is executed.
    void (*forked)(void *arg, bool ok);
    void *arg;
};

// Starts the process, or has it started: see step_spawn.forked. *ret is owned by the caller.
int step_spawn(struct agent *agent, const struct step_spawn *how, struct step **ret,
               struct err *err);

// Counts wall and CPU time from now instead of from the spawn: what came before was not the
// program.
void step_rebase(struct step *s);

// `input` is borrowed until the step is done. The sink is not called before this returns.
int step_arm(struct step *s, const struct spec_limits *limits, const uint8_t *input,
             size_t input_len, const struct step_sink *sink, struct err *err);

// False while a zygote is still to start it.
bool step_is_started(const struct step *s);

void step_resume(struct step *s);

// Kills what runs, if anything, and frees all; waits for nothing. NULL allowed.
void step_free(struct step *s);

// What the limits of a step mean for its cgroup.
struct cgroup_limits step_cgroup_limits(const struct spec_limits *limits);

// "exit", "signal", "timeout", "cpu_timeout", ... of agent_wire.h.
const char *step_reason_name(enum step_reason reason);

#endif
