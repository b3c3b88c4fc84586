// SPDX-License-Identifier: Apache-2.0
//
// Reads plans from text. The text is copied and cut into words in place; every string of the plan
// points into that copy. Each directive has a row in a table and a function that takes its words.
#include "jail/jail_internal.h"
#include "jail/plan_text_internal.h"

#include "base/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define WORDS_MAX   (JAIL_GROUPS_MAX + 8)
#define STRINGS_MAX 1024 // arguments, and environment
#define PROCS_MAX   8
#define FD_MAX      1023

// All of a plan in one block of memory, as small as may be. Arguments and variables have room for
// one of each per line of the text, and the NULLs after them; then comes the text.
struct plan_block {
    struct jail_plan_owned owned;
    struct jail_mount mounts[JAIL_MOUNTS_MAX];
    struct jail_rlimit rlimits[JAIL_RLIMITS_MAX];
    struct jail_fd fds[JAIL_FDS_MAX];
    gid_t groups[JAIL_GROUPS_MAX];
    struct jail_id_map uid_map[JAIL_MAPS_MAX];
    struct jail_id_map gid_map[JAIL_MAPS_MAX];
    const char *procs[PROCS_MAX + 1];
    const char **argv;
    const char **envp;
    const char *strings[];
};

struct reader {
    struct jail_plan *plan;
    struct plan_block *store;
    const int *fds;
    size_t fd_count;
    size_t proc_count;
    size_t arg_count;
    size_t env_count;
};

// Each function below takes the words after the directive. 0, -EINVAL, or -E2BIG above a limit.

static int number(const char *word, uint64_t max, uint64_t *ret)
{
    return parse_u64(word, 0, max, ret) < 0 ? -EINVAL : 0;
}

static int number32(const char *word, uint32_t *ret)
{
    uint64_t v = 0;
    int r = number(word, UINT32_MAX, &v);

    *ret = (uint32_t)v;
    return r;
}

// Digits of base 8 or 16, nothing else. By hand: strtoull() of a newer C library would not be found
// in an image's, where zygote.so is loaded.
static int digits(const char *word, unsigned base, uint64_t max, uint64_t *ret)
{
    static const char all[] = "0123456789abcdef";
    size_t len = strlen(word);
    uint64_t v = 0;

    if (len == 0 || len > 16)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        const char *at = strchr(all, word[i]);

        if (at == NULL || at >= all + base)
            return -EINVAL;
        v = v * base + (uint64_t)(at - all);
    }
    *ret = v;
    return v > max ? -EINVAL : 0;
}

static int descriptor(const struct reader *r, const char *word, int *ret)
{
    uint64_t index = 0;

    if (r->fd_count == 0 || number(word, r->fd_count - 1, &index) < 0 || r->fds[index] < 0)
        return -EINVAL;
    *ret = r->fds[index];
    return 0;
}

static int read_ns(struct reader *r, char **words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct plan_word *w = plan_word_find(plan_ns_words, words[i]);

        if (w == NULL)
            return -EINVAL;
        r->plan->ns |= (uint32_t)w->value;
    }
    return 0;
}

static int read_root(struct reader *r, char **words, size_t count)
{
    (void)count;
    r->plan->root = words[0];
    return words[0][0] == '/' ? 0 : -EINVAL;
}

static int set_flag(const struct plan_word *table, void *object, const char *name)
{
    const struct plan_word *w = plan_word_find(table, name);

    if (w == NULL)
        return -EINVAL;
    ((uint8_t *)object)[w->value] = 1;
    return 0;
}

static int mount_option(const struct reader *r, struct jail_mount *m, char *word)
{
    char *value = strchr(word, '=');
    uint64_t n = 0;
    int rc;

    if (value == NULL)
        return set_flag(plan_mount_flag_words, m, word);
    *value++ = '\0';
    if (strcmp(word, "source") == 0) {
        m->source = value;
        return 0;
    }
    if (strcmp(word, "fd") == 0)
        return descriptor(r, value, &m->fd);
    if (strcmp(word, "size") == 0)
        return number(value, INT64_MAX, &m->size_bytes);
    if (strcmp(word, "inodes") == 0)
        return number(value, INT64_MAX, &m->inodes);
    if (strcmp(word, "mode") != 0)
        return -EINVAL;
    rc = digits(value, 8, 07777, &n);
    m->mode = (uint32_t)n;
    return rc;
}

