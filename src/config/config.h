// SPDX-License-Identifier: Apache-2.0
//
// The configuration of codesandboxd: one table (config.c) makes the keys of the file, the names of
// the environment, the options of the command line, --help and docs/CONFIGURATION.md. Later sources
// win: defaults, file, environment, command line.
#ifndef CSB_CONFIG_CONFIG_H
#define CSB_CONFIG_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_TEXT_MAX     512
#define CONFIG_DOMAIN_MAX   127 // of SANDBOX_DOMAIN
#define CONFIG_KEYS_MAX     160
#define CONFIG_PROGRAMS     "/libexec/codesandbox" // beneath PREFIX: what a person does not start
#define CONFIG_DEFAULT_FILE "/etc/codesandbox/codesandboxd.conf"

enum config_limit {
    CONFIG_LIMIT_WALL_MS,
    CONFIG_LIMIT_CPU_MS,
    CONFIG_LIMIT_MEMORY_BYTES,
    CONFIG_LIMIT_PROCESSES,
    CONFIG_LIMIT_OUTPUT_BYTES,
    CONFIG_LIMIT_DISK_BYTES,
    CONFIG_LIMIT_COUNT
};

// Of one limit of a run. cpu_ms: a default of 0 means what the wall clock allows on all CPUs.
struct config_range {
    uint64_t def;
    uint64_t min;
    uint64_t max;
};

// Where a value came from; a later one wins over an earlier one.
enum config_origin {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_ENVIRONMENT,
    CONFIG_FROM_OPTION
};

struct config {
    char api_host[CONFIG_TEXT_MAX];
    char allowed_hosts[CONFIG_TEXT_MAX];
    char kernel_path[CONFIG_TEXT_MAX];
    char initrd_path[CONFIG_TEXT_MAX];
    char rootfs_path[CONFIG_TEXT_MAX];
    char rootfs_tree[CONFIG_TEXT_MAX];   // config_finish() derives it from rootfs_path if empty
    char templates_dir[CONFIG_TEXT_MAX]; // likewise
    char runtimes_dir[CONFIG_TEXT_MAX];
    char state_dir[CONFIG_TEXT_MAX];
    char launch_path[CONFIG_TEXT_MAX];
    char agent_path[CONFIG_TEXT_MAX];
    char qemu_path[CONFIG_TEXT_MAX];
    char cgroup_name[CONFIG_TEXT_MAX];
    char isolation[CONFIG_TEXT_MAX];
    char accel[CONFIG_TEXT_MAX];
    char log_level[CONFIG_TEXT_MAX];
    char log_format[CONFIG_TEXT_MAX];
    bool allow_unauthenticated;
    uint64_t api_port;
    uint64_t agent_port;
    uint64_t http_connections_max;
    uint64_t http_connections_per_address;
    uint64_t tenant_requests_per_minute;
    uint64_t tenant_requests_burst;
    uint64_t tenant_runs;
    uint64_t tenant_queue;
    uint64_t tenant_cpu_s_per_hour;
    uint64_t http_idle_ms;
    uint64_t http_body_ms;
    uint64_t http_write_ms;
    uint64_t body_max_bytes;
    uint64_t vm_memory_mb;
    uint64_t vm_cpus;
    uint64_t process_memory_mb;
    uint64_t pool_size;
    uint64_t pool_max;
    uint64_t compile_cache_bytes;
    char sandbox_domain[CONFIG_TEXT_MAX];
    uint64_t sandbox_max;
    uint64_t sandbox_max_per_key;
    uint64_t sandbox_life_max_s;
    uint64_t sandbox_keep_ms;
    uint64_t sandbox_ready;
    uint64_t snapshot_max_per_key;
    uint64_t snapshot_max_bytes;
    uint64_t job_workers;
    uint64_t job_max;
    uint64_t job_max_per_key;
    uint64_t job_body_max_bytes;
    uint64_t job_output_max_bytes;
    uint64_t job_retention_s;
    uint64_t job_store_max_bytes;
    char webhook_secret[CONFIG_TEXT_MAX];
    char webhook_allow[CONFIG_TEXT_MAX];
    char webhook_ca_file[CONFIG_TEXT_MAX];
    uint64_t webhook_tries;
    uint64_t webhook_backoff_ms;
    uint64_t webhook_timeout_ms;
    uint64_t queue_max;
    uint64_t queue_wait_ms;
    uint64_t drain_ms;
    uint64_t uid_base;
    uint64_t default_timeout_s;
    uint64_t max_timeout_s;
    struct config_range limits[CONFIG_LIMIT_COUNT]; // wall_ms follows the two above
    // Of each key in the table's order; the line only where it is the file's.
    uint8_t origin[CONFIG_KEYS_MAX];
    uint16_t origin_line[CONFIG_KEYS_MAX];
};

// Where the settings of one start are.
struct config_sources {
    const char *file;         // NULL: CONFIG_DEFAULT_FILE, if it is there
    char *const *environment; // "NAME=value", NULL-terminated; an empty value counts as unset
    char *const *options;     // "--api-port=9000", NULL-terminated
};

// Called per problem: "FILE:LINE: KEY: reason" in message. `e` is borrowed for the call.
typedef void (*config_problem_cb)(void *arg, const struct err *e);

// Called per key: its name as in the environment, and the values as they would stand in a file.
typedef void (*config_change_cb)(void *arg, const char *name, const char *before, const char *after,
                                 bool reloadable);

// Sets every key to its default: that of an installed program where this program is one
// (PREFIX/bin/PROGRAM with PREFIX/libexec/codesandbox beside it), else that of the source tree.
void config_init(struct config *c);

// Sets one key from text, checking type and range. `key` as in the file ("api_port"). Errors:
// ERR_INVALID, field and message naming the key.
int config_set(struct config *c, const char *key, const char *value, struct err *err);

// Everything at once: defaults, the sources in their order, config_finish(). All problems are told,
// not only the first; a setting with a problem keeps its former value. Returns how many there were.
size_t config_load(struct config *c, const struct config_sources *sources,
                   config_problem_cb problem, void *arg);

// Reads a `key = value` file, stopping at the first problem.
int config_load_file(struct config *c, const char *path, struct err *err);

// Takes every variable of `environ_list` that the table names; an empty value counts as unset.
int config_load_env(struct config *c, char *const *environ_list, struct err *err);

// Defaults, then CONFIG_DEFAULT_FILE if it can be read, then the environment: what a program beside
// the service goes by. Stops at the first problem; config_finish() is still to be called.
int config_load_here(struct config *c, char *const *environ_list, struct err *err);

// Takes one option "--api-port=9000".
int config_load_option(struct config *c, const char *option, struct err *err);

// Checks what single keys cannot show (a default above its maximum, an open address without
// permission). Completes derived values. Call once, last. Stops at the first problem.
int config_finish(struct config *c, struct err *err);

// Tells every key whose value differs. Secrets are given as they are where they are reloadable, for
// passing them on, else as "(hidden)": do not log them.
void config_diff(const struct config *before, const struct config *after, config_change_cb change,
                 void *arg);

void config_print_help(FILE *out);
void config_print_docs(FILE *out); // Markdown
void config_print_file(FILE *out); // a file to start from, every setting commented out

// As a file. `with_origin` puts a comment with where it came from before each. Secrets are hidden.
void config_print_values(const struct config *c, const char *file, bool with_origin, FILE *out);

#endif
