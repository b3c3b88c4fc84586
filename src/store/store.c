// SPDX-License-Identifier: Apache-2.0
//
// How it works: one SQLite database in write-ahead mode, one connection per process, used by one
// thread at a time. `csb key` writes to it beside the daemon, which therefore keeps nothing of it
// in memory. The daemon does not wait for the disk with each commit: what it writes is about
// sandboxes, which do not outlive a power cut either. Who makes or revokes keys does wait.
//
// The directory is known by its descriptor only: as root's service the path that leads to it may be
// closed to the user it runs as. SQLite opens files by name, so the name is below /proc/self/fd,
// and SQLite is kept from replacing that link by the path behind it.
//
// Who keeps keys in memory must know at once when another process makes or revokes one, without
// asking the database each time: a file of eight bytes that all processes map holds a count of the
// changes.
#include "store/store_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_FILE      "codesandbox.db"
#define GENERATION_FILE "keys.generation"

// What brings a store from each version to the next: a new one takes all of them. Only appended to.
static const char *const steps[] = {
    "CREATE TABLE keys("
    " id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, name TEXT NOT NULL,"
    " hint TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " revoked_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE sandboxes("
    " id TEXT PRIMARY KEY, key TEXT NOT NULL, template TEXT NOT NULL,"
    " metadata TEXT NOT NULL, env TEXT NOT NULL, token TEXT,"
    " traffic_token TEXT, state TEXT NOT NULL,"
    " pause_on_timeout INTEGER NOT NULL, started_ms INTEGER NOT NULL,"
    " end_ms INTEGER NOT NULL) STRICT;",
    // A key of before is a tenant of its own, which is what owned its sandboxes.
    "ALTER TABLE keys ADD COLUMN tenant TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE keys ADD COLUMN admin INTEGER NOT NULL DEFAULT 0;"
    "UPDATE keys SET tenant = id;",
    "CREATE TABLE snapshots("
    " id TEXT PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, sandbox TEXT NOT NULL,"
    " env TEXT NOT NULL, created_ms INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;",
};

#define STORE_VERSION (sizeof(steps) / sizeof(steps[0]))

static int fail(struct store *s, struct err *err)
{
    return err_set(err, ERR_SYSTEM, "the store %s: %s", STORE_FILE,
                   s->db == NULL ? "out of memory" : sqlite3_errmsg(s->db));
}

struct statement statement_begin(struct store *s, const char *sql)
{
    struct statement st = {.store = s, .at = 1};

    (void)pthread_mutex_lock(&s->lock);
    st.rc = sqlite3_prepare_v2(s->db, sql, -1, &st.stmt, NULL);
    return st;
}

static void bound(struct statement *st, int rc)
{
    if (st->rc == SQLITE_OK)
        st->rc = rc;
    st->at++;
}

void statement_text(struct statement *st, const char *text)
{
    bound(st, sqlite3_bind_text(st->stmt, st->at, text, -1, SQLITE_STATIC));
}

void statement_blob(struct statement *st, const void *data, size_t len)
{
    bound(st, sqlite3_bind_blob64(st->stmt, st->at, data, len, SQLITE_STATIC));
}

void statement_u64(struct statement *st, uint64_t value)
{
    bound(st, sqlite3_bind_int64(st->stmt, st->at,
                                 value > INT64_MAX ? INT64_MAX : (sqlite3_int64)value));
}

bool statement_step(struct statement *st)
{
    if (st->rc != SQLITE_OK && st->rc != SQLITE_ROW)
        return false;
    st->rc = sqlite3_step(st->stmt);
    return st->rc == SQLITE_ROW;
}

const char *statement_get_text(struct statement *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st->stmt, column);

    return text == NULL ? "" : text;
}

uint64_t statement_get_u64(struct statement *st, int column)
{
    sqlite3_int64 n = sqlite3_column_int64(st->stmt, column);

    return n < 0 ? 0 : (uint64_t)n;
}

void statement_get_blob(struct statement *st, int column, void *ret, size_t size)
{
    const void *blob = sqlite3_column_blob(st->stmt, column);

    memset(ret, 0, size);
    if (blob != NULL && (size_t)sqlite3_column_bytes(st->stmt, column) == size)
        memcpy(ret, blob, size);
}

