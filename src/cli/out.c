// SPDX-License-Identifier: Apache-2.0
#include "cli/out.h"

#include "base/clock.h"

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

void out_json(const json_t *value)
{
    (void)json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    (void)fputc('\n', stdout);
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
