// SPDX-License-Identifier: Apache-2.0
#include "driver/fake_program.h"

#include "base/parse.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const words[] = {
    [FAKE_OP_END] = "",
    [FAKE_OP_OUT] = "out",
    [FAKE_OP_ERR] = "err",
    [FAKE_OP_STDIN] = "stdin",
    [FAKE_OP_FLOOD] = "flood",
    [FAKE_OP_SPILL] = "spill",
    [FAKE_OP_SLEEP] = "sleep",
    [FAKE_OP_EXIT] = "exit",
    [FAKE_OP_SIGNAL] = "signal",
    [FAKE_OP_OOM] = "oom",
    [FAKE_OP_SPIN] = "spin",
    [FAKE_OP_HIT] = "hit",
    [FAKE_OP_WARN] = "warn",
    [FAKE_OP_REJECT] = "reject",
    [FAKE_OP_CHATTER] = "chatter",
    [FAKE_OP_MAKE] = "make",
    [FAKE_OP_LEAK] = "leak",
    [FAKE_OP_DIE] = "die",
    [FAKE_OP_GARBAGE] = "garbage",
    [FAKE_OP_NOTE] = "note",
};
static_assert(sizeof(words) / sizeof(words[0]) == FAKE_OP_COUNT, "a word for each statement");

static enum fake_op find_word(const char *line, size_t len)
{
    for (int op = FAKE_OP_END + 1; op < FAKE_OP_COUNT; op++)
        if (strlen(words[op]) == len && memcmp(words[op], line, len) == 0)
            return (enum fake_op)op;
    return FAKE_OP_END;
}

static uint64_t find_number(const char *text, size_t len)
{
    char digits[24];
    uint64_t number = 0;

    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    (void)snprintf(digits, sizeof(digits), "%.*s", len < sizeof(digits) ? (int)len : 0, text);
    (void)parse_u64(digits, 0, UINT32_MAX, &number); // stays 0: see fake_statement
    return number;
}

void fake_program_next(const char **text, size_t *len, struct fake_statement *ret)
{
    while (*len > 0) {
        const char *line = *text;
        const char *newline = memchr(line, '\n', *len);
        size_t line_len = newline == NULL ? *len : (size_t)(newline - line) + 1;
        size_t word_len = 0;
        enum fake_op op;

        *text += line_len;
        *len -= line_len;
        while (word_len < line_len && strchr(" \r\n", line[word_len]) == NULL)
            word_len++;
        op = find_word(line, word_len);
        if (op == FAKE_OP_END)
            continue;
        if (word_len < line_len && line[word_len] == ' ')
            word_len++;
        ret->op = op;
        ret->text = line + word_len;
        ret->len = line_len - word_len;
        ret->number = find_number(ret->text, ret->len);
        return;
    }
    *ret = (struct fake_statement){.op = FAKE_OP_END};
}
