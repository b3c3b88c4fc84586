// SPDX-License-Identifier: Apache-2.0
//
// The compile cache by itself, and runs over the fake driver that fill it and are served by it.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "sandbox/compile_cache.h"
#include "sandbox/runtime.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (1u << 20)

static struct runtime_table *runtimes;
static const struct runtime *fake_rt;

// The module.

static struct compile_key key_of(const char *text)
{
    struct compile_key key = {{0}};

    memcpy(key.digest, text, strlen(text));
    return key;
}

static void put(struct compile_cache *c, const char *key, size_t len, const char *log)
{
    struct compile_key k = key_of(key);
    struct buf data = BUF_INIT;
    struct buf words = BUF_INIT;

    memset(buf_reserve(&data, len + 1), key[0], len);
    data.len = len;
    (void)buf_append(&words, log, strlen(log));
    compile_cache_put(c, &k, &data, &words);
    CHECK_MSG(data.data == NULL && words.data == NULL, "put %s takes what it is given", key);
}

// The artifact's length, or -1.
static long get(struct compile_cache *c, const char *key)
{
    struct compile_key k = key_of(key);
    const struct compile_artifact *a = compile_cache_get(c, &k);
    long len = a == NULL ? -1 : (long)a->len;

    compile_artifact_unref(a);
    return len;
}

static struct compile_cache *cache(uint64_t max)
{
    struct compile_cache *c = NULL;

    if (compile_cache_new(max, &c, NULL) < 0)
        abort();
    return c;
}

static void test_store(void)
{
    struct compile_cache *c = cache(16 * MIB);
    struct engine_cache_status st;
    struct compile_key k = key_of("b");
    const struct compile_artifact *held;

    CHECK_INT(get(c, "a"), -1);
    put(c, "a", 100, "warning");
    put(c, "b", 200, "");
    CHECK_INT(get(c, "a"), 100);
    held = compile_cache_get(c, &k);
    CHECK(held != NULL && held->len == 200 && held->data[0] == 'b' && held->log_len == 0);
    put(c, "b", 300, "");
    CHECK_INT(get(c, "b"), 300);
    CHECK(held != NULL && held->len == 200 && held->data[199] == 'b');
    compile_artifact_unref(held);
    compile_cache_status(c, &st);
    CHECK_INT(st.entries, 2);
    CHECK_INT(st.hits, 3);
    CHECK_INT(st.misses, 1);
    CHECK(st.bytes > 400 && st.bytes < 4096 && st.max_bytes == 16 * MIB);
    compile_cache_free(c);
}

// The least recently used goes first, the sum is bounded, and no entry takes more than its share.
static void test_bounds(void)
{
    struct compile_cache *c = cache(8 * MIB);
    struct engine_cache_status st;
    char name[8];

    CHECK(compile_cache_artifact_max(c) < MIB && compile_cache_artifact_max(c) > MIB - 4096);
    put(c, "big", compile_cache_artifact_max(c) + 1, "");
    CHECK_INT(get(c, "big"), -1);
    put(c, "log", compile_cache_artifact_max(c), "too much with it");
    CHECK_INT(get(c, "log"), -1);
    put(c, "empty", 0, "");
    CHECK_INT(get(c, "empty"), -1);
    put(c, "keep", 512 * 1024, "");
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        put(c, name, 512 * 1024, "");
        CHECK_INT(get(c, "keep"), 512 * 1024);
    }
    CHECK_INT(get(c, "n0"), -1);
    CHECK_INT(get(c, "n39"), 512 * 1024);
    compile_cache_status(c, &st);
    CHECK(st.bytes <= 8 * MIB && st.entries >= 14);
    compile_cache_free(c);
    c = cache(0);
    CHECK_INT(compile_cache_artifact_max(c), 0);
    put(c, "a", 1, "");
    CHECK_INT(get(c, "a"), -1);
    compile_cache_free(c);
    c = cache(1ull << 40);
    CHECK_INT(compile_cache_artifact_max(c), AGENT_ARTIFACT_MAX);
    compile_cache_free(c);
}

