// SPDX-License-Identifier: Apache-2.0
#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Stage 1. Should: empty the bounding set while CAP_SETPCAP is there. Mustn't: fail where a
// container took that capability away; stage 3 makes it of no use.
static void drop_bounding(void)
{
    for (unsigned long cap = 0; cap <= 63; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

// Stage 2. Should: change all ids at once, groups first. Mustn't: leave a saved id behind.
static int change_ids(uid_t uid, gid_t gid, struct err *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return err_sys(err, errno, "cannot become uid %u (see UID_BASE)", (unsigned)uid);
    return 0;
}

// Stage 3. Should: empty every capability set. Mustn't: trust that the change of ids did it.
static int drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2];

    memset(none, 0, sizeof(none));
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) < 0)
        return err_sys(err, errno, "cannot drop capabilities");
    return 0;
}

// Stage 4. Should: find out. Mustn't: go on when anything is left.
static int verify(uid_t uid, gid_t gid, struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    uid_t u[3];
    gid_t g[3];

    if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0 ||
        syscall(SYS_capget, &header, caps) < 0)
        return err_sys(err, errno, "cannot read back the credentials");
    for (int i = 0; i < 3; i++)
        if (u[i] != uid || g[i] != gid)
            return err_set(err, ERR_INTERNAL, "the ids did not change as asked");
    for (int i = 0; i < 2; i++)
        if (caps[i].effective != 0 || caps[i].permitted != 0 || caps[i].inheritable != 0)
            return err_set(err, ERR_INTERNAL, "capabilities are left after dropping them");
    if (getgroups(0, NULL) != 0 || setuid(0) == 0)
        return err_set(err, ERR_INTERNAL, "privileges are left after dropping them");
    return 0;
}

int privileges_drop(uint32_t id, struct err *err)
{
    if (geteuid() == 0) {
        drop_bounding();
        if (change_ids(id, id, err) < 0 || drop_capabilities(err) < 0 || verify(id, id, err) < 0)
            return -1;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "cannot set no_new_privs");
    return 0;
}

int privileges_die_with(int parent, struct err *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return err_sys(err, errno, "cannot tie this process to its parent");
    if (getppid() != parent)
        return err_set(err, ERR_GONE, "the supervisor is gone");
    return 0;
}

void privileges_raise_files(uint64_t want)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    if (limit.rlim_max < want && geteuid() == 0)
        limit.rlim_max = want;
    limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
    (void)setrlimit(RLIMIT_NOFILE, &limit); // the old limit also works, for fewer connections
}
