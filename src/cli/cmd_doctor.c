// SPDX-License-Identifier: Apache-2.0
//
// csb doctor: one line per thing the service needs of this host: what is there, what it means, what
// to do about what is missing. Exits 1 when something keeps the service from working.
#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/out.h"
#include "config/config.h"
#include "launch/kvm_probe.h"
#include "launch/launch.h"
#include "launch/namespace_probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DISK_WANTED_BYTES   (4ull << 30) // image, its build, templates
#define MEMORY_WANTED_BYTES (2ull << 30)
#define SMALL_FILE_MAX      65536
#define SANDBOXES_PAGE      100
#define IDS_BYTES           240 // of those that are told; the rest of a finding's text is for counts

enum verdict { VERDICT_GOOD, VERDICT_WEAK, VERDICT_BAD };

struct finding {
    enum verdict verdict;
    char text[300];
    char advice[300]; // "" for none
};

// Which isolation needs it.
enum needed { NEEDED_BOTH, NEEDED_MICROVM, NEEDED_PROCESS };

struct check {
    const char *name;
    void (*look)(const struct config *c, struct finding *f);
    enum needed needed;
};

__attribute__((format(printf, 3, 4))) static void found(struct finding *f, enum verdict verdict,
                                                        const char *fmt, ...)
{
    va_list ap;

    f->verdict = verdict;
    va_start(ap, fmt);
    (void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 2, 3))) static void advise(struct finding *f, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(f->advice, sizeof(f->advice), fmt, ap);
    va_end(ap);
}

static void look_machine(const struct config *c, struct finding *f)
{
    struct utsname u;

    (void)c;
    (void)uname(&u);
    found(f, VERDICT_GOOD, "Linux %s, %s, %ld CPUs", u.release, u.machine,
          sysconf(_SC_NPROCESSORS_ONLN));
    if (strcmp(u.machine, "x86_64") != 0) {
        f->verdict = VERDICT_BAD;
        advise(f, "only x86-64 hosts are supported");
    }
}

static void look_kvm(const struct config *c, struct finding *f)
{
    struct launch_kvm kvm = {0};

    (void)c;
    kvm_probe(&kvm);
    if (kvm.accelerated) {
        found(f, VERDICT_GOOD, "hardware virtualisation works (%s)", kvm.note);
        return;
    }
    found(f, VERDICT_WEAK, "microVMs will be emulated in software, slower but as isolated: %s",
          kvm.note);
    if (!kvm.present)
        advise(f, "on a host with virtualisation: load kvm_intel or kvm_amd, and give this user "
                  "access to /dev/kvm (group kvm)");
}

static void look_qemu(const struct config *c, struct finding *f)
{
    if (access(c->qemu_path, X_OK) == 0) {
        found(f, VERDICT_GOOD, "%s", c->qemu_path);
        return;
    }
    found(f, VERDICT_BAD, "%s is missing", c->qemu_path);
    advise(f, "apt-get install qemu-system-x86, or set QEMU_PATH");
}

static void look_cgroup(const struct config *c, struct finding *f)
{
    _cleanup_free_ char *controllers = NULL;
    bool root = geteuid() == 0;

    (void)c;
    if (fd_read_file(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", SMALL_FILE_MAX, &controllers,
                     NULL) == 0 &&
        strstr(controllers, "memory") != NULL) {
        found(f, root ? VERDICT_GOOD : VERDICT_WEAK, "version 2%s",
              root ? "" : ", limits on VMMs need a delegated group for an ordinary user");
        if (!root)
            advise(f, "start it in a user service with Delegate=yes");
    } else if (access("/sys/fs/cgroup/memory", F_OK) == 0) {
        found(f, root ? VERDICT_GOOD : VERDICT_WEAK, "version 1%s",
              root ? "" : ", which an ordinary user cannot use: VMMs run without host limits");
    } else {
        found(f, VERDICT_WEAK, "no usable controllers: VMMs run without host limits");
    }
}

// A number in a file of /proc/sys, or `absent` where the kernel does not have it.
static unsigned long sysctl_number(const char *path, unsigned long absent)
{
    _cleanup_free_ char *text = NULL;

    return fd_read_file(AT_FDCWD, path, 64, &text, NULL) < 0 ? absent : strtoul(text, NULL, 10);
}

#define MAX_NAMESPACES  "/proc/sys/user/max_user_namespaces"
#define DEBIAN_SWITCH   "/proc/sys/kernel/unprivileged_userns_clone"
#define APPARMOR_SWITCH "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

