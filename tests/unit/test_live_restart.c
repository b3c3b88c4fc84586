// SPDX-License-Identifier: Apache-2.0
//
// Sandboxes that outlive their service, over the fake driver with images that do so, too. A table
// after a table is a service after a service; faults are made to happen in the driver's calls.
#include "sandbox/live.h"

#include "base/clock.h"
#include "live_harness.h"
#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define KEEP_MS        60000
#define OVERDUE_ROUNDS 20

static void sleep_a_bit(void)
{
    const struct timespec some = {.tv_nsec = 5000000};

    (void)nanosleep(&some, NULL);
}

static bool has_paused_row(struct live_table *t, void *arg)
{
    (void)t;
    (void)arg;
    return count_in_state("paused") == 1;
}

// As the daemon ends.
static void stop_table(struct live_table *t, uint64_t keep_ms)
{
    live_table_stop(t, keep_ms);
    CHECK(live_table_wait(t, clock_deadline_ms(KEEP_MS)));
    live_table_free(t);
}

static struct live_table *restart(struct live_table *t)
{
    stop_table(t, KEEP_MS);
    return start_table(16, 16);
}

static void end_all(struct live_table *t)
{
    size_t count = 0;
    struct live **list = live_list(t, "k", &count);

    for (size_t i = 0; list != NULL && i < count; i++) {
        CHECK(live_kill(t, list[i]));
        live_unref(list[i]);
    }
    free(list);
}

// All that runs is there again, with the time it had, and nobody has to ask for it.
static struct live_table *test_return(struct live_table *t)
{
    struct live_info before[6], after;
    struct live_status st;
    struct live *l[6];
    char id[6][32];

    for (size_t i = 0; i < 6; i++) {
        l[i] = make(t, LIVE_KILL, id[i]);
        live_describe(t, l[i], &before[i]);
    }
    live_table_stop(t, KEEP_MS);
    CHECK(live_was_stopped(l[0]));
    CHECK(live_table_wait(t, clock_deadline_ms(KEEP_MS)));
    for (size_t i = 0; i < 6; i++)
        CHECK(live_channel(l[i]) == NULL && is_told(t, id[i], LIVE_RUNNING));
    live_table_free(t);
    CHECK_INT(count_in_state("returning"), 6);
    CHECK_INT(count_images(), 6);
    t = start_table(16, 16);
    for (size_t i = 0; i < 6; i++) {
        struct live *now = live_find(t, id[i]);

        CHECK(now != NULL && strcmp(live_token(now), live_token(l[i])) == 0);
        live_describe(t, now, &after);
        CHECK(after.state == LIVE_RUNNING && after.end_ms == before[i].end_ms);
        CHECK(after.metadata_count == 2 && after.started_ms == before[i].started_ms);
        CHECK(comes(runs, t, id[i]));
        live_describe(t, now, &after); // whatever became of the one that was found
        CHECK(after.state == LIVE_RUNNING && after.end_ms == before[i].end_ms);
        live_unref(now);
        live_unref(l[i]);
    }
    live_status(t, &st);
    CHECK(st.returned_total == 6 && st.returning == 0 && st.running == 6 && st.resumed_total == 0);
    CHECK_INT(count_in_state("running"), 6);
    CHECK_INT(count_images(), 0);
    end_all(t);
    CHECK(comes(is_empty, t, NULL));
    return t;
}

// Before it is back its owner can do with it what can be done with one that runs.
static struct live_table *test_meanwhile(struct live_table *t)
{
    struct live_forked forked[1];
    struct live_info info;
    struct live_status st;
    struct live *l, *now;
    struct err err = ERR_INIT;
    char ids[4][32];
    bool resumed = true;

    for (size_t i = 0; i < 4; i++)
        make_one(t, LIVE_KILL, ids[i]);
    load_fault = ERR_SYSTEM;
    t = restart(t);
    live_status(t, &st);
    CHECK(st.returning == 4 && st.running == 0 && st.paused == 0);
    l = live_find(t, ids[0]);
    CHECK(l != NULL && live_wakes(l) && !live_auto_resumes(l) && live_channel(l) == NULL);
    CHECK(live_set_timeout(t, l, 1000000, false));
    live_describe(t, l, &info);
    CHECK(info.state == LIVE_RUNNING && info.end_ms > info.started_ms + 900000);
    CHECK(live_wake(t, l, &now, &err) < 0 && err.code == ERR_SYSTEM);
    load_fault = ERR_NONE;
    CHECK(live_wake(t, l, &now, &err) == 0 && live_channel(now) != NULL);
    live_describe(t, now, &info);
    CHECK(info.end_ms > info.started_ms + 900000);
    live_unref(now);
    CHECK(live_fork(t, l, 1, 1000, forked, &err) == 0 && forked[0].live != NULL);
    CHECK(forked[0].live != NULL && live_kill(t, forked[0].live));
    live_unref(forked[0].live);
    CHECK(live_resume(t, l, 2000000, &now, &resumed, &err) == 0 && !resumed);
    live_unref(now);
    CHECK(live_kill(t, l));
    live_unref(l);
    for (size_t i = 1; i < 4; i++)
        CHECK(comes(runs, t, ids[i]));

