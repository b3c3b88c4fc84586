// SPDX-License-Identifier: Apache-2.0
//
// csb-agent: runs programs for the daemon (agent/agent.h says how). As PID 1 it is the init of a
// virtual machine and serves on a virtio port; otherwise
//
//   csb-agent --fd N [--root DIR] [--shims DIR]
//
// serves on the inherited stream socket N, with jails made on the host, until the peer closes it.
#include "agent/agent.h"
#include "agent/envd/envd.h"
#include "agent/init.h"
#include "agent/session.h"
#include "base/log.h"
#include "base/parse.h"
#include "jail/jail.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct agent agent;

static int usage(void)
{
    fputs("usage: csb-agent --fd N [--root DIR] [--shims DIR]\n", stderr);
    return 2;
}

static int parse_args(int argc, char **argv, struct agent_config *config, int *ret_fd)
{
    static const struct option options[] = {
        {"fd", required_argument, NULL, 'f'},
        {"root", required_argument, NULL, 'r'},
        {"shims", required_argument, NULL, 's'},
        {0},
    };
    uint64_t fd = 0;
    int c;

    *ret_fd = -1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'f' && parse_u64(optarg, 0, 1 << 20, &fd) == 0)
            *ret_fd = (int)fd;
        else if (c == 'r' && optarg[0] == '/')
            config->root = optarg;
        else if (c == 's' && optarg[0] == '/')
            config->shims = optarg;
        else
            return -1;
    }
    return *ret_fd >= 0 && optind == argc ? 0 : -1;
}

// A directory for the spaces that only root can enter: the jails' root may show it.
static int make_spaces(const char *path, struct err *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "mkdir %s", path);
    return 0;
}

static int open_cgroups(const char *name, struct err *err)
{
    char note[160] = "";

    if (cgroup_root_open(NULL, name, &agent.cgroups, note, err) < 0)
        return err_wrap(err, "cgroups");
    if (cgroup_root_version(agent.cgroups) == CGROUP_NONE)
        log_warn("no control groups: %s", note);
    return 0;
}

static int serve(int fd, bool port, const char *cgroup_name, struct err *err)
{
    struct session *session = NULL;

    umask(0);
    signal(SIGPIPE, SIG_IGN);
    int rc = make_spaces(agent.config.spaces, err);
    if (rc == 0)
        rc = open_cgroups(cgroup_name, err);
    if (rc < 0)
        return -1;
    (void)jail_prepare(JAIL_SECCOMP_RUN);
    rc = loop_init(&agent.loop);
    if (rc == 0)
        rc = session_new(&agent, fd, port, &session);
    if (rc == 0)
        rc = loop_run(&agent.loop);
    session_free(session);
    envd_free(agent.envd);
    loop_release(&agent.loop);
    cgroup_root_close(agent.cgroups);
    return rc < 0 ? err_sys(err, rc, "serve") : 0;
}

_Noreturn static void main_vm(void)
{
    struct err err = ERR_INIT;
    int fd = -1;

    agent.config = (struct agent_config){.vm = true, .root = "/", .spaces = "/run/csb"};
    if (init_early(&err) == 0 && init_machine(&err) == 0 && init_leave(&err) == 0 &&
        init_open_port(&fd, &err) == 0) {
        log_info("ready");
        (void)serve(fd, true, "csb", &err);
    }
    init_fatal(&err);
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    char spaces[64], cgroup[64];
    int fd = -1;

    log_init("csb-agent", LOG_LEVEL_INFO);
    if (getpid() == 1)
        main_vm();
    if (parse_args(argc, argv, &agent.config, &fd) < 0)
        return usage();
    snprintf(spaces, sizeof(spaces), "/run/csb-agent.%d", (int)getpid());
    snprintf(cgroup, sizeof(cgroup), "csb-agent.%d", (int)getpid());
    agent.config.spaces = spaces;
    int rc = serve(fd, false, cgroup, &err);
    if (rc < 0)
        log_error("%s", err.message);
    rmdir(spaces);
    return rc < 0 ? 1 : 0;
}
