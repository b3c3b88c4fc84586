// SPDX-License-Identifier: Apache-2.0
//
// Which names a request's files may have. Pure; apart from run.c so that what checks requests
// needs nothing else of the engine.
#include "base/parse.h"
#include "channel/agent_wire.h"
#include "sandbox/engine.h"

#include <string.h>

#define PATH_PARTS_MAX 16

int run_path_check(const char *path, struct err *err)
{
    size_t len = strlen(path);
    size_t parts = 0;

    if (len == 0 || len > AGENT_PATH_MAX)
        return err_set(err, ERR_INVALID, "a path must have 1 to %d bytes", AGENT_PATH_MAX);
    if (parse_has_control(path))
        return err_set(err, ERR_INVALID, "a path must not hold control characters");
    for (const char *p = path; p != NULL;) {
        size_t n = strcspn(p, "/");

        if (n == 0)
            return err_set(err, ERR_INVALID, "a path must be relative, without empty parts");
        if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return err_set(err, ERR_INVALID, "a path must not hold '.' or '..'");
        if (++parts > PATH_PARTS_MAX)
            return err_set(err, ERR_INVALID, "a path must have at most %d parts", PATH_PARTS_MAX);
        p = p[n] == '/' ? p + n + 1 : NULL;
    }
    return 0;
}
