// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"
#include "config/config_internal.h"
#include "tap.h"

static struct config config;

static void test_defaults(void)
{
    struct err err = ERR_INIT;

    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        char key[64];

        config_file_key(k, key);
        config_init(&config);
        CHECK_MSG(config_set(&config, key, k->def, &err) == 0, "the default of %s is valid",
                  k->name);
        CHECK_MSG(config_find(key) == k, "%s is in the table once", k->name);
    }
    config_init(&config);
    CHECK_INT(config_finish(&config, &err), 0);
    CHECK_STR(config.api_host, "127.0.0.1");
    CHECK_INT(config.api_port, 8000);
    CHECK_INT(config.pool_size, 3);
    CHECK_INT(config.limits[CONFIG_LIMIT_WALL_MS].def, 30000);
    CHECK_INT(config.limits[CONFIG_LIMIT_WALL_MS].max, 300000);
}

static void check_refused(const char *key, const char *value, const char *field)
{
    struct err err = ERR_INIT;
    bool ok;

    config_init(&config);
    ok = config_set(&config, key, value, &err) < 0 || config_finish(&config, &err) < 0;
    CHECK_MSG(ok && err.code == ERR_INVALID && strcmp(err.field, field) == 0,
              "%s = %.20s is refused naming %s", key, value, field);
}

static void test_refused(void)
{
    char longer[CONFIG_TEXT_MAX + 1];

    memset(longer, 'x', sizeof(longer));
    longer[CONFIG_TEXT_MAX] = '\0';
    check_refused("api_port", "65536", "API_PORT");
    check_refused("api_port", "80 ", "API_PORT");
    check_refused("api_port", "", "API_PORT");
    check_refused("agent_port", "0", "AGENT_PORT");
    check_refused("api_host", "0.0.0.0", "API_HOST");
    check_refused("api_host", "::", "API_HOST");
    check_refused("api_host", "host.example", "API_HOST");
    check_refused("isolation", "", "ISOLATION");
    check_refused("isolation", "vm", "ISOLATION");
    check_refused("accel", "hvf", "ACCEL");
    check_refused("allow_unauthenticated", "maybe", "ALLOW_UNAUTHENTICATED");
    check_refused("body_max_bytes", "1T", "BODY_MAX_BYTES");
    check_refused("default_timeout", "301", "DEFAULT_TIMEOUT");
    check_refused("limit_memory_bytes", "1G", "LIMIT_MEMORY_BYTES");
    check_refused("vm_memory_mb", "512", "LIMIT_MEMORY_BYTES_MAX");
    check_refused("pool_max", "2", "POOL_MAX");
    check_refused("kernel_path", longer, "KERNEL_PATH");
    check_refused("nonsense", "1", "nonsense");
}

static void test_tree(void)
{
    static const char *const trees[][2] = {
        {"/a/b/rootfs.erofs", "/a/b/rootfs"}, {"root.img", "rootfs"}, {"/r", "/rootfs"}};
    struct err err = ERR_INIT;
    struct config c;

    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
        config_init(&c);
        CHECK_INT(config_set(&c, "rootfs_path", trees[i][0], &err), 0);
        CHECK_INT(config_finish(&c, &err), 0);
        CHECK_STR(c.rootfs_tree, trees[i][1]);
    }
    config_init(&c);
    CHECK_INT(config_set(&c, "rootfs_tree", "/x", &err), 0);
    CHECK_INT(config_finish(&c, &err), 0);
    CHECK_STR(c.rootfs_tree, "/x");
    // The memory of a guest is none of process isolation's affairs.
    config_init(&c);
    CHECK_INT(config_set(&c, "isolation", "process", &err), 0);
    CHECK_INT(config_set(&c, "vm_memory_mb", "512", &err), 0);
    CHECK_INT(config_finish(&c, &err), 0);
}

static void test_accepted(void)
{
    static const char *const hosts[] = {"127.0.0.1", "127.1.2.3", "::1", "localhost"};
    struct err err = ERR_INIT;

    for (size_t i = 0; i < 4; i++) {
        config_init(&config);
        CHECK(config_set(&config, "api_host", hosts[i], &err) == 0 &&
              config_finish(&config, &err) == 0);
    }
    config_init(&config);
    CHECK(config_set(&config, "api_host", "0.0.0.0", &err) == 0 &&
          config_set(&config, "allow_unauthenticated", "1", &err) == 0 &&
          config_finish(&config, &err) == 0);
    CHECK(config_set(&config, "body_max_bytes", "8M", &err) == 0 &&
          config.body_max_bytes == 8u << 20);
}

static void test_sources(void)
{
    static char port[] = "API_PORT=9001";
    static char empty[] = "POOL_SIZE=";
    static char other[] = "API_PORTX=5";
    static char bad[] = "POOL_SIZE=many";
    char *const good_env[] = {port, empty, other, NULL};
    char *const bad_env[] = {bad, NULL};
    struct err err = ERR_INIT;

    config_init(&config);
    CHECK_INT(config_load_env(&config, good_env, &err), 0);
    CHECK_INT(config.api_port, 9001);
    CHECK_INT(config.pool_size, 3);
    CHECK_INT(config_load_env(&config, bad_env, &err), -1);
    CHECK(strstr(err.message, "POOL_SIZE") != NULL);
    CHECK_INT(config_load_option(&config, "--api-port=9002", &err), 0);
    CHECK_INT(config.api_port, 9002);
    CHECK_INT(config_load_option(&config, "--api-port", &err), -1);
    CHECK_INT(config_load_option(&config, "api-port=1", &err), -1);
    CHECK_INT(config_load_option(&config, "--=1", &err), -1);
    CHECK_INT(config_load_file(&config, "/nonexistent", &err), -1);
}

int main(void)
{
    test_defaults();
    test_refused();
    test_tree();
    test_accepted();
    test_sources();
    return tap_done();
}