static bool same_key(const struct run_request *a, const struct run_request *b, const char *template)
{
    struct compile_key x, y;

    compile_cache_key(a, "template", &x);
    compile_cache_key(b, template, &y);
    return memcmp(&x, &y, sizeof(x)) == 0;
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void test_key(void)
{
    struct runtime rt = {.id = "rust", .version = "1", .compile_artifact = text("main")};
    struct runtime other;
    struct run_file files[2] = {{"main.rs", (const uint8_t *)"abc", 3},
                                {"x/y.rs", (const uint8_t *)"def", 3}};
    struct run_file changed[2];
    struct run_request a = {.runtime = &rt, .files = files, .file_count = 2};
    struct run_request b = a;
    const char *const words[] = {"A=1", NULL};

    rt.compile.argv[0] = text("/usr/bin/rustc");
    rt.compile.argc = 1;
    b.args = b.env = words;
    b.stdin_data = (const uint8_t *)"x";
    b.stdin_len = 1;
    b.limits.memory_bytes = 7;
    CHECK_MSG(same_key(&a, &b, "template"), "what reaches the run alone is no part of the key");
    CHECK_MSG(!same_key(&a, &a, "other"), "the template is");

    b = a;
    b.runtime = &other;
    other = rt;
    CHECK(same_key(&a, &b, "template"));
    memcpy(other.version, "2", 2);
    CHECK_MSG(!same_key(&a, &b, "template"), "the version is");
    other = rt;
    other.compile.argv[1] = text("-O");
    other.compile.argc = 2;
    CHECK_MSG(!same_key(&a, &b, "template"), "a flag is");
    other = rt;
    other.env[0] = text("A=1");
    other.env_count = 1;
    CHECK_MSG(!same_key(&a, &b, "template"), "the compiler's environment is");
    other = rt;
    memcpy(other.id, "rast", 5);
    CHECK_MSG(!same_key(&a, &b, "template"), "the runtime is");

    b = a;
    b.files = changed;
    memcpy(changed, files, sizeof(files));
    changed[1].path = "x/z.rs";
    CHECK_MSG(!same_key(&a, &b, "template"), "a file's path is");
    memcpy(changed, files, sizeof(files));
    changed[1].data = (const uint8_t *)"deg";
    CHECK_MSG(!same_key(&a, &b, "template"), "a file's content is");
    memcpy(changed, files, sizeof(files));
    changed[0].len = 2;
    CHECK_MSG(!same_key(&a, &b, "template"), "a file's length is");
    b.files = files;
    b.file_count = 1;
    CHECK_MSG(!same_key(&a, &b, "template"), "the number of files is");
}

// Runs.

static void write_text(int dir, const char *name, const char *content)
{
    _cleanup_fd_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)fd_write_all(fd, content, strlen(content));
}

static void load_runtimes(void)
{
    char path[] = "/tmp/csb-cache-XXXXXX";
    struct err err = ERR_INIT;
    int dir;

    if (mkdtemp(path) == NULL)
        abort();
    dir = open(path, O_DIRECTORY | O_CLOEXEC);
    write_text(dir, "fake.runtime",
               "extension = txt\ncompile = /fakec main.txt\ncompile_artifact = main\n"
               "run = /work/main\nprepare = /fakec main.txt\npool_ready = 3\n");
    if (runtime_table_load(dir, &runtimes, &err) < 0)
        abort();
    fake_rt = runtime_find(runtimes, "fake");
    (void)unlinkat(dir, "fake.runtime", 0);
    (void)close(dir);
    (void)rmdir(path);
}

static struct engine *start(uint64_t cache_bytes)
{
    struct engine_config config = {
        .driver = &driver_fake,
        .driver_config = {.state_dir_fd = AT_FDCWD, .accel = "auto"},
        .runtimes = runtimes,
        .shape = {.memory_mib = 256, .cpus = 1},
        .pool_ready = 1,
        .pool_max = 16,
        .queue_max = 16,
        .queue_wait_ms = 60000,
        .compile_cache_bytes = cache_bytes,
    };
    uint64_t deadline = clock_deadline_ms(60000);
    struct engine_status st = {0};
    struct engine *e = NULL;

    if (engine_new(&config, &e, NULL) < 0)
        abort();
    while (!st.ready && clock_mono_ns() < deadline) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        engine_status(e, &st);
    }
    return e;
}

struct outcome {
    int code; // enum err_code, 0: none
    char out[256], compile[256];
    struct run_result result;
};

