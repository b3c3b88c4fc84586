// SPDX-License-Identifier: Apache-2.0
//
// The error value of everything from the driver upward. A function that can fail takes a
// `struct err *` as its last input, leaves it untouched on success, and on failure fills it and
// returns -1 (or NULL). By value: no allocation, nothing to release. Leaf functions that only wrap
// the kernel return 0 or -errno instead.
#ifndef CSB_BASE_ERR_H
#define CSB_BASE_ERR_H

#include <stddef.h>

enum err_code {
    ERR_NONE = 0,
    ERR_INVALID,     // the caller's input is wrong; `field` names it where there is one
    ERR_TOO_LARGE,   // a size limit of ours was exceeded by the input; `field` names it
    ERR_TIMEOUT,     // a deadline passed
    ERR_BUSY,        // a bounded resource is full; try again later
    ERR_GONE,        // the peer (VM, agent, launcher, client) went away
    ERR_PROTOCOL,    // the peer answered outside the rules
    ERR_UNSUPPORTED, // this driver or host cannot do it
    ERR_CANCELLED,   // the caller cancelled
    ERR_SYSTEM,      // the kernel said no; `sys` is the errno
    ERR_INTERNAL,    // a bug or a broken installation of ours
    ERR_CODE_COUNT
};

struct err {
    enum err_code code;
    int sys;           // errno, or 0
    char field[64];    // name of the offending field, or ""
    char message[256]; // one sentence, no trailing newline
};

#define ERR_INIT {.code = ERR_NONE}

// Fills *err (which may be NULL) and returns -1, so that `return err_set(...)` reads well.
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// As err_set with code ERR_SYSTEM; `sys` is a positive or negative errno, its text is appended.
int err_sys(struct err *err, int sys, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// As err_set, and records the field at fault.
int err_field(struct err *err, enum err_code code, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

// Prepends "context: " to the message. Returns -1.
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Copies at most `size` - 1 bytes of `text` and a NUL, cutting between UTF-8 characters.
void err_copy_text(char *dst, size_t size, const char *text);

// The machine word of a code: "invalid", "timeout", ... Never NULL.
const char *err_code_name(enum err_code code);

#endif
