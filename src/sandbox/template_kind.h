// SPDX-License-Identifier: Apache-2.0
//
// The templates that a sandbox can be made from, by their public names.
#ifndef CSB_SANDBOX_TEMPLATE_KIND_H
#define CSB_SANDBOX_TEMPLATE_KIND_H

enum template_kind {
    TEMPLATE_BASE,        // what runs are made from, too
    TEMPLATE_INTERPRETER, // with the server of runtimes/contexts running in it
    TEMPLATE_KIND_COUNT
};

#define TEMPLATE_NAMES "base and code-interpreter-v1" // of all, for messages

// Its public name. Static.
const char *template_kind_name(enum template_kind kind);

// 0, or -1 when there is none of that name.
int template_kind_of(const char *name, enum template_kind *ret);

#endif
