// SPDX-License-Identifier: Apache-2.0
#include "sandbox/wrap.h"

#include <string.h>

struct scanner {
    const char *p;
    const char *end;
};

static bool at(const struct scanner *s, const char *text)
{
    size_t len = strlen(text);

    return (size_t)(s->end - s->p) >= len && memcmp(s->p, text, len) == 0;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static void skip_line_comment(struct scanner *s)
{
    while (s->p < s->end && *s->p != '\n')
        s->p++;
}

static void skip_block_comment(struct scanner *s)
{
    int depth = 0;

    do {
        if (at(s, "/*")) {
            depth++;
            s->p += 2;
        } else if (at(s, "*/")) {
            depth--;
            s->p += 2;
        } else {
            s->p++;
        }
    } while (depth > 0 && s->p < s->end);
}

static void skip_quoted(struct scanner *s)
{
    for (s->p++; s->p < s->end && *s->p != '"'; s->p++)
        if (*s->p == '\\' && s->p + 1 < s->end)
            s->p++;
    if (s->p < s->end)
        s->p++;
}

// r"...", r#"..."#, with any number of hashes; `s->p` is at the first '#' or '"'.
static bool skip_raw_string(struct scanner *s)
{
    const char *p = s->p;
    size_t hashes = 0;

    while (p < s->end && *p == '#') {
        hashes++;
        p++;
    }
    if (p >= s->end || *p != '"')
        return false;
    for (p++; p < s->end; p++) {
        size_t n = 0;

        if (*p != '"')
            continue;
        while (n < hashes && p + 1 + n < s->end && p[1 + n] == '#')
            n++;
        if (n == hashes) {
            s->p = p + 1 + hashes;
            return true;
        }
    }
    s->p = s->end;
    return true;
}

// A character literal, or just the quote of a lifetime.
static void skip_char_or_lifetime(struct scanner *s)
{
    const char *p = s->p + 1;

    if (p < s->end && *p == '\\') {
        for (p++; p < s->end && *p != '\'' && *p != '\n'; p++)
            if (*p == '\\' && p + 1 < s->end)
                p++;
        s->p = p < s->end ? p + 1 : p;
        return;
    }
    for (size_t n = 1; n <= 4 && p + n < s->end; n++) {
        if (p[n] == '\'') {
            s->p = p + n + 1;
            return;
        }
        if (is_word_char(p[n]) && (unsigned char)p[n] < 0x80)
            break;
    }
    s->p++;
}

// One word of `words`, compared with the identifier [word, word + len); moves `words` on.
static const char *match_word(const char *words, const char *word, size_t len)
{
    size_t want = strcspn(words, " ");

    if (want != len || memcmp(words, word, len) != 0)
        return NULL;
    return words[want] == ' ' ? words + want + 1 : words + want;
}

bool wrap_has_words(const char *code, size_t len, const char *words)
{
    struct scanner s = {code, code + len};
    const char *want = words;

    while (s.p < s.end) {
        if (is_space(*s.p)) {
            s.p++;
        } else if (at(&s, "//")) {
            skip_line_comment(&s);
        } else if (at(&s, "/*")) {
            skip_block_comment(&s);
        } else if (is_word_char(*s.p)) {
            const char *word = s.p;
            size_t n;

            while (s.p < s.end && is_word_char(*s.p))
                s.p++;
            n = (size_t)(s.p - word);
            if (word[n - 1] == 'r' && n <= 2 && skip_raw_string(&s)) {
                want = words;
                continue;
            }
            want = match_word(want, word, n);
            if (want == NULL)
                want = match_word(words, word, n);
            if (want == NULL)
                want = words;
            if (*want == '\0')
                return true;
        } else {
            want = words;
            if (*s.p == '"')
                skip_quoted(&s);
            else if (*s.p == '\'')
                skip_char_or_lifetime(&s);
            else
                s.p++;
        }
    }
    return false;
}
