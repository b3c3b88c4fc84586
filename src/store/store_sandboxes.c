// SPDX-License-Identifier: Apache-2.0
#include "store/store_internal.h"

int store_sandbox_put(struct store *s, const struct store_sandbox *b, struct err *err)
{
    struct statement st = statement_begin(
        s, "INSERT OR REPLACE INTO sandboxes(id, key, template, metadata, env, token,"
           " traffic_token, state, pause_on_timeout, started_ms, end_ms)"
           " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");

    statement_text(&st, b->id);
    statement_text(&st, b->key);
    statement_text(&st, b->template);
    statement_text(&st, b->metadata);
    statement_text(&st, b->env);
    statement_text(&st, b->token);
    statement_text(&st, b->traffic_token);
    statement_text(&st, b->state);
    statement_u64(&st, b->pause_on_timeout);
    statement_u64(&st, b->started_ms);
    statement_u64(&st, b->end_ms);
    return statement_end(&st, NULL, err);
}

int store_sandbox_set_end(struct store *s, const char *id, uint64_t end_ms, struct err *err)
{
    struct statement st = statement_begin(s, "UPDATE sandboxes SET end_ms = ? WHERE id = ?");

    statement_u64(&st, end_ms);
    statement_text(&st, id);
    return statement_end(&st, NULL, err);
}

int store_sandbox_remove(struct store *s, const char *id, struct err *err)
{
    struct statement st = statement_begin(s, "DELETE FROM sandboxes WHERE id = ?");

    statement_text(&st, id);
    return statement_end(&st, NULL, err);
}

int store_sandbox_keep(struct store *s, const char *state, struct err *err)
{
    struct statement st = statement_begin(s, "DELETE FROM sandboxes WHERE state <> ?");

    statement_text(&st, state);
    return statement_end(&st, NULL, err);
}

int store_sync(struct store *s, struct err *err)
{
    struct statement st = statement_begin(s, "PRAGMA wal_checkpoint(FULL)");

    return statement_end(&st, NULL, err);
}

static const char *or_null(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

int store_sandbox_each(struct store *s, store_sandbox_fn fn, void *arg, struct err *err)
{
    struct statement st = statement_begin(
        s, "SELECT id, key, template, metadata, env, token, traffic_token, state,"
           " pause_on_timeout, started_ms, end_ms FROM sandboxes ORDER BY started_ms, id");
    int r = 0;

    while (r == 0 && statement_step(&st)) {
        const struct store_sandbox b = {
            .id = statement_get_text(&st, 0),
            .key = statement_get_text(&st, 1),
            .template = statement_get_text(&st, 2),
            .metadata = statement_get_text(&st, 3),
            .env = statement_get_text(&st, 4),
            .token = or_null(statement_get_text(&st, 5)),
            .traffic_token = or_null(statement_get_text(&st, 6)),
            .state = statement_get_text(&st, 7),
            .pause_on_timeout = statement_get_u64(&st, 8) != 0,
            .started_ms = statement_get_u64(&st, 9),
            .end_ms = statement_get_u64(&st, 10),
        };

        r = fn(arg, &b);
    }
    if (statement_end(&st, NULL, err) < 0)
        return -1;
    return r;
}
