// SPDX-License-Identifier: Apache-2.0
//
// Sandboxes of their owners over the fake driver, whose agent answers what the daemon asks of the
// data plane.
#include "sandbox/live.h"

#include "base/clock.h"
#include "channel/channel.h"
#include "live_harness.h"
#include "sandbox/sandbox.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// In place of the C library's, for the store too.
static atomic_bool disk_fails;

int fdatasync(int fd)
{
    if (disk_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fdatasync(fd);
}

static void test_life(struct live_table *t)
{
    struct err err;
    struct live *l = create(t, "k1", 60000, &err);
    struct live *same;
    struct live_info info;
    struct live_metrics m = {0};
    struct live_status before, after;
    char id[32];

    if (!CHECK(l != NULL))
        return;
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    CHECK(strlen(id) == LIVE_ID_LEN && id[0] == 'i' &&
          strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789") == LIVE_ID_LEN);
    CHECK_INT(strlen(live_token(l)), LIVE_TOKEN_LEN);
    CHECK_INT(strlen(live_traffic_token(l)), LIVE_TOKEN_LEN);
    CHECK(strcmp(live_token(l), live_traffic_token(l)) != 0);
    same = live_find(t, id);
    CHECK(same == l);
    live_unref(same);
    CHECK(live_find(t, "i00000000000000000000") == NULL && live_find(t, "") == NULL);
    CHECK(count_rows() == 1);
    live_describe(t, l, &info);
    CHECK_STR(info.template, "base");
    CHECK_STR(info.key, "k1");
    CHECK(info.metadata_count == 2 && strcmp(info.metadata[1].value, "zwei") == 0);
    CHECK(info.state == LIVE_RUNNING && info.end_ms == info.started_ms + 60000);
    CHECK(live_metrics(l, clock_deadline_ms(60000), &m, &err) == 0);
    CHECK(m.memory_used_bytes == 600 && m.cpu_used_percent > 12 && m.disk_total_bytes == 400);
    CHECK(live_set_timeout(t, l, 10000, true));
    live_describe(t, l, &info);
    CHECK(info.end_ms >= info.started_ms + 60000);
    CHECK(live_set_timeout(t, l, 10000, false));
    live_describe(t, l, &info);
    CHECK(info.end_ms < info.started_ms + 20000);
    CHECK(live_set_timeout(t, l, 10 * LIFE_MS, false));
    live_describe(t, l, &info);
    CHECK(info.end_ms <= info.started_ms + 2 * LIFE_MS);
    live_status(t, &before);
    struct channel *ch = live_channel(l);
    CHECK(ch != NULL && !channel_is_dead(ch));
    CHECK(live_kill(t, l));
    CHECK(count_rows() == 0); // whatever becomes of the service now
    CHECK(!live_kill(t, l));
    CHECK(channel_is_dead(ch));
    CHECK(live_channel(l) == NULL);
    CHECK(is_gone(t, id));
    CHECK(!live_set_timeout(t, l, 1000, false));
    CHECK(live_metrics(l, clock_deadline_ms(60000), &m, &err) < 0 && err.code == ERR_GONE);
    live_status(t, &after);
    CHECK(after.killed == before.killed + 1 && after.running == before.running - 1);
    live_unref(l);
    CHECK(comes(is_empty, t, NULL));
}

static void test_expiry_and_death(struct live_table *t)
{
    const struct channel_request die = {.method = "POST", .path = "/envd/die"};
    struct channel_stream *stream = NULL;
    struct live_status st;
    struct err err;
    struct live *l = create(t, "k1", 300, &err);
    char id[32];

    if (!CHECK(l != NULL))
        return;
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    CHECK(!is_gone(t, id));
    CHECK(comes(is_gone, t, id));
    CHECK(live_channel(l) == NULL);
    live_unref(l);
    l = create(t, "k1", 60000, &err);
    if (!CHECK(l != NULL))
        return;
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    CHECK(channel_send(live_channel(l), &die, &stream, &err) == 0);
    CHECK(comes(is_gone, t, id));
    channel_stream_close(stream);
    live_unref(l);
    live_status(t, &st);
    CHECK(st.expired == 1 && st.lost == 1 && st.running == 0);
    CHECK(comes(is_empty, t, NULL));
}

static bool match_token(void *arg, const char *id, const char *token)
{
    (void)id;
    return strcmp(arg, token) == 0;
}

static void test_pause(struct live_table *t)
{
    struct err err;
    struct live *l = create(t, "k1", 60000, &err);
    struct live *same, *next = NULL;
    struct live_info info;
    struct live_status st;
    char id[32], token[64];
    bool resumed = false;

    if (!CHECK(l != NULL))
        return;
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    (void)snprintf(token, sizeof(token), "%s", live_token(l));
    if (!CHECK(live_pause(t, l, &err) == 0)) {
        printf("# %s\n", err.message);
        return;
    }
    CHECK(live_channel(l) == NULL);
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_INVALID);
    same = live_find(t, id);
    CHECK(same != NULL && same != l && live_channel(same) == NULL);
    if (same == NULL)
        return;
    live_describe(t, same, &info);
    CHECK(info.state == LIVE_PAUSED && info.metadata_count == 2);
    CHECK(!live_set_timeout(t, same, 1000, false));
    CHECK(live_match_signature(t, match_token, token) == NULL);
    if (!CHECK(live_resume(t, same, 30000, &next, &resumed, &err) == 0)) {
        printf("# %s\n", err.message);
        return;
    }
    CHECK(resumed && live_channel(next) != NULL && strcmp(live_token(next), token) == 0);
    live_describe(t, next, &info);
    CHECK(info.state == LIVE_RUNNING && strcmp(info.id, id) == 0);
    live_unref(same);
    CHECK(live_resume(t, l, 90000, &same, &resumed, &err) == 0 && !resumed && same == next);
    live_unref(same);
    CHECK(live_pause(t, l, &err) == 0);
    live_unref(next);
    CHECK(live_kill(t, l));
    CHECK(is_gone(t, id));
    CHECK(live_resume(t, l, 1000, &next, &resumed, &err) < 0 && err.code == ERR_GONE);
    live_unref(l);
    live_status(t, &st);
    CHECK_INT(st.running, 0);
    CHECK(comes(is_empty, t, NULL));
}

static int note_state(void *arg, const struct store_sandbox *b)
{
    (void)snprintf(arg, 16, "%s", b->state);
    return 0;
}

static int count_snapshot(void *arg, const struct store_snapshot *b)
{
    (void)b;
    (*(int *)arg)++;
    return 0;
}

// What the disk does not take was neither paused nor deleted, and all say so.
static void test_disk_fails(struct live_table *t)
{
    const struct store_snapshot row = {
        .id = "s01234567890123456789", .key = "k1", .name = "n", .sandbox = "i", .env = "{}"};
    struct err err;
    struct live *l = create(t, "k1", 60000, &err);
    char state[16] = "";
    bool found = false;
    int count = 0;

    if (!CHECK(l != NULL) || !CHECK(store_snapshot_put(store, &row, &err) == 0))
        return;
    disk_fails = true;
    CHECK(live_pause(t, l, &err) < 0 && err.code == ERR_SYSTEM);
    CHECK(live_snapshot_remove(t, "k1", "n", &found, &err) < 0 && err.code == ERR_SYSTEM);
    disk_fails = false;
    CHECK(live_channel(l) != NULL);
    CHECK(store_sandbox_each(store, note_state, state, &err) == 0);
    CHECK_STR(state, "running");
    (void)live_snapshot_remove(t, "k1", row.id, &found, &err);
    CHECK(store_snapshot_each(store, "k1", count_snapshot, &count, &err) == 0 && count == 0);
    CHECK(live_kill(t, l));
    live_unref(l);
    CHECK(comes(is_empty, t, NULL));
}

struct expiring {
    const char *id;
    uint64_t late_ms; // beyond its end
};

static bool is_late(struct live_table *t, void *arg)
{
    const struct expiring *x = arg;
    struct live *l = live_find(t, x->id);
    struct live_info info = {.end_ms = 0};

    if (l != NULL)
        live_describe(t, l, &info);
    live_unref(l);
    return clock_real_ns() / NS_PER_MS > info.end_ms + x->late_ms;
}

// One that cannot be paused when its time is over is not ended for that.
static void test_disk_fails_at_end(struct live_table *t)
{
    const struct live_spec spec = {
        .key = "k1", .template = "base", .timeout_ms = 1, .on_timeout = LIVE_PAUSE};
    struct err err = ERR_INIT;
    struct expiring x = {.late_ms = 1000};
    struct live *l;
    char id[32];

    disk_fails = true;
    if (!CHECK(live_create(t, &spec, &l, &err) == 0))
        return;
    (void)snprintf(id, sizeof(id), "%s", live_id(l));
    live_unref(l);
    x.id = id;
    CHECK(comes(is_late, t, &x));
    CHECK(!is_gone(t, id) && !is_paused(t, id));
    disk_fails = false;
    CHECK(comes(is_paused, t, id));
    CHECK(kill_one(t, id));
    CHECK(comes(is_empty, t, NULL));
}

static void *waker(void *arg)
{
    void **to = arg;
    struct live *got = NULL;
    struct err err = ERR_INIT;

    if (live_wake(to[0], to[1], &got, &err) < 0)
        printf("# %s\n", err.message);
    return got;
}

// Requests that come at once to a paused one wake it once, and all get it.
static void test_wake(struct live_table *t)
{
    const struct live_spec spec = {.key = "k1",
                                   .template = "base",
                                   .timeout_ms = 1000,
                                   .on_timeout = LIVE_PAUSE,
                                   .auto_resume = true,
                                   .secure = true};
    struct live_status before, after;
    struct err err = ERR_INIT;
    struct live *l = NULL, *found;
    pthread_t threads[4];
    void *got[4] = {NULL};
    char token[64];

    live_status(t, &before);
    if (!CHECK(live_create(t, &spec, &l, &err) == 0)) {
        printf("# %s\n", err.message);
        return;
    }
    void *arg[] = {t, l};

    CHECK(live_auto_resumes(l));
    (void)snprintf(token, sizeof(token), "%s", live_token(l));
    (void)live_pause(t, l, &err); // its time may have been over first
    found = live_match_signature(t, match_token, token);
    CHECK(found != NULL && live_channel(found) == NULL);
    live_unref(found);
    for (size_t i = 0; i < 4; i++)
        (void)pthread_create(&threads[i], NULL, waker, arg);
    for (size_t i = 0; i < 4; i++)
        (void)pthread_join(threads[i], &got[i]);
    for (size_t i = 0; i < 4; i++)
        CHECK(got[i] != NULL && got[i] == got[0]);
    live_status(t, &after);
    CHECK_INT(after.resumed_total, before.resumed_total + 1);
    if (got[0] != NULL) {
        struct live_info info;

        live_describe(t, got[0], &info);
        CHECK(info.auto_resume && info.state == LIVE_RUNNING);
        CHECK(info.end_ms > info.started_ms + LIVE_AUTO_RESUME_MS - 1);
    }
    for (size_t i = 0; i < 4; i++)
        live_unref(got[i]);
    CHECK(live_kill(t, l));
    CHECK(live_wake(t, l, &found, &err) < 0 && err.code == ERR_GONE);
    live_unref(l);
    CHECK(comes(is_empty, t, NULL));
}

static void *pauser(void *arg)
{
    struct live *l = ((void **)arg)[1];
    struct live_table *t = ((void **)arg)[0];
    struct live *next;
    struct err err;
    bool resumed;

    for (int i = 0; i < 30; i++) {
        (void)live_pause(t, l, &err);
        if (live_resume(t, l, 60000, &next, &resumed, &err) == 0)
            live_unref(next);
    }
    return NULL;
}

// Several pause, resume and in the end kill one.
static void test_pause_crowd(struct live_table *t)
{
    struct err err;
    struct live *l = create(t, "k1", 60000, &err);
    void *arg[] = {t, l};
    pthread_t threads[4];

    if (!CHECK(l != NULL))
        return;
    for (size_t i = 0; i < 4; i++)
        (void)pthread_create(&threads[i], NULL, pauser, arg);
    const struct timespec some = {.tv_nsec = 3000000};
    (void)nanosleep(&some, NULL);
    CHECK(live_kill(t, l));
    for (size_t i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK(is_gone(t, (void *)(uintptr_t)live_id(l)));
    live_unref(l);
    CHECK(comes(is_empty, t, NULL));
}

// Copies are made at the same time, and each fails by itself: the key may have four.
static void test_fork(struct live_table *t)
{
    struct live_forked forked[5];
    struct err err;
    struct live *l = create(t, "k1", 60000, &err);
    int copies = 0, refusals = 0;

    if (!CHECK(l != NULL))
        return;
    CHECK(live_fork(t, l, 5, 30000, forked, &err) == 0);
    for (size_t i = 0; i < 5; i++) {
        struct live *c = forked[i].live;
        struct live_info info;

        if (c == NULL) {
            refusals += forked[i].err.code == ERR_BUSY &&
                        strcmp(forked[i].err.field, "SANDBOX_MAX_PER_KEY") == 0;
            continue;
        }
        live_describe(t, c, &info);
        copies += info.metadata_count == 2 && info.state == LIVE_RUNNING &&
                  strcmp(live_id(c), live_id(l)) != 0 && strcmp(live_token(c), live_token(l)) != 0;
        CHECK(live_kill(t, c));
        live_unref(c);
    }
    CHECK_INT(copies, 3);
    CHECK_INT(refusals, 2);
    CHECK(live_channel(l) != NULL);
    CHECK(live_pause(t, l, &err) == 0);
    CHECK(live_fork(t, l, 1, 30000, forked, &err) < 0 && err.code == ERR_INVALID);
    CHECK(live_kill(t, l));
    CHECK(live_fork(t, l, 1, 30000, forked, &err) < 0 && err.code == ERR_GONE);
    live_unref(l);
    CHECK(comes(is_empty, t, NULL));
}

static void test_owners(struct live_table *t)
{
    struct err err;
    struct live *a = create(t, "k1", 60000, &err);
    struct live *b = create(t, "k2", 60000, &err);
    struct live *c = create(t, "k1", 60000, &err);
    struct live **list;
    struct live *found;
    char token[64];
    size_t count = 0;

    if (!CHECK(a != NULL && b != NULL && c != NULL))
        return;
    list = live_list(t, "k1", &count);
    CHECK(count == 2 && (list[0] == a || list[0] == c) && list[0] != list[1]);
    for (size_t i = 0; i < count; i++)
        live_unref(list[i]);
    free(list);
    (void)snprintf(token, sizeof(token), "%s", live_token(b));
    found = live_match_signature(t, match_token, token);
    CHECK(found == b);
    live_unref(found);
    token[0] = 'x';
    CHECK(live_match_signature(t, match_token, token) == NULL);
    CHECK(create(t, "k1", 60000, &err) == NULL && err.code == ERR_BUSY);
    CHECK_STR(err.field, "SANDBOX_MAX_PER_KEY");
    CHECK(create(t, "k3", 60000, &err) == NULL && err.code == ERR_BUSY);
    CHECK_STR(err.field, "SANDBOX_MAX");
    CHECK(live_kill(t, a));
    struct live *d = create(t, "k3", 60000, &err);
    CHECK(d != NULL);
    live_unref(a);
    live_unref(b);
    live_unref(c);
    live_unref(d);
}

static atomic_int made, refused;

static void *crowd(void *arg)
{
    struct live_table *t = arg;

    for (int i = 0; i < 20; i++) {
        struct err err;
        struct live *l = create(t, "crowd", 60000, &err);
        struct live *again;

        if (l == NULL) {
            atomic_fetch_add(&refused, err.code == ERR_BUSY);
            continue;
        }
        atomic_fetch_add(&made, 1);
        again = live_find(t, live_id(l));
        (void)live_kill(t, l);
        live_unref(l);
        if (again != NULL)
            (void)live_channel(again);
        live_unref(again);
    }
    return NULL;
}

static void test_crowd(struct live_table *t)
{
    pthread_t threads[8];
    struct live_status st;

    for (size_t i = 0; i < 8; i++)
        (void)pthread_create(&threads[i], NULL, crowd, t);
    for (size_t i = 0; i < 8; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_INT(made + refused, 160);
    live_status(t, &st);
    CHECK_INT(st.running, 0);
    CHECK(comes(is_empty, t, NULL));
}

int main(void)
{
    struct live_table *t;
    struct live *left;
    struct err err;
    struct live_status st;
    struct sandbox_totals machines;

    start_engine(&driver_fake);
    t = start_table(8, 4);
    test_life(t);
    test_expiry_and_death(t);
    test_crowd(t);
    test_pause(t);
    test_disk_fails(t);
    test_disk_fails_at_end(t);
    test_wake(t);
    test_pause_crowd(t);
    test_fork(t);
    live_table_free(t);
    t = start_table(3, 2);
    test_owners(t);
    // A reference outlives the table.
    left = create(t, "k1", 60000, &err);
    live_table_free(t);
    CHECK(left == NULL || live_channel(left) == NULL);
    live_unref(left);
    // What a former run left in the store is told and forgotten.
    const struct store_sandbox row = {.id = "iold",
                                      .key = "k",
                                      .template = "base",
                                      .metadata = "{}",
                                      .env = "{}",
                                      .state = "running"};
    CHECK(store_sandbox_put(store, &row, &err) == 0);
    t = start_table(3, 2);
    CHECK(is_empty(t, NULL) && is_gone(t, (void *)(uintptr_t)"iold"));
    live_status(t, &st);
    CHECK_INT(st.running, 0);
    live_table_free(t);
    live_table_free(NULL);
    end_engine();
    sandbox_totals(&machines);
    CHECK_INT(machines.restored, machines.ended);
    return tap_done();
}
