// SPDX-License-Identifier: Apache-2.0
//
// Decoding of /run and /prepare, and the verdict on a step.
#include "agent/spec.h"
#include "agent/verdict.h"

#include "tap.h"

#include <signal.h>

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

static void test_artifact(void)
{
    const char *text = "{\"files\":[{\"path\":\"a\",\"size\":0},"
                       "{\"path\":\"main\",\"size\":1,\"executable\":true}],\"stdin_size\":0,"
                       "\"artifact\":{\"path\":\"out/main\",\"max_bytes\":1000}," RUN "}";
    struct run_spec spec;
    struct err err = ERR_INIT;

    if (CHECK(run_spec_parse(text, strlen(text), 1, &spec, &err) == 0)) {
        CHECK(!spec.files[0].executable && spec.files[1].executable);
        CHECK_STR(spec.artifact, "out/main");
        CHECK_INT(spec.artifact_max, 1000);
        run_spec_release(&spec);
    }
    CHECK(accepts("{" FILES ",\"artifact\":null," RUN "}", 5));
    CHECK(!accepts("{" FILES ",\"artifact\":\"main\"," RUN "}", 5));
    CHECK(!accepts("{" FILES ",\"artifact\":{\"path\":\"../a\",\"max_bytes\":1}," RUN "}", 5));
    CHECK(!accepts("{" FILES ",\"artifact\":{\"path\":\"a\",\"max_bytes\":0}," RUN "}", 5));
    CHECK(!accepts("{" FILES ",\"artifact\":{\"path\":\"a\",\"max_bytes\":8388609}," RUN "}", 5));
    CHECK(!accepts("{" FILES ",\"artifact\":{\"path\":\"a\"}," RUN "}", 5));
}

// Rows of docs/API.md, Verdicts.
static void test_verdicts(void)
{
    enum {
        MEMORY = STEP_BIT(STEP_MEMORY),
        PROCESSES = STEP_BIT(STEP_PROCESSES),
        DISK = STEP_BIT(STEP_DISK),
        TIMEOUT = STEP_BIT(STEP_TIMEOUT),
    };
    static const struct {
        enum step_reason seen;
        int code, sig;
        unsigned hit;
        bool full;
        enum step_reason reason;
        int sig_told;
        unsigned hit_told;
    } rows[] = {
        {STEP_EXIT, 0, 0, 0, false, STEP_EXIT, 0, 0},
        {STEP_EXIT, 1, 0, 0, false, STEP_EXIT, 0, 0},
        {STEP_SIGNAL, -1, SIGSEGV, 0, false, STEP_SIGNAL, SIGSEGV, 0},
        {STEP_EXIT, 0, 0, MEMORY | PROCESSES, true, STEP_EXIT, 0, MEMORY | PROCESSES | DISK},
        {STEP_EXIT, 1, 0, 0, true, STEP_DISK, 0, DISK},
        {STEP_SIGNAL, -1, SIGBUS, 0, true, STEP_DISK, SIGBUS, DISK},
        {STEP_EXIT, 1, 0, PROCESSES, false, STEP_PROCESSES, 0, PROCESSES},
        {STEP_EXIT, 1, 0, PROCESSES, true, STEP_PROCESSES, 0, PROCESSES | DISK},
        {STEP_EXIT, 137, 0, MEMORY | PROCESSES, true, STEP_MEMORY, 0, MEMORY | PROCESSES | DISK},
        {STEP_SIGNAL, -1, SIGKILL, MEMORY, false, STEP_MEMORY, 0, MEMORY},
        {STEP_SIGNAL, -1, SIGABRT, MEMORY, false, STEP_MEMORY, SIGABRT, MEMORY},
        {STEP_SIGNAL, -1, SIGKILL, 0, false, STEP_SIGNAL, SIGKILL, 0},
        {STEP_TIMEOUT, -1, 0, TIMEOUT | MEMORY, true, STEP_TIMEOUT, 0, TIMEOUT | MEMORY | DISK},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct step_result r = {.reason = rows[i].seen,
                                .exit_code = rows[i].code,
                                .signal = rows[i].sig,
                                .limits_hit = rows[i].hit};

        verdict_settle(&r, rows[i].full);
        CHECK_MSG(r.reason == rows[i].reason && r.exit_code == rows[i].code &&
                      r.signal == rows[i].sig_told && r.limits_hit == rows[i].hit_told,
                  "verdict %zu", i);
    }
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
        CHECK(!spec.zygote);
        prepare_spec_release(&spec);
    }
    text = "{\"id\":\"py\",\"argv\":[\"/bin/a\"],\"env\":{},\"ready_ms\":10,\"zygote\":true}";
    if (CHECK(prepare_spec_parse(text, strlen(text), &spec, &err) == 0)) {
        CHECK(spec.zygote);
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
    test_artifact();
    test_verdicts();
    test_prepare();
    return tap_done();
}
