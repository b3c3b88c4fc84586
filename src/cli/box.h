// SPDX-License-Identifier: Apache-2.0
//
// A sandbox as csb talks to it: the service's calls about it, and the data plane's in it.
#ifndef CSB_CLI_BOX_H
#define CSB_CLI_BOX_H

#include "cli/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define BOX_PROCESS "process.Process/"
#define BOX_FILES   "filesystem.Filesystem/"

// A call of the service's own API. 0 with the JSON answer (NULL when it has no body; json_decref()
// it), or an exit code after a message that begins with "csb WHO: ". `body` may be NULL.
int box_service(const char *who, const char *method, const char *path, const json_t *body,
                json_t **ret);

// A list of the service's with all its pages, one after the other: as box_service() with GET.
int box_list(const char *who, const char *path, json_t **ret);

// Whether this may be an id. False after a message.
bool box_is_id(const char *who, const char *id);

struct box {
    char id[48];
    char headers[4][160]; // of every request: which sandbox, its token, the user
    const char *lines[5];
    long call_s; // how long a call may take; 0: two minutes
    const atomic_bool
        *cancel; // a call takes as long as it takes, but ends when this is true; or NULL
};

// The sandbox of that id, as `user` (NULL: its default one). 0 or an exit code after a message.
int box_open(const char *who, const char *id, const char *user, struct box *ret);

// A call in it, such as BOX_FILES "Stat". 0 with the answer, or an exit code after a message;
// `quiet`: without one where the sandbox refuses. *ret_code is then Connect's word ("not_found"),
// "" for none; may be NULL.
struct box_refusal {
    bool quiet;
    char code[32];
};
int box_call(const char *who, const struct box *b, const char *method, const json_t *body,
             json_t **ret, struct box_refusal *refusal);

// A call whose answer is a stream: `on_message` gets each message, parsed; a value other than 0
// stops it, which is no error. 0 at its end, or an exit code after a message.
typedef int (*box_message_fn)(void *arg, const json_t *message);
int box_stream(const char *who, const struct box *b, const char *method, const json_t *body,
               box_message_fn on_message, void *arg);

// Percent-encodes for a query. Freed with free(); NULL when memory is out.
char *box_escape(const char *text);

#endif
