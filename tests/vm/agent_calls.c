// SPDX-License-Identifier: Apache-2.0
#include "agent_calls.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "channel/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (4u << 20)

int agent_call(struct channel *ch, const char *method, const char *path,
               const struct agent_body *body, uint64_t deadline_ns, char **ret_text,
               size_t *ret_len)
{
    const struct channel_header headers[] = {{"content-type", body == NULL ? NULL : body->type}};
    struct channel_request req = {.method = method,
                                  .path = path,
                                  .body = body == NULL || body->len == 0 ? NULL : body->data,
                                  .body_len = body == NULL ? 0 : body->len,
                                  .headers = headers,
                                  .header_count = headers[0].value == NULL ? 0 : 1};
    struct err err = ERR_INIT;
    char *text = NULL;
    size_t len = 0;
    int status = 0;

    if (channel_call(ch, &req, ANSWER_MAX, deadline_ns, &status, &text, &len, &err) < 0) {
        printf("# %s %s: %s\n", method, path, err.message);
        return 0;
    }
    if (ret_text != NULL) {
        *ret_text = text;
        *ret_len = len;
        return status;
    }
    if (status >= 300)
        printf("# %s %s: %d %.200s\n", method, path, status, text);
    free(text);
    return status;
}

bool agent_synced(struct channel *ch, uint64_t deadline_ns)
{
    char entropy[129], machine[33], name[17], text[512];
    struct agent_body body = {NULL, text, 0};

    id_hex(entropy, 64);
    id_hex(machine, 16);
    id_hex(name, 8);
    body.len = (size_t)snprintf(
        text, sizeof(text),
        "{\"time_ns\":%llu,\"entropy\":\"%s\",\"hostname\":\"h%s\",\"machine_id\":\"%s\"}",
        (unsigned long long)clock_real_ns(), entropy, name, machine);
    return agent_call(ch, "POST", "/sync", &body, deadline_ns, NULL, NULL) == 200;
}

// Basic authorization has the name with a colon, in base 64.
static const char *authorization(const char *user)
{
    return strcmp(user, "root") == 0 ? "Basic cm9vdDo=" : "Basic dXNlcjo=";
}

struct channel_stream *agent_run(struct channel *ch, const char *user, const char *script,
                                 uint64_t deadline_ns)
{
    const struct channel_header headers[] = {{"content-type", "application/connect+json"},
                                             {"authorization", authorization(user)}};
    _cleanup_buf_ struct buf body = BUF_INIT;
    struct channel_stream *stream = NULL;
    struct err err = ERR_INIT;
    char text[1024];
    int status = 0;
    int n = snprintf(text, sizeof(text),
                     "{\"process\":{\"cmd\":\"/bin/sh\",\"args\":[\"-c\",\"%s\"]}}", script);

    (void)buf_append_u8(&body, 0);
    (void)buf_append_be32(&body, (uint32_t)n);
    (void)buf_append(&body, text, (size_t)n);
    struct channel_request req = {.method = "POST",
                                  .path = "/envd/process.Process/Start",
                                  .body = body.data,
                                  .body_len = body.len,
                                  .headers = headers,
                                  .header_count = 2};
    if (channel_send(ch, &req, &stream, &err) < 0 ||
        channel_status(stream, deadline_ns, &status, &err) < 0 || status != 200)
        printf("# run: %d %s\n", status, err.message);
    return stream;
}

char *agent_output(struct channel *ch, const char *user, const char *script, uint64_t deadline_ns)
{
    struct channel_stream *stream;
    struct err err = ERR_INIT;
    char path[64], text[900];
    uint8_t data[4096];
    char *output = NULL;
    size_t len = 0;
    ssize_t n = -1;

    (void)snprintf(path, sizeof(path), "/envd/files?path=/tmp/output-%s", user);
    (void)snprintf(text, sizeof(text), "( %.800s ) > /tmp/output-%s 2>&1", script, user);
    stream = agent_run(ch, user, text, deadline_ns);
    while (stream != NULL && (n = channel_read(stream, data, sizeof(data), deadline_ns, &err)) > 0)
        ;
    channel_stream_close(stream);
    if (n < 0) {
        printf("# output: %s\n", err.message);
        return NULL;
    }
    if (agent_call(ch, "GET", path, NULL, deadline_ns, &output, &len) != 200) {
        printf("# output: %.200s\n", output == NULL ? "" : output);
        free(output);
        return NULL;
    }
    return output;
}
