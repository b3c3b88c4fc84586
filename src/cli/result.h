// SPDX-License-Identifier: Apache-2.0
//
// A program's result, as POST /execute and a job have it.
#ifndef CSB_CLI_RESULT_H
#define CSB_CLI_RESULT_H

#include <jansson.h>

// What csb exits with: as the program did, 128+N when signal N ended it, 124 when its time was
// over, 1 when it ended otherwise.
int result_exit_code(const json_t *result);

#endif
