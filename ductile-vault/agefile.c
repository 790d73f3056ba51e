// The age verbs: from a file or standard input to standard output or -o, in constant memory. They read no
// config and open no vault; keys, passphrases and plaintext are in the arena.
#include "agefile.h"
#include "age_parts.h"
#include "fd.h"
#include "limits.h"
#include "log.h"
#include "outfile.h"
#include "prompt.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { ARENA = 512 << 10, KEY_FILE_MAX = 64 << 10, PASSPHRASE_MAX = 1024 };

struct work {
    const struct opts *opts;
    struct refusal refusal;
    int in;
    const char *in_name;
    struct outfile out;
    struct secret passphrase;
    struct age_identity identities[LIMIT_AGE_IDENTITIES];
    size_t n;
};

static int begin(const struct opts *o, struct work *w)
{
    *w = (struct work){.opts = o, .in = -1, .in_name = "standard input", .out = {.fd = -1, .dir = -1}};
    int r = secret_arena_open(ARENA);
    if (r == 0)
        return 0;
    refuse(&w->refusal, REFUSE_VAULT_MEMLOCK, "%d KiB of locked memory for keys", ARENA >> 10);
    refuse_why(&w->refusal, "mlock: %s; RLIMIT_MEMLOCK is %zu KiB", errno_name(-r),
               secret_memlock_limit() >> 10);
    return refuse_remedy(&w->refusal, "ulimit -l %d", (ARENA >> 10) + 64);
}

static int end(struct work *w, int r)
{
    if (w->out.fd >= 0)
        outfile_abort(&w->out);
    if (w->in != STDIN_FILENO)
        fd_closep(&w->in);
    for (size_t i = 0; i < w->n; i++)
        age_identity_wipe(&w->identities[i]);
    secret_wipe(&w->passphrase);
    secret_arena_close();
    return r < 0 ? refusal_print(&w->refusal, opt_given(w->opts, OPT_JSON)) : EXITCODE_OK;
}

