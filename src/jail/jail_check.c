// SPDX-License-Identifier: Apache-2.0
//
// Whether a plan makes sense, before anything of it is carried out. A plan may come from a text
// (plan_text.h), so nothing is taken for granted but that the pointers are good.
#include "jail/jail_internal.h"

#include <limits.h>
#include <string.h>

static bool is_plain_path(const char *path)
{
    size_t len = path == NULL ? 0 : strlen(path);

    if (len == 0 || len >= PATH_MAX || path[0] != '/')
        return false;
    for (const char *p = path; (p = strstr(p, "..")) != NULL; p++)
        if (p[-1] == '/' && (p[2] == '/' || p[2] == '\0'))
            return false;
    return true;
}

static int check_mount(const struct jail_plan *p, size_t i, struct err *err)
{
    const struct jail_mount *m = &p->mounts[i];
    bool named = m->kind == JAIL_MOUNT_BIND || m->kind == JAIL_MOUNT_SCRATCH ||
                 m->kind == JAIL_MOUNT_SYMLINK;

    if (!is_plain_path(m->target) || m->target[1] == '\0')
        return err_set(err, ERR_INVALID, "mount %zu has no usable target", i);
    if (named && (m->source == NULL || *m->source == '\0' || strlen(m->source) >= PATH_MAX))
        return err_set(err, ERR_INVALID, "mount on %.150s has no source", m->target);
    if (m->kind == JAIL_MOUNT_SCRATCH && p->scratch_bytes == 0)
        return err_set(err, ERR_INVALID, "mount on %.150s needs a scratch size", m->target);
    if (m->kind == JAIL_MOUNT_SCRATCH && strchr(m->source, '/') != NULL)
        return err_set(err, ERR_INVALID, "scratch name %.150s is a path", m->source);
    if (m->kind == JAIL_MOUNT_BIND_FD && (p->ns & JAIL_NS_USER))
        return err_set(err, ERR_UNSUPPORTED, "a descriptor cannot be mounted in a user namespace");
    if (m->kind == JAIL_MOUNT_BIND_FD && m->fd < 0)
        return err_set(err, ERR_INVALID, "mount on %.150s has no descriptor", m->target);
    if (m->kind == JAIL_MOUNT_DEV && m->reuse && m->source != NULL)
        return err_set(err, ERR_INVALID, "a /dev that is used again gets no further node");
    if (m->kind == JAIL_MOUNT_CGROUP2 && !(p->ns & JAIL_NS_CGROUP))
        return err_set(err, ERR_INVALID, "mount on %.150s needs a cgroup namespace", m->target);
    return 0;
}

static int check_mounts(const struct jail_plan *p, struct err *err)
{
    if (p->mount_count > JAIL_MOUNTS_MAX)
        return err_set(err, ERR_INVALID, "more than %d mounts in a jail plan", JAIL_MOUNTS_MAX);
    if (!(p->ns & JAIL_NS_MOUNT) && (p->mount_count != 0 || p->root != NULL || p->landlock))
        return err_set(err, ERR_INVALID, "a jail plan has mounts but no mount namespace");
    if (p->overlay_bytes != 0 && (p->root == NULL || !(p->ns & JAIL_NS_USER)))
        return err_set(err, ERR_INVALID, "an overlay needs a root and a user namespace");
    for (size_t i = 0; i < p->mount_count; i++)
        if (check_mount(p, i, err) < 0)
            return -1;
    return 0;
}

static bool maps_root(const struct jail_id_map *map, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (map[i].inside == 0 && map[i].count > 0)
            return true;
    return count == 0;
}

static bool has_proc(const struct jail_plan *p)
{
    for (size_t i = 0; i < p->mount_count; i++)
        if (p->mounts[i].kind == JAIL_MOUNT_PROC && strcmp(p->mounts[i].target, "/proc") == 0)
            return true;
    return false;
}

static int check_ids(const struct jail_plan *p, struct err *err)
{
    bool user = (p->ns & JAIL_NS_USER) != 0;

    if (p->group_count > JAIL_GROUPS_MAX || p->uid_map_count > JAIL_MAPS_MAX ||
        p->gid_map_count > JAIL_MAPS_MAX)
        return err_set(err, ERR_INVALID, "too many groups or id maps in a jail plan");
    if ((p->uid_map_count == 0) != (p->gid_map_count == 0))
        return err_set(err, ERR_INVALID, "a jail plan maps only one of users and groups");
    if (!user && (p->uid_map_count != 0 || p->keep_caps != 0))
        return err_set(err, ERR_INVALID, "id maps and capabilities need a user namespace");
    if (!maps_root(p->uid_map, p->uid_map_count) || !maps_root(p->gid_map, p->gid_map_count))
        return err_set(err, ERR_INVALID, "id maps of a jail plan have no id 0");
    if (p->identity && (user || !has_proc(p)))
        return err_set(err, ERR_INVALID,
                       "an identity needs /proc and no other user namespace in the plan");
    return 0;
}

int jail_check_plan(const struct jail_plan *p, bool forking, struct err *err)
{
    if (!forking && (p->argv == NULL || p->argv[0] == NULL || p->envp == NULL))
        return err_set(err, ERR_INVALID, "a jail plan has no program or environment");
    if (forking && (!(p->ns & JAIL_NS_PID) || p->exec_as_init))
        return err_set(err, ERR_INVALID, "a forked program needs a pid namespace and an init");
    if (p->fd_count > JAIL_FDS_MAX || p->rlimit_count > JAIL_RLIMITS_MAX)
        return err_set(err, ERR_INVALID, "too many descriptors or limits in a jail plan");
    for (size_t i = 0; i < p->fd_count; i++)
        if (p->fds[i].fd < 0 || p->fds[i].target < 0 || p->fds[i].target > 1023)
            return err_set(err, ERR_INVALID, "descriptor %zu of a jail plan is out of range", i);
    for (size_t i = 0; i < p->fd_count; i++)
        for (size_t j = 0; j < i; j++)
            if (p->fds[i].target == p->fds[j].target)
                return err_set(err, ERR_INVALID, "descriptor %d is given twice", p->fds[i].target);
    if (p->net_fd >= 0 && (p->ns & JAIL_NS_NET))
        return err_set(err, ERR_INVALID, "a jail plan has two network namespaces");
    if (p->seccomp != JAIL_SECCOMP_NONE && !p->no_new_privs)
        return err_set(err, ERR_INVALID, "a system call filter needs no_new_privs");
    if (check_ids(p, err) < 0)
        return -1;
    return check_mounts(p, err);
}
