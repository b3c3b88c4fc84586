// SPDX-License-Identifier: Apache-2.0
#include "sql/sql.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

int sql_fail(sqlite3 *db, struct err *err)
{
    int code = db == NULL ? SQLITE_NOMEM : sqlite3_errcode(db);
    const char *text = db == NULL ? "out of memory" : sqlite3_errmsg(db);

    (void)err_set(err, ERR_SYSTEM, "the database: %s", text);
    if (err != NULL && code == SQLITE_FULL)
        err->sys = ENOSPC;
    else if (err != NULL && code == SQLITE_BUSY)
        err->sys = EBUSY;
    return -1;
}

// A link is taken for what it leads to.
static int lstat_as_stat(const char *path, struct stat *ret)
{
    return stat(path, ret);
}

// SQLite opens files by name, so the name is below /proc/self/fd; it is kept from replacing that
// link by the path behind it.
static void keep_links(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

    if (vfs != NULL && vfs->iVersion >= 3)
        (void)vfs->xSetSystemCall(vfs, "lstat", (sqlite3_syscall_ptr)(void *)lstat_as_stat);
}

// The directory is closed to others, and so is the file wherever it is copied or moved to. SQLite
// gives the files beside it the same mode, and takes an empty one for a new database. One that is
// there is not opened for this: closing it would give up the locks that this process may have.
static int make_private(int dir_fd, const char *name, struct err *err)
{
    _cleanup_fd_ int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char path[32];
    struct stat st;

    if (fd >= 0)
        return 0;
    fd = errno == EEXIST ? openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "the database: %s", name);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (S_ISREG(st.st_mode) && (st.st_mode & 077) != 0 && chmod(path, st.st_mode & 0700) < 0)
        return err_sys(err, errno, "the database: %s", name);
    return 0;
}

int sql_open(int dir_fd, const char *name, int busy_ms, sqlite3 **ret, struct err *err)
{
    sqlite3 *db = NULL;
    char path[128];

    keep_links();
    if (make_private(dir_fd, name, err) < 0)
        return -1;
    if (snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, name) >= (int)sizeof(path))
        return err_set(err, ERR_INTERNAL, "the name of a database is too long");
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        (void)sql_fail(db, err);
        sql_close(db);
        return -1;
    }
    (void)sqlite3_busy_timeout(db, busy_ms);
    if (sql_run(db, "PRAGMA journal_mode = WAL", err) < 0 ||
        sql_run(db, "PRAGMA trusted_schema = OFF", err) < 0) {
        sql_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

void sql_close(sqlite3 *db)
{
    (void)sqlite3_close(db); // every statement is finalized
}

int sql_run(sqlite3 *db, const char *text, struct err *err)
{
    return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_fail(db, err);
}

struct sql_statement sql_begin(sqlite3 *db, const char *text)
{
    struct sql_statement st = {.db = db, .at = 1};

    st.rc = sqlite3_prepare_v2(db, text, -1, &st.stmt, NULL);
    return st;
}

static void bound(struct sql_statement *st, int rc)
{
    if (st->rc == SQLITE_OK)
        st->rc = rc;
    st->at++;
}

void sql_bind_text(struct sql_statement *st, const char *text)
{
    bound(st, sqlite3_bind_text(st->stmt, st->at, text, -1, SQLITE_STATIC));
}

void sql_bind_blob(struct sql_statement *st, const void *data, size_t len)
{
    bound(st, sqlite3_bind_blob64(st->stmt, st->at, data, len, SQLITE_STATIC));
}

void sql_bind_u64(struct sql_statement *st, uint64_t value)
{
    bound(st, sqlite3_bind_int64(st->stmt, st->at,
                                 value > INT64_MAX ? INT64_MAX : (sqlite3_int64)value));
}

bool sql_step(struct sql_statement *st)
{
    if (st->rc != SQLITE_OK && st->rc != SQLITE_ROW)
        return false;
    st->rc = sqlite3_step(st->stmt);
    return st->rc == SQLITE_ROW;
}

const char *sql_text(struct sql_statement *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st->stmt, column);

    return text == NULL ? "" : text;
}

uint64_t sql_u64(struct sql_statement *st, int column)
{
    sqlite3_int64 n = sqlite3_column_int64(st->stmt, column);

    return n < 0 ? 0 : (uint64_t)n;
}

const void *sql_blob(struct sql_statement *st, int column, size_t *ret_len)
{
    const void *data = sqlite3_column_blob(st->stmt, column);

    *ret_len = (size_t)sqlite3_column_bytes(st->stmt, column);
    return data;
}

int sql_end(struct sql_statement *st, int *ret_changed, struct err *err)
{
    int r = 0;

    // A statement that only changes has no rows: its one step is made here if it was not.
    if (st->rc == SQLITE_OK)
        (void)sql_step(st);
    if (st->rc != SQLITE_DONE && st->rc != SQLITE_ROW)
        r = sql_fail(st->db, err);
    else if (ret_changed != NULL)
        *ret_changed = sqlite3_changes(st->db);
    (void)sqlite3_finalize(st->stmt); // its failure is the step's
    return r;
}

int sql_upgrade(sqlite3 *db, const char *const *steps, size_t count, struct err *err)
{
    struct sql_statement st;
    char set_version[48];
    uint64_t version;

    if (sql_run(db, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    st = sql_begin(db, "PRAGMA user_version");
    version = sql_step(&st) ? sql_u64(&st, 0) : 0;
    if (sql_end(&st, NULL, err) < 0)
        return -1;
    if (version > count)
        return err_set(err, ERR_UNSUPPORTED, "it is of version %" PRIu64 ", this program knows %zu",
                       version, count);
    for (size_t i = version; i < count; i++)
        if (sql_run(db, steps[i], err) < 0)
            return -1;
    (void)snprintf(set_version, sizeof(set_version), "PRAGMA user_version = %zu", count);
    if (version < count && sql_run(db, set_version, err) < 0)
        return -1;
    return sql_run(db, "COMMIT", err);
}
