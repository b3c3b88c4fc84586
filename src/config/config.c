// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include "base/parse.h"
#include "config/config_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIB              ((uint64_t)1 << 20)
#define GIB              ((uint64_t)1 << 30)

#define LIMIT(id, field) offsetof(struct config, limits[CONFIG_LIMIT_##id].field)
#define AT(field)        offsetof(struct config, field)

static const char *const isolation_choices[] = {"auto", "microvm", "process", "", "fake", NULL};
static const char *const accel_choices[] = {"auto", "kvm", "tcg", NULL};
static const char *const log_choices[] = {"error", "warn", "info", "debug", NULL};

// clang-format off
const struct config_key config_keys[] = {
    {"HTTP", "API_HOST", CONFIG_TEXT, AT(api_host), "127.0.0.1", 0, 0, NULL,
     "Address to listen on: a numeric IPv4 or IPv6 address, or localhost."},
    {"HTTP", "API_PORT", CONFIG_COUNT, AT(api_port), "8000", 0, 65535, NULL,
     "TCP port to listen on; 0 takes any free one, which the start line then names."},
    {"HTTP", "ALLOW_UNAUTHENTICATED", CONFIG_BOOL, AT(allow_unauthenticated), "0", 0, 0, NULL,
     "Whoever reaches the port may run code. Listening on an address that is not loopback is "
     "refused unless this is 1."},
    {"HTTP", "ALLOWED_HOSTS", CONFIG_TEXT, AT(allowed_hosts), "", 0, 0, NULL,
     "Further names (comma-separated, without port) accepted in the Host and Origin headers. "
     "Loopback names always are; others are answered 403, unless ALLOW_UNAUTHENTICATED is 1 and "
     "this is empty."},
    {"HTTP", "BODY_MAX_BYTES", CONFIG_BYTES, AT(body_max_bytes), "16M", 4096, 18 * MIB, NULL,
     "Largest request body; a larger one is answered 413."},
    {"HTTP", "HTTP_CONNECTIONS_MAX", CONFIG_COUNT, AT(http_connections_max), "4096", 1, 100000, NULL,
     "Connections open at once; more wait in the listen queue."},
    {"HTTP", "HTTP_IDLE_MS", CONFIG_COUNT, AT(http_idle_ms), "60000", 100, 3600000, NULL,
     "A connection on which no complete request head arrives for this long is closed."},
    {"HTTP", "HTTP_BODY_MS", CONFIG_COUNT, AT(http_body_ms), "60000", 100, 3600000, NULL,
     "Longest time for a request body to arrive."},
    {"HTTP", "HTTP_WRITE_MS", CONFIG_COUNT, AT(http_write_ms), "120000", 100, 3600000, NULL,
     "Longest time for a client to take a response, or the next piece of a stream."},
    {"HTTP", "DRAIN_MS", CONFIG_COUNT, AT(drain_ms), "30000", 0, 3600000, NULL,
     "After SIGTERM, requests under way get this long to end; then they are cut."},

    {"Machine", "ISOLATION", CONFIG_CHOICE, AT(isolation), "auto", 0, 0, isolation_choices,
     "What runs the code. auto is a microVM; it never becomes anything weaker by itself. process "
     "runs it in jails on this host's own kernel, at full speed: a weaker boundary, used only where "
     "it is asked for."},
    {"Machine", "ACCEL", CONFIG_CHOICE, AT(accel), "auto", 0, 0, accel_choices,
     "auto uses KVM where a timed probe shows that it is real, else software emulation."},
    {"Machine", "KERNEL_PATH", CONFIG_TEXT, AT(kernel_path), "build/image/vmlinuz", 0, 0, NULL,
     "Kernel of the guests."},
    {"Machine", "INITRD_PATH", CONFIG_TEXT, AT(initrd_path), "build/image/initrd.img", 0, 0, NULL,
     "Initial file system of the guests, with csb-agent and the kernel modules."},
    {"Machine", "ROOTFS_PATH", CONFIG_TEXT, AT(rootfs_path), "build/image/rootfs.erofs", 0, 0, NULL,
     "Read-only root image of the guests."},
    {"Machine", "ROOTFS_TREE", CONFIG_TEXT, AT(rootfs_tree), "", 0, 0, NULL,
     "The same as a directory: the programs' root with ISOLATION=process, which needs no kernel, "
     "initial file system, root image or QEMU. Empty: the directory rootfs beside ROOTFS_PATH."},
    {"Machine", "RUNTIMES_DIR", CONFIG_TEXT, AT(runtimes_dir), "runtimes", 0, 0, NULL,
     "Directory of the *.runtime files, one per language."},
    {"Machine", "VM_MEMORY_MB", CONFIG_COUNT, AT(vm_memory_mb), "1024", 128, 16384, NULL,
     "Memory of a guest, MiB. The host gives it only as it is touched."},
    {"Machine", "VM_CPUS", CONFIG_COUNT, AT(vm_cpus), "1", 1, 16, NULL,
     "Virtual CPUs of a guest."},
    {"Machine", "PROCESS_MEMORY_MB", CONFIG_COUNT, AT(process_memory_mb), "0", 0, 1 << 24, NULL,
     "Memory of all programs together with ISOLATION=process, MiB; 0: three quarters of the "
     "host's."},
    {"Machine", "QEMU_PATH", CONFIG_TEXT, AT(qemu_path), "/usr/bin/qemu-system-x86_64", 0, 0, NULL,
     "QEMU program."},
    {"Machine", "AGENT_PORT", CONFIG_COUNT, AT(agent_port), "8000", 1, 65535, NULL,
     "Accepted for compatibility and without effect: the guest's agent is reached over a "
     "virtio-serial port, which has no number."},

    {"Pool", "POOL_SIZE", CONFIG_COUNT, AT(pool_size), "3", 0, 256, NULL,
     "Ready sandboxes to keep per warm runtime."},
    {"Pool", "POOL_MAX", CONFIG_COUNT, AT(pool_max), "32", 1, 1024, NULL,
     "Sandboxes alive at once, ready and running."},
    {"Pool", "QUEUE_MAX", CONFIG_COUNT, AT(queue_max), "256", 0, 100000, NULL,
     "Requests that may wait for a sandbox; more are answered 429."},
    {"Pool", "QUEUE_WAIT_MS", CONFIG_COUNT, AT(queue_wait_ms), "30000", 0, 3600000, NULL,
     "Longest wait for a sandbox; then 429."},
    {"Pool", "COMPILE_CACHE_BYTES", CONFIG_BYTES, AT(compile_cache_bytes), "128M", 0, 64 * GIB, NULL,
     "Memory for what compile steps made, so that the same sources are not compiled again; 0 keeps "
     "nothing. A program may take an eighth of it, and 8 MiB."},

    {"Sandboxes", "SANDBOX_MAX", CONFIG_COUNT, AT(sandbox_max), "32", 0, 900, NULL,
     "Long-lived sandboxes alive at once; more are answered 429. Each may take VM_MEMORY_MB."},
    {"Sandboxes", "SANDBOX_MAX_PER_KEY", CONFIG_COUNT, AT(sandbox_max_per_key), "32", 0, 900, NULL,
     "The same, of one API key."},
    {"Sandboxes", "SANDBOX_MAX_LIFE", CONFIG_COUNT, AT(sandbox_life_max_s), "86400", 1, 31536000, NULL,
     "Seconds that a sandbox lives at most, counted from its creation, whatever its owner asks for."},
    {"Sandboxes", "SANDBOX_READY", CONFIG_COUNT, AT(sandbox_ready), "1", 0, 64, NULL,
     "Ready virtual machines to keep for sandboxes to come, beside those of the pool."},
    {"Sandboxes", "SANDBOX_DOMAIN", CONFIG_TEXT, AT(sandbox_domain), "", 0, 0, NULL,
     "A sandbox's port is reached as PORT-ID.DOMAIN, with DOMAIN as the SDKs are told. Empty: "
     "localhost:API_PORT on a loopback address, else none."},

    {"Limits of a run", "DEFAULT_TIMEOUT", CONFIG_COUNT, AT(default_timeout_s), "30", 1, 86400, NULL,
     "Wall-clock seconds of a run whose request names none."},
    {"Limits of a run", "MAX_TIMEOUT", CONFIG_COUNT, AT(max_timeout_s), "300", 1, 86400, NULL,
     "Most wall-clock seconds a request may ask for."},
    {"Limits of a run", "LIMIT_CPU_MS", CONFIG_COUNT, LIMIT(CPU_MS, def), "0", 0, 86400000, NULL,
     "CPU time, milliseconds; 0: as much as the wall clock allows."},
    {"Limits of a run", "LIMIT_CPU_MS_MAX", CONFIG_COUNT, LIMIT(CPU_MS, max), "4800000", 1, 1600000000,
     NULL, "Most CPU time a request may ask for."},
    {"Limits of a run", "LIMIT_MEMORY_BYTES", CONFIG_BYTES, LIMIT(MEMORY_BYTES, def), "512M", 16 * MIB,
     16 * GIB, NULL, "Memory of the program and its children."},
    {"Limits of a run", "LIMIT_MEMORY_BYTES_MAX", CONFIG_BYTES, LIMIT(MEMORY_BYTES, max), "768M",
     16 * MIB, 16 * GIB, NULL, "Most memory a request may ask for; below VM_MEMORY_MB."},
    {"Limits of a run", "LIMIT_PROCESSES", CONFIG_COUNT, LIMIT(PROCESSES, def), "128", 1, 32768, NULL,
     "Processes and threads at once."},
    {"Limits of a run", "LIMIT_PROCESSES_MAX", CONFIG_COUNT, LIMIT(PROCESSES, max), "1024", 1, 32768,
     NULL, "Most processes and threads a request may ask for."},
    {"Limits of a run", "LIMIT_OUTPUT_BYTES", CONFIG_BYTES, LIMIT(OUTPUT_BYTES, def), "1M", 1, GIB,
     NULL, "Standard output and error together; a program that writes more is ended."},
    {"Limits of a run", "LIMIT_OUTPUT_BYTES_MAX", CONFIG_BYTES, LIMIT(OUTPUT_BYTES, max), "16M", 1, GIB,
     NULL, "Most output a request may ask for."},
    {"Limits of a run", "LIMIT_DISK_BYTES", CONFIG_BYTES, LIMIT(DISK_BYTES, def), "64M", 64 * 1024,
     16 * GIB, NULL, "What the program may write to files; it is kept in the guest's memory."},
    {"Limits of a run", "LIMIT_DISK_BYTES_MAX", CONFIG_BYTES, LIMIT(DISK_BYTES, max), "512M", 64 * 1024,
     16 * GIB, NULL, "Most file space a request may ask for."},

    {"Process", "STATE_DIR", CONFIG_TEXT, AT(state_dir), "build/state", 0, 0, NULL,
     "Directory for templates and the lock; made when missing. One service per directory."},
    {"Process", "LAUNCH_PATH", CONFIG_TEXT, AT(launch_path), "", 0, 0, NULL,
     "csb-launch; empty: beside codesandboxd, or where the build puts it."},
    {"Process", "AGENT_PATH", CONFIG_TEXT, AT(agent_path), "", 0, 0, NULL,
     "csb-agent, for ISOLATION=process; empty: beside codesandboxd, or where the build puts it."},
    {"Process", "UID_BASE", CONFIG_COUNT, AT(uid_base), "700000", 1000, 2000000000, NULL,
     "Started as root, the service runs as this uid and gid, and virtual machines as those after "
     "it. Programs with ISOLATION=process have the 65536 ids from UID_BASE + 65536 on, those of "
     "long-lived sandboxes the 65536 ids after these. Nothing else may use these ids."},
    {"Process", "CGROUP_NAME", CONFIG_TEXT, AT(cgroup_name), "codesandbox", 0, 0, NULL,
     "Name of the control group that holds the virtual machines, or the programs with "
     "ISOLATION=process."},
    {"Process", "LOG_LEVEL", CONFIG_CHOICE, AT(log_level), "info", 0, 0, log_choices,
     "Least important messages to write to standard error."},
    {NULL},
};
// clang-format on

