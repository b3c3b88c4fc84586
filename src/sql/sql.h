// SPDX-License-Identifier: Apache-2.0
//
// SQLite in few lines: a database below a directory's descriptor, and statements from their text to
// their end. Nothing here locks: a connection is used by one thread at a time.
#ifndef CSB_SQL_SQL_H
#define CSB_SQL_SQL_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Opens the file `name` in the directory `dir_fd` (borrowed for the connection's life), in
// write-ahead mode, and makes it when it is not there. The path that leads to the directory may be
// closed to this process: the file is reached through the descriptor alone. ERR_SYSTEM.
int sql_open(int dir_fd, const char *name, int busy_ms, sqlite3 **ret, struct err *err);
void sql_close(sqlite3 *db); // NULL allowed; every statement must have ended

// What the connection last failed with: ERR_SYSTEM, `sys` being ENOSPC where no room was left and
// EBUSY where another process held the database. Returns -1.
int sql_fail(sqlite3 *db, struct err *err);

// Runs statements that have no parameters and no rows. 0, or -1 as sql_fail().
int sql_run(sqlite3 *db, const char *text, struct err *err);

// Brings the database to the version `count`: a new one takes all of `steps`, another those after
// its own version. Two processes may do it at once. ERR_UNSUPPORTED when it is of a later version.
// After a failure the connection can only be closed.
int sql_upgrade(sqlite3 *db, const char *const *steps, size_t count, struct err *err);

// One statement from its text to its end. A failure sticks and is told by sql_end().
struct sql_statement {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int rc;
    int at; // the parameter that is bound next
};

struct sql_statement sql_begin(sqlite3 *db, const char *text);
void sql_bind_text(struct sql_statement *st, const char *text); // NULL: SQL's NULL; borrowed
void sql_bind_blob(struct sql_statement *st, const void *data, size_t len); // likewise
void sql_bind_u64(struct sql_statement *st, uint64_t value);
// True when there is a row. False at the end and after a failure.
bool sql_step(struct sql_statement *st);
// Columns of the row, borrowed until the next step; text is "" for NULL.
const char *sql_text(struct sql_statement *st, int column);
uint64_t sql_u64(struct sql_statement *st, int column);
const void *sql_blob(struct sql_statement *st, int column, size_t *ret_len);
// Drops what is left of the rows. 0, or -1 as sql_fail(). *ret_changed (rows) may be NULL.
int sql_end(struct sql_statement *st, int *ret_changed, struct err *err);

#endif
