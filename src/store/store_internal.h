// SPDX-License-Identifier: Apache-2.0
//
// What the files of this module share: the connection, and statements as few lines.
#ifndef CSB_STORE_STORE_INTERNAL_H
#define CSB_STORE_STORE_INTERNAL_H

#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

struct store {
    pthread_mutex_t lock; // guards the connection
    sqlite3 *db;
    _Atomic uint64_t *key_generation; // shared with all processes that have the store open
};

// One statement from its text to its end. A failure sticks and is told by statement_end().
struct statement {
    struct store *store;
    sqlite3_stmt *stmt;
    int rc;
    int at; // the parameter that is bound next
};

// Takes the store's lock until statement_end().
struct statement statement_begin(struct store *s, const char *sql);
void statement_text(struct statement *st, const char *text); // NULL: SQL's NULL; borrowed
void statement_blob(struct statement *st, const void *data, size_t len); // borrowed
void statement_u64(struct statement *st, uint64_t value);
// True when there is a row. False at the end and after a failure.
bool statement_step(struct statement *st);
// A column of the row; text is "" for NULL, borrowed until the next step.
const char *statement_get_text(struct statement *st, int column);
uint64_t statement_get_u64(struct statement *st, int column);
// Copies exactly `size` bytes; zeros when the column has another size.
void statement_get_blob(struct statement *st, int column, void *ret, size_t size);
// Runs what is left, gives the lock back. 0, or -1 with ERR_SYSTEM. *ret_changed may be NULL.
int statement_end(struct statement *st, int *ret_changed, struct err *err);

#endif
