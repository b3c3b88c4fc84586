// SPDX-License-Identifier: Apache-2.0
//
// Writes plans as text, and holds the words of that form.
#include "jail/plan_text_internal.h"

#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

const struct plan_word plan_ns_words[] = {
    {"user", JAIL_NS_USER}, {"pid", JAIL_NS_PID}, {"mount", JAIL_NS_MOUNT},   {"net", JAIL_NS_NET},
    {"ipc", JAIL_NS_IPC},   {"uts", JAIL_NS_UTS}, {"cgroup", JAIL_NS_CGROUP}, {NULL, 0},
};

const struct plan_word plan_kind_words[] = {
    {"bind", JAIL_MOUNT_BIND},
    {"bind_fd", JAIL_MOUNT_BIND_FD},
    {"tmpfs", JAIL_MOUNT_TMPFS},
    {"proc", JAIL_MOUNT_PROC},
    {"dev", JAIL_MOUNT_DEV},
    {"scratch", JAIL_MOUNT_SCRATCH},
    {"symlink", JAIL_MOUNT_SYMLINK},
    {"cgroup2", JAIL_MOUNT_CGROUP2},
    {NULL, 0},
};

const struct plan_word plan_seccomp_words[] = {
    {"none", JAIL_SECCOMP_NONE}, {"run", JAIL_SECCOMP_RUN},     {"session", JAIL_SECCOMP_SESSION},
    {"vmm", JAIL_SECCOMP_VMM},   {"agent", JAIL_SECCOMP_AGENT}, {NULL, 0},
};

