// SPDX-License-Identifier: Apache-2.0
//
// Templates on disk: what was saved comes back, holes stay holes, damage is noticed, old ones go.
#include "base/fd.h"
#include "driver/template_store.h"
#include "synced.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (64ull << 20)

static char dir[64];
static int dir_fd, store = -1;

static void key_of(char c, char ret[TEMPLATE_KEY_LEN + 1])
{
    memset(ret, c, TEMPLATE_KEY_LEN);
    ret[TEMPLATE_KEY_LEN] = '\0';
}

static void put(int fd, const void *data, size_t len, off_t at)
{
    if (pwrite(fd, data, len, at) != (ssize_t)len) {
        printf("Bail out! pwrite: %s\n", strerror(errno));
        exit(1);
    }
}

// RAM with data at its start, in its middle and on its last page; the rest was never touched, but
// for a page of zeros.
static struct template_image make_image(void)
{
    struct template_image image = {.ram_fd = -1, .memory_bytes = MEMORY};
    static uint8_t page[4096];

    if (template_ram_new(MEMORY, &image.ram_fd) < 0)
        exit(1);
    put(image.ram_fd, page, sizeof(page), 8 << 20);
    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (uint8_t)(i * 7);
    put(image.ram_fd, page, sizeof(page), 0);
    for (off_t at = 16 << 20; at < 20 << 20; at += 4096) {
        page[5] = (uint8_t)(at >> 12);
        put(image.ram_fd, page, sizeof(page), at);
    }
    put(image.ram_fd, page, sizeof(page), (off_t)MEMORY - 4096);
    memset(page, 0, sizeof(page));
    image.state_len = 5000;
    image.state = malloc(image.state_len);
    memset(image.state, 's', image.state_len);
    return image;
}

static bool same_ram(int a, int b)
{
    const uint8_t *x = mmap(NULL, MEMORY, PROT_READ, MAP_PRIVATE, a, 0);
    const uint8_t *y = mmap(NULL, MEMORY, PROT_READ, MAP_PRIVATE, b, 0);
    bool same = x != MAP_FAILED && y != MAP_FAILED && memcmp(x, y, MEMORY) == 0;

    (void)munmap((void *)(uintptr_t)x, MEMORY);
    (void)munmap((void *)(uintptr_t)y, MEMORY);
    return same;
}

static void test_round_trip(void)
{
    struct template_image image = make_image();
    struct template_image back = TEMPLATE_IMAGE_INIT;
    struct err err = ERR_INIT;
    struct stat st;
    char key[TEMPLATE_KEY_LEN + 1];

    key_of('a', key);
    CHECK(template_store_load(store, key, MEMORY, &back, &err) < 0 && err.code == ERR_GONE);
    synced[0] = '\0';
    CHECK(template_store_save(store, key, &image, &err) == 0);
    CHECK_STR(synced, "ram.zst state manifest .tmp templates ");
    CHECK(template_store_load(store, key, MEMORY, &back, &err) == 0);
    // A file system may give a little more than was written, but not the whole.
    CHECK(fstat(back.ram_fd, &st) == 0 && (uint64_t)st.st_size == MEMORY && st.st_blocks < 10240);
    CHECK(same_ram(image.ram_fd, back.ram_fd));
    CHECK(back.state_len == image.state_len &&
          memcmp(back.state, image.state, image.state_len) == 0);
    CHECK(pwrite(back.ram_fd, "x", 1, 0) < 0 && errno == EPERM);
    CHECK(ftruncate(back.ram_fd, 0) < 0);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, back.ram_fd, 0) == MAP_FAILED);
    template_image_release(&back);
    CHECK(template_store_load(store, key, MEMORY * 2, &back, &err) < 0);
    template_image_release(&image);
}

// Opens a file of template 'a', which is then saved anew, so that each case starts whole.
static int open_part(const char *name)
{
    struct template_image image = make_image();
    struct err err = ERR_INIT;
    char path[128];
    char key[TEMPLATE_KEY_LEN + 1];

    key_of('a', key);
    CHECK_MSG(template_store_save(store, key, &image, &err) == 0, "saved again %s", err.message);
    template_image_release(&image);
    (void)snprintf(path, sizeof(path), "%s/%s", key, name);
    return openat(store, path, O_RDWR | O_CLOEXEC);
}

