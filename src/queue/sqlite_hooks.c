// SPDX-License-Identifier: Apache-2.0
//
// The hooks of jobs that are over, and what is removed in the end. A hook's lease is in the
// database, as the time of its next try.
#include "base/clock.h"
#include "queue/sqlite_internal.h"

#include <stdio.h>
#include <string.h>

struct take {
    uint64_t lease_ms;
    struct queue_hook *ret;
    bool found;
};

// Whether any is due, without writing.
static int is_due(struct sq *q, uint64_t *ret_next_ms, struct err *err)
{
    struct sql_statement st;
    int r;

    (void)pthread_mutex_lock(&q->read_lock);
    st = sql_begin(q->reader, "SELECT next_ms FROM hooks WHERE state = 1 ORDER BY next_ms LIMIT 1");
    *ret_next_ms = sql_step(&st) ? sql_u64(&st, 0) : UINT64_MAX;
    r = sql_end(&st, NULL, err);
    (void)pthread_mutex_unlock(&q->read_lock);
    return r;
}

static int apply_take(struct sq *q, void *arg, struct err *err)
{
    struct take *take = arg;
    struct queue_hook *ret = take->ret;
    struct sql_statement st = sql_begin(
        q->writer, "SELECT h.number, j.id, j.owner, j.hook_url, h.attempts, j.trace FROM hooks h"
                   " JOIN jobs j ON j.number = h.number WHERE h.state = 1 AND h.next_ms <= ?"
                   " ORDER BY h.next_ms LIMIT 1");

    sql_bind_u64(&st, sq_now_ms(q));
    take->found = sql_step(&st);
    if (take->found) {
        ret->number = sql_u64(&st, 0);
        (void)snprintf(ret->id, sizeof(ret->id), "%s", sql_text(&st, 1));
        (void)snprintf(ret->owner, sizeof(ret->owner), "%s", sql_text(&st, 2));
        (void)snprintf(ret->url, sizeof(ret->url), "%s", sql_text(&st, 3));
        ret->attempt = (uint32_t)sql_u64(&st, 4) + 1;
        (void)snprintf(ret->trace, sizeof(ret->trace), "%s", sql_text(&st, 5));
    }
    if (sql_end(&st, NULL, err) < 0 || !take->found)
        return take->found ? -1 : 0;
    st = sql_begin(q->writer,
                   "UPDATE hooks SET attempts = attempts + 1, next_ms = ? WHERE number = ?");
    sql_bind_u64(&st, sq_now_ms(q) + take->lease_ms);
    sql_bind_u64(&st, ret->number);
    return sql_end(&st, NULL, err);
}

int sq_take_hook(struct queue *queue, uint64_t wait_ms, uint64_t lease_ms, struct queue_hook *ret,
                 bool *ret_found, struct err *err)
{
    struct sq *q = (struct sq *)queue;
    uint64_t deadline = clock_deadline_ms(wait_ms);

    *ret_found = false;
    for (;;) {
        struct take take = {.lease_ms = lease_ms, .ret = ret};
        uint64_t seen = sq_changes(q);
        uint64_t now = sq_now_ms(q);
        uint64_t next_ms, until;

        if (is_due(q, &next_ms, err) < 0)
            return -1;
        if (next_ms <= now && sq_commit(q, apply_take, &take, err) < 0)
            return -1;
        *ret_found = take.found;
        if (take.found || clock_mono_ns() >= deadline || q->awake)
            return 0;
        until =
            next_ms > now && next_ms - now < wait_ms ? clock_deadline_ms(next_ms - now) : deadline;
        sq_wait(q, seen, until < deadline ? until : deadline);
    }
}

struct end {
    const struct queue_hook *hook;
    enum queue_hook_state state;
    uint64_t delay_ms;
    const char *note;
};

static int apply_end(struct sq *q, void *arg, struct err *err)
{
    const struct end *end = arg;
    struct sql_statement st =
        sql_begin(q->writer, "UPDATE hooks SET state = ?, next_ms = ?, note = ? WHERE number = ?");
    char note[QUEUE_NOTE_MAX];

    err_copy_text(note, sizeof(note), end->note);
    sql_bind_u64(&st, (uint64_t)end->state);
    sql_bind_u64(&st, sq_now_ms(q) + end->delay_ms);
    sql_bind_text(&st, note);
    sql_bind_u64(&st, end->hook->number);
    return sql_end(&st, NULL, err);
}

int sq_end_hook(struct queue *queue, const struct queue_hook *hook, enum queue_hook_state state,
                uint64_t delay_ms, const char *note, struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct end end = {hook, state, delay_ms, note};

    if (sq_commit(q, apply_end, &end, err) < 0)
        return -1;
    sq_tell(q);
    return 0;
}

#define OVER                                                                                       \
    "(SELECT number FROM jobs WHERE state > 1 AND expires_ms <= ? ORDER BY expires_ms, number"     \
    " LIMIT 200)"

static int apply_sweep(struct sq *q, void *arg, struct err *err)
{
    static const char *const texts[] = {
        "DELETE FROM hooks WHERE number IN " OVER,
        "DELETE FROM jobs WHERE number IN " OVER,
    };
    const uint64_t now = sq_now_ms(q);
    int *removed = arg;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sql_statement st = sql_begin(q->writer, texts[i]);

        sql_bind_u64(&st, now);
        if (sql_end(&st, removed, err) < 0)
            return -1;
    }
    return 0;
}

// In pieces, so that nobody waits for all of it.
int sq_sweep(struct queue *queue, struct err *err)
{
    int removed;

    do {
        removed = 0;
        if (sq_commit((struct sq *)queue, apply_sweep, &removed, err) < 0)
            return -1;
    } while (removed > 0);
    return 0;
}
