// SPDX-License-Identifier: Apache-2.0
//
// A directory that appears in a watched tree is watched, and what it holds by then is told as
// created. What was made between the two is in the kernel's queue too: those names are remembered
// until the queue was empty once, and not told again.
#include "agent/envd/watch.h"

#include "agent/envd/entry.h"
#include "base/fd.h"
#include "json/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MASK                                                                                       \
    (IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |                 \
     IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
#define ROUNDS      4 // reads of one turn
#define LEVELS_MAX  64
#define READ_BYTES  16384
#define FRESH_BYTES (1u << 20)

static const struct {
    uint32_t mask;
    const char *type;
    bool has_entry;
} kinds[] = {
    {IN_CREATE | IN_MOVED_TO, "EVENT_TYPE_CREATE", true},
    {IN_DELETE | IN_DELETE_SELF, "EVENT_TYPE_REMOVE", false},
    {IN_MODIFY, "EVENT_TYPE_WRITE", true},
    {IN_MOVED_FROM | IN_MOVE_SELF, "EVENT_TYPE_RENAME", false},
    {IN_ATTRIB, "EVENT_TYPE_CHMOD", true},
};

static struct watched *find(struct watcher *w, int wd)
{
    size_t low = 0, high = w->dir_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (w->dirs[mid].wd < wd)
            low = mid + 1;
        else
            high = mid;
    }
    return low < w->dir_count && w->dirs[low].wd == wd ? &w->dirs[low] : NULL;
}

static void forget(struct watcher *w, struct watched *d)
{
    free(d->name);
    memmove(d, d + 1, (size_t)(w->dirs + w->dir_count - d - 1) * sizeof(*d));
    w->dir_count--;
}

// Takes `name`.
static int keep(struct watcher *w, int wd, char *name)
{
    struct watched *d = find(w, wd);
    size_t at = w->dir_count;

    if (d != NULL) { // the same directory under another name
        free(d->name);
        d->name = name;
        return 0;
    }
    if (w->dir_count == w->dir_alloc) {
        size_t want = w->dir_alloc == 0 ? 16 : w->dir_alloc * 2;
        struct watched *more = reallocarray(w->dirs, want, sizeof(*more));
        if (more == NULL) {
            free(name);
            return -ENOMEM;
        }
        w->dirs = more;
        w->dir_alloc = want;
    }
    while (at > 0 && w->dirs[at - 1].wd > wd)
        at--;
    memmove(&w->dirs[at + 1], &w->dirs[at], (w->dir_count - at) * sizeof(*w->dirs));
    w->dirs[at] = (struct watched){wd, name};
    w->dir_count++;
    return 0;
}

static bool full_path(const struct watcher *w, const char *name, char ret[PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s%s%s", w->path, name[0] == '\0' ? "" : "/", name);

    return n < PATH_MAX;
}

static void tell(struct watcher *w, const char *name, const char *type, bool has_entry)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    char path[PATH_MAX];

    json_open(&out, NULL, '{');
    json_put_str(&out, "name", name[0] == '\0' ? "." : name);
    json_put_str(&out, "type", type);
    if (has_entry && w->with_entry && full_path(w, name, path)) {
        struct user_names names = {.viewer_uid = w->viewer_uid, .viewer_gid = w->viewer_gid};
        (void)entry_put_path(&out, "entry", path, &names);
        user_names_release(&names);
    }
    json_close(&out, '}');
    if (!out.failed)
        w->event(w, &text);
}

static int add_tree(struct watcher *w, const char *name, int levels, bool fresh);

static char *join(const char *dir, const char *name)
{
    char *ret;

    if (dir[0] == '\0')
        return strdup(name);
    return asprintf(&ret, "%s/%s", dir, name) < 0 ? NULL : ret;
}

