// SPDX-License-Identifier: Apache-2.0
#include "store/store_internal.h"

#define COLUMNS "id, key, name, sandbox, env, created_ms, bytes"

int store_snapshot_put(struct store *s, const struct store_snapshot *b, struct err *err)
{
    struct sql_statement st =
        store_begin(s, "INSERT OR REPLACE INTO snapshots(" COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?)");

    sql_bind_text(&st, b->id);
    sql_bind_text(&st, b->key);
    sql_bind_text(&st, b->name);
    sql_bind_text(&st, b->sandbox);
    sql_bind_text(&st, b->env);
    sql_bind_u64(&st, b->created_ms);
    sql_bind_u64(&st, b->bytes);
    return store_end(s, &st, NULL, err);
}

int store_snapshot_remove(struct store *s, const char *id, struct err *err)
{
    struct sql_statement st = store_begin(s, "DELETE FROM snapshots WHERE id = ?");

    sql_bind_text(&st, id);
    return store_end(s, &st, NULL, err);
}

int store_snapshot_each(struct store *s, const char *key, store_snapshot_fn fn, void *arg,
                        struct err *err)
{
    struct sql_statement st =
        store_begin(s, "SELECT " COLUMNS " FROM snapshots WHERE ?1 IS NULL OR key = ?1"
                       " ORDER BY created_ms DESC, id DESC");
    int r = 0;

    sql_bind_text(&st, key); // NULL is bound as NULL
    while (r == 0 && sql_step(&st)) {
        const struct store_snapshot b = {
            .id = sql_text(&st, 0),
            .key = sql_text(&st, 1),
            .name = sql_text(&st, 2),
            .sandbox = sql_text(&st, 3),
            .env = sql_text(&st, 4),
            .created_ms = sql_u64(&st, 5),
            .bytes = sql_u64(&st, 6),
        };

        r = fn(arg, &b);
    }
    if (store_end(s, &st, NULL, err) < 0)
        return -1;
    return r;
}