int statement_end(struct statement *st, int *ret_changed, struct err *err)
{
    struct store *s = st->store;
    int r = 0;

    while (statement_step(st))
        continue;
    if (st->rc != SQLITE_DONE)
        r = fail(s, err);
    else if (ret_changed != NULL)
        *ret_changed = sqlite3_changes(s->db);
    (void)sqlite3_finalize(st->stmt); // its failure is the step's
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

// A link is taken for what it leads to.
static int lstat_as_stat(const char *path, struct stat *ret)
{
    return stat(path, ret);
}

static void keep_links(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

    if (vfs != NULL && vfs->iVersion >= 3)
        (void)vfs->xSetSystemCall(vfs, "lstat", (sqlite3_syscall_ptr)(void *)lstat_as_stat);
}

static int run(struct store *s, const char *sql, struct err *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(s, err);
}

static int read_version(struct store *s, uint64_t *ret, struct err *err)
{
    struct statement st = statement_begin(s, "PRAGMA user_version");

    *ret = statement_step(&st) ? statement_get_u64(&st, 0) : 0;
    return statement_end(&st, NULL, err);
}

// Two processes may come to make it, or bring it up to date, at once.
static int make_schema(struct store *s, struct err *err)
{
    char set_version[48];
    uint64_t version;

    if (run(s, "BEGIN IMMEDIATE", err) < 0 || read_version(s, &version, err) < 0)
        return -1;
    if (version > STORE_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "the store is of version %" PRIu64 ", this program knows %zu", version,
                       STORE_VERSION);
    (void)snprintf(set_version, sizeof(set_version), "PRAGMA user_version = %zu", STORE_VERSION);
    for (size_t i = version; i < STORE_VERSION; i++)
        if (run(s, steps[i], err) < 0)
            return -1;
    if (version < STORE_VERSION && run(s, set_version, err) < 0)
        return -1;
    return run(s, "COMMIT", err);
}

static int prepare(struct store *s, enum store_sync sync, struct err *err)
{
    (void)sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
    if (run(s, "PRAGMA journal_mode = WAL", err) < 0 ||
        run(s,
            sync == STORE_SYNC_POWER ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
            err) < 0 ||
        run(s, "PRAGMA trusted_schema = OFF", err) < 0)
        return -1;
    return make_schema(s, err);
}

// As root: files are the directory's owner's, who is to write them too.
static void give_files(int dir_fd)
{
    static const char *const names[] = {STORE_FILE, STORE_FILE "-wal", STORE_FILE "-shm",
                                        GENERATION_FILE};
    struct stat st;

    if (geteuid() != 0 || fstat(dir_fd, &st) < 0)
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (fchownat(dir_fd, names[i], st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
            continue; // it is not there
}

static int map_generation(struct store *s, int dir_fd, struct err *err)
{
    _cleanup_fd_ int fd =
        openat(dir_fd, GENERATION_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    void *at;

    if (fd < 0 || ftruncate(fd, sizeof(*s->key_generation)) < 0)
        return err_sys(err, errno, "the store's %s", GENERATION_FILE);
    at = mmap(NULL, sizeof(*s->key_generation), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return err_sys(err, errno, "the store's %s", GENERATION_FILE);
    s->key_generation = at;
    return 0;
}

int store_open(int dir_fd, enum store_sync sync, struct store **ret, struct err *err)
{
    struct store *s = calloc(1, sizeof(*s));
    char path[64];

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    keep_links();
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/" STORE_FILE, dir_fd);
    if (sqlite3_open_v2(path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        (void)fail(s, err);
        store_close(s);
        return -1;
    }
    if (prepare(s, sync, err) < 0 || map_generation(s, dir_fd, err) < 0) {
        store_close(s);
        return -1;
    }
    give_files(dir_fd);
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    (void)sqlite3_close(s->db); // every statement is finalized
    if (s->key_generation != NULL)
        (void)munmap(s->key_generation, sizeof(*s->key_generation));
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}
