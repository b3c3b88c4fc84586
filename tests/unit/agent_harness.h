// SPDX-License-Identifier: Apache-2.0
//
// What the tests of csb-agent share: starting it, talking to it through the channel's client, and
// the outcome of a run.
#ifndef CSB_TESTS_AGENT_HARNESS_H
#define CSB_TESTS_AGENT_HARNESS_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"

#include "tap.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// A test may leave some of it unused.
#define HARNESS     __attribute__((unused)) static

#define PYTHON      "/usr/bin/python3"
#define DEADLINE_MS 60000
#define MIB         (1024 * 1024)

static struct channel_loop *loop;
static struct channel *channel; // where requests go
static pid_t agent_pid;

// What a test may change about a run.
struct job {
    const char *code; // content of main.py
    const char *input;
    const char *prepared;
    json_t *argv;                 // taken; NULL: python3 main.py
    json_t *args;                 // taken
    json_t *env;                  // taken
    json_t *compile;              // taken: argv of a compile step
    const char *path2, *content2; // a second file
    bool executable2;
    const char *artifact; // asked for, of at most artifact_max bytes
    int artifact_max;
    int wall_ms, cpu_ms, processes;
    json_int_t memory, output, disk;
    int cancel_ms;
    int stall_ms; // before the answer is read
};

struct outcome {
    int status;
    struct buf out, err, compile, artifact;
    json_t *result;
    uint64_t took_ms;
};

HARNESS json_t *limits_json(const struct job *j)
{
    return json_pack("{s:i, s:i, s:I, s:i, s:I, s:I}", "wall_ms", j->wall_ms ? j->wall_ms : 10000,
                     "cpu_ms", j->cpu_ms ? j->cpu_ms : 10000, "memory_bytes",
                     j->memory ? j->memory : (json_int_t)256 * MIB, "processes",
                     j->processes ? j->processes : 64, "output_bytes",
                     j->output ? j->output : (json_int_t)MIB, "disk_bytes",
                     j->disk ? j->disk : (json_int_t)64 * MIB);
}

HARNESS void build_body(const struct job *j, struct buf *body)
{
    const char *input = j->input ? j->input : "";
    json_t *files =
        json_pack("[{s:s, s:I}]", "path", "main.py", "size", (json_int_t)strlen(j->code));
    if (j->path2)
        json_array_append_new(files, json_pack("{s:s, s:I, s:b}", "path", j->path2, "size",
                                               (json_int_t)strlen(j->content2), "executable",
                                               j->executable2 ? 1 : 0));
    json_t *compile = json_null();
    if (j->compile)
        compile =
            json_pack("{s:o, s:{}, s:o}", "argv", j->compile, "env", "limits", limits_json(j));
    json_t *run = json_pack("{s:o, s:o, s:o, s:o}", "argv",
                            j->argv ? j->argv : json_pack("[s, s]", PYTHON, "main.py"), "args",
                            j->args ? j->args : json_array(), "env",
                            j->env ? j->env : json_object(), "limits", limits_json(j));
    json_t *head =
        json_pack("{s:s?, s:o, s:I, s:o, s:o}", "prepared", j->prepared, "files", files,
                  "stdin_size", (json_int_t)strlen(input), "compile", compile, "run", run);
    if (j->artifact)
        json_object_set_new(head, "artifact",
                            json_pack("{s:s, s:i}", "path", j->artifact, "max_bytes",
                                      j->artifact_max ? j->artifact_max : (int)AGENT_ARTIFACT_MAX));
    char *text = json_dumps(head, JSON_COMPACT);
    buf_append_be32(body, (uint32_t)strlen(text));
    buf_append(body, text, strlen(text));
    buf_append(body, j->code, strlen(j->code));
    if (j->path2)
        buf_append(body, j->content2, strlen(j->content2));
    buf_append(body, input, strlen(input));
    free(text);
    json_decref(head);
}

// Sorts the frames of a whole answer.
HARNESS void take_frames(const struct buf *all, struct outcome *o)
{
    size_t at = 0;

    while (at + 5 <= all->len) {
        const uint8_t *p = all->data + at;
        size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (len > all->len - at - 5)
            break;
        if (p[0] == AGENT_FRAME_STDOUT)
            buf_append(&o->out, p + 5, len);
        else if (p[0] == AGENT_FRAME_STDERR)
            buf_append(&o->err, p + 5, len);
        else if (p[0] == AGENT_FRAME_COMPILE_OUT)
            buf_append(&o->compile, p + 5, len);
        else if (p[0] == AGENT_FRAME_ARTIFACT)
            buf_append(&o->artifact, p + 5, len);
        else if (p[0] == AGENT_FRAME_RESULT)
            o->result = json_loadb((const char *)p + 5, len, 0, NULL);
        at += 5 + len;
    }
}

HARNESS void outcome_release(struct outcome *o)
{
    buf_release(&o->out);
    buf_release(&o->err);
    buf_release(&o->compile);
    buf_release(&o->artifact);
    json_decref(o->result);
    memset(o, 0, sizeof(*o));
}