static const uint64_t limit_minimum[CONFIG_LIMIT_COUNT] = {
    [CONFIG_LIMIT_WALL_MS] = 1,
    [CONFIG_LIMIT_CPU_MS] = 1,
    [CONFIG_LIMIT_MEMORY_BYTES] = 16 * MIB,
    [CONFIG_LIMIT_PROCESSES] = 1,
    [CONFIG_LIMIT_OUTPUT_BYTES] = 1,
    [CONFIG_LIMIT_DISK_BYTES] = 64 * 1024,
};

void config_file_key(const struct config_key *key, char ret[64])
{
    size_t i = 0;

    for (; key->name[i] != '\0' && i < 63; i++)
        ret[i] = (char)tolower((unsigned char)key->name[i]);
    ret[i] = '\0';
}

const struct config_key *config_find(const char *file_key)
{
    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        char name[64];

        config_file_key(k, name);
        if (strcmp(name, file_key) == 0)
            return k;
    }
    return NULL;
}

// The table's offsets are of members with the type the entry says.
static void *member(struct config *c, const struct config_key *key)
{
    return (char *)c + key->offset;
}

static int set_number(struct config *c, const struct config_key *key, const char *value,
                      struct err *err)
{
    uint64_t n;
    int r = key->type == CONFIG_BYTES ? parse_bytes(value, key->min, key->max, &n)
                                      : parse_u64(value, key->min, key->max, &n);

