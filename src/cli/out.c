// SPDX-License-Identifier: Apache-2.0
#include "cli/out.h"

#include "base/buf.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "json/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_MS 100

void out_free_json(json_t **j)
{
    json_decref(*j);
}

bool out_colored(FILE *file)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    return isatty(fileno(file)) == 1 && (no == NULL || no[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

// Control characters are those of ASCII, and U+0080 to U+009F, which are C2 80 to C2 9F.
static bool is_control(const unsigned char *c)
{
    return *c < ' ' || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
}

char *out_escape(const char *text)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    bool utf8 = utf8_is_valid(text, strlen(text));
    const char *done;
    int r = 0;

    for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && r == 0; c++) {
        if (!utf8 && *c >= 0x80)
            r = buf_appendf(&out, "\\x%02x", *c);
        else if (!is_control(c))
            r = buf_append(&out, c, 1);
        else
            r = buf_appendf(&out, "\\x%02x", *c == 0xc2 ? *++c : *c);
    }
    done = r == 0 ? buf_cstr(&out) : NULL;
    return done == NULL ? NULL : strdup(done);
}

static json_t *plain_object(const json_t *value)
{
    json_t *ret = json_object();
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        char *name = out_escape(key);

        (void)json_object_set_new(ret, name == NULL ? "" : name, out_plain(member));
        free(name);
    }
    return ret;
}

json_t *out_plain(const json_t *value)
{
    char *text = json_is_string(value) ? out_escape(json_string_value(value)) : NULL;
    json_t *ret = NULL;
    json_t *member;
    size_t i;

    if (json_is_object(value))
        return plain_object(value);
    if (json_is_array(value)) {
        ret = json_array();
        json_array_foreach(value, i, member)(void) json_array_append_new(ret, out_plain(member));
        return ret;
    }
    if (!json_is_string(value))
        return json_incref((json_t *)(uintptr_t)value);
    ret = json_string(text == NULL ? "" : text);
    free(text);
    return ret;
}

void out_put(FILE *file, enum out_color color, int width, const char *text)
{
    static const char *const codes[] = {"", "32", "33", "31", "1"};
    int pad = width - (int)strlen(text);

    if (color != OUT_PLAIN && out_colored(file))
        (void)fprintf(file, "\033[%sm%s\033[0m", codes[color], text);
    else
        (void)fputs(text, file);
    if (pad > 0)
        (void)fprintf(file, "%*s", pad, "");
}

json_t *out_string(const void *data, size_t len)
{
    return json_stringn(len == 0 ? "" : data, len);
}

// Of the process, like the log level: how errors are told, and whether standard output has had a
// value or an error.
static struct {
    bool json_errors, told;
} state;

// JSON leaves U+007F to U+009F as they are, which some terminals obey. They stand in strings only.
static void put_json(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c >= ' ' && is_control(c))
            printf("\\u%04x", *c == 0xc2 ? *++c : *c);
        else
            (void)putchar(*c);
    }
    (void)putchar('\n');
}

void out_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));

    put_json(text == NULL ? "null" : text);
    free(text);
    state.told = true;
}

void out_json_errors(void)
{
    state.json_errors = true;
}

static void put_error(const char *who, const char *message, const json_t *refusal)
{
    char *plain = out_escape(message);

    (void)fprintf(stderr, "csb %s: %s\n", who, plain == NULL ? "out of memory" : plain);
    free(plain);
    if (state.json_errors) {
        _cleanup_json_ json_t *o = refusal != NULL
                                       ? json_pack("{s:O}", "error", refusal)
                                       : json_pack("{s:{s:s}}", "error", "message", message);

        out_json(o);
    }
}

void out_error(const char *who, const char *format, ...)
{
    char *message = NULL;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&message, format, ap);
    va_end(ap);
    put_error(who, r < 0 ? "out of memory" : message, NULL);
    if (r >= 0)
        free(message);
}

void out_refusal(const char *who, const json_t *refusal, const char *otherwise)
{
    const char *message = json_string_value(json_object_get(refusal, "message"));

    put_error(who, message == NULL ? otherwise : message, message == NULL ? NULL : refusal);
}

int out_finish(int exit_code)
{
    bool failed;

    if (state.json_errors && !state.told && exit_code != 0) {
        _cleanup_json_ json_t *o = json_pack(
            "{s:{s:s}}", "error", "message",
            exit_code == CLI_EXIT_USAGE ? "the command line is wrong" : "see standard error");

        out_json(o);
    }
    failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return exit_code;
    (void)fprintf(stderr, "csb: standard output: %s\n",
                  errno == 0 ? "cannot be written" : strerror(errno));
    return CLI_EXIT_SERVICE;
}

void out_bytes(uint64_t bytes, char ret[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    int unit = 0;

    for (; n >= 1024 && unit < 4; unit++)
        n /= 1024;
    (void)snprintf(ret, 24, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
}

void out_progress(struct out_progress *p, uint64_t done, uint64_t total)
{
    uint64_t now = clock_mono_ns();
    char have[24], all[24];

    if (now < p->next_ns || isatty(STDERR_FILENO) != 1)
        return;
    p->next_ns = now + PROGRESS_MS * NS_PER_MS;
    p->shown = true;
    out_bytes(done, have);
    out_bytes(total, all);
    if (total > 0)
        (void)fprintf(stderr, "\r\033[K%s: %s of %s", p->what, have, all);
    else
        (void)fprintf(stderr, "\r\033[K%s: %s", p->what, have);
}

void out_progress_end(struct out_progress *p)
{
    if (p->shown)
        (void)fprintf(stderr, "\r\033[K");
    p->shown = false;
}
