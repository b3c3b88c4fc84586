// SPDX-License-Identifier: Apache-2.0
//
// filesystem.Filesystem of the agent's data plane.
#include "base/clock.h"
#include "envd_harness.h"

#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define F "filesystem.Filesystem/"

static char *at(const char *name)
{
    static char paths[4][400];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", envd_dir, name);
    return path;
}

static void make_file(const char *name, const char *text)
{
    int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        abort();
    close(fd);
}

static void make_link(const char *target, const char *name)
{
    if (symlink(target, at(name)) < 0)
        abort();
}

static const char *entry(const struct reply *r, const char *key)
{
    const char *text = json_string_value(json_object_get(json_object_get(r->json, "entry"), key));

    return text == NULL ? "" : text;
}

static void test_stat(void)
{
    make_file("file", "12345");
    chmod(at("file"), 0640);
    make_link("file", "link");
    make_link("nowhere", "broken");
    _cleanup_reply_ struct reply f = envd_rpc(F "Stat", "{\"path\":\"%s\"}", at("file"));
    CHECK_STR(entry(&f, "name"), "file");
    CHECK_STR(entry(&f, "type"), "FILE_TYPE_FILE");
    CHECK_STR(entry(&f, "size"), "5");
    CHECK_STR(entry(&f, "permissions"), "-rw-r-----");
    CHECK_STR(entry(&f, "owner"), envd_user);
    CHECK_INT(json_integer_value(json_object_get(json_object_get(f.json, "entry"), "mode")), 0640);
    CHECK(strlen(entry(&f, "modifiedTime")) >= 20 && strchr(entry(&f, "modifiedTime"), 'Z'));
    _cleanup_reply_ struct reply l = envd_rpc(F "Stat", "{\"path\":\"%s\"}", at("link"));
    CHECK_STR(entry(&l, "type"), "FILE_TYPE_FILE");
    CHECK_STR(entry(&l, "symlinkTarget"), at("file"));
    CHECK_STR(entry(&l, "permissions"), "Lrwxrwxrwx");
    _cleanup_reply_ struct reply b = envd_rpc(F "Stat", "{\"path\":\"%s\"}", at("broken"));
    CHECK_STR(entry(&b, "type"), "FILE_TYPE_UNSPECIFIED");
    CHECK_STR(entry(&b, "symlinkTarget"), at("broken"));
    _cleanup_reply_ struct reply d = envd_rpc(F "Stat", "{}");
    CHECK_STR(entry(&d, "path"), envd_dir);
    CHECK_STR(entry(&d, "type"), "FILE_TYPE_DIRECTORY");
    _cleanup_reply_ struct reply n = envd_rpc(F "Stat", "{\"path\":\"%s\"}", at("none"));
    CHECK_INT(n.status, 404);
    CHECK_STR(reply_code(&n), "not_found");
    _cleanup_reply_ struct reply o = envd_rpc(F "Stat", "{\"path\":\"~other/x\"}");
    CHECK_STR(reply_code(&o), "invalid_argument");
    _cleanup_reply_ struct reply t = envd_rpc(F "Stat", "{\"path\":7,\"unknown\":{}}");
    CHECK_STR(reply_code(&t), "invalid_argument");
}