    if (r < 0)
        return err_field(
            err, ERR_INVALID, key->name,
            "%s is '%.40s'; it must be a whole number%s from %" PRIu64 " to %" PRIu64, key->name,
            value, key->type == CONFIG_BYTES ? " (K, M or G may follow)" : "", key->min, key->max);
    *(uint64_t *)member(c, key) = n;
    return 0;
}

static int set_text(struct config *c, const struct config_key *key, const char *value,
                    struct err *err)
{
    if (strlen(value) >= CONFIG_TEXT_MAX)
        return err_field(err, ERR_INVALID, key->name, "%s is longer than %d bytes", key->name,
                         CONFIG_TEXT_MAX - 1);
    (void)snprintf(member(c, key), CONFIG_TEXT_MAX, "%s", value);
    return 0;
}

static int set_choice(struct config *c, const struct config_key *key, const char *value,
                      struct err *err)
{
    char list[128] = "";

    for (const char *const *choice = key->choices; *choice != NULL; choice++)
        if (value[0] != '\0' && strcmp(*choice, value) == 0)
            return set_text(c, key, value, err);
    for (const char *const *choice = key->choices; *choice != NULL && **choice != '\0'; choice++) {
        size_t used = strlen(list);

        (void)snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "", *choice);
    }
    return err_field(err, ERR_INVALID, key->name, "%s is '%.40s'; it must be one of %s", key->name,
                     value, list);
}

