// SPDX-License-Identifier: Apache-2.0
//
// What the files of the data plane share: data_plane.c decides who may and hands requests to the
// agent, data_plane_target.c tells what a request is for, port_proxy.c hands it to another port.
#ifndef CSB_API_DATA_PLANE_INTERNAL_H
#define CSB_API_DATA_PLANE_INTERNAL_H

#include "api/plane_frames.h"
#include "http/h1.h"
#include "http/http.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PLANE_ID_MAX 63

struct channel_stream;
struct live;
struct live_table;

enum plane_target_kind {
    PLANE_OTHER,   // not for a sandbox
    PLANE_SANDBOX, // id and port
    PLANE_SIGNED,  // /files with a signature and nothing else
    PLANE_BAD,     // half of it is said, or what is said is none
};

struct plane_target {
    char id[PLANE_ID_MAX + 1];
    uint16_t port;
};

enum plane_refusal {
    PLANE_FINE,
    PLANE_BAD_TARGET,  // 400
    PLANE_BAD_REQUEST, // 400: what is asked for cannot be handed on
    PLANE_NO_TOKEN,    // 401
    PLANE_BAD_TOKEN,
    PLANE_NO_SIGNATURE,
    PLANE_BAD_SIGNATURE,
    PLANE_EXPIRED,
    PLANE_TRAFFIC,     // 403
    PLANE_HIDDEN,      // 404
    PLANE_SPENT,       // 429, or resource_exhausted: its tenant has used up his processor time
    PLANE_NOT_FOUND,   // 502: no such sandbox, or it does not run
    PLANE_NOT_RESUMED, // 502
    PLANE_CLOSED_PORT, // 502
    PLANE_BAD_ANSWER,  // 502
    PLANE_BUSY,        // 503
};

// One request on its way. The connection's thread alone uses it, but for the second direction of an
// upgraded connection (port_proxy.c).
struct plane {
    struct plane_target target;
    enum plane_refusal refusal;
    uint64_t wait_ms;  // of PLANE_SPENT: until he may again
    bool streams;      // the request is one of Connect's for a stream of messages
    bool preflight;    // a browser asks what it may
    struct live *live; // reference
    struct channel_stream *stream;
    struct http_exchange *exchange;
    struct plane_frames frames; // of an agent's answer
    bool bade_farewell;
    // To another port.
    struct h1_answer answer;
    bool upgrade;     // asked for
    bool chunked;     // the request's body
    uint8_t *early;   // content that came with the answer's head
    size_t early_len; // from early_off on
    size_t early_off;
    atomic_bool stopped; // one direction of an upgraded connection ended
    int socket;          // of an upgraded connection; borrowed
};

// data_plane_target.c

enum plane_target_kind plane_find_target(const struct http_request *req, struct plane_target *ret);

// In constant time; false when either is NULL.
bool plane_same_secret(const char *a, const char *b);

// Whether the request's signature is of that token, and not over. PLANE_FINE or why not.
enum plane_refusal plane_check_signature(const struct http_request *req, const char *token);

// The sandbox whose token made the request's signature, over or not: a reference, or NULL.
struct live *plane_find_signed(struct live_table *t, const struct http_request *req);

// data_plane.c

// Writes all of it to the sandbox. False when it takes no more or the client went away.
bool plane_write(struct plane *p, const void *data, size_t len);

// Blocks for what the sandbox says: > 0 bytes, 0 at the end, -1 when it broke off or the client
// went away.
ssize_t plane_read(struct plane *p, void *data, size_t len);

// Whether its sandbox has ended.
bool plane_is_cut(const struct plane *p);

// Waits for the head of what the channel answers. PLANE_FINE or why there is none.
enum plane_refusal plane_wait_status(struct plane *p, int *ret_status);

// Fills the answer that refuses.
void plane_refuse(const struct plane *p, enum plane_refusal why, struct http_response *res);

// Whether the target of a request may stand in a request of ours: no space, no control character.
bool plane_target_is_clean(const struct http_request *req);

// port_proxy.c

// Begins the request. PLANE_FINE or why not.
enum plane_refusal port_begin(struct plane *p, const struct http_request *req);
bool port_push(void *arg, const void *data, size_t len);
void port_end(void *arg, const struct http_request *req, struct http_response *res);
void port_release(struct plane *p);

// Moves content that came with the answer's head. 0 when none is left.
size_t port_take_early(struct plane *p, void *data, size_t max);

// port_proxy_upgrade.c

// For http_response.upgrade.
void port_upgraded(void *arg, int socket, const void *extra, size_t extra_len);

#endif
