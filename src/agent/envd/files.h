// SPDX-License-Identifier: Apache-2.0
//
// GET and POST /files.
#ifndef CSB_AGENT_ENVD_FILES_H
#define CSB_AGENT_ENVD_FILES_H

#include "agent/envd/call.h"

#include <limits.h>

// Answers with the content of a file; at the end of the request. One range is honoured, and gzip
// where the client asks for nothing else.
void files_download(struct call *c);

// Takes a file, or several as a form, as they come; when the headers came.
void files_upload(struct call *c);

// The user and the file of the request's query. *ret_path is "" when there is no path. 0, or -1 and
// the call was answered.
int files_target(struct call *c, struct user *ret_user, char ret_path[PATH_MAX]);

#endif
