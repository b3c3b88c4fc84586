// SPDX-License-Identifier: Apache-2.0
//
// What the daemon asks for in /run and /prepare, decoded and checked (channel/agent_wire.h). Pure:
// no system calls.
#ifndef CSB_AGENT_SPEC_H
#define CSB_AGENT_SPEC_H

#include "base/err.h"
#include "channel/agent_wire.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPEC_ARGV_MAX 4096 // strings of one command line
#define SPEC_ENV_MAX  1024 // variables of one environment

struct spec_limits {
    uint64_t wall_ms, cpu_ms, memory_bytes, processes, output_bytes, disk_bytes;
};

struct spec_file {
    const char *path; // borrowed from the document
    size_t size;
    bool executable;
};

// One command: `argv` and `envp` are NULL-terminated; the strings of argv belong to the document,
// those of envp to the command.
struct spec_command {
    const char **argv;
    char **envp; // the base environment, overridden by what the caller gave
    struct spec_limits limits;
};

struct run_spec {
    json_t *doc;
    const char *prepared; // or NULL
    struct spec_file *files;
    size_t file_count;
    size_t files_bytes;
    size_t stdin_size;
    const char *artifact; // path of what the compile step makes and the daemon asks for, or NULL
    size_t artifact_max;
    bool has_compile;
    struct spec_command compile;
    struct spec_command run;
    const json_t *args; // of the run, for a prepared interpreter; borrowed from the document
    const json_t *env;
};

struct prepare_spec {
    json_t *doc;
    const char *id;
    struct spec_command command; // limits are 0 when none were given
    uint64_t ready_ms;
    bool zygote; // by a fork of a zygote, where that is possible
};

// Decodes HEAD. `body_len` is the number of bytes that follow it: files and standard input must add
// up to it. On failure *ret is released. 0, or -1 with ERR_INVALID.
int run_spec_parse(const char *head, size_t len, size_t body_len, struct run_spec *ret,
                   struct err *err);
void run_spec_release(struct run_spec *spec);

int prepare_spec_parse(const char *text, size_t len, struct prepare_spec *ret, struct err *err);
void prepare_spec_release(struct prepare_spec *spec);

#endif
