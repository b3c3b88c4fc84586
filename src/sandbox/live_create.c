// SPDX-License-Identifier: Apache-2.0
//
// A sandbox's beginning: a machine of the pool, or one made for it, becomes its owner's.
#include "sandbox/live.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "channel/channel.h"
#include "sandbox/engine_internal.h"
#include "sandbox/envd_client.h"
#include "sandbox/live_internal.h"
#include "sandbox/templates.h"
#include "store/store.h"
#include "json/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES       3 // machines that may die on us
#define OWN_ENV_MAX 3 // variables that every sandbox has

void live_make_id(char first, char ret[LIVE_ID_LEN + 1])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    const uint8_t even = 252; // the largest multiple of 36 in a byte
    size_t n = 0;

    ret[n++] = first;
    while (n < LIVE_ID_LEN) {
        uint8_t byte;

        id_random(&byte, 1);
        if (byte < even)
            ret[n++] = digits[byte % 36];
    }
    ret[n] = '\0';
}

static int add_pair(struct live_pairs *p, const char *name, const char *value)
{
    struct live_pair pair = {strdup(name), strdup(value)};

    if (pair.name == NULL || pair.value == NULL) {
        free((char *)(uintptr_t)pair.name);
        free((char *)(uintptr_t)pair.value);
        return -1;
    }
    p->list[p->count++] = pair;
    return 0;
}

static int copy_pairs(struct live_pairs *p, const struct live_pair *from, size_t count, size_t more)
{
    p->list = calloc(count + more + 1, sizeof(*p->list));
    if (p->list == NULL)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (add_pair(p, from[i].name, from[i].value) < 0)
            return -1;
    return 0;
}

void live_shape(const struct live_table *t, uint32_t *ret_cpus, uint32_t *ret_memory_mib,
                uint32_t *ret_disk_mib)
{
    *ret_cpus = t->config.cpus;
    *ret_memory_mib = t->config.memory_mib;
    *ret_disk_mib = t->config.memory_mib / 4; // what agent/init_root.c gives the overlay
}

void live_put_shape(const struct live_table *t, struct live_fields *f)
{
    live_shape(t, &f->cpus, &f->memory_mib, &f->disk_mib);
}

struct live *live_make(const struct live_fields *f)
{
    struct live *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    atomic_init(&l->refs, 1);
    atomic_init(&l->state, f->state);
    (void)snprintf(l->id, sizeof(l->id), "%s", f->id);
    (void)snprintf(l->key, sizeof(l->key), "%s", f->key);
    (void)snprintf(l->template, sizeof(l->template), "%s", f->template);
    (void)snprintf(l->token, sizeof(l->token), "%s", f->token);
    (void)snprintf(l->traffic_token, sizeof(l->traffic_token), "%s", f->traffic_token);
    l->on_timeout = f->on_timeout;
    l->auto_resume_ms = f->auto_resume_ms;
    l->started_ms = f->started_ms;
    l->end_ms = f->end_ms;
    l->cpus = f->cpus;
    l->memory_mib = f->memory_mib;
    l->disk_mib = f->disk_mib;
    if (copy_pairs(&l->metadata, f->metadata.list, f->metadata.count, 0) == 0 &&
        copy_pairs(&l->env, f->env.list, f->env.count, OWN_ENV_MAX) == 0)
        return l;
    live_unref(l);
    return NULL;
}

static int add_own_env(struct live *l)
{
    if (add_pair(&l->env, "E2B_SANDBOX", "true") < 0 ||
        add_pair(&l->env, "E2B_SANDBOX_ID", l->id) < 0)
        return -1;
    return add_pair(&l->env, "E2B_TEMPLATE_ID", l->template);
}

struct live *live_new(const struct live_table *t, const struct live_spec *spec)
{
    uint64_t resume_ms =
        spec->timeout_ms > LIVE_AUTO_RESUME_MS ? spec->timeout_ms : LIVE_AUTO_RESUME_MS;
    char id[LIVE_ID_LEN + 1];
    char token[LIVE_TOKEN_LEN + 1] = "", traffic_token[LIVE_TOKEN_LEN + 1] = "";
    struct live_fields f = {
        .state = LIVE_RUNNING,
        .id = id,
        .key = spec->key,
        .template = spec->template,
        .token = token,
        .traffic_token = traffic_token,
        .metadata = {(struct live_pair *)(uintptr_t)spec->metadata, spec->metadata_count},
        .env = {(struct live_pair *)(uintptr_t)spec->env, spec->env_count},
        .on_timeout = spec->on_timeout,
        .auto_resume_ms = spec->auto_resume ? resume_ms : 0,
    };
    struct live *l;

    live_make_id('i', id);
    if (spec->secure)
        id_hex(token, LIVE_TOKEN_LEN / 2);
    if (spec->private_traffic)
        id_hex(traffic_token, LIVE_TOKEN_LEN / 2);
    live_put_shape(t, &f);
    l = live_make(&f);
    explicit_bzero(token, sizeof(token));
    explicit_bzero(traffic_token, sizeof(traffic_token));
    if (l == NULL || add_own_env(l) == 0)
        return l;
    live_unref(l);
    return NULL;
}

struct live *live_copy(const struct live *l)
{
    const struct live_fields f = {
        .state = LIVE_PAUSED,
        .id = l->id,
        .key = l->key,
        .template = l->template,
        .token = l->token,
        .traffic_token = l->traffic_token,
        .metadata = l->metadata,
        .env = l->env,
        .on_timeout = l->on_timeout,
        .auto_resume_ms = l->auto_resume_ms,
        .started_ms = l->started_ms,
        .cpus = l->cpus,
        .memory_mib = l->memory_mib,
        .disk_mib = l->disk_mib,
    };