static void look_namespaces(const struct config *c, struct finding *f)
{
    bool off;

    (void)c;
    if (geteuid() == 0) {
        found(f, VERDICT_GOOD, "running as root: each VMM gets a uid of its own");
        return;
    }
    off = sysctl_number(MAX_NAMESPACES, 0) == 0 || sysctl_number(DEBIAN_SWITCH, 1) == 0;
    if (!off) {
        found(f, VERDICT_GOOD, "ordinary user with user namespaces: VMMs share this user's uid");
        return;
    }
    found(f, VERDICT_BAD, "user namespaces are switched off for ordinary users");
    advise(f, "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0; or "
              "run as root");
}

// Why user namespaces cannot be had here, or NULL.
static const char *namespaces_refused(void)
{
    if (sysctl_number(MAX_NAMESPACES, 0) == 0)
        return "user.max_user_namespaces is 0, or the kernel has no user namespaces";
    if (geteuid() == 0)
        return NULL;
    if (sysctl_number(DEBIAN_SWITCH, 1) == 0)
        return "kernel.unprivileged_userns_clone is 0";
    if (sysctl_number(APPARMOR_SWITCH, 0) != 0)
        return "kernel.apparmor_restrict_unprivileged_userns is 1";
    return NULL;
}

// What ISOLATION=process takes.
static void look_process(const struct config *c, struct finding *f)
{
    const char *refused = namespaces_refused();
    char path[CONFIG_TEXT_MAX + 32];
    struct err err = ERR_INIT;

    if (refused == NULL && namespace_probe(&err) < 0)
        refused = err.message;
    (void)snprintf(path, sizeof(path), "%s/usr/bin/env", c->rootfs_tree);
    if (refused != NULL) {
        found(f, VERDICT_BAD, "cannot work: %.200s", refused);
        advise(f, "set it by sysctl, or start the service as root");
    } else if (access(path, X_OK) < 0) {
        found(f, VERDICT_BAD, "cannot work: there is no root tree %s", c->rootfs_tree);
        advise(f, "make image, or set ROOTFS_TREE");
    } else if (geteuid() != 0) {
        found(f, VERDICT_WEAK,
              "works, but all programs have this user's uid, and limits of memory and processes "
              "only where a control group is delegated (see cgroups)");
        advise(f, "start the service as root, which gives each program a uid of its own");
    } else {
        found(f, VERDICT_GOOD, "works, with uids %llu to %llu; a weaker boundary than a microVM",
              (unsigned long long)c->uid_base + 65536, (unsigned long long)c->uid_base + 131071);
    }
}

static void look_memory(const struct config *c, struct finding *f)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t have = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * page;
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * page;

    found(f, all >= MEMORY_WANTED_BYTES ? VERDICT_GOOD : VERDICT_WEAK,
          "%llu MiB, %llu MiB of them unused; a VM has %llu MiB and shares what it has not changed",
          (unsigned long long)all >> 20, (unsigned long long)have >> 20,
          (unsigned long long)c->vm_memory_mb);
    if (all < MEMORY_WANTED_BYTES)
        advise(f, "with less than 2 GiB, lower VM_MEMORY_MB and POOL_SIZE");
}

static void look_disk(const struct config *c, struct finding *f)
{
    char path[CONFIG_TEXT_MAX];
    struct statvfs st;
    uint64_t have;

    (void)snprintf(path, sizeof(path), "%s", c->state_dir);
    while (statvfs(path, &st) < 0 && strcmp(path, "/") != 0 && strcmp(path, ".") != 0) {
        char *parent = dirname(path);

        memmove(path, parent, strlen(parent) + 1);
    }
    have = (uint64_t)st.f_bavail * st.f_frsize;
    found(f, have >= DISK_WANTED_BYTES ? VERDICT_GOOD : VERDICT_WEAK, "%llu MiB free for %s",
          (unsigned long long)have >> 20, c->state_dir);
    if (have < DISK_WANTED_BYTES)
        advise(f, "building the image takes about 4 GiB; set STATE_DIR to a larger disk");
}

static void look_image(const struct config *c, struct finding *f)
{
    const char *const paths[] = {c->rootfs_path, c->kernel_path, c->initrd_path};
    unsigned long long total = 0;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct stat st;

        if (stat(paths[i], &st) < 0 || !S_ISREG(st.st_mode)) {
            found(f, VERDICT_BAD, "%s is missing", paths[i]);
            advise(f, "make image, or set ROOTFS_PATH, KERNEL_PATH and INITRD_PATH");
            return;
        }
        total += (unsigned long long)st.st_size;
    }
    found(f, VERDICT_GOOD, "%s and its kernel, %llu MiB", c->rootfs_path, total >> 20);
}

