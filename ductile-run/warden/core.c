// What the gateway itself has of the vault, by its principal `core`: the values of API tokens, which the bus
// gets as hashes, and the keys of webhooks, under which it may have a signature checked. They do not leave
// this process, and it computes no signature for anybody.
#include "fd.h"
#include "log.h"
#include "str.h"
#include "token.h"
#include "warden.h"
#include <sodium.h>
#include <string.h>

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 ? b : b == 0 ? a : MIN(a, b);
}

static int core_secret(struct warden *w, const char *name, const struct vault_secret **ret)
{
    return w->vault_present ? vault_core_secret(&w->vault, name, vault_now_ms(), ret) : -ENOKEY;
}

static int add_token(struct warden *w, uint32_t i, int64_t now, struct token_table *table)
{
    const struct vault_secret *s = NULL;
    int r = core_secret(w, w->config->tokens.list[i].secret_ref, &s);

    if (r == 0)
        r = token_add(table, i, s->value.data, s->value.len, s->expires_ms);
    // One that was rolled a moment ago, for as long as it is kept; what is no token is left out.
    if (r == 0 && s->previous.len > 0 && s->previous_until_ms > now &&
        token_check(s->previous.data, s->previous.len) == 0)
        r = token_add(table, i, s->previous.data, s->previous.len,
                      earlier(s->expires_ms, s->previous_until_ms));
    return r;
}

// Once for each change: a vault is read again often.
static void say(const struct warden *w, int *state, int r, const char *kind, const char *name,
                const char *secret)
{
    const int now = r == 0 ? 1 : r;
    char why[512];

    if (now < 0 && *state != now)
        log_warn("%s %s is not valid: its secret %s", kind, name, vault_core_why(&w->vault, r, secret, why));
    else if (now == 1 && *state < 0)
        log_info("%s %s is valid again", kind, name);
    *state = now;
}

void core_send_tokens(struct warden *w, bool usable)
{
    const struct token_list *tokens = &w->config->tokens;
    struct proto_message m = {0};
    struct token_table table;
    const int64_t now = vault_now_ms();

    w->tokens_withheld = !usable;
    token_begin(&table);
    for (uint32_t i = 0; usable && i < tokens->n; i++)
        say(w, &w->token_state[i], add_token(w, i, now, &table), "token", tokens->list[i].name,
            tokens->list[i].secret_ref);
    for (size_t i = 0; usable && i < w->config->webhooks.n; i++) {
        const struct webhook_config *h = &w->config->webhooks.list[i];
        const struct vault_secret *s = NULL;
        say(w, &w->webhook_state[i], core_secret(w, h->secret_ref, &s), "webhook", h->name, h->secret_ref);
    }
    OWNED(fd_closep) int fd = token_save(&table);
    sodium_memzero(&table, sizeof(table));
    if (fd < 0) {
        log_err(fd, "the tokens for the bus");
        w->bus_stuck = true; // it would go on with those it has, revoked ones too
        return;
    }
    link_send(w, &m, PROTO_TOKENS, &fd);
}

// ---- webhooks -----------------------------------------------------------------------------------

// Is mac the HMAC-SHA256 of the body under key? The state stands for the key, so it lies where keys do.
static bool is_mac_of(const struct secret *key, int body_fd, const uint8_t mac[static PROTO_MAC_LEN])
{
    crypto_auth_hmacsha256_state *state = secret_alloc(sizeof(*state));
    uint8_t right[crypto_auth_hmacsha256_BYTES], chunk[65536];
    off_t at = 0;
    ssize_t n;

    if (!state)
        return false;
    crypto_auth_hmacsha256_init(state, key->data, key->len);
    while ((n = pread(body_fd, chunk, sizeof(chunk), at)) > 0) {
        crypto_auth_hmacsha256_update(state, chunk, (unsigned long long)n);
        at += n;
    }
    crypto_auth_hmacsha256_final(state, right);
    const bool same = n == 0 && sodium_memcmp(right, mac, sizeof(right)) == 0;
    sodium_memzero(right, sizeof(right));
    secret_free(state);
    return same;
}

// Where there is no key, or none of before is kept, the same work is done for nothing: how long a no takes
// tells no stranger which webhooks there are, or which was rolled a moment ago.
static bool is_signed(struct warden *w, const struct proto_verify *q, int body_fd)
{
    static uint8_t nothing[LIMIT_TOKEN_MIN];
    const struct secret no_key = {nothing, sizeof(nothing)};
    const struct webhook_config *h = config_webhook(w->config, q->webhook);
    const struct vault_secret *s = NULL;
    struct refusal refusal;
    uint64_t size;

    if (fd_check_sealed(body_fd, &size) < 0 || size != q->body_len || size > LIMIT_HOOK_BODY)
        return false;
    const bool usable = warden_vault_fresh(w, &refusal) && h && core_secret(w, h->secret_ref, &s) == 0;
    const bool kept = usable && s->previous.len >= LIMIT_TOKEN_MIN && s->previous_until_ms > vault_now_ms();
    const bool by_new = is_mac_of(usable ? &s->value : &no_key, body_fd, q->mac);
    const bool by_old = is_mac_of(kept ? &s->previous : &no_key, body_fd, q->mac);

    return (usable && by_new) || (kept && by_old);
}

void core_verify(struct warden *w, const struct proto_verify *q, int body_fd)
{
    OWNED(fd_closep) int fd = body_fd;
    struct proto_message m = {0};

    m.VERIFIED.id = q->id;
    m.VERIFIED.yes = is_signed(w, q, fd);
    link_send(w, &m, PROTO_VERIFIED, NULL);
}
