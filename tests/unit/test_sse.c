// SPDX-License-Identifier: Apache-2.0
#include "cli/sse.h"
#include "tap.h"

struct seen {
    char text[256];
    int stop_at;
    int count;
};

static int record(void *arg, const char *event, const char *data)
{
    struct seen *s = arg;
    size_t used = strlen(s->text);

    (void)snprintf(s->text + used, sizeof(s->text) - used, "[%s|%s]", event, data);
    return ++s->count == s->stop_at ? -1 : 0;
}

static const char stream[] = ": hello\n\nevent: stdout\ndata: {\"a\":1}\n\nevent:result\ndata: x\n"
                             "data: y\n\ndata: bare\n\nid: 7\nretry: 1\n\nevent: open";

int main(void)
{
    struct sse sse;
    struct seen seen;
    bool same = true;

    for (size_t cut = 0; cut <= strlen(stream); cut++) {
        seen = (struct seen){0};
        sse_init(&sse, record, &seen);
        same = same && sse_feed(&sse, stream, cut) == 0 &&
               sse_feed(&sse, stream + cut, strlen(stream) - cut) == 0 &&
               strcmp(seen.text, "[stdout|{\"a\":1}][result|x\ny][|bare]") == 0;
        sse_release(&sse);
    }
    CHECK_MSG(same, "the same events whatever the pieces");
    seen = (struct seen){.stop_at = 1};
    sse_init(&sse, record, &seen);
    CHECK_INT(sse_feed(&sse, stream, strlen(stream)), -1);
    CHECK_INT(seen.count, 1);
    sse_release(&sse);
    return tap_done();
}
