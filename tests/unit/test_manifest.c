#include "manifest.h"
#include "str.h"
#include "unit.h"

#define HEAD                                                                                                 \
    "manifest_spec: ductile.plugin\nmanifest_version: 1\nname: n\nversion: 1.0\nprotocol: 2\nentrypoint: run.py\n"
#define COMMANDS "commands:\n  - {name: poll, type: read}\n  - {name: handle}\n"

static void refused(const char *text, const char *word)
{
    struct manifest m;
    struct refusal refusal;
    assert_int_equal(manifest_parse("m.yaml", text, strlen(text), &m, &refusal), -ECANCELED);
    if (!strstr(refusal.why, word))
        print_message("# %s\n", refusal.why);
    assert_non_null(strstr(refusal.why, word));
    assert_string_equal(refusal.id, "PLUG-LOAD-01");
}

static void test_manifest_parse__full(void **s)
{
    const char *text = HEAD COMMANDS
        "description: d\nconcurrency_safe: false\nrequires_secrets: [a_b]\nstopwatch: {max_subs: 3}\n"
        "fact_outputs: []\nconfig_keys: {required: [x], optional: [y, z]}\n";
    struct manifest m;
    struct refusal refusal;
    (void)s;
    assert_int_equal(manifest_parse("m.yaml", text, strlen(text), &m, &refusal), 0);
    assert_string_equal(m.name, "n");
    assert_false(m.concurrency_safe);
    assert_int_equal(m.n_commands, 2);
    assert_int_equal(manifest_command(&m, "poll")->type, COMMAND_READ);
    assert_int_equal(manifest_command(&m, "handle")->type, COMMAND_WRITE);
    assert_null(manifest_command(&m, "health"));
    assert_string_equal(m.requires_secrets.list[0], "a_b");
    assert_int_equal(m.config_optional.n, 2);
    manifest_free(&m);
}

static void test_manifest_parse__refusals(void **s)
{
    (void)s;
    refused("", "expected a map");
    refused(HEAD, "at least one command");
    refused(HEAD "commands: {poll: {}}\n", "expected a list");
    refused(HEAD "commands: [poll]\n", "expected a map with name");
    refused(HEAD "commands: [{name: poll}, {name: poll}]\n", "appears twice");
    refused(HEAD "commands: [{name: poll, type: execute}]\n", "read or write");
    refused(HEAD "commands: [{name: a b}]\n", "not a command's name");
    refused(HEAD COMMANDS "extra: 1\n", "unknown key \"extra\"");
    refused(HEAD COMMANDS "config_keys: [a]\n", "expected a map with required");
    refused(HEAD COMMANDS "requires_secrets: [UPPER]\n", "not a secret's name");
    refused(HEAD COMMANDS "concurrency_safe: maybe\n", "true or false");
    refused("name: n\n" COMMANDS, "manifest_spec");
}

static void test_manifest_parse__wrong_head(void **s)
{
    static const struct {
        const char *from, *to, *word;
    } changes[] = {
        {"protocol: 2", "protocol: 1", "expected 2"},
        {"manifest_version: 1", "manifest_version: 2", "expected 1"},
        {"run.py", "../run.py", "without \"..\""},
        {"run.py", "/bin/sh", "relative path"},
        {"name: n\n", "name: ../n\n", "not a plugin's name"},
        {"ductile.plugin", "other", "expected ductile.plugin"},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        const char *text = HEAD COMMANDS, *at = strstr(text, changes[i].from);
        struct strbuf sb = {0};
        sb_add(&sb, text, (size_t)(at - text));
        sb_adds(&sb, changes[i].to);
        sb_adds(&sb, at + strlen(changes[i].from));
        char *changed = sb_finish(&sb);
        refused(changed, changes[i].word);
        free(changed);
    }
}

RUN(T(manifest_parse__full), T(manifest_parse__refusals), T(manifest_parse__wrong_head))
