// SPDX-License-Identifier: Apache-2.0
//
// Decoding of /run and /prepare.
#include "agent/spec.h"

#include "tap.h"

#define LIMITS                                                                                     \
    "{\"wall_ms\":1000,\"cpu_ms\":900,\"memory_bytes\":1048576,\"processes\":10,"                  \
    "\"output_bytes\":100,\"disk_bytes\":4096}"
#define RUN                                                                                        \
    "\"run\":{\"argv\":[\"/bin/a\"],\"args\":[\"x\",\"y\"],\"env\":{},\"limits\":" LIMITS "}"
#define FILES "\"files\":[{\"path\":\"main.py\",\"size\":3}],\"stdin_size\":2"

static bool accepts(const char *text, size_t body)
{
    struct run_spec spec;
    struct err err = ERR_INIT;
    bool ok = run_spec_parse(text, strlen(text), body, &spec, &err) == 0;

    if (ok)
        run_spec_release(&spec);
    else
        printf("# %s\n", err.message);
    return ok;
}

static const char *find_env(char **envp, const char *name)
{
    size_t len = strlen(name);

    for (; *envp != NULL; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

static void test_fields(void)
{
    const char *text = "{\"prepared\":\"py\"," FILES ",\"compile\":null,"
                       "\"run\":{\"argv\":[\"/bin/a\",\"b\"],\"args\":[\"c\"],"
                       "\"env\":{\"HOME\":\"/x\",\"A\":\"1=2\"},\"limits\":" LIMITS "}}";
    struct run_spec spec;
    struct err err = ERR_INIT;

    if (!CHECK(run_spec_parse(text, strlen(text), 5, &spec, &err) == 0))
        return;
    CHECK_STR(spec.prepared, "py");
    CHECK_INT(spec.file_count, 1);
    CHECK_STR(spec.files[0].path, "main.py");
    CHECK_INT(spec.files_bytes, 3);
    CHECK_INT(spec.stdin_size, 2);
    CHECK(!spec.has_compile);
    CHECK_STR(spec.run.argv[0], "/bin/a");
    CHECK_STR(spec.run.argv[1], "b");
    CHECK_STR(spec.run.argv[2], "c");
    CHECK(spec.run.argv[3] == NULL);
    CHECK_STR(find_env(spec.run.envp, "HOME"), "/x");
    CHECK_STR(find_env(spec.run.envp, "A"), "1=2");
    CHECK_STR(find_env(spec.run.envp, "LANG"), "C.UTF-8");
    CHECK_INT(spec.run.limits.cpu_ms, 900);
    run_spec_release(&spec);
}

static void test_paths(void)
{
    static const struct {
        const char *path;
        bool ok;
    } cases[] = {
        {"a", true},   {"a/b.py", true}, {".hidden", true},    {"a..b", true},   {"", false},
        {"/a", false}, {"../a", false},  {"a/../b", false},    {"a/./b", false}, {"a//b", false},
        {"a/", false}, {".", false},     {"a\\u0000b", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[1024];
        snprintf(text, sizeof(text),
                 "{\"files\":[{\"path\":\"%s\",\"size\":0}],\"stdin_size\":0," RUN "}",
                 cases[i].path);
        CHECK_MSG(accepts(text, 0) == cases[i].ok, "path '%s' is %s", cases[i].path,
                  cases[i].ok ? "taken" : "refused");
    }
}

static void test_refused(void)
{
    CHECK(accepts("{" FILES "," RUN "}", 5));
    CHECK(!accepts("{" FILES "," RUN "}", 4));
    CHECK(!accepts("{" FILES "," RUN "}", 6));
    CHECK(!accepts("{" FILES "," RUN, 5));
    CHECK(!accepts("[]", 0));
    CHECK(!accepts("{" FILES "}", 5));
    CHECK(!accepts("{\"files\":[],\"stdin_size\":0," RUN "}", 0));
    CHECK(!accepts("{\"files\":[{\"path\":\"a\",\"size\":-1}],\"stdin_size\":1," RUN "}", 0));
    CHECK(!accepts("{" FILES ",\"run\":{\"argv\":[],\"env\":{},\"limits\":" LIMITS "}}", 5));
    CHECK(!accepts("{" FILES ",\"run\":{\"argv\":[1],\"env\":{},\"limits\":" LIMITS "}}", 5));
    CHECK(!accepts("{" FILES ",\"run\":{\"argv\":[\"a\"],\"env\":{},\"limits\":{}}}", 5));
    CHECK(!accepts(
        "{" FILES ",\"run\":{\"argv\":[\"a\"],\"env\":{\"A=B\":\"\"},\"limits\":" LIMITS "}}", 5));
    CHECK(!accepts("{" FILES ",\"run\":{\"argv\":[\"a\"],\"env\":{\"A\":1},\"limits\":" LIMITS "}}",
                   5));
}

static void test_prepare(void)
{
    const char *text = "{\"id\":\"py\",\"argv\":[\"/bin/a\"],\"env\":{\"P\":\"1\"},"
                       "\"ready_ms\":10}";
    struct prepare_spec spec;
    struct err err = ERR_INIT;

    if (CHECK(prepare_spec_parse(text, strlen(text), &spec, &err) == 0)) {
        CHECK_STR(spec.id, "py");
        CHECK_INT(spec.ready_ms, 10);
        CHECK_INT(spec.command.limits.memory_bytes, 0);
        CHECK_STR(find_env(spec.command.envp, "CSB_CONTROL_FD"), "3");
        CHECK_STR(find_env(spec.command.envp, "P"), "1");
        prepare_spec_release(&spec);
    }
    text = "{\"id\":\"\",\"argv\":[\"/bin/a\"],\"env\":{},\"ready_ms\":10}";
    CHECK(prepare_spec_parse(text, strlen(text), &spec, &err) < 0);
}

int main(void)
{
    test_fields();
    test_paths();
    test_refused();
    test_prepare();
    return tap_done();
}
