// SPDX-License-Identifier: Apache-2.0
//
// Whether a program already has its entry point, for runtimes that wrap a bare body. Pure.
#ifndef CSB_SANDBOX_WRAP_H
#define CSB_SANDBOX_WRAP_H

#include <stdbool.h>
#include <stddef.h>

// True when the words of `words` (separated by single spaces, such as "fn main") follow each other
// in `code`, apart only by white space, outside of comments, strings and character literals of the
// C-like lexical family that Rust belongs to (line comments, nested block comments, raw strings).
bool wrap_has_words(const char *code, size_t len, const char *words);

#endif
