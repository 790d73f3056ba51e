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
    LIMIT_VAULT_TEXT = 4 << 20,    // bytes of a vault's plaintext
    LIMIT_AGE_HEADER = 64 << 10,   // bytes of an age header
    LIMIT_DETAIL = 64 << 10,       // bytes of one audit detail (JSON)
    LIMIT_ROUTE_DEPTH = 32,        // jobs between the first of a chain and the last
    LIMIT_API_BODY = 8 << 20,      // bytes of an API request
    LIMIT_API_CONNECTIONS = 64,    // open connections to api.sock
};

enum {
    TIME_TERM_GRACE_MS = 5000,  // between SIGTERM and the kill of everything of a job
    TIME_LEFT_GRACE_MS = 250,   // after a plugin's exit, for what it left behind to end by itself
    TIME_SWEEP_S = 60,          // removing what a job left in TMPDIR
    TIME_EXEC_MS = 5000,        // a child that has not exec'd by then is killed
    TIME_AUDIT_MS = 5000,       // the bus commits a delivery within this, or the spawn is refused
    TIME_ATTEST_MS = 30000,     // a re-hash that takes longer is "cannot check"
    TIME_STOP_MARGIN_MS = 15000 // TimeoutStopSec = drain + this
};
