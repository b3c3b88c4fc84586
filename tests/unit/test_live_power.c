// SPDX-License-Identifier: Apache-2.0
//
// Cuts of the power between the steps of a pause, a resumption and an end, over the fake driver. Of
// the store the disk has then what it was made to write, and nothing else: what each file was when
// it was last synced, and those that were there when their directory was. Images are on disk when
// they are stored, and gone when they are removed.
#include "sandbox/live.h"

#include "base/clock.h"
#include "base/fd.h"
#include "live_harness.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MAX 4

// What is on disk of a file.
struct synced {
    char name[64];
    char *data;
    size_t len;
};

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static struct synced disk[FILES_MAX];
static char cut_dir[] = "/tmp/csb-power-XXXXXX";
static int cut_fd = -1;

static struct synced *find_file(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (strcmp(disk[i].name, name) == 0)
            return &disk[i];
    return NULL;
}

static void note_file(int fd, const char *name, size_t len)
{
    struct synced *f = find_file(name);

    if (f == NULL)
        f = find_file(""); // a free one
    if (f == NULL)
        abort();
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    free(f->data);
    f->len = len;
    f->data = malloc(len + 1);
    if (f->data == NULL || pread(fd, f->data, len, 0) != (ssize_t)len)
        abort();
}

static void forget_removed(int dir)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (faccessat(dir, disk[i].name, F_OK, 0) < 0) {
            free(disk[i].data);
            disk[i] = (struct synced){.name = ""};
        }
}

static void note_synced(int fd)
{
    char link[64], path[256] = "";
    struct stat st;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof(path) - 1) < 0 || fstat(fd, &st) < 0 ||
        strstr(path, "/csb-live-") == NULL)
        return;
    if (S_ISDIR(st.st_mode))
        forget_removed(fd);
    else
        note_file(fd, strrchr(path, '/') + 1, (size_t)st.st_size);
}

static atomic_bool disk_fails;

// In place of the C library's.
int fdatasync(int fd)
{
    if (disk_fails) {
        errno = EIO;
        return -1;
    }
    if (syscall(SYS_fdatasync, fd) < 0)
        return -1;
    (void)pthread_mutex_lock(&disk_lock);
    note_synced(fd);
    (void)pthread_mutex_unlock(&disk_lock);
    return 0;
}

int fsync(int fd)
{
    return fdatasync(fd);
}

// What the next service finds.
static void cut_power(void)
{
    (void)pthread_mutex_lock(&disk_lock);
    for (size_t i = 0; i < FILES_MAX; i++) {
        _cleanup_fd_ int fd = -1;

        if (disk[i].name[0] == '\0')
            continue;
        fd = openat(cut_fd, disk[i].name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || fd_write_all(fd, disk[i].data, disk[i].len) < 0)
            abort();
    }
    (void)pthread_mutex_unlock(&disk_lock);
    power_is_off = true;
}

static enum image_step cut_step;

static void cut_at_step(enum image_step step)
{
    if (step == cut_step)
        cut_power();
}

