// SPDX-License-Identifier: Apache-2.0
//
// The body of POST /execute. What is accepted must keep every promise that the engine relies on.
#include "api/execute_parse.h"
#include "channel/agent_wire.h"
#include "config/config.h"
#include "fuzz_runtimes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct config config;
static struct runtime_table *runtimes;

static void set_up(void)
{
    struct err err = ERR_INIT;

    config_init(&config);
    if (config_finish(&config, &err) < 0)
        abort();
    runtimes = fuzz_runtimes();
}

static void check_limit(uint64_t value, enum config_limit which)
{
    if (value < config.limits[which].min || value > config.limits[which].max)
        abort();
}

static void check_files(const struct run_request *r)
{
    struct err err = ERR_INIT;

    if (r->file_count < 1 || r->file_count > AGENT_FILES_MAX || r->files[0].len == 0)
        abort();
    for (size_t i = 0; i < r->file_count; i++) {
        if (run_path_check(r->files[i].path, &err) < 0)
            abort();
        for (size_t k = 0; k < i; k++)
            if (strcmp(r->files[i].path, r->files[k].path) == 0)
                abort();
    }
}

static void check(const struct execute_request *x)
{
    const struct run_request *r = &x->run;
    size_t count = 0;

    if (r->runtime == NULL)
        abort();
    check_files(r);
    check_limit(r->limits.wall_ms, CONFIG_LIMIT_WALL_MS);
    check_limit(r->limits.cpu_ms, CONFIG_LIMIT_CPU_MS);
    check_limit(r->limits.memory_bytes, CONFIG_LIMIT_MEMORY_BYTES);
    check_limit(r->limits.processes, CONFIG_LIMIT_PROCESSES);
    check_limit(r->limits.output_bytes, CONFIG_LIMIT_OUTPUT_BYTES);
    check_limit(r->limits.disk_bytes, CONFIG_LIMIT_DISK_BYTES);
    while (r->args != NULL && r->args[count] != NULL)
        count++;
    if (count > EXECUTE_ARGS_MAX)
        abort();
    for (size_t i = 0; r->env != NULL && r->env[i] != NULL; i++)
        if (strchr(r->env[i], '=') == NULL || i >= EXECUTE_ENV_MAX)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct execute_request x;
    struct err err = ERR_INIT;

    if (runtimes == NULL)
        set_up();
    if (execute_parse(&config, runtimes, data, len, &x, &err) < 0) {
        if ((err.code != ERR_INVALID && err.code != ERR_TOO_LARGE) || err.field[0] == '\0' ||
            err.message[0] == '\0' || x.tree != NULL)
            abort();
        return 0;
    }
    check(&x);
    execute_request_release(&x);
    return 0;
}