static int read_mount(struct reader *r, char **words, size_t count)
{
    const struct plan_word *kind = plan_word_find(plan_kind_words, words[0]);
    struct jail_mount *m = &r->store->mounts[r->plan->mount_count];
    int rc = 0;

    if (r->plan->mount_count == JAIL_MOUNTS_MAX)
        return -E2BIG;
    if (kind == NULL)
        return -EINVAL;
    r->plan->mount_count++;
    m->kind = (enum jail_mount_kind)kind->value;
    m->target = words[1];
    m->fd = -1;
    for (size_t i = 2; rc == 0 && i < count; i++)
        rc = mount_option(r, m, words[i]);
    return rc;
}

static int read_scratch(struct reader *r, char **words, size_t count)
{
    int rc = number(words[0], INT64_MAX, &r->plan->scratch_bytes);

    (void)count;
    return rc < 0 ? rc : number(words[1], INT64_MAX, &r->plan->scratch_inodes);
}

static int read_user(struct reader *r, char **words, size_t count)
{
    int rc = number32(words[0], &r->plan->uid);

    (void)count;
    return rc < 0 ? rc : number32(words[1], &r->plan->gid);
}

static int read_groups(struct reader *r, char **words, size_t count)
{
    if (count > JAIL_GROUPS_MAX)
        return -E2BIG;
    for (size_t i = 0; i < count; i++)
        if (number32(words[i], &r->store->groups[i]) < 0)
            return -EINVAL;
    r->plan->group_count = count;
    return 0;
}

static int read_map(struct jail_id_map *maps, size_t *count, char **words)
{
    struct jail_id_map *m = &maps[*count];

    if (*count == JAIL_MAPS_MAX)
        return -E2BIG;
    if (number32(words[0], &m->inside) < 0 || number32(words[1], &m->outside) < 0 ||
        number32(words[2], &m->count) < 0)
        return -EINVAL;
    ++*count;
    return 0;
}

static int read_uid_map(struct reader *r, char **words, size_t count)
{
    (void)count;
    return read_map(r->store->uid_map, &r->plan->uid_map_count, words);
}

static int read_gid_map(struct reader *r, char **words, size_t count)
{
    (void)count;
    return read_map(r->store->gid_map, &r->plan->gid_map_count, words);
}

static int read_keep_caps(struct reader *r, char **words, size_t count)
{
    (void)count;
    return digits(words[0], 16, UINT64_MAX, &r->plan->keep_caps);
}

static int read_identity(struct reader *r, char **words, size_t count)
{
    int rc = number32(words[0], &r->plan->view_uid);

    (void)count;
    r->plan->identity = 1;
    return rc < 0 ? rc : number32(words[1], &r->plan->view_gid);
}

static int read_cgroup_fd(struct reader *r, char **words, size_t count)
{
    (void)count;
    return descriptor(r, words[0], &r->plan->cgroup_fd);
}

static int read_net_fd(struct reader *r, char **words, size_t count)
{
    (void)count;
    return descriptor(r, words[0], &r->plan->net_fd);
}

static int read_cgroup_procs(struct reader *r, char **words, size_t count)
{
    (void)count;
    if (r->proc_count == PROCS_MAX)
        return -E2BIG;
    r->store->procs[r->proc_count++] = words[0];
    r->plan->cgroup_v1_procs = r->store->procs;
    return words[0][0] == '/' ? 0 : -EINVAL;
}

static int read_hostname(struct reader *r, char **words, size_t count)
{
    (void)count;
    r->plan->hostname = words[0];
    return 0;
}

static int read_cwd(struct reader *r, char **words, size_t count)
{
    (void)count;
    r->plan->cwd = words[0];
    return words[0][0] == '/' ? 0 : -EINVAL;
}

static int read_rlimit(struct reader *r, char **words, size_t count)
{
    const struct plan_word *w = plan_word_find(plan_rlimit_words, words[0]);
    struct jail_rlimit *l = &r->store->rlimits[r->plan->rlimit_count];

    (void)count;
    if (r->plan->rlimit_count == JAIL_RLIMITS_MAX)
        return -E2BIG;
    if (w == NULL)
        return -EINVAL;
    r->plan->rlimit_count++;
    l->resource = (int)w->value;
    l->value = RLIM_INFINITY;
    return strcmp(words[1], PLAN_TEXT_UNLIMITED) == 0 ? 0 : number(words[1], INT64_MAX, &l->value);
}