static void clean_cut(void)
{
    static const char *const names[] = {"codesandbox.db", "codesandbox.db-wal",
                                        "codesandbox.db-shm", "codesandbox.db-journal",
                                        "keys.generation"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unlinkat(cut_fd, names[i], 0);
}

enum outcome { PAUSED, LOST, NOTHING };

// The next service, over what the disk has: it resumes what is paused, tells what is lost, and
// leaves neither rows nor images behind.
static void expect(const char *id, enum outcome outcome)
{
    struct store *before = store;
    struct live_status st;
    struct live_table *t;
    struct live *l, *now;
    struct err err = ERR_INIT;
    bool resumed = false;

    if (store_open(cut_fd, STORE_SYNC_PROCESS, &store, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    t = start_table(16, 16);
    live_status(t, &st);
    CHECK_INT(st.lost, outcome == LOST);
    CHECK_INT(st.paused, outcome == PAUSED);
    l = live_find(t, id);
    CHECK((l != NULL) == (outcome == PAUSED));
    if (l != NULL) {
        CHECK(live_resume(t, l, 60000, &now, &resumed, &err) == 0 && resumed);
        live_unref(now);
        CHECK(live_kill(t, l));
        live_unref(l);
    }
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    live_table_free(t);
    store_close(store);
    store = before;
    clean_cut();
}

static void make_it_run(struct live_table *t, struct live *l)
{
    struct live *now;
    struct err err = ERR_INIT;
    bool resumed;

    if (CHECK(live_resume(t, l, 60000, &now, &resumed, &err) == 0))
        live_unref(now);
}

static void pause_it(struct live_table *t, struct live *l)
{
    struct err err = ERR_INIT;

    CHECK(live_pause(t, l, &err) == 0 || power_is_off);
}

static void end_it(struct live_table *t, struct live *l)
{
    CHECK(live_kill(t, l));
}

static bool is_off(struct live_table *t, void *arg)
{
    (void)t;
    (void)arg;
    return power_is_off;
}

struct cut {
    const char *name;
    void (*act)(struct live_table *t, struct live *l);
    bool paused; // before
    bool after;  // the whole, and not at a step
    enum image_step step;
    enum outcome outcome;
};

static const struct cut cuts[] = {
    {"before the image of a pause", pause_it, false, false, BEFORE_STORE, LOST},
    {"between the image of a pause and its row", pause_it, false, false, AFTER_STORE, LOST},
    {"after a pause", pause_it, false, true, BEFORE_REMOVE, PAUSED},
    {"between the row of a resumption and its image", make_it_run, true, false, BEFORE_REMOVE,
     LOST},
    {"behind the image of a resumption", make_it_run, true, false, AFTER_REMOVE, LOST},
    {"between the row of an end and its image", end_it, true, false, BEFORE_REMOVE, NOTHING},
    {"behind the image of an end", end_it, true, false, AFTER_REMOVE, NOTHING},
};

static void test_cut(const struct cut *c)
{
    struct live_table *t = start_table(16, 16);
    char id[32];
    struct live *l;

    printf("# %s\n", c->name);
    l = make(t, LIVE_KILL, id);
    (void)store_sync(store, NULL); // that it runs is known
    if (c->paused)
        pause_it(t, l);
    cut_step = c->step;
    on_image = c->after ? NULL : cut_at_step;
    c->act(t, l);
    if (c->after)
        cut_power();
    CHECK(comes(is_off, t, NULL)); // an end's image goes in the background
    live_unref(l);
    live_table_free(t);
    on_image = NULL;
    power_is_off = false;
    expect(id, c->outcome);
    // What the cut service did past its end.
    t = start_table(16, 16);
    CHECK(comes(is_imageless, t, NULL));
    live_table_free(t);
}

// However it comes: what is told to be paused and has no image never can be resumed.
static void test_no_image(void)
{
    struct live_table *t = start_table(16, 16);
    struct err err = ERR_INIT;
    struct live_status st;
    char id[32];
    struct live *l = make(t, LIVE_KILL, id);

    pause_it(t, l);
    live_unref(l);
    live_table_free(t);
    CHECK(driver_fake.image_remove(driver, id, &err) == 0);
    t = start_table(16, 16);
    live_status(t, &st);
    CHECK(st.lost == 1 && st.paused == 0 && is_gone(t, id));
    CHECK(comes(is_empty, t, NULL));
    live_table_free(t);
}

// One that is to return is not told to be paused when only this service would know.
static void test_disk_fails(void)
{
    struct live_table *t = start_table(16, 16);
    struct err err = ERR_INIT;
    char id[32];
    struct live *l;

    make_one(t, LIVE_KILL, id);
    live_table_stop(t, 60000);
    CHECK(live_table_wait(t, clock_deadline_ms(60000)));
    live_table_free(t);
    load_fault = ERR_SYSTEM; // it cannot be brought back for now
    t = start_table(16, 16);
    l = live_find(t, id);
    disk_fails = true;
    CHECK(l != NULL && live_pause(t, l, &err) < 0 && err.code == ERR_SYSTEM);
    CHECK(is_told(t, id, LIVE_RUNNING));
    disk_fails = false;
    CHECK(live_pause(t, l, &err) == 0 && is_told(t, id, LIVE_PAUSED));
    CHECK_INT(count_in_state("paused"), 1);
    load_fault = ERR_NONE;
    CHECK(live_kill(t, l));
    live_unref(l);
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    live_table_free(t);
}

// Images of nobody all go, however many they are.
static void test_many_images(void)
{
    struct live_table *t = start_table(16, 16);
    struct driver_image *image;
    struct err err = ERR_INIT;
    char id[32];
    struct live *l = make(t, LIVE_KILL, id);

    pause_it(t, l);
    live_unref(l);
    live_table_free(t);
    if (!CHECK(driver_fake.image_load(driver, id, &image, &err) == 0))
        return;
    for (int i = 0; i < 150; i++) {
        char other[32];

        (void)snprintf(other, sizeof(other), "i%020d", i);
        CHECK(driver_fake.image_store(driver, image, other, &err) == 0);
    }
    driver_fake.image_free(image);
    t = start_table(16, 16);
    CHECK_INT(count_images(), 1);
    CHECK(kill_one(t, id));
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    live_table_free(t);
}

int main(void)
{
    if (mkdtemp(cut_dir) == NULL)
        abort();
    cut_fd = open(cut_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    start_engine(disk_driver());
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
        test_cut(&cuts[i]);
    test_no_image();
    test_disk_fails();
    test_many_images();
    end_engine();
    for (size_t i = 0; i < FILES_MAX; i++)
        free(disk[i].data);
    fd_close(&cut_fd);
    (void)rmdir(cut_dir);
    return tap_done();
}
