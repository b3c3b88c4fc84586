// SPDX-License-Identifier: Apache-2.0
//
// csb sandbox cp, ls and rm: files in a sandbox, over its data plane.
#include "base/fd.h"
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_ONE 1

struct options {
    const char *user;
    bool json, force;
};

static int usage(const char *name)
{
    for (const struct cli_command *c = sandbox_commands; c->name != NULL; c++)
        if (strcmp(c->name, cli_word(name)) == 0)
            (void)fprintf(stderr, "usage: csb sandbox %s %s\n", c->name, c->usage);
    return CLI_EXIT_USAGE;
}

static int parse_options(int argc, char **argv, const char *shorts, struct options *o)
{
    static const struct option longs[] = {
        {"user", required_argument, NULL, 'u'},
        {"force", no_argument, NULL, 'f'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == 'u')
            o->user = optarg;
        else if (c == 'j') {
            o->json = true;
            out_json_errors();
        } else if (c == 'f' && strchr(shorts, 'f') != NULL)
            o->force = true;
        else
            return usage(argv[0]);
    }
    return 0;
}

// ---- cp ----

struct copy {
    struct box box;
    const char *path; // in the sandbox
    const char *user;
    int fd; // here
    uint64_t done, total;
    struct out_progress progress;
    int error; // errno of the file here
};

static size_t give(void *arg, char *data, size_t max)
{
    struct copy *c = arg;
    ssize_t n;

    do
        n = read(c->fd, data, max);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        c->error = errno;
        return SIZE_MAX;
    }
    c->done += (uint64_t)n;
    out_progress(&c->progress, c->done, c->total);
    return (size_t)n;
}

static int take(void *arg, const char *data, size_t len)
{
    struct copy *c = arg;
    int r = fd_write_all(c->fd, data, len);

    if (r < 0) {
        c->error = -r;
        return -1;
    }
    c->done += len;
    out_progress(&c->progress, c->done, c->total);
    return 0;
}

// "/files?path=...&username=..."; freed with free().
static char *files_path(const struct copy *c)
{
    _cleanup_free_ char *path = box_escape(c->path);
    _cleanup_free_ char *user = box_escape(c->user == NULL ? "" : c->user);
    char *ret = NULL;

    if (path == NULL || user == NULL)
        return NULL;
    if (asprintf(&ret, "/files?path=%s%s%s", path, user[0] != '\0' ? "&username=" : "", user) < 0)
        return NULL;
    return ret;
}

static int say(const struct copy *c, const char *here, int r, long status, struct buf *answer,
               const struct err *err)
{
    json_error_t jerr;
    _cleanup_json_ json_t *o = NULL;

    if (r == 0 && status / 100 == 2)
        return 0;
    if (c->error != 0) {
        out_error("sandbox cp", "%s: %s", here, strerror(c->error));
        return CLI_EXIT_USAGE;
    }
    if (r < 0) {
        out_error("sandbox cp", "%s", err->message);
        return CLI_EXIT_SERVICE;
    }
    o = json_loadb((const char *)answer->data, answer->len, 0, &jerr);
    out_refusal("sandbox cp", o, "the sandbox refused");
    return status == 404 ? 1 : CLI_EXIT_SERVICE;
}

static int transfer(struct copy *c, const char *here, bool up)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    _cleanup_free_ char *path = files_path(c);
    struct err err = ERR_INIT;
    long status = 0;
    struct client_request req = {
        .method = up ? "POST" : "GET",
        .path = path,
        .type = "application/octet-stream",
        .read = up ? give : NULL,
        .read_arg = c,
        .read_len = c->total > 0 ? (int64_t)c->total : -1,
        .headers = c->box.lines,
        .on_body = up ? NULL : take,
        .arg = c,
    };
    int r = path == NULL ? -1 : client_call(&req, &status, &answer, &err);

    out_progress_end(&c->progress);
    return say(c, here, r, status, &answer, &err);
}

