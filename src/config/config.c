// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include "base/parse.h"
#include "config/config_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static const uint64_t limit_minimum[CONFIG_LIMIT_COUNT] = {
    [CONFIG_LIMIT_WALL_MS] = 1,
    [CONFIG_LIMIT_CPU_MS] = 1,
    [CONFIG_LIMIT_MEMORY_BYTES] = 16 * MIB,
    [CONFIG_LIMIT_PROCESSES] = 1,
    [CONFIG_LIMIT_OUTPUT_BYTES] = 1,
    [CONFIG_LIMIT_DISK_BYTES] = 64 * 1024,
};

void config_file_key(const struct config_key *key, char ret[64])
{
    size_t i = 0;

    for (; key->name[i] != '\0' && i < 63; i++)
        ret[i] = (char)tolower((unsigned char)key->name[i]);
    ret[i] = '\0';
}

const struct config_key *config_find(const char *file_key)
{
    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        char name[64];

        config_file_key(k, name);
        if (strcmp(name, file_key) == 0)
            return k;
    }
    return NULL;
}

// The table's offsets are of members with the type the entry says.
static void *member(struct config *c, const struct config_key *key)
{
    return (char *)c + key->offset;
}

static int set_number(struct config *c, const struct config_key *key, const char *value,
                      struct err *err)
{
    uint64_t n;
    int r = key->type == CONFIG_BYTES ? parse_bytes(value, key->min, key->max, &n)
                                      : parse_u64(value, key->min, key->max, &n);

    if (r < 0)
        return err_field(
            err, ERR_INVALID, key->name,
            "%s: '%.40s' is not a whole number%s from %" PRIu64 " to %" PRIu64, key->name, value,
            key->type == CONFIG_BYTES ? " (K, M or G may follow)" : "", key->min, key->max);
    *(uint64_t *)member(c, key) = n;
    return 0;
}

static int set_text(struct config *c, const struct config_key *key, const char *value,
                    struct err *err)
{
    if (strlen(value) >= CONFIG_TEXT_MAX)
        return err_field(err, ERR_INVALID, key->name, "%s: longer than %d bytes", key->name,
                         CONFIG_TEXT_MAX - 1);
    (void)snprintf(member(c, key), CONFIG_TEXT_MAX, "%s", value);
    return 0;
}

static int set_choice(struct config *c, const struct config_key *key, const char *value,
                      struct err *err)
{
    char list[128] = "";

    for (const char *const *choice = key->choices; *choice != NULL; choice++)
        if (value[0] != '\0' && strcmp(*choice, value) == 0)
            return set_text(c, key, value, err);
    for (const char *const *choice = key->choices; *choice != NULL && **choice != '\0'; choice++) {
        size_t used = strlen(list);

        (void)snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "", *choice);
    }
    return err_field(err, ERR_INVALID, key->name, "%s: '%.40s' is none of %s", key->name, value,
                     list);
}

static int set_key(struct config *c, const struct config_key *key, const char *value,
                   struct err *err)
{
    switch (key->type) {
    case CONFIG_TEXT:
        return set_text(c, key, value, err);
    case CONFIG_COUNT:
    case CONFIG_BYTES:
        return set_number(c, key, value, err);
    case CONFIG_CHOICE:
        return set_choice(c, key, value, err);
    case CONFIG_BOOL:
        if (parse_bool(value, member(c, key)) < 0)
            return err_field(err, ERR_INVALID, key->name, "%s: '%.40s' is not 0 or 1", key->name,
                             value);
        return 0;
    }
    return 0;
}

size_t config_index(const struct config_key *key)
{
    return (size_t)(key - config_keys);
}

int config_put(struct config *c, const char *file_key, const char *value, enum config_origin origin,
               unsigned line, struct err *err)
{
    const struct config_key *k = config_find(file_key);

    if (k == NULL)
        return err_field(err, ERR_INVALID, file_key, "%.60s: not a known setting", file_key);
    if (origin == CONFIG_FROM_FILE && c->origin[config_index(k)] == CONFIG_FROM_FILE)
        return err_field(err, ERR_INVALID, k->name, "%s: stands in line %u already", k->name,
                         c->origin_line[config_index(k)]);
    if (set_key(c, k, value, err) < 0)
        return -1;
    c->origin[config_index(k)] = (uint8_t)origin;
    c->origin_line[config_index(k)] = line > UINT16_MAX ? UINT16_MAX : (uint16_t)line;
    return 0;
}

int config_set(struct config *c, const char *key, const char *value, struct err *err)
{
    return config_put(c, key, value, CONFIG_FROM_OPTION, 0, err);
}

// PREFIX of PREFIX/bin/PROGRAM, where the service is installed beneath it; else false.
static bool find_prefix(char *ret, size_t size)
{
    char path[PATH_MAX];
    char probe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (n <= 0)
        return false;
    path[n] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(path, '/');

        if (slash == NULL)
            return false;
        *slash = '\0';
    }
    if (strlen(path) >= size)
        return false;
    (void)snprintf(probe, sizeof(probe), "%.4000s" CONFIG_PROGRAMS "/csb-launch", path);
    (void)snprintf(ret, size, "%s", path);
    return access(probe, X_OK) == 0;
}

static void set_installed(struct config *c, const struct config_key *k, const char *prefix)
{
    bool relative = strncmp(k->installed, CONFIG_PREFIX, sizeof(CONFIG_PREFIX) - 1) == 0;
    char value[CONFIG_TEXT_MAX];

    (void)snprintf(value, sizeof(value), "%s%s", relative ? prefix : "",
                   k->installed + (relative ? sizeof(CONFIG_PREFIX) - 1 : 0));
    (void)set_key(c, k, value, NULL); // the prefix is short enough for all of them
}

void config_init(struct config *c)
{
    char prefix[CONFIG_TEXT_MAX / 2];
    bool installed = find_prefix(prefix, sizeof(prefix));

    memset(c, 0, sizeof(*c));
    for (const struct config_key *k = config_keys; k->name != NULL; k++)
        if (installed && k->installed != NULL)
            set_installed(c, k, prefix);
        else
            (void)set_key(c, k, k->def, NULL); // tests/unit/test_config.c sets every default
    for (int i = 0; i < CONFIG_LIMIT_COUNT; i++)
        c->limits[i].min = limit_minimum[i];
}

void config_value_text(const struct config *c, const struct config_key *key, char *ret, size_t size)
{
    const char *at = (const char *)c + key->offset;

    if (key->type == CONFIG_TEXT || key->type == CONFIG_CHOICE)
        (void)snprintf(ret, size, "%s", at);
    else if (key->type == CONFIG_BOOL)
        (void)snprintf(ret, size, "%d", *(const bool *)(const void *)at);
    else
        (void)snprintf(ret, size, "%" PRIu64, *(const uint64_t *)(const void *)at);
}
