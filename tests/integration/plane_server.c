// SPDX-License-Identifier: Apache-2.0
//
// The data plane alone, for test_data_plane.py: the HTTP server and the agent's data plane in a
// process of its own, with sandboxes in place of sandbox/live.h that are all that agent: "iopen"
// needs no token, "isecret" does, "iprivate" needs one for its ports; "ipaused" is paused,
// "iasleep" until a request wakes it, "ibroken" and "icrowded" cannot be woken, "ispent" runs but
// its tenant has used up his processor time, "itired" is paused and that is why. Says "PORT
// DIRECTORY", then takes lines: "wakes" says how often one was woken, "kill" ends the agent's
// session, "stop" ends it all.
#include "api/api.h"
#include "api/data_plane.h"
#include "base/fd.h"
#include "channel/channel.h"
#include "http/listen.h"
#include "http/router.h"
#include "http/server.h"
#include "sandbox/live.h"

#include "../unit/envd_harness.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct live {
    const char *id, *token, *traffic;
    enum err_code trouble; // of one that is asleep, when it is woken
};

static struct live all[] = {
    {"iopen", NULL, NULL},
    {"isecret", "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0", NULL},
    {"iprivate", "other", "traffic"},
    {"ipaused", NULL, NULL},
    {"iasleep", "asleep", "traffic"},
    {"ibroken", NULL, NULL, ERR_PROTOCOL},
    {"icrowded", NULL, NULL, ERR_BUSY},
    {"ispent", NULL, NULL},
    {"itired", NULL, NULL, ERR_BUSY},
};
static atomic_int wakes;
static atomic_int refs;

struct live *live_find(struct live_table *t, const char *id)
{
    (void)t;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i].id, id) != 0)
            continue;
        atomic_fetch_add(&refs, 1);
        return &all[i];
    }
    return NULL;
}

void live_unref(struct live *l)
{
    if (l != NULL)
        atomic_fetch_sub(&refs, 1);
}

struct channel *live_channel(struct live *l)
{
    if (strcmp(l->id, "ipaused") == 0 || (live_wakes(l) && atomic_load(&wakes) == 0))
        return NULL;
    return envd_channel();
}

bool live_wakes(const struct live *l)
{
    return strcmp(l->id, "iasleep") == 0 || l->trouble != ERR_NONE;
}

int live_wake(struct live_table *t, struct live *l, struct live **ret, struct err *err)
{
    (void)t;
    if (l->trouble != ERR_NONE)
        return err_set(err, l->trouble, "it does not wake");
    atomic_fetch_add(&wakes, 1);
    atomic_fetch_add(&refs, 1);
    *ret = l;
    return 0;
}

const char *live_id(const struct live *l)
{
    return l->id;
}

uint64_t live_cpu_wait_ms(struct live_table *t, const struct live *l)
{
    (void)t;
    return strcmp(l->id, "ispent") == 0 || strcmp(l->id, "itired") == 0 ? 61500 : 0;
}

bool live_was_stopped(const struct live *l)
{
    (void)l;
    return false;
}

const char *live_token(const struct live *l)
{
    return l->token;
}

const char *live_traffic_token(const struct live *l)
{
    return l->traffic;
}

struct live *live_match_signature(struct live_table *t, live_match_fn match, void *arg)
{
    (void)t;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].token == NULL || !match(arg, all[i].id, all[i].token))
            continue;
        atomic_fetch_add(&refs, 1);
        return &all[i];
    }
    return NULL;
}

static const struct http_route routes[] = {{0}};

int main(void)
{
    static char table;
    struct api api = {.live = (struct live_table *)&table};
    struct http_options o = {.routes = routes,
                             .take = data_plane_take,
                             .app = &api,
                             .body_max_bytes = 1 << 20,
                             .connections_max = 300,
                             .idle_ms = 20000,
                             .body_ms = 20000,
                             .write_ms = 20000,
                             .allowed_hosts = "nobody"};
    struct http_server *s = NULL;
    struct err err = ERR_INIT;
    char address[64], line[64];
    bool ok;

    envd_begin();
    if (listen_tcp("127.0.0.1", 0, &o.listen_fd, address, sizeof(address), &err) < 0 ||
        http_server_new(&o, &s, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("%s %s\n", strrchr(address, ':') + 1, envd_dir);
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "stop\n") != 0) {
        if (strcmp(line, "kill\n") == 0)
            channel_shut(envd_channel());
        if (strcmp(line, "wakes\n") == 0)
            printf("%d\n", atomic_load(&wakes));
        fflush(stdout);
    }
    http_server_free(s);
    ok = envd_finish();
    if (atomic_load(&refs) != 0)
        fprintf(stderr, "%d references are left\n", atomic_load(&refs));
    return ok && atomic_load(&refs) == 0 ? 0 : 1;
}
