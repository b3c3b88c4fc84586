// SPDX-License-Identifier: Apache-2.0
//
// Random identifiers from getrandom(2). Thread-safe; never fails (aborts if the kernel has no
// randomness, which Linux does not do after boot).
#ifndef CSB_BASE_ID_H
#define CSB_BASE_ID_H

#include <stddef.h>

#define ID_UUID_LEN 36

void id_random(void *data, size_t len);

// A version 4 UUID (RFC 9562 section 5.4), lower case, NUL-terminated.
void id_uuid4(char ret[ID_UUID_LEN + 1]);

// 2 * bytes lower-case hex digits and a NUL into `ret`, which holds 2 * bytes + 1.
void id_hex(char *ret, size_t bytes);

#endif