static void look_template(const struct config *c, struct finding *f)
{
    char path[CONFIG_TEXT_MAX + 16];
    DIR *dir;
    unsigned count = 0;

    (void)snprintf(path, sizeof(path), "%s/templates", c->state_dir);
    dir = opendir(path);
    for (struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;)
        count += d->d_name[0] != '.' && strchr(d->d_name, '.') == NULL;
    if (dir != NULL)
        (void)closedir(dir);
    if (count > 0)
        found(f, VERDICT_GOOD, "%u on disk in %s", count, path);
    else
        found(f, VERDICT_WEAK, "none readable in %s: the first start builds one", path);
}

static void look_service(const struct config *c, struct finding *f)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    struct err err = ERR_INIT;
    json_error_t jerr;
    json_t *o;
    long status = 0;

    (void)c;
    if (client_call(&(struct client_request){.method = "GET", .path = "/health", .timeout_s = 5},
                    &status, &answer, &err) < 0) {
        found(f, VERDICT_WEAK, "not running at %s", cli_url());
        advise(f, "make run, or set CSB_URL");
        return;
    }
    o = json_loadb((const char *)answer.data, answer.len, 0, &jerr);
    found(f, status == 200 ? VERDICT_GOOD : VERDICT_WEAK, "%s at %s, isolation %s, accel %s",
          json_string_value(json_object_get(o, "status")) ?: "unknown", cli_url(),
          json_string_value(json_object_get(o, "isolation")) ?: "unknown",
          json_string_value(json_object_get(o, "accel")) ?: "unknown");
    json_decref(o);
}

// As the service tells whoever has this key; NULL: it tells nothing.
static json_t *list_sandboxes(void)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    const struct client_request req = {
        .method = "GET", .path = "/v2/sandboxes?limit=100", .timeout_s = 5};
    struct err err = ERR_INIT;
    json_error_t jerr;
    long status = 0;
    json_t *list;

    if (client_call(&req, &status, &answer, &err) < 0 || status != 200)
        return NULL;
    list = json_loadb((const char *)answer.data, answer.len, 0, &jerr);
    if (json_is_array(list))
        return list;
    json_decref(list);
    return NULL;
}

// Those that run, by id as far as there is room. Returns how many they are.
static size_t put_running(struct finding *f, const json_t *list)
{
    size_t i, running = 0;
    json_t *o;

    json_array_foreach(list, i, o)
    {
        const char *state = json_string_value(json_object_get(o, "state")) ?: "";
        const char *id = json_string_value(json_object_get(o, "sandboxID")) ?: "";
        size_t used = strlen(f->text);

        if (strcmp(state, "running") != 0)
            continue;
        if (used + strlen(id) + sizeof(", ...") < IDS_BYTES)
            (void)snprintf(f->text + used, sizeof(f->text) - used, "%s%.40s",
                           running == 0 ? ": " : ", ", id);
        else if (used > 0 && f->text[used - 1] != '.')
            (void)snprintf(f->text + used, sizeof(f->text) - used, " ...");
        running++;
    }
    return running;
}

// What becomes of sandboxes when the service is stopped.
static void look_sandboxes(const struct config *c, struct finding *f)
{
    _cleanup_json_ json_t *list = list_sandboxes();
    bool process = strcmp(c->isolation, "process") == 0;
    struct finding running = {0};
    size_t count;

    if (list == NULL) {
        found(f, VERDICT_GOOD, "not told: the service does not run, or needs a key (E2B_API_KEY)");
        return;
    }
    count = put_running(&running, list);
    found(f, VERDICT_GOOD, "%s%zu run, %zu paused%s",
          json_array_size(list) >= SANDBOXES_PAGE ? "of the newest 100 " : "", count,
          json_array_size(list) - count, running.text);
    if (count == 0)
        return;
    if (process || c->sandbox_keep_ms == 0)
        advise(f, "when the service is stopped those that run are lost");
    else
        advise(f,
               "when the service is stopped those that run are stored, and are back with the "
               "next start; what is not stored in %llu ms is lost (SANDBOX_KEEP_MS)",
               (unsigned long long)c->sandbox_keep_ms);
}

