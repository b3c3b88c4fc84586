// SPDX-License-Identifier: Apache-2.0
#include "api/sandboxes_parse.h"

#include "json/read.h"

#include <stdlib.h>
#include <string.h>

const char *const create_fields[] = {"templateID", "timeout",
                                     "metadata",   "envVars",
                                     "secure",     "allow_internet_access",
                                     "autoPause",  "autoPauseMemory",
                                     "autoResume", "network",
                                     "iam",        "volumeMounts",
                                     "mcp",        NULL};
const char *const create_network_fields[] = {"allowOut",    "denyOut", "allowPublicTraffic",
                                             "httpsPorts",  "rules",   "maskRequestHost",
                                             "egressProxy", NULL};
const char *const create_resume_fields[] = {"enabled", NULL};
const char *const fork_fields[] = {"count", "timeout", NULL};
const char *const snapshot_fields[] = {"name", NULL};
const char *const seconds_timeout_fields[] = {"timeout", "memory", "autoPause", NULL};
const char *const seconds_duration_fields[] = {"duration", "memory", "autoPause", NULL};

static int add_pair(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    struct pair_list *p = arg;
    struct json_str value = {NULL, 0};
    size_t name_len = strlen(key);

    if (json_get_text(in, key, &value, err) < 0)
        return -1;
    if (value.data == NULL)
        return json_fail(in, key, err, "must be a string");
    if (name_len == 0 || name_len > SANDBOXES_NAME_MAX)
        return json_fail(in, key, err, "has a name that is not of 1 to %d bytes",
                         SANDBOXES_NAME_MAX);
    p->bytes += name_len + value.len;
    if (p->bytes > SANDBOXES_PAIRS_BYTES)
        return json_fail(in, key, err, "is too much: all together may have %u bytes",
                         SANDBOXES_PAIRS_BYTES);
    p->list[p->count++] = (struct live_pair){key, value.data};
    return 0;
}

static int add_variable(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    if (strchr(key, '=') != NULL)
        return json_fail(in, key, err, "is not a variable's name");
    return add_pair(arg, in, key, err);
}

static int parse_pairs(const struct json_in *top, const char *key, json_member_fn each,
                       struct pair_list *ret, struct err *err)
{
    struct json_in object = {0};

    if (json_get_object(top, key, &object, err) < 0)
        return -1;
    if (object.object == NULL)
        return 0;
    ret->room = json_count(top, key);
    if (ret->room > SANDBOXES_PAIRS_MAX)
        return json_fail(top, key, err, "may have at most %d entries", SANDBOXES_PAIRS_MAX);
    ret->list = calloc(ret->room + 1, sizeof(*ret->list));
    if (ret->list == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return json_each(&object, each, ret, err);
}

static int refuse(const struct json_in *in, const char *key, struct err *err, const char *why)
{
    char path[64];

    json_path(in, key, path, sizeof(path));
    return err_field(err, ERR_UNSUPPORTED, path, "%s %s", path, why);
}

// Absent, or of that kind and empty.
static int want_empty(const struct json_in *in, const char *key, enum json_kind kind,
                      const char *why, struct err *err)
{
    enum json_kind is = json_kind(in, key);

    if (is == JSON_KIND_NONE)
        return 0;
    if (is != kind)
        return json_fail(in, key, err, "must be %s", json_kind_name(kind));
    return json_count(in, key) == 0 ? 0 : refuse(in, key, err, why);
}

// There is no network in a sandbox: what closes it is granted, what opens it is not.
static int parse_network(const struct json_in *top, struct create_request *r, struct err *err)
{
    static const char none[] = "is not available: sandboxes have no network";
    struct json_in network = {0};
    bool internet = false, public_traffic = true;

    if (json_get_bool(top, "allow_internet_access", &internet, err) < 0 ||
        json_get_object(top, "network", &network, err) < 0)
        return -1;
    if (network.object == NULL)
        return 0;
    if (json_known(&network, create_network_fields, err) < 0 ||
        json_get_bool(&network, "allowPublicTraffic", &public_traffic, err) < 0 ||
        want_empty(&network, "allowOut", JSON_KIND_ARRAY, none, err) < 0 ||
        want_empty(&network, "httpsPorts", JSON_KIND_ARRAY, none, err) < 0 ||
        want_empty(&network, "rules", JSON_KIND_OBJECT, none, err) < 0 ||
        want_empty(&network, "egressProxy", JSON_KIND_OBJECT, none, err) < 0)
        return -1;
    if (json_kind(&network, "maskRequestHost") != JSON_KIND_NONE)
        return refuse(&network, "maskRequestHost", err, "is not supported");
    if (json_kind(&network, "denyOut") != JSON_KIND_NONE &&
        json_kind(&network, "denyOut") != JSON_KIND_ARRAY)
        return json_fail(&network, "denyOut", err, "must be an array");
    r->private_traffic = !public_traffic;
    return 0;
}

static int parse_pause(const struct json_in *top, struct create_request *r, struct err *err)
{
    struct json_in resume = {0};
    bool memory = true;

    if (json_get_bool(top, "autoPause", &r->auto_pause, err) < 0 ||
        json_get_bool(top, "autoPauseMemory", &memory, err) < 0 ||
        json_get_object(top, "autoResume", &resume, err) < 0)
        return -1;
    if (!memory && !r->auto_pause)
        return json_fail(top, "autoPauseMemory", err, "may be false only with autoPause");
    if (resume.object != NULL && (json_known(&resume, create_resume_fields, err) < 0 ||
                                  json_get_bool(&resume, "enabled", &r->auto_resume, err) < 0))
        return -1;
    if (r->auto_resume && !r->auto_pause)
        return json_fail(&resume, "enabled", err, "may be true only with autoPause");
    if (r->auto_resume && !memory)
        return json_fail(top, "autoPauseMemory", err, "may not be false with autoResume");
    if (!memory)
        return refuse(top, "autoPauseMemory", err, "is not supported: pausing keeps the memory");
    return 0;
}

static int parse_create(const struct json_in *top, int version, uint64_t life_max_s,
                        struct create_request *r, struct err *err)
{
    struct json_str template = {NULL, 0};