    load_fault = ERR_SYSTEM;
    t = restart(t);
    l = live_find(t, ids[1]);
    CHECK(l != NULL && live_pause(t, l, &err) == 0 && is_told(t, ids[1], LIVE_PAUSED));
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_INVALID);
    CHECK(live_fork(t, l, 1, 1000, forked, &err) < 0 && err.code == ERR_INVALID);
    CHECK_INT(count_in_state("paused"), 1);
    live_unref(l);
    l = live_find(t, ids[2]);
    CHECK(l != NULL && live_kill(t, l) && is_gone(t, ids[2]));
    live_unref(l);
    l = live_find(t, ids[3]);
    CHECK(l != NULL && live_set_timeout(t, l, 10, false) && comes(is_gone, t, ids[3]));
    live_unref(l);
    load_fault = ERR_NONE;
    l = live_find(t, ids[1]);
    CHECK(l != NULL && live_resume(t, l, 1000, &now, &resumed, &err) == 0 && resumed);
    live_unref(now);
    CHECK(live_kill(t, l));
    live_unref(l);
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    return t;
}

// One that cannot be resumed stays, paused; one that was not tried long enough is tried again.
static struct live_table *test_failures(struct live_table *t)
{
    struct live_status st;
    struct live *l, *now;
    struct err err = ERR_INIT;
    char id[32], token[64];
    bool resumed = false;

    make_one(t, LIVE_KILL, id);
    load_fault = ERR_UNSUPPORTED;
    t = restart(t);
    CHECK(comes(is_paused, t, id));
    live_status(t, &st);
    CHECK(st.paused == 1 && st.returning == 0 && st.not_returned_total == 1);
    CHECK(comes(has_paused_row, t, NULL) && count_images() == 1);
    l = live_find(t, id);
    CHECK(l != NULL && !live_wakes(l) && live_channel(l) == NULL);
    load_fault = ERR_NONE;
    CHECK(live_resume(t, l, 600000, &now, &resumed, &err) == 0 && resumed);
    live_unref(l);
    (void)snprintf(token, sizeof(token), "%s", live_token(now));
    live_unref(now);

    load_fault = ERR_GONE;
    t = restart(t);
    sleep_a_bit();
    load_fault = ERR_NONE;
    CHECK(comes(runs, t, id));
    l = live_find(t, id);
    CHECK(l != NULL && strcmp(live_token(l), token) == 0 && live_kill(t, l));
    live_unref(l);

    // The next service stops before it could be brought back, and the one after it does.
    make_one(t, LIVE_KILL, id);
    load_fault = ERR_SYSTEM;
    t = restart(t);
    t = restart(t);
    CHECK_INT(count_in_state("returning"), 1);
    load_fault = ERR_NONE;
    CHECK(comes(runs, t, id));
    CHECK(kill_one(t, id));
    CHECK(comes(is_empty, t, NULL));
    return t;
}

// Time goes on while no service runs.
static struct live_table *test_time(struct live_table *t)
{
    struct err err = ERR_INIT;
    struct live_status st;
    struct live_info info;
    struct live *l;
    char killed[32], paused[32], far[32];

    make_one(t, LIVE_KILL, killed);
    make_one(t, LIVE_PAUSE, paused);
    make_one(t, LIVE_KILL, far);
    stop_table(t, KEEP_MS);
    CHECK(store_sandbox_set_end(store, killed, 1000, &err) == 0);
    CHECK(store_sandbox_set_end(store, paused, 1000, &err) == 0);
    CHECK(store_sandbox_set_end(store, far, UINT64_MAX / 4, &err) == 0);
    load_fault = ERR_SYSTEM; // of the one whose time is not over
    t = start_table(16, 16);
    CHECK(comes(is_gone, t, killed));
    CHECK(comes(is_paused, t, paused));
    live_status(t, &st);
    CHECK(st.expired == 1 && st.lost == 0);
    l = live_find(t, far);
    live_describe(t, l, &info);
    CHECK(info.end_ms <= clock_real_ns() / NS_PER_MS + LIFE_MS);
    load_fault = ERR_NONE;
    CHECK(l != NULL && live_kill(t, l));
    live_unref(l);
    CHECK(kill_one(t, paused));
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    return t;
}

