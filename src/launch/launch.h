// SPDX-License-Identifier: Apache-2.0
//
// The message between codesandboxd and csb-launch, and the client side of it. The launcher holds
// the privileges; it accepts only this fixed-size message, validates every field, and builds the
// VMM's command line and jail itself: the daemon cannot name a program, a path or an argument.
//
// Transport: one SOCK_SEQPACKET pair, one request then one reply, descriptors by SCM_RIGHTS.
#ifndef CSB_LAUNCH_LAUNCH_H
#define CSB_LAUNCH_LAUNCH_H

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

#define LAUNCH_MAGIC   0x6c425343u // "CSBl"
#define LAUNCH_VERSION 1
#define LAUNCH_VMS_MAX 1024

enum launch_op {
    LAUNCH_OP_HELLO = 1, // reply carries launch_info
    LAUNCH_OP_SPAWN,
    LAUNCH_OP_KILL,      // by id; idempotent; replies when the VMM and all of its traces are gone
    LAUNCH_OP_PROBE_KVM, // times a small guest loop on /dev/kvm; about 700 ms where it is emulated,
                         // more only on a host too busy to start a process
};

enum launch_accel { LAUNCH_ACCEL_TCG = 1, LAUNCH_ACCEL_KVM };
enum launch_mode {
    LAUNCH_MODE_BOOT = 1, // boots; RAM shared with the memfd, to become a template
    LAUNCH_MODE_RESTORE,  // starts paused waiting for migrate-incoming; RAM mapped privately
};

// Descriptors of a SPAWN, in this order. STATE is written by QMP `migrate fd:` when booting a
// template, and read by `migrate-incoming fd:` when restoring; in QEMU it has the number
// LAUNCH_QEMU_STATE_FD.
enum launch_fd {
    LAUNCH_FD_CHANNEL,
    LAUNCH_FD_QMP,
    LAUNCH_FD_RAM,
    LAUNCH_FD_STATE,
    LAUNCH_FD_LOG,
    LAUNCH_FD_COUNT
};
#define LAUNCH_QEMU_STATE_FD 13

struct launch_request {
    uint32_t magic;
    uint32_t version;
    uint32_t op;
    uint32_t accel;
    uint32_t mode;
    uint32_t memory_mib; // 128..16384
    uint32_t cpus;       // 1..16
    uint32_t reserved;   // 0
    uint64_t id;         // chosen by the daemon, unique while the VM lives
};

enum launch_confinement {
    LAUNCH_CONFINED_UID = 1 << 0,  // a uid of its own
    LAUNCH_CONFINED_NET = 1 << 1,  // empty network namespace
    LAUNCH_CONFINED_ROOT = 1 << 2, // private root
    LAUNCH_CONFINED_SECCOMP = 1 << 3,
    LAUNCH_CONFINED_CGROUP = 1 << 4,
    LAUNCH_CONFINED_PID = 1 << 5,
};

struct launch_info {
    uint32_t confinement;    // what every VMM gets on this host
    uint32_t cgroup_version; // 0, 1, 2
    char qemu_version[64];
    char cgroup_note[160];
};

struct launch_kvm {
    uint32_t present;     // /dev/kvm opened and KVM_CREATE_VM worked
    uint32_t accelerated; // and the loop ran at hardware speed
    uint64_t loop_us;     // time of the loop, or of the attempt until it was cut off
    char note[160];
};

struct launch_reply {
    uint32_t magic;
    uint32_t version;
    uint32_t code; // enum err_code; 0 is success
    int32_t sys;
    uint64_t id;
    int32_t
        pid; // SPAWN; for messages only, never signalled by the daemon. A pidfd comes as descriptor
    char message[256];
    union {
        struct launch_info info;
        struct launch_kvm kvm;
    } u;
};

// Client. Thread-safe: one exchange at a time under a lock. When the launcher dies, calls fail with
// ERR_GONE until launch_client_replace() gave a new socket.
struct launch_client;
int launch_client_new(int sock, struct launch_client **ret, struct err *err); // takes sock
void launch_client_free(struct launch_client *c);
void launch_client_replace(struct launch_client *c, int sock); // takes sock
// Times the launcher was replaced; a VM spawned under an older generation is dead.
uint64_t launch_client_generation(struct launch_client *c);

int launch_hello(struct launch_client *c, struct launch_info *ret, struct err *err);
int launch_probe_kvm(struct launch_client *c, struct launch_kvm *ret, struct err *err);

struct launch_vm {
    uint64_t id;
    uint32_t accel, mode, memory_mib, cpus;
    int fds[LAUNCH_FD_COUNT]; // borrowed
};
// *ret_pidfd becomes readable when the VMM ended; owned by the caller. Blocks up to 20 s.
int launch_spawn(struct launch_client *c, const struct launch_vm *vm, int *ret_pidfd,
                 struct err *err);
// Best effort; 0 also when the id is unknown or the launcher is gone (then its VMMs are too).
int launch_kill(struct launch_client *c, uint64_t id, struct err *err);

#endif
