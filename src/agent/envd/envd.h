// SPDX-License-Identifier: Apache-2.0
//
// The data plane of a long-lived sandbox: health, files, processes and the file system, as E2B's
// SDKs speak to the daemon that they know in a sandbox.
//
// How it works. A client's request arrives on the channel as one stream with the path below /envd
// and these of its headers: content-type, content-encoding, accept-encoding, range, authorization
// (Basic, the user's name), connect-timeout-ms, keepalive-ping-interval, x-metadata-*. Who may ask
// is the business of the host: what comes over the channel is allowed.
//
//   envd       routes; gathers the body of a call where its handler wants it whole
//   call       one request: its answer, queued as far as the channel does not take it yet
//   rpc        the Connect protocol with JSON: unary calls, streams of envelopes, errors
//   init       POST /init, GET /health, /envs, /metrics
//   upload, download, multipart     /files
//   proc, proc_output, proc_input, proc_rpc     process.Process
//   entry, fs, fs_list, fs_remove, watch, watch_rpc     filesystem.Filesystem
//   user, path     who asks, and what a path means to him
//
// Processes run on the machine's own root, as their user, outside of any jail, and outlive the
// requests and sessions that began them. The agent itself acts as root: files are made for the user
// and given to him, but permissions do not bind the caller, who may name any user anyway.
//
// Nothing here waits. What takes long (walks, removals, large files) goes on in slices between
// which the loop serves the others; what a system call itself takes is not bounded.
#ifndef CSB_AGENT_ENVD_ENVD_H
#define CSB_AGENT_ENVD_ENVD_H

#include <stdbool.h>

struct agent;
struct envd;
struct server_stream;

// Whether a request's path is one of these.
bool envd_takes(const char *path);

// Takes over a stream whose headers came; to be called in on_request. The first call makes
// agent->envd, and in a virtual machine what programs expect of a machine (pseudo terminals and
// the like).
void envd_open(struct agent *agent, struct server_stream *stream, const char *method,
               const char *path);

// Kills every process and forgets all. After the session is gone; NULL is allowed.
void envd_free(struct envd *e);

#endif
