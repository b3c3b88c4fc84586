// SPDX-License-Identifier: Apache-2.0
//
// Jail plans as text: every field survives the way there and back, and what is not in the form is
// refused with its line.
#include "jail/plan_text.h"
#include "tap.h"

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

static const char *const procs[] = {"/cg/memory/a/cgroup.procs", "/cg/pids/a/cgroup.procs", NULL};
static const char *const args[] = {"/bin/sh", "-c", "", "echo 50% \xc3\xa4\n\"\x7f\"", NULL};
static const char *const env[] = {"A=1", "B=two words", "C=", NULL};
static const gid_t groups[] = {4, 5000000};
static const struct jail_id_map maps[] = {{0, 100000, 65536}, {70000, 4000000000u, 1}};
static const struct jail_rlimit limits[] = {{RLIMIT_CORE, 0}, {RLIMIT_NOFILE, RLIM_INFINITY}};
static const struct jail_fd fds[] = {{17, 0}, {18, 1}, {18, 2}};
static const struct jail_mount mounts[] = {
    {.kind = JAIL_MOUNT_BIND,
     .source = "/a b",
     .target = "/u%",
     .fd = -1,
     .read_only = 1,
     .exec = 1,
     .dev = 1,
     .optional = 1},
    {.kind = JAIL_MOUNT_TMPFS,
     .target = "/t",
     .fd = -1,
     .size_bytes = 1ull << 40,
     .inodes = 7,
     .mode = 01777},
    {.kind = JAIL_MOUNT_PROC, .target = "/proc", .fd = -1, .unmasked = 1},
    {.kind = JAIL_MOUNT_SCRATCH, .source = "w", .target = "/w", .fd = -1},
    {.kind = JAIL_MOUNT_CGROUP2, .target = "/cg", .fd = -1},
};

static struct jail_plan full_plan(void)
{
    struct jail_plan p = JAIL_PLAN_INIT;

    p.ns = JAIL_NS_USER | JAIL_NS_PID | JAIL_NS_MOUNT | JAIL_NS_IPC | JAIL_NS_UTS | JAIL_NS_CGROUP;
    p.root = "/image/rootfs";
    p.mounts = mounts;
    p.mount_count = sizeof(mounts) / sizeof(mounts[0]);
    p.scratch_bytes = 4096;
    p.scratch_inodes = 10;
    p.uid = 1;
    p.gid = UINT32_MAX - 1;
    p.groups = groups;
    p.group_count = 2;
    p.uid_map = p.gid_map = maps;
    p.uid_map_count = p.gid_map_count = 2;
    p.keep_caps = 0x80000000002011ebull;
    p.cgroup_fd = 20;
    p.cgroup_v1_procs = procs;
    p.net_fd = 17;
    p.hostname = "h";
    p.cwd = "/w";
    p.rlimits = limits;
    p.rlimit_count = 2;
    p.fds = fds;
    p.fd_count = 3;
    p.seccomp = JAIL_SECCOMP_AGENT;
    p.landlock = p.no_new_privs = p.die_with_parent = p.new_session = 1;
    p.want_scratch_fd = p.loopback_up = 1;
    p.argv = args;
    p.envp = env;
    return p;
}

static const char expected[] =
    "jail-plan 1\n"
    "ns user pid mount ipc uts cgroup\n"
    "root /image/rootfs\n"
    "mount bind /u%25 source=/a%20b read_only exec dev optional\n"
    "mount tmpfs /t size=1099511627776 inodes=7 mode=1777\n"
    "mount proc /proc unmasked\n"
    "mount scratch /w source=w\n"
    "mount cgroup2 /cg\n"
    "scratch 4096 10\n"
    "user 1 4294967294\n"
    "groups 4 5000000\n"
    "uid_map 0 100000 65536\n"
    "uid_map 70000 4000000000 1\n"
    "gid_map 0 100000 65536\n"
    "gid_map 70000 4000000000 1\n"
    "keep_caps 80000000002011eb\n"
    "cgroup_fd 0\n"
    "cgroup_procs /cg/memory/a/cgroup.procs\n"
    "cgroup_procs /cg/pids/a/cgroup.procs\n"
    "net_fd 1\n"
    "hostname h\n"
    "cwd /w\n"
    "rlimit core 0\n"
    "rlimit nofile unlimited\n"
    "fd 0 1\n"
    "fd 1 2\n"
    "fd 2 2\n"
    "seccomp agent\n"
    "set landlock no_new_privs die_with_parent new_session want_scratch_fd loopback_up\n"
    "arg /bin/sh\n"
    "arg -c\n"
    "arg \n"
    "arg echo%2050%25%20\xc3\xa4%0A\"%7F\"\n"
    "env A=1\n"
    "env B=two%20words\n"
    "env C=\n";

