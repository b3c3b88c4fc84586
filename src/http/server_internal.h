// SPDX-License-Identifier: Apache-2.0
//
// What the files of the server share: server.c receives requests, server_answer.c sends answers.
#ifndef CSB_HTTP_SERVER_INTERNAL_H
#define CSB_HTTP_SERVER_INTERNAL_H

#include "http/conns.h"
#include "http/http.h"
#include "http/server.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct http_server {
    struct http_options options; // const after start
    struct MHD_Daemon *daemon;
    struct http_conns *conns;
    atomic_bool draining;
    atomic_bool cutting;
    atomic_uint_fast64_t held_bytes; // of all bodies
    bool quiesced;                   // the listening socket is closed; caller's thread only
    pthread_mutex_t lock;            // guards `active`
    pthread_cond_t idle;
    unsigned active; // exchanges alive
};

struct http_exchange {
    struct http_server *server;
    struct http_conn *conn; // valid until the request is completed
    struct MHD_Connection *mhd;
    int socket; // borrowed; libmicrohttpd closes it after the connection's thread ended
    atomic_int refs;
    struct http_request req;
    char *target;          // as sent, with the query
    bool accepted;         // the head is there, and it counts as active
    struct http_seen seen; // for http_options.observe; took_ns is when it began
    struct buf body;
    uint64_t received_bytes;
    uint64_t held_bytes; // of http_server.held_bytes
    bool too_large;
    bool crowded;     // too many bodies are held
    bool turned_away; // with the head, by `refusal`
    struct http_response refusal;
    struct http_sink sink; // `end` is set when the request was taken
    struct http_stream stream;
    bool sized; // the streamed answer, of which `left` bytes are still to come
    uint64_t left;
    http_upgrade_fn upgrade;
    void *upgrade_arg;
};

// server.c

// Gives a reference back; with the last one the exchange is freed.
void http_exchange_unref(struct http_exchange *ex);

// server_answer.c

// Answers; takes what `res` owns.
enum MHD_Result http_answer(struct http_exchange *ex, struct http_response *res);

#endif