    r->timeout_s = version == 1 ? SANDBOXES_TIMEOUT_V1_S : SANDBOXES_TIMEOUT_V2_S;
    r->secure = version != 1;
    if (json_known(top, create_fields, err) < 0 ||
        json_get_text(top, "templateID", &template, err) < 0)
        return -1;
    if (template.data == NULL || template.len == 0)
        return json_fail(top, "templateID", err, "is required");
    r->template = template.data;
    if (json_get_u64(top, "timeout", 1, life_max_s, &r->timeout_s, err) < 0 ||
        parse_pairs(top, "metadata", add_pair, &r->metadata, err) < 0 ||
        parse_pairs(top, "envVars", add_variable, &r->env, err) < 0)
        return -1;
    if (version == 1 && json_get_bool(top, "secure", &r->secure, err) < 0)
        return -1;
    if (parse_pause(top, r, err) < 0 || parse_network(top, r, err) < 0)
        return -1;
    if (want_empty(top, "iam", JSON_KIND_OBJECT, "is not supported", err) < 0 ||
        want_empty(top, "volumeMounts", JSON_KIND_ARRAY, "are not supported", err) < 0)
        return -1;
    return want_empty(top, "mcp", JSON_KIND_OBJECT, "is not supported", err);
}

// Where a body may be left out, none is an empty object.
static int read_body(const void *body, size_t len, bool optional, struct json_t **ret,
                     struct err *err)
{
    if (len > SANDBOXES_BODY_MAX)
        return err_field(err, ERR_TOO_LARGE, "body", "the body may have at most %u bytes",
                         SANDBOXES_BODY_MAX);
    if (len == 0 && optional)
        return json_read("body", "{}", 2, ret, err);
    return json_read("body", body, len, ret, err);
}

int create_parse(const void *body, size_t len, int version, uint64_t life_max_s,
                 struct create_request *ret, struct err *err)
{
    struct json_in top;

    memset(ret, 0, sizeof(*ret));
    if (read_body(body, len, false, &ret->tree, err) < 0)
        return -1;
    top = json_top(ret->tree);
    if (parse_create(&top, version, life_max_s, ret, err) == 0)
        return 0;
    create_request_release(ret);
    return -1;
}

void create_request_release(struct create_request *r)
{
    free(r->metadata.list);
    free(r->env.list);
    json_free(&r->tree);
    memset(r, 0, sizeof(*r));
}

int seconds_parse(const void *body, size_t len, const char *key, bool required, uint64_t *ret_s,
                  struct err *err)
{
    const char *const *known =
        strcmp(key, "timeout") == 0 ? seconds_timeout_fields : seconds_duration_fields;
    _cleanup_json_ struct json_t *tree = NULL;
    int64_t seconds = -1;
    bool ignored = false;
    struct json_in top;

    if (read_body(body, len, true, &tree, err) < 0)
        return -1;
    top = json_top(tree);
    if (json_known(&top, known, err) < 0 ||
        json_get_i64(&top, key, SANDBOXES_SECONDS_MIN, SANDBOXES_SECONDS_MAX, &seconds, err) < 0 ||
        json_get_bool(&top, "memory", &ignored, err) < 0 ||
        json_get_bool(&top, "autoPause", &ignored, err) < 0)
        return -1;
    if (json_kind(&top, key) == JSON_KIND_NONE)
        return required ? json_fail(&top, key, err, "is required") : 0;
    *ret_s = seconds < 0 ? 0 : (uint64_t)seconds;
    return 0;
}

int fork_parse(const void *body, size_t len, uint64_t life_max_s, uint64_t *ret_count,
               uint64_t *ret_s, struct err *err)
{
    _cleanup_json_ struct json_t *tree = NULL;
    struct json_in top;

    if (read_body(body, len, true, &tree, err) < 0)
        return -1;
    top = json_top(tree);
    if (json_known(&top, fork_fields, err) < 0 ||
        json_get_u64(&top, "count", 1, LIVE_FORK_MAX, ret_count, err) < 0)
        return -1;
    return json_get_u64(&top, "timeout", 1, life_max_s, ret_s, err);
}

static bool is_name(const char *text, size_t len)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char others[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    return len < LIVE_KEY_MAX && strchr(first, text[0]) != NULL && strspn(text, others) == len;
}

int snapshot_parse(const void *body, size_t len, char ret_name[LIVE_KEY_MAX], struct err *err)
{
    _cleanup_json_ struct json_t *tree = NULL;
    struct json_str name = {NULL, 0};
    struct json_in top;

    ret_name[0] = '\0';
    if (read_body(body, len, true, &tree, err) < 0)
        return -1;
    top = json_top(tree);
    if (json_known(&top, snapshot_fields, err) < 0 || json_get_text(&top, "name", &name, err) < 0)
        return -1;
    if (name.data == NULL)
        return 0;
    if (name.len == 0 || !is_name(name.data, name.len))
        return json_fail(&top, "name", err,
                         "must be 1 to %d of letters, digits, '.', '_' and '-', and begin with a "
                         "letter or digit",
                         LIVE_KEY_MAX - 1);
    memcpy(ret_name, name.data, name.len + 1);
    return 0;
}
