// SPDX-License-Identifier: Apache-2.0
//
// The little language that the fake driver's agent runs, so that tests can make an agent do
// anything an agent might do. One statement a line:
//
//   out TEXT    writes TEXT and a newline to standard output     err TEXT    to standard error
//   stdin       copies standard input to standard output         flood N     writes N bytes
//   spill N     writes N bytes whatever the limit                sleep MS    waits
//   exit N      ends with that code                              signal N    ends by that signal
//   oom         ends by the memory limit                         spin        by the CPU limit
//   die         the sandbox dies: the stream is cut              garbage     sends no HTTP/2
//   hit WORD    runs into that limit; failing later is due to it
//   warn TEXT   the compiler, where there is one, says TEXT      reject TEXT that, and it fails
//   chatter N   it says N bytes                                  make N      it makes N bytes
//   leak N      and sends N unasked
//   note TEXT   adds TEXT and a newline to the file that CSB_FAKE_NOTES of the environment names
//
// Compiling, when no "make" says otherwise, makes a copy of the program, and the executable file of
// a run, where there is one, is run in place of the program. Statements of the compiler come first.
//
// Other lines do nothing, so that the warm-up programs of real runtimes pass. Pure code.
#ifndef CSB_DRIVER_FAKE_PROGRAM_H
#define CSB_DRIVER_FAKE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

enum fake_op {
    FAKE_OP_END, // the text is used up
    FAKE_OP_OUT,
    FAKE_OP_ERR,
    FAKE_OP_STDIN,
    FAKE_OP_FLOOD,
    FAKE_OP_SPILL,
    FAKE_OP_SLEEP,
    FAKE_OP_EXIT,
    FAKE_OP_SIGNAL,
    FAKE_OP_OOM,
    FAKE_OP_SPIN,
    FAKE_OP_HIT,
    FAKE_OP_WARN,
    FAKE_OP_REJECT,
    FAKE_OP_CHATTER,
    FAKE_OP_MAKE,
    FAKE_OP_LEAK,
    FAKE_OP_DIE,
    FAKE_OP_GARBAGE,
    FAKE_OP_NOTE,
    FAKE_OP_COUNT
};

struct fake_statement {
    enum fake_op op;
    const char *text; // after the word and one space, the newline included; borrowed
    size_t len;
    uint64_t number; // of those with a number; 0 when it is none
};

// Takes the next statement off the front of the program `*text`, `*len`.
void fake_program_next(const char **text, size_t *len, struct fake_statement *ret);

#endif
