// SPDX-License-Identifier: Apache-2.0
//
// Where settings come from, and what must hold between them.
#include "config/config.h"

#include "base/ini.h"
#include "config/config_internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int on_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    (void)line; // ini_parse() puts it into the message
    return config_set(arg, key, value, err);
}

int config_load_file(struct config *c, const char *path, struct err *err)
{
    return ini_parse_file(AT_FDCWD, path, on_entry, c, err);
}

int config_load_env(struct config *c, char *const *environ_list, struct err *err)
{
    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        size_t len = strlen(k->name);

        for (char *const *e = environ_list; *e != NULL; e++) {
            char key[64];

            if (strncmp(*e, k->name, len) != 0 || (*e)[len] != '=' || (*e)[len + 1] == '\0')
                continue;
            config_file_key(k, key);
            if (config_set(c, key, *e + len + 1, err) < 0)
                return err_wrap(err, "environment");
        }
    }
    return 0;
}

int config_load_option(struct config *c, const char *option, struct err *err)
{
    const char *eq = strchr(option, '=');
    char key[64];
    size_t len;

    if (strncmp(option, "--", 2) != 0 || eq == NULL)
        return err_set(err, ERR_INVALID, "'%.60s' is not an option; see --help", option);
    len = (size_t)(eq - option) - 2;
    if (len >= sizeof(key))
        return err_set(err, ERR_INVALID, "'%.60s' is not an option; see --help", option);
    for (size_t i = 0; i < len; i++)
        key[i] = option[2 + i] == '-' ? '_' : option[2 + i];
    key[len] = '\0';
    return config_set(c, key, eq + 1, err);
}

// Kept here rather than in the HTTP layer: the rule about open addresses is one of configuration.
static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static int check_address(const struct config *c, struct err *err)
{
    unsigned char any[sizeof(struct in6_addr)];

    if (strcmp(c->api_host, "localhost") != 0 && inet_pton(AF_INET, c->api_host, any) != 1 &&
        inet_pton(AF_INET6, c->api_host, any) != 1)
        return err_field(err, ERR_INVALID, "API_HOST",
                         "API_HOST is '%.60s'; it must be a numeric address or localhost",
                         c->api_host);
    if (!is_loopback(c->api_host) && !c->allow_unauthenticated)
        return err_field(err, ERR_INVALID, "API_HOST",
                         "API_HOST %.60s can be reached by others, and there are no keys: anyone "
                         "could run code. Set ALLOW_UNAUTHENTICATED=1 if that is meant",
                         c->api_host);
    return 0;
}

static int check_limits(struct config *c, struct err *err)
{
    static const char *const names[CONFIG_LIMIT_COUNT] = {
        [CONFIG_LIMIT_WALL_MS] = "DEFAULT_TIMEOUT",
        [CONFIG_LIMIT_CPU_MS] = "LIMIT_CPU_MS",
        [CONFIG_LIMIT_MEMORY_BYTES] = "LIMIT_MEMORY_BYTES",
        [CONFIG_LIMIT_PROCESSES] = "LIMIT_PROCESSES",
        [CONFIG_LIMIT_OUTPUT_BYTES] = "LIMIT_OUTPUT_BYTES",
        [CONFIG_LIMIT_DISK_BYTES] = "LIMIT_DISK_BYTES",
    };

    c->limits[CONFIG_LIMIT_WALL_MS].def = c->default_timeout_s * 1000;
    c->limits[CONFIG_LIMIT_WALL_MS].max = c->max_timeout_s * 1000;
    for (int i = 0; i < CONFIG_LIMIT_COUNT; i++)
        if (c->limits[i].def > c->limits[i].max)
            return err_field(err, ERR_INVALID, names[i], "%s is above its maximum, %" PRIu64,
                             names[i], c->limits[i].max);
    if (strcmp(c->isolation, "process") != 0 &&
        c->limits[CONFIG_LIMIT_MEMORY_BYTES].max > c->vm_memory_mb << 20)
        return err_field(err, ERR_INVALID, "LIMIT_MEMORY_BYTES_MAX",
                         "LIMIT_MEMORY_BYTES_MAX is above the memory of a guest, VM_MEMORY_MB");
    return 0;
}

static int derive_tree(struct config *c, struct err *err)
{
    const char *slash = strrchr(c->rootfs_path, '/');
    int dir_len = slash == NULL ? 0 : (int)(slash - c->rootfs_path) + 1;

    if (c->rootfs_tree[0] != '\0')
        return 0;
    if (snprintf(c->rootfs_tree, sizeof(c->rootfs_tree), "%.*srootfs", dir_len, c->rootfs_path) >=
        (int)sizeof(c->rootfs_tree))
        return err_field(err, ERR_INVALID, "ROOTFS_PATH", "ROOTFS_PATH is too long");
    return 0;
}

int config_finish(struct config *c, struct err *err)
{
    if (c->pool_max < c->pool_size)
        return err_field(err, ERR_INVALID, "POOL_MAX", "POOL_MAX is below POOL_SIZE");
    if (check_address(c, err) < 0 || check_limits(c, err) < 0 || derive_tree(c, err) < 0)
        return -1;
    return 0;
}
