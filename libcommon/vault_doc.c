// The vault's document as JSON (vault_read.c reads it). Values are in the arena from first to last.
#include "vault.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

struct writer {
    uint8_t *out; // NULL: only count
    size_t n;
};

static void put(struct writer *w, const void *s, size_t len)
{
    if (w->out)
        memcpy(w->out + w->n, s, len);
    w->n += len;
}

static void puts_(struct writer *w, const char *s)
{
    put(w, s, strlen(s));
}

static void put_json(struct writer *w, const uint8_t *s, size_t len)
{
    char escape[8];

    puts_(w, "\"");
    for (size_t i = 0; i < len; i++)
        if (s[i] < 0x20 || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f) {
            snprintf(escape, sizeof(escape), "\\u%04x", s[i]);
            puts_(w, escape);
        } else
            put(w, &s[i], 1);
    puts_(w, "\"");
    sodium_memzero(escape, sizeof(escape));
}

static void put_pair(struct writer *w, const char *key, const char *value)
{
    puts_(w, "\"");
    puts_(w, key);
    puts_(w, "\":\"");
    puts_(w, value); // names and words of ours: nothing to escape
    puts_(w, "\"");
}

static void put_number(struct writer *w, const char *key, int64_t value)
{
    char text[64];

    snprintf(text, sizeof(text), "\"%s\":%lld", key, (long long)value);
    puts_(w, text);
}

static void put_optional(struct writer *w, const char *key, int64_t value)
{
    if (value == 0)
        return;
    puts_(w, ",");
    put_number(w, key, value);
}

static void write_principal(struct writer *w, const struct vault_principal *p)
{
    puts_(w, "\"");
    puts_(w, p->name);
    puts_(w, "\":{");
    put_pair(w, "kind", principal_kind_name(p->kind));
    puts_(w, ",");
    put_pair(w, "status", p->revoked ? "revoked" : "active");
    puts_(w, ",");
    put_number(w, "created_ms", p->created_ms);
    puts_(w, "}");
}

static void write_secret(struct writer *w, const struct vault_secret *s)
{
    puts_(w, "\"");
    puts_(w, s->name);
    puts_(w, "\":{\"value\":");
    put_json(w, s->value.data, s->value.len);
    puts_(w, ",");
    put_pair(w, "pattern", secret_pattern_name(s->pattern));
    puts_(w, ",");
    put_pair(w, "status", s->revoked ? "revoked" : "active");
    puts_(w, ",");
    put_number(w, "created_ms", s->created_ms);
    puts_(w, ",");
    put_number(w, "updated_ms", s->updated_ms);
    put_optional(w, "expires_ms", s->expires_ms);
    put_optional(w, "rotate_every_ms", s->rotate_every_ms);
    if (s->previous_until_ms > 0) {
        puts_(w, ",\"previous\":");
        put_json(w, s->previous.data, s->previous.len);
        put_optional(w, "previous_until_ms", s->previous_until_ms);
    }
    puts_(w, ",\"grants\":[");
    for (size_t i = 0; i < s->n_grants; i++) {
        puts_(w, i ? ",{" : "{");
        put_pair(w, "principal", s->grants[i].principal);
        puts_(w, ",");
        put_pair(w, "as", s->grants[i].as);
        puts_(w, "}");
    }
    puts_(w, "]}");
}

static void write_recipients(struct writer *w, const struct vault *v)
{
    puts_(w, ",\"recovery_recipients\":[");
    for (size_t i = 0; i < v->n_recipients; i++) {
        puts_(w, i ? ",\"" : "\"");
        puts_(w, v->recipients[i]);
        puts_(w, "\"");
    }
    puts_(w, "]");
}

static void write_document(struct writer *w, const struct vault *v)
{
    puts_(w, "{");
    put_pair(w, "format", VAULT_FORMAT);
    puts_(w, ",");
    put_pair(w, "vault_id", v->id);
    puts_(w, ",");
    put_number(w, "generation", (int64_t)v->generation);
    if (v->n_recipients > 0)
        write_recipients(w, v);
    puts_(w, ",\"principals\":{");
    for (size_t i = 0; i < v->n_principals; i++) {
        puts_(w, i ? "," : "");
        write_principal(w, &v->principals[i]);
    }
    puts_(w, "},\"secrets\":{");
    for (size_t i = 0; i < v->n_secrets; i++) {
        puts_(w, i ? "," : "");
        write_secret(w, &v->secrets[i]);
    }
    puts_(w, "}}\n");
}

int vault_serialise(const struct vault *v, struct secret *ret)
{
    struct writer w = {0};

    write_document(&w, v);
    if (w.n > LIMIT_VAULT_TEXT)
        return -EFBIG;
    int r = secret_new(w.n, ret);
    if (r < 0)
        return r;
    w = (struct writer){.out = ret->data};
    write_document(&w, v);
    return 0;
}
