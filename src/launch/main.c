// SPDX-License-Identifier: Apache-2.0
//
// csb-launch: starts and confines VMMs and agents for codesandboxd. Started by its supervisor with
// a SOCK_SEQPACKET socket. Each option is required, but for --templates and those of VMMs or those
// of agents, of which one group may be left out.
#include "launch/kvm_probe.h"
#include "launch/launch_server.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME         "csb-launch"
#define UID_BASE_MIN 1000
#define UID_BASE_MAX 2000000000u
#define NAME_MAX_LEN 40

enum option {
    OPT_FD,
    OPT_QEMU,
    OPT_KERNEL,
    OPT_INITRD,
    OPT_ROOTFS,
    OPT_AGENT,
    OPT_RUNTIMES,
    OPT_TREE,
    OPT_TEMPLATES,
    OPT_UID_BASE,
    OPT_CGROUP_NAME,
    OPT_RUN_DIR,
    OPT_LABEL,
    OPT_COUNT
};

// Options of a group are given all or not at all.
enum group { GROUP_NEEDED, GROUP_VMM, GROUP_AGENT, GROUP_OPTIONAL };

static const struct {
    const char *name;
    enum group group;
} options[OPT_COUNT] = {
    [OPT_FD] = {"--fd", GROUP_NEEDED},
    [OPT_QEMU] = {"--qemu", GROUP_VMM},
    [OPT_KERNEL] = {"--kernel", GROUP_VMM},
    [OPT_INITRD] = {"--initrd", GROUP_VMM},
    [OPT_ROOTFS] = {"--rootfs", GROUP_VMM},
    [OPT_AGENT] = {"--agent", GROUP_AGENT},
    [OPT_RUNTIMES] = {"--runtimes", GROUP_AGENT},
    [OPT_TREE] = {"--tree", GROUP_AGENT},
    [OPT_TEMPLATES] = {"--templates", GROUP_OPTIONAL},
    [OPT_UID_BASE] = {"--uid-base", GROUP_NEEDED},
    [OPT_CGROUP_NAME] = {"--cgroup-name", GROUP_NEEDED},
    [OPT_RUN_DIR] = {"--run-dir", GROUP_NEEDED},
    [OPT_LABEL] = {"--label", GROUP_NEEDED},
};

static int read_options(int argc, char **argv, const char *ret[OPT_COUNT], struct err *err)
{
    for (int i = 1; i < argc; i += 2) {
        int opt = 0;

        while (opt < OPT_COUNT && strcmp(argv[i], options[opt].name) != 0)
            opt++;
        if (opt == OPT_COUNT)
            return err_set(err, ERR_INVALID, "unknown option %.60s", argv[i]);
        if (i + 1 >= argc)
            return err_set(err, ERR_INVALID, "%s needs a value", argv[i]);
        ret[opt] = argv[i + 1];
    }
    if (ret[OPT_QEMU] == NULL && ret[OPT_AGENT] == NULL)
        return err_set(err, ERR_INVALID, "--qemu or --agent is missing");
    for (int opt = 0; opt < OPT_COUNT; opt++) {
        bool needed = options[opt].group == GROUP_NEEDED ||
                      ret[options[opt].group == GROUP_VMM ? OPT_QEMU : OPT_AGENT] != NULL;

        if (options[opt].group != GROUP_OPTIONAL && needed != (ret[opt] != NULL))
            return err_set(err, ERR_INVALID, "%s is %s", options[opt].name,
                           needed ? "missing" : "given alone");
    }
    return 0;
}

static int check_socket(int fd, struct err *err)
{
    int type = 0;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET)
        return err_set(err, ERR_INVALID, "descriptor %d is not a SOCK_SEQPACKET socket", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_sys(err, errno, "set up descriptor %d", fd);
    return 0;
}

// Fills the configuration; the QEMU path is resolved into `qemu`.
static int configure(const char *const v[OPT_COUNT], struct launch_config *c, char qemu[PATH_MAX],
                     struct err *err)
{
    uint64_t fd = 0;
    uint64_t uid_base = 0;

