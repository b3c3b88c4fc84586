// SPDX-License-Identifier: Apache-2.0
//
// The embedded queue while the system's clock is set: no wait ends or becomes longer by it. This
// program's own clock_gettime() stands before the C library's.
#include "base/clock.h"
#include "queue/queue.h"
#include "tap.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HOUR_MS      3600000ull
#define RETENTION_MS (24 * HOUR_MS)
#define TAKES_MAX    500 // of 100 ms

static char dir[] = "/tmp/csb-queue-clock-XXXXXX";
static int dir_fd = -1;
static struct err err;
static long set_by_s; // how far the clock was set

int clock_gettime(clockid_t id, struct timespec *ret)
{
    long r = syscall(SYS_clock_gettime, id, ret);

    if (id == CLOCK_REALTIME)
        ret->tv_sec += set_by_s;
    return (int)r;
}

static struct queue *open_fresh(void)
{
    const struct queue_config config = {.dir_fd = dir_fd,
                                        .jobs_max = 100,
                                        .retention_ms = RETENTION_MS,
                                        .store_max_bytes = 64 << 20};
    struct queue *q = NULL;

    (void)unlinkat(dir_fd, "jobs.db", 0);
    (void)unlinkat(dir_fd, "jobs.db-wal", 0);
    (void)unlinkat(dir_fd, "jobs.db-shm", 0);
    set_by_s = 0;
    CHECK(queue_sqlite.open(&config, &q, &err) == 0);
    return q;
}

static void put(struct queue *q, const char *body, char id[QUEUE_ID_MAX])
{
    const struct queue_job job = {.owner = "me",
                                  .owner_jobs_max = 100,
                                  .label = "python",
                                  .max_attempts = 1,
                                  .body = body,
                                  .body_len = strlen(body),
                                  .hook_url = "http://example.org/"};
    struct queue_put done;

    CHECK(q->ops->put(q, &job, 1, &done, &err) == 0);
    memcpy(id, done.id, QUEUE_ID_MAX);
}

static bool take(struct queue *q, uint64_t lease_ms, struct queue_lease *ret)
{
    bool found = false;

    CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 0, .lease_ms = lease_ms}, ret, &found,
                       &err) == 0);
    buf_release(&ret->body);
    return found;
}

static void run(struct queue *q, char id[QUEUE_ID_MAX])
{
    const struct queue_outcome outcome = {QUEUE_SUCCEEDED, "fine", 4};
    struct queue_lease lease;

    put(q, "run", id);
    CHECK(take(q, HOUR_MS, &lease) && q->ops->begin(q, &lease, &err) == 0 &&
          q->ops->finish(q, &lease, &outcome, &err) == 0);
}

// A job that is put back for an hour, one under a lease, a result that is kept for a day, a
// callback to be tried again in an hour.
static void test_nothing_is_early(long by_s)
{
    struct queue *q = open_fresh();
    char back[QUEUE_ID_MAX], leased[QUEUE_ID_MAX], over[QUEUE_ID_MAX], other[QUEUE_ID_MAX];
    struct queue_lease lease, none;
    struct queue_hook hook;
    struct queue_record r;
    uint64_t now_ms, place;
    bool found = false;

    run(q, over);
    CHECK(q->ops->take_hook(q, 0, HOUR_MS, &hook, &found, &err) == 0 && found);
    CHECK(q->ops->end_hook(q, &hook, QUEUE_HOOK_PENDING, HOUR_MS, "", &err) == 0);
    put(q, "back", back);
    CHECK(take(q, HOUR_MS, &lease) && q->ops->release(q, &lease, HOUR_MS, &err) == 0);
    put(q, "leased", leased);
    CHECK(take(q, HOUR_MS, &lease));
    CHECK(q->ops->get(q, "me", leased, &r, &err) == 0);
    place = r.place;
    set_by_s = by_s;
    CHECK(!take(q, HOUR_MS, &none));
    put(q, "other", other); // with which the queue follows the clock
    CHECK(take(q, HOUR_MS, &none) && strcmp(none.id, other) == 0);
    CHECK(!take(q, HOUR_MS, &none));
    CHECK(q->ops->begin(q, &lease, &err) == 0);
    CHECK(q->ops->take_hook(q, 0, HOUR_MS, &hook, &found, &err) == 0 && !found);
    CHECK(q->ops->sweep(q, &err) == 0);
    now_ms = clock_real_ns() / NS_PER_MS;
    CHECK(q->ops->get(q, "me", over, &r, &err) == 0);
    buf_release(&r.result);
    CHECK_MSG(r.expires_ms > now_ms + 20 * HOUR_MS && r.expires_ms <= now_ms + RETENTION_MS,
              "the result goes a day after it came, by the new clock");
    CHECK(q->ops->get(q, "me", other, &r, &err) == 0);
    CHECK_MSG(r.created_ms + HOUR_MS > now_ms && r.created_ms < now_ms + HOUR_MS,
              "what is put later has the new time");
    CHECK_MSG(r.place > place, "and stands before in lists, whatever the clock says");
    q->ops->close(q);
}

// The same waits, but short: the clock does not make them long.
static void test_nothing_is_late(long by_s)
{
    struct queue *q = open_fresh();
    char back[QUEUE_ID_MAX], over[QUEUE_ID_MAX];
    struct queue_lease lease;
    struct queue_hook hook;
    bool found = false;

    run(q, over);
    put(q, "back", back);
    CHECK(take(q, HOUR_MS, &lease) && q->ops->release(q, &lease, 1, &err) == 0);
    set_by_s = by_s;
    for (int i = 0; i < TAKES_MAX && !found; i++)
        CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 100, .lease_ms = HOUR_MS}, &lease,
                           &found, &err) == 0);
    CHECK(found && strcmp(lease.id, back) == 0);
    buf_release(&lease.body);
    CHECK(q->ops->take_hook(q, 0, HOUR_MS, &hook, &found, &err) == 0 && found);
    q->ops->close(q);
}

int main(void)
{
    static const long hours[] = {30, -30, 24 * 400, -24 * 400};

    if (mkdtemp(dir) == NULL)
        return 1;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof(hours) / sizeof(hours[0]); i++) {
        test_nothing_is_early(hours[i] * 3600);
        test_nothing_is_late(hours[i] * 3600);
    }
    (void)unlinkat(dir_fd, "jobs.db", 0);
    (void)unlinkat(dir_fd, "jobs.db-wal", 0);
    (void)unlinkat(dir_fd, "jobs.db-shm", 0);
    (void)close(dir_fd);
    (void)rmdir(dir);
    return tap_done();
}
