// SPDX-License-Identifier: Apache-2.0
//
// The table of languages. Each is a file `<id>.runtime` in the runtimes directory (src/base/ini.h
// format), never code: adding one needs a file. docs/RUNTIMES.md explains every key.
#ifndef CSB_SANDBOX_RUNTIME_H
#define CSB_SANDBOX_RUNTIME_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RUNTIME_ARGS_MAX    32
#define RUNTIME_ENV_MAX     32
#define RUNTIME_ALIASES_MAX 8
#define RUNTIME_COUNT_MAX   64

struct runtime_command {
    char *argv[RUNTIME_ARGS_MAX + 1]; // NULL-terminated; argv[0] NULL: no such step
    size_t argc;
};

struct runtime {
    char id[32];                            // "python"
    char name[64];                          // "Python"
    char version[32];                       // "3.11.2"
    char extension[16];                     // "py", without the dot
    char source[48];                        // file name of the program: "main.py"
    char *aliases[RUNTIME_ALIASES_MAX + 1]; // further accepted ids: "py"
    size_t alias_count;
    struct runtime_command compile;
    char *compile_artifact; // what the compile step makes and the run step needs beside the files,
                            // relative; NULL: not told, so never kept
    struct runtime_command run;
    struct runtime_command prepare; // how to start a prepared interpreter, or compiler when there
                                    // is a compile step; none when argc is 0
    char *env[RUNTIME_ENV_MAX + 1]; // "KEY=VALUE", NULL-terminated
    size_t env_count;
    char *prepare_env[RUNTIME_ENV_MAX + 1]; // more of them, for `prepare` alone
    size_t prepare_env_count;
    char *cold_env[RUNTIME_ENV_MAX + 1]; // glob patterns of user variables that a prepared
                                         // interpreter cannot take any more
    size_t cold_env_count;
    char *cold_files[RUNTIME_ENV_MAX + 1]; // likewise of request files, matched with the whole path
    size_t cold_files_count;
    char *wrap_unless; // program without this word sequence outside comments and strings is
    char *wrap_prefix; // put between prefix and suffix; NULL: never
    char *wrap_suffix;
    bool zygote;         // a started interpreter may be forked into the next one, where sandboxes
                         // share a kernel
    uint32_t pool_ready; // clones kept ready for it when POOL_SIZE is 3; in proportion otherwise
    char *warm_code;     // program run while the template is built, or NULL
    bool warm_clone;     // and once more in each clone whose processor is emulated
    uint64_t compile_wall_ms; // limit of the compile step
    uint64_t compile_memory_bytes;
};

struct runtime_table;

// Loads every *.runtime in `dirfd` (borrowed). Errors name file and line.
int runtime_table_load(int dirfd, struct runtime_table **ret, struct err *err);
void runtime_table_free(struct runtime_table *t);

size_t runtime_count(const struct runtime_table *t);
const struct runtime *runtime_at(const struct runtime_table *t, size_t i); // sorted by id
// By id or alias; NULL when unknown.
const struct runtime *runtime_find(const struct runtime_table *t, const char *id);
// 64 hex digits over all that was loaded: part of a template's key.
const char *runtime_table_hash(const struct runtime_table *t);

#endif
