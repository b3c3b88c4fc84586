// SPDX-License-Identifier: Apache-2.0
//
// Where agents live. A driver turns a description of a machine into a template (booted once,
// warmed, frozen) and templates into sandboxes; each sandbox is one agent behind one byte stream.
// The drivers are const tables of functions; all pass tests/vm/test_driver.c. Read fake.c first.
//
// Life of a sandbox: clone -> [channel] -> destroy. With the capabilities: pause <-> resume,
// snapshot, fork.
//
// Threads: any thread may call any function, but calls on one sandbox are not made at the same
// time, except destroy(), which may cut short a call that blocks. Deadlines are CLOCK_MONOTONIC ns.
#ifndef CSB_DRIVER_DRIVER_H
#define CSB_DRIVER_DRIVER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct driver;
struct driver_template;
struct driver_sandbox;
struct launch_client;

enum driver_cap {
    DRIVER_CAP_TEMPLATE_DISK = 1 << 0, // templates outlive the process
    DRIVER_CAP_PAUSE = 1 << 1,
    DRIVER_CAP_SNAPSHOT = 1 << 2,
    DRIVER_CAP_FORK = 1 << 3,
    DRIVER_CAP_SHARED = 1 << 4, // sandboxes share one kernel and one agent, and die with it
};

#define DRIVER_TREE_KEY ".csb-tree-key" // file in a root tree that says what it was built from

struct driver_config {
    int state_dir_fd;             // for templates; borrowed for the driver's life
    struct launch_client *launch; // borrowed; NULL for fake
    // qemu:
    const char *kernel_path;
    const char *initrd_path;
    const char *rootfs_path;
    const char *accel; // "auto", "kvm", "tcg"
    // process:
    const char *tree_path;     // the root tree
    const char *agent_path;    // the program csb-agent
    const char *runtimes_path; // the table, with the shims' directories
    uint32_t agent_memory_mib; // for all programs together; 0: no limit
};

struct driver_probe {
    bool usable;
    char isolation[16]; // "microvm", "process", "fake"
    char accel[16];     // "kvm", "tcg", "none"
    char note[240];     // one sentence: what was found and what it costs
};

struct driver_shape {
    uint32_t memory_mib; // 128..16384
    uint32_t cpus;       // 1..16
};

struct driver_usage {
    uint64_t private_bytes; // host memory only this sandbox holds; 0 where the host does not tell
    uint64_t cpu_ns;        // host CPU time so far, in steps of the kernel's clock tick; 0 likewise
};

// Called by build_template with the booted agent's stream (owned by the callee) to warm it up. The
// callee must have closed the stream when it returns, and keeps its own deadline. 0, or -1 with
// *err to give the template up.
typedef int (*driver_warm_fn)(void *arg, int channel_fd, struct err *err);

struct driver_template_spec {
    struct driver_shape shape;
    const char *seed; // what else made the template (runtime table...), mixed into its key
    driver_warm_fn warm;
    void *warm_arg;
    bool rebuild; // ignore what is on disk
};

struct driver_ops {
    const char *name; // "fake", "qemu", "process"
    uint32_t caps;    // enum driver_cap bits

    // Can this host do it? Always answers; never fails. Blocks up to a second.
    void (*probe)(const struct driver_config *config, struct driver_probe *ret);

    int (*open)(const struct driver_config *config, struct driver **ret, struct err *err);
    // All sandboxes and templates must be gone. NULL allowed.
    void (*close)(struct driver *d);

    // Loads the template of that key from disk, or boots, warms and freezes one. Blocks for seconds
    // to minutes; ERR_TIMEOUT at the deadline. `ret_built` says whether it was built now.
    int (*build_template)(struct driver *d, const struct driver_template_spec *spec,
                          uint64_t deadline_ns, struct driver_template **ret, bool *ret_built,
                          struct err *err);
    const char *(*template_key)(const struct driver_template *t); // 64 hex digits, borrowed
    void (*template_free)(struct driver_template *t); // its sandboxes may live on; NULL allowed

    // A running sandbox from the template. Blocks some 100 ms. Errors: ERR_TIMEOUT, ERR_GONE (the
    // VMM died), ERR_SYSTEM, ERR_BUSY.
    int (*clone)(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
                 struct driver_sandbox **ret, struct err *err);

    // The agent's stream, connected, non-blocking, owned by the caller. Once per sandbox; a second
    // call is ERR_INVALID.
    int (*channel)(struct driver_sandbox *s, int *ret_fd, struct err *err);

    // A descriptor that becomes readable when the sandbox died by itself; borrowed, or -1.
    int (*death_fd)(struct driver_sandbox *s);

    int (*usage)(struct driver_sandbox *s, struct driver_usage *ret, struct err *err);

    // Ends the sandbox and frees all it held. Idempotent in effect, always succeeds in freeing what
    // it can; NULL allowed. Blocks some 10 ms.
    void (*destroy)(struct driver_sandbox *s);

    // With the capability, else NULL.
    int (*pause)(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err);
    int (*resume)(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err);
    int (*snapshot)(struct driver_sandbox *s, uint64_t deadline_ns, struct driver_template **ret,
                    struct err *err);
    int (*fork)(struct driver_sandbox *s, uint32_t count, uint64_t deadline_ns,
                struct driver_sandbox **ret, struct err *err);
};

extern const struct driver_ops driver_fake;
extern const struct driver_ops driver_qemu;
extern const struct driver_ops driver_process;

#endif