    if (parse_u64(v[OPT_FD], 3, 1023, &fd) < 0)
        return err_set(err, ERR_INVALID, "--fd: %.60s is not a descriptor", v[OPT_FD]);
    if (parse_u64(v[OPT_UID_BASE], UID_BASE_MIN, UID_BASE_MAX, &uid_base) < 0)
        return err_set(err, ERR_INVALID, "--uid-base: %.60s is out of range", v[OPT_UID_BASE]);
    if (!parse_is_name(v[OPT_CGROUP_NAME], NAME_MAX_LEN))
        return err_set(err, ERR_INVALID, "--cgroup-name: not a plain name");
    if (!parse_is_name(v[OPT_LABEL], NAME_MAX_LEN))
        return err_set(err, ERR_INVALID, "--label: not a plain name");
    if (v[OPT_QEMU] != NULL && realpath(v[OPT_QEMU], qemu) == NULL)
        return err_sys(err, errno, "QEMU_PATH: %.150s (Debian: qemu-system-x86)", v[OPT_QEMU]);
    *c = (struct launch_config){
        .sock = (int)fd,
        .qemu = v[OPT_QEMU] == NULL ? NULL : qemu,
        .kernel = v[OPT_KERNEL],
        .initrd = v[OPT_INITRD],
        .rootfs = v[OPT_ROOTFS],
        .agent = v[OPT_AGENT],
        .runtimes = v[OPT_RUNTIMES],
        .tree = v[OPT_TREE],
        .templates = v[OPT_TEMPLATES],
        .cgroup_name = v[OPT_CGROUP_NAME],
        .run_dir = v[OPT_RUN_DIR],
        .label = v[OPT_LABEL],
        .uid_base = (uid_t)uid_base,
    };
    return check_socket(c->sock, err);
}

// Every jail has a copy of this process as its PID 1, whose command line is for all in the jail to
// read. So the arguments live on elsewhere, and only the name stays.
static void hide_arguments(int argc, char **argv)
{
    char *line = argv[0];
    size_t size = (size_t)(argv[argc - 1] - line) + strlen(argv[argc - 1]);

    for (int i = 0; i < argc; i++) {
        argv[i] = strdup(argv[i]);
        if (argv[i] == NULL)
            abort();
    }
    memset(line, 0, size);
    (void)snprintf(line, size, "%s", NAME);
}

// Nor is what the service's environment holds, its secrets among it, for any jail.
static void hide_environment(void)
{
    for (char **variable = environ; *variable != NULL; variable++)
        explicit_bzero(*variable, strlen(*variable));
    (void)clearenv();
}

// What the service has because it serves is not for what runs in it. A unit may spare the service
// when memory runs out (OOMScoreAdjust=): jails would inherit that, and could go back to it unless
// root says otherwise. And signals that wait in a jail count for our user as well, up to our own
// limit when the jail is made: half of it stays the host's.
static void give_up_favours(void)
{
    static const char path[] = "/proc/self/oom_score_adj";
    _cleanup_free_ char *now = NULL;
    struct rlimit l;

    if (fd_read_file(AT_FDCWD, path, 64, &now, NULL) == 0 && now[0] == '-')
        (void)fd_write_file(AT_FDCWD, path, "0"); // upwards everybody may
    if (getrlimit(RLIMIT_SIGPENDING, &l) == 0) {
        l.rlim_cur = l.rlim_max / 2;
        (void)setrlimit(RLIMIT_SIGPENDING, &l);
    }
}

int main(int argc, char **argv)
{
    const char *values[OPT_COUNT] = {NULL};
    char qemu[PATH_MAX];
    struct launch_config config;
    struct err err = ERR_INIT;

    if (argc == 2 && strcmp(argv[1], KVM_PROBE_MODE) == 0)
        return kvm_probe_main();
    hide_arguments(argc, argv);
    log_init(NAME, LOG_LEVEL_INFO);
    if (getenv("LOG_FORMAT") != NULL && strcmp(getenv("LOG_FORMAT"), "json") == 0)
        log_set_format(LOG_FORMAT_JSON);
    hide_environment();
    (void)umask(077);
    give_up_favours();
    // Ends in order when the supervisor is gone, whoever else may hold the socket's other end.
    if (prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0) < 0)
        log_warn("no parent death signal: %s", strerror(errno));
    if (read_options(argc, argv, values, &err) < 0 || configure(values, &config, qemu, &err) < 0 ||
        launch_serve(&config, &err) < 0) {
        log_error("%s", err.message);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