// A run under way.
struct going {
    struct channel_stream *stream;
    struct outcome outcome;
    uint64_t start_ns, deadline_ns;
};

HARNESS struct going begin(struct job j)
{
    struct going g = {.start_ns = clock_mono_ns()};
    struct err err = ERR_INIT;
    _cleanup_buf_ struct buf body = BUF_INIT;

    build_body(&j, &body);
    struct channel_request req = {"POST", "/run", body.data, body.len};
    g.deadline_ns = clock_deadline_ms(j.cancel_ms ? (uint64_t)j.cancel_ms : DEADLINE_MS);
    if (channel_send(channel, &req, &g.stream, &err) < 0 ||
        channel_status(g.stream, clock_deadline_ms(DEADLINE_MS), &g.outcome.status, &err) < 0)
        printf("# %s\n", err.message);
    return g;
}

HARNESS struct outcome finish(struct going *g)
{
    _cleanup_buf_ struct buf all = BUF_INIT;
    struct err err = ERR_INIT;
    char part[65536];
    ssize_t n = 0;

    while (g->stream != NULL &&
           (n = channel_read(g->stream, part, sizeof(part), g->deadline_ns, &err)) > 0)
        buf_append(&all, part, (size_t)n);
    channel_stream_close(g->stream);
    g->outcome.took_ms = (clock_mono_ns() - g->start_ns) / NS_PER_MS;
    if (g->outcome.status == 200)
        take_frames(&all, &g->outcome);
    return g->outcome;
}

HARNESS struct outcome run(struct job j)
{
    struct going g = begin(j);
    struct timespec stall = clock_to_timespec((unsigned)j.stall_ms * NS_PER_MS);

    nanosleep(&stall, NULL);
    return finish(&g);
}

HARNESS const char *text_of(struct buf *b)
{
    return b->len == 0 ? "" : buf_cstr(b);
}

HARNESS const char *reason(const struct outcome *o)
{
    const char *r = json_string_value(json_object_get(o->result, "reason"));

    return r ? r : "(no result)";
}

HARNESS long long number(const struct outcome *o, const char *key)
{
    return json_integer_value(json_object_get(o->result, key));
}

HARNESS int call(const char *method, const char *path, const char *body, char **ret)
{
    struct channel_request req = {method, path, (const uint8_t *)body, body ? strlen(body) : 0};
    struct err err = ERR_INIT;
    size_t len = 0;
    int status = -1;

    if (channel_call(channel, &req, AGENT_JSON_MAX, clock_deadline_ms(DEADLINE_MS), &status, ret,
                     &len, &err) < 0) {
        printf("# %s\n", err.message);
        *ret = NULL;
    }
    return status;
}

HARNESS int count_processes(const char *needle)
{
    char command[128];
    char line[64] = "";
    int fds[2], status;
    pid_t pid;
    char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", command, NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;

    snprintf(command, sizeof(command), "cat /proc/[0-9]*/cmdline 2>/dev/null | grep -a -c %s",
             needle);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    if (posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, envp) != 0)
        return -1;
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    ssize_t n = read(fds[0], line, sizeof(line) - 1);
    close(fds[0]);
    waitpid(pid, &status, 0);
    return n > 0 ? (int)strtol(line, NULL, 10) : -1;
}

HARNESS int prepare_as(const char *id, const char *argv, int ready_ms, bool zygote)
{
    char body[512];
    _cleanup_free_ char *answer = NULL;

    snprintf(body, sizeof(body),
             "{\"id\":\"%s\",\"argv\":%s,\"env\":{\"PYTHONPATH\":\"/csb/python\"},"
             "\"ready_ms\":%d,\"zygote\":%s}",
             id, argv, ready_ms, zygote ? "true" : "false");
    int status = call("POST", "/prepare", body, &answer);
    if (status != 200)
        printf("# %s\n", answer ? answer : "");
    return status;
}

HARNESS int prepare(const char *id, const char *argv, int ready_ms)
{
    return prepare_as(id, argv, ready_ms, false);
}

HARNESS bool open_channel(int fd)
{
    struct err err = ERR_INIT;

    (void)fd_set_nonblock(fd, 1);
    return (loop != NULL || channel_loop_new(&loop, &err) == 0) &&
           channel_open(loop, fd, &channel, &err) == 0;
}

// Starts csb-agent with one end of a socket pair as its descriptor 9, which `option` names to it.
// The other end, or -1.
HARNESS int spawn_agent(char *agent, const char *option, int type, char *shims)
{
    int fds[2];
    char *argv[] = {agent,
                    (char *)(uintptr_t)option,
                    (char *)(uintptr_t)"9",
                    (char *)(uintptr_t)"--shims",
                    shims,
                    NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;

    if (fd_socketpair(type, fds) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 9);
    int rc = posix_spawn(&agent_pid, agent, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    fd_close(&fds[1]);
    if (rc != 0)
        fd_close(&fds[0]);
    return fds[0];
}

#endif
