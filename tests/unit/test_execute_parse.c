// SPDX-License-Identifier: Apache-2.0
//
// The checks that tests/integration/test_execute.py makes over HTTP are not repeated here; this
// looks at what a good request becomes, and at the edges of the limits.
#include "api/execute_parse.h"
#include "config/config.h"
#include "http/origin.h"
#include "sandbox/runtime.h"
#include "tap.h"

#include <fcntl.h>
#include <unistd.h>

static struct config config;
static struct runtime_table *runtimes;

static int parse(const char *body, struct execute_request *ret, struct err *err)
{
    *err = (struct err)ERR_INIT;
    return execute_parse(&config, runtimes, body, strlen(body), ret, err);
}

static void test_full(void)
{
    static const char body[] =
        "{\"language\":\"py\",\"version\":\"3.11\",\"code\":\"print(1)\",\"timeout\":1.5,"
        "\"files\":{\"lib/"
        "a.py\":\"x\\u0000y\",\"b\":{\"content\":\"AP8=\",\"encoding\":\"base64\"}},"
        "\"stdin\":{\"content\":\"in\"},\"args\":[\"one\",\"\"],\"env\":{\"A\":\"1=2\"},"
        "\"limits\":{\"memory_bytes\":33554432,\"processes\":5},\"network\":\"none\","
        "\"artifacts\":[],\"stream\":true}";
    struct execute_request x;
    struct err err;

    CHECK_INT(parse(body, &x, &err), 0);
    CHECK_STR(x.run.runtime->id, "python");
    CHECK_INT(x.run.file_count, 3);
    CHECK_STR(x.run.files[0].path, "main.py");
    CHECK(x.run.files[0].len == 8 && memcmp(x.run.files[0].data, "print(1)", 8) == 0);
    CHECK_STR(x.run.files[1].path, "lib/a.py");
    CHECK(x.run.files[1].len == 3 && memcmp(x.run.files[1].data, "x\0y", 3) == 0);
    CHECK(x.run.files[2].len == 2 && memcmp(x.run.files[2].data, "\0\xff", 2) == 0);
    CHECK(x.run.stdin_len == 2 && memcmp(x.run.stdin_data, "in", 2) == 0);
    CHECK(strcmp(x.run.args[0], "one") == 0 && strcmp(x.run.args[1], "") == 0 &&
          x.run.args[2] == NULL);
    CHECK(strcmp(x.run.env[0], "A=1=2") == 0 && x.run.env[1] == NULL);
    CHECK_INT(x.run.limits.wall_ms, 1500);
    CHECK_INT(x.run.limits.cpu_ms, 1500);
    CHECK_INT(x.run.limits.memory_bytes, 33554432);
    CHECK_INT(x.run.limits.processes, 5);
    CHECK_INT(x.run.limits.output_bytes, config.limits[CONFIG_LIMIT_OUTPUT_BYTES].def);
    CHECK(x.stream);
    execute_request_release(&x);
}

static void test_least(void)
{
    struct execute_request x;
    struct err err;

    CHECK_INT(parse("{\"language\":\"rust\",\"code\":\"x\"}", &x, &err), 0);
    CHECK(x.run.file_count == 1 && x.run.args == NULL && x.run.env == NULL &&
          x.run.stdin_len == 0 && !x.stream);
    CHECK_INT(x.run.limits.wall_ms, 30000);
    CHECK_STR(x.run.files[0].path, "main.rs");
    execute_request_release(&x);
    CHECK_INT(parse("{\"language\":\"rust\",\"code\":\"x\",\"timeout\":0.0001}", &x, &err), 0);
    CHECK_INT(x.run.limits.wall_ms, 1);
    execute_request_release(&x);
}

