// SPDX-License-Identifier: Apache-2.0
//
// The message between codesandboxd and csb-launch, and the client side of it. The launcher holds
// the privileges; it accepts only this fixed-size message, validates every field, and builds the
// command lines and jails of VMMs and agents itself: the daemon cannot name a program, a path or an
// argument.
//
// Transport: one SOCK_SEQPACKET pair, descriptors by SCM_RIGHTS. Every request has one reply with
// its serial number; replies may come in another order.
#ifndef CSB_LAUNCH_LAUNCH_H
#define CSB_LAUNCH_LAUNCH_H

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

#define LAUNCH_MAGIC   0x6c425343u // "CSBl"
#define LAUNCH_VERSION 5
#define LAUNCH_VMS_MAX 1024

enum launch_op {
    LAUNCH_OP_HELLO = 1, // reply carries launch_info
    LAUNCH_OP_SPAWN,
    LAUNCH_OP_KILL,      // by id; idempotent; replies when the VMM or agent and all of its traces
                         // are gone, or with ERR_TIMEOUT when that takes seconds: it is then still
                         // being ended, and its id stays taken until it is
    LAUNCH_OP_PROBE_KVM, // times a small guest loop on /dev/kvm; about 700 ms where it is emulated,
                         // more only on a host too busy to start a process
    LAUNCH_OP_SPAWN_AGENT, // an agent in a jail on the host, see launch_agent_mode
    LAUNCH_OP_OPEN_MEMORY, // of a VMM by id: the reply has LAUNCH_MEMORY_FD_COUNT descriptors
    LAUNCH_OP_USAGE,       // of a VMM or agent by id: the reply carries launch_usage
};

enum launch_accel { LAUNCH_ACCEL_TCG = 1, LAUNCH_ACCEL_KVM };
enum launch_mode {
    LAUNCH_MODE_BOOT = 1, // boots; RAM shared with the memfd, to become a template
    LAUNCH_MODE_RESTORE,  // starts paused waiting for migrate-incoming; RAM mapped privately
};

