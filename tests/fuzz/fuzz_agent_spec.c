// SPDX-License-Identifier: Apache-2.0
//
// The agent's decoder of /run and /prepare. First byte: even for /run; then the length of the body
// that is said to follow, as two bytes; then the text.
#include "agent/spec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_command(const struct spec_command *c)
{
    if (c->argv == NULL || c->argv[0] == NULL || c->envp == NULL)
        abort();
}

static void fuzz_run(const char *text, size_t len, size_t body)
{
    struct run_spec spec;
    struct err err = ERR_INIT;
    size_t sum;

    if (run_spec_parse(text, len, body, &spec, &err) < 0)
        return;
    sum = spec.stdin_size;
    for (size_t i = 0; i < spec.file_count; i++) {
        if (spec.files[i].path[0] == '/' || strstr(spec.files[i].path, "//") != NULL)
            abort();
        sum += spec.files[i].size;
    }
    if (sum != body || spec.file_count < 1 || spec.file_count > AGENT_FILES_MAX)
        abort();
    if (spec.artifact != NULL && (spec.artifact[0] == '/' || spec.artifact_max == 0 ||
                                  spec.artifact_max > AGENT_ARTIFACT_MAX))
        abort();
    check_command(&spec.run);
    if (spec.has_compile)
        check_command(&spec.compile);
    run_spec_release(&spec);
}

static void fuzz_prepare(const char *text, size_t len)
{
    struct prepare_spec spec;
    struct err err = ERR_INIT;

    if (prepare_spec_parse(text, len, &spec, &err) < 0)
        return;
    check_command(&spec.command);
    prepare_spec_release(&spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3)
        return 0;
    if (data[0] % 2 == 0)
        fuzz_run((const char *)data + 3, len - 3, (size_t)data[1] << 8 | data[2]);
    else
        fuzz_prepare((const char *)data + 3, len - 3);
    return 0;
}
