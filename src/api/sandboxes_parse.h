// SPDX-License-Identifier: Apache-2.0
//
// What clients of the sandbox API send, as checked structs. Pure; errors name the field.
#ifndef CSB_API_SANDBOXES_PARSE_H
#define CSB_API_SANDBOXES_PARSE_H

#include "api/list_place.h"
#include "base/err.h"
#include "sandbox/live.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

#define SANDBOXES_BODY_MAX     (256u << 10) // bytes of a request's body
#define SANDBOXES_PAIRS_MAX    256          // metadata, and variables
#define SANDBOXES_PAIRS_BYTES  (64u << 10)  // of all names and values of one of them
#define SANDBOXES_NAME_MAX     256          // bytes of a name
#define SANDBOXES_PAGE_MAX     100
#define SANDBOXES_SECONDS_MIN  INT32_MIN // that somebody asks for; cut to what is allowed
#define SANDBOXES_SECONDS_MAX  INT32_MAX
#define SNAPSHOT_ARGS          4 // of a listing of snapshots
#define SANDBOXES_TIMEOUT_V1_S 15
#define SANDBOXES_TIMEOUT_V2_S 300

// The members that bodies and their objects may have, and the arguments of a listing; NULL ends
// each. src/api/openapi.yaml says the same, and a test compares them.
extern const char *const create_fields[];
extern const char *const create_network_fields[];
extern const char *const create_resume_fields[];
extern const char *const fork_fields[];
extern const char *const seconds_timeout_fields[];
extern const char *const seconds_duration_fields[];
extern const char *const snapshot_fields[];
extern const char *const list_arguments[]; // in the order of struct list_args
extern const char *const snapshot_arguments[SNAPSHOT_ARGS + 1];

struct pair_list {
    struct live_pair *list;
    size_t count, room, bytes;
};

// Of POST /sandboxes (version 1) and /v2/sandboxes (version 2).
struct create_request {
    const char *template; // of the tree
    uint64_t timeout_s;
    struct pair_list metadata; // all strings are of the tree
    struct pair_list env;
    bool secure;
    bool private_traffic;
    bool auto_pause;
    bool auto_resume; // only with auto_pause
    struct json_t *tree;
};

// `life_max_s` is the longest timeout. 0, or -1: ERR_INVALID, or ERR_UNSUPPORTED for what this
// service cannot do; nothing is held then. Else create_request_release().
int create_parse(const void *body, size_t len, int version, uint64_t life_max_s,
                 struct create_request *ret, struct err *err);
void create_request_release(struct create_request *r);

// {key: seconds}, key being "timeout" or "duration", of the calls that change how long a sandbox
// lives. An empty body is {}. *ret_s holds the default; `required`: the field must be there. What
// is negative counts as 0.
int seconds_parse(const void *body, size_t len, const char *key, bool required, uint64_t *ret_s,
                  struct err *err);

// Of POST /sandboxes/ID/fork. An empty body is {}; *ret_count and *ret_s hold the defaults.
int fork_parse(const void *body, size_t len, uint64_t life_max_s, uint64_t *ret_count,
               uint64_t *ret_s, struct err *err);

// Of POST /sandboxes/ID/snapshots. An empty body is {}; no name is "".
int snapshot_parse(const void *body, size_t len, char ret_name[LIVE_KEY_MAX], struct err *err);

// Of GET /snapshots, newest first.
struct snapshot_query {
    char sandbox[LIVE_ID_LEN + 1]; // "": any
    char name[LIVE_REFERENCE_MAX]; // "": any
    size_t limit;
    struct list_place after;
};

// Takes the decoded arguments in the order of snapshot_arguments; any may be NULL.
int snapshot_list_parse(const char *const values[SNAPSHOT_ARGS], struct snapshot_query *ret,
                        struct err *err);

// Of GET /v2/sandboxes.
struct list_query {
    struct pair_list metadata; // owned
    bool running, paused;      // states that are asked for
    bool ascending;
    uint64_t started_after_ms;
    char template[64]; // "": any
    size_t limit;
    struct list_place after;
};

// Takes the decoded arguments; any may be NULL.
struct list_args {
    const char *metadata, *state, *order, *started_after, *template, *limit, *next_token;
};
int list_parse(const struct list_args *args, struct list_query *ret, struct err *err);
void list_query_release(struct list_query *q);

#endif