const struct plan_word plan_rlimit_words[] = {
    {"cpu", RLIMIT_CPU},
    {"fsize", RLIMIT_FSIZE},
    {"data", RLIMIT_DATA},
    {"stack", RLIMIT_STACK},
    {"core", RLIMIT_CORE},
    {"rss", RLIMIT_RSS},
    {"nproc", RLIMIT_NPROC},
    {"nofile", RLIMIT_NOFILE},
    {"memlock", RLIMIT_MEMLOCK},
    {"as", RLIMIT_AS},
    {"locks", RLIMIT_LOCKS},
    {"sigpending", RLIMIT_SIGPENDING},
    {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {NULL, 0},
};

const struct plan_word plan_flag_words[] = {
    {"landlock", offsetof(struct jail_plan, landlock)},
    {"no_new_privs", offsetof(struct jail_plan, no_new_privs)},
    {"die_with_parent", offsetof(struct jail_plan, die_with_parent)},
    {"new_session", offsetof(struct jail_plan, new_session)},
    {"want_scratch_fd", offsetof(struct jail_plan, want_scratch_fd)},
    {"exec_as_init", offsetof(struct jail_plan, exec_as_init)},
    {"loopback_up", offsetof(struct jail_plan, loopback_up)},
    {NULL, 0},
};

const struct plan_word plan_mount_flag_words[] = {
    {"read_only", offsetof(struct jail_mount, read_only)},
    {"exec", offsetof(struct jail_mount, exec)},
    {"dev", offsetof(struct jail_mount, dev)},
    {"optional", offsetof(struct jail_mount, optional)},
    {"reuse", offsetof(struct jail_mount, reuse)},
    {"unmasked", offsetof(struct jail_mount, unmasked)},
    {"terminals", offsetof(struct jail_mount, terminals)},
    {NULL, 0},
};

const char *plan_word_name(const struct plan_word *table, uint64_t value)
{
    for (; table->name != NULL; table++)
        if (table->value == value)
            return table->name;
    return NULL;
}

const struct plan_word *plan_word_find(const struct plan_word *table, const char *name)
{
    for (; table->name != NULL; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

// The first failure stays.
struct writer {
    struct buf *out;
    int *fds;
    size_t fd_count;
    size_t fd_room;
    int error; // 0 or -errno
};

static void put(struct writer *w, const char *text)
{
    if (w->error == 0)
        w->error = buf_append(w->out, text, strlen(text));
}

static void put_escaped(struct writer *w, const char *text)
{
    for (const char *p = text; w->error == 0 && *p != '\0';) {
        size_t plain = 0;

        while ((unsigned char)p[plain] > ' ' && p[plain] != '%' && p[plain] != 0x7f)
            plain++;
        w->error = buf_append(w->out, p, plain);
        p += plain;
        if (w->error == 0 && *p != '\0')
            w->error = buf_appendf(w->out, "%%%02X", (unsigned char)*p++);
    }
}

static void put_text(struct writer *w, const char *directive, const char *text)
{
    if (text == NULL)
        return;
    put(w, directive);
    put(w, " ");
    put_escaped(w, text);
    put(w, "\n");
}

static void put_numbers(struct writer *w, const char *directive, const uint64_t *n, size_t count)
{
    put(w, directive);
    for (size_t i = 0; w->error == 0 && i < count; i++)
        w->error = buf_appendf(w->out, " %llu", (unsigned long long)n[i]);
    put(w, "\n");
}

// The index of a descriptor, which is added when it is a new one.
static uint64_t index_of(struct writer *w, int fd)
{
    for (size_t i = 0; i < w->fd_count; i++)
        if (w->fds[i] == fd)
            return i;
    if (w->fd_count == w->fd_room) {
        w->error = -EFBIG;
        return 0;
    }
    w->fds[w->fd_count] = fd;
    return w->fd_count++;
}

static void put_fd(struct writer *w, const char *directive, int fd)
{
    uint64_t index;

    if (fd < 0)
        return;
    index = index_of(w, fd);
    put_numbers(w, directive, &index, 1);
}

// Those words of a table whose bits, or whose bytes of a struct, are set; nothing when none is.
static void put_flags(struct writer *w, const struct plan_word *table, const void *object)
{
    for (; table->name != NULL; table++) {
        if (((const uint8_t *)object)[table->value] == 0)
            continue;
        put(w, " ");
        put(w, table->name);
    }
}

static void put_mount(struct writer *w, const struct jail_mount *m)
{
    const char *kind = plan_word_name(plan_kind_words, m->kind);

    put(w, "mount ");
    put(w, kind == NULL ? "?" : kind);
    put(w, " ");
    put_escaped(w, m->target);
    if (m->source != NULL) {
        put(w, " source=");
        put_escaped(w, m->source);
    }
    if (w->error == 0 && m->kind == JAIL_MOUNT_BIND_FD)
        w->error = buf_appendf(w->out, " fd=%u", (unsigned)index_of(w, m->fd));
    if (w->error == 0 && m->size_bytes != 0)
        w->error = buf_appendf(w->out, " size=%llu", (unsigned long long)m->size_bytes);
    if (w->error == 0 && m->inodes != 0)
        w->error = buf_appendf(w->out, " inodes=%llu", (unsigned long long)m->inodes);
    if (w->error == 0 && m->mode != 0)
        w->error = buf_appendf(w->out, " mode=%o", m->mode);
    put_flags(w, plan_mount_flag_words, m);
    put(w, "\n");
}

static void put_namespaces(struct writer *w, uint32_t ns)
{
    put(w, "ns");
    for (const struct plan_word *word = plan_ns_words; word->name != NULL; word++) {
        if ((ns & word->value) == 0)
            continue;
        put(w, " ");
        put(w, word->name);
    }
    put(w, "\n");
}

static void put_map(struct writer *w, const char *directive, const struct jail_id_map *map,
                    size_t count)
{
    for (size_t i = 0; i < count; i++)
        put_numbers(w, directive, (const uint64_t[]){map[i].inside, map[i].outside, map[i].count},
                    3);
}

static void put_ids(struct writer *w, const struct jail_plan *p)
{
    uint64_t groups[JAIL_GROUPS_MAX];

    put_numbers(w, "user", (const uint64_t[]){p->uid, p->gid}, 2);
    for (size_t i = 0; i < p->group_count && i < JAIL_GROUPS_MAX; i++)
        groups[i] = p->groups[i];
    if (p->group_count > 0)
        put_numbers(w, "groups", groups, p->group_count);
    put_map(w, "uid_map", p->uid_map, p->uid_map_count);
    put_map(w, "gid_map", p->gid_map, p->gid_map_count);
    if (w->error == 0 && p->keep_caps != 0)
        w->error = buf_appendf(w->out, "keep_caps %llx\n", (unsigned long long)p->keep_caps);
    if (p->identity)
        put_numbers(w, "identity", (const uint64_t[]){p->view_uid, p->view_gid}, 2);
}

static void put_limits(struct writer *w, const struct jail_plan *p)
{
    for (size_t i = 0; i < p->rlimit_count; i++) {
        const struct jail_rlimit *l = &p->rlimits[i];
        const char *name = plan_word_name(plan_rlimit_words, (uint64_t)l->resource);

        put(w, "rlimit ");
        put(w, name == NULL ? "?" : name);
        if (l->value == RLIM_INFINITY)
            put(w, " " PLAN_TEXT_UNLIMITED "\n");
        else if (w->error == 0)
            w->error = buf_appendf(w->out, " %llu\n", (unsigned long long)l->value);
    }
}

static void put_program(struct writer *w, const struct jail_plan *p)
{
    for (size_t i = 0; p->argv != NULL && p->argv[i] != NULL; i++)
        put_text(w, "arg", p->argv[i]);
    for (size_t i = 0; p->argv != NULL && p->envp != NULL && p->envp[i] != NULL; i++)
        put_text(w, "env", p->envp[i]);
}

static void put_plan(struct writer *w, const struct jail_plan *p)
{
    const char *filter = plan_word_name(plan_seccomp_words, p->seccomp);

    put(w, PLAN_TEXT_HEAD "\n");
    put_namespaces(w, p->ns);
    put_text(w, "root", p->root);
    for (size_t i = 0; i < p->mount_count; i++)
        put_mount(w, &p->mounts[i]);
    if (p->scratch_bytes != 0)
        put_numbers(w, "scratch", (const uint64_t[]){p->scratch_bytes, p->scratch_inodes}, 2);
    put_ids(w, p);
    put_fd(w, "cgroup_fd", p->cgroup_fd);
    for (size_t i = 0; p->cgroup_v1_procs != NULL && p->cgroup_v1_procs[i] != NULL; i++)
        put_text(w, "cgroup_procs", p->cgroup_v1_procs[i]);
    put_fd(w, "net_fd", p->net_fd);
    put_text(w, "hostname", p->hostname);
    put_text(w, "cwd", p->cwd);
    put_limits(w, p);
    for (size_t i = 0; i < p->fd_count; i++)
        put_numbers(w, "fd",
                    (const uint64_t[]){(uint64_t)p->fds[i].target, index_of(w, p->fds[i].fd)}, 2);
    put_text(w, "seccomp", filter == NULL ? "?" : filter);
    put(w, "set");
    put_flags(w, plan_flag_words, p);
    put(w, "\n");
    put_program(w, p);
}

int jail_plan_write(const struct jail_plan *plan, struct buf *out, int fds[], size_t *fd_count,
                    struct err *err)
{
    struct writer w = {.out = out, .fds = fds, .fd_room = *fd_count};
    size_t before = out->len;

    put_plan(&w, plan);
    if (w.error == 0 && out->len - before > JAIL_PLAN_TEXT_MAX)
        w.error = -EFBIG;
    if (w.error == -EFBIG)
        return err_set(err, ERR_TOO_LARGE, "the jail plan is too large");
    if (w.error < 0)
        return err_sys(err, w.error, "write the jail plan");
    *fd_count = w.fd_count;
    return 0;
}
