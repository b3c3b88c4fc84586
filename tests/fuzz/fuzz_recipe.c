// SPDX-License-Identifier: Apache-2.0
//
// A recipe: what is taken is within every limit, and no word of it can be mistaken for an option, a
// path out of its place or more than one word.
#include "cli/recipe.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_word(const char *word)
{
    if (word[0] == '\0' || word[0] == '-' || strpbrk(word, " \t\n:;$`\"'\\*?<>|&()") != NULL)
        abort();
}

static void check(const struct recipe *r)
{
    check_word(r->name);
    check_word(r->base);
    if (r->package_count > RECIPE_PARTS_MAX || r->npm_count > RECIPE_PARTS_MAX ||
        r->file_count > RECIPE_PARTS_MAX || strchr(r->name, '/') != NULL)
        abort();
    for (size_t i = 0; i < r->package_count; i++)
        check_word(r->packages[i]);
    for (size_t i = 0; i < r->npm_count; i++)
        check_word(r->npm[i]);
    for (size_t i = 0; i < r->file_count; i++) {
        const struct recipe_file *f = &r->files[i];

        check_word(f->source);
        check_word(f->path);
        if (f->path[0] != '/' || f->source[0] == '/' || f->mode > 0777 ||
            strstr(f->path, "/../") != NULL || strstr(f->source, "/../") != NULL ||
            strncmp(f->source, "../", 3) == 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct recipe r; // large
    char *text = malloc(len + 1);
    struct err err = ERR_INIT;

    if (text == NULL)
        return 0;
    memcpy(text, data, len);
    text[len] = '\0';
    if (recipe_parse("recipe", text, &r, &err) == 0)
        check(&r);
    else if (err.message[0] == '\0')
        abort();
    free(text);
    return 0;
}
