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

static void fill(struct err *err, enum err_code code, int sys, const char *fmt, va_list ap)
{
    err->code = code;
    err->sys = sys;
    err->field[0] = '\0';
    (void)vsnprintf(err->message, sizeof(err->message), fmt, ap);
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
    (void)snprintf(err->field, sizeof(err->field), "%s", field);
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
    return -1;
}

const char *err_code_name(enum err_code code)
{
    if ((unsigned)code >= ERR_CODE_COUNT)
        return "unknown";
    return code_names[code];
}