struct job {
    const char *code, *path2, *content2;
    const char *const *env, *const *args;
    const char *input;
    uint64_t disk;
};

static void add(char *to, size_t size, const struct run_event *event)
{
    size_t len = strlen(to);

    (void)snprintf(to + len, size - len, "%.*s", (int)(event->len < 200 ? event->len : 200),
                   (const char *)event->data);
}

static struct outcome run(struct engine *e, struct job j)
{
    struct run_file files[2] = {{fake_rt->source, (const uint8_t *)j.code, strlen(j.code)}};
    struct run_request req = {
        .runtime = fake_rt,
        .files = files,
        .file_count = 1,
        .env = j.env,
        .args = j.args,
        .stdin_data = (const uint8_t *)j.input,
        .stdin_len = j.input == NULL ? 0 : strlen(j.input),
        .limits = {5000, 5000, 64 << 20, 16, 1 << 20, j.disk == 0 ? 32 * MIB : j.disk},
    };
    struct outcome o = {0};
    struct err err = ERR_INIT;
    struct run_event event = {0};
    struct run *r = NULL;
    bool may;

    if (j.path2 != NULL) {
        files[1] = (struct run_file){j.path2, (const uint8_t *)j.content2, strlen(j.content2)};
        req.file_count = 2;
    }
    if (run_open(e, &req, &r, &may, &err) < 0) {
        o.code = (int)err.code;
        return o;
    }
    while (event.result == NULL && o.code == 0) {
        if (run_next(r, &event, &err) < 0)
            o.code = (int)err.code;
        else if (event.kind == RUN_EVENT_STDOUT)
            add(o.out, sizeof(o.out), &event);
        else if (event.kind == RUN_EVENT_COMPILE_OUT)
            add(o.compile, sizeof(o.compile), &event);
        else if (event.kind == RUN_EVENT_RESULT)
            o.result = *event.result;
    }
    run_close(r);
    return o;
}

static const char hello[] = "warn unused variable\nout hello\nexit 3\n";

static void test_hit(void)
{
    struct engine *e = start(64 * MIB);
    struct engine_status st;
    const char *const words[] = {"A=1", NULL};
    struct outcome first = run(e, (struct job){.code = hello});
    struct outcome second = run(e, (struct job){.code = hello});

    CHECK_INT(first.code, 0);
    CHECK(first.result.compiled && !first.result.compile_cached);
    CHECK_INT(second.code, 0);
    CHECK(second.result.compiled && second.result.compile_cached && second.result.ran);
    CHECK_STR(first.out, "hello\n");
    CHECK_STR(second.out, first.out);
    CHECK_STR(first.compile, "unused variable\n");
    CHECK_STR(second.compile, first.compile);
    CHECK_INT(second.result.run.exit_code, 3);
    CHECK(second.result.compile.reason == RUN_EXIT && second.result.compile.exit_code == 0);
    CHECK_INT(second.result.compile.wall_ns, 0);
    CHECK_INT(second.result.compile.stdout_bytes, first.result.compile.stdout_bytes);

    second = run(e, (struct job){.code = hello, .env = words, .args = words, .input = "x"});
    CHECK_MSG(second.result.compile_cached, "arguments, environment and input are the run's");
    second = run(e, (struct job){.code = "warn unused variable\nout hello\nexit 4\n"});
    CHECK_MSG(!second.result.compile_cached, "other code is compiled");
    second = run(e, (struct job){.code = hello, .path2 = "data", .content2 = "1"});
    CHECK_MSG(!second.result.compile_cached, "so is one with another file");
    second = run(e, (struct job){.code = hello, .path2 = "data", .content2 = "1"});
    CHECK(second.result.compile_cached);
    second = run(e, (struct job){.code = hello, .path2 = "data", .content2 = "2"});
    CHECK(!second.result.compile_cached);
    engine_status(e, &st);
    CHECK_INT(st.compile_cache.entries, 4);
    CHECK_INT(st.compile_cache.hits, 3);
    CHECK_INT(st.compile_cache.misses, 4);
    engine_free(e, 1000);
}

// Runs `job` twice: the second must have been compiled too.
static void never_kept(struct engine *e, const char *what, struct job job)
{
    struct outcome o = run(e, job);

    CHECK_INT(o.code, 0);
    o = run(e, job);
    CHECK_INT(o.code, 0);
    CHECK_MSG(o.result.compiled && !o.result.compile_cached, "%s is not kept", what);
}

