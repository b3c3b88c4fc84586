// SPDX-License-Identifier: Apache-2.0
//
// Pauses that take long, or fail, over the fake driver: who waits for them, who does not, and what
// is told of them.
#include "sandbox/live.h"

#include "base/clock.h"
#include "channel/channel.h"
#include "live_harness.h"
#include "tap.h"

#include <pthread.h>
#include <time.h>

#define KEPT_MAX 4 // pauses that are made at a time
#define WAIT_MS  60000

static struct live *make_short(struct live_table *t, uint64_t ms, enum live_on_timeout on_timeout)
{
    const struct live_spec spec = {
        .key = "k", .template = "base", .timeout_ms = ms, .on_timeout = on_timeout};
    struct err err = ERR_INIT;
    struct live *l;

    if (live_create(t, &spec, &l, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    return l;
}

static bool all_held(struct live_table *t, void *arg)
{
    (void)t;
    (void)arg;
    return held == KEPT_MAX;
}

static bool one_held(struct live_table *t, void *arg)
{
    (void)t;
    (void)arg;
    return held == 1;
}

static void begin_holding(void)
{
    held = 0;
    hold = true;
}

// Makes more than are paused at a time whose time is over at once, and waits until they are held.
static void hold_expired(struct live_table *t, struct live *l[KEPT_MAX + 2])
{
    begin_holding();
    for (size_t i = 0; i < KEPT_MAX + 2; i++)
        l[i] = make_short(t, 1, LIVE_PAUSE);
    CHECK(comes(all_held, t, NULL));
}

static void end_one(struct live_table *t, struct live *l)
{
    CHECK(live_kill(t, l));
    live_unref(l);
}

static void expect_nothing(struct live_table *t)
{
    CHECK(comes(is_empty, t, NULL) && comes(is_imageless, t, NULL));
}

static char *id_of(struct live *l)
{
    return (char *)(uintptr_t)live_id(l);
}

// Others end when their time is over, and dead ones are noticed, however long pauses take; and no
// more of them than may be are made at a time.
static void test_slow_disk(struct live_table *t)
{
    const struct channel_request die = {.method = "POST", .path = "/envd/die"};
    struct channel_stream *stream = NULL;
    struct live *slow[KEPT_MAX + 2], *over, *dead;
    struct live_status before, after;
    struct err err = ERR_INIT;

    live_status(t, &before);
    hold_expired(t, slow);
    over = make_short(t, 1, LIVE_KILL);
    dead = make_short(t, WAIT_MS, LIVE_KILL);
    CHECK(channel_send(live_channel(dead), &die, &stream, &err) == 0);
    CHECK(comes(is_gone, t, id_of(over)) && comes(is_gone, t, id_of(dead)));
    channel_stream_close(stream);
    live_unref(over);
    live_unref(dead);
    CHECK(hold);
    CHECK_INT(held, KEPT_MAX);
    hold = false;
    for (size_t i = 0; i < KEPT_MAX + 2; i++) {
        CHECK(comes(is_paused, t, id_of(slow[i])));
        end_one(t, slow[i]);
    }
    live_status(t, &after);
    CHECK(after.expired == before.expired + 1 && after.lost == before.lost + 1);
    CHECK_INT(after.paused_total, before.paused_total + KEPT_MAX + 2);
    expect_nothing(t);
}

struct asking {
    struct live_table *table;
    struct live *l;
    atomic_bool answered;
    bool answer;
};

static void *ask_for_time(void *arg)
{
    struct asking *a = arg;

    a->answer = live_set_timeout(a->table, a->l, WAIT_MS, false);
    a->answered = true;
    return NULL;
}

static bool has_answer(struct live_table *t, void *arg)
{
    const struct asking *a = arg;

    (void)t;
    return a->answered;
}

// Nobody is told that one runs on that is being paused.
static void test_time_meanwhile(struct live_table *t)
{
    const struct timespec some = {.tv_nsec = 50000000};
    struct asking a = {.table = t};
    pthread_t thread;

    begin_holding();
    a.l = make_short(t, 1, LIVE_PAUSE);
    CHECK(comes(one_held, t, NULL));
    if (pthread_create(&thread, NULL, ask_for_time, &a) != 0)
        abort();
    (void)nanosleep(&some, NULL);
    CHECK(!a.answered);
    hold = false;
    CHECK(comes(has_answer, t, &a) && !a.answer);
    (void)pthread_join(thread, NULL);
    CHECK(is_paused(t, id_of(a.l)));
    end_one(t, a.l);
    expect_nothing(t);
}

// The service ends while all that pause are at it: what they have is kept, also past a second
// signal, and what nobody got to ends.
static struct live_table *test_end_meanwhile(struct live_table *t)
{
    struct live *l[KEPT_MAX + 2];

    hold_expired(t, l);
    live_table_stop(t, WAIT_MS);
    CHECK(!live_table_wait(t, clock_deadline_ms(20)));
    live_table_cut(t);
    CHECK(!live_table_wait(t, clock_deadline_ms(20)));
    hold = false;
    CHECK(live_table_wait(t, clock_deadline_ms(WAIT_MS)));
    for (size_t i = 0; i < KEPT_MAX + 2; i++)
        live_unref(l[i]);
    live_table_free(t);
    CHECK_INT(count_in_state("paused"), KEPT_MAX);
    CHECK_INT(count_rows(), KEPT_MAX);
    CHECK_INT(count_images(), KEPT_MAX);
    t = start_table(16, 16);
    for (size_t i = 0; i < KEPT_MAX; i++) {
        size_t count = 0;
        struct live **list = live_list(t, "k", &count);

        if (!CHECK(list != NULL && count == KEPT_MAX - i))
            break;
        CHECK(live_kill(t, list[0]));
        for (size_t n = 0; n < count; n++)
            live_unref(list[n]);
        free(list);
    }
    expect_nothing(t);
    return t;
}

static void *let_go_later(void *arg)
{
    const struct timespec some = {.tv_nsec = 100000000};

    (void)nanosleep(&some, NULL);
    hold = false;
    return arg;
}

// The table waits for a pause that it can no longer stop.
static struct live_table *test_free_meanwhile(struct live_table *t)
{
    struct live *l;
    pthread_t thread;
    char id[32];

    begin_holding();
    l = make_short(t, 1, LIVE_PAUSE);
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    live_unref(l);
    CHECK(comes(one_held, t, NULL));
    if (pthread_create(&thread, NULL, let_go_later, NULL) != 0)
        abort();
    live_table_free(t);
    (void)pthread_join(thread, NULL);
    t = start_table(16, 16);
    CHECK(is_paused(t, id));
    l = live_find(t, id);
    if (l != NULL)
        end_one(t, l);
    expect_nothing(t);
    return t;
}

// One that stands still for good is not told to be running.
static void test_stuck(struct live_table *t)
{
    struct live_forked forked[1];
    struct live_status before, after;
    struct err err = ERR_INIT;
    struct live *l;
    char id[32];

    live_status(t, &before);
    l = make(t, LIVE_KILL, id);
    freeze_fault = ERR_SYSTEM;
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_SYSTEM && runs(t, id));
    freeze_fault = ERR_TIMEOUT;
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_GONE);
    CHECK(is_gone(t, id) && live_channel(l) == NULL && !live_kill(t, l));
    live_unref(l);
    l = make(t, LIVE_KILL, id);
    CHECK(live_fork(t, l, 1, 1000, forked, &err) < 0 && err.code == ERR_GONE && is_gone(t, id));
    live_unref(l);
    freeze_fault = ERR_NONE;
    l = make(t, LIVE_KILL, id);
    store_fault = ERR_SYSTEM;
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_SYSTEM && runs(t, id));
    go_on_fault = ERR_GONE;
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_GONE && is_gone(t, id));
    live_unref(l);
    store_fault = go_on_fault = ERR_NONE;
    live_status(t, &after);
    CHECK(after.lost == before.lost + 3 && after.running == before.running);
    expect_nothing(t);
}

// One that cannot be paused, nor ever will be, ends at the end of its time; nobody ended it.
static void test_never_paused(struct live_table *t)
{
    struct live_status before, after;
    struct live *l;

    live_status(t, &before);
    freeze_fault = ERR_UNSUPPORTED;
    l = make_short(t, 1, LIVE_PAUSE);
    CHECK(comes(is_gone, t, id_of(l)));
    live_unref(l);
    freeze_fault = ERR_NONE;
    live_status(t, &after);
    CHECK(after.expired == before.expired + 1 && after.killed == before.killed);
    expect_nothing(t);
}

int main(void)
{
    struct live_table *t;

    start_engine(disk_driver());
    t = start_table(16, 16);
    test_slow_disk(t);
    test_time_meanwhile(t);
    test_stuck(t);
    test_never_paused(t);
    t = test_end_meanwhile(t);
    t = test_free_meanwhile(t);
    live_table_free(t);
    end_engine();
    return tap_done();
}