static int open_input(struct work *w)
{
    const struct opts *o = w->opts;

    w->in = STDIN_FILENO;
    if (o->n_args == 0 || str_eq(o->args[0], "-"))
        return 0;
    w->in_name = o->args[0];
    w->in = open(o->args[0], O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (w->in >= 0)
        return 0;
    const int e = errno;
    refuse(&w->refusal, REFUSE_AGE_INPUT, "reading %s", w->in_name);
    refuse_why(&w->refusal, "%s (%s)", strerror(e), errno_name(e));
    return refuse_remedy(&w->refusal, "name a file that is there, or pipe it into standard input");
}

static int output_refused(struct work *w, int r)
{
    const char *path = w->opts->value[OPT_OUTPUT];

    refuse(&w->refusal, REFUSE_AGE_OUTPUT, "writing %s", path ? path : "standard output");
    refuse_why(&w->refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(&w->refusal, "name another file with -o");
}

static int open_output(struct work *w, mode_t mode, int flags)
{
    int r = outfile_open(w->opts->value[OPT_OUTPUT], mode, flags, &w->out);

    return r < 0 ? output_refused(w, r) : 0;
}

static int commit_output(struct work *w)
{
    int r = outfile_commit(&w->out);

    return r < 0 ? output_refused(w, r) : 0;
}

static int write_output(void *ctx, const void *data, size_t len)
{
    const struct work *w = ctx;

    return fd_write_all(w->out.fd, data, len);
}

// ---- passphrases ----------------------------------------------------------------------------------

static int passphrase_refused(struct work *w, const char *why)
{
    refuse(&w->refusal, REFUSE_AGE_PASSPHRASE, "the passphrase");
    refuse_why(&w->refusal, "%s", why);
    return refuse_remedy(&w->refusal, "run it on a terminal and type the passphrase there");
}

static int ask(struct work *w, const char *question, struct secret *ret)
{
    int r = prompt_secret(question, PASSPHRASE_MAX, ret);

    if (r == 0 && ret->len > 0)
        return 0;
    return passphrase_refused(w, r == -ENXIO    ? "there is no terminal to ask on"
                                 : r == -EFBIG  ? "it is longer than 1024 bytes"
                                 : r == -ENOMEM ? "the locked memory is full"
                                                : "it is empty");
}

static int ask_twice(struct work *w)
{
    struct secret again = {0};
    int r = ask(w, "passphrase (not shown): ", &w->passphrase);

    if (r == 0)
        r = ask(w, "once more: ", &again);
    if (r == 0 &&
        (again.len != w->passphrase.len || sodium_memcmp(again.data, w->passphrase.data, again.len) != 0))
        r = passphrase_refused(w, "the two differ");
    secret_wipe(&again);
    return r;
}

// ---- encrypt --------------------------------------------------------------------------------------

static int take_recipients(struct work *w, uint8_t (*ret)[AGE_KEY_LEN], size_t *ret_n)
{
    const struct opts *o = w->opts;

    for (int i = 0; i < o->n_all; i++) {
        if (o->all[i].id != OPT_RECIPIENT)
            continue;
        if (age_recipient_parse(o->all[i].value, ret[(*ret_n)++]) == 0)
            continue;
        refuse(&w->refusal, REFUSE_AGE_RECIPIENT, "the recipient \"%.100s\"", o->all[i].value);
        refuse_why(&w->refusal, "it is not an X25519 recipient of age (age1... of %d characters, lower case)",
                   AGE_RECIPIENT_LEN);
        return refuse_remedy(&w->refusal, "ductile-vault keygen, or age-keygen -y KEYFILE");
    }
    return 0;
}

static int encrypt_refused(struct work *w, int r)
{
    if (r == -EINVAL) {
        refuse(&w->refusal, REFUSE_AGE_RECIPIENT, "encrypting to these recipients");
        refuse_why(&w->refusal,
                   "one of them is a point of low order: whatever is encrypted to it is not secret");
        return refuse_remedy(&w->refusal, "leave that recipient out, and ask where it came from");
    }
    refuse(&w->refusal, REFUSE_IO, "encrypting %s", w->in_name);
    refuse_why(&w->refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(&w->refusal, "mend that and run it again; nothing was left under -o");
}

static int encrypt(struct work *w)
{
    uint8_t recipients[OPT_GIVEN_MAX][AGE_KEY_LEN];
    size_t n = 0;
    const struct opts *o = w->opts;
    int r = take_recipients(w, recipients, &n);

    if (r == 0 && opt_given(o, OPT_PASSPHRASE))
        r = ask_twice(w);
    if (r == 0)
        r = open_input(w);
    if (r == 0)
        r = open_output(w, 0666, 0);
    if (r < 0)
        return r;
    const struct age_targets targets = {.recipients = (const uint8_t(*)[AGE_KEY_LEN])recipients,
                                        .n = n,
                                        .passphrase = w->passphrase.len > 0 ? &w->passphrase : NULL};
    const struct age_source source = {age_read_fd, &w->in};
    const struct age_sink sink = {.write = write_output, .ctx = w};
    r = age_encrypt_stream(&source, &targets, opt_given(o, OPT_ARMOR), &sink);
    return r < 0 ? encrypt_refused(w, r) : commit_output(w);
}

// JSON and content do not share standard output.
static bool mixes(const struct opts *o)
{
    return opt_given(o, OPT_JSON) && (!opt_given(o, OPT_OUTPUT) || str_eq(o->value[OPT_OUTPUT], "-"));
}

static void say_written(const struct opts *o)
{
    struct strbuf sb = {0};

    if (!opt_given(o, OPT_JSON))
        return;
    sb_adds(&sb, "{\"written\":");
    sb_add_json(&sb, o->value[OPT_OUTPUT]);
    sb_addc(&sb, '}');
    OWNED(freep) char *json = sb_finish(&sb);
    puts(json ? json : "{}");
}

int agefile_encrypt(const struct opts *o)
{
    struct work w;

    if (mixes(o))
        return opt_usage(o, "--json needs -o FILE: standard output carries the content");
    if (opt_given(o, OPT_PASSPHRASE) == opt_given(o, OPT_RECIPIENT))
        return opt_usage(o, opt_given(o, OPT_PASSPHRASE)
                                ? "-p stands alone: a passphrase and recipients do not mix"
                                : "it needs -r RECIPIENT, or -p for a passphrase");
    if (!opt_given(o, OPT_ARMOR) && !opt_given(o, OPT_OUTPUT) && isatty(STDOUT_FILENO))
        return opt_usage(o, "standard output is a terminal: -a writes text, -o FILE a file");
    int r = begin(o, &w);
    if (r == 0)
        r = encrypt(&w);
    if (r == 0)
        say_written(o);
    return end(&w, r);
}

// ---- decrypt --------------------------------------------------------------------------------------

static int key_refused(struct work *w, const char *path, const char *why)
{
    refuse(&w->refusal, REFUSE_AGE_KEY, "the key file %s", path);
    refuse_why(&w->refusal, "%s", why);
    return refuse_remedy(&w->refusal, "give a file as ductile-vault keygen and age-keygen write it");
}

static int read_keys(struct work *w, const char *path)
{
    struct secret text = {0};
    size_t n = 0;
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return key_refused(w, path, strerror(errno));
    int r = secret_from_fd(fd, KEY_FILE_MAX, &text);
    if (r < 0)
        return key_refused(w, path, r == -EFBIG ? "it is larger than 64 KiB" : strerror(-r));
    r = age_identity_parse_all(&text, w->identities + w->n, LIMIT_AGE_IDENTITIES - w->n, &n);
    secret_wipe(&text);
    if (r < 0)
        return key_refused(w, path,
                           r == -E2BIG    ? "more than 64 keys"
                           : r == -ENOMEM ? "the locked memory is full"
                                          : "it holds no AGE-SECRET-KEY-1..., or a line that is none");
    w->n += n;
    return 0;
}

static int decrypt_refused(struct work *w, int r)
{
    static const struct {
        int error;
        enum refusal_kind kind;
        const char *why, *remedy;
    } rows[] = {
        {AGE_E_HEADER, REFUSE_AGE_HEADER,
         "its header is not that of an age v1 file, or a stanza in it is malformed",
         "get the file again from whoever made it"},
        {AGE_E_NO_MATCH, REFUSE_AGE_NO_MATCH, "it was encrypted to somebody else, or by another passphrase",
         "give the right key with -i, or -p where it has a passphrase"},
        {AGE_E_HMAC, REFUSE_AGE_HMAC, "its header's MAC is wrong: it was changed after it was written",
         "get the file again from whoever made it"},
        {AGE_E_PAYLOAD, REFUSE_AGE_PAYLOAD,
         "its content does not authenticate, is cut short, or goes on after its end",
         "get the file again from whoever made it; what came out so far is authentic, and not all"},
        {AGE_E_ARMOR, REFUSE_AGE_ARMOR, "its armor is not strict PEM",
         "get the file again as it was written: no line wrapped, indented or cut"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].error == r) {
            refuse(&w->refusal, rows[i].kind, "decrypting %s", w->in_name);
            refuse_why(&w->refusal, "%s", rows[i].why);
            return refuse_remedy(&w->refusal, "%s", rows[i].remedy);
        }
    refuse(&w->refusal, REFUSE_IO, "decrypting %s", w->in_name);
    refuse_why(&w->refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(&w->refusal, "mend that and run it again; nothing was left under -o");
}

static int decrypt(struct work *w)
{
    const struct opts *o = w->opts;
    int r = 0;

    for (int i = 0; r == 0 && i < o->n_all; i++)
        if (o->all[i].id == OPT_IDENTITY)
            r = read_keys(w, o->all[i].value);
    if (r == 0 && opt_given(o, OPT_PASSPHRASE))
        r = ask(w, "passphrase (not shown): ", &w->passphrase);
    if (r == 0)
        r = open_input(w);
    if (r == 0)
        r = open_output(w, 0600, 0);
    if (r < 0)
        return r;
    const struct age_keys keys = {
        .identities = w->identities, .n = w->n, .passphrase = w->passphrase.len > 0 ? &w->passphrase : NULL};
    const struct age_source source = {age_read_fd, &w->in};
    const struct age_sink sink = {.write = write_output, .ctx = w};
    r = age_decrypt_stream(&source, &keys, &sink);
    return r < 0 ? decrypt_refused(w, r) : commit_output(w);
}

int agefile_decrypt(const struct opts *o)
{
    struct work w;

    if (mixes(o))
        return opt_usage(o, "--json needs -o FILE: standard output carries the content");
    if (!opt_given(o, OPT_IDENTITY) && !opt_given(o, OPT_PASSPHRASE))
        return opt_usage(o, "it needs -i KEYFILE, or -p for a passphrase");
    int r = begin(o, &w);
    if (r == 0)
        r = decrypt(&w);
    if (r == 0)
        say_written(o);
    return end(&w, r);
}

// ---- keygen ---------------------------------------------------------------------------------------

static int keygen(struct work *w)
{
    char recipient[AGE_RECIPIENT_LEN + 1];
    struct secret text = {0};
    int r = age_identity_new(&w->identities[0]);

    if (r < 0)
        return encrypt_refused(w, r);
    w->n = 1;
    r = age_identity_text(&w->identities[0], &text);
    if (r < 0)
        return encrypt_refused(w, r);
    r = open_output(w, 0600, OUTFILE_NEW);
    // Its first line is of a vault's key; this one may be anybody's.
    const uint8_t *body = (const uint8_t *)strstr((char *)text.data, "# public key");
    if (r == 0) {
        r = fd_write_all(w->out.fd, body, text.len - (size_t)(body - text.data));
        r = r < 0 ? output_refused(w, r) : commit_output(w);
    }
    secret_wipe(&text);
    if (r < 0)
        return r;
    age_recipient_text(w->identities[0].recipient, recipient);
    if (opt_given(w->opts, OPT_JSON))
        printf("{\"recipient\":\"%s\"}\n", recipient);
    else if (opt_given(w->opts, OPT_OUTPUT) || !isatty(STDOUT_FILENO))
        log_info("its recipient is %s", recipient);
    return 0;
}

int agefile_keygen(const struct opts *o)
{
    struct work w;

    if (mixes(o))
        return opt_usage(o, "--json needs -o FILE: standard output carries the key");
    int r = begin(o, &w);
    return end(&w, r < 0 ? r : keygen(&w));
}
