// SPDX-License-Identifier: Apache-2.0
//
// Watching a directory, or the tree below it, by inotify(7). Each watcher has a descriptor of its
// own, so that one that is not read does not hold up others; the kernel's queue bounds what waits
// for it. When that overflowed, the watcher ends with an error: events were lost.
#ifndef CSB_AGENT_ENVD_WATCH_H
#define CSB_AGENT_ENVD_WATCH_H

#include "agent/envd/rpc.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define WATCHERS_MAX      100  // the kernel's default is 128 descriptors for a user
#define WATCH_DIRS_MAX    8192 // of one watcher
#define WATCH_EVENTS_MAX  8192 // kept for a client that polls
#define WATCH_EVENT_BYTES (4u << 20)
#define WATCH_ID_MAX      32

struct watched {
    int wd;
    char *name; // relative to the watched directory; "" for itself
};

struct watcher {
    struct envd *envd;
    struct watcher *next;
    char id[WATCH_ID_MAX + 1]; // of one that is polled
    int fd;
    struct loop_source source;
    bool recursive;
    bool with_entry;
    uid_t viewer_uid; // who asked, for user_names
    gid_t viewer_gid;
    char path[PATH_MAX];
    struct watched *dirs; // in the order of wd
    size_t dir_count, dir_alloc;
    struct buf fresh; // names, NUL after each, told already though the kernel will tell them too
    // One event, as the JSON of a FilesystemEvent.
    void (*event)(struct watcher *w, const struct buf *json);
    void (*failed)(struct watcher *w, const struct rpc_error *e);
    void *state;        // the stream's call, or
    struct buf pending; // the events of one that is polled, with commas between
    size_t pending_count;
    struct rpc_error error; // told at the next poll
};

struct watch_spec {
    char path[PATH_MAX];
    bool recursive;
    bool with_entry;
    uid_t viewer_uid;
    gid_t viewer_gid;
    bool network; // network file systems are allowed, though they do not tell of others' changes
};

// Begins; events come from then on. The first directory is watched when this returns, those below
// it too (at most WATCH_DIRS_MAX; this is not sliced). Freed by watch_free().
int watch_new(struct envd *e, const struct watch_spec *spec, struct watcher **ret,
              struct rpc_error *err);
void watch_free(struct watcher *w);

// Takes what the kernel has by now, without waiting for the loop.
void watch_poll(struct watcher *w);

// Stops and continues reading.
void watch_pause(struct watcher *w, bool pause);

// The methods.
void watch_dir(struct call *c, const struct json_in *in);
void watch_create(struct call *c, const struct json_in *in);
void watch_get_events(struct call *c, const struct json_in *in);
void watch_remove(struct call *c, const struct json_in *in);

#endif
