// SPDX-License-Identifier: Apache-2.0
//
// Images on disk: what was stored is loaded, whatever is damaged is refused, and ids lead nowhere.
#include "base/fd.h"
#include "base/id.h"
#include "driver/image_store.h"

#include "synced.h"
#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STREAM_BYTES (3u << 20) // more than is handled at once
#define KILLS        20

static char dir[] = "/tmp/csb-images-XXXXXX";
static int store = -1;
static uint8_t stream[STREAM_BYTES];
static bool any_first_byte; // that of what is loaded may be any

static struct image_facts facts_of(void)
{
    struct image_facts f = {.shape = {.memory_mib = 512, .cpus = 2}, .stream_bytes = STREAM_BYTES};

    memset(f.template_key, 'a', TEMPLATE_KEY_LEN);
    memset(f.build_key, 'b', TEMPLATE_KEY_LEN);
    memset(f.machine_key, 'c', TEMPLATE_KEY_LEN);
    return f;
}

static bool save(const char *id, struct image_facts *facts)
{
    _cleanup_fd_ int fd = memfd_create("stream", MFD_CLOEXEC);
    struct err err = ERR_INIT;

    return fd_write_all(fd, stream, sizeof(stream)) == 0 &&
           image_store_save(store, id, fd, facts, &err) == 0;
}

static enum err_code load(const char *id)
{
    _cleanup_fd_ int fd = memfd_create("stream", MFD_CLOEXEC);
    static uint8_t back[STREAM_BYTES];
    struct image_facts facts;
    struct err err = ERR_INIT;

    if (image_store_facts(store, id, &facts, &err) < 0 ||
        image_store_load(store, id, &facts, fd, &err) < 0)
        return err.code;
    if (any_first_byte && pread(fd, stream, 1, 0) != 1)
        return ERR_INTERNAL;
    return facts.shape.memory_mib == 512 && facts.shape.cpus == 2 &&
                   facts.stream_bytes == STREAM_BYTES &&
                   pread(fd, back, sizeof(back), 0) == (ssize_t)sizeof(back) &&
                   memcmp(back, stream, sizeof(back)) == 0
               ? ERR_NONE
               : ERR_INTERNAL;
}

static void test_store(void)
{
    struct image_facts facts = facts_of();
    struct err err = ERR_INIT;

    CHECK_INT(load("one"), ERR_GONE);
    synced[0] = '\0';
    CHECK(save("one", &facts));
    CHECK_STR(synced, "stream.zst manifest .tmp images ");
    CHECK(facts.stored_bytes > 0);
    CHECK_INT(load("one"), ERR_NONE);
    stream[5] ^= 1;
    CHECK(save("one", &facts)); // in place of the former
    CHECK_INT(load("one"), ERR_NONE);
    synced[0] = '\0';
    CHECK(image_store_remove(store, "one", &err) == 0);
    CHECK_STR(synced, "images ");
    CHECK_INT(load("one"), ERR_GONE);
    CHECK(image_store_remove(store, "one", &err) == 0);
}

// Every byte of the manifest and many of the stream, each changed in one bit.
static void test_damage(void)
{
    static const char *const names[] = {"manifest", "stream.zst"};
    struct image_facts facts = facts_of();

    CHECK(save("two", &facts));
    for (size_t i = 0; i < 2; i++) {
        char path[64];
        struct stat st;
        int unseen = 0;
        off_t step;

        (void)snprintf(path, sizeof(path), "two/%s", names[i]);
        _cleanup_fd_ int fd = openat(store, path, O_RDWR | O_CLOEXEC);
        CHECK(fd >= 0 && fstat(fd, &st) == 0);
        step = i == 0 ? 1 : st.st_size / 50;
        for (off_t at = 0; at < st.st_size; at += step) {
            uint8_t byte, other;

            CHECK_MSG(pread(fd, &byte, 1, at) == 1, "%s at %lld", names[i], (long long)at);
            other = byte ^ 0x10;
            CHECK(pwrite(fd, &other, 1, at) == 1);
            // A template or machine key that is another's is found out by whoever has these. Of the
            // stream nothing else will find out.
            unseen += load("two") != ERR_PROTOCOL && i == 1;
            CHECK(pwrite(fd, &byte, 1, at) == 1);
        }
        CHECK_INT(unseen, 0);
        CHECK(ftruncate(fd, st.st_size / 2) == 0);
        CHECK_INT(load("two"), ERR_PROTOCOL);
        CHECK(save("two", &facts));
    }
    CHECK_INT(load("two"), ERR_NONE);
}

static void test_ids(void)
{
    static const char *const bad[] = {"",   ".", "..",  "a/b", "/",
                                      "-a", "A", "a.b", "a_b", "\xc3\xa4"};
    static const char *const good[] = {"a", "0", "i0123456789abcdefghij", "a-b-"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_MSG(!image_id_is_valid(bad[i]), "\"%s\" is no id", bad[i]);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_MSG(image_id_is_valid(good[i]), "\"%s\" is an id", good[i]);
}

struct seen {
    int good, bad;
};

static void see(void *arg, const char *id, const struct image_facts *facts)
{
    struct seen *s = arg;

    (void)id;
    s->good += facts != NULL;
    s->bad += facts == NULL;
}

static void test_each(void)
{
    struct image_facts facts = facts_of();
    struct seen s = {0};
    struct err err = ERR_INIT;

    CHECK(save("three", &facts));
    CHECK(unlinkat(store, "three/manifest", 0) == 0);
    CHECK(mkdirat(store, ".tmp-77", 0700) == 0);
    image_store_each(store, see, &s);
    CHECK_INT(s.good, 1);
    CHECK_INT(s.bad, 1);
    CHECK(image_store_remove(store, "two", &err) == 0);
    CHECK(image_store_remove(store, "three", &err) == 0);
}

// Stores one image after the other, each with another first byte, until it is killed.
static _Noreturn void store_without_end(void)
{
    for (;;) {
        struct image_facts facts = facts_of();

        stream[0]++;
        if (!save("four", &facts))
            _exit(1);
    }
}

// Whenever the writer dies, there is an image, and a whole one.
static void test_killed(int state)
{
    struct image_facts facts = facts_of();
    struct err err = ERR_INIT;
    int whole = 0;

    CHECK(save("four", &facts));
    for (int i = 0; i < KILLS; i++) {
        struct timespec pause = {.tv_nsec = 1000000 + i * 3100000};
        pid_t pid = fork();

        if (pid == 0)
            store_without_end();
        (void)nanosleep(&pause, NULL);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        fd_close(&store);
        CHECK(image_store_open(state, &store, &err) == 0);
        any_first_byte = true;
        whole += load("four") == ERR_NONE;
        any_first_byte = false;
    }
    CHECK_INT(whole, KILLS);
    CHECK(image_store_remove(store, "four", &err) == 0);
}

int main(void)
{
    struct err err = ERR_INIT;
    _cleanup_fd_ int state = -1;

    id_random(stream, STREAM_BYTES / 2); // the other half compresses well
    CHECK(mkdtemp(dir) != NULL);
    state = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    CHECK(image_store_open(state, &store, &err) == 0);
    test_store();
    test_damage();
    test_ids();
    test_each();
    test_killed(state);
    fd_close(&store);
    CHECK(image_store_open(state, &store, &err) == 0);
    CHECK(faccessat(store, ".tmp-77", F_OK, 0) < 0);
    fd_close(&store);
    CHECK(unlinkat(state, "images", AT_REMOVEDIR) == 0);
    CHECK(rmdir(dir) == 0);
    return tap_done();
}