// The file here: opened, or a stream. 0 or an exit code after a message.
static int open_here(struct copy *c, const char *here, bool up)
{
    struct stat st;

    if (strcmp(here, "-") == 0) {
        c->fd = dup(up ? STDIN_FILENO : STDOUT_FILENO);
        return 0;
    }
    c->fd = open(here, up ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (c->fd < 0 || fstat(c->fd, &st) < 0) {
        out_error("sandbox cp", "%s: %s", here, strerror(errno));
        return CLI_EXIT_USAGE;
    }
    if (up && S_ISDIR(st.st_mode)) {
        out_error("sandbox cp", "%s is a directory: tar -c %s | csb sandbox exec -i %s tar -x",
                  here, here, c->box.id);
        return CLI_EXIT_USAGE;
    }
    if (up && S_ISREG(st.st_mode))
        c->total = (uint64_t)st.st_size;
    return 0;
}

// How large a file in the sandbox is, for the progress, and whether it is one: nothing here is
// overwritten otherwise. 0 or an exit code after a message.
static int look_at_source(struct copy *c)
{
    _cleanup_json_ json_t *body = json_pack("{s:s}", "path", c->path);
    _cleanup_json_ json_t *answer = NULL;
    const char *size, *type;
    const json_t *entry;
    int r = box_call("sandbox cp", &c->box, BOX_FILES "Stat", body, &answer, NULL);

    if (r != 0)
        return r;
    entry = json_object_get(answer, "entry");
    type = json_string_value(json_object_get(entry, "type")) ?: "";
    if (strcmp(type, "FILE_TYPE_FILE") != 0) {
        if (strcmp(type, "FILE_TYPE_DIRECTORY") == 0)
            out_error("sandbox cp", "%s is a directory: csb sandbox exec %s tar -c %s | tar -x",
                      c->path, c->box.id, c->path);
        else
            out_error("sandbox cp", "%s is no file", c->path);
        return CLI_EXIT_USAGE;
    }
    size = json_string_value(json_object_get(entry, "size"));
    c->total = size == NULL ? 0 : strtoull(size, NULL, 10);
    return 0;
}

static int copy(const char *id, const char *path, const char *here, bool up,
                const struct options *o)
{
    struct copy c = {.path = path, .user = o->user, .fd = -1, .progress = {.what = here}};
    int r = box_open("sandbox cp", id, o->user, &c.box);

    if (r == 0 && !up)
        r = look_at_source(&c);
    if (r == 0)
        r = open_here(&c, here, up);
    if (r == 0)
        r = transfer(&c, here, up);
    if (!up && r == 0 && close(c.fd) < 0) {
        out_error("sandbox cp", "%s: %s", here, strerror(errno));
        return CLI_EXIT_USAGE;
    }
    if (up || r != 0)
        fd_close(&c.fd);
    if (r == 0 && o->json) {
        _cleanup_json_ json_t *done =
            json_pack("{s:s,s:s,s:I}", "sandboxID", id, "path", path, "bytes", (json_int_t)c.done);

        out_json(done);
    }
    return r;
}

// "ID:PATH": cut in two at the colon. NULL: it is a file here.
static char *split(char *text)
{
    char *colon = strchr(text, ':');

    if (colon == NULL || memchr(text, '/', (size_t)(colon - text)) != NULL)
        return NULL;
    *colon = '\0';
    return colon + 1;
}

int cmd_sandbox_cp(int argc, char **argv)
{
    struct options o = {0};
    char *from, *to;
    int r = parse_options(argc, argv, "u:", &o);

    if (r != 0 || argc - optind != 2)
        return r != 0 ? r : usage(argv[0]);
    from = split(argv[optind]);
    to = split(argv[optind + 1]);
    if ((from == NULL) == (to == NULL)) {
        out_error("sandbox cp", "one of the two must be ID:PATH");
        return CLI_EXIT_USAGE;
    }
    return from != NULL ? copy(argv[optind], from, argv[optind + 1], false, &o)
                        : copy(argv[optind + 1], to, argv[optind], true, &o);
}

// ---- ls ----

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key)) ?: "";
}

static void print_entry(const json_t *o)
{
    bool dir = strcmp(text_of(o, "type"), "FILE_TYPE_DIRECTORY") == 0;
    const char *target = json_string_value(json_object_get(o, "symlinkTarget"));

    printf("%s %-8s %-8s %10s %-24s ", text_of(o, "permissions"), text_of(o, "owner"),
           text_of(o, "group"), text_of(o, "size")[0] != '\0' ? text_of(o, "size") : "0",
           text_of(o, "modifiedTime"));
    out_put(stdout, dir ? OUT_BOLD : OUT_PLAIN, 0, text_of(o, "name"));
    printf("%s%s%s\n", dir ? "/" : "", target != NULL ? " -> " : "", target != NULL ? target : "");
}

int cmd_sandbox_ls(int argc, char **argv)
{
    struct options o = {0};
    struct box box;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_json_ json_t *plain = NULL;
    json_t *entry;
    size_t i;
    int r = parse_options(argc, argv, "u:", &o);

    if (r == 0 && (argc - optind < 1 || argc - optind > 2))
        r = usage(argv[0]);
    if (r == 0)
        r = box_open("sandbox ls", argv[optind], o.user, &box);
    if (r != 0)
        return r;
    body = json_pack("{s:s,s:i}", "path", argc - optind == 2 ? argv[optind + 1] : "", "depth",
                     DEPTH_ONE);
    r = box_call("sandbox ls", &box, BOX_FILES "ListDir", body, &answer, NULL);
    if (r != 0)
        return r;
    if (o.json) {
        out_json(json_object_get(answer, "entries"));
        return 0;
    }
    plain = out_plain(json_object_get(answer, "entries")); // whose names programs chose
    json_array_foreach(plain, i, entry) print_entry(entry);
    return 0;
}

// ---- rm ----

// What is not there is an error, as it is to rm(1); the data plane takes it as done.
static int remove_one(const struct box *box, const char *path, const struct options *o)
{
    _cleanup_json_ json_t *body = json_pack("{s:s}", "path", path);
    int r = o->force ? 0 : box_call("sandbox rm", box, BOX_FILES "Stat", body, NULL, NULL);

    if (r == 0)
        r = box_call("sandbox rm", box, BOX_FILES "Remove", body, NULL, NULL);
    if (r == 0 && o->json)
        out_json(body);
    return r;
}

int cmd_sandbox_rm(int argc, char **argv)
{
    struct options o = {0};
    struct box box;
    int r = parse_options(argc, argv, "fu:", &o);

    if (r == 0 && argc - optind < 2)
        r = usage(argv[0]);
    if (r == 0)
        r = box_open("sandbox rm", argv[optind], o.user, &box);
    for (int i = optind + 1; r == 0 && i < argc; i++)
        r = remove_one(&box, argv[i], &o);
    return r;
}
