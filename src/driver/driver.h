// SPDX-License-Identifier: Apache-2.0
//
// Where agents live. A driver turns a description of a machine into a template (booted once,
// warmed, frozen) and templates into sandboxes; each sandbox is one agent behind one byte stream.
// The drivers are const tables of functions; all pass tests/vm/test_driver.c. Read fake.c first.
//
// Life of a sandbox: clone, clone_lasting or restore -> [channel] -> destroy. Meanwhile, with the
// capabilities: pause <-> resume, and snapshot, which freezes it into an image. An image is in
// memory until it is freed; stored under an id it outlives the process, too. Sandboxes are restored
// from an image as often as wanted: one is a resumption, several are a fork.
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
struct driver_image;
struct launch_client;

enum driver_cap {
    DRIVER_CAP_TEMPLATE_DISK = 1 << 0, // templates outlive the process
    DRIVER_CAP_PAUSE = 1 << 1,         // pause, resume: stopped, but in memory
    DRIVER_CAP_SNAPSHOT = 1 << 2,      // snapshot, restore, images in memory
    DRIVER_CAP_IMAGE_DISK = 1 << 3,    // stored images outlive the process
    DRIVER_CAP_SHARED = 1 << 4,        // clones share one kernel and one agent, and die with it
    DRIVER_CAP_LASTING = 1 << 5,       // clone_lasting
};

#define DRIVER_IMAGE_ID_MAX 64 // of [a-z0-9-], not beginning with '-'

#define DRIVER_TREE_KEY     ".csb-tree-key" // file in a root tree that says what it was built from

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
    uint64_t cpu_ns; // host CPU time so far, in steps of the kernel's clock tick; 0 likewise, and
                     // of clones that share an agent
};

// Limits of one lasting sandbox; 0 means the driver's default. A driver whose sandboxes have the
// shape of their template (qemu, fake) has no others and does not look at them.
struct driver_limits {
    uint32_t memory_mib;  // of all its programs together and of what they write to disk
    uint32_t cpu_percent; // 100 is one processor
    uint32_t processes;
    uint32_t disk_mib; // what it may write; a part of memory_mib
};

struct driver_image_info {
    char template_key[65]; // of the template it depends on
    struct driver_shape shape;
    uint64_t image_bytes;  // in memory, and in every sandbox restored from it
    uint64_t stored_bytes; // on disk; 0 while it is not stored
};

// Called by build_template with the booted agent's stream (owned by the callee) to warm it up. The
// callee must have closed the stream when it returns, and keeps its own deadline. 0, or -1 with
// *err to give the template up.
typedef int (*driver_warm_fn)(void *arg, int channel_fd, struct err *err);

struct driver_template_spec {
    struct driver_shape shape;
    uint64_t root;    // id of another root file system than the image's; 0: that
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
    // All sandboxes, templates and images must be gone. NULL allowed.
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

    // Also while another call is under way, but destroy(). ERR_GONE when it died.
    int (*usage)(struct driver_sandbox *s, struct driver_usage *ret, struct err *err);

    // Ends the sandbox and frees all it held. Idempotent in effect, always succeeds in freeing what
    // it can; NULL allowed. Blocks some 10 ms.
    void (*destroy)(struct driver_sandbox *s);

    // With DRIVER_CAP_LASTING, else NULL. As clone, but for a sandbox that lives long and whose
    // programs see each other (the agent's data plane): with limits of its own, and where clones
    // share an agent, an agent of its own. Blocks some 100 ms. Errors: as clone, and
    // ERR_UNSUPPORTED with the reason when this host cannot, ERR_INVALID for limits out of range.
    int (*clone_lasting)(struct driver *d, struct driver_template *t,
                         const struct driver_limits *limits, uint64_t deadline_ns,
                         struct driver_sandbox **ret, struct err *err);

    // With DRIVER_CAP_PAUSE, else NULL. A paused sandbox keeps its memory and its stream, but
    // nothing runs in it. Pausing a paused one and resuming a running one do nothing.
    int (*pause)(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err);
    int (*resume)(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err);

    // What follows: with DRIVER_CAP_SNAPSHOT, else NULL.

    // Freezes a running or paused sandbox into an image, which the caller frees. It stands still
    // for some 100 ms (longer the more of its memory it changed) and then goes on, streams and
    // all; one that was paused, or with `leave_paused`, stays paused. On failure it goes on as it
    // was, but ERR_GONE and ERR_TIMEOUT leave it fit for destroy() only. Other errors: ERR_SYSTEM
    // (no memory for the image), ERR_UNSUPPORTED (this sandbox cannot be frozen), ERR_PROTOCOL.
    int (*snapshot)(struct driver_sandbox *s, bool leave_paused, uint64_t deadline_ns,
                    struct driver_image **ret, struct err *err);

    // A running sandbox from an image, which is borrowed for the call: its memory, processes and
    // files are as they were. The stream is a new connection to the same agent; whatever was
    // connected when it was frozen has been told that the peer is gone. As with clones, nobody may
    // use it before the agent confirmed /sync: entropy, clock and names are those of the image.
    // Several threads may restore one image at the same time. Blocks some 100 ms. Errors: as clone.
    int (*restore)(struct driver *d, struct driver_image *image, uint64_t deadline_ns,
                   struct driver_sandbox **ret, struct err *err);

    // Stores an image on disk under an id: complete and synced, or not at all, whatever dies
    // meanwhile. An image of that id is replaced. Blocks for as long as the disk takes. ERR_INVALID
    // for a bad id, ERR_SYSTEM.
    int (*image_store)(struct driver *d, struct driver_image *image, const char *id,
                       struct err *err);
    // Loads a stored image and checks all of it. Free *ret. ERR_GONE: there is none of that id.
    // ERR_PROTOCOL: it is damaged, and is not to be used. ERR_UNSUPPORTED: it was made with another
    // root image, processor or VMM. ERR_INVALID, ERR_SYSTEM.
    int (*image_load)(struct driver *d, const char *id, struct driver_image **ret, struct err *err);
    // Removes a stored image; loaded ones stay. 0 also when there is none. ERR_INVALID, ERR_SYSTEM.
    int (*image_remove)(struct driver *d, const char *id, struct err *err);
    // Calls `each` with every stored id and its bytes on disk, for finding those nobody wants;
    // `each` must not call the driver.
    void (*image_each)(struct driver *d,
                       void (*each)(void *arg, const char *id, uint64_t stored_bytes), void *arg);
    void (*image_info)(const struct driver_image *image, struct driver_image_info *ret);
    // Sandboxes restored from it live on. NULL allowed.
    void (*image_free)(struct driver_image *image);
};

extern const struct driver_ops driver_fake;
extern const struct driver_ops driver_qemu;
extern const struct driver_ops driver_process;

#endif
