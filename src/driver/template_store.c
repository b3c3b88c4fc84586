// SPDX-License-Identifier: Apache-2.0
#include "driver/template_store.h"

#include "base/fd.h"
#include "base/ini.h"
#include "base/parse.h"
#include "driver/store_dir.h"
#include "driver/template_ram.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_VERSION 1
#define OTHERS_KEPT   3 // a service has two templates, and its former settings had two
#define NAME_LEN      (TEMPLATE_KEY_LEN + 1)
#define HEX_SHA256    (2 * SHA256_DIGEST_SIZE + 1)

static const char *const file_names[] = {"ram.zst", "state", "manifest"};
static const struct store_kind kind = {
    .name = "templates", .what = "templates", .files = file_names, .file_count = 3};

void template_image_release(struct template_image *image)
{
    fd_close(&image->ram_fd);
    free(image->state);
    image->state = NULL;
    image->state_len = 0;
}

int template_ram_new(uint64_t memory_bytes, int *ret_fd)
{
    _cleanup_fd_ int fd = memfd_create("csb-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)memory_bytes) < 0)
        return -errno;
    *ret_fd = fd_steal(&fd);
    return 0;
}

int template_ram_seal(int ram_fd)
{
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

    return fcntl(ram_fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

void template_hash(const uint8_t *data, size_t len, char ret[HEX_SHA256])
{
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_init(&hash);
    sha256_update(&hash, len, data);
    sha256_digest(&hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

void template_store_remove(int store_fd, const char *key)
{
    store_dir_remove(&kind, store_fd, key);
}

static bool is_key(const char *name)
{
    return strlen(name) == TEMPLATE_KEY_LEN && strspn(name, "0123456789abcdef") == TEMPLATE_KEY_LEN;
}

int template_store_open(int state_dir_fd, int *ret_fd, struct err *err)
{
    return store_dir_open(&kind, state_dir_fd, ret_fd, err);
}

struct other {
    char name[NAME_LEN]; // "" for none
    struct timespec when;
};

struct others {
    const char *keep;
    template_wanted_fn wanted;
    void *arg;
    struct other newest[OTHERS_KEPT]; // newest first
};

static bool is_newer(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static void find_newest(int store_fd, const char *name, void *arg)
{
    struct others *o = arg;
    char path[NAME_LEN + sizeof("/manifest")];
    struct stat st;
    size_t at = 0;

    if (!is_key(name) || strcmp(name, o->keep) == 0)
        return;
    (void)snprintf(path, sizeof(path), "%.64s/manifest", name);
    if (fstatat(store_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    while (at < OTHERS_KEPT && o->newest[at].name[0] != '\0' &&
           !is_newer(&st.st_mtim, &o->newest[at].when))
        at++;
    if (at == OTHERS_KEPT)
        return;
    memmove(&o->newest[at + 1], &o->newest[at], (OTHERS_KEPT - 1 - at) * sizeof(o->newest[0]));
    (void)snprintf(o->newest[at].name, NAME_LEN, "%.64s", name);
    o->newest[at].when = st.st_mtim;
}

static bool is_kept(const struct others *o, const char *name)
{
    if (strcmp(name, o->keep) == 0)
        return true;
    for (size_t i = 0; i < OTHERS_KEPT; i++)
        if (strcmp(name, o->newest[i].name) == 0)
            return true;
    return o->wanted != NULL && o->wanted(o->arg, name);
}

static void remove_other(int store_fd, const char *name, void *arg)
{
    const struct others *o = arg;

    if (is_key(name) && !is_kept(o, name))
        store_dir_remove(&kind, store_fd, name);
}

void template_store_prune(int store_fd, const char *key, template_wanted_fn wanted, void *arg)
{
    struct others o = {.keep = key, .wanted = wanted, .arg = arg};

    store_dir_each(store_fd, find_newest, &o);
    store_dir_each(store_fd, remove_other, &o);
}

static int write_ram(int dir, const struct template_image *image, uint64_t *ret_bytes)
{
    _cleanup_fd_ int fd = -1;
    struct stat st;
    int r = store_dir_new_file(dir, file_names[0], &fd);

    if (r == 0)
        r = template_ram_save(image->ram_fd, image->memory_bytes, fd);
    if (r == 0 && (fsync(fd) < 0 || fstat(fd, &st) < 0))
        r = -errno;
    if (r == 0)
        *ret_bytes = (uint64_t)st.st_size;
    return r;
}

static int write_manifest(int dir, const char *key, const struct template_image *image,
                          uint64_t ram_bytes)
{
    char text[512];
    char state_hash[HEX_SHA256];
    int n;

    template_hash(image->state, image->state_len, state_hash);
    n = snprintf(text, sizeof(text),
                 "version = %d\nkey = %s\nmemory_bytes = %llu\nram_bytes = %llu\n"
                 "root = %llu\nstate_bytes = %zu\nstate_sha256 = %s\n",
                 STORE_VERSION, key, (unsigned long long)image->memory_bytes,
                 (unsigned long long)ram_bytes, (unsigned long long)image->root, image->state_len,
                 state_hash);
    return store_dir_write_file(dir, file_names[2], text, (size_t)n);
}

struct to_save {
    const char *key;
    const struct template_image *image;
};

static int write_all(void *arg, int dir)
{
    const struct to_save *t = arg;
    uint64_t ram_bytes;
    int r = write_ram(dir, t->image, &ram_bytes);

    if (r == 0)
        r = store_dir_write_file(dir, file_names[1], t->image->state, t->image->state_len);
    if (r == 0)
        r = write_manifest(dir, t->key, t->image, ram_bytes);
    return r;
}

int template_store_save(int store_fd, const char *key, const struct template_image *image,
                        struct err *err)
{
    struct to_save t = {.key = key, .image = image};
    int r = store_dir_save(&kind, store_fd, key, write_all, &t);

    return r < 0 ? err_sys(err, r, "cannot store the template") : 0;
}

struct manifest {
    uint64_t version, memory_bytes, ram_bytes, root, state_bytes;
    char key[NAME_LEN];
    char state_sha256[HEX_SHA256];
};

static int manifest_entry(void *arg, unsigned line, const char *key, const char *value,
                          struct err *err)
{
    struct manifest *m = arg;
    const struct {
        const char *key;
        uint64_t *number;
        char *text;
    } fields[] = {
        {"version", &m->version, NULL},
        {"key", NULL, m->key},
        {"memory_bytes", &m->memory_bytes, NULL},
        {"ram_bytes", &m->ram_bytes, NULL},
        {"state_bytes", &m->state_bytes, NULL},
        {"state_sha256", NULL, m->state_sha256},
        {"root", &m->root, NULL}, // not in older ones, whose root is the image's
    };

    (void)line;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].key, key) != 0)
            continue;
        if (fields[i].text != NULL) {
            (void)snprintf(fields[i].text, NAME_LEN, "%s", value);
            return 0;
        }
        if (parse_u64(value, 0, UINT64_MAX, fields[i].number) < 0)
            return err_set(err, ERR_INTERNAL, "the manifest's %s is no number", key);
        return 0;
    }
    return err_set(err, ERR_INTERNAL, "the manifest has an unknown entry");
}
static_assert(HEX_SHA256 == NAME_LEN, "both texts of a manifest have one size");

static int read_manifest(int dir, const char *key, uint64_t memory_bytes, struct manifest *ret,
                         struct err *err)
{
    *ret = (struct manifest){0};
    if (ini_parse_file(dir, file_names[2], manifest_entry, ret, err) < 0)
        return -1;
    if (ret->version != STORE_VERSION || strcmp(ret->key, key) != 0 ||
        ret->memory_bytes != memory_bytes || ret->state_bytes == 0 ||
        ret->state_bytes > TEMPLATE_STATE_MAX)
        return err_set(err, ERR_INTERNAL, "the manifest does not fit");
    return 0;
}

static int read_state(int dir, const struct manifest *m, struct template_image *image,
                      struct err *err)
{
    char hash[HEX_SHA256];
    char *data;
    size_t len;
    int r = fd_read_file(dir, file_names[1], (size_t)m->state_bytes, &data, &len);

    if (r < 0)
        return err_sys(err, r, "cannot read the device state");
    image->state = (uint8_t *)data;
    image->state_len = len;
    template_hash(image->state, len, hash);
    if (len != m->state_bytes || strcmp(hash, m->state_sha256) != 0)
        return err_set(err, ERR_INTERNAL, "the device state is damaged");
    return 0;
}

static int read_ram(int dir, const struct manifest *m, struct template_image *image,
                    struct err *err)
{
    _cleanup_fd_ int fd = openat(dir, file_names[0], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "cannot open the RAM");
    if ((uint64_t)st.st_size != m->ram_bytes)
        return err_set(err, ERR_INTERNAL, "the RAM's file has the wrong size");
    r = template_ram_new(m->memory_bytes, &image->ram_fd);
    if (r == 0)
        r = template_ram_load(fd, image->ram_fd, m->memory_bytes);
    if (r == -EBADMSG)
        return err_set(err, ERR_INTERNAL, "the RAM's file is damaged");
    if (r == 0)
        r = template_ram_seal(image->ram_fd);
    return r < 0 ? err_sys(err, r, "cannot load the RAM") : 0;
}

int template_store_load(int store_fd, const char *key, uint64_t memory_bytes,
                        struct template_image *ret, struct err *err)
{
    struct template_image image = TEMPLATE_IMAGE_INIT;
    struct manifest m;
    _cleanup_fd_ int dir = openat(store_fd, key, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);

    if (dir < 0)
        return err_set(err, ERR_GONE, "no such template is stored");
    image.memory_bytes = memory_bytes;
    if (read_manifest(dir, key, memory_bytes, &m, err) < 0 ||
        read_state(dir, &m, &image, err) < 0 || read_ram(dir, &m, &image, err) < 0) {
        template_image_release(&image);
        return err_wrap(err, "stored template");
    }
    image.root = m.root;
    (void)utimensat(dir, file_names[2], NULL, 0); // only the order of pruning depends on it
    *ret = image;
    return 0;
}
