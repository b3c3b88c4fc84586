// SPDX-License-Identifier: Apache-2.0
#include "store/store_internal.h"

int store_sandbox_put(struct store *s, const struct store_sandbox *b, struct err *err)
{
    struct sql_statement st =
        store_begin(s, "INSERT OR REPLACE INTO sandboxes(id, key, template, metadata, env, token,"
                       " traffic_token, state, pause_on_timeout, auto_resume_ms, started_ms,"
                       " end_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");

    sql_bind_text(&st, b->id);
    sql_bind_text(&st, b->key);
    sql_bind_text(&st, b->template);
    sql_bind_text(&st, b->metadata);
    sql_bind_text(&st, b->env);
    sql_bind_text(&st, b->token);
    sql_bind_text(&st, b->traffic_token);
    sql_bind_text(&st, b->state);
    sql_bind_u64(&st, b->pause_on_timeout);
    sql_bind_u64(&st, b->auto_resume_ms);
    sql_bind_u64(&st, b->started_ms);
    sql_bind_u64(&st, b->end_ms);
    return store_end(s, &st, NULL, err);
}

int store_sandbox_set_end(struct store *s, const char *id, uint64_t end_ms, struct err *err)
{
    struct sql_statement st = store_begin(s, "UPDATE sandboxes SET end_ms = ? WHERE id = ?");

    sql_bind_u64(&st, end_ms);
    sql_bind_text(&st, id);
    return store_end(s, &st, NULL, err);
}

int store_sandbox_remove(struct store *s, const char *id, struct err *err)
{
    struct sql_statement st = store_begin(s, "DELETE FROM sandboxes WHERE id = ?");

    sql_bind_text(&st, id);
    return store_end(s, &st, NULL, err);
}

int store_sandbox_keep(struct store *s, const char *state, const char *other, struct err *err)
{
    struct sql_statement st = store_begin(s, "DELETE FROM sandboxes WHERE state NOT IN (?, ?)");

    sql_bind_text(&st, state);
    sql_bind_text(&st, other);
    return store_end(s, &st, NULL, err);
}

// A write that waits for the disk takes along what is before it in the log. A checkpoint would not
// do: it ends early, without an error, where another process reads.
int store_sync(struct store *s, struct err *err)
{
    int r;

    (void)pthread_mutex_lock(&s->lock);
    r = sql_run(s->db, "PRAGMA synchronous = FULL", err);
    if (r == 0)
        r = sql_run(s->db, "PRAGMA application_id = 0", err); // what is there is written, too
    if (s->sync == STORE_SYNC_PROCESS)
        (void)sql_run(s->db, "PRAGMA synchronous = NORMAL", NULL); // else it is slower only
    (void)pthread_mutex_unlock(&s->lock);
    return r < 0 ? store_wrap(err) : 0;
}

static const char *or_null(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

int store_sandbox_each(struct store *s, store_sandbox_fn fn, void *arg, struct err *err)
{
    struct sql_statement st =
        store_begin(s, "SELECT id, key, template, metadata, env, token, traffic_token, state,"
                       " pause_on_timeout, auto_resume_ms, started_ms, end_ms FROM sandboxes"
                       " ORDER BY started_ms, id");
    int r = 0;

    while (r == 0 && sql_step(&st)) {
        const struct store_sandbox b = {
            .id = sql_text(&st, 0),
            .key = sql_text(&st, 1),
            .template = sql_text(&st, 2),
            .metadata = sql_text(&st, 3),
            .env = sql_text(&st, 4),
            .token = or_null(sql_text(&st, 5)),
            .traffic_token = or_null(sql_text(&st, 6)),
            .state = sql_text(&st, 7),
            .pause_on_timeout = sql_u64(&st, 8) != 0,
            .auto_resume_ms = sql_u64(&st, 9),
            .started_ms = sql_u64(&st, 10),
            .end_ms = sql_u64(&st, 11),
        };

        r = fn(arg, &b);
    }
    if (store_end(s, &st, NULL, err) < 0)
        return -1;
    return r;
}
