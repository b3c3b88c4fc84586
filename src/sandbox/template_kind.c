// SPDX-License-Identifier: Apache-2.0
#include "sandbox/template_kind.h"

#include <string.h>

static const char *const names[TEMPLATE_KIND_COUNT] = {
    [TEMPLATE_BASE] = "base",
    [TEMPLATE_INTERPRETER] = "code-interpreter-v1",
};

const char *template_kind_name(enum template_kind kind)
{
    return names[kind];
}

int template_kind_of(const char *name, enum template_kind *ret)
{
    for (int i = 0; i < TEMPLATE_KIND_COUNT; i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        *ret = (enum template_kind)i;
        return 0;
    }
    return -1;
}
