// SPDX-License-Identifier: Apache-2.0
#include "store/store.h"

#include "base/fd.h"
#include "tap.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/csb-store-XXXXXX";
static int dir_fd = -1;
static struct err err;

// Times that the log of the database was waited for until the disk had it.
static atomic_int log_syncs;

// In place of the C library's, for SQLite too.
int fdatasync(int fd)
{
    char name[64], path[256];
    ssize_t n;

    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    n = readlink(name, path, sizeof(path) - 1);
    path[n < 0 ? 0 : n] = '\0';
    log_syncs += strstr(path, "-wal") != NULL;
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fdatasync(fd);
}

static struct store *open_store(enum store_sync sync)
{
    struct store *s = NULL;

    err = (struct err)ERR_INIT;
    if (!CHECK(store_open(dir_fd, sync, &s, &err) == 0))
        printf("# %s\n", err.message);
    return s;
}

struct seen {
    char text[512];
    int stop_at, count;
};

static int on_key(void *arg, const struct store_key *key)
{
    struct seen *seen = arg;
    size_t used = strlen(seen->text);

    (void)snprintf(seen->text + used, sizeof(seen->text) - used, "%s%s;", key->name,
                   key->revoked_ms != 0 ? "-" : "");
    return ++seen->count == seen->stop_at ? 7 : 0;
}

struct wanted {
    const char *text; // of the key
    struct store_key found;
};

static int on_hash(void *arg, const struct store_key *key)
{
    struct wanted *w = arg;
    uint8_t hash[STORE_KEY_HASH_BYTES];

    store_key_hash(w->text, hash);
    if (memcmp(hash, key->hash, sizeof(hash)) == 0)
        w->found = *key;
    return 0;
}

// "" when no key has the text's hash.
static struct store_key look_up(struct store *s, const char *text)
{
    struct wanted w = {.text = text};

    CHECK_INT(store_key_each(s, on_hash, &w, &err), 0);
    return w.found;
}

static void test_keys(struct store *s)
{
    char text[STORE_KEY_TEXT_LEN + 1], other[STORE_KEY_TEXT_LEN + 1];
    uint64_t generation = store_key_generation(s);
    struct store_key key, second;
    struct seen seen = {.text = ""}, stopped = {.stop_at = 1};
    bool found = true;

    CHECK_INT(store_key_each(s, on_key, &seen, &err), 0);
    CHECK_INT(seen.count, 0);
    CHECK(store_key_add(s, "first", NULL, false, text, &key, &err) == 0);
    CHECK(store_key_generation(s) > generation);
    CHECK_INT(strlen(text), STORE_KEY_TEXT_LEN);
    CHECK(strncmp(text, "e2b_", 4) == 0 && strspn(text + 4, "0123456789abcdef") == 40);
    CHECK(strncmp(key.hint, text, strlen(key.hint)) == 0 && strlen(key.hint) == 8);
    CHECK_STR(look_up(s, text).id, key.id);
    memcpy(other, text, sizeof(other));
    other[43] = other[43] == '0' ? '1' : '0';
    CHECK_STR(look_up(s, other).id, "");
    CHECK_STR(look_up(s, "").id, "");
    CHECK(store_key_add(s, "a\nk0  good", NULL, false, other, &second, &err) < 0 &&
          err.code == ERR_INVALID && strcmp(err.field, "name") == 0);
    CHECK(store_key_add(s, "second", "acme-1", true, other, &second, &err) == 0);
    CHECK(strcmp(text, other) != 0 && strcmp(key.id, second.id) != 0);
    CHECK(look_up(s, text).revoked_ms == 0);
    generation = store_key_generation(s);
    CHECK(store_key_revoke(s, key.id, &found, &err) == 0 && found);
    CHECK(store_key_generation(s) > generation);
    CHECK(store_key_revoke(s, key.id, &found, &err) == 0 && !found);
    CHECK(look_up(s, text).revoked_ms != 0 && look_up(s, other).revoked_ms == 0);
    CHECK_INT(store_key_each(s, on_key, &seen, &err), 0);
    CHECK(strstr(seen.text, "first-;") != NULL && strstr(seen.text, "second;") != NULL);
    CHECK_INT(store_key_each(s, on_key, &stopped, &err), 7);
    CHECK_STR(look_up(s, text).tenant, key.id);
    CHECK(!look_up(s, text).admin && look_up(s, other).admin);
    CHECK_STR(look_up(s, other).tenant, "acme-1");
    for (size_t i = 0; i < 4; i++) {
        static const char *const bad[] = {
            "", "a b", "a/b", "0123456789012345678901234567890123456789012345678901234567890123"};

        CHECK(store_key_add(s, "", bad[i], false, text, &key, &err) < 0 &&
              strcmp(err.field, "tenant") == 0);
    }
    CHECK(store_key_add(s, "a name that is much longer than the sixty-three bytes that it may have",
                        NULL, false, text, &key, &err) < 0 &&
          strcmp(err.field, "name") == 0);
}

