// SPDX-License-Identifier: Apache-2.0
//
// wait.so, preloaded into sh, with the test as the agent. Argument: wait.so.
#include "base/clock.h"
#include "base/fd.h"
#include "tap.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS    60000
#define CONTROL_FD 3

// What the agent sends: an empty object.
static const char go[] = {0, 0, 0, 2, '{', '}'};

struct child {
    pid_t pid;
    int control;
    int out;
    int status;
};

static char preload[4200];

static struct child spawn_sh(const char *script, const char *wait_open, bool controlled)
{
    struct child c = {.pid = -1, .control = -1, .out = -1, .status = -1};
    char open_env[160];
    char number[] = "CSB_CONTROL_FD=3";
    char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", (char *)(uintptr_t)script,
                    NULL};
    char *envp[4] = {preload};
    posix_spawn_file_actions_t actions;
    size_t n = 1;
    int sock[2], out[2];

    if (controlled)
        envp[n++] = number;
    if (wait_open != NULL) {
        (void)snprintf(open_env, sizeof(open_env), "CSB_WAIT_OPEN=%s", wait_open);
        envp[n++] = open_env;
    }
    if (fd_socketpair(SOCK_STREAM, sock) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return c;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, sock[1], CONTROL_FD);
    (void)posix_spawn(&c.pid, "/bin/sh", &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    fd_close(&sock[1]);
    fd_close(&out[1]);
    c.control = sock[0];
    c.out = out[0];
    return c;
}

static bool is_ready(const struct child *c)
{
    char byte = 0;

    return fd_wait(c->control, POLLIN, clock_deadline_ms(WAIT_MS)) > 0 &&
           read(c->control, &byte, 1) == 1 && byte == 'R';
}

// All that it wrote; it has ended then.
static const char *finish(struct child *c, char *text, size_t size)
{
    size_t len = 0;
    ssize_t n;

    fd_close(&c->control);
    while (len + 1 < size && (n = read(c->out, text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    fd_close(&c->out);
    (void)waitpid(c->pid, &c->status, 0);
    return text;
}

static void put(const char *path, const char *text)
{
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    (void)fd_write_all(fd, text, strlen(text));
}

static void test_open(const char *dir)
{
    char path[128], script[512], text[512];

    (void)snprintf(path, sizeof(path), "%s/program", dir);
    (void)snprintf(script, sizeof(script),
                   "echo before; read -r a <%s; echo \"$a\"; read -r b <%s; echo \"$b\";"
                   "env | grep -e CSB -e PRELOAD; test -e /proc/self/fd/3 && echo leak; exit 7",
                   path, path);
    struct child c = spawn_sh(script, path, true);
    CHECK(is_ready(&c));
    put(path, "hello\n"); // it was not there before
    CHECK_INT(write(c.control, go, sizeof(go)), sizeof(go));
    CHECK_STR(finish(&c, text, sizeof(text)), "before\nhello\nhello\n");
    CHECK_INT(WEXITSTATUS(c.status), 7);
    (void)unlink(path);
}

static void test_start(void)
{
    char text[512];
    struct child c = spawn_sh("echo ran; env | grep -e CSB -e PRELOAD", NULL, true);

    CHECK(is_ready(&c));
    CHECK_INT(fd_wait(c.out, POLLIN, clock_deadline_ms(50)), 0);
    CHECK_INT(write(c.control, go, sizeof(go)), sizeof(go));
    CHECK_STR(finish(&c, text, sizeof(text)), "ran\n");

    c = spawn_sh("echo ran", NULL, true);
    CHECK(is_ready(&c));
    CHECK_STR(finish(&c, text, sizeof(text)), ""); // its agent went away
    CHECK_INT(WEXITSTATUS(c.status), 125);

    c = spawn_sh("echo ran </dev/null", "/dev/null", false);
    CHECK_STR(finish(&c, text, sizeof(text)), "ran\n");
    CHECK_INT(c.status, 0);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/csb-wait-XXXXXX";

    if (argc != 2 || mkdtemp(dir) == NULL)
        return 2;
    (void)snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", argv[1]);
    test_open(dir);
    test_start();
    (void)rmdir(dir);
    return tap_done();
}