enum launch_agent_mode {
    LAUNCH_AGENT_RUNS = 0, // serves the sessions it is given, a jail per program; `memory_mib`
                           // bounds all it runs, 0 not
    LAUNCH_AGENT_LASTING,  // is one long-lived sandbox, with one session and all limits
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

// Descriptors of a SPAWN_AGENT: the SOCK_SEQPACKET socket on which it is given its sessions, or of
// a lasting one the stream socket that is its session; and where it writes its messages.
enum launch_agent_fd { LAUNCH_AGENT_FD_CONTROL, LAUNCH_AGENT_FD_LOG, LAUNCH_AGENT_FD_COUNT };

// Descriptors of the reply to an OPEN_MEMORY, all read-only: the VMM's address space, what each
// page of it is (without physical addresses), and its mappings, as in proc(5). They tell nothing of
// any other process, and nothing once the VMM is gone.
enum launch_memory_fd {
    LAUNCH_MEMORY_FD_MEM,
    LAUNCH_MEMORY_FD_PAGEMAP,
    LAUNCH_MEMORY_FD_MAPS,
    LAUNCH_MEMORY_FD_COUNT
};

struct launch_request {
    uint32_t magic;
    uint32_t version;
    uint32_t op;
    uint32_t accel;
    uint32_t mode;
    uint32_t memory_mib; // SPAWN: 128..16384
    uint32_t cpus;       // SPAWN: 1..16
    uint32_t serial;     // chosen by the daemon; comes back with the reply
    uint64_t id;         // chosen by the daemon, unique while the VMM or agent lives
    // Of a lasting agent, 0 for others:
    uint32_t cpu_percent; // 1..1600; 100 is one processor
    uint32_t processes;   // 8..32768
    uint32_t disk_mib;    // 1..memory_mib: what it may write
    uint32_t reserved;    // 0
    // SPAWN and lasting agents: the root file system, by its id in the launcher's directory of
    // templates; 0: that of the image.
    uint64_t root;
};

enum launch_confinement {
    LAUNCH_CONFINED_UID = 1 << 0,  // a uid of its own
    LAUNCH_CONFINED_NET = 1 << 1,  // empty network namespace
    LAUNCH_CONFINED_ROOT = 1 << 2, // private root
    LAUNCH_CONFINED_SECCOMP = 1 << 3,
    LAUNCH_CONFINED_CGROUP = 1 << 4,
    LAUNCH_CONFINED_PID = 1 << 5,
    LAUNCH_CONFINED_USER = 1 << 6,     // a user namespace: no privilege in it is one on the host
    LAUNCH_CONFINED_RANGE = 1 << 7,    // ids of its own for every run: agents only
    LAUNCH_CONFINED_LANDLOCK = 1 << 8, // the kernel has Landlock: agents only
};

struct launch_info {
    uint32_t confinement;       // what every VMM gets on this host; 0: no VMM can be started
    uint32_t agent_confinement; // what every agent gets; 0: no agent can be started
    uint32_t cgroup_version;    // 0, 1, 2
    char qemu_version[64];
    char cgroup_note[160];
    char vmm_note[160];     // why VMMs cannot be started or have less than all, or ""
    char agent_note[160];   // the same of agents
    uint32_t lasting;       // 1: lasting agents can be started
    char lasting_note[160]; // why not, or ""
};

struct launch_kvm {
    uint32_t present;     // /dev/kvm opened and KVM_CREATE_VM worked
    uint32_t accelerated; // and the loop ran at hardware speed
    uint64_t loop_us;     // time of the loop, or of the attempt until it was cut off
    char note[160];
};

// Of all that is or was in the control group of a VMM or an agent. Where there are no groups it is
// 0: nothing else that the launcher could ask counts processes which left their parent.
struct launch_usage {
    uint64_t cpu_ns;
};

struct launch_reply {
    uint32_t magic;
    uint32_t version;
    uint32_t code; // enum err_code; 0 is success
    int32_t sys;
    uint32_t serial; // of the request; 0 where the request made no sense
    int32_t pid;     // of what was spawned, whose pidfd comes as descriptor; for messages only,
                     // never signalled by the daemon
    uint64_t id;
    char message[256];
    union {
        struct launch_info info;
        struct launch_kvm kvm;
        struct launch_usage usage;
    } u;
};

// Client. Thread-safe: requests of several threads are under way at the same time. When the
// launcher dies, calls fail with ERR_GONE until launch_client_replace() gave a new socket.
struct launch_client;
int launch_client_new(int sock, struct launch_client **ret, struct err *err); // takes sock
void launch_client_free(struct launch_client *c);
void launch_client_replace(struct launch_client *c, int sock); // takes sock
// Times the launcher was replaced; a VM spawned under an older generation is dead.
uint64_t launch_client_generation(struct launch_client *c);
// Called, by the thread of a call that fails, when a launcher that has not ended is given up
// because it does not answer or makes no sense: somebody should end it. Set before the first call.
void launch_client_on_stuck(struct launch_client *c, void (*fn)(void *arg), void *arg);

int launch_hello(struct launch_client *c, struct launch_info *ret, struct err *err);
// The same, but waits no longer than `deadline_ns`, at which it is ERR_TIMEOUT and nothing else
// happens.
int launch_hello_by(struct launch_client *c, uint64_t deadline_ns, struct launch_info *ret,
                    struct err *err);
int launch_probe_kvm(struct launch_client *c, struct launch_kvm *ret, struct err *err);

struct launch_vm {
    uint64_t id;
    uint32_t accel, mode, memory_mib, cpus;
    uint64_t root;            // id of a template's root file system, 0: the image's
    int fds[LAUNCH_FD_COUNT]; // borrowed
};
// *ret_pidfd becomes readable when the VMM ended; owned by the caller. Blocks up to 20 s.
int launch_spawn(struct launch_client *c, const struct launch_vm *vm, int *ret_pidfd,
                 struct err *err);

struct launch_agent {
    uint64_t id;
    uint32_t mode;                             // enum launch_agent_mode
    uint32_t memory_mib;                       // 0: no limit
    uint32_t cpu_percent, processes, disk_mib; // of a lasting one
    uint64_t root;                             // of a lasting one, as of a VMM
    int fds[LAUNCH_AGENT_FD_COUNT];            // borrowed
};
// As launch_spawn(). The pidfd becomes readable when the agent and all it ran are gone.
int launch_spawn_agent(struct launch_client *c, const struct launch_agent *agent, int *ret_pidfd,
                       struct err *err);

// Descriptors through which the memory of a running VMM can be read; owned by the caller. ERR_GONE
// when there is no such VMM.
int launch_open_memory(struct launch_client *c, uint64_t id, int ret_fds[LAUNCH_MEMORY_FD_COUNT],
                       struct err *err);

// ERR_GONE when there is no such VMM or agent any more.
int launch_usage(struct launch_client *c, uint64_t id, struct launch_usage *ret, struct err *err);

// Best effort; 0 also when the id is unknown or the launcher is gone (then its VMMs are too).
// ERR_TIMEOUT after some seconds: what was killed is still ending.
int launch_kill(struct launch_client *c, uint64_t id, struct err *err);

#endif