static void test_not_kept(void)
{
    struct engine *e = start(16 * MIB);
    struct outcome o;

    never_kept(e, "a program that does not compile", (struct job){.code = "reject no\nout x\n"});
    never_kept(e, "what is larger than its share", (struct job){.code = "make 3000000\nout x\n"});
    never_kept(e, "an empty artifact", (struct job){.code = "make 0\nout x\n"});
    never_kept(e, "a program with a file in the artifact's place",
               (struct job){.code = "out x\n", .path2 = "main", .content2 = "out y\n"});
    never_kept(e, "nor with a directory there",
               (struct job){.code = "out x\n", .path2 = "main/a", .content2 = "out y\n"});
    // It is the compile step that counts.
    o = run(e, (struct job){.code = "out x\nspin\n"});
    CHECK(o.result.run.reason == RUN_CPU);
    o = run(e, (struct job){.code = "out x\nspin\n"});
    CHECK_MSG(o.result.compile_cached, "a program that compiles and then fails is kept");
    // 1.5 MB made, and a disk of 1 MiB the second time.
    o = run(e, (struct job){.code = "make 1500000\n"});
    o = run(e, (struct job){.code = "make 1500000\n"});
    CHECK(o.result.compile_cached);
    o = run(e, (struct job){.code = "make 1500000\n", .disk = MIB});
    CHECK_MSG(!o.result.compile_cached,
              "an artifact without room is made again, to fail as it does");
    engine_free(e, 1000);
    e = start(0);
    never_kept(e, "anything, without a cache,", (struct job){.code = "out x\n"});
    engine_free(e, 1000);
}

static void *client(void *arg)
{
    struct engine *e = arg;
    char code[64];
    long wrong = 0;

    for (int i = 0; i < 24; i++) {
        struct outcome o;

        (void)snprintf(code, sizeof(code), "warn w%d\nout %d\nexit %d\n", i % 6, i % 6, i % 6);
        o = run(e, (struct job){.code = code});
        if (o.code != 0 || o.result.run.exit_code != i % 6 || o.out[0] != '0' + i % 6 ||
            o.compile[1] != '0' + i % 6)
            wrong++;
    }
    return (void *)wrong;
}

// Clients that send the same at once: each may compile, all get what is theirs. The cache holds
// fewer programs than there are.
static void test_concurrent(void)
{
    struct engine *e = start(10 * 1100);
    struct engine_status st;
    pthread_t threads[4];
    long wrong = 0;

    for (size_t i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, client, e) != 0)
            abort();
    for (size_t i = 0; i < 4; i++) {
        void *one = NULL;

        (void)pthread_join(threads[i], &one);
        wrong += (long)one;
    }
    engine_status(e, &st);
    CHECK_INT(wrong, 0);
    CHECK_INT(st.compile_cache.hits + st.compile_cache.misses, 96);
    CHECK_MSG(st.compile_cache.hits > 0 && st.compile_cache.entries <= 10, "%llu of 96 were hits",
              (unsigned long long)st.compile_cache.hits);
    engine_free(e, 1000);
}

// An agent that sends what nobody asked for, or more than it may, ends its run and spoils nothing.
static void test_hostile(void)
{
    struct engine *e = start(16 * MIB);
    struct outcome o = run(e, (struct job){.code = "leak 100\nout x\n"});

    CHECK_INT(o.code, 0);
    o = run(e, (struct job){.code = "leak 100\nout x\n"});
    CHECK_MSG(o.code == 0 && !o.result.compile_cached, "more than the result tells is not kept");
    o = run(e, (struct job){.code = "leak 3000000\nout x\n"});
    CHECK_INT(o.code, ERR_PROTOCOL);
    engine_free(e, 1000);
    e = start(0);
    o = run(e, (struct job){.code = "leak 1\nout x\n"});
    CHECK_INT(o.code, ERR_PROTOCOL);
    engine_free(e, 1000);
}

int main(void)
{
    test_store();
    test_bounds();
    test_key();
    load_runtimes();
    test_hit();
    test_not_kept();
    test_concurrent();
    test_hostile();
    runtime_table_free(runtimes);
    return tap_done();
}