static void test_round_trip(void)
{
    const struct jail_plan p = full_plan();
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_buf_ struct buf again = BUF_INIT;
    struct jail_plan_owned *read = NULL;
    struct err err = ERR_INIT;
    int used[JAIL_PLAN_FDS_MAX];
    int used_again[JAIL_PLAN_FDS_MAX];
    size_t count = JAIL_PLAN_FDS_MAX;
    size_t count_again = JAIL_PLAN_FDS_MAX;

    CHECK_INT(jail_plan_write(&p, &text, used, &count, &err), 0);
    CHECK_STR(buf_cstr(&text), expected);
    CHECK(count == 3 && used[0] == 20 && used[1] == 17 && used[2] == 18);
    if (!CHECK_MSG(jail_plan_read(expected, sizeof(expected) - 1, used, count, &read, &err) == 0,
                   "reads: %s", err.message))
        return;
    CHECK(read->plan.fds[2].fd == 18 && read->plan.net_fd == 17 && read->plan.cgroup_fd == 20);
    CHECK_STR(read->plan.argv[3], args[3]);
    CHECK(read->plan.rlimits[1].value == RLIM_INFINITY);
    CHECK_INT(jail_plan_write(&read->plan, &again, used_again, &count_again, &err), 0);
    CHECK_STR(buf_cstr(&again), expected);
    jail_plan_free(read);
}

// As much memory as it takes, and not one byte beyond.
static void test_in_memory(void)
{
    static _Alignas(max_align_t) char memory[16384 + 1];
    const int given[] = {20, 17, 18};
    const struct jail_plan_text from = {expected, sizeof(expected) - 1, given, 3};
    _cleanup_buf_ struct buf again = BUF_INIT;
    struct jail_plan *plan = NULL;
    struct err err = ERR_INIT;
    int used[JAIL_PLAN_FDS_MAX];
    size_t count = JAIL_PLAN_FDS_MAX;
    size_t size = 0;

    memset(memory, 'x', sizeof(memory));
    while (size < sizeof(memory) && jail_plan_read_in(memory, size, &from, &plan, &err) < 0 &&
           err.code == ERR_TOO_LARGE)
        size++;
    if (!CHECK_MSG(plan != NULL, "reads into %zu bytes: %s", size, err.message))
        return;
    CHECK(memory[size - 1] == '\0' && memory[size] == 'x');
    CHECK_INT(jail_plan_write(plan, &again, used, &count, &err), 0);
    CHECK_STR(buf_cstr(&again), expected);
}

static void test_limits(void)
{
    struct jail_plan p = full_plan();
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_buf_ struct buf small = BUF_CAPPED(100);
    struct err err = ERR_INIT;
    int used[JAIL_PLAN_FDS_MAX];
    size_t count = 2;

    CHECK(jail_plan_write(&p, &text, used, &count, &err) < 0 && err.code == ERR_TOO_LARGE);
    count = JAIL_PLAN_FDS_MAX;
    CHECK(jail_plan_write(&p, &small, used, &count, &err) < 0 && err.code == ERR_TOO_LARGE);
}

