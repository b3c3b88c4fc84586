// SPDX-License-Identifier: Apache-2.0
//
// What one owner's jobs may take of the embedded queue: turns, places, time and room.
#include "base/clock.h"
#include "queue_harness.h"

// Whoever puts many of a high priority waits behind himself.
static void test_turns(void)
{
    static const char *const want[] = {"a0", "b0", "c9", "0", "a1", "c5", "1", "a2", "a3", ""};
    struct queue *q = open_fresh();
    struct queue_job job;
    struct queue_lease lease;
    char text[3] = "a";

    for (int i = 0; i < 4; i++) {
        text[1] = (char)('0' + i);
        job = a_job("a", text);
        job.priority = 9;
        (void)put_job(q, &job, NULL);
    }
    job = a_job("b", "b0");
    job.priority = 0;
    (void)put_job(q, &job, NULL);
    (void)put_one(q, "c", "c5", NULL);
    job = a_job("c", "c9");
    job.priority = 9;
    (void)put_job(q, &job, NULL);
    (void)put_one(q, "", "0", NULL); // whoever has no key
    (void)put_one(q, "", "1", NULL);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        CHECK_STR(take(q, &lease), want[i]);
        buf_release(&lease.body);
    }
    q->ops->close(q);
}

static uint32_t say_places(void *arg)
{
    return *(uint32_t *)arg;
}

// Whose job is next where `places` are shared, "" for none; held for good.
static const char *take_place(struct queue *q, uint32_t places, struct queue_lease *ret)
{
    const struct queue_take take = {
        .lease_ms = LEASE_MS, .places = say_places, .places_arg = &places};
    bool found = false;

    CHECK_INT(q->ops->take(q, &take, ret, &found, &err), 0);
    if (found) {
        buf_release(&ret->body);
        CHECK_INT(q->ops->begin(q, ret, &err), 0);
    }
    return found ? ret->owner : "";
}

// However long an owner's jobs take, there is a place left for others: three of four, one of two,
// and the only one, for each has one at least.
static void test_places(void)
{
    static const char *const held[] = {"a", "a", "a", ""};
    static const uint32_t places[] = {1, 2, 3, 8, 0};
    static const uint32_t most[] = {1, 1, 2, 6, 12};
    struct queue *q = open_fresh();
    struct queue_lease leases[4], b, c;

    for (int i = 0; i < 12; i++)
        (void)put_one(q, "a", "x", NULL);
    for (size_t i = 0; i < 4; i++)
        CHECK_STR(take_place(q, 4, &leases[i]), held[i]);
    (void)put_one(q, "b", "x", NULL);
    (void)put_one(q, "b", "x", NULL);
    CHECK_STR(take_place(q, 4, &b), "b"); // the last place is another's
    CHECK_STR(take_place(q, 4, &c), "");
    (void)put_one(q, "c", "x", NULL);
    CHECK_INT(finish(q, &leases[0], QUEUE_SUCCEEDED, ""), 0);
    CHECK_STR(take_place(q, 4, &c), "c"); // and so is the next one that is free, if he waits
    CHECK_INT(finish(q, &b, QUEUE_SUCCEEDED, ""), 0);
    CHECK_INT(finish(q, &c, QUEUE_SUCCEEDED, ""), 0);
    CHECK_STR(take_place(q, 4, &leases[0]), "a"); // two are free again, and one still is
    CHECK_STR(take_place(q, 4, &b), "b");
    CHECK_STR(take_place(q, 4, &c), "");
    q->ops->close(q);

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint32_t count = 0;

        q = open_fresh();
        for (int k = 0; k < 12; k++)
            (void)put_one(q, "a", "x", NULL);
        while (take_place(q, places[i], &c)[0] != '\0')
            count++;
        CHECK_MSG(count == most[i], "of %u places one owner has %u", places[i], count);
        q->ops->close(q);
    }
}

// Who may have no more is woken when he may, and waits for nobody else meanwhile.
static void test_place_returns(void)
{
    struct queue *q = open_fresh();
    struct queue_lease first, second;

    (void)put_one(q, "a", "x", NULL);
    (void)put_one(q, "a", "y", NULL);
    CHECK_STR(take_place(q, 2, &first), "a");
    CHECK_STR(take_place(q, 2, &second), "");
    CHECK_INT(q->ops->release(q, &first, 0, &err), 0);
    CHECK_STR(take_place(q, 2, &second), "a");
    CHECK_STR(take_place(q, 2, &first), "");
    q->ops->drop(q, &second);
    CHECK_STR(take_place(q, 2, &first), "a");
    q->ops->close(q);
}

static int skip_record(void *arg, const struct queue_record *r)
{
    (void)arg, (void)r;
    return 0;
}

static uint64_t time_lists(struct queue *q, const struct queue_list *list)
{
    uint64_t began = clock_mono_ns();

    for (int i = 0; i < 20; i++)
        CHECK_INT(q->ops->list(q, list, skip_record, NULL, &err), 0);
    return clock_mono_ns() - began;
}

