// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/user.h"

#include "base/fd.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIELDS_MAX 7

struct field {
    const char *at;
    size_t len;
};

// Splits the line at *text at its colons and moves *text past it. Returns the number of fields, 0
// at the end of the text.
static size_t next_line(const char **text, struct field fields[FIELDS_MAX])
{
    size_t len = strcspn(*text, "\n");
    const char *p = *text;
    const char *end = p + len;
    size_t count = 0;

    if (**text == '\0')
        return 0;
    while (count < FIELDS_MAX) {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        const char *stop = colon == NULL || count == FIELDS_MAX - 1 ? end : colon;
        fields[count++] = (struct field){p, (size_t)(stop - p)};
        if (stop == end)
            break;
        p = stop + 1;
    }
    *text = *end == '\n' ? end + 1 : end;
    return count;
}

static bool is(const struct field *f, const char *text)
{
    return f->len == strlen(text) && memcmp(f->at, text, f->len) == 0;
}

static bool to_id(const struct field *f, uint32_t *ret)
{
    char digits[12];
    uint64_t value;

    if (f->len >= sizeof(digits))
        return false;
    memcpy(digits, f->at, f->len);
    digits[f->len] = '\0';
    // The last id means "no change" to the kernel.
    if (parse_u64(digits, 0, UINT32_MAX - 1, &value) < 0)
        return false;
    *ret = (uint32_t)value;
    return true;
}

static void copy(char *to, size_t size, const struct field *f)
{
    size_t n = f->len < size ? f->len : size - 1;

    memcpy(to, f->at, n);
    to[n] = '\0';
}

static bool is_member(const struct field *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list->at, *end = list->at + list->len; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma == NULL ? end : comma;
        if ((size_t)(stop - p) == len && memcmp(p, name, len) == 0)
            return true;
        p = stop + 1;
    }
    return false;
}

static void find_groups(struct user *u)
{
    _cleanup_free_ char *text = NULL;
    struct field f[FIELDS_MAX];
    size_t n;

    u->groups[0] = u->gid;
    u->group_count = 1;
    if (fd_read_file(AT_FDCWD, "/etc/group", USER_FILE_MAX, &text, NULL) < 0)
        return;
    for (const char *p = text; (n = next_line(&p, f)) > 0;) {
        uint32_t gid;
        if (n < 4 || u->group_count == USER_GROUPS_MAX || !is_member(&f[3], u->name) ||
            !to_id(&f[2], &gid) || gid == u->gid)
            continue;
        u->groups[u->group_count++] = gid;
    }
}

int user_find(const char *name, struct user *ret)
{
    _cleanup_free_ char *text = NULL;
    struct field f[FIELDS_MAX];
    size_t n;
    int rc;

    if (name[0] == '\0' || strlen(name) > USER_NAME_MAX)
        return -ENOENT;
    rc = fd_read_file(AT_FDCWD, "/etc/passwd", USER_FILE_MAX, &text, NULL);
    if (rc < 0)
        return rc;
    for (const char *p = text; (n = next_line(&p, f)) > 0;) {
        uint32_t uid, gid;
        if (n < 6 || !is(&f[0], name) || !to_id(&f[2], &uid) || !to_id(&f[3], &gid))
            continue;
        copy(ret->name, sizeof(ret->name), &f[0]);
        copy(ret->home, sizeof(ret->home), &f[5]);
        if (ret->home[0] != '/')
            memcpy(ret->home, "/", 2);
        ret->uid = uid;
        ret->gid = gid;
        find_groups(ret);
        return 0;
    }
    return -ENOENT;
}

// The name in the file's line whose third field is `id`, else the number.
static void name_of(char **text, const char *path, uint32_t id, char ret[USER_NAME_MAX + 1])
{
    struct field f[FIELDS_MAX];
    size_t n;

    if (*text == NULL && fd_read_file(AT_FDCWD, path, USER_FILE_MAX, text, NULL) < 0)
        *text = strdup("");
    for (const char *p = *text == NULL ? "" : *text; (n = next_line(&p, f)) > 0;) {
        uint32_t have;
        if (n < 3 || !to_id(&f[2], &have) || have != id || f[0].len == 0)
            continue;
        copy(ret, USER_NAME_MAX + 1, &f[0]);
        return;
    }
    (void)snprintf(ret, USER_NAME_MAX + 1, "%u", id);
}

bool user_one_id(void)
{
    static int one = -1;
    _cleanup_free_ char *text = NULL;
    unsigned inside, outside, count;

    if (one < 0)
        one = fd_read_file(AT_FDCWD, "/proc/self/uid_map", 4096, &text, NULL) == 0 &&
              sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
              count == 1 && strchr(text, '\n') == text + strlen(text) - 1;
    return one == 1;
}

int user_give(const struct user *user, int fd, const char *path)
{
    if (!user_one_id() &&
        fchownat(fd, path, user->uid, user->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 &&
        errno != EPERM)
        return -errno;
    return 0;
}

void user_names_for(struct user_names *names, const struct user *viewer)
{
    names->viewer_uid = viewer->uid;
    names->viewer_gid = viewer->gid;
}

const char *user_name(struct user_names *names, uid_t uid)
{
    if (uid == 0 && user_one_id())
        uid = names->viewer_uid;
    if (names->user_text[0] == '\0' || names->uid != uid)
        name_of(&names->passwd, "/etc/passwd", uid, names->user_text);
    names->uid = uid;
    return names->user_text;
}

const char *user_group_name(struct user_names *names, gid_t gid)
{
    if (gid == 0 && user_one_id())
        gid = names->viewer_gid;
    if (names->group_text[0] == '\0' || names->gid != gid)
        name_of(&names->group, "/etc/group", gid, names->group_text);
    names->gid = gid;
    return names->group_text;
}

void user_names_release(struct user_names *names)
{
    free(names->passwd);
    free(names->group);
    *names = (struct user_names){0};
}