static int read_fd(struct reader *r, char **words, size_t count)
{
    struct jail_fd *fd = &r->store->fds[r->plan->fd_count];
    uint64_t target = 0;

    (void)count;
    if (r->plan->fd_count == JAIL_FDS_MAX)
        return -E2BIG;
    if (number(words[0], FD_MAX, &target) < 0)
        return -EINVAL;
    fd->target = (int)target;
    r->plan->fd_count++;
    return descriptor(r, words[1], &fd->fd);
}

static int read_seccomp(struct reader *r, char **words, size_t count)
{
    const struct plan_word *w = plan_word_find(plan_seccomp_words, words[0]);

    (void)count;
    if (w == NULL)
        return -EINVAL;
    r->plan->seccomp = (enum jail_seccomp)w->value;
    return 0;
}

static int read_set(struct reader *r, char **words, size_t count)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = set_flag(plan_flag_words, r->plan, words[i]);
    return rc;
}

static int read_arg(struct reader *r, char **words, size_t count)
{
    (void)count;
    if (r->arg_count == STRINGS_MAX)
        return -E2BIG;
    r->store->argv[r->arg_count++] = words[0];
    return 0;
}

static int read_env(struct reader *r, char **words, size_t count)
{
    (void)count;
    if (r->env_count == STRINGS_MAX)
        return -E2BIG;
    r->store->envp[r->env_count++] = words[0];
    return strchr(words[0], '=') == NULL ? -EINVAL : 0;
}

static const struct {
    const char *name;
    size_t min; // words after the name
    size_t max;
    bool once;
    int (*read)(struct reader *r, char **words, size_t count);
} directives[] = {
    {"ns", 0, 8, true, read_ns},
    {"root", 1, 1, true, read_root},
    {"mount", 2, 16, false, read_mount},
    {"scratch", 2, 2, true, read_scratch},
    {"user", 2, 2, true, read_user},
    {"groups", 1, JAIL_GROUPS_MAX, true, read_groups},
    {"uid_map", 3, 3, false, read_uid_map},
    {"gid_map", 3, 3, false, read_gid_map},
    {"keep_caps", 1, 1, true, read_keep_caps},
    {"identity", 2, 2, true, read_identity},
    {"cgroup_fd", 1, 1, true, read_cgroup_fd},
    {"cgroup_procs", 1, 1, false, read_cgroup_procs},
    {"net_fd", 1, 1, true, read_net_fd},
    {"hostname", 1, 1, true, read_hostname},
    {"cwd", 1, 1, true, read_cwd},
    {"rlimit", 2, 2, false, read_rlimit},
    {"fd", 2, 2, false, read_fd},
    {"seccomp", 1, 1, true, read_seccomp},
    {"set", 0, 16, true, read_set},
    {"arg", 1, 1, false, read_arg},
    {"env", 1, 1, false, read_env},
};

#define DIRECTIVES (sizeof(directives) / sizeof(directives[0]))

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Undoes the escapes in place.
static int unescape(char *word)
{
    char *to = word;

    for (const char *p = word; *p != '\0'; p++) {
        int high;
        int low;

        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return -EINVAL;
        if (*p != '%') {
            *to++ = *p;
            continue;
        }
        high = hex_digit(p[1]);
        low = high < 0 ? -1 : hex_digit(p[2]);
        if (low < 0 || (high == 0 && low == 0))
            return -EINVAL;
        *to++ = (char)(high * 16 + low);
        p += 2;
    }
    *to = '\0';
    return 0;
}

static int split(char *line, char *words[WORDS_MAX], size_t *ret_count)
{
    size_t n = 0;

    for (char *p = line; p != NULL;) {
        char *space = strchr(p, ' ');

        if (space != NULL)
            *space++ = '\0';
        if (n == WORDS_MAX)
            return -E2BIG;
        if (unescape(p) < 0)
            return -EINVAL;
        words[n++] = p;
        p = space;
    }
    *ret_count = n;
    return 0;
}

static int read_line(struct reader *r, uint32_t *seen, char *line)
{
    char *words[WORDS_MAX];
    size_t count = 0;
    int rc = split(line, words, &count);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < DIRECTIVES; i++) {
        if (strcmp(directives[i].name, words[0]) != 0)
            continue;
        if (count - 1 < directives[i].min || count - 1 > directives[i].max ||
            (directives[i].once && (*seen & 1u << i) != 0))
            return -EINVAL;
        *seen |= 1u << i;
        return directives[i].read(r, words + 1, count - 1);
    }
    return -EINVAL;
}

