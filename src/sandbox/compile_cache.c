// SPDX-License-Identifier: Apache-2.0
//
// How it works: entries hang in a hash table by their key, which is uniform, and in a list by the
// time of their last use. The cache holds one reference to each; a hit holds another while it is
// sent, so an entry that is evicted meanwhile lives until then.
#include "sandbox/compile_cache.h"

#include "base/buf.h"
#include "channel/agent_wire.h"
#include "sandbox/runtime.h"

#include <assert.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS     1024u
#define ENTRY_BYTES 1024u // what an entry costs beside its content, generously
#define SHARE       8u    // an entry may take this part of the whole

static_assert(SHA256_DIGEST_SIZE == COMPILE_KEY_BYTES, "a key is a digest");

struct entry {
    struct compile_artifact public; // first: what callers hold
    atomic_uint refs;
    struct compile_key key;
    struct buf data;
    struct buf log;
    struct entry *chain;         // of its bucket
    struct entry *newer, *older; // by last use
};

// `lock` guards everything below it, and the chain and use links of entries.
struct compile_cache {
    uint64_t max_bytes; // fixed
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
    struct entry *newest, *oldest;
    struct engine_cache_status status;
};

int compile_cache_new(uint64_t max_bytes, struct compile_cache **ret, struct err *err)
{
    struct compile_cache *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    c->max_bytes = max_bytes;
    c->status.max_bytes = max_bytes;
    (void)pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return 0;
}

size_t compile_cache_artifact_max(const struct compile_cache *c)
{
    uint64_t share = c->max_bytes / SHARE;

    if (share <= ENTRY_BYTES)
        return 0;
    share -= ENTRY_BYTES;
    return share < AGENT_ARTIFACT_MAX ? (size_t)share : AGENT_ARTIFACT_MAX;
}

// Each part with its length before it, so that no two requests read the same.
static void hash_bytes(struct sha256_ctx *h, const void *data, size_t len)
{
    uint8_t size[8];

    for (int i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)len >> (8 * i));
    sha256_update(h, sizeof(size), size);
    sha256_update(h, len, data);
}

static void hash_text(struct sha256_ctx *h, const char *text)
{
    hash_bytes(h, text, strlen(text));
}

static void hash_list(struct sha256_ctx *h, char *const *list, size_t count)
{
    hash_bytes(h, &count, sizeof(count));
    for (size_t i = 0; i < count; i++)
        hash_text(h, list[i]);
}

void compile_cache_key(const struct run_request *req, const char *template_key,
                       struct compile_key *ret)
{
    const struct runtime *rt = req->runtime;
    struct sha256_ctx h;

    sha256_init(&h);
    hash_text(&h, template_key);
    hash_text(&h, rt->id);
    hash_text(&h, rt->version);
    hash_text(&h, rt->compile_artifact);
    hash_list(&h, rt->compile.argv, rt->compile.argc);
    hash_list(&h, rt->prepare.argv, rt->prepare.argc);
    hash_list(&h, rt->env, rt->env_count);
    hash_list(&h, rt->prepare_env, rt->prepare_env_count);
    hash_bytes(&h, &req->file_count, sizeof(req->file_count));
    for (size_t i = 0; i < req->file_count; i++) {
        hash_text(&h, req->files[i].path);
        hash_bytes(&h, req->files[i].data, req->files[i].len);
    }
    sha256_digest(&h, sizeof(ret->digest), ret->digest);
}

static struct entry **bucket_of(struct compile_cache *c, const struct compile_key *key)
{
    return &c->buckets[(key->digest[0] | (unsigned)key->digest[1] << 8) % BUCKETS];
}

static struct entry **find(struct compile_cache *c, const struct compile_key *key)
{
    struct entry **at = bucket_of(c, key);

    while (*at != NULL && memcmp(&(*at)->key, key, sizeof(*key)) != 0)
        at = &(*at)->chain;
    return at;
}

static void unlink_use(struct compile_cache *c, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
    e->newer = e->older = NULL;
}

static void link_newest(struct compile_cache *c, struct entry *e)
{
    e->older = c->newest;
    e->newer = NULL;
    *(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static uint64_t cost(const struct entry *e)
{
    return e->data.len + e->log.len + ENTRY_BYTES;
}

static void entry_unref(struct entry *e)
{
    if (atomic_fetch_sub(&e->refs, 1) != 1)
        return;
    buf_release(&e->data);
    buf_release(&e->log);
    free(e);
}

void compile_artifact_unref(const struct compile_artifact *a)
{
    if (a != NULL)
        entry_unref((struct entry *)(uintptr_t)a);
}

// `at` is where the entry hangs in its bucket.
static void drop(struct compile_cache *c, struct entry **at)
{
    struct entry *e = *at;

    *at = e->chain;
    unlink_use(c, e);
    c->status.entries--;
    c->status.bytes -= cost(e);
    entry_unref(e);
}

const struct compile_artifact *compile_cache_get(struct compile_cache *c,
                                                 const struct compile_key *key)
{
    struct entry *e;

    (void)pthread_mutex_lock(&c->lock);
    e = *find(c, key);
    if (e == NULL) {
        c->status.misses++;
    } else {
        c->status.hits++;
        atomic_fetch_add(&e->refs, 1);
        unlink_use(c, e);
        link_newest(c, e);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return e == NULL ? NULL : &e->public;
}

// The buffer without the room it had to grow in.
static int take(struct buf *dst, struct buf *src)
{
    int r = buf_append(dst, src->data, src->len);

    buf_release(src);
    return r;
}

static struct entry *make(const struct compile_key *key, struct buf *artifact, struct buf *log)
{
    struct entry *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    atomic_init(&e->refs, 1);
    e->key = *key;
    if (take(&e->data, artifact) < 0 || take(&e->log, log) < 0) {
        entry_unref(e);
        return NULL;
    }
    e->public = (struct compile_artifact){e->data.data, e->data.len, e->log.data, e->log.len};
    return e;
}

static void insert(struct compile_cache *c, struct entry *e)
{
    struct entry **at;

    (void)pthread_mutex_lock(&c->lock);
    at = find(c, &e->key);
    if (*at != NULL)
        drop(c, at);
    while (c->oldest != NULL && c->status.bytes + cost(e) > c->max_bytes)
        drop(c, find(c, &c->oldest->key));
    at = bucket_of(c, &e->key);
    e->chain = *at;
    *at = e;
    link_newest(c, e);
    c->status.entries++;
    c->status.bytes += cost(e);
    (void)pthread_mutex_unlock(&c->lock);
}

void compile_cache_put(struct compile_cache *c, const struct compile_key *key, struct buf *artifact,
                       struct buf *log)
{
    if (artifact->len > 0 && artifact->len <= compile_cache_artifact_max(c) &&
        artifact->len + log->len + ENTRY_BYTES <= c->max_bytes / SHARE) {
        struct entry *e = make(key, artifact, log);

        if (e != NULL)
            insert(c, e);
    }
    buf_release(artifact);
    buf_release(log);
}

void compile_cache_status(struct compile_cache *c, struct engine_cache_status *ret)
{
    (void)pthread_mutex_lock(&c->lock);
    *ret = c->status;
    (void)pthread_mutex_unlock(&c->lock);
}

void compile_cache_free(struct compile_cache *c)
{
    if (c == NULL)
        return;
    while (c->oldest != NULL)
        drop(c, find(c, &c->oldest->key));
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}
