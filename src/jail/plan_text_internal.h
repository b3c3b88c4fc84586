// SPDX-License-Identifier: Apache-2.0
//
// The words of the text form, shared by writer and reader.
#ifndef CSB_JAIL_PLAN_TEXT_INTERNAL_H
#define CSB_JAIL_PLAN_TEXT_INTERNAL_H

#include "jail/plan_text.h"

#define PLAN_TEXT_HEAD      "jail-plan 1"
#define PLAN_TEXT_UNLIMITED "unlimited"

struct plan_word {
    const char *name; // NULL ends a table
    uint64_t value;   // an enum's value, a bit, or the offset of a uint8_t in its struct
};

extern const struct plan_word plan_ns_words[];
extern const struct plan_word plan_kind_words[];
extern const struct plan_word plan_seccomp_words[];
extern const struct plan_word plan_rlimit_words[];
extern const struct plan_word plan_flag_words[];       // offsets in struct jail_plan
extern const struct plan_word plan_mount_flag_words[]; // offsets in struct jail_mount

// NULL when there is none.
const char *plan_word_name(const struct plan_word *table, uint64_t value);
const struct plan_word *plan_word_find(const struct plan_word *table, const char *name);

#endif