static int read_lines(struct reader *r, char *text, struct err *err)
{
    uint32_t seen = 0;
    unsigned number_of_line = 0;

    _Static_assert(DIRECTIVES <= 32, "a bit per directive");
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n');
        int rc = -EINVAL;

        number_of_line++;
        if (end != NULL) {
            *end = '\0';
            if (number_of_line == 1)
                rc = strcmp(line, PLAN_TEXT_HEAD) == 0 ? 0 : -EINVAL;
            else
                rc = read_line(r, &seen, line);
        }
        if (rc == -E2BIG)
            return err_set(err, ERR_TOO_LARGE, "jail plan, line %u: too many", number_of_line);
        if (rc < 0)
            return err_set(err, ERR_INVALID, "jail plan, line %u: not understood", number_of_line);
        line = end + 1;
    }
    return number_of_line > 0 ? 0 : err_set(err, ERR_INVALID, "jail plan: empty");
}

static int read_plan(struct plan_block *b, char *text, const struct jail_plan_text *from,
                     struct err *err)
{
    struct jail_plan *p = &b->owned.plan;
    struct reader r = {.plan = p, .store = b, .fds = from->fds, .fd_count = from->fd_count};

    *p = (struct jail_plan)JAIL_PLAN_INIT;
    p->mounts = b->mounts;
    p->rlimits = b->rlimits;
    p->fds = b->fds;
    p->groups = b->groups;
    p->uid_map = b->uid_map;
    p->gid_map = b->gid_map;
    if (read_lines(&r, text, err) < 0)
        return -1;
    if (r.arg_count > 0) {
        p->argv = b->argv;
        p->envp = b->envp;
    }
    return jail_check_plan(p, r.arg_count == 0, err);
}

static size_t count_lines(const struct jail_plan_text *from)
{
    size_t lines = 0;

    for (size_t i = 0; i < from->len; i++)
        lines += from->text[i] == '\n';
    return lines;
}

static size_t block_bytes(const struct jail_plan_text *from, size_t lines)
{
    return sizeof(struct plan_block) + 2 * (lines + 1) * sizeof(char *) + from->len + 1;
}

static int check_text(const struct jail_plan_text *from, struct err *err)
{
    if (from->len > JAIL_PLAN_TEXT_MAX)
        return err_set(err, ERR_TOO_LARGE, "jail plan: more than %u bytes", JAIL_PLAN_TEXT_MAX);
    if (memchr(from->text, '\0', from->len) != NULL)
        return err_set(err, ERR_INVALID, "jail plan: has a zero byte");
    return 0;
}

static int read_into(struct plan_block *b, size_t lines, const struct jail_plan_text *from,
                     struct err *err)
{
    char *text = (char *)(b->strings + 2 * (lines + 1));

    memset(b, 0, block_bytes(from, lines));
    b->argv = b->strings;
    b->envp = b->strings + lines + 1;
    memcpy(text, from->text, from->len);
    return read_plan(b, text, from, err);
}

int jail_plan_read_in(void *memory, size_t size, const struct jail_plan_text *from,
                      struct jail_plan **ret, struct err *err)
{
    struct plan_block *b = memory;
    size_t lines;

    if (check_text(from, err) < 0)
        return -1;
    lines = count_lines(from);
    if (block_bytes(from, lines) > size)
        return err_set(err, ERR_TOO_LARGE, "jail plan: no room for %zu lines", lines);
    if (read_into(b, lines, from, err) < 0)
        return -1;
    *ret = &b->owned.plan;
    return 0;
}

int jail_plan_read(const char *text, size_t len, const int fds[], size_t fd_count,
                   struct jail_plan_owned **ret, struct err *err)
{
    const struct jail_plan_text from = {text, len, fds, fd_count};
    struct plan_block *b;
    size_t lines;

    if (check_text(&from, err) < 0)
        return -1;
    lines = count_lines(&from);
    b = malloc(block_bytes(&from, lines));
    if (b == NULL)
        return err_sys(err, ENOMEM, "read the jail plan");
    if (read_into(b, lines, &from, err) < 0) {
        free(b);
        return -1;
    }
    *ret = &b->owned;
    return 0;
}

void jail_plan_free(struct jail_plan_owned *plan)
{
    free(plan); // the first of its block
}
