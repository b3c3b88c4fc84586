// SPDX-License-Identifier: Apache-2.0
//
// Runs one Python program as csb-agent runs every program on a host: starts the agent on a root
// tree, sends the program through the channel, prints one JSON object {"stdout", "stderr",
// "result"} (the result as the agent gave it). Needs root.
//
//   agent_run AGENT TREE MAIN.py LIMITS-JSON
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CODE_MAX    (1u << 20)
#define DEADLINE_MS 600000

static int fail(const char *what, const struct err *err)
{
    fprintf(stderr, "agent_run: %s: %s\n", what, err->message);
    return 1;
}

static int build_body(const char *path, const char *limits_text, struct buf *body)
{
    _cleanup_free_ char *code = NULL;
    json_t *limits = json_loads(limits_text, 0, NULL);
    size_t len = 0;

    if (limits == NULL || fd_read_file(AT_FDCWD, path, CODE_MAX, &code, &len) < 0)
        return -1;
    json_t *head =
        json_pack("{s:n, s:[{s:s, s:I}], s:i, s:n, s:{s:[s, s], s:[], s:{}, s:o}}", "prepared",
                  "files", "path", "main.py", "size", (json_int_t)len, "stdin_size", 0, "compile",
                  "run", "argv", "/usr/bin/python3", "main.py", "args", "env", "limits", limits);
    _cleanup_free_ char *text = json_dumps(head, JSON_COMPACT);
    json_decref(head);
    if (text == NULL)
        return -1;
    buf_append_be32(body, (uint32_t)strlen(text));
    buf_append(body, text, strlen(text));
    buf_append(body, code, len);
    return 0;
}

static int start_agent(char *agent, char *tree, int *ret_fd, pid_t *ret_pid)
{
    char *argv[] = {
        agent, (char *)(uintptr_t)"--fd", (char *)(uintptr_t)"9", (char *)(uintptr_t)"--root", tree,
        NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;
    int fds[2];

    if (fd_socketpair(SOCK_STREAM, fds) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 9);
    int rc = posix_spawn(ret_pid, agent, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    fd_close(&fds[1]);
    (void)fd_set_nonblock(fds[0], 1);
    *ret_fd = fds[0];
    return rc;
}

static json_t *text_value(const struct buf *b)
{
    json_t *text = json_stringn(b->len == 0 ? "" : (const char *)b->data, b->len);

    return text != NULL ? text : json_string("(not UTF-8)");
}

static int print_answer(const struct buf *all)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    _cleanup_buf_ struct buf err = BUF_INIT;
    json_t *result = NULL;

    for (size_t at = 0; at + 5 <= all->len;) {
        const uint8_t *p = all->data + at;
        size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];

        if (len > all->len - at - 5)
            break;
        if (p[0] == AGENT_FRAME_STDOUT)
            buf_append(&out, p + 5, len);
        else if (p[0] == AGENT_FRAME_STDERR)
            buf_append(&err, p + 5, len);
        else if (p[0] == AGENT_FRAME_RESULT)
            result = json_loadb((const char *)p + 5, len, 0, NULL);
        at += 5 + len;
    }
    json_t *answer = json_pack("{s:o, s:o, s:o?}", "stdout", text_value(&out), "stderr",
                               text_value(&err), "result", result);
    (void)json_dumpf(answer, stdout, JSON_COMPACT);
    json_decref(answer);
    return result != NULL ? 0 : 1;
}

static int run(struct channel *channel, const struct buf *body)
{
    struct channel_request req = {"POST", "/run", body->data, body->len};
    _cleanup_buf_ struct buf all = BUF_INIT;
    uint64_t deadline = clock_deadline_ms(DEADLINE_MS);
    struct channel_stream *stream = NULL;
    struct err err = ERR_INIT;
    char part[65536];
    int status = -1;
    ssize_t n;

    if (channel_send(channel, &req, &stream, &err) < 0 ||
        channel_status(stream, deadline, &status, &err) < 0)
        return fail("run", &err);
    while ((n = channel_read(stream, part, sizeof(part), deadline, &err)) > 0)
        buf_append(&all, part, (size_t)n);
    channel_stream_close(stream);
    if (status != 200) {
        fprintf(stderr, "agent_run: status %d: %.*s\n", status, (int)all.len, all.data);
        return 1;
    }
    return print_answer(&all);
}

int main(int argc, char **argv)
{
    _cleanup_buf_ struct buf body = BUF_INIT;
    struct channel_loop *loop = NULL;
    struct channel *channel = NULL;
    struct err err = ERR_INIT;
    int fd = -1, status = -1;
    pid_t pid = -1;

    if (argc != 5) {
        fputs("usage: agent_run AGENT TREE MAIN.py LIMITS-JSON\n", stderr);
        return 2;
    }
    if (build_body(argv[3], argv[4], &body) < 0) {
        fputs("agent_run: the program or its limits cannot be read\n", stderr);
        return 2;
    }
    if (start_agent(argv[1], argv[2], &fd, &pid) != 0) {
        fprintf(stderr, "agent_run: %s does not start\n", argv[1]);
        return 1;
    }
    if (channel_loop_new(&loop, &err) < 0 || channel_open(loop, fd, &channel, &err) < 0)
        return fail("channel", &err);
    int rc = run(channel, &body);
    channel_close(channel);
    channel_loop_free(loop);
    (void)waitpid(pid, &status, 0);
    return rc;
}
