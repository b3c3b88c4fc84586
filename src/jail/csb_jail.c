// SPDX-License-Identifier: Apache-2.0
//
// csb-jail: runs one program in the jail that a plan describes, and passes its exit status on. The
// plan (plan_text.h) comes on a descriptor; descriptors in it are this program's own numbers.
// Exits with the program's exit code, with 128 plus the signal that ended it, or with 125 when the
// program was never started.
#include "jail/jail.h"
#include "jail/plan_text.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/parse.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_NOT_STARTED 125
#define FDS_MAX          1024

struct options {
    int plan_fd;
    int status_fd; // or -1
};

static const char usage_text[] =
    "usage: csb-jail --plan-fd N [--json-status FD]\n"
    "\n"
    "  --plan-fd N       read the jail plan from descriptor N\n"
    "  --json-status FD  write how the program ended to descriptor FD, as one line of JSON\n";

static int parse_fd(const char *text, int *ret)
{
    uint64_t n = 0;

    if (parse_u64(text, 0, FDS_MAX - 1, &n) < 0)
        return -1;
    *ret = (int)n;
    return 0;
}

static int parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option table[] = {{"plan-fd", required_argument, NULL, 'p'},
                                          {"json-status", required_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *ret = (struct options){.plan_fd = -1, .status_fd = -1};
    while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (c == 'h') {
            (void)fputs(usage_text, stdout);
            _exit(fflush(stdout) == 0 ? 0 : EXIT_NOT_STARTED);
        }
        if (c != 'p' && c != 'j')
            return -1;
        if (parse_fd(optarg, c == 'p' ? &ret->plan_fd : &ret->status_fd) < 0)
            return -1;
    }
    return ret->plan_fd < 0 || optind != argc ? -1 : 0;
}

static int read_plan(int plan_fd, struct jail_plan_owned **ret, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_CAPPED(JAIL_PLAN_TEXT_MAX);
    int fds[FDS_MAX];
    int r = fd_read_to_buf(plan_fd, &text);

    if (r < 0)
        return err_sys(err, r, "read the plan");
    for (int i = 0; i < FDS_MAX; i++)
        fds[i] = i;
    return jail_plan_read(text.len == 0 ? "" : (const char *)text.data, text.len, fds, FDS_MAX, ret,
                          err);
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

// Without an init the program is the child itself; an init that was killed leaves no status.
static struct jail_status await_end(struct jail_child *child)
{
    struct jail_status st = {.exit_code = -1, .signal = SIGKILL};
    struct rusage usage = {0};
    int status = 0;
    bool told = child->status_fd >= 0 && jail_read_status(child->status_fd, &st) == 0;

    while (wait4(child->pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    fd_close(&child->pidfd); // reaped
    if (told)
        return st;
    return (struct jail_status){.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                                .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                                .cpu_user_ns = timeval_ns(usage.ru_utime),
                                .cpu_system_ns = timeval_ns(usage.ru_stime),
                                .max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024u};
}

static void write_status(int fd, const struct jail_status *st)
{
    char line[256];
    int n = snprintf(line, sizeof(line),
                     "{\"exit_code\": %d, \"signal\": %d, \"cpu_user_ns\": %llu, "
                     "\"cpu_system_ns\": %llu, \"max_rss_bytes\": %llu}\n",
                     st->exit_code, st->signal, (unsigned long long)st->cpu_user_ns,
                     (unsigned long long)st->cpu_system_ns, (unsigned long long)st->max_rss_bytes);

    if (fd_write_all(fd, line, (size_t)n) < 0)
        (void)fprintf(stderr, "csb-jail: the status could not be written\n");
}

int main(int argc, char **argv)
{
    struct jail_plan_owned *owned = NULL;
    struct jail_child child = JAIL_CHILD_INIT;
    struct jail_status st;
    struct options opt;
    struct err err = ERR_INIT;

    if (parse_options(argc, argv, &opt) < 0) {
        (void)fputs(usage_text, stderr);
        return EXIT_NOT_STARTED;
    }
    if (read_plan(opt.plan_fd, &owned, &err) < 0) {
        (void)fprintf(stderr, "csb-jail: %s\n", err.message);
        return EXIT_NOT_STARTED;
    }
    owned->plan.die_with_parent = 1;
    if (jail_spawn(&owned->plan, &child, &err) < 0) {
        (void)fprintf(stderr, "csb-jail: %s\n", err.message);
        jail_plan_free(owned);
        return EXIT_NOT_STARTED;
    }
    st = await_end(&child);
    jail_child_release(&child);
    jail_plan_free(owned);
    if (opt.status_fd >= 0)
        write_status(opt.status_fd, &st);
    return st.signal != 0 ? 128 + st.signal : st.exit_code;
}
