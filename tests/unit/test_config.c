// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"
#include "config/config_internal.h"
#include "tap.h"

#include <stdlib.h>
#include <unistd.h>

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
    check_refused("api_host", "host.example", "API_HOST");
    check_refused("isolation", "", "ISOLATION");
    check_refused("isolation", "vm", "ISOLATION");
    check_refused("accel", "hvf", "ACCEL");
    check_refused("allow_unauthenticated", "maybe", "ALLOW_UNAUTHENTICATED");
    check_refused("body_max_bytes", "1T", "BODY_MAX_BYTES");
    check_refused("default_timeout", "301", "DEFAULT_TIMEOUT");
    check_refused("limit_memory_bytes", "1G", "LIMIT_MEMORY_BYTES");
    check_refused("vm_memory_mb", "512", "VM_MEMORY_MB");
    check_refused("max_timeout", "10", "MAX_TIMEOUT");
    check_refused("webhook_allow", "10.0.0.0/33", "WEBHOOK_ALLOW");
    check_refused("webhook_allow", "::1, host.example", "WEBHOOK_ALLOW");
    check_refused("pool_max", "2", "POOL_MAX");
    check_refused("kernel_path", longer, "KERNEL_PATH");
    check_refused("cgroup_name", "", "CGROUP_NAME");
    check_refused("cgroup_name", "../x", "CGROUP_NAME");
    check_refused("cgroup_name", "a/b", "CGROUP_NAME");
    check_refused("cgroup_name", ".a", "CGROUP_NAME");
    check_refused("allowed_hosts", "http://a.example/", "ALLOWED_HOSTS");
    check_refused("allowed_hosts", "good.example, a.example:8000", "ALLOWED_HOSTS");
    check_refused("allowed_hosts", "*", "ALLOWED_HOSTS");
    check_refused("allowed_hosts", "::1", "ALLOWED_HOSTS");
    check_refused("allowed_hosts", "[]", "ALLOWED_HOSTS");
    check_refused("sandbox_domain", "a b", "SANDBOX_DOMAIN");
    check_refused("sandbox_domain", "https://a.example", "SANDBOX_DOMAIN");
    check_refused("sandbox_domain", "a.example:", "SANDBOX_DOMAIN");
    check_refused("sandbox_domain", ":80", "SANDBOX_DOMAIN");
    check_refused("sandbox_domain", "[::1]:80", "SANDBOX_DOMAIN");
    longer[CONFIG_DOMAIN_MAX + 1] = '\0';
    check_refused("sandbox_domain", longer, "SANDBOX_DOMAIN");
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
    static const char *const hosts[] = {"127.0.0.1", "127.1.2.3", "::1",
                                        "localhost", "0.0.0.0",   "::"};
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        config_init(&config);
        CHECK(config_set(&config, "api_host", hosts[i], &err) == 0 &&
              config_finish(&config, &err) == 0);
    }
    config_init(&config);
    CHECK(config_set(&config, "allow_unauthenticated", "1", &err) == 0 &&
          config_finish(&config, &err) == 0);
    CHECK(config_set(&config, "tenant_runs", "1024", &err) == 0 && config.tenant_runs == 1024);
    CHECK(config_set(&config, "body_max_bytes", "8M", &err) == 0 &&
          config.body_max_bytes == 8u << 20);
    config_init(&config);
    CHECK(config_set(&config, "allowed_hosts", ",box.example, Other_1.example,[fd00::1]", &err) ==
              0 &&
          config_set(&config, "sandbox_domain", "box.example:8443", &err) == 0 &&
          config_set(&config, "cgroup_name", "_a.b-1", &err) == 0);
    CHECK_INT(config_finish(&config, &err), 0);
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
    CHECK(strstr(err.message, "API_PORT: the value is missing") != NULL);
    CHECK_INT(config_load_option(&config, "api-port=1", &err), -1);
    CHECK_INT(config_load_option(&config, "--=1", &err), -1);
    CHECK_INT(config_load_file(&config, "/nonexistent", &err), -1);
}

struct told {
    size_t count;
    char text[8][256];
};