static void test_make_and_move(void)
{
    struct stat st;
    _cleanup_reply_ struct reply a = envd_rpc(F "MakeDir", "{\"path\":\"%s\"}", at("m/n/o"));
    CHECK_STR(entry(&a, "path"), at("m/n/o"));
    CHECK(stat(at("m/n"), &st) == 0 && (st.st_mode & 0777) == 0755);
    _cleanup_reply_ struct reply b = envd_rpc(F "MakeDir", "{\"path\":\"%s\"}", at("m/n/o"));
    CHECK_INT(b.status, 409);
    CHECK_STR(reply_code(&b), "already_exists");
    _cleanup_reply_ struct reply c = envd_rpc(F "MakeDir", "{\"path\":\"%s\"}", at("file"));
    CHECK_STR(reply_code(&c), "invalid_argument");
    _cleanup_reply_ struct reply d = envd_rpc(F "MakeDir", "{\"path\":\"%s\"}", at("file/x"));
    CHECK_STR(reply_code(&d), "invalid_argument");
    _cleanup_reply_ struct reply m =
        envd_rpc(F "Move", "{\"source\":\"%s\",\"destination\":\"%s\"}", at("m/n"), at("p/q/r"));
    CHECK_STR(entry(&m, "path"), at("p/q/r"));
    CHECK(stat(at("p/q/r/o"), &st) == 0);
    _cleanup_reply_ struct reply n =
        envd_rpc(F "Move", "{\"source\":\"%s\",\"destination\":\"%s\"}", at("m/n"), at("p"));
    CHECK_STR(reply_code(&n), "not_found");
}

static void test_list(void)
{
    mkdir(at("list"), 0755);
    mkdir(at("list/b"), 0755);
    mkdir(at("list/b/d"), 0755);
    make_file("list/b/c", "");
    make_file("list/a", "");
    make_file("list/b.x", "");
    make_file("list/z\xff", "");
    make_link("b", "list/l");
    static const char *const deep[] = {"a", "b", "b/c", "b/d", "b.x", "l", "z\xef\xbf\xbd"};
    _cleanup_reply_ struct reply r =
        envd_rpc(F "ListDir", "{\"path\":\"%s\",\"depth\":5}", at("list"));
    const json_t *entries = json_object_get(r.json, "entries");
    CHECK_INT(json_array_size(entries), 7);
    for (size_t i = 0; i < json_array_size(entries); i++) {
        char want[64];
        snprintf(want, sizeof(want), "list/%s", deep[i]);
        CHECK_STR(json_string_value(json_object_get(json_array_get(entries, i), "path")), at(want));
    }
    _cleanup_reply_ struct reply one = envd_rpc(F "ListDir", "{\"path\":\"%s\"}", at("list"));
    CHECK_INT(json_array_size(json_object_get(one.json, "entries")), 5);
    // The directory that was asked for is followed, and keeps its name.
    _cleanup_reply_ struct reply l = envd_rpc(F "ListDir", "{\"path\":\"%s\"}", at("list/l"));
    CHECK_STR(json_string_value(
                  json_object_get(json_array_get(json_object_get(l.json, "entries"), 0), "path")),
              at("list/l/c"));
    _cleanup_reply_ struct reply f = envd_rpc(F "ListDir", "{\"path\":\"%s\"}", at("list/a"));
    CHECK_STR(reply_code(&f), "invalid_argument");
    _cleanup_reply_ struct reply n = envd_rpc(F "ListDir", "{\"path\":\"%s\"}", at("none"));
    CHECK_STR(reply_code(&n), "not_found");
}

