// SPDX-License-Identifier: Apache-2.0
#include "cli/result.h"

#include "cli/cli.h"

#include <signal.h>
#include <string.h>

static int signal_number(const char *name)
{
    for (int i = 1; name != NULL && i < NSIG; i++) {
        const char *abbrev = sigabbrev_np(i);

        if (abbrev != NULL && strncmp(name, "SIG", 3) == 0 && strcmp(name + 3, abbrev) == 0)
            return i;
    }
    return 0;
}

int result_exit_code(const json_t *result)
{
    const char *status = json_string_value(json_object_get(result, "status"));
    const json_t *code = json_object_get(result, "exit_code");
    int sig = signal_number(json_string_value(json_object_get(result, "signal")));

    if (status != NULL && strcmp(status, "timeout") == 0)
        return CLI_EXIT_TIMEOUT;
    if (sig > 0)
        return CLI_EXIT_SIGNAL + sig;
    if (json_is_integer(code) && json_integer_value(code) >= 0)
        return (int)(json_integer_value(code) & 255);
    return 1;
}
