// SPDX-License-Identifier: Apache-2.0
//
// How it works: one SQLite database in write-ahead mode, one connection per process, used by one
// thread at a time. `csb key` writes to it beside the daemon, which therefore keeps nothing of it
// in memory. The daemon does not wait for the disk with each commit: what it writes is about
// sandboxes, which do not outlive a power cut either. Who makes or revokes keys does wait.
//
// The directory is known by its descriptor only: as root's service the path that leads to it may be
// closed to the user it runs as (sql.h).
//
// Who keeps keys in memory must know at once when another process makes or revokes one, without
// asking the database each time: a file of eight bytes that all processes map holds a count of the
// changes.
#include "store/store_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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
    "ALTER TABLE sandboxes ADD COLUMN auto_resume_ms INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE tenant_limits("
    " tenant TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, name)) STRICT;",
};

int store_wrap(struct err *err)
{
    return err_wrap(err, "the store " STORE_FILE);
}

struct sql_statement store_begin(struct store *s, const char *text)
{
    (void)pthread_mutex_lock(&s->lock);
    return sql_begin(s->db, text);
}

int store_end(struct store *s, struct sql_statement *st, int *ret_changed, struct err *err)
{
    int r = sql_end(st, ret_changed, err);

    (void)pthread_mutex_unlock(&s->lock);
    return r < 0 ? store_wrap(err) : 0;
}

static int open_database(struct store *s, int dir_fd, enum store_sync sync, struct err *err)
{
    const char *how =
        sync == STORE_SYNC_POWER ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL";

    if (sql_open(dir_fd, STORE_FILE, STORE_BUSY_MS, &s->db, err) < 0 ||
        sql_run(s->db, how, err) < 0 ||
        sql_upgrade(s->db, steps, sizeof(steps) / sizeof(steps[0]), err) < 0)
        return store_wrap(err);
    return 0;
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

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->sync = sync;
    (void)pthread_mutex_init(&s->lock, NULL);
    if (open_database(s, dir_fd, sync, err) < 0 || map_generation(s, dir_fd, err) < 0) {
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
    sql_close(s->db);
    if (s->key_generation != NULL)
        (void)munmap(s->key_generation, sizeof(*s->key_generation));
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}
