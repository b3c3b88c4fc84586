// SPDX-License-Identifier: Apache-2.0
#include "driver/qmp.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "json/read.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BYTES 4096u

enum migration { MIGRATION_NONE, MIGRATION_COMPLETED, MIGRATION_FAILED };

struct qmp {
    int fd;
    struct buf in; // not yet parsed; `seen` bytes of it hold no newline
    size_t seen;
    enum migration migration;
};

int qmp_new(int fd, struct qmp **ret, struct err *err)
{
    struct qmp *q = calloc(1, sizeof(*q));

    if (q == NULL) {
        fd_close(&fd);
        return err_set(err, ERR_INTERNAL, "out of memory");
    }
    q->fd = fd;
    q->in = (struct buf)BUF_CAPPED(QMP_MESSAGE_MAX + READ_BYTES);
    *ret = q;
    return 0;
}

void qmp_free(struct qmp *q)
{
    if (q == NULL)
        return;
    fd_close(&q->fd);
    buf_release(&q->in);
    free(q);
}

void qmp_cut(struct qmp *q)
{
    (void)shutdown(q->fd, SHUT_RDWR); // a socket that is gone already is as good
}

// One datagram of our own making is far below the socket's buffer; a QEMU that lets it fill up has
// stopped to listen.
static int send_text(struct qmp *q, const char *text, size_t len, int pass_fd, struct err *err)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (pass_fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &pass_fd, sizeof(int));
    }
    n = sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n == (ssize_t)len)
        return 0;
    if (n >= 0 || errno == EAGAIN)
        return err_set(err, ERR_BUSY, "QEMU's monitor takes no commands");
    return err_set(err, ERR_GONE, "QEMU's monitor is closed");
}

int qmp_send(struct qmp *q, const char *command, const char *arguments, int pass_fd,
             struct err *err)
{
    char text[1024];
    int n =
        snprintf(text, sizeof(text), "{\"execute\":\"%s\"%s%s}\n", command,
                 arguments == NULL ? "" : ",\"arguments\":", arguments == NULL ? "" : arguments);

    if (n < 0 || (size_t)n >= sizeof(text))
        return err_set(err, ERR_INTERNAL, "the command %s is too long", command);
    return send_text(q, text, (size_t)n, pass_fd, err);
}

static int receive(struct qmp *q, uint64_t deadline_ns, struct err *err)
{
    int r = fd_wait(q->fd, POLLIN, deadline_ns);
    uint8_t *room;
    ssize_t n;

    // Also for a QEMU that talks without end: what is there to read says nothing of the time.
    if (r == 0 || (deadline_ns != CLOCK_NEVER && clock_mono_ns() >= deadline_ns))
        return err_set(err, ERR_TIMEOUT, "QEMU's monitor did not answer in time");
    if (r < 0)
        return err_sys(err, r, "cannot wait for QEMU's monitor");
    room = buf_reserve(&q->in, READ_BYTES);
    if (room == NULL)
        return err_set(err, ERR_PROTOCOL, "QEMU's monitor sent a message that is too long");
    n = recv(q->fd, room, READ_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return err_set(err, ERR_GONE, "QEMU ended");
    q->in.len += (size_t)n;
    return 0;
}

// Waits for a whole line and parses it.
static int next_message(struct qmp *q, uint64_t deadline_ns, struct json_t **ret, struct err *err)
{
    struct err why = ERR_INIT;
    uint8_t *newline;
    size_t len;
    int r;

    while ((newline = q->in.len == q->seen
                          ? NULL
                          : memchr(q->in.data + q->seen, '\n', q->in.len - q->seen)) == NULL) {
        q->seen = q->in.len;
        if (q->in.len > QMP_MESSAGE_MAX)
            return err_set(err, ERR_PROTOCOL, "QEMU's monitor sent a message that is too long");
        if (receive(q, deadline_ns, err) < 0)
            return -1;
    }
    len = (size_t)(newline - q->in.data);
    r = json_read("message", q->in.data, len, ret, &why);
    buf_consume(&q->in, len + 1);
    q->seen = 0;
    if (r < 0)
        return err_set(err, ERR_PROTOCOL, "QEMU's monitor: %.160s", why.message);
    return 0;
}

static void note_event(struct qmp *q, const json_t *message)
{
    const char *event = json_string_value(json_object_get(message, "event"));
    const char *status;

    if (event == NULL || strcmp(event, "MIGRATION") != 0)
        return;
    status = json_string_value(json_object_get(json_object_get(message, "data"), "status"));
    if (status == NULL)
        return;
    if (strcmp(status, "completed") == 0)
        q->migration = MIGRATION_COMPLETED;
    else if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
        q->migration = MIGRATION_FAILED;
}

// QEMU's words for a log line: printable ASCII only.
static int refused(const json_t *error, struct err *err)
{
    const char *text = json_string_value(json_object_get(error, "desc"));
    char clean[161] = "no reason given";
    size_t n = 0;

    for (; text != NULL && text[n] != '\0' && n < sizeof(clean) - 1; n++)
        clean[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    if (n > 0)
        clean[n] = '\0';
    return err_set(err, ERR_INTERNAL, "QEMU refused a command: %s", clean);
}

int qmp_reply(struct qmp *q, uint64_t deadline_ns, struct err *err)
{
    for (;;) {
        _cleanup_json_ json_t *message = NULL;

        if (next_message(q, deadline_ns, &message, err) < 0)
            return -1;
        if (json_object_get(message, "return") != NULL)
            return 0;
        if (json_object_get(message, "error") != NULL)
            return refused(json_object_get(message, "error"), err);
        note_event(q, message);
    }
}

int qmp_execute(struct qmp *q, const char *command, const char *arguments, uint64_t deadline_ns,
                struct err *err)
{
    if (qmp_send(q, command, arguments, -1, err) < 0 || qmp_reply(q, deadline_ns, err) < 0)
        return err_wrap(err, "%s", command);
    return 0;
}

int qmp_wait_migration(struct qmp *q, uint64_t deadline_ns, struct err *err)
{
    while (q->migration == MIGRATION_NONE) {
        _cleanup_json_ json_t *message = NULL;

        if (next_message(q, deadline_ns, &message, err) < 0)
            return -1;
        note_event(q, message);
    }
    if (q->migration == MIGRATION_FAILED)
        return err_set(err, ERR_INTERNAL, "QEMU could not save or load the machine's state");
    q->migration = MIGRATION_NONE;
    return 0;
}