static int set_key(struct config *c, const struct config_key *key, const char *value,
                   struct err *err)
{
    switch (key->type) {
    case CONFIG_TEXT:
        return set_text(c, key, value, err);
    case CONFIG_COUNT:
    case CONFIG_BYTES:
        return set_number(c, key, value, err);
    case CONFIG_CHOICE:
        return set_choice(c, key, value, err);
    case CONFIG_BOOL:
        if (parse_bool(value, member(c, key)) < 0)
            return err_field(err, ERR_INVALID, key->name, "%s is '%.40s'; it must be 0 or 1",
                             key->name, value);
        return 0;
    }
    return 0;
}

int config_set(struct config *c, const char *key, const char *value, struct err *err)
{
    const struct config_key *k = config_find(key);

    if (k == NULL)
        return err_field(err, ERR_INVALID, key, "'%.60s' is not a known setting", key);
    return set_key(c, k, value, err);
}

void config_init(struct config *c)
{
    memset(c, 0, sizeof(*c));
    for (const struct config_key *k = config_keys; k->name != NULL; k++)
        (void)set_key(c, k, k->def, NULL); // tests/unit/test_config.c sets every default
    for (int i = 0; i < CONFIG_LIMIT_COUNT; i++)
        c->limits[i].min = limit_minimum[i];
}

void config_value_text(const struct config *c, const struct config_key *key, char *ret, size_t size)
{
    const char *at = (const char *)c + key->offset;

    if (key->type == CONFIG_TEXT || key->type == CONFIG_CHOICE)
        (void)snprintf(ret, size, "%s", at);
    else if (key->type == CONFIG_BOOL)
        (void)snprintf(ret, size, "%d", *(const bool *)(const void *)at);
    else
        (void)snprintf(ret, size, "%" PRIu64, *(const uint64_t *)(const void *)at);
}