static int on_sandbox(void *arg, const struct store_sandbox *b)
{
    struct seen *seen = arg;
    size_t used = strlen(seen->text);

    (void)snprintf(seen->text + used, sizeof(seen->text) - used, "%s %s %s %s %s %d %llu %llu;",
                   b->id, b->template, b->metadata, b->token == NULL ? "-" : b->token, b->state,
                   b->pause_on_timeout, (unsigned long long)b->auto_resume_ms,
                   (unsigned long long)b->end_ms);
    return 0;
}

static void check_sandboxes(struct store *s, const char *want)
{
    struct seen seen = {.text = ""};

    CHECK_INT(store_sandbox_each(s, on_sandbox, &seen, &err), 0);
    CHECK_STR(seen.text, want);
}

static void test_sandboxes(struct store *s)
{
    struct store_sandbox a = {.id = "ia",
                              .key = "k1",
                              .template = "base",
                              .metadata = "{}",
                              .env = "{}",
                              .token = "t",
                              .state = "running",
                              .started_ms = 5,
                              .end_ms = 9};
    struct store_sandbox b = a;

    b.id = "ib";
    b.token = NULL;
    b.metadata = "{\"x\":\"it's\"}";
    b.started_ms = 4;
    b.pause_on_timeout = true;
    b.auto_resume_ms = 6;
    CHECK(store_sandbox_put(s, &a, &err) == 0 && store_sandbox_put(s, &b, &err) == 0);
    check_sandboxes(s, "ib base {\"x\":\"it's\"} - running 1 6 9;ia base {} t running 0 0 9;");
    CHECK(store_sandbox_set_end(s, "ia", 77, &err) == 0);
    a.state = "paused";
    a.end_ms = 78;
    CHECK(store_sandbox_put(s, &a, &err) == 0);
    CHECK(store_sandbox_remove(s, "ib", &err) == 0);
    CHECK(store_sandbox_remove(s, "ib", &err) == 0);
    check_sandboxes(s, "ia base {} t paused 0 0 78;");
}

// Whoever reads meanwhile keeps nothing from the disk.
static void test_sync(struct store *s)
{
    struct store_sandbox b = {.id = "is",
                              .key = "k1",
                              .template = "base",
                              .metadata = "{}",
                              .env = "{}",
                              .state = "paused"};
    sqlite3 *reader = NULL;
    char path[64];

    (void)snprintf(path, sizeof(path), "%s/codesandbox.db", dir);
    if (!CHECK(sqlite3_open(path, &reader) == SQLITE_OK) ||
        !CHECK(sqlite3_exec(reader, "PRAGMA wal_checkpoint(RESTART); BEGIN; SELECT * FROM keys",
                            NULL, NULL, NULL) == SQLITE_OK))
        return;
    CHECK(store_sandbox_put(s, &b, &err) == 0);
    log_syncs = 0;
    CHECK(store_sync(s, &err) == 0);
    CHECK_MSG(log_syncs > 0, "what was written is on the disk");
    log_syncs = 0;
    CHECK(store_sandbox_remove(s, "is", &err) == 0);
    CHECK_MSG(log_syncs == 0, "what follows does not wait for it");
    (void)sqlite3_close(reader);
}