// Lists hold others up while they read: a page takes as long as a page is, however many jobs of
// other states there are.
static void test_list_of_many(void)
{
    struct queue_config config = limits();
    struct queue_list few = {.owner = "me", .state = QUEUE_RUNNING, .limit = 2};
    struct queue_list any = {.owner = "me", .any_state = true, .limit = 2};
    struct queue *q = open_fresh();
    uint64_t took, page;

    q->ops->close(q);
    change_file("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
                " INSERT INTO jobs(id, owner, label, digest, priority, max_attempts, created_ms,"
                " state, expires_ms) SELECT 'j' || i, 'me', '', x'', 5, 1, 1, 2, 1 << 60 FROM n");
    q = open_with(&config);
    page = time_lists(q, &any);
    took = time_lists(q, &few);
    CHECK_MSG(took < 20 * page, "20 lists of none: %d us, of two: %d us", (int)(took / 1000),
              (int)(page / 1000));
    q->ops->close(q);
}

static void test_hook_turns(void)
{
    static const char *const held[] = {"a", "a", "a", "a", "", "b", "c", "b", ""};
    static const char *const turns[] = {"a", "b", "c", "a", "b", "a", "b", "a"};
    struct queue *q = open_fresh();
    struct queue_hook hooks[QUEUE_HOOKS_MAX], hook;
    size_t count = 0;

    for (int i = 0; i < 20; i++)
        put_hook(q, "a");
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        CHECK_STR(take_hook(q, &hook), held[i]);
        if (held[i][0] != '\0')
            hooks[count++] = hook;
        if (i == QUEUE_HOOKS_MAX / 2) { // half of the places are for others, who come now
            for (int k = 0; k < 5; k++)
                put_hook(q, "b");
            put_hook(q, "c");
        }
    }
    put_hook(q, "d");
    CHECK_MSG(strcmp(take_hook(q, &hooks[count++]), "d") == 0, "the last place is another's");
    CHECK_INT(count, QUEUE_HOOKS_MAX);
    put_hook(q, "e");
    CHECK_STR(take_hook(q, &hook), "");

    for (size_t i = 0; i < count; i++)
        CHECK_INT(q->ops->end_hook(q, &hooks[i], QUEUE_HOOK_DONE, 0, "", &err), 0);
    CHECK_STR(take_hook(q, &hook), "e");
    CHECK_INT(q->ops->end_hook(q, &hook, QUEUE_HOOK_DONE, 0, "", &err), 0);
    put_hook(q, "c");
    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
        CHECK_STR(take_hook(q, &hook), turns[i]);
        CHECK_INT(q->ops->end_hook(q, &hook, QUEUE_HOOK_DONE, 0, "", &err), 0);
    }
    q->ops->close(q);
}

// What is due later wakes who waits, also beside an owner who may have no more.
static void test_hook_waits(void)
{
    struct queue *q = open_fresh();
    struct queue_hook hook, first;
    bool found = false;
    uint64_t began;

    put_hook(q, "b");
    CHECK_STR(take_hook(q, &first), "b");
    for (int i = 0; i < 5; i++)
        put_hook(q, "a");
    for (int i = 0; i < 4; i++)
        CHECK_STR(take_hook(q, &hook), "a");
    CHECK_INT(q->ops->end_hook(q, &first, QUEUE_HOOK_PENDING, 300, "refused", &err), 0);
    began = clock_mono_ns();
    CHECK_INT(q->ops->take_hook(q, 60000, LEASE_MS, &hook, &found, &err), 0);
    CHECK(found && strcmp(hook.owner, "b") == 0);
    CHECK(clock_mono_ns() - began < 30 * NS_PER_S);
    q->ops->close(q);
}

// How many jobs with such a result the owner gets done, until a result is refused.
static int fill_with_results(struct queue *q, const char *owner, const char *result)
{
    struct queue_lease lease;
    int count = 0;

    for (;; count++) {
        if (put_one(q, owner, "x", NULL) != QUEUE_PUT_NEW || take(q, &lease)[0] != 'x')
            return count;
        buf_release(&lease.body);
        if (finish(q, &lease, QUEUE_SUCCEEDED, result) < 0)
            break;
    }
    CHECK_INT(finish(q, &lease, QUEUE_SUCCEEDED, "small"), 0);
    return count;
}

// An owner whose results fill the queue leaves room for those of others.
static void test_shares(void)
{
    static char large[300 << 10];
    struct queue_config config = limits();
    struct queue *q;
    int count;

    remove_files();
    config.store_max_bytes = 8 << 20;
    q = open_with(&config);
    memset(large, 'x', sizeof(large) - 1);
    count = fill_with_results(q, "a", large);
    CHECK_MSG(count >= 16 && count <= 22, "three quarters of the room for one: %d", count);
    CHECK_INT(err.code, ERR_BUSY);
    CHECK_STR(err.field, "room");
    count = fill_with_results(q, "b", large);
    CHECK_MSG(count >= 2, "and some of the rest for another: %d", count);
    CHECK_INT(put_one(q, "a", "x", NULL), -1);
    CHECK_STR(err.field, "room");
    q->ops->close(q);
    change_file("UPDATE jobs SET expires_ms = 1 WHERE state > 1 AND owner = 'a'");
    q = open_with(&config);
    CHECK_INT(q->ops->sweep(q, &err), 0);
    count = fill_with_results(q, "a", large);
    CHECK_MSG(count >= 12, "what is removed is room again: %d", count);
    q->ops->close(q);
}

int main(void)
{
    if (!harness_begin())
        return 1;
    test_turns();
    test_places();
    test_place_returns();
    test_list_of_many();
    test_hook_turns();
    test_hook_waits();
    test_shares();
    harness_end();
    return tap_done();
}
