// SPDX-License-Identifier: Apache-2.0
//
// What a program that died had printed last, for the message that explains it.
#ifndef CSB_DRIVER_LAST_WORDS_H
#define CSB_DRIVER_LAST_WORDS_H

#include <stddef.h>

#define LAST_WORDS_BYTES 4096

// Reads what waits in `log_fd`, a non-blocking pipe; at most LAST_WORDS_BYTES of it. Returns its
// end, at most `tail` bytes, without trailing newlines and with blanks for what is not printable
// ASCII, as a string in `text`; NULL when nothing was printed. The text is hostile in all but its
// bytes.
const char *last_words(int log_fd, size_t tail, char text[static LAST_WORDS_BYTES + 1]);

#endif
