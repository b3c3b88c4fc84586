// SPDX-License-Identifier: Apache-2.0
#include "store/store_internal.h"

#define COLUMNS "id, key, name, sandbox, env, created_ms, bytes"

int store_snapshot_put(struct store *s, const struct store_snapshot *b, struct err *err)
{
    struct statement st = statement_begin(s, "INSERT OR REPLACE INTO snapshots(" COLUMNS
                                             ") VALUES(?, ?, ?, ?, ?, ?, ?)");

    statement_text(&st, b->id);
    statement_text(&st, b->key);
    statement_text(&st, b->name);
    statement_text(&st, b->sandbox);
    statement_text(&st, b->env);
    statement_u64(&st, b->created_ms);
    statement_u64(&st, b->bytes);
    return statement_end(&st, NULL, err);
}

int store_snapshot_remove(struct store *s, const char *id, struct err *err)
{
    struct statement st = statement_begin(s, "DELETE FROM snapshots WHERE id = ?");

    statement_text(&st, id);
    return statement_end(&st, NULL, err);
}

int store_snapshot_each(struct store *s, const char *key, store_snapshot_fn fn, void *arg,
                        struct err *err)
{
    struct statement st =
        statement_begin(s, "SELECT " COLUMNS " FROM snapshots WHERE ?1 IS NULL OR key = ?1"
                           " ORDER BY created_ms DESC, id DESC");
    int r = 0;

    statement_text(&st, key); // NULL is bound as NULL
    while (r == 0 && statement_step(&st)) {
        const struct store_snapshot b = {
            .id = statement_get_text(&st, 0),
            .key = statement_get_text(&st, 1),
            .name = statement_get_text(&st, 2),
            .sandbox = statement_get_text(&st, 3),
            .env = statement_get_text(&st, 4),
            .created_ms = statement_get_u64(&st, 5),
            .bytes = statement_get_u64(&st, 6),
        };

        r = fn(arg, &b);
    }
    if (statement_end(&st, NULL, err) < 0)
        return -1;
    return r;
}