// What a second process writes is there for the first at once, and outlives a process that is
// killed.
static void test_two_processes(struct store *s)
{
    int status = -1;
    bool any_of_child = false;
    uint64_t generation = store_key_generation(s);
    pid_t pid = fork();

    if (pid == 0) {
        struct store *mine = NULL;
        char text[STORE_KEY_TEXT_LEN + 1];
        struct store_key key;

        if (store_open(dir_fd, STORE_SYNC_POWER, &mine, &err) == 0 &&
            store_key_add(mine, "of the child", NULL, false, text, &key, &err) == 0)
            (void)raise(SIGKILL);
        _exit(1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    struct seen seen = {.text = ""};
    CHECK_INT(store_key_each(s, on_key, &seen, &err), 0);
    any_of_child = strstr(seen.text, "of the child") != NULL;
    CHECK(any_of_child);
    CHECK(store_key_generation(s) > generation);
}

static mode_t mode_of(const char *name)
{
    struct stat st;

    CHECK(fstatat(dir_fd, name, &st, 0) == 0);
    return st.st_mode & 07777;
}

// Of a new database, of what SQLite puts beside it, and of one that was open to others.
static void test_private(void)
{
    static const char *const names[] = {"codesandbox.db", "codesandbox.db-wal",
                                        "codesandbox.db-shm"};
    struct store *s;

    for (int round = 0; round < 2; round++) {
        s = open_store(STORE_SYNC_PROCESS);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            CHECK_INT(mode_of(names[i]), 0600);
        store_close(s);
        CHECK_INT(fchmodat(dir_fd, names[0], 0644, 0), 0);
    }
}

static void test_later_version(void)
{
    struct store *s = NULL;
    sqlite3 *db = NULL;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/codesandbox.db", dir);
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite3_close(db);
    CHECK(store_open(dir_fd, STORE_SYNC_PROCESS, &s, &err) < 0 && err.code == ERR_UNSUPPORTED);
}

static int on_old_key(void *arg, const struct store_key *key)
{
    int *good = arg;

    *good += strcmp(key->id, "kold") == 0 && strcmp(key->tenant, "kold") == 0 && !key->admin;
    return 0;
}

static int tell_snapshot(void *arg, const struct store_snapshot *b)
{
    char *text = arg;
    size_t len = strlen(text);

    (void)snprintf(text + len, 256 - len, "%s %s %s %s %s %d %d;", b->id, b->key, b->name,
                   b->sandbox, b->env, (int)b->created_ms, (int)b->bytes);
    return 0;
}

static void test_snapshots(struct store *s)
{
    const struct store_snapshot rows[] = {
        {.id = "sa", .key = "k1", .name = "", .sandbox = "ia", .env = "{}", .created_ms = 1},
        {"sb", "k1", "n", "ib", "{\"A\":\"1\"}", 2, 9},
        {"sc", "k2", "n", "ic", "{}", 3, 8},
    };
    char text[256] = "";

    for (size_t i = 0; i < 3; i++)
        CHECK(store_snapshot_put(s, &rows[i], &err) == 0);
    CHECK(store_snapshot_each(s, "k1", tell_snapshot, text, &err) == 0);
    CHECK_STR(text, "sb k1 n ib {\"A\":\"1\"} 2 9;sa k1  ia {} 1 0;");
    CHECK(store_snapshot_remove(s, "sb", &err) == 0 && store_snapshot_remove(s, "sb", &err) == 0);
    text[0] = '\0';
    CHECK(store_snapshot_each(s, NULL, tell_snapshot, text, &err) == 0);
    CHECK_STR(text, "sc k2 n ic {} 3 8;sa k1  ia {} 1 0;");
}

// A store of the first version goes on: a key of it is a tenant of its own.
static void test_first_version(void)
{
    static const char old[] =
        "DROP TABLE keys;"
        "ALTER TABLE sandboxes DROP COLUMN auto_resume_ms;"
        "CREATE TABLE keys(id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, name TEXT NOT NULL,"
        " hint TEXT NOT NULL, created_ms INTEGER NOT NULL,"
        " revoked_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
        "INSERT INTO keys VALUES('kold', x'00', 'old', 'e2b_0000', 1, 0);"
        "DELETE FROM sqlite_master WHERE tbl_name NOT IN ('keys', 'sandboxes');"
        "PRAGMA user_version = 1";
    struct store *s;
    sqlite3 *db = NULL;
    char path[128];
    int good = 0;

    (void)snprintf(path, sizeof(path), "%s/codesandbox.db", dir);
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    CHECK(sqlite3_exec(db, "PRAGMA writable_schema = ON", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_exec(db, old, NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite3_close(db);
    s = open_store(STORE_SYNC_PROCESS);
    CHECK(s != NULL && store_key_each(s, on_old_key, &good, &err) == 0);
    CHECK_INT(good, 1);
    store_close(s);
}

static void test_broken(void)
{
    struct store *s = NULL;
    int fd = openat(dir_fd, "codesandbox.db", O_WRONLY | O_TRUNC | O_CLOEXEC);

    (void)unlinkat(dir_fd, "codesandbox.db-wal", 0);
    (void)unlinkat(dir_fd, "codesandbox.db-shm", 0);
    CHECK(fd >= 0 &&
          fd_write_all(fd, "this is no database at all, not even a bit of one....", 53) == 0);
    fd_close(&fd);
    CHECK(store_open(dir_fd, STORE_SYNC_PROCESS, &s, &err) < 0 && err.code == ERR_SYSTEM);
}

// The directory's path is closed to the user that the service becomes.
static void test_closed_path(void)
{
    char closed[] = "/tmp/csb-closed-XXXXXX";
    char sub[64];
    int status = -1, fd;
    pid_t pid;

    if (geteuid() != 0) {
        CHECK_MSG(true, "a closed path # SKIP needs root");
        return;
    }
    CHECK(mkdtemp(closed) != NULL);
    (void)snprintf(sub, sizeof(sub), "%s/store", closed);
    CHECK(mkdir(sub, 0700) == 0 && chown(sub, 12345, 12345) == 0);
    fd = open(sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pid = fork();
    if (pid == 0) {
        struct store *s = NULL;
        char text[STORE_KEY_TEXT_LEN + 1];
        struct store_key key;

        if (setgid(12345) < 0 || setuid(12345) < 0 ||
            store_open(fd, STORE_SYNC_PROCESS, &s, &err) < 0 ||
            store_key_add(s, "x", NULL, false, text, &key, &err) < 0) {
            printf("# %s\n", err.message);
            fflush(stdout);
            _exit(1);
        }
        store_close(s);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
    (void)unlinkat(fd, "codesandbox.db", 0);
    (void)unlinkat(fd, "keys.generation", 0);
    fd_close(&fd);
    (void)rmdir(sub);
    (void)rmdir(closed);
}

static int on_limit(void *arg, const struct store_tenant_limit *l)
{
    char *text = arg;
    size_t used = strlen(text);

    (void)snprintf(text + used, 256 - used, "%s %s %d;", l->tenant, store_limit_name(l->limit),
                   (int)l->value);
    return 0;
}

static void check_limits(struct store *s, const char *expected)
{
    char text[256] = "";

    CHECK_INT(store_tenant_each(s, on_limit, text, &err), 0);
    CHECK_STR(text, expected);
}

static void test_tenants(struct store *s)
{
    uint64_t generation = store_key_generation(s), four = 4, none = 0;
    enum store_limit limit;

    check_limits(s, "");
    CHECK(store_tenant_set(s, "b", STORE_LIMIT_RUNS, &four, &err) == 0);
    CHECK(store_key_generation(s) > generation);
    CHECK(store_tenant_set(s, "a", STORE_LIMIT_SANDBOXES, &four, &err) == 0);
    CHECK(store_tenant_set(s, "a", STORE_LIMIT_SANDBOXES, &none, &err) == 0);
    CHECK(store_tenant_set(s, "a", STORE_LIMIT_QUEUE, &four, &err) == 0);
    check_limits(s, "a SANDBOX_MAX_PER_KEY 0;a TENANT_QUEUE 4;b TENANT_RUNS 4;");
    generation = store_key_generation(s);
    CHECK(store_tenant_set(s, "a", STORE_LIMIT_SANDBOXES, NULL, &err) == 0);
    CHECK(store_tenant_set(s, "a", STORE_LIMIT_SANDBOXES, NULL, &err) == 0);
    CHECK(store_key_generation(s) > generation);
    check_limits(s, "a TENANT_QUEUE 4;b TENANT_RUNS 4;");
    CHECK(store_tenant_set(s, "a/b", STORE_LIMIT_RUNS, &four, &err) < 0 &&
          strcmp(err.field, "tenant") == 0);
    for (int i = 0; i < STORE_LIMIT_COUNT; i++)
        CHECK(store_limit_find(store_limit_name((enum store_limit)i), &limit) && (int)limit == i);
    CHECK(!store_limit_find("TENANT_NOTHING", &limit));
}

static bool is_known(struct store *s, const char *tenant)
{
    bool known = false;

    CHECK(store_tenant_known(s, tenant, &known, &err) == 0);
    return known;
}

static void test_known_tenants(struct store *s)
{
    char text[STORE_KEY_TEXT_LEN + 1];
    struct store_key key;
    uint64_t four = 4;
    bool found, known;

    CHECK(!is_known(s, "keyed") && !is_known(s, "limited"));
    CHECK(store_key_add(s, "", "keyed", false, text, &key, &err) == 0);
    CHECK(is_known(s, "keyed") && !is_known(s, "keye") && !is_known(s, "keyed2"));
    CHECK(store_key_revoke(s, key.id, &found, &err) == 0 && found);
    CHECK(is_known(s, "keyed")); // its sandboxes and jobs may be there still
    CHECK(store_tenant_set(s, "limited", STORE_LIMIT_RUNS, &four, &err) == 0);
    CHECK(is_known(s, "limited"));
    CHECK(store_tenant_set(s, "limited", STORE_LIMIT_RUNS, NULL, &err) == 0);
    CHECK(!is_known(s, "limited"));
    CHECK(store_tenant_known(s, "", &known, &err) < 0 && strcmp(err.field, "tenant") == 0);
}

int main(void)
{
    struct store *s;

    if (mkdtemp(dir) == NULL)
        return 1;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s = open_store(STORE_SYNC_PROCESS);
    if (s == NULL)
        return 1;
    test_keys(s);
    test_sandboxes(s);
    test_sync(s);
    test_snapshots(s);
    test_tenants(s);
    test_known_tenants(s);
    test_two_processes(s);
    store_close(s);
    s = open_store(STORE_SYNC_POWER);
    check_sandboxes(s, "ia base {} t paused 0 0 78;");
    CHECK(store_sync(s, &err) == 0);
    CHECK(store_sandbox_keep(s, "paused", "other", &err) == 0);
    check_sandboxes(s, "ia base {} t paused 0 0 78;");
    CHECK(store_sandbox_keep(s, "running", "", &err) == 0);
    check_sandboxes(s, "");
    store_close(s);
    store_close(NULL);
    test_private();
    test_first_version();
    test_later_version();
    test_broken();
    test_closed_path();
    (void)unlinkat(dir_fd, "codesandbox.db", 0);
    (void)unlinkat(dir_fd, "keys.generation", 0);
    fd_close(&dir_fd);
    CHECK_INT(rmdir(dir), 0);
    return tap_done();
}