// A text of the head and one more line.
static void refuse(const char *line, const char *why)
{
    const int given[] = {10, 11};
    struct jail_plan_owned *read = NULL;
    struct err err = ERR_INIT;
    char text[512];
    int n = snprintf(text, sizeof(text), "jail-plan 1\nns pid mount\n%s", line);

    if (jail_plan_read(text, (size_t)n, given, 2, &read, &err) == 0) {
        jail_plan_free(read);
        tap_ok(false, "refuses %.*s", (int)strcspn(line, "\n"), line);
        return;
    }
    CHECK_MSG(strstr(err.message, why) != NULL, "refuses %.*s with \"%s\": %s",
              (int)strcspn(line, "\n"), line, why, err.message);
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "x\n",
        "root\n",
        "root a\n",
        "root /a /b\n",
        "root /a%\n",
        "root /%4\n",
        "root /%00\n",
        "root /%6a\n",
        "root /a\t\n",
        "user 1\n",
        "user 1 x\n",
        "user -1 1\n",
        "user 1 4294967296\n",
        "fd 0 2\n",
        "fd 1024 0\n",
        "fd 0 \n",
        "net_fd 2\n",
        "rlimit x 1\n",
        "rlimit core -1\n",
        "seccomp x\n",
        "set x\n",
        "set\tlandlock\n",
        "env A\n",
        "keep_caps A\n",
        "ns x\n",
        "ns pid\n",
        "mount x /a\n",
        "mount bind\n",
        "mount tmpfs /a x\n",
        "cwd a\n",
        "mount tmpfs /a mode=8\n",
        "mount tmpfs /a mode=17777\n",
        "\n",
        "cwd /a",
        "mount tmpfs /a size=\n",
        "cgroup_procs x\n",
        "keep_caps 12345678123456781\n",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(bad[i], "line 3: not understood");
    refuse("cwd /a\ncwd /a\n", "line 4: not understood");
    refuse("mount tmpfs a\n", "no usable target");
    refuse("mount tmpfs /a/../b\n", "no usable target");
    refuse("mount tmpfs /\n", "no usable target");
    refuse("mount bind /a\n", "has no source");
    refuse("mount bind_fd /a\n", "has no descriptor");
    refuse("mount scratch /a source=x\n", "needs a scratch size");
    refuse("mount cgroup2 /a\n", "needs a cgroup namespace");
    refuse("keep_caps 1\n", "need a user namespace");
    refuse("uid_map 0 1 1\ngid_map 0 1 1\n", "need a user namespace");
    refuse("uid_map 0 1 1\n", "maps only one");
    refuse("identity 1 1\n", "needs /proc");
    refuse("seccomp run\n", "needs no_new_privs");
    refuse("fd 1 0\nfd 1 1\n", "given twice");
}

static void test_sizes(void)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct jail_plan_owned *read = NULL;
    struct err err = ERR_INIT;

    (void)buf_appendf(&text, "jail-plan 1\nns pid mount\n");
    for (int i = 0; i < JAIL_MOUNTS_MAX + 1; i++)
        (void)buf_appendf(&text, "mount tmpfs /m%d\n", i);
    CHECK(jail_plan_read((char *)text.data, text.len, NULL, 0, &read, &err) < 0 &&
          err.code == ERR_TOO_LARGE);
    while (text.len <= JAIL_PLAN_TEXT_MAX)
        (void)buf_appendf(&text, "env A=%0999d\n", 1);
    CHECK(jail_plan_read((char *)text.data, text.len, NULL, 0, &read, &err) < 0 &&
          err.code == ERR_TOO_LARGE);
    CHECK(jail_plan_read("", 0, NULL, 0, &read, &err) < 0 && err.code == ERR_INVALID);
    CHECK(jail_plan_read("jail-plan 1\n\0", 13, NULL, 0, &read, &err) < 0);
    CHECK(jail_plan_read("jail-plan 2\n", 12, NULL, 0, &read, &err) < 0);
}

int main(void)
{
    test_round_trip();
    test_in_memory();
    test_limits();
    test_refused();
    test_sizes();
    return tap_done();
}