// Goes through a directory that is watched already: tells what is in it where that is news, and
// watches the directories.
static int scan(struct watcher *w, const char *name, int levels, bool fresh)
{
    char path[PATH_MAX];
    DIR *dir = full_path(w, name, path) ? opendir(path) : NULL;
    const struct dirent *e;
    int rc = 0;

    while (dir != NULL && rc == 0 && (e = readdir(dir)) != NULL) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (!fresh && !S_ISDIR(st.st_mode))
            continue;
        _cleanup_free_ char *sub = join(name, e->d_name);
        if (sub == NULL) {
            rc = -ENOMEM;
            break;
        }
        if (fresh) {
            if (w->fresh.len < FRESH_BYTES)
                (void)buf_append(&w->fresh, sub, strlen(sub) + 1);
            tell(w, sub, "EVENT_TYPE_CREATE", true);
        }
        if (S_ISDIR(st.st_mode))
            rc = add_tree(w, sub, levels + 1, fresh);
    }
    if (dir != NULL)
        closedir(dir);
    return rc;
}

// Watches a directory and, where asked for, those below. What is gone is no error.
static int add_tree(struct watcher *w, const char *name, int levels, bool fresh)
{
    char path[PATH_MAX];
    uint32_t mask = MASK | (levels > 0 ? IN_DONT_FOLLOW : 0);
    char *kept;
    int wd, rc;

    if (levels == LEVELS_MAX || w->dir_count == WATCH_DIRS_MAX)
        return -ENOSPC;
    if (!full_path(w, name, path))
        return 0;
    wd = inotify_add_watch(w->fd, path, mask);
    if (wd < 0)
        return levels > 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES) ? 0 : -errno;
    kept = strdup(name);
    rc = kept == NULL ? -ENOMEM : keep(w, wd, kept);
    return rc == 0 && w->recursive ? scan(w, name, levels, fresh) : rc;
}

// The directory was moved: what is watched below it goes by a name that is no longer right.
static void drop_tree(struct watcher *w, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = w->dir_count; i-- > 0;) {
        struct watched *d = &w->dirs[i];
        if (strncmp(d->name, name, len) != 0 || (d->name[len] != '/' && d->name[len] != '\0'))
            continue;
        (void)inotify_rm_watch(w->fd, d->wd);
        forget(w, d);
    }
}

static bool was_told(const struct watcher *w, const char *name)
{
    const char *p = (const char *)w->fresh.data;
    const char *end = p + w->fresh.len;

    for (; p < end; p += strlen(p) + 1)
        if (strcmp(p, name) == 0)
            return true;
    return false;
}

