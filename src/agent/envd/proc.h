// SPDX-License-Identifier: Apache-2.0
//
// Processes of the sandbox: started for a client, outliving it, heard by any number of subscribers.
//
// States and moves:
//   running  until its pidfd says that it ended
//   exited   until its output ended too: what it left in the background may hold the pipes, as with
//            a shell's `cmd &`. Who kills it with SIGKILL does not wait for that
//   ended    remembered for PROC_REMEMBER_S, then gone
//
// Output. What is read is put into a log of envelopes, once for all subscribers, each of which has
// a place in it; what all have taken is dropped. A process whose log is full is not read, so that
// it waits as it would for a slow pipe: with one subscriber nothing is ever lost. With several, one
// that has not moved for PROC_LAG_MS while another has all there is ends with resource_exhausted,
// and the others go on. Without any subscriber output is read and dropped.
//
// Input is written in the order it came; the call is answered when all of its bytes were taken.
#ifndef CSB_AGENT_ENVD_PROC_H
#define CSB_AGENT_ENVD_PROC_H

#include "agent/envd/rpc.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCS_MAX            1024 // running or exited
#define PROCS_ENDED_MAX      256  // remembered; the oldest goes first
#define PROC_REMEMBER_S      30
#define PROC_SUBSCRIBERS_MAX 64           // of one process
#define PROC_LOG_BYTES       (256u << 10) // of one process, before it is not read any more
#define PROC_LOGS_BYTES      (32u << 20)  // of all: above it a process has one envelope at most
#define PROC_LAG_MS          2000
#define PROC_PIPE_BYTES      (32u << 10) // of one envelope's content
#define PROC_TERMINAL_BYTES  (16u << 10)
#define PROC_INPUT_BYTES     (16u << 20) // that waits for one process
#define PROC_TASKS_MAX       8192        // of all processes, by their control group
#define PROC_TAG_MAX         256

enum proc_state { PROC_RUNNING, PROC_EXITED, PROC_ENDED };

struct proc_subscriber {
    struct proc *proc;
    struct call *call;
    struct proc_subscriber *next;
    uint64_t at;       // place in the log
    uint64_t moved_ns; // when it took something
    bool stopping;     // it ends at `stop`
    uint64_t stop;
    struct rpc_error error; // with which it ends
    uint64_t interval_ns;   // of keepalives
    struct loop_timer keepalive;
    struct loop_timer deadline;
};

struct proc_input {
    struct proc_input *next;
    void *owner; // NULL: it went away
    struct buf data;
    size_t off;
    void (*done)(void *owner, const struct rpc_error *e);
};

struct proc {
    struct envd *envd;
    struct proc *next;
    enum proc_state state;
    pid_t pid;
    uint64_t serial; // never used twice, as pids are
    int pidfd;
    char *config; // JSON of ProcessConfig
    char *tag;    // NULL: none
    bool terminal;
    bool killed; // its output is not waited for

    int out_fd[2]; // of a terminal only the first, which is its input too
    struct loop_source out[2];
    struct loop_source exit;
    bool paused;
    struct buf log;
    uint64_t log_start; // place of its first byte
    struct proc_subscriber *subscribers;
    size_t subscriber_count;
    struct loop_timer lag;

    int in_fd; // -1: none, or closed
    struct loop_source in;
    struct proc_input *inputs;
    size_t input_bytes;
    bool close_input; // when all was written

    struct loop_timer deadline;
    struct proc_subscriber *starter; // told of the deadline
    struct loop_timer forget;
    siginfo_t status;
    char *end; // JSON of the end event
};

struct proc_spec {
    const char *const *argv;
    const char *const *envp;
    const char *cwd;
    const struct user *user;
    bool terminal;
    uint16_t columns, rows;
    bool input; // a pipe, else /dev/null
};

// Starts a process. Its output is not read before proc_listen().
int proc_start(struct envd *e, const struct proc_spec *spec, struct proc **ret,
               struct rpc_error *err);
void proc_listen(struct proc *p);
void proc_free(struct proc *p);
void proc_free_all(struct envd *e);

// NULL when there is none, ended ones included.
struct proc *proc_find_pid(const struct envd *e, pid_t pid);
struct proc *proc_find_tag(const struct envd *e, const char *tag);
struct proc *proc_find_serial(const struct envd *e, uint64_t serial);

// Sends a signal to the process alone. 0 or -errno; to one that ended nothing is sent.
int proc_signal(struct proc *p, int sig);
// Kills it at that time; the subscriber that began it then ends with deadline_exceeded.
void proc_set_deadline(struct proc *p, uint64_t timeout_ms);
int proc_resize(struct proc *p, uint16_t columns, uint16_t rows);

// proc_output.c
int proc_subscribe(struct proc *p, struct call *c, struct proc_subscriber **ret,
                   struct rpc_error *e);
void proc_unsubscribe(struct proc_subscriber *s);
// Reads what is there; `last`: without waiting for room, then never again.
void proc_read_output(struct proc *p, bool last);
void proc_close_output(struct proc *p, int i);
// Queues the end event and lets every subscriber go when it has it.
void proc_end_output(struct proc *p);
// Ends one subscriber when it has what there is now.
void proc_stop_subscriber(struct proc_subscriber *s);

// proc_input.c. Takes the buffer's content and calls `done` once, maybe before it returns: with
// NULL when all was taken, else with the reason why not.
void proc_input_write(struct proc *p, void *owner, struct buf *data,
                      void (*done)(void *owner, const struct rpc_error *e));
// The owner is gone: what it asked for is still written, and nobody is told.
void proc_input_forget(const struct envd *e, const void *owner);
// Closes once all was written.
void proc_input_close(struct proc *p);
// Closes now; what was not written fails.
void proc_input_end(struct proc *p);

// proc_rpc.c: the methods.
void proc_rpc_start(struct call *c, const struct json_in *in);
void proc_rpc_connect(struct call *c, const struct json_in *in);
void proc_rpc_list(struct call *c, const struct json_in *in);
void proc_rpc_update(struct call *c, const struct json_in *in);
void proc_rpc_send_input(struct call *c); // reads its message itself
void proc_rpc_send_signal(struct call *c, const struct json_in *in);
void proc_rpc_close_stdin(struct call *c, const struct json_in *in);
// proc_stream.c: StreamInput, whose messages are taken as they come.
void proc_rpc_stream_input(struct call *c);

// The process that the message's `process` selects, or NULL with *e set.
struct proc *proc_select(const struct envd *e, const struct json_in *in, struct rpc_error *err);
// proc_message.c. A message with input may be almost one string of megabytes, over which a JSON
// parser takes its time: that string is left out of the tree and looked at by itself. Freed with
// json_free(&m->tree); `text` must stay until then.
struct proc_message {
    struct json_t *tree;
    const char *cut; // the string that was left out, or NULL
    size_t cut_len;
};
int proc_message_read(const void *text, size_t len, struct proc_message *ret,
                      struct rpc_error *err);
// The bytes of the `input` in `in`, which must be of the process's kind. 0 or -1 with *err set.
int proc_message_input(const struct proc_message *m, const struct proc *p, const struct json_in *in,
                       struct buf *ret, struct rpc_error *err);

// proc_env.c: the environment of a program: the base, then the sandbox's, then the message's
// `envs`; the last of a name counts. Freed by proc_env_free(). NULL with *err set.
const char **proc_env_make(const struct envd *e, const struct user *user,
                           const struct json_in *envs, struct rpc_error *err);
void proc_env_free(const char **env);

#endif
