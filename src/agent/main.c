// SPDX-License-Identifier: Apache-2.0
//
// csb-agent: runs programs for the daemon (agent/agent.h says how). As PID 1 of a virtual machine
// it is the init of one and serves on a virtio port; otherwise
//
//   csb-agent --serve N [--root DIR] [--shims DIR] [--spaces DIR]
//   csb-agent --fd N [--envd] [...]
//
// serves the sessions that come over the inherited socket N (agent/control.h), or the one session
// on the inherited stream socket N, until the peer closes it. N is 3 or more. With --envd what the
// agent sees is one long-lived sandbox, as a virtual machine may be: programs run in it as the
// agent's own users, without jails. --version says which program this is.
#include "agent/agent.h"
#include "agent/control.h"
#include "agent/envd/envd.h"
#include "agent/init.h"
#include "agent/session.h"
#include "agent/zygote.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/proc.h"
#include "jail/jail.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_KEPT 32
#define DRAIN_MS    3000 // for the jails that are left at the end

static struct agent agent;

struct command {
    int fd;
    enum { COMMAND_PORT, COMMAND_FD, COMMAND_SERVE } kind;
};

static int usage(void)
{
    fputs("usage: csb-agent --serve N|--fd N [--root DIR] [--shims DIR] [--spaces DIR]\n"
          "       csb-agent --fd N --envd [...]\n",
          stderr);
    return 2;
}

static int parse_args(int argc, char **argv, struct agent_config *config, struct command *ret)
{
    static const struct option options[] = {
        {"fd", required_argument, NULL, 'f'},
        {"serve", required_argument, NULL, 'S'},
        {"root", required_argument, NULL, 'r'},
        {"shims", required_argument, NULL, 's'},
        {"spaces", required_argument, NULL, 'd'},
        {"envd", no_argument, NULL, 'e'},
        {0},
    };
    uint64_t fd = 0;
    int c;

    ret->fd = -1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if ((c == 'f' || c == 'S') && ret->fd < 0 && parse_u64(optarg, 3, 1 << 20, &fd) == 0) {
            ret->fd = (int)fd;
            ret->kind = c == 'f' ? COMMAND_FD : COMMAND_SERVE;
        } else if (c == 'r' && optarg[0] == '/')
            config->root = optarg;
        else if (c == 's' && optarg[0] == '/')
            config->shims = optarg;
        else if (c == 'd' && optarg[0] == '/')
            config->spaces = optarg;
        else if (c == 'e')
            config->envd = true;
        else
            return -1;
    }
    // The sessions of --serve are of many sandboxes.
    if (config->envd && ret->kind != COMMAND_FD)
        return -1;
    return ret->fd >= 0 && optind == argc ? 0 : -1;
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
    // In a virtual machine few groups are made; where many runs follow each other, they share them.
    if (!agent.config.vm)
        cgroup_root_reuse(agent.cgroups, GROUPS_KEPT);
    return 0;
}

// A jail costs a dozen descriptors.
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); // what cannot be raised stays as it is
}

// Zygotes live in the agent's root and directory, and make their forks' of it.
static bool enter_work_dir(void)
{
    const char *root = agent.config.root;

    return !agent.config.vm && (root == NULL || strcmp(root, "/") == 0) &&
           chdir(AGENT_WORK_DIR) == 0;
}

// In a virtual machine runs have the kernel make theirs; in a sandbox of its own there are none.
static bool makes_networks(void)
{
    return !agent.config.vm && !agent.config.envd;
}

static int set_up(const char *cgroup_name, struct err *err)
{
    struct err net_err = ERR_INIT;

    umask(0);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    if (make_spaces(agent.config.spaces, err) < 0 || open_cgroups(cgroup_name, err) < 0)
        return -1;
    agent.can_zygote = enter_work_dir();
    (void)jail_prepare(agent.config.jailed ? JAIL_SECCOMP_SESSION : JAIL_SECCOMP_RUN);
    agent.cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    slots_init(&agent.slots, agent.config.vm, AGENT_UID);
    if (makes_networks() && netns_pool_init(&agent.netns, &net_err) < 0)
        log_warn("every jail makes its own network: %s", net_err.message);
    graveyard_init(&agent.graveyard, &agent.loop, &agent.slots, &agent.netns);
    agent.loop.after = sessions_flush;
    agent.loop.after_arg = &agent;
    return 0;
}

static void tear_down(struct control *control)
{
    control_release(control);
    sessions_close(&agent);
    envd_free(agent.envd);
    zygotes_free(&agent);
    if (!graveyard_drain(&agent.graveyard, DRAIN_MS))
        log_warn("%zu jails are not gone yet", agent.graveyard.count);
    if (makes_networks())
        netns_pool_release(&agent.netns);
    loop_release(&agent.loop);
    cgroup_root_close(agent.cgroups);
}

static int serve(const struct command *command, const char *cgroup_name, struct err *err)
{
    struct control control = {0};
    int rc = loop_init(&agent.loop);

    if (rc < 0)
        return err_sys(err, rc, "serve");
    if (set_up(cgroup_name, err) < 0)
        return -1;
    if (command->kind == COMMAND_SERVE)
        rc = control_init(&control, &agent, command->fd);
    else
        rc = session_open(&agent, command->fd,
                          command->kind == COMMAND_PORT ? SESSION_WAITS : SESSION_STOPS);
    if (rc == 0)
        rc = loop_run(&agent.loop);
    tear_down(&control);
    return rc < 0 ? err_sys(err, rc, "serve") : 0;
}

_Noreturn static void main_vm(void)
{
    struct err err = ERR_INIT;
    struct command command = {.fd = -1, .kind = COMMAND_PORT};

    agent.config =
        (struct agent_config){.vm = true, .envd = true, .root = "/", .spaces = "/run/csb"};
    if (init_early(&err) == 0 && init_machine(&err) == 0 && init_leave(&err) == 0 &&
        init_open_port(&command.fd, &err) == 0) {
        log_info("ready");
        (void)serve(&command, "csb", &err);
    }
    init_fatal(&err);
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    struct command command;
    char spaces[64], cgroup[64];

    log_init("csb-agent", LOG_LEVEL_INFO);
    // The first process of a container is told what to do by options. To that of a virtual machine
    // the kernel passes the words of its command line that it did not know itself.
    if (getpid() == 1 && (argc == 1 || argv[1][0] != '-'))
        main_vm();
    snprintf(spaces, sizeof(spaces), "/run/csb-agent.%d", (int)getpid());
    snprintf(cgroup, sizeof(cgroup), "csb-agent.%d", (int)getpid());
    agent.config.spaces = spaces;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("csb-agent " CSB_VERSION);
        return 0;
    }
    if (parse_args(argc, argv, &agent.config, &command) < 0)
        return usage();
    // Only a jail sets this for it.
    agent.config.jailed = agent.config.envd && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    if (agent.config.envd && getpid() == 1 && proc_leave_init() != 0)
        return 1;
    int rc = serve(&command, cgroup, &err);
    if (rc < 0)
        log_error("%s", err.message);
    rmdir(agent.config.spaces);
    return rc < 0 ? 1 : 0;
}