// More than one slice, and deeper than the descriptors reach; a link out of the tree is not
// followed.
static void test_remove(void)
{
    struct stat st;
    char name[64];
    int dir;

    mkdir(at("tree"), 0755);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "tree/%d", i);
        make_file(name, "");
    }
    dir = open(at("tree"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 1000; i++) {
        mkdirat(dir, "d", 0755);
        int sub = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(dir);
        dir = sub;
        close(openat(dir, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    close(dir);
    mkdir(at("kept"), 0755);
    make_file("kept/file", "");
    make_link("../kept", "tree/out");
    _cleanup_reply_ struct reply list =
        envd_rpc(F "ListDir", "{\"path\":\"%s\",\"depth\":40}", at("tree"));
    CHECK(json_array_size(json_object_get(list.json, "entries")) == 2001 + 2 * 40 - 1);
    _cleanup_reply_ struct reply deep =
        envd_rpc(F "ListDir", "{\"path\":\"%s\",\"depth\":400}", at("tree"));
    CHECK_STR(reply_code(&deep), "resource_exhausted");
    _cleanup_reply_ struct reply r = envd_rpc(F "Remove", "{\"path\":\"%s\"}", at("tree"));
    CHECK_STR(reply_code(&r), "ok");
    CHECK(stat(at("tree"), &st) < 0);
    CHECK(stat(at("kept/file"), &st) == 0);
    make_link("kept", "way");
    _cleanup_reply_ struct reply l = envd_rpc(F "Remove", "{\"path\":\"%s\"}", at("way"));
    CHECK(strcmp(reply_code(&l), "ok") == 0 && lstat(at("way"), &st) < 0);
    CHECK(stat(at("kept/file"), &st) == 0);
    _cleanup_reply_ struct reply again = envd_rpc(F "Remove", "{\"path\":\"%s\"}", at("tree"));
    CHECK_STR(reply_code(&again), "ok");
    _cleanup_reply_ struct reply root = envd_rpc(F "Remove", "{\"path\":\"/..\"}");
    CHECK_STR(reply_code(&root), "invalid_argument");
}

// Collects "TYPE:name " of a stream's events up to that one, which must come.
static void collect(struct envd_stream *s, const char *last, struct buf *out)
{
    const json_t *m;

    while (strstr(text_of(out), last) == NULL && (m = envd_next(s, DEADLINE_MS)) != NULL) {
        const json_t *e = json_object_get(m, "filesystem");
        const char *type = json_string_value(json_object_get(e, "type"));
        if (type != NULL)
            (void)buf_appendf(out, "%s:%s ", type + strlen("EVENT_TYPE_"),
                              json_string_value(json_object_get(e, "name")));
    }
}

static bool has(struct buf *events, const char *what)
{
    bool found = strstr(text_of(events), what) != NULL;

    if (!found)
        printf("# no %s in %s\n", what, text_of(events));
    return found;
}

static void test_watch(void)
{
    struct envd_stream s;
    struct buf events = BUF_INIT;

    mkdir(at("w"), 0755);
    mkdir(at("w/sub"), 0755);
    make_file("from", "");
    envd_open_stream(&s, F "WatchDir", 0, NULL, "{\"path\":\"%s\",\"includeEntry\":true}", at("w"));
    CHECK(json_object_get(envd_next(&s, DEADLINE_MS), "start") != NULL);
    make_file("w/a", "1");
    const json_t *m = envd_next(&s, DEADLINE_MS);
    const json_t *e = json_object_get(json_object_get(m, "filesystem"), "entry");
    CHECK_STR(json_string_value(json_object_get(e, "path")), at("w/a"));
    chmod(at("w/a"), 0600);
    rename(at("w/a"), at("w/b"));
    rename(at("from"), at("w/in"));
    rename(at("w/b"), at("away"));
    unlink(at("w/in"));
    make_file("w/sub/not", "");
    make_file("w/last", "");
    collect(&s, "CREATE:last ", &events);
    static const char *const wanted[] = {"WRITE:a ",   "CHMOD:a ",  "RENAME:a ", "CREATE:b ",
                                         "CREATE:in ", "RENAME:b ", "REMOVE:in "};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        CHECK_MSG(has(&events, wanted[i]), "%s", wanted[i]);
    CHECK(strstr(text_of(&events), "not") == NULL);
    buf_release(&events);
    envd_close_stream(&s);

    envd_open_stream(&s, F "WatchDir", 0, NULL, "{\"path\":\"%s\"}", at("none"));
    CHECK(envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "not_found");
    envd_close_stream(&s);
    envd_open_stream(&s, F "WatchDir", 0, NULL, "{\"path\":\"%s\"}", at("file"));
    CHECK(envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "invalid_argument");
    envd_close_stream(&s);
    envd_open_stream(&s, F "WatchDir", 300, NULL, "{\"path\":\"%s\"}", at("w"));
    CHECK(envd_next(&s, DEADLINE_MS) != NULL && envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "deadline_exceeded");
    envd_close_stream(&s);
}

static void test_watch_tree(void)
{
    struct envd_stream s;
    struct buf events = BUF_INIT;
    const char *first;

    envd_open_stream(&s, F "WatchDir", 0, NULL, "{\"path\":\"%s\",\"recursive\":true}", at("w"));
    CHECK(json_object_get(envd_next(&s, DEADLINE_MS), "start") != NULL);
    make_file("w/sub/deep", "1");
    mkdir(at("w/n"), 0755);
    mkdir(at("w/n/m"), 0755);
    make_file("w/n/m/f", "1");
    collect(&s, "CREATE:n/m/f ", &events);
    make_file("w/n/m/f", "22");
    rename(at("w/n"), at("w/o"));
    collect(&s, "CREATE:o ", &events);
    make_file("w/o/m/g", "");
    rename(at("w/o"), at("gone"));
    collect(&s, "RENAME:o ", &events);
    make_file("gone/m/h", "");
    make_file("w/end", "");
    collect(&s, "CREATE:end ", &events);
    static const char *const wanted[] = {"CREATE:sub/deep ", "CREATE:n ",     "CREATE:n/m ",
                                         "CREATE:n/m/f ",    "WRITE:n/m/f ",  "RENAME:n ",
                                         "CREATE:o ",        "CREATE:o/m/g ", "RENAME:o "};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        CHECK_MSG(has(&events, wanted[i]), "%s", wanted[i]);
    first = strstr(text_of(&events), "CREATE:n/m/f ");
    CHECK_MSG(first != NULL && strstr(first + 1, "CREATE:n/m/f ") == NULL, "told once");
    CHECK(strstr(text_of(&events), "/h ") == NULL);
    buf_release(&events);
    envd_close_stream(&s);
}

static void test_watcher(void)
{
    _cleanup_reply_ struct reply c = envd_rpc(F "CreateWatcher", "{\"path\":\"%s\"}", at("w"));
    const char *id = json_string_value(json_object_get(c.json, "watcherId"));
    int made = 0;

    if (!CHECK(id != NULL))
        return;
    make_file("w/polled", "x");
    _cleanup_reply_ struct reply e = envd_rpc(F "GetWatcherEvents", "{\"watcher_id\":\"%s\"}", id);
    const json_t *events = json_object_get(e.json, "events");
    CHECK(json_array_size(events) >= 2);
    CHECK_STR(json_string_value(json_object_get(json_array_get(events, 0), "type")),
              "EVENT_TYPE_CREATE");
    _cleanup_reply_ struct reply f = envd_rpc(F "GetWatcherEvents", "{\"watcherId\":\"%s\"}", id);
    CHECK_INT(json_array_size(json_object_get(f.json, "events")), 0);
    _cleanup_reply_ struct reply r = envd_rpc(F "RemoveWatcher", "{\"watcherId\":\"%s\"}", id);
    CHECK_STR(reply_code(&r), "ok");
    _cleanup_reply_ struct reply g = envd_rpc(F "GetWatcherEvents", "{\"watcherId\":\"%s\"}", id);
    CHECK_STR(reply_code(&g), "not_found");
    // Bounded in number, by us or by what this user may have.
    for (int i = 0; i < 200; i++) {
        _cleanup_reply_ struct reply m = envd_rpc(F "CreateWatcher", "{\"path\":\"%s\"}", at("w"));
        if (m.status != 200) {
            CHECK_STR(reply_code(&m), "resource_exhausted");
            break;
        }
        made++;
    }
    CHECK(made > 0 && made <= 100);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    envd_begin();
    test_stat();
    test_make_and_move();
    test_list();
    test_remove();
    test_watch();
    test_watch_tree();
    test_watcher();
    CHECK_MSG(envd_finish(), "the agent ended well");
    return tap_done();
}
