// SPDX-License-Identifier: Apache-2.0
//
// TAP producer for the C tests: one line per check, the plan at the end. A test program is
// `int main(void) { ...; return tap_done(); }`. CSB_MUST_RUN (comma list of suite names) turns a
// skip of that suite into a failure.
#ifndef CSB_TESTS_TAP_H
#define CSB_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count;
static int tap_failed;
// "# " in a process whose checks another one sums up in one of its own.
static const char *tap_prefix = "";

__attribute__((format(printf, 2, 3), unused)) static bool tap_ok(bool ok, const char *fmt, ...)
{
    va_list ap;

    printf("%s%sok %d - ", tap_prefix, ok ? "" : "not ", ++tap_count);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    if (!ok)
        tap_failed++;
    return ok;
}

#define CHECK(cond)          tap_ok((cond), "%s:%d %s", __func__, __LINE__, #cond)
#define CHECK_MSG(cond, ...) tap_ok((cond), __VA_ARGS__)

__attribute__((unused)) static bool tap_check_str(const char *got, const char *want,
                                                  const char *what, int line)
{
    bool ok = got != NULL && strcmp(got, want) == 0;

    tap_ok(ok, "line %d %s", line, what);
    if (!ok)
        printf("# got:  %s\n# want: %s\n", got == NULL ? "(null)" : got, want);
    return ok;
}
#define CHECK_STR(got, want) tap_check_str((got), (want), #got " is " #want, __LINE__)

__attribute__((unused)) static bool tap_check_int(long long got, long long want, const char *what,
                                                  int line)
{
    bool ok = got == want;

    tap_ok(ok, "line %d %s", line, what);
    if (!ok)
        printf("# got:  %lld\n# want: %lld\n", got, want);
    return ok;
}
#define CHECK_INT(got, want)                                                                       \
    tap_check_int((long long)(got), (long long)(want), #got " == " #want, __LINE__)

__attribute__((unused)) static bool tap_must_run(const char *suite)
{
    const char *list = getenv("CSB_MUST_RUN");
    size_t len = strlen(suite);

    for (const char *p = list; p != NULL && *p != '\0';
         p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, suite, len) == 0 && (p[len] == ',' || p[len] == '\0'))
            return true;
    return false;
}

__attribute__((unused)) static void tap_skip(const char *suite, const char *reason)
{
    if (tap_must_run(suite)) {
        tap_ok(false, "%s must run here, but: %s", suite, reason);
        return;
    }
    printf("ok %d # SKIP %s\n", ++tap_count, reason);
}

__attribute__((unused)) static int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failed == 0 ? 0 : 1;
}

#endif
