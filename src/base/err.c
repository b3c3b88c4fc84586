// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[ERR_CODE_COUNT] = {
    [ERR_NONE] = "none",           [ERR_INVALID] = "invalid",
    [ERR_TOO_LARGE] = "too_large", [ERR_TIMEOUT] = "timeout",
    [ERR_BUSY] = "busy",           [ERR_GONE] = "gone",
    [ERR_PROTOCOL] = "protocol",   [ERR_UNSUPPORTED] = "unsupported",
    [ERR_CANCELLED] = "cancelled", [ERR_SYSTEM] = "system",
    [ERR_INTERNAL] = "internal",
};

// How much of `text` does not end inside a UTF-8 sequence.
static size_t whole_characters(const char *text, size_t len)
{
    size_t at = len;
    unsigned char lead;
    size_t need;

    while (at > 0 && len - at < 3 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
        at--;
    if (at == 0)
        return len;
    lead = (unsigned char)text[at - 1];
    need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return need > len - at + 1 ? at - 1 : len;
}

void err_copy_text(char *dst, size_t size, const char *text)
{
    size_t len = whole_characters(text, strnlen(text, size - 1));

    memmove(dst, text, len);
    dst[len] = '\0';
}

// What did not fit is cut between characters: half of one could not be told in JSON.
static void mend(struct err *err)
{
    err_copy_text(err->message, sizeof(err->message), err->message);
}

static void fill(struct err *err, enum err_code code, int sys, const char *fmt, va_list ap)
{
    err->code = code;
    err->sys = sys;
    err->field[0] = '\0';
    (void)vsnprintf(err->message, sizeof(err->message), fmt, ap);
    mend(err);
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL)
        return -1;
    va_start(ap, fmt);
    fill(err, code, 0, fmt, ap);
    va_end(ap);
    return -1;
}

int err_sys(struct err *err, int sys, const char *fmt, ...)
{
    va_list ap;
    size_t used;

    if (err == NULL)
        return -1;
    va_start(ap, fmt);
    fill(err, ERR_SYSTEM, abs(sys), fmt, ap);
    va_end(ap);
    used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", strerror(abs(sys)));
    mend(err);
    return -1;
}

int err_field(struct err *err, enum err_code code, const char *field, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL)
        return -1;
    va_start(ap, fmt);
    fill(err, code, 0, fmt, ap);
    va_end(ap);
    err_copy_text(err->field, sizeof(err->field), field);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char old[sizeof(err->message)];
    va_list ap;
    size_t used;

    if (err == NULL)
        return -1;
    memcpy(old, err->message, sizeof(old));
    va_start(ap, fmt);
    (void)vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", old);
    mend(err);
    return -1;
}

const char *err_code_name(enum err_code code)
{
    if ((unsigned)code >= ERR_CODE_COUNT)
        return "unknown";
    return code_names[code];
}