static void note_problem(void *arg, const struct err *e)
{
    struct told *told = arg;

    if (told->count < 8)
        (void)snprintf(told->text[told->count], sizeof(told->text[0]), "%s", e->message);
    told->count++;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

// All problems are told, each with where it is.
static void test_load_problems(void)
{
    static char variable[] = "POOL_SIZE=many";
    static char option[] = "--accel=hvf";
    static char max[] = "--max-timeout=5";
    char *const environment[] = {variable, NULL};
    char *const options[] = {option, max, NULL};
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    const struct config_sources sources = {path, environment, options};
    static const char *const expected[] = {
        ":2: API_PORT: '70000'",      ":4: nonsense: not a known setting",
        ":5: expected 'key = value'", "environment: POOL_SIZE: 'many'",
        "command line: ACCEL: 'hvf'", ":6: DEFAULT_TIMEOUT: DEFAULT_TIMEOUT is above MAX_TIMEOUT"};
    struct told told = {0};

    CHECK(fd >= 0);
    write_file(path, "# comment\napi_port = 70000\n\nnonsense = 1\nword\n"
                     "default_timeout = 7\nqueue_max = 9\n");
    CHECK_INT(config_load(&config, &sources, note_problem, &told), 6);
    for (size_t i = 0; i < 6; i++)
        CHECK_MSG(strstr(told.text[i], expected[i]) != NULL, "problem %zu: %s", i, told.text[i]);
    CHECK_INT(config.queue_max, 9);
    CHECK_INT(config.api_port, 8000);
    (void)unlink(path);
    (void)close(fd);
}

// What contradicts a default is told where it stands, and so is what stands in a file twice.
static void test_file_problems(void)
{
    char *const none[] = {NULL};
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    const struct config_sources sources = {path, none, none};
    struct told told = {0};

    CHECK(fd >= 0);
    write_file(path, "api_port = 1\npool_max = 2\napi_port = 2\n\nmax_timeout = 10\n"
                     "webhook_allow = 10.0.0.0/33\n");
    CHECK_INT(config_load(&config, &sources, note_problem, &told), 4);
    CHECK_MSG(strstr(told.text[0], ":3: API_PORT: stands in line 1 already"), "%s", told.text[0]);
    CHECK_MSG(strstr(told.text[1], ":5: MAX_TIMEOUT: DEFAULT_TIMEOUT is above MAX_TIMEOUT"), "%s",
              told.text[1]);
    CHECK_MSG(strstr(told.text[2], ":2: POOL_MAX: POOL_SIZE is above POOL_MAX"), "%s",
              told.text[2]);
    CHECK_MSG(strstr(told.text[3], ":6: WEBHOOK_ALLOW: '10.0.0.0/33'"), "%s", told.text[3]);
    CHECK_INT(config.api_port, 1);
    (void)unlink(path);
    (void)close(fd);
}

static void test_origins(void)
{
    static char variable[] = "POOL_SIZE=4";
    static char option[] = "--queue-max=5";
    char *const environment[] = {variable, NULL};
    char *const options[] = {option, NULL};
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    const struct config_sources sources = {path, environment, options};
    struct told told = {0};
    char text[65536] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");

    CHECK(fd >= 0 && out != NULL);
    write_file(path, "pool_size = 9\n\napi_port = 1\n");
    CHECK_INT(config_load(&config, &sources, note_problem, &told), 0);
    config_print_values(&config, path, true, out);
    (void)fclose(out);
    CHECK(strstr(text, ":3\napi_port = 1\n") != NULL);
    CHECK(strstr(text, "# environment\npool_size = 4\n") != NULL);
    CHECK(strstr(text, "# command line\nqueue_max = 5\n") != NULL);
    CHECK(strstr(text, "# default\nisolation = auto\n") != NULL);
    (void)unlink(path);
    (void)close(fd);
}

struct changes {
    size_t reloadable, other;
};

static void note_change(void *arg, const char *name, const char *before, const char *after,
                        bool reloadable)
{
    struct changes *c = arg;

    CHECK(strcmp(before, after) != 0);
    if (reloadable && strcmp(name, "POOL_SIZE") == 0)
        c->reloadable++;
    else if (!reloadable && strcmp(name, "API_PORT") == 0)
        c->other++;
}

static void test_diff(void)
{
    static struct config after;
    struct changes changes = {0};

    config_init(&config);
    config_init(&after);
    after.pool_size = 7;
    after.api_port = 9;
    config_diff(&config, &after, note_change, &changes);
    CHECK_INT(changes.reloadable, 1);
    CHECK_INT(changes.other, 1);
}

// What --print-config writes is a file that can be read, with every setting in it.
static void test_print_file(void)
{
    char text[65536] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");

    CHECK(out != NULL);
    config_print_file(out);
    (void)fclose(out);
    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        char key[64];
        char line[80];

        config_file_key(k, key);
        (void)snprintf(line, sizeof(line), "\n#%s =", key);
        CHECK_MSG(strstr(text, line) != NULL, "%s stands in the file", key);
    }
}

int main(void)
{
    test_load_problems();
    test_file_problems();
    test_origins();
    test_diff();
    test_print_file();
    test_defaults();
    test_refused();
    test_tree();
    test_accepted();
    test_sources();
    return tap_done();
}
