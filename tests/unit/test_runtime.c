// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static char dir_path[] = "/tmp/csb-runtime-XXXXXX";
static int dir_fd;

static void put(const char *name, const char *text)
{
    _cleanup_fd_ int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    (void)fd_write_all(fd, text, strlen(text));
}

static void check_fails(const char *text, const char *message)
{
    struct runtime_table *t = NULL;
    struct err err = ERR_INIT;

    put("bad.runtime", text);
    CHECK_INT(runtime_table_load(dir_fd, &t, &err), -1);
    CHECK_STR(err.message, message);
    (void)unlinkat(dir_fd, "bad.runtime", 0);
}

static void test_load(void)
{
    struct runtime_table *t = NULL;
    struct err err = ERR_INIT;
    const struct runtime *rt;
    char hash[65];

    put("awk.runtime", "name = AWK\nversion = 1\nextension = awk\naliases = mawk gawk\n"
                       "run = /usr/bin/awk -f main.awk\nenv.posixly_correct = 1\npool_ready = 2\n");
    put("ignored.txt", "nonsense");
    CHECK_INT(runtime_table_load(dir_fd, &t, &err), 0);
    CHECK_INT(runtime_count(t), 1);
    rt = runtime_find(t, "gawk");
    CHECK(rt != NULL && rt == runtime_at(t, 0));
    CHECK_STR(rt->id, "awk");
    CHECK_STR(rt->source, "main.awk");
    CHECK_INT(rt->run.argc, 3);
    CHECK_STR(rt->run.argv[2], "main.awk");
    CHECK_STR(rt->env[0], "POSIXLY_CORRECT=1");
    CHECK(runtime_find(t, "perl") == NULL);
    memcpy(hash, runtime_table_hash(t), sizeof(hash));
    CHECK_INT(strlen(hash), 64);
    runtime_table_free(t);

    put("awk.runtime", "extension = awk\nrun = /usr/bin/awk -f main.awk\n");
    CHECK_INT(runtime_table_load(dir_fd, &t, &err), 0);
    CHECK_STR(runtime_at(t, 0)->name, "awk");
    CHECK(strcmp(hash, runtime_table_hash(t)) != 0);
    runtime_table_free(t);
}

static void test_path_check(void)
{
    static const char *const bad[] = {"",     "/abs", "a/../b", "..", "./a",
                                      "a//b", "a/",   "a\nb",   ".",  "a/."};
    static const char *const good[] = {"main.py", "lib/util.py", "..a", "a b/ü.txt", ".hidden"};
    char longest[257];
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_MSG(run_path_check(bad[i], &err) == -1, "refused: bad path %zu", i);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_MSG(run_path_check(good[i], &err) == 0, "accepted: good path %zu", i);
    memset(longest, 'x', sizeof(longest));
    longest[256] = '\0';
    CHECK_INT(run_path_check(longest, &err), -1);
    longest[255] = '\0';
    CHECK_INT(run_path_check(longest, &err), 0);
    CHECK_INT(run_path_check("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", &err), -1);
}

int main(void)
{
    if (mkdtemp(dir_path) == NULL)
        return 1;
    dir_fd = open(dir_path, O_DIRECTORY | O_CLOEXEC);
    check_fails("extension = b\n", "bad.runtime: 'run' is missing");
    check_fails("run = b\n", "bad.runtime: 'extension' is missing");
    check_fails("run = b\nextension = ../x\n", "bad.runtime:2: '../x' is not an extension");
    check_fails("colour = red\n", "bad.runtime:1: unknown key 'colour'");
    check_fails("pool_ready = many\n", "bad.runtime:1: expected a number from 0 to 256");
    check_fails("run = /b\nextension = b\nwrap.unless = x\n",
                "bad.runtime: wrap.unless needs wrap.prefix and wrap.suffix");
    check_fails("run = b\nextension = b\n",
                "bad.runtime: 'run' must begin with the program's path");
    check_fails("run = /b\nextension = b\nprepare = /b\nwarm_clone = yes\n",
                "bad.runtime: warm_clone needs warm and prepare");
    check_fails("run = /b\nextension = b\nzygote = yes\n", "bad.runtime: zygote needs prepare");
    check_fails("warm_clone = 1\n", "bad.runtime:1: expected yes or no");
    test_load();
    put("zz.runtime", "extension = z\nrun = /z\naliases = awk\n");
    {
        struct runtime_table *t = NULL;
        struct err err = ERR_INIT;

        CHECK_INT(runtime_table_load(dir_fd, &t, &err), -1);
        CHECK_STR(err.message, "alias 'awk' of zz is taken");
    }
    test_path_check();
    (void)unlinkat(dir_fd, "awk.runtime", 0);
    (void)unlinkat(dir_fd, "zz.runtime", 0);
    (void)unlinkat(dir_fd, "ignored.txt", 0);
    (void)rmdir(dir_path);
    return tap_done();
}