// One that requests wake and whose time ended while no service ran has fresh time when one does,
// whether it was paused before that or not.
static struct live_table *test_overdue(struct live_table *t)
{
    const struct live_spec spec = {.key = "k",
                                   .template = "base",
                                   .timeout_ms = 600000,
                                   .on_timeout = LIVE_PAUSE,
                                   .auto_resume = true};
    struct err err = ERR_INIT;
    struct live_status st;
    struct live_info info;
    struct live *l = NULL, *now;
    char id[32];
    int fresh = 0;

    CHECK(live_create(t, &spec, &l, &err) == 0);
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    for (int i = 0; i < OVERDUE_ROUNDS; i++) {
        live_unref(l);
        stop_table(t, KEEP_MS);
        CHECK(store_sandbox_set_end(store, id, 1000, &err) == 0);
        t = start_table(16, 16);
        if (i % 2 == 1) // the keepers may have it first
            sleep_a_bit();
        l = live_find(t, id);
        if (l == NULL || live_wake(t, l, &now, &err) < 0) {
            printf("# round %d: %s\n", i, err.message);
            continue;
        }
        live_describe(t, now, &info);
        fresh += info.state == LIVE_RUNNING &&
                 info.end_ms > clock_real_ns() / NS_PER_MS + LIVE_AUTO_RESUME_MS / 2;
        live_unref(now);
    }
    CHECK_INT(fresh, OVERDUE_ROUNDS);
    // Nobody asks: it is paused without having been brought back for that.
    stop_table(t, KEEP_MS);
    CHECK(store_sandbox_set_end(store, id, 1000, &err) == 0);
    t = start_table(16, 16);
    CHECK(comes(is_paused, t, id));
    live_status(t, &st);
    CHECK(st.returned_total == 0 && st.running == 0);
    live_unref(l);
    CHECK(kill_one(t, id));
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    return t;
}

// What a service that was killed leaves: neither rows nor images stay.
static struct live_table *test_remains(struct live_table *t)
{
    const struct store_sandbox row = {.key = "k",
                                      .template = "base",
                                      .metadata = "{}",
                                      .env = "{}",
                                      .started_ms = 1,
                                      .end_ms = UINT64_MAX / 4};
    struct store_sandbox b = row;
    struct err err = ERR_INIT;
    struct live_status st;
    char stored[32], told[32];

    make_one(t, LIVE_KILL, stored);
    make_one(t, LIVE_KILL, told);
    stop_table(t, KEEP_MS);
    b.id = stored; // it was killed between the image and its row
    b.state = "running";
    CHECK(store_sandbox_put(store, &b, &err) == 0);
    CHECK(disk_driver()->image_remove(driver, told, &err) == 0);
    t = start_table(16, 16);
    CHECK(is_gone(t, stored) && is_gone(t, told));
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    live_status(t, &st);
    CHECK_INT(st.lost, 2);
    return t;
}

// What cannot be read now may be another time.
static struct live_table *test_unread(struct live_table *t)
{
    struct store_sandbox row = {
        .key = "k", .template = "base", .env = "{}", .state = "paused", .started_ms = 1};
    struct err err = ERR_INIT;
    char id[32];
    struct live *l = make(t, LIVE_KILL, id);

    CHECK(live_pause(t, l, &err) == 0);
    live_unref(l);
    stop_table(t, KEEP_MS);
    row.id = id;
    row.metadata = "{";
    CHECK(store_sandbox_put(store, &row, &err) == 0);
    t = start_table(16, 16);
    CHECK(is_gone(t, id));
    CHECK_INT(count_images(), 1);
    stop_table(t, KEEP_MS);
    row.metadata = "{}";
    CHECK(store_sandbox_put(store, &row, &err) == 0);
    t = start_table(16, 16);
    CHECK(is_paused(t, id));
    end_all(t);
    CHECK(comes(is_empty, t, NULL));
    return t;
}

static struct live_table *test_not_stored(struct live_table *t)
{
    struct live_forked forked[1];
    struct err err = ERR_INIT;
    struct live *l, *now;
    char id[6][32];
    bool resumed;

