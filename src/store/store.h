// SPDX-License-Identifier: Apache-2.0
//
// What outlives the daemon: API keys and the sandboxes that clients own. Nothing outside of this
// module knows what it is kept in. How it works is told in store.c.
//
// Any thread may call any function; each takes the module's own lock and blocks for the disk, some
// milliseconds at most, or up to STORE_BUSY_MS while another process writes.
#ifndef CSB_STORE_STORE_H
#define CSB_STORE_STORE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

#define STORE_BUSY_MS        5000
#define STORE_KEY_TEXT_LEN   44 // "e2b_" and 40 lower-case hex digits
#define STORE_KEY_ID_MAX     16 // bytes, its NUL among them
#define STORE_NAME_MAX       64 // bytes of a key's name, its NUL among them
#define STORE_TENANT_MAX     64 // bytes of a tenant's name, its NUL among them
#define STORE_KEY_HASH_BYTES 32

enum store_sync {
    // What was committed survives the end of the process at any moment, but maybe not a power cut.
    STORE_SYNC_PROCESS,
    STORE_SYNC_POWER, // and a power cut
};

// Opens the store in the directory `dir_fd` (borrowed for the store's life), makes it when it is
// not there. Errors: ERR_SYSTEM; ERR_UNSUPPORTED when it is of a later version of this program.
int store_open(int dir_fd, enum store_sync sync, struct store **ret, struct err *err);
void store_close(struct store *s); // NULL is allowed

// Keys. A key is told once, when it is made; what is kept is its SHA-256.

struct store_key {
    char id[STORE_KEY_ID_MAX];
    char tenant[STORE_TENANT_MAX]; // whom it belongs to
    char name[STORE_NAME_MAX];
    char hint[12]; // how it begins
    bool admin;    // it may see what belongs to no tenant
    uint64_t created_ms;
    uint64_t revoked_ms; // 0: it is good
    uint8_t hash[STORE_KEY_HASH_BYTES];
};

// Makes a key. `name` is for people, and in one line. `tenant` is 1..63 of [A-Za-z0-9._-]; NULL:
// the key is a tenant of its own, named as its id. *ret_text gets the key itself. ERR_INVALID
// naming the field.
int store_key_add(struct store *s, const char *name, const char *tenant, bool admin,
                  char ret_text[STORE_KEY_TEXT_LEN + 1], struct store_key *ret, struct err *err);

// What is kept of a key.
void store_key_hash(const char *text, uint8_t ret[STORE_KEY_HASH_BYTES]);

// A number that grows whenever a process on this host makes or revokes a key, or sets a tenant's
// limits. Does not block.
uint64_t store_key_generation(const struct store *s);

// Oldest first. A value other than 0 stops it and is returned; the callback may not call back.
typedef int (*store_key_fn)(void *arg, const struct store_key *key);
int store_key_each(struct store *s, store_key_fn fn, void *arg, struct err *err);

// *ret_found is false when no good key has that id.
int store_key_revoke(struct store *s, const char *id, bool *ret_found, struct err *err);

// Limits of a tenant's own, in place of those that all have.

enum store_limit {
    STORE_LIMIT_REQUESTS_PER_MINUTE,
    STORE_LIMIT_REQUESTS_BURST,
    STORE_LIMIT_RUNS,
    STORE_LIMIT_QUEUE,
    STORE_LIMIT_CPU_SECONDS_PER_HOUR,
    STORE_LIMIT_SANDBOXES,
    STORE_LIMIT_JOBS,
    STORE_LIMIT_COUNT
};

// The setting that says it for all: "TENANT_RUNS".
const char *store_limit_name(enum store_limit limit);
bool store_limit_find(const char *name, enum store_limit *ret);

struct store_tenant_limit {
    char tenant[STORE_TENANT_MAX];
    enum store_limit limit;
    uint64_t value; // as of the setting
};

// Value NULL: again what all have. The caller checks its range, and whether there is such a tenant:
// one, named as for store_key_add(), need have no key yet. ERR_INVALID naming the field;
// ERR_SYSTEM.
int store_tenant_set(struct store *s, const char *tenant, enum store_limit limit,
                     const uint64_t *value, struct err *err);

// Whether anybody goes by that name: a key was made for it, if only one that is revoked, or it has
// limits of its own. A name that no tenant can have is ERR_INVALID, naming the field.
int store_tenant_known(struct store *s, const char *tenant, bool *ret, struct err *err);

// By tenant. A value other than 0 stops it and is returned; the callback may not call back.
typedef int (*store_tenant_fn)(void *arg, const struct store_tenant_limit *limit);
int store_tenant_each(struct store *s, store_tenant_fn fn, void *arg, struct err *err);

// Sandboxes.

// Strings are borrowed for the call. metadata and env are JSON objects.
struct store_sandbox {
    const char *id;
    const char *key;
    const char *template;
    const char *metadata;
    const char *env;
    const char *token;         // or NULL
    const char *traffic_token; // or NULL
    const char *state;         // a word of the sandbox layer's
    bool pause_on_timeout;
    uint64_t auto_resume_ms; // its time after a request woke it; 0: none does
    uint64_t started_ms;
    uint64_t end_ms;
};

// Adds it, or replaces the one of that id.
int store_sandbox_put(struct store *s, const struct store_sandbox *sandbox, struct err *err);
// One that is not there is no error.
int store_sandbox_set_end(struct store *s, const char *id, uint64_t end_ms, struct err *err);
int store_sandbox_remove(struct store *s, const char *id, struct err *err);
// Removes all that are in neither of these states.
int store_sandbox_keep(struct store *s, const char *state, const char *other, struct err *err);
// What was written so far survives a power cut, too.
int store_sync(struct store *s, struct err *err);

// Oldest first; as store_key_each().
typedef int (*store_sandbox_fn)(void *arg, const struct store_sandbox *sandbox);
int store_sandbox_each(struct store *s, store_sandbox_fn fn, void *arg, struct err *err);

// Snapshots of sandboxes: what is known of an image that is stored under the id.

// Strings are borrowed for the call. env is a JSON object.
struct store_snapshot {
    const char *id;
    const char *key;
    const char *name;    // "" for none
    const char *sandbox; // id of the one it was made of
    const char *env;
    uint64_t created_ms;
    uint64_t bytes; // on disk
};

int store_snapshot_put(struct store *s, const struct store_snapshot *snapshot, struct err *err);
// One that is not there is no error.
int store_snapshot_remove(struct store *s, const char *id, struct err *err);

// Those of one key, or of all where `key` is NULL, newest first; as store_key_each().
typedef int (*store_snapshot_fn)(void *arg, const struct store_snapshot *snapshot);
int store_snapshot_each(struct store *s, const char *key, store_snapshot_fn fn, void *arg,
                        struct err *err);

#endif
