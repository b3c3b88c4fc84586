// SPDX-License-Identifier: Apache-2.0
//
// API keys. A key is 160 random bits: its hash needs no salt and no slow function, and finding it
// by an index tells nothing of a guess.
#include "base/clock.h"
#include "base/id.h"
#include "store/store_internal.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#define PREFIX   "e2b_"
#define HINT_LEN 8

static void hash_key(const char *text, uint8_t ret[SHA256_DIGEST_SIZE])
{
    struct sha256_ctx hash;

    sha256_init(&hash);
    sha256_update(&hash, strlen(text), (const uint8_t *)text);
    sha256_digest(&hash, SHA256_DIGEST_SIZE, ret);
}

int store_key_add(struct store *s, const char *name, char ret_text[STORE_KEY_TEXT_LEN + 1],
                  struct store_key *ret, struct err *err)
{
    struct store_key key = {.created_ms = clock_real_ns() / NS_PER_MS};
    uint8_t hash[SHA256_DIGEST_SIZE];
    char text[STORE_KEY_TEXT_LEN + 1] = PREFIX;
    struct statement st;

    if (strlen(name) >= sizeof(key.name))
        return err_field(err, ERR_INVALID, "name", "name is longer than %zu bytes",
                         sizeof(key.name) - 1);
    id_hex(text + strlen(PREFIX), 20);
    key.id[0] = 'k';
    id_hex(key.id + 1, 6);
    (void)snprintf(key.name, sizeof(key.name), "%s", name);
    (void)snprintf(key.hint, sizeof(key.hint), "%.*s", HINT_LEN, text);
    hash_key(text, hash);
    st = statement_begin(
        s, "INSERT INTO keys(id, hash, name, hint, created_ms) VALUES(?, ?, ?, ?, ?)");
    statement_text(&st, key.id);
    statement_blob(&st, hash, sizeof(hash));
    statement_text(&st, key.name);
    statement_text(&st, key.hint);
    statement_u64(&st, key.created_ms);
    if (statement_end(&st, NULL, err) < 0)
        return -1;
    memcpy(ret_text, text, sizeof(text));
    *ret = key;
    return 0;
}

int store_key_find(struct store *s, const char *text, char ret_id[STORE_KEY_ID_MAX],
                   struct err *err)
{
    uint8_t hash[SHA256_DIGEST_SIZE];
    char id[STORE_KEY_ID_MAX] = "";
    struct statement st;

    if (strlen(text) != STORE_KEY_TEXT_LEN) {
        ret_id[0] = '\0';
        return 0;
    }
    hash_key(text, hash);
    st = statement_begin(s, "SELECT id FROM keys WHERE hash = ? AND revoked_ms = 0");
    statement_blob(&st, hash, sizeof(hash));
    if (statement_step(&st))
        (void)snprintf(id, sizeof(id), "%s", statement_get_text(&st, 0));
    if (statement_end(&st, NULL, err) < 0)
        return -1;
    memcpy(ret_id, id, sizeof(id));
    return 0;
}

int store_key_any(struct store *s, bool *ret, struct err *err)
{
    struct statement st = statement_begin(s, "SELECT EXISTS(SELECT 1 FROM keys)");
    bool any = statement_step(&st) && statement_get_u64(&st, 0) != 0;

    if (statement_end(&st, NULL, err) < 0)
        return -1;
    *ret = any;
    return 0;
}

int store_key_each(struct store *s, store_key_fn fn, void *arg, struct err *err)
{
    struct statement st = statement_begin(
        s, "SELECT id, name, hint, created_ms, revoked_ms FROM keys ORDER BY created_ms, id");
    int r = 0;

    while (r == 0 && statement_step(&st)) {
        struct store_key key = {.created_ms = statement_get_u64(&st, 3),
                                .revoked_ms = statement_get_u64(&st, 4)};

        (void)snprintf(key.id, sizeof(key.id), "%s", statement_get_text(&st, 0));
        (void)snprintf(key.name, sizeof(key.name), "%s", statement_get_text(&st, 1));
        (void)snprintf(key.hint, sizeof(key.hint), "%s", statement_get_text(&st, 2));
        r = fn(arg, &key);
    }
    if (statement_end(&st, NULL, err) < 0)
        return -1;
    return r;
}

int store_key_revoke(struct store *s, const char *id, bool *ret_found, struct err *err)
{
    struct statement st =
        statement_begin(s, "UPDATE keys SET revoked_ms = ? WHERE id = ? AND revoked_ms = 0");
    int changed = 0;

    statement_u64(&st, clock_real_ns() / NS_PER_MS);
    statement_text(&st, id);
    if (statement_end(&st, &changed, err) < 0)
        return -1;
    *ret_found = changed > 0;
    return 0;
}
