// SPDX-License-Identifier: Apache-2.0
//
// Strict parsing of small values. The whole string must match: no sign, space, prefix or trailing
// text is skipped.
#ifndef CSB_BASE_PARSE_H
#define CSB_BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Decimal digits within [min, max]. 0, -EINVAL (not a number) or -ERANGE.
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

// A count of bytes with an optional binary suffix K, M or G. Same errors.
int parse_bytes(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

// "1", "true", "yes", "on" or "0", "false", "no", "off". 0 or -EINVAL.
int parse_bool(const char *s, bool *ret);

// True when `s` is 1..max bytes of [A-Za-z0-9._-], not starting with '.' or '-': safe as a file
// name.
bool parse_is_name(const char *s, size_t max);

// Whether it has control characters of ASCII: what would end its line, or move a cursor.
bool parse_has_control(const char *s);

#endif
