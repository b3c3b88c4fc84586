// SPDX-License-Identifier: Apache-2.0
//
// The Connect protocol with the JSON codec. A unary call is a JSON object in either direction; a
// stream is a sequence of envelopes (flags, u32be length, JSON), the last of which carries the flag
// of the end and the error, if there was one.
#ifndef CSB_AGENT_ENVD_RPC_H
#define CSB_AGENT_ENVD_RPC_H

#include "agent/envd/call.h"
#include "json/read.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RPC_HEADER_BYTES 5
#define RPC_FLAG_GZIP    0x01
#define RPC_FLAG_END     0x02

enum rpc_code {
    RPC_OK = 0,
    RPC_UNKNOWN,
    RPC_INVALID_ARGUMENT,
    RPC_DEADLINE_EXCEEDED,
    RPC_NOT_FOUND,
    RPC_ALREADY_EXISTS,
    RPC_RESOURCE_EXHAUSTED,
    RPC_UNIMPLEMENTED,
    RPC_INTERNAL,
    RPC_UNAUTHENTICATED,
    RPC_CODE_COUNT
};

struct rpc_error {
    enum rpc_code code;
    char message[CALL_TEXT_MAX];
};

#define RPC_ERROR_INIT {.code = RPC_OK}

// Fills *e and returns -1.
int rpc_set(struct rpc_error *e, enum rpc_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// As above, with the code that an errno stands for and its text appended.
int rpc_set_sys(struct rpc_error *e, int sys, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Ends the call with an error, as its kind (unary or stream) demands.
void rpc_fail(struct call *c, const struct rpc_error *e);

// The answer of a unary call: a whole JSON object.
void rpc_reply(struct call *c, const struct buf *json);
void rpc_reply_empty(struct call *c);

// A stream: begin, messages, end.
void rpc_begin(struct call *c);
void rpc_send(struct call *c, const char *json);
void rpc_end(struct call *c);

// Writes an envelope's header for `len` bytes of payload.
void rpc_header(uint8_t ret[RPC_HEADER_BYTES], uint8_t flags, size_t len);
// Appends a whole envelope. 0 or the error of buf_append().
int rpc_append(struct buf *b, uint8_t flags, const void *json, size_t len);

// Fails when the body was not gathered in full.
int rpc_check_size(const struct call *c, struct rpc_error *e);

// Reads the request's message, of either kind, out of the gathered body. *ret is freed with
// json_free().
int rpc_parse(const struct call *c, struct json_t **ret, struct rpc_error *e);
// The same for any text.
int rpc_parse_text(const void *text, size_t len, struct json_t **ret, struct rpc_error *e);

// Fields of proto3 JSON: absent or null leaves the default; an integer may be a string. `snake` is
// the other name of a field of two words, or NULL.
int rpc_get_u32(const struct json_in *in, const char *key, uint32_t *ret, struct rpc_error *e);
int rpc_get_bool(const struct json_in *in, const char *key, const char *snake, bool *ret,
                 struct rpc_error *e);
// Borrowed from the tree; "" when absent.
int rpc_get_text(const struct json_in *in, const char *key, const char *snake, const char **ret,
                 struct rpc_error *e);
int rpc_get_object(const struct json_in *in, const char *key, struct json_in *ret,
                   struct rpc_error *e);
// Appends the decoded bytes; *ret_present tells whether the field was there.
int rpc_get_bytes(const struct json_in *in, const char *key, struct buf *out, bool *ret_present,
                  struct rpc_error *e);

// Who asks: the user of the Authorization header, or the sandbox's default.
int rpc_user(const struct call *c, struct user *ret, struct rpc_error *e);

#endif
