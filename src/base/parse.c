// SPDX-License-Identifier: Apache-2.0
#include "base/parse.h"

#include <errno.h>
#include <string.h>

static int parse_digits(const char *s, size_t len, uint64_t *ret)
{
    uint64_t v = 0;

    if (len == 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
            return -ERANGE;
    }
    *ret = v;
    return 0;
}

static int check_range(uint64_t v, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t v;
    int r = parse_digits(s, strlen(s), &v);

    return r < 0 ? r : check_range(v, min, max, ret);
}

int parse_bytes(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
    static const char suffixes[] = "KMG";
    size_t len = strlen(s);
    uint64_t unit = 1;
    uint64_t v;
    int r;

    if (len > 0) {
        const char *at = strchr(suffixes, s[len - 1]);

        if (at != NULL) {
            unit = 1ull << (10 * (at - suffixes + 1));
            len--;
        }
    }
    r = parse_digits(s, len, &v);
    if (r < 0)
        return r;
    if (__builtin_mul_overflow(v, unit, &v))
        return -ERANGE;
    return check_range(v, min, max, ret);
}

int parse_bool(const char *s, bool *ret)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        bool is_yes = strcmp(s, yes[i]) == 0;

        if (!is_yes && strcmp(s, no[i]) != 0)
            continue;
        *ret = is_yes;
        return 0;
    }
    return -EINVAL;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool parse_is_name(const char *s, size_t max)
{
    size_t len = strnlen(s, max + 1);

    if (len == 0 || len > max || s[0] == '.' || s[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_name_char(s[i]))
            return false;
    return true;
}

bool parse_has_control(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}