static void check_damaged(const char *what)
{
    struct template_image back = TEMPLATE_IMAGE_INIT;
    struct err err = ERR_INIT;
    char key[TEMPLATE_KEY_LEN + 1];

    key_of('a', key);
    CHECK_MSG(template_store_load(store, key, MEMORY, &back, &err) < 0 && err.code != ERR_GONE,
              "%s is noticed: %s", what, err.message);
    template_image_release(&back);
}

static void flip(int fd, off_t at)
{
    uint8_t byte = 0;

    CHECK(pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    put(fd, &byte, 1, at);
}

static void test_damage(void)
{
    static const char *const names[] = {"ram.zst", "state", "manifest"};
    struct stat st;

    for (size_t i = 0; i < 3; i++) {
        char what[64];
        int fd = open_part(names[i]);

        (void)fstat(fd, &st);
        for (int part = 0; part < 4; part++) {
            off_t at = st.st_size * part / 4 + 1;

            // A manifest may say the same with another space.
            if (i == 2 && part > 0)
                break;
            flip(fd, at);
            (void)snprintf(what, sizeof(what), "a flipped bit in quarter %d of %s", part, names[i]);
            check_damaged(what);
            flip(fd, at);
        }
        CHECK(ftruncate(fd, st.st_size / 2) == 0);
        (void)snprintf(what, sizeof(what), "half of %s", names[i]);
        check_damaged(what);
        CHECK(ftruncate(fd, 0) == 0);
        (void)snprintf(what, sizeof(what), "an empty %s", names[i]);
        check_damaged(what);
        fd_close(&fd);
    }
}

static bool stored(char c)
{
    char key[TEMPLATE_KEY_LEN + 1];

    key_of(c, key);
    return faccessat(store, key, F_OK, 0) == 0;
}

static void test_prune(void)
{
    char key[TEMPLATE_KEY_LEN + 1];
    char path[128];
    struct template_image image = make_image();
    struct err err = ERR_INIT;

    for (char c = 'a'; c <= 'f'; c++) {
        struct timespec times[2] = {{.tv_sec = 1000 + c}, {.tv_sec = 1000 + c}};

        key_of(c, key);
        CHECK(template_store_save(store, key, &image, &err) == 0);
        (void)snprintf(path, sizeof(path), "%s/manifest", key);
        (void)utimensat(store, path, times, 0);
    }
    key_of('b', key);
    template_store_prune(store, key, NULL, NULL);
    CHECK(!stored('a') && stored('b') && !stored('c'));
    CHECK(stored('d') && stored('e') && stored('f'));
    key_of('d', key);
    template_store_remove(store, key);
    CHECK(!stored('d'));
    template_image_release(&image);
}

static void test_leftovers(void)
{
    struct err err = ERR_INIT;

    CHECK(mkdirat(store, ".tmp-1234", 0700) == 0);
    fd_close(&store);
    CHECK(template_store_open(dir_fd, &store, &err) == 0);
    CHECK(faccessat(store, ".tmp-1234", F_OK, 0) < 0);
}

int main(void)
{
    struct err err = ERR_INIT;
    char key[TEMPLATE_KEY_LEN + 1];

    (void)snprintf(dir, sizeof(dir), "/tmp/csb-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    dir_fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    CHECK(template_store_open(dir_fd, &store, &err) == 0);
    test_round_trip();
    test_damage();
    test_prune();
    test_leftovers();
    for (char c = 'a'; c <= 'f'; c++) {
        key_of(c, key);
        template_store_remove(store, key);
    }
    fd_close(&store);
    (void)unlinkat(dir_fd, "templates", AT_REMOVEDIR);
    fd_close(&dir_fd);
    CHECK(rmdir(dir) == 0);
    return tap_done();
}
