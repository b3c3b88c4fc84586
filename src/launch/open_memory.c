// SPDX-License-Identifier: Apache-2.0
//
// What may be read through these files is decided when they are opened, by the opener's privileges:
// that the daemon may see this one process, and that it may not see where in the machine its pages
// are, which the kernel shows to whoever has CAP_SYS_ADMIN.
#include "launch/open_memory.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int get_caps(struct __user_cap_data_struct ret[_LINUX_CAPABILITY_U32S_3])
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &head, ret) < 0 ? -errno : 0;
}

static int set_caps(const struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3])
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capset, &head, caps) < 0 ? -errno : 0;
}

static int open_all(pid_t pid, int ret_fds[LAUNCH_MEMORY_FD_COUNT])
{
    static const char *const names[LAUNCH_MEMORY_FD_COUNT] = {
        [LAUNCH_MEMORY_FD_MEM] = "mem",
        [LAUNCH_MEMORY_FD_PAGEMAP] = "pagemap",
        [LAUNCH_MEMORY_FD_MAPS] = "maps",
    };

    for (int i = 0; i < LAUNCH_MEMORY_FD_COUNT; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, names[i]);
        ret_fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (ret_fds[i] < 0) {
            int r = -errno;

            while (i > 0)
                fd_close(&ret_fds[--i]);
            return r;
        }
    }
    return 0;
}

int open_memory(pid_t pid, int ret_fds[LAUNCH_MEMORY_FD_COUNT])
{
    struct __user_cap_data_struct own[_LINUX_CAPABILITY_U32S_3];
    struct __user_cap_data_struct less[_LINUX_CAPABILITY_U32S_3];
    int opened, r = get_caps(own);

    if (r < 0)
        return r;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        less[i] = own[i];
    less[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
    r = set_caps(less);
    if (r < 0)
        return r;
    opened = open_all(pid, ret_fds);
    r = set_caps(own);
    if (r < 0 && opened == 0)
        for (int i = 0; i < LAUNCH_MEMORY_FD_COUNT; i++)
            fd_close(&ret_fds[i]);
    return r < 0 ? r : opened;
}