    return live_make(&f);
}

int live_rename(struct live *l)
{
    live_make_id('i', l->id);
    if (l->token[0] != '\0')
        id_hex(l->token, LIVE_TOKEN_LEN / 2);
    if (l->traffic_token[0] != '\0')
        id_hex(l->traffic_token, LIVE_TOKEN_LEN / 2);
    for (size_t i = 0; i < l->env.count; i++) {
        char *value;

        if (strcmp(l->env.list[i].name, "E2B_SANDBOX_ID") != 0)
            continue;
        value = strdup(l->id);
        if (value == NULL)
            return -1;
        free((char *)(uintptr_t)l->env.list[i].value);
        l->env.list[i].value = value;
    }
    return 0;
}

// Whether there is one of that name from index `from` on.
static bool has_pair(const struct live_pairs *p, size_t from, const char *name)
{
    for (size_t i = from; i < p->count; i++)
        if (strcmp(p->list[i].name, name) == 0)
            return true;
    return false;
}

int live_join_pairs(struct live_pairs *from, struct live_pairs *to)
{
    struct live_pair *list = calloc(from->count + to->count + 1, sizeof(*list));
    size_t n = 0, kept = 0;

    if (list == NULL)
        return -1;
    for (size_t i = 0; i < from->count; i++)
        if (has_pair(to, 0, from->list[i].name))
            from->list[kept++] = from->list[i];
        else
            list[n++] = from->list[i];
    from->count = kept;
    for (size_t i = 0; i < to->count; i++)
        list[n++] = to->list[i];
    free(to->list);
    *to = (struct live_pairs){list, n};
    return 0;
}

void live_put_pairs(struct buf *out, const struct live_pairs *p)
{
    struct json_out json = {.buf = out};

    json_open(&json, NULL, '{');
    for (size_t i = 0; i < p->count; i++)
        if (!has_pair(p, i + 1, p->list[i].name))
            json_put_str(&json, p->list[i].name, p->list[i].value);
    json_close(&json, '}');
}

int live_remember_as(struct live_table *t, const struct live *l, const char *state, struct err *err)
{
    _cleanup_buf_ struct buf metadata = BUF_INIT;
    _cleanup_buf_ struct buf env = BUF_INIT;
    struct store_sandbox row = {
        .id = l->id,
        .key = l->key,
        .template = l->template,
        .token = live_token(l),
        .traffic_token = live_traffic_token(l),
        .state = state,
        .pause_on_timeout = l->on_timeout == LIVE_PAUSE,
        .auto_resume_ms = l->auto_resume_ms,
        .started_ms = l->started_ms,
        .end_ms = l->end_ms,
    };

    live_put_pairs(&metadata, &l->metadata);
    live_put_pairs(&env, &l->env);
    row.metadata = buf_cstr(&metadata);
    row.env = buf_cstr(&env);
    if (row.metadata == NULL || row.env == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return store_sandbox_put(t->config.store, &row, err);
}

int live_remember(struct live_table *t, const struct live *l, struct err *err)
{
    const char *state = l->returning              ? LIVE_ROW_RETURNING
                        : l->state == LIVE_PAUSED ? LIVE_ROW_PAUSED
                                                  : LIVE_ROW_RUNNING;

    return live_remember_as(t, l, state, err);
}

static int take_machine(struct live_table *t, struct live *l, const struct live_spec *spec,
                        struct err *err)
{
    struct engine *e = t->config.engine;
    struct template is;
    struct sandbox *s;
    int r = -1;

    if (!engine_find_template(e, l->template, &is))
        return err_field(err, ERR_INVALID, "templateID", "the template was removed");
    for (int i = 0; r < 0 && i < TRIES; i++) {
        struct err why = ERR_INIT;

        if (engine_take(e, &is, spec->gone, spec->gone_arg, &s, err) < 0)
            return -1;
        r = envd_init(s->channel, l->env.list, l->env.count, clock_deadline_ms(LIVE_INIT_MS), &why);
        if (r < 0) {
            sandbox_free(s);
            *err = why;
        }
    }
    if (r == 0)
        l->machine = s;
    return r;
}

int live_create(struct live_table *t, const struct live_spec *spec, struct live **ret,
                struct err *err)
{
    struct live_pending pending = {.key = spec->key};
    struct live *l;
    int r;

    if (spec->on_timeout == LIVE_PAUSE &&
        !(t->config.engine->config.driver->caps & DRIVER_CAP_SNAPSHOT))
        return err_field(err, ERR_UNSUPPORTED, "autoPause",
                         "with this isolation sandboxes cannot be paused; leave autoPause out");
    if (live_check_cpu(t, spec->key, err) < 0 || live_admit(t, &pending, err) < 0)
        return -1;
    l = live_new(t, spec);
    if (l == NULL) {
        live_withdraw(t, &pending);
        return err_set(err, ERR_INTERNAL, "out of memory");
    }
    r = spec->snapshot != NULL ? live_thaw_snapshot(t, l, spec->snapshot, err)
                               : take_machine(t, l, spec, err);
    if (r < 0) {
        live_withdraw(t, &pending);
        live_unref(l);
        return -1;
    }
    l->started_ms = clock_real_ns() / NS_PER_MS;
    live_put_end(t, l, spec->timeout_ms);
    (void)live_ref(l);
    if (live_insert(t, l, &pending, err) < 0) {
        live_unref(l);
        live_unref(l);
        return -1;
    }
    *ret = l;
    return 0;
}
