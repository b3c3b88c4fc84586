// SPDX-License-Identifier: Apache-2.0
//
// API keys. A key is 160 random bits: its hash needs no salt and no slow function, and finding it
// by an index tells nothing of a guess.
#include "base/clock.h"
#include "base/id.h"
#include "base/parse.h"
#include "store/store_internal.h"

#include <assert.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#define PREFIX   "e2b_"
#define HINT_LEN 8

void store_key_hash(const char *text, uint8_t ret[STORE_KEY_HASH_BYTES])
{
    struct sha256_ctx hash;

    static_assert(STORE_KEY_HASH_BYTES == SHA256_DIGEST_SIZE, "a hash fits");
    sha256_init(&hash);
    sha256_update(&hash, strlen(text), (const uint8_t *)text);
    sha256_digest(&hash, SHA256_DIGEST_SIZE, ret);
}

uint64_t store_key_generation(const struct store *s)
{
    return atomic_load(s->key_generation);
}

void store_note_change(struct store *s)
{
    (void)atomic_fetch_add(s->key_generation, 1);
}

int store_check_tenant(const char *tenant, struct err *err)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    if (tenant[0] == '\0' || strlen(tenant) >= STORE_TENANT_MAX ||
        strspn(tenant, good) != strlen(tenant))
        return err_field(err, ERR_INVALID, "tenant",
                         "tenant must be 1 to %d letters, digits, '.', '_' or '-'",
                         STORE_TENANT_MAX - 1);
    return 0;
}

// Listings have a line for each key.
static int check_name(const char *name, struct err *err)
{
    if (strlen(name) >= sizeof(((struct store_key *)NULL)->name))
        return err_field(err, ERR_INVALID, "name", "name is longer than %zu bytes",
                         sizeof(((struct store_key *)NULL)->name) - 1);
    if (parse_has_control(name))
        return err_field(err, ERR_INVALID, "name", "name has control characters");
    return 0;
}

static int insert(struct store *s, const struct store_key *key, struct err *err)
{
    struct sql_statement st =
        store_begin(s, "INSERT INTO keys(id, hash, name, hint, created_ms, tenant, admin)"
                       " VALUES(?, ?, ?, ?, ?, ?, ?)");

    sql_bind_text(&st, key->id);
    sql_bind_blob(&st, key->hash, sizeof(key->hash));
    sql_bind_text(&st, key->name);
    sql_bind_text(&st, key->hint);
    sql_bind_u64(&st, key->created_ms);
    sql_bind_text(&st, key->tenant);
    sql_bind_u64(&st, key->admin);
    return store_end(s, &st, NULL, err);
}

int store_key_add(struct store *s, const char *name, const char *tenant, bool admin,
                  char ret_text[STORE_KEY_TEXT_LEN + 1], struct store_key *ret, struct err *err)
{
    struct store_key key = {.created_ms = clock_real_ns() / NS_PER_MS, .admin = admin};
    char text[STORE_KEY_TEXT_LEN + 1] = PREFIX;
    int r;

    if (check_name(name, err) < 0)
        return -1;
    if (tenant != NULL && store_check_tenant(tenant, err) < 0)
        return -1;
    id_hex(text + strlen(PREFIX), 20);
    key.id[0] = 'k';
    id_hex(key.id + 1, 6);
    (void)snprintf(key.name, sizeof(key.name), "%s", name);
    (void)snprintf(key.hint, sizeof(key.hint), "%.*s", HINT_LEN, text);
    (void)snprintf(key.tenant, sizeof(key.tenant), "%s", tenant != NULL ? tenant : key.id);
    store_key_hash(text, key.hash);
    store_note_change(s);
    r = insert(s, &key, err);
    store_note_change(s);
    if (r < 0)
        return -1;
    memcpy(ret_text, text, sizeof(text));
    *ret = key;
    return 0;
}

// Zeros, which no key has, when the column is no hash.
static void take_hash(struct sql_statement *st, int column, uint8_t ret[STORE_KEY_HASH_BYTES])
{
    size_t len;
    const void *hash = sql_blob(st, column, &len);

    memset(ret, 0, STORE_KEY_HASH_BYTES);
    if (len == STORE_KEY_HASH_BYTES)
        memcpy(ret, hash, len);
}

int store_key_each(struct store *s, store_key_fn fn, void *arg, struct err *err)
{
    struct sql_statement st =
        store_begin(s, "SELECT id, name, hint, created_ms, revoked_ms, tenant, admin, hash"
                       " FROM keys ORDER BY created_ms, id");
    int r = 0;

    while (r == 0 && sql_step(&st)) {
        struct store_key key = {.created_ms = sql_u64(&st, 3),
                                .revoked_ms = sql_u64(&st, 4),
                                .admin = sql_u64(&st, 6) != 0};

        (void)snprintf(key.id, sizeof(key.id), "%s", sql_text(&st, 0));
        (void)snprintf(key.name, sizeof(key.name), "%s", sql_text(&st, 1));
        (void)snprintf(key.hint, sizeof(key.hint), "%s", sql_text(&st, 2));
        (void)snprintf(key.tenant, sizeof(key.tenant), "%s", sql_text(&st, 5));
        take_hash(&st, 7, key.hash);
        r = fn(arg, &key);
    }
    if (store_end(s, &st, NULL, err) < 0)
        return -1;
    return r;
}

int store_key_revoke(struct store *s, const char *id, bool *ret_found, struct err *err)
{
    struct sql_statement st;
    int changed = 0, r;

    store_note_change(s);
    st = store_begin(s, "UPDATE keys SET revoked_ms = ? WHERE id = ? AND revoked_ms = 0");
    sql_bind_u64(&st, clock_real_ns() / NS_PER_MS);
    sql_bind_text(&st, id);
    r = store_end(s, &st, &changed, err);
    store_note_change(s);
    if (r < 0)
        return -1;
    *ret_found = changed > 0;
    return 0;
}
