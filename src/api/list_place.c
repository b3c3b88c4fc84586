// SPDX-License-Identifier: Apache-2.0
#include "api/list_place.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool list_is_after(const struct list_place *p, bool ascending, uint64_t at, const char *id)
{
    int by_id = strcmp(id, p->id);
    bool newer = at > p->at || (at == p->at && by_id > 0);
    bool older = at < p->at || (at == p->at && by_id < 0);

    return p->id[0] == '\0' || (ascending ? newer : older);
}

// "NUMBER-ID-a" or "-d".
void list_token(bool ascending, uint64_t at, const char *id, char ret[LIST_TOKEN_MAX])
{
    (void)snprintf(ret, LIST_TOKEN_MAX, "%" PRIu64 "-%s-%c", at, id, ascending ? 'a' : 'd');
}

int list_place_parse(const char *field, const char *text, bool ascending, struct list_place *ret,
                     struct err *err)
{
    struct list_place place = {0};
    char order = '\0';
    int used = 0;

    if (text != NULL && text[0] != '\0') {
        if (sscanf(text, "%18" SCNu64 "-%39[a-z0-9]-%c%n", &place.at, place.id, &order, &used) !=
                3 ||
            text[used] != '\0' || (order != 'a' && order != 'd'))
            return err_field(err, ERR_INVALID, field, "%s is not one that a listing gave", field);
        if ((order == 'a') != ascending)
            return err_field(err, ERR_INVALID, field, "%s is of a listing in the other order",
                             field);
    }
    *ret = place;
    return 0;
}
