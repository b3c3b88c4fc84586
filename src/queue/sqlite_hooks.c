// SPDX-License-Identifier: Apache-2.0
//
// The hooks of jobs that are over, and what is removed in the end. A hook's lease is in the
// database, as the time of its next try; who has how many under way is known in memory alone, for
// with the process all of them end.
#include "base/clock.h"
#include "queue/sqlite_internal.h"

#include <stdio.h>
#include <string.h>

// Hooks under way. All with hook_lock held.

// Whether the owner may have one more under way.
static bool may_have(const struct sq *q, const char *owner)
{
    size_t unused = 0, own = 0;

    for (size_t i = 0; i < QUEUE_HOOKS_MAX; i++) {
        unused += q->hooks[i].number == 0;
        own += q->hooks[i].number != 0 && strcmp(q->hooks[i].owner, owner) == 0;
    }
    return unused > own;
}

// One whose lease is over keeps its place: whoever had it may be at it still.
static struct sq_hook *place_of(struct sq *q, uint64_t number)
{
    struct sq_hook *unused = NULL;

    for (size_t i = 0; i < QUEUE_HOOKS_MAX; i++) {
        if (q->hooks[i].number == number)
            return &q->hooks[i];
        if (q->hooks[i].number == 0)
            unused = &q->hooks[i];
    }
    return unused; // there is one: may_have()
}

struct turn {
    bool found;
    char owner[QUEUE_OWNER_MAX];
    uint64_t next_ms; // when one is due of those who may have one and have none now
};

// Whose turn it is: of the next owner after the one who had the last turn, or else of the first.
// Owners are found one by one in the index, however many hooks each has.
static int find_turn(struct sq *q, sqlite3 *db, struct turn *ret, struct err *err)
{
    struct sql_statement st = sql_begin(
        db, "WITH RECURSIVE owners(owner) AS (SELECT min(owner) FROM hooks WHERE state = 1"
            " UNION ALL SELECT (SELECT min(h.owner) FROM hooks h WHERE h.state = 1"
            " AND h.owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL)"
            " SELECT owner, (SELECT min(h.next_ms) FROM hooks h WHERE h.state = 1"
            " AND h.owner = owners.owner) FROM owners WHERE owner IS NOT NULL");
    uint64_t now = sq_now_ms(q);
    bool passed = false;

    *ret = (struct turn){.next_ms = UINT64_MAX};
    while (!passed && sql_step(&st)) {
        const char *owner = sql_text(&st, 0);
        uint64_t next_ms = sql_u64(&st, 1);
        bool after = strcmp(owner, q->last_hook_owner) > 0;

        if (!may_have(q, owner) || (ret->found && !after))
            continue;
        if (next_ms > now) {
            ret->next_ms = next_ms < ret->next_ms ? next_ms : ret->next_ms;
            continue;
        }
        (void)snprintf(ret->owner, sizeof(ret->owner), "%s", owner);
        ret->found = true;
        passed = after;
    }
    return sql_end(&st, NULL, err);
}

// Taking.

// Whether it is anybody's turn, without writing.
static int look_for_turn(struct sq *q, struct turn *ret, struct err *err)
{
    int r;

    (void)pthread_mutex_lock(&q->read_lock);
    (void)pthread_mutex_lock(&q->hook_lock);
    r = find_turn(q, q->reader, ret, err);
    (void)pthread_mutex_unlock(&q->hook_lock);
    (void)pthread_mutex_unlock(&q->read_lock);
    return r;
}

struct take {
    uint64_t lease_ms;
    struct queue_hook *ret;
    bool found;
};

// The hook is there: it was found in the same transaction.
static int read_first(struct sq *q, const char *owner, struct queue_hook *ret, struct err *err)
{
    struct sql_statement st = sql_begin(
        q->writer, "SELECT h.number, j.id, h.owner, j.hook_url, h.attempts, j.trace FROM hooks h"
                   " JOIN jobs j ON j.number = h.number WHERE h.state = 1 AND h.owner = ?"
                   " ORDER BY h.next_ms LIMIT 1");

    sql_bind_text(&st, owner);
    if (sql_step(&st)) {
        ret->number = sql_u64(&st, 0);
        (void)snprintf(ret->id, sizeof(ret->id), "%s", sql_text(&st, 1));
        (void)snprintf(ret->owner, sizeof(ret->owner), "%s", sql_text(&st, 2));
        (void)snprintf(ret->url, sizeof(ret->url), "%s", sql_text(&st, 3));
        ret->attempt = (uint32_t)sql_u64(&st, 4) + 1;
        (void)snprintf(ret->trace, sizeof(ret->trace), "%s", sql_text(&st, 5));
    }
    return sql_end(&st, NULL, err);
}

static int count_attempt(struct sq *q, const struct take *take, struct err *err)
{
    struct sql_statement st = sql_begin(
        q->writer, "UPDATE hooks SET attempts = attempts + 1, next_ms = ? WHERE number = ?");

    sql_bind_u64(&st, sq_now_ms(q) + take->lease_ms);
    sql_bind_u64(&st, take->ret->number);
    return sql_end(&st, NULL, err);
}

// With hook_lock. Whose turn it is is looked up again: others may have taken theirs meanwhile.
static int take_turn(struct sq *q, struct take *take, struct err *err)
{
    struct sq_hook *place;
    struct turn turn;

    if (find_turn(q, q->writer, &turn, err) < 0)
        return -1;
    if (!turn.found)
        return 0;
    if (read_first(q, turn.owner, take->ret, err) < 0 || count_attempt(q, take, err) < 0)
        return -1;
    place = place_of(q, take->ret->number);
    place->number = take->ret->number;
    memcpy(place->owner, turn.owner, sizeof(place->owner));
    memcpy(q->last_hook_owner, turn.owner, sizeof(q->last_hook_owner));
    take->found = true;
    return 0;
}

static int apply_take(struct sq *q, void *arg, struct err *err)
{
    int r;

    (void)pthread_mutex_lock(&q->hook_lock);
    r = take_turn(q, arg, err);
    (void)pthread_mutex_unlock(&q->hook_lock);
    return r;
}

static void let_go(struct sq *q, uint64_t number)
{
    (void)pthread_mutex_lock(&q->hook_lock);
    for (size_t i = 0; i < QUEUE_HOOKS_MAX; i++)
        if (q->hooks[i].number == number)
            q->hooks[i].number = 0;
    (void)pthread_mutex_unlock(&q->hook_lock);
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
        uint64_t until = deadline, now;
        struct turn turn;

        if (look_for_turn(q, &turn, err) < 0)
            return -1;
        if (turn.found && sq_commit(q, apply_take, &take, err) < 0) {
            if (take.found)
                let_go(q, ret->number);
            return -1;
        }
        *ret_found = take.found;
        if (take.found || clock_mono_ns() >= deadline || q->awake)
            return 0;
        now = sq_now_ms(q);
        if (!turn.found && turn.next_ms < now + wait_ms)
            until = clock_deadline_ms(turn.next_ms > now ? turn.next_ms - now : 0);
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
    int r = sq_commit(q, apply_end, &end, err);

    let_go(q, hook->number);
    sq_tell(q);
    return r;
}

// Who is still to be told is told what became of his job, however long that takes.
#define OVER                                                                                       \
    "(SELECT number FROM jobs WHERE state > 1 AND expires_ms <= ? AND NOT EXISTS"                  \
    " (SELECT 1 FROM hooks WHERE hooks.number = jobs.number AND hooks.state = 1)"                  \
    " ORDER BY expires_ms, number LIMIT 200)"

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
