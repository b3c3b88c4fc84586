// SPDX-License-Identifier: Apache-2.0
//
// The table of settings. An entry that can change while the service runs says CONFIG_RELOAD; one
// that must never be printed CONFIG_SECRET.
#include "config/config_internal.h"

#include <assert.h>

#define MIB              ((uint64_t)1 << 20)
#define GIB              ((uint64_t)1 << 30)

#define LIMIT(id, field) offsetof(struct config, limits[CONFIG_LIMIT_##id].field)
#define AT(field)        offsetof(struct config, field)

static const char *const isolation_choices[] = {"auto", "microvm", "process", "", "fake", NULL};
static const char *const accel_choices[] = {"auto", "kvm", "tcg", NULL};
static const char *const format_choices[] = {"text", "json", NULL};
static const char *const log_choices[] = {"error", "warn", "info", "debug", NULL};

// clang-format off
const struct config_key config_keys[] = {
    {"HTTP", "API_HOST", CONFIG_TEXT, AT(api_host), "127.0.0.1", 0, 0, NULL,
     "Address to listen on: a numeric IPv4 or IPv6 address, or localhost."},
    {"HTTP", "API_PORT", CONFIG_COUNT, AT(api_port), "8000", 0, 65535, NULL,
     "TCP port to listen on; 0 takes any free one, which the start line then names."},
    {"HTTP", "ALLOW_UNAUTHENTICATED", CONFIG_BOOL, AT(allow_unauthenticated), "0", 0, 0, NULL,
     "With 1 requests without an API key are taken: whoever reaches the port may run code. With 0, "
     "listening on an address that is not loopback is refused as long as there is no key."},
    {"HTTP", "ALLOWED_HOSTS", CONFIG_TEXT, AT(allowed_hosts), "", 0, 0, NULL,
     "Further names (comma-separated, without port) accepted in the Host and Origin headers. "
     "Loopback names always are; others are answered 403, unless ALLOW_UNAUTHENTICATED is 1 and "
     "this is empty."},
    {"HTTP", "BODY_MAX_BYTES", CONFIG_BYTES, AT(body_max_bytes), "16M", 4096, 18 * MIB, NULL,
     "Largest request body; a larger one is answered 413."},
    {"HTTP", "HTTP_CONNECTIONS_MAX", CONFIG_COUNT, AT(http_connections_max), "4096", 1, 100000, NULL,
     "Connections open at once; more wait in the listen queue."},
    {"HTTP", "HTTP_CONNECTIONS_PER_ADDRESS", CONFIG_COUNT, AT(http_connections_per_address), "0", 0,
     100000, NULL, "Connections open at once from one client address; more are closed. 0: any "
     "number, as is right behind a proxy, where all come from one."},
    {"HTTP", "HTTP_IDLE_MS", CONFIG_COUNT, AT(http_idle_ms), "60000", 100, 3600000, NULL,
     "A connection on which no complete request head arrives for this long is closed."},
    {"HTTP", "HTTP_BODY_MS", CONFIG_COUNT, AT(http_body_ms), "60000", 100, 3600000, NULL,
     "Longest time for a request body to arrive."},
    {"HTTP", "HTTP_WRITE_MS", CONFIG_COUNT, AT(http_write_ms), "120000", 100, 3600000, NULL,
     "Longest time for a client to take a response, or the next piece of a stream."},
    {"HTTP", "DRAIN_MS", CONFIG_COUNT, AT(drain_ms), "30000", 0, 3600000, NULL,
     "After SIGTERM, requests under way get this long to end; then they are cut.", .flags = CONFIG_RELOAD},

    {"Machine", "ISOLATION", CONFIG_CHOICE, AT(isolation), "auto", 0, 0, isolation_choices,
     "What runs the code. auto is a microVM; it never becomes anything weaker by itself. process "
     "runs it in jails on this host's own kernel, at full speed: a weaker boundary, used only where "
     "it is asked for."},
    {"Machine", "ACCEL", CONFIG_CHOICE, AT(accel), "auto", 0, 0, accel_choices,
     "auto uses KVM where a timed probe shows that it is real, else software emulation."},
    {"Machine", "KERNEL_PATH", CONFIG_TEXT, AT(kernel_path), "build/image/vmlinuz", 0, 0, NULL,
     "Kernel of the guests.",
     .installed = "/var/lib/codesandbox/image/vmlinuz"},
    {"Machine", "INITRD_PATH", CONFIG_TEXT, AT(initrd_path), "build/image/initrd.img", 0, 0, NULL,
     "Initial file system of the guests, with csb-agent and the kernel modules.",
     .installed = "/var/lib/codesandbox/image/initrd.img"},
    {"Machine", "ROOTFS_PATH", CONFIG_TEXT, AT(rootfs_path), "build/image/rootfs.erofs", 0, 0, NULL,
     "Read-only root image of the guests.",
     .installed = "/var/lib/codesandbox/image/rootfs.erofs"},
    {"Machine", "ROOTFS_TREE", CONFIG_TEXT, AT(rootfs_tree), "", 0, 0, NULL,
     "The same as a directory: the programs' root with ISOLATION=process, which needs no kernel, "
     "initial file system, root image or QEMU. Empty: the directory rootfs beside ROOTFS_PATH."},
    {"Machine", "TEMPLATES_DIR", CONFIG_TEXT, AT(templates_dir), "", 0, 0, NULL,
     "Directory of the templates that `csb template build` made. Empty: the directory templates "
     "beside ROOTFS_PATH."},
    {"Machine", "RUNTIMES_DIR", CONFIG_TEXT, AT(runtimes_dir), "runtimes", 0, 0, NULL,
     "Directory of the *.runtime files, one per language.",
     .installed = "PREFIX/share/codesandbox/runtimes"},
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
     "Ready sandboxes to keep per warm runtime.", .flags = CONFIG_RELOAD},
    {"Pool", "POOL_MAX", CONFIG_COUNT, AT(pool_max), "32", 1, 1024, NULL,
     "Sandboxes alive at once, ready and running.", .flags = CONFIG_RELOAD},
    {"Pool", "QUEUE_MAX", CONFIG_COUNT, AT(queue_max), "256", 0, 100000, NULL,
     "Requests that may wait for a sandbox; more are answered 429.", .flags = CONFIG_RELOAD},
    {"Pool", "QUEUE_WAIT_MS", CONFIG_COUNT, AT(queue_wait_ms), "30000", 0, 3600000, NULL,
     "Longest wait for a sandbox; then 429.", .flags = CONFIG_RELOAD},
    {"Pool", "COMPILE_CACHE_BYTES", CONFIG_BYTES, AT(compile_cache_bytes), "128M", 0, 64 * GIB, NULL,
     "Memory for what compile steps made, so that the same sources are not compiled again; 0 keeps "
     "nothing. A program may take an eighth of it, and 8 MiB."},

    {"Tenants", "TENANT_REQUESTS_PER_MINUTE", CONFIG_COUNT, AT(tenant_requests_per_minute), "0", 0,
     6000000, NULL, "Requests that a tenant may send a minute, but for those to a sandbox itself; more "
     "are answered 429. A tenant is all API keys that belong to it, or all requests without a key. "
     "0: any number, as for all of these."},
    {"Tenants", "TENANT_REQUESTS_BURST", CONFIG_COUNT, AT(tenant_requests_burst), "100", 1, 1000000, NULL,
     "Of these, how many may come at once."},
    {"Tenants", "TENANT_RUNS", CONFIG_COUNT, AT(tenant_runs), "0", 0, 1024, NULL,
     "Runs of a tenant at once; more wait in the queue for each other."},
    {"Tenants", "TENANT_QUEUE", CONFIG_COUNT, AT(tenant_queue), "0", 0, 100000, NULL,
     "Requests of a tenant that may wait for a sandbox; more are answered 429. Tenants are served by "
     "turns, and where all of QUEUE_MAX wait, the longest line is cut for a tenant whose is shorter."},
    {"Tenants", "TENANT_CPU_SECONDS_PER_HOUR", CONFIG_COUNT, AT(tenant_cpu_s_per_hour), "0", 0, 10000000,
     NULL, "Processor time that a tenant's runs and long-lived sandboxes may use; once it is used up, more "
     "runs, sandboxes and programs in them are answered 429, and what runs goes on."},

    {"Sandboxes", "SANDBOX_MAX", CONFIG_COUNT, AT(sandbox_max), "32", 0, 900, NULL,
     "Long-lived sandboxes alive at once; more are answered 429. Each may take VM_MEMORY_MB."},
    {"Sandboxes", "SANDBOX_MAX_PER_KEY", CONFIG_COUNT, AT(sandbox_max_per_key), "32", 0, 900, NULL,
     "The same, of one tenant: of all keys that belong to it."},
    {"Sandboxes", "SANDBOX_MAX_LIFE", CONFIG_COUNT, AT(sandbox_life_max_s), "86400", 1, 31536000, NULL,
     "Seconds that a sandbox lives at most, counted from its creation, whatever its owner asks for."},
    {"Sandboxes", "SANDBOX_KEEP_MS", CONFIG_COUNT, AT(sandbox_keep_ms), "30000", 0, 3600000, NULL,
     "After SIGTERM, the time in which the sandboxes that run are stored on disk; the next start "
     "resumes them. One that is not stored by then ends with the service, and with 0 all do, as "
     "they do with ISOLATION=process.", .flags = CONFIG_RELOAD},
    {"Sandboxes", "SANDBOX_READY", CONFIG_COUNT, AT(sandbox_ready), "1", 0, 64, NULL,
     "Ready machines to keep for sandboxes to come, beside those of the pool. With ISOLATION=process "
     "as many of each template of the service's own, but of code-interpreter-v1 only once it was "
     "asked for."},
    {"Sandboxes", "SNAPSHOT_MAX_PER_KEY", CONFIG_COUNT, AT(snapshot_max_per_key), "20", 0, 1000, NULL,
     "Snapshots of one tenant; more are answered 429."},
    {"Sandboxes", "SNAPSHOT_MAX_BYTES", CONFIG_BYTES, AT(snapshot_max_bytes), "4G", 0, 1024 * GIB, NULL,
     "Disk space of all snapshots; one for which there is no room is answered 429."},
    {"Sandboxes", "SANDBOX_DOMAIN", CONFIG_TEXT, AT(sandbox_domain), "", 0, 0, NULL,
     "A sandbox's port is reached as PORT-ID.DOMAIN, with DOMAIN as the SDKs are told. Empty: "
     "localhost:API_PORT on a loopback address, else none."},

    {"Jobs", "JOB_WORKERS", CONFIG_COUNT, AT(job_workers), "2", 1, 64, NULL,
     "Jobs that run at once, but never on more than half of POOL_MAX: the rest is for requests that "
     "somebody waits for, which also go first where all wait. Of several tenants one has at most "
     "three quarters, or one."},
    {"Jobs", "JOB_MAX", CONFIG_COUNT, AT(job_max), "100000", 0, 10000000, NULL,
     "Jobs that are not over; more are answered 429."},
    {"Jobs", "JOB_MAX_PER_KEY", CONFIG_COUNT, AT(job_max_per_key), "50000", 0, 10000000, NULL,
     "The same, of one owner."},
    {"Jobs", "JOB_BODY_MAX_BYTES", CONFIG_BYTES, AT(job_body_max_bytes), "1M", 1024, 16 * MIB, NULL,
     "Largest program of a job, files and stdin among it; a larger one is answered 413."},
    {"Jobs", "JOB_OUTPUT_MAX_BYTES", CONFIG_BYTES, AT(job_output_max_bytes), "1M", 0, 16 * MIB, NULL,
     "How much of what a job's program wrote is kept; what is more is cut, and the result says so."},
    {"Jobs", "JOB_RETENTION", CONFIG_COUNT, AT(job_retention_s), "86400", 1, 31536000, NULL,
     "Seconds that a job that is over is kept, its result and its idempotency key with it."},
    {"Jobs", "JOB_STORE_MAX_BYTES", CONFIG_BYTES, AT(job_store_max_bytes), "4G", 4 * MIB, 1024 * GIB,
     NULL, "Disk space of the queue, results among it; a job for which there is no room is answered "
     "429."},
    {"Jobs", "WEBHOOK_SECRET", CONFIG_TEXT, AT(webhook_secret), "", 0, 0, NULL,
     "Each tenant's own secret, which signs what is sent to its jobs' callback_url, is made of this "
     "one; at least 16 bytes, random. Empty: callback_url is refused.",
     .flags = CONFIG_SECRET},
    {"Jobs", "WEBHOOK_ALLOW", CONFIG_TEXT, AT(webhook_allow), "", 0, 0, NULL,
     "Addresses that are not public and may be called all the same: comma-separated, numeric, each "
     "with a prefix length if it is a network (10.1.0.0/16, ::1)."},
    {"Jobs", "WEBHOOK_CA_FILE", CONFIG_TEXT, AT(webhook_ca_file), "", 0, 0, NULL,
     "Certificates of the authorities that https receivers are checked against. Empty: the host's."},
    {"Jobs", "WEBHOOK_TRIES", CONFIG_COUNT, AT(webhook_tries), "8", 1, 20, NULL,
     "How often a callback is tried before it is given up."},
    {"Jobs", "WEBHOOK_BACKOFF_MS", CONFIG_COUNT, AT(webhook_backoff_ms), "1000", 10, 3600000, NULL,
     "Wait after the first failed try; it doubles with each one, up to an hour."},
    {"Jobs", "WEBHOOK_TIMEOUT_MS", CONFIG_COUNT, AT(webhook_timeout_ms), "10000", 100, 60000, NULL,
     "Longest time for a receiver to answer."},

    {"Limits of a run", "DEFAULT_TIMEOUT", CONFIG_COUNT, AT(default_timeout_s), "30", 1, 86400, NULL,
     "Wall-clock seconds of a run whose request names none.", .flags = CONFIG_RELOAD},
    {"Limits of a run", "MAX_TIMEOUT", CONFIG_COUNT, AT(max_timeout_s), "300", 1, 86400, NULL,
     "Most wall-clock seconds a request may ask for.", .flags = CONFIG_RELOAD},
    {"Limits of a run", "LIMIT_CPU_MS", CONFIG_COUNT, LIMIT(CPU_MS, def), "0", 0, 86400000, NULL,
     "CPU time, milliseconds; 0: as much as the wall clock allows."},
    {"Limits of a run", "LIMIT_CPU_MS_MAX", CONFIG_COUNT, LIMIT(CPU_MS, max), "4800000", 1, 1600000000,
     NULL, "Most CPU time a request may ask for.", .flags = CONFIG_RELOAD},
    {"Limits of a run", "LIMIT_MEMORY_BYTES", CONFIG_BYTES, LIMIT(MEMORY_BYTES, def), "512M", 16 * MIB,
     16 * GIB, NULL, "Memory of the program and its children."},
    {"Limits of a run", "LIMIT_MEMORY_BYTES_MAX", CONFIG_BYTES, LIMIT(MEMORY_BYTES, max), "768M",
     16 * MIB, 16 * GIB, NULL, "Most memory a request may ask for; below VM_MEMORY_MB.", .flags = CONFIG_RELOAD},
    {"Limits of a run", "LIMIT_PROCESSES", CONFIG_COUNT, LIMIT(PROCESSES, def), "128", 1, 32768, NULL,
     "Processes and threads at once."},
    {"Limits of a run", "LIMIT_PROCESSES_MAX", CONFIG_COUNT, LIMIT(PROCESSES, max), "1024", 1, 32768,
     NULL, "Most processes and threads a request may ask for.", .flags = CONFIG_RELOAD},
    {"Limits of a run", "LIMIT_OUTPUT_BYTES", CONFIG_BYTES, LIMIT(OUTPUT_BYTES, def), "1M", 1, GIB,
     NULL, "Standard output and error together; a program that writes more is ended."},
    {"Limits of a run", "LIMIT_OUTPUT_BYTES_MAX", CONFIG_BYTES, LIMIT(OUTPUT_BYTES, max), "16M", 1, GIB,
     NULL, "Most output a request may ask for.", .flags = CONFIG_RELOAD},
    {"Limits of a run", "LIMIT_DISK_BYTES", CONFIG_BYTES, LIMIT(DISK_BYTES, def), "64M", 64 * 1024,
     16 * GIB, NULL, "What the program may write to files; it is kept in the guest's memory."},
    {"Limits of a run", "LIMIT_DISK_BYTES_MAX", CONFIG_BYTES, LIMIT(DISK_BYTES, max), "512M", 64 * 1024,
     16 * GIB, NULL, "Most file space a request may ask for.", .flags = CONFIG_RELOAD},

    {"Process", "STATE_DIR", CONFIG_TEXT, AT(state_dir), "build/state", 0, 0, NULL,
     "Directory for templates and the lock; made when missing. One service per directory.",
     .installed = "/var/lib/codesandbox/state"},
    {"Process", "LAUNCH_PATH", CONFIG_TEXT, AT(launch_path), "", 0, 0, NULL,
     "csb-launch; empty: PREFIX/libexec/codesandbox/csb-launch, or where the build puts it."},
    {"Process", "AGENT_PATH", CONFIG_TEXT, AT(agent_path), "", 0, 0, NULL,
     "csb-agent, for ISOLATION=process; empty: PREFIX/libexec/codesandbox/csb-agent, or where the "
     "build puts it."},
    {"Process", "UID_BASE", CONFIG_COUNT, AT(uid_base), "700000", 1000, 2000000000, NULL,
     "Started as root, the service runs as this uid and gid, and virtual machines as those after "
     "it. Programs with ISOLATION=process have the 65536 ids from UID_BASE + 65536 on, and "
     "each of the long-lived sandboxes there are at once 65536 of those after these. Nothing else may "
     "use these ids."},
    {"Process", "CGROUP_NAME", CONFIG_TEXT, AT(cgroup_name), "codesandbox", 0, 0, NULL,
     "Name of the control group that holds the virtual machines, or the programs with "
     "ISOLATION=process."},
    {"Process", "LOG_LEVEL", CONFIG_CHOICE, AT(log_level), "info", 0, 0, log_choices,
     "Least important messages to write to standard error.", .flags = CONFIG_RELOAD},
    {"Process", "LOG_FORMAT", CONFIG_CHOICE, AT(log_format), "text", 0, 0, format_choices,
     "Lines of the log: text for people, json for programs."},
    {NULL},
};
// clang-format on

static_assert(sizeof(config_keys) / sizeof(config_keys[0]) <= CONFIG_KEYS_MAX + 1,
              "struct config has room for where each value came from");
