// SPDX-License-Identifier: Apache-2.0
//
// What the files of this module share: the connection and its lock.
#ifndef CSB_STORE_STORE_INTERNAL_H
#define CSB_STORE_STORE_INTERNAL_H

#include "sql/sql.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct store {
    enum store_sync sync; // fixed
    pthread_mutex_t lock; // guards the connection
    sqlite3 *db;
    _Atomic uint64_t *key_generation; // shared with all processes that have the store open
};

// A statement as sql.h has them, with the store's lock held until store_end().
struct sql_statement store_begin(struct store *s, const char *text);
// Before and after a change of keys or limits: whoever reads them between the two reads them again,
// and should this process end between them, the change is seen all the same.
void store_note_change(struct store *s);

// ERR_INVALID naming the field.
int store_check_tenant(const char *tenant, struct err *err);

// Says of an error that it is the store's; returns -1.
int store_wrap(struct err *err);

// 0, or -1 with ERR_SYSTEM. *ret_changed may be NULL.
int store_end(struct store *s, struct sql_statement *st, int *ret_changed, struct err *err);

#endif