    // The disk is full.
    make_one(t, LIVE_KILL, id[0]);
    store_fault = ERR_SYSTEM;
    t = restart(t);
    store_fault = ERR_NONE;
    CHECK(is_gone(t, id[0]) && count_rows() == 0 && count_images() == 0);
    // Nothing is to be stored.
    make_one(t, LIVE_KILL, id[0]);
    stop_table(t, 0);
    CHECK(count_rows() == 0 && count_images() == 0);
    // A second signal comes when as many as may be are being stored.
    t = start_table(16, 16);
    for (size_t i = 0; i < 6; i++)
        make_one(t, LIVE_KILL, id[i]);
    l = make(t, LIVE_KILL, id[0]); // one more, that its owner paused
    CHECK(live_pause(t, l, &err) == 0);
    hold = true;
    held = 0;
    live_table_stop(t, KEEP_MS);
    CHECK(create(t, "k", 1000, &err) == NULL && err.code == ERR_CANCELLED);
    CHECK(live_resume(t, l, 1000, &now, &resumed, &err) < 0 && err.code == ERR_CANCELLED);
    CHECK(live_fork(t, l, 1, 1000, forked, &err) < 0 && err.code == ERR_INVALID);
    live_unref(l);
    for (int i = 0; i < 10000 && held < 4; i++)
        sleep_a_bit();
    CHECK_INT(held, 4);
    CHECK(!live_table_wait(t, clock_deadline_ms(10)));
    live_table_cut(t);
    hold = false;
    CHECK(live_table_wait(t, clock_deadline_ms(KEEP_MS)));
    live_table_free(t);
    CHECK(count_in_state("returning") == 4 && count_in_state("paused") == 1 && count_images() == 5);
    t = start_table(16, 16);
    end_all(t);
    CHECK(comes(is_empty, t, NULL));
    return t;
}

struct owner {
    struct live_table *table;
    struct live *l;
    int kind;
};

static void *be_owner(void *arg)
{
    const struct owner *o = arg;
    struct err err = ERR_INIT;
    bool resumed;

    for (int i = 0; i < 40; i++) {
        struct live *next = NULL;

        if (o->kind == 0)
            (void)live_pause(o->table, o->l, &err);
        if (o->kind < 2 && live_resume(o->table, o->l, 600000, &next, &resumed, &err) == 0)
            live_unref(next);
        if (o->kind == 2)
            (void)live_set_timeout(o->table, o->l, 600000, false);
        sleep_a_bit();
    }
    if (o->kind == 3)
        (void)live_kill(o->table, o->l);
    return NULL;
}

// Owners pause, resume and end theirs while the service ends, and while it begins.
static struct live_table *test_owners(struct live_table *t)
{
    for (int round = 0; round < 3; round++) {
        pthread_t threads[8];
        struct owner o[8];
        char id[8][32];
        int states;

        for (int i = 0; i < 8; i++) {
            o[i] = (struct owner){t, make(t, LIVE_KILL, id[i]), i % 4};
            (void)pthread_create(&threads[i], NULL, be_owner, &o[i]);
        }
        live_table_stop(t, KEEP_MS);
        CHECK(live_table_wait(t, clock_deadline_ms(KEEP_MS)));
        for (int i = 0; i < 8; i++) {
            (void)pthread_join(threads[i], NULL);
            live_unref(o[i].l);
        }
        live_table_free(t);
        states = count_in_state("returning") + count_in_state("paused");
        CHECK(count_rows() == states && count_images() == states && states == 6);
        t = start_table(16, 16);
        for (int i = 0; i < 8; i++) {
            o[i] = (struct owner){t, live_find(t, id[i]), i % 2};
            if (o[i].l != NULL)
                (void)pthread_create(&threads[i], NULL, be_owner, &o[i]);
        }
        for (int i = 0; i < 8; i++) {
            if (o[i].l == NULL)
                continue;
            (void)pthread_join(threads[i], NULL);
            CHECK(comes(runs, t, id[i]) && live_kill(t, o[i].l));
            live_unref(o[i].l);
        }
        CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
    }
    return t;
}

int main(void)
{
    struct live_table *t;

    start_engine(disk_driver());
    t = start_table(16, 16);
    t = test_return(t);
    t = test_meanwhile(t);
    t = test_failures(t);
    t = test_time(t);
    t = test_overdue(t);
    t = test_remains(t);
    t = test_unread(t);
    t = test_not_stored(t);
    t = test_owners(t);
    live_table_free(t);
    end_engine();
    return tap_done();
}
