// SPDX-License-Identifier: Apache-2.0
//
// Where a page of a list begins: after the last one of the page before, which need not be there any
// more. Clients get it as a token. Pure.
#ifndef CSB_API_LIST_PLACE_H
#define CSB_API_LIST_PLACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LIST_ID_MAX    40 // bytes, the NUL among them, as the next
#define LIST_TOKEN_MAX 64

struct list_place {
    uint64_t at;          // what the list is in the order of, as when that one was made
    char id[LIST_ID_MAX]; // and where that is the same; lower case and digits; "" on the first page
};

// Whether one comes after the place.
bool list_is_after(const struct list_place *p, bool ascending, uint64_t at, const char *id);

// The token of the page after the one that ends with this.
void list_token(bool ascending, uint64_t at, const char *id, char ret[LIST_TOKEN_MAX]);

// The place of a token; of none (NULL or "") the first page's. ERR_INVALID with the field.
int list_place_parse(const char *field, const char *text, bool ascending, struct list_place *ret,
                     struct err *err);

#endif
