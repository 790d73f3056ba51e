// Every limit of the suite, in one place. Units are in the name or beside it.
// Limits that an operator may set (limits.* of the config) have their default in config.def instead.
#pragma once

enum {
    LIMIT_NAME = 64,               // bytes of any name (plugin, account, command, secret), NUL included
    LIMIT_PATH = 1024,             // bytes of a path we store or send, NUL included
    LIMIT_ACCOUNTS = 256,          // the warden's seccomp filter must hold every id (BPF_MAXINSNS 4096)
    LIMIT_WORKERS = 1024,          // service.max_workers
    LIMIT_CONFIG_FILE = 1 << 20,   // bytes of one YAML file
    LIMIT_CONFIG_FILES = 64,       // files of one config, includes counted
    LIMIT_CONFIG_DEPTH = 32,       // nesting of YAML
    LIMIT_LOCK_FILE = 64 << 20,    // bytes of plugins.lock
    LIMIT_MASK = 4 << 20,          // bytes of the fingerprints of one spawn's secrets
    LIMIT_BUNDLE = 128 << 20,      // bytes of what the warden hands to the bus at start
    LIMIT_TREE_ENTRIES = 20000,    // files, directories and links of one plugin
    LIMIT_REMOVE_DEPTH = 200,      // levels of a tree that is removed; each holds a descriptor
    LIMIT_TREE_DEPTH = 32,         // directories below a plugin's root
    LIMIT_TREE_BYTES = 512 << 20,  // bytes of one plugin
    LIMIT_SECRET_VALUE = 32 << 10, // bytes of one secret
    LIMIT_SECRETS = 10000,         // secrets in a vault
    LIMIT_PRINCIPALS = 1000,       // principals in a vault
    LIMIT_RECIPIENTS = 64,         // recovery recipients of a vault, those of the config counted
    LIMIT_VAULT_TEXT = 4 << 20,    // bytes of a vault's plaintext
    LIMIT_AGE_HEADER = 1 << 20,    // bytes of an age header
    LIMIT_AGE_SPACE = 1024,        // bytes of white space on either side of an armored file
    LIMIT_AGE_IDENTITIES = 64,     // keys of one identity file
    LIMIT_DETAIL = 64 << 10,       // bytes of one audit detail (JSON)
    LIMIT_DELIVERY = 24 << 10,  // of a delivery's: with its quotes escaped one line of the journal (48 KiB)
    LIMIT_ROUTE_DEPTH = 32,     // jobs between the first of a chain and the last
    LIMIT_API_BODY = 8 << 20,   // bytes of an API request
    LIMIT_API_CONNECTIONS = 64, // open connections to api.sock and over TCP
    LIMIT_API_TCP = 48,         // of them over TCP: strangers never take the operators' share
    LIMIT_TOKENS = 64,          // api.tokens
    LIMIT_WEBHOOKS = 64,        // webhooks
    LIMIT_TOKEN_MIN = 32,       // bytes of a token or webhook key, at least: 128 bits written as hex
    LIMIT_TOKEN_MAX = 512,      // bytes of a token, at most
    LIMIT_HOOK_SEEN = 65536,    // signatures of webhooks that are remembered; more are not taken
    LIMIT_HOOK_BODY = 1 << 20,  // bytes of a webhook's body: the warden hashes them between two turns
};

enum {
    TIME_TERM_GRACE_MS = 5000,  // between SIGTERM and the kill of everything of a job
    TIME_LEFT_GRACE_MS = 250,   // after a plugin's exit, for what it left behind to end by itself
    TIME_SWEEP_S = 60,          // removing what a job left in TMPDIR
    TIME_EXEC_MS = 5000,        // a child that has not exec'd by then is killed
    TIME_AUDIT_MS = 5000,       // the bus commits a delivery within this, or the spawn is refused
    TIME_VAULT_LOOK_MS = 3000,  // how often the vault's file is looked at while the bus has tokens of it
    TIME_VAULT_RETRY_MS = 1000, // a vault that could not be opened, and is the same file, is tried again
    TIME_HEAD_S = 3600,         // how often the bus says the head of the audit chain
    TIME_ATTEST_MS = 30000,     // a re-hash that takes longer is "cannot check"
    TIME_PROBE_MS = 4000,       // an attempt or a check of the gate that takes longer is unproven
    TIME_GATE_MS = 30000,       // all of the gate; well below a unit's TimeoutStartSec (90 s)
    TIME_ASK_MS = 10000,        // another program (sudo -l) has answered by then
    TIME_HOOK_MS = 86400000,    // webhooks[].window, at most: so far back a restart reads what was seen
    TIME_STRANGER_MS = 15000,   // a connection over TCP brings a whole request within this
    TIME_CALLER_MS = 60000,     // and where it showed a token
    TIME_STOP_MARGIN_MS = 15000 // TimeoutStopSec = drain + this
};