// 0 or -errno when the watcher cannot go on.
static int take(struct watcher *w, const struct inotify_event *ev)
{
    struct watched *d = find(w, ev->wd);
    bool is_self = (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0;

    if (ev->mask & IN_Q_OVERFLOW)
        return -EOVERFLOW;
    if (d == NULL)
        return 0;
    if (ev->mask & IN_IGNORED) {
        forget(w, d);
        return 0;
    }
    // Of a directory below, the one above it tells.
    if ((is_self || ((ev->mask & IN_ATTRIB) && ev->len == 0)) && d->name[0] != '\0')
        return 0;
    _cleanup_free_ char *name = ev->len > 0 ? join(d->name, ev->name) : strdup(d->name);
    if (name == NULL)
        return -ENOMEM;
    if ((ev->mask & IN_CREATE) && w->fresh.len > 0 && was_told(w, name))
        return 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (ev->mask & kinds[i].mask)
            tell(w, name, kinds[i].type, kinds[i].has_entry);
    if (!w->recursive || !(ev->mask & IN_ISDIR) || ev->len == 0)
        return 0;
    if (ev->mask & IN_MOVED_FROM)
        drop_tree(w, name);
    if (ev->mask & (IN_CREATE | IN_MOVED_TO))
        return add_tree(w, name, 1, (ev->mask & IN_CREATE) != 0);
    return 0;
}

static void fail(struct watcher *w, int error)
{
    struct rpc_error e = RPC_ERROR_INIT;

    if (error == -EOVERFLOW)
        (void)rpc_set(&e, RPC_RESOURCE_EXHAUSTED, "events of '%s' came too fast and were lost",
                      w->path);
    else
        (void)rpc_set_sys(&e, error, "watch '%s'", w->path);
    w->failed(w, &e);
}

// Reads a few batches; what a batch leads to may pause or end the watcher.
static void on_events(void *arg, uint32_t events)
{
    struct watcher *w = arg;
    _Alignas(struct inotify_event) char data[READ_BYTES];

    (void)events;
    for (int i = 0; i < ROUNDS && w->source.ready != NULL; i++) {
        ssize_t n = read(w->fd, data, sizeof(data));
        if (n <= 0) {
            buf_clear(&w->fresh);
            return;
        }
        for (char *p = data; p < data + n;) {
            const struct inotify_event *ev = (const void *)p;
            int rc = take(w, ev);
            if (rc < 0) {
                fail(w, rc);
                return;
            }
            p += sizeof(*ev) + ev->len;
        }
    }
}

static bool is_network(const char *path)
{
    // NFS, CIFS, SMB, SMB2, FUSE, Ceph, 9P
    static const uint32_t magics[] = {0x6969,     0xFF534D42, 0x517B,    0xFE534D42,
                                      0x65735546, 0x00C36400, 0x01021997};
    struct statfs fs;

    if (statfs(path, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if ((uint32_t)fs.f_type == magics[i])
            return true;
    return false;
}

static int check(const struct envd *e, const struct watch_spec *spec, struct rpc_error *err)
{
    struct stat st;

    if (stat(spec->path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return rpc_set(err, RPC_NOT_FOUND, "path '%s' does not exist", spec->path);
        return rpc_set_sys(err, errno, "stat '%s'", spec->path);
    }
    if (!S_ISDIR(st.st_mode))
        return rpc_set(err, RPC_INVALID_ARGUMENT, "path '%s' is not a directory", spec->path);
    if (!spec->network && is_network(spec->path))
        return rpc_set(err, RPC_INVALID_ARGUMENT, "path '%s' is on a network file system",
                       spec->path);
    if (e->watcher_count >= WATCHERS_MAX)
        return rpc_set(err, RPC_RESOURCE_EXHAUSTED, "more than %d watchers", WATCHERS_MAX);
    return 0;
}

// Found at the start is no news.
static void ignore_event(struct watcher *w, const struct buf *json)
{
    (void)w;
    (void)json;
}

int watch_new(struct envd *e, const struct watch_spec *spec, struct watcher **ret,
              struct rpc_error *err)
{
    struct watcher *w;
    int rc;

    if (check(e, spec, err) < 0)
        return -1;
    w = calloc(1, sizeof(*w));
    if (w == NULL)
        return rpc_set(err, RPC_RESOURCE_EXHAUSTED, "out of memory");
    w->envd = e;
    w->recursive = spec->recursive;
    w->with_entry = spec->with_entry;
    w->viewer_uid = spec->viewer_uid;
    w->viewer_gid = spec->viewer_gid;
    w->event = ignore_event;
    memcpy(w->path, spec->path, sizeof(w->path));
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    w->next = e->watchers;
    e->watchers = w;
    e->watcher_count++;
    rc = w->fd < 0 ? -errno : add_tree(w, "", 0, false);
    if (rc == 0)
        rc = loop_add(e->loop, &w->source, w->fd, EPOLLIN, on_events, w);
    if (rc < 0) {
        watch_free(w);
        return rpc_set_sys(err, rc, "watch '%s'", spec->path);
    }
    *ret = w;
    return 0;
}

void watch_free(struct watcher *w)
{
    if (w == NULL)
        return;
    for (struct watcher **p = &w->envd->watchers; *p != NULL; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            break;
        }
    }
    w->envd->watcher_count--;
    loop_del(w->envd->loop, &w->source);
    fd_close(&w->fd);
    for (size_t i = 0; i < w->dir_count; i++)
        free(w->dirs[i].name);
    free(w->dirs);
    buf_release(&w->fresh);
    buf_release(&w->pending);
    free(w);
}

void watch_poll(struct watcher *w)
{
    on_events(w, 0);
}

void watch_pause(struct watcher *w, bool pause)
{
    if (pause)
        loop_del(w->envd->loop, &w->source);
    else if (w->source.ready == NULL)
        (void)loop_add(w->envd->loop, &w->source, w->fd, EPOLLIN, on_events, w);
}
