// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static const char *log_program = "codesandbox";
static _Atomic enum log_level log_max = LOG_LEVEL_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level level)
{
    log_program = program;
    log_max = level;
}

void log_set_level(enum log_level level)
{
    log_max = level;
}

// Control characters would let a logged value forge lines.
static void scrub(char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            s[i] = '?';
}

static void emit(enum log_level level, const char *fmt, va_list ap)
{
    char time[CLOCK_UTC_BYTES];
    char line[LINE_MAX_BYTES];
    size_t used;
    int n;

    if (level > log_max)
        return;
    clock_format_utc(clock_real_ns(), time);
    used =
        (size_t)snprintf(line, sizeof(line), "%s %s %s: ", time, level_names[level], log_program);
    n = vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
    if (n < 0)
        return;
    if ((size_t)n > sizeof(line) - used - 2)
        n = (int)(sizeof(line) - used - 2);
    scrub(line + used, (size_t)n);
    used += (size_t)n;
    line[used++] = '\n';
    (void)!write(STDERR_FILENO, line, used);
}

#define DEFINE_LEVEL(name, level)                                                                  \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
                                                                                                   \
        va_start(ap, fmt);                                                                         \
        emit((level), fmt, ap);                                                                    \
        va_end(ap);                                                                                \
    }

DEFINE_LEVEL(log_error, LOG_LEVEL_ERROR)
DEFINE_LEVEL(log_warn, LOG_LEVEL_WARN)
DEFINE_LEVEL(log_info, LOG_LEVEL_INFO)
DEFINE_LEVEL(log_debug, LOG_LEVEL_DEBUG)
