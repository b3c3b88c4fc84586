// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_BYTES 960

// Room for a message all of whose bytes are escaped, and what stands around it.
struct line {
    char text[2 * MESSAGE_BYTES + 512];
    size_t used;
};

// What the thread's lines are about; "" where nothing is known.
static _Thread_local struct {
    char request_id[40];
    char trace_id[40];
    char sandbox_id[40];
} about;

static const char *log_program = "codesandbox";
static _Atomic enum log_level log_max = LOG_LEVEL_INFO;

static bool log_json;

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

void log_set_format(enum log_format format)
{
    log_json = format == LOG_FORMAT_JSON;
}

void log_set_request(const char *request_id, const char *trace_id)
{
    about.sandbox_id[0] = '\0';
    (void)snprintf(about.request_id, sizeof(about.request_id), "%s", request_id);
    (void)snprintf(about.trace_id, sizeof(about.trace_id), "%s", trace_id);
}

void log_set_sandbox(const char *id)
{
    (void)snprintf(about.sandbox_id, sizeof(about.sandbox_id), "%s", id);
}

// How many bytes follow this one in UTF-8, were it the first of a character; 0 for what cannot be.
static unsigned followers(unsigned char c)
{
    if (c >= 0xf0 && c <= 0xf4)
        return 3;
    if (c >= 0xe0)
        return c < 0xf0 ? 2 : 0;
    return c >= 0xc2 ? 1 : 0;
}

// Control characters would let a logged value forge lines, or command the terminal that shows them:
// those above ASCII too, which are U+0080 to U+009F, and some terminals' bytes 0x80 to 0x9f.
static void scrub(char *s, size_t len)
{
    unsigned left = 0; // of a character's bytes

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool follows = c >= 0x80 && c < 0xc0 && left > 0;

        left = follows ? left - 1 : followers(c);
        if (follows && c < 0xa0 && (unsigned char)s[i - 1] == 0xc2)
            s[i - 1] = s[i] = '?';
        else if (!follows && (c < 0x20 || c == 0x7f || (c >= 0x80 && left == 0)))
            s[i] = '?';
    }
}

static void put(struct line *l, const char *text, size_t len)
{
    if (len > sizeof(l->text) - l->used)
        len = sizeof(l->text) - l->used;
    memcpy(l->text + l->used, text, len);
    l->used += len;
}

static void put_str(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

// Inside a JSON string: the message may be cut in a character, and who reads JSON wants UTF-8, so
// what is not ASCII becomes '?'.
static void put_escaped(struct line *l, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            put(l, "\\", 1);
        put(l, (unsigned char)*c < 0x80 ? c : "?", 1);
    }
}

static void put_member(struct line *l, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    put_str(l, l->used == 0 ? "{\"" : ",\"");
    put_str(l, name);
    put_str(l, "\":\"");
    put_escaped(l, value);
    put_str(l, "\"");
}

static void put_json(struct line *l, const char *time, const char *level, const char *message)
{
    put_member(l, "time", time);
    put_member(l, "level", level);
    put_member(l, "program", log_program);
    put_member(l, "request_id", about.request_id);
    put_member(l, "trace_id", about.trace_id);
    put_member(l, "sandbox_id", about.sandbox_id);
    put_member(l, "message", message);
    put_str(l, "}");
}

static void put_about(struct line *l, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    put_str(l, name);
    put_str(l, value);
}

static void put_text(struct line *l, const char *time, const char *level, const char *message)
{
    put_str(l, time);
    put_str(l, " ");
    put_str(l, level);
    put_str(l, " ");
    put_str(l, log_program);
    put_str(l, ": ");
    put_str(l, message);
    put_about(l, " request=", about.request_id);
    put_about(l, " trace=", about.trace_id);
    put_about(l, " sandbox=", about.sandbox_id);
}

static void emit(enum log_level level, const char *fmt, va_list ap)
{
    char time[CLOCK_UTC_BYTES];
    char message[MESSAGE_BYTES];
    struct line line = {.used = 0};
    int n;

    if (level > log_max)
        return;
    n = vsnprintf(message, sizeof(message), fmt, ap);
    if (n < 0)
        return;
    scrub(message, strlen(message));
    clock_format_utc(clock_real_ns(), time);
    if (log_json)
        put_json(&line, time, level_names[level], message);
    else
        put_text(&line, time, level_names[level], message);
    put_str(&line, "\n");
    (void)!write(STDERR_FILENO, line.text, line.used);
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
