// SPDX-License-Identifier: Apache-2.0
//
// The command line of QEMU. Pure: numbers in, strings out. Everything it opens comes as a
// descriptor of a fixed number.
#ifndef CSB_LAUNCH_QEMU_ARGV_H
#define CSB_LAUNCH_QEMU_ARGV_H

#include <stddef.h>
#include <stdint.h>

#define QEMU_ARGS_MAX 64
#define QEMU_TEXT_MAX 4096

// Numbers of the descriptors inside QEMU. 13 is LAUNCH_QEMU_STATE_FD.
enum qemu_fd {
    QEMU_FD_CHANNEL = 10,
    QEMU_FD_QMP = 11,
    QEMU_FD_RAM = 12,
    QEMU_FD_STATE = 13,
    QEMU_FD_ROOTFS = 14,
    QEMU_FD_KERNEL = 15, // BOOT only
    QEMU_FD_INITRD = 16, // BOOT only
};

struct qemu_machine {
    const char *path; // of the program, inside the jail; borrowed by the result
    const char *name; // [A-Za-z0-9._-], for process lists; borrowed by the result
    uint32_t accel;   // enum launch_accel
    uint32_t mode;    // enum launch_mode
    uint32_t memory_mib;
    uint32_t cpus;
    uint64_t tsc_khz; // of the host; 0: unknown
};

struct qemu_argv {
    const char *argv[QEMU_ARGS_MAX]; // NULL-terminated; points into this struct and the machine
    size_t count;
    char text[QEMU_TEXT_MAX];
    size_t used;
};

// 0, or -E2BIG when it does not fit (a bug). The result must not be moved.
int qemu_argv_build(const struct qemu_machine *m, struct qemu_argv *ret);

#endif
