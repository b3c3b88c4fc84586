// SPDX-License-Identifier: Apache-2.0
#include "driver/last_words.h"

#include <unistd.h>

const char *last_words(int log_fd, size_t tail, char text[static LAST_WORDS_BYTES + 1])
{
    ssize_t n = read(log_fd, text, LAST_WORDS_BYTES);
    size_t len, start;

    if (n <= 0)
        return NULL;
    len = (size_t)n;
    while (len > 0 && text[len - 1] == '\n')
        len--;
    text[len] = '\0';
    start = len > tail ? len - tail : 0;
    for (size_t i = start; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            text[i] = ' ';
    return text + start;
}