// Each limit has a default of the configuration's, and a request's own value in its place.
static void test_limits(void)
{
    static const struct {
        const char *name;
        enum config_limit limit;
        size_t offset;
    } rows[] = {
        {"wall_ms", CONFIG_LIMIT_WALL_MS, offsetof(struct run_limits, wall_ms)},
        {"cpu_ms", CONFIG_LIMIT_CPU_MS, offsetof(struct run_limits, cpu_ms)},
        {"memory_bytes", CONFIG_LIMIT_MEMORY_BYTES, offsetof(struct run_limits, memory_bytes)},
        {"processes", CONFIG_LIMIT_PROCESSES, offsetof(struct run_limits, processes)},
        {"output_bytes", CONFIG_LIMIT_OUTPUT_BYTES, offsetof(struct run_limits, output_bytes)},
        {"disk_bytes", CONFIG_LIMIT_DISK_BYTES, offsetof(struct run_limits, disk_bytes)},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct config_range *range = &config.limits[rows[i].limit];
        uint64_t wanted[] = {range->def, range->min, range->max};
        struct execute_request x;
        struct err err;

        if (rows[i].limit == CONFIG_LIMIT_CPU_MS) // of the wall clock's, by default
            wanted[0] = config.limits[CONFIG_LIMIT_WALL_MS].def * config.vm_cpus;
        for (int k = 0; k < 3; k++) {
            char body[256];
            uint64_t got = 0;

            (void)snprintf(body, sizeof(body),
                           "{\"language\":\"python\",\"code\":\"x\",\"limits\":{\"%s\":%llu}}",
                           k == 0 ? "wall_ms" : rows[i].name,
                           (unsigned long long)(k == 0 ? 30000 : wanted[k]));
            CHECK_INT(parse(body, &x, &err), 0);
            memcpy(&got, (const char *)&x.run.limits + rows[i].offset, sizeof(got));
            CHECK_MSG(got == wanted[k], "%s: %llu is %llu", rows[i].name, (unsigned long long)got,
                      (unsigned long long)wanted[k]);
            execute_request_release(&x);
        }
    }
}

static void check_refused(const char *body, const char *field)
{
    struct execute_request x;
    struct err err;
    bool ok = parse(body, &x, &err) < 0;

    CHECK_MSG(ok && strcmp(err.field, field) == 0, "%.50s is refused naming %s", body, field);
    if (!ok)
        execute_request_release(&x);
}

#define GOOD "{\"language\":\"python\",\"code\":\"x\","

static void test_refused(void)
{
    check_refused(GOOD "\"x\":1}", "x");
    check_refused(GOOD "\"timeout\":1e400}", "body");
    check_refused(GOOD "\"timeout\":1,\"limits\":{\"wall_ms\":5}}", "limits.wall_ms");
    check_refused(GOOD "\"files\":{\"main.py\":\"\"}}", "files.main.py");
    check_refused(GOOD "\"files\":{\"a/../b\":\"\"}}", "files.a/../b");
    check_refused(GOOD "\"env\":{\"CSB_CONTROL_FD\":\"3\"}}", "env.CSB_CONTROL_FD");
    check_refused(GOOD "\"args\":[1]}", "args[0]");
    check_refused("{\"language\":\"python\",\"code\":\"\\u0000\"}", "code");
}

// `count` files of one byte on the least disk: each takes a page.
static void check_files(int count, bool taken)
{
    char body[2048] = GOOD "\"limits\":{\"disk_bytes\":65536},\"files\":{";
    struct execute_request x;
    struct err err;

    for (int i = 0; i < count; i++)
        (void)snprintf(body + strlen(body), sizeof(body) - strlen(body), "%s\"f%d\":\"x\"",
                       i > 0 ? "," : "", i);
    (void)snprintf(body + strlen(body), sizeof(body) - strlen(body), "}}");
    if (!taken) {
        check_refused(body, "limits.disk_bytes");
        return;
    }
    CHECK_INT(parse(body, &x, &err), 0);
    execute_request_release(&x);
}

static void test_disk(void)
{
    check_files(15, true); // and the program itself
    check_files(16, false);
}

static void test_origin(void)
{
    CHECK(origin_host_ok("localhost", NULL) && origin_host_ok("localhost:8000", NULL));
    CHECK(origin_host_ok("127.0.0.1:1", NULL) && origin_host_ok("[::1]:8000", NULL));
    CHECK(!origin_host_ok("localhost.evil", NULL) && !origin_host_ok("evil", NULL));
    CHECK(!origin_host_ok("", NULL) && !origin_host_ok("localhost:x", NULL));
    CHECK(!origin_host_ok("[::1", NULL) && !origin_host_ok("[::1]x", NULL));
    CHECK(origin_host_ok("box.lan:80", "a, box.lan,b") && !origin_host_ok("box", "a, box.lan"));
    CHECK(origin_ok("https://localhost:3000", NULL) && !origin_ok("null", NULL));
    CHECK(!origin_ok("http://evil", NULL) && !origin_ok("localhost", NULL));
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    int dir = open(argc > 1 ? argv[1] : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    config_init(&config);
    if (config_finish(&config, &err) < 0 || runtime_table_load(dir, &runtimes, &err) < 0) {
        CHECK_MSG(false, "set-up: %s", err.message);
        return tap_done();
    }
    test_full();
    test_least();
    test_limits();
    test_refused();
    test_disk();
    test_origin();
    runtime_table_free(runtimes);
    (void)close(dir);
    return tap_done();
}