static const struct check checks[] = {
    {"machine", look_machine, NEEDED_BOTH},     {"kvm", look_kvm, NEEDED_MICROVM},
    {"qemu", look_qemu, NEEDED_MICROVM},        {"cgroups", look_cgroup, NEEDED_BOTH},
    {"users", look_namespaces, NEEDED_MICROVM}, {"process", look_process, NEEDED_PROCESS},
    {"memory", look_memory, NEEDED_BOTH},       {"disk", look_disk, NEEDED_BOTH},
    {"image", look_image, NEEDED_MICROVM},      {"template", look_template, NEEDED_MICROVM},
    {"service", look_service, NEEDED_BOTH},     {"sandboxes", look_sandboxes, NEEDED_BOTH},
};

static const char *const verdict_names[] = {"ok", "weak", "BAD"};

static void show(const char *name, const struct finding *f, json_t *list)
{
    static const enum out_color colors[] = {OUT_GREEN, OUT_YELLOW, OUT_RED};

    if (list != NULL) {
        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "name", name, "verdict",
                                                    verdict_names[f->verdict], "text", f->text,
                                                    "advice", f->advice));
        return;
    }
    out_put(stdout, colors[f->verdict], 5, verdict_names[f->verdict]);
    printf(" %-9s %s\n", name, f->text);
    if (f->advice[0] != '\0')
        printf("%15s -> %s\n", "", f->advice);
}

struct options {
    const char *file; // NULL: the service's default one, if it is there
    bool json;
};

static int parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'c')
            ret->file = optarg;
        else if (c == 'j') {
            ret->json = true;
            out_json_errors();
        } else
            return -1;
    }
    return optind == argc ? 0 : -1;
}

static void keep_first(void *arg, const struct err *e)
{
    struct err *first = arg;

    if (first->code == ERR_NONE)
        *first = *e;
}

// The settings as the service reads them. What is wrong with them is a finding of its own, and the
// rest is looked at with those that are right.
static void load(const struct options *o, struct config *ret, struct finding *f)
{
    static char *const none[] = {NULL};
    const struct config_sources sources = {
        .file = o->file, .environment = environ, .options = none};
    const char *file = o->file == NULL ? CONFIG_DEFAULT_FILE : o->file;
    struct err first = ERR_INIT;
    size_t count = config_load(ret, &sources, keep_first, &first);

    if (count > 0) {
        found(f, VERDICT_BAD, "%.250s", first.message);
        if (access(file, R_OK) < 0)
            advise(f, "run csb doctor as who may read it");
        else if (count > 1)
            advise(f, "%zu more are wrong: codesandboxd --check-config tells all", count - 1);
    } else if (o->file != NULL || access(file, F_OK) == 0) {
        found(f, VERDICT_GOOD, "%s, and the environment", file);
    } else {
        found(f, VERDICT_GOOD, "the environment, and defaults: there is no %s", file);
    }
}

// Unless told, the service is looked for where these settings put it.
static void find_service(const struct config *c)
{
    const char *host = c->api_host;
    bool all = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    bool six = !all && strchr(host, ':') != NULL;
    const char *url = getenv("CSB_URL");
    char text[CONFIG_TEXT_MAX + 32];

    if (url != NULL && url[0] != '\0')
        return;
    (void)snprintf(text, sizeof(text), "http://%s%s%s:%llu", six ? "[" : "",
                   all ? "127.0.0.1" : host, six ? "]" : "", (unsigned long long)c->api_port);
    (void)setenv("CSB_URL", text, 1);
}

static void note(const char *name, const struct finding *f, json_t *list, int *worst)
{
    show(name, f, list);
    if ((int)f->verdict > *worst)
        *worst = (int)f->verdict;
}

int cmd_doctor(int argc, char **argv)
{
    static struct config c; // large
    struct options o = {0};
    struct finding config = {0};
    int worst = VERDICT_GOOD;
    _cleanup_json_ json_t *list = NULL;
    bool process;

    if (parse_options(argc, argv, &o) < 0) {
        (void)fprintf(stderr, "usage: csb doctor [--config=FILE] [--json]\n");
        return CLI_EXIT_USAGE;
    }
    if (o.json)
        list = json_array();
    load(&o, &c, &config);
    find_service(&c);
    note("config", &config, list, &worst);
    process = strcmp(c.isolation, "process") == 0;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        struct finding f = {0};

        // With process isolation nothing of VMs is asked about; what it takes itself is always
        // told, but keeps no VM from working.
        if (process && checks[i].needed == NEEDED_MICROVM)
            continue;
        checks[i].look(&c, &f);
        if (!process && checks[i].needed == NEEDED_PROCESS && f.verdict == VERDICT_BAD)
            f.verdict = VERDICT_WEAK;
        note(checks[i].name, &f, list, &worst);
    }
    if (o.json)
        out_json(list);
    return worst == VERDICT_BAD ? 1 : 0;
}
