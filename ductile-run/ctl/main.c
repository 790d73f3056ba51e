// ductile: the front door. Talks to the gateway's socket, or runs the program a verb belongs to.
#include "config.h"
#include "ctl.h"
#include "fd.h"
#include "jobstate.h"
#include "log.h"
#include "opt.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

// The socket: said, or of the config that was said, or the instance's usual place (operators may not read the
// config).
int open_session(const struct opts *o, struct session *s, struct refusal *refusal)
{
    const char *instance = opt_given(o, OPT_INSTANCE) ? o->value[OPT_INSTANCE] : "ductile";

    s->json = opt_given(o, OPT_JSON);
    if (!str_is_instance(instance)) {
        refuse(refusal, REFUSE_USAGE, "the instance \"%.64s\"", instance);
        refuse_why(
            refusal,
            "an instance is named by lower-case letters and digits in groups joined by single hyphens");
        return refuse_remedy(refusal, "ductile -i ductile status");
    }
    s->client.instance = instance;
    s->client.raw = s->json;
    snprintf(s->path, sizeof(s->path), "/run/%.64s/api.sock", instance);
    if (opt_given(o, OPT_SOCKET))
        snprintf(s->path, sizeof(s->path), "%s", o->value[OPT_SOCKET]);
    else if (opt_given(o, OPT_CONFIG)) {
        OWNED(config_freep) struct config *config = NULL;
        OWNED(fd_closep) int root = fd_open_root(NULL);
        int r = config_load(root, o->value[OPT_CONFIG], NULL, &config, refusal);
        if (r < 0)
            return r;
        snprintf(s->path, sizeof(s->path), "%s", config->api_socket);
    }
    s->client.socket = s->path;
    return 0;
}

static int print_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
    return EXITCODE_OK;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static json_int_t int_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static const char *when(json_int_t ms, char buf[static 32])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    localtime_r(&t, &tm);
    strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm);
    return ms > 0 ? buf : "-";
}

// ---- jobs ---------------------------------------------------------------------------------------

static void print_job_row(const json_t *job)
{
    char at[32];

    printf("%6lld  %-10s  %-28s %-10s %lld/%lld  %s  %s\n", (long long)int_of(job, "id"),
           text_of(job, "state"), text_of(job, "plugin"), text_of(job, "command"),
           (long long)int_of(job, "attempt"), (long long)int_of(job, "max_attempts"),
           when(int_of(job, "created_ms"), at), text_of(job, "reason"));
}

static void print_attempt(const json_t *a)
{
    OWNED(freep) char *secrets = json_dumps(json_object_get(a, "secrets"), JSON_COMPACT);

    printf("  attempt %lld: %s", (long long)int_of(a, "attempt"), text_of(a, "outcome"));
    if (json_object_get(a, "pid"))
        printf(
            ", %s account \"%s\" uid %lld gid %lld groups %lld, caps %s, no_new_privs %lld\n"
            "    layers %s; secrets %s; masked %lld; exit %lld signal %lld left_behind=%lld\n    lock %.16s",
            text_of(a, "mode"), text_of(a, "account"), (long long)int_of(a, "uid"),
            (long long)int_of(a, "gid"), (long long)int_of(a, "groups"), text_of(a, "caps"),
            (long long)int_of(a, "no_new_privs"), text_of(a, "layers"), secrets ? secrets : "[]",
            (long long)int_of(a, "masked"), (long long)int_of(a, "exit_code"), (long long)int_of(a, "signal"),
            (long long)int_of(a, "left_behind"), text_of(a, "lock_hash"));
    putchar('\n');
}

static void print_job(const json_t *job)
{
    size_t i;
    json_t *row;
    char at[32];
    OWNED(freep) char *result = json_dumps(json_object_get(job, "result"), JSON_COMPACT | JSON_ENCODE_ANY);

    printf("job %lld: %s %s: %s%s%s\n", (long long)int_of(job, "id"), text_of(job, "plugin"),
           text_of(job, "command"), text_of(job, "state"), text_of(job, "reason")[0] ? ", " : "",
           text_of(job, "reason"));
    printf("  by %s\n", text_of(job, "submitted_by"));
    json_array_foreach(json_object_get(job, "transitions"), i, row)
        printf("  %s  %s%s%s  %s\n", when(int_of(row, "at_ms"), at), text_of(row, "from_state"),
               text_of(row, "from_state")[0] ? " -> " : "", text_of(row, "to_state"), text_of(row, "reason"));
    json_array_foreach(json_object_get(job, "attempts"), i, row) print_attempt(row);
    if (result)
        printf("  result %s\n", result);
    if (text_of(job, "error")[0])
        printf("  error %s\n", text_of(job, "error"));
    json_array_foreach(json_object_get(job, "events"), i, row)
        printf("  event %lld %s\n", (long long)int_of(row, "id"), text_of(row, "type"));
    json_array_foreach(json_object_get(job, "children"), i, row) print_job_row(row);
}

static int enqueue(const struct opts *o, struct session *s, json_int_t *ret_id, struct refusal *refusal)
{
    char path[3 * LIMIT_NAME];
    const char *text = opt_given(o, OPT_PAYLOAD) ? o->value[OPT_PAYLOAD] : "{}";
    json_error_t error;
    json_t *payload = json_loads(text, JSON_REJECT_DUPLICATES, &error), *answer = NULL;

    if (!json_is_object(payload) || !str_is_plugin(o->args[0]) || !str_is_plugin(o->args[1])) {
        bool name = json_is_object(payload);
        refuse(refusal, REFUSE_API_REQUEST, "enqueueing %s %s", o->args[0], o->args[1]);
        refuse_why(refusal, "%s",
                   name      ? "that is not the name of a plugin or command"
                   : payload ? "--payload is not an object"
                             : error.text);
        refuse_remedy(refusal, name ? "ductile status" : "--payload '{\"key\": \"value\"}'");
        json_decref(payload);
        return -ECANCELED;
    }
    json_t *body = json_pack("{s:o}", "payload", payload);
    snprintf(path, sizeof(path), "/plugin/%s/%s", o->args[0], o->args[1]);
    int r = client_call(&s->client, "POST", path, body, &answer, refusal);
    json_decref(body);
    if (r == 0)
        *ret_id = int_of(answer, "job_id");
    json_decref(answer);
    return r;
}

static int job_enqueue(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    json_int_t id = 0;
    int r = open_session(o, &s, &refusal);

    if (r == 0)
        r = enqueue(o, &s, &id, &refusal);
    if (r != 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    printf(s.json ? "{\"job_id\": %lld}\n" : "job %lld queued\n", (long long)id);
    return EXITCODE_OK;
}

static bool is_over(const json_t *job)
{
    return jobstate_over(text_of(job, "state"));
}

static int get_job(const struct session *s, json_int_t id, json_t **ret, struct refusal *refusal)
{
    char path[64];

    snprintf(path, sizeof(path), "/job/%lld", (long long)id);
    return client_call(&s->client, "GET", path, NULL, ret, refusal);
}

static void nap(int64_t ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

// Waits for the end of a job, asking less often as time goes by.
static int await(const struct session *s, json_int_t id, uint64_t timeout_ms, json_t **ret,
                 struct refusal *refusal)
{
    int64_t pause = 20, waited = 0;

    for (;;) {
        json_t *job = NULL;
        int r = get_job(s, id, &job, refusal);
        if (r < 0)
            return r;
        if (is_over(job) || (uint64_t)waited >= timeout_ms) {
            *ret = job;
            return 0;
        }
        json_decref(job);
        nap(pause);
        waited += pause;
        pause = MIN(pause * 3 / 2, 500);
    }
}

static int job_run(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    json_int_t id;
    json_t *job = NULL;
    uint64_t timeout = 600000;

    if (opt_given(o, OPT_TIMEOUT) && str_to_duration(o->value[OPT_TIMEOUT], &timeout) < 0)
        return opt_usage(o, "--timeout takes a duration such as 30s or 5m");
    int r = open_session(o, &s, &refusal);
    if (r == 0)
        r = enqueue(o, &s, &id, &refusal);
    if (r == 0 && !s.json && !opt_given(o, OPT_QUIET))
        log_info("job %lld queued; waiting", (long long)id);
    if (r == 0)
        r = await(&s, id, timeout, &job, &refusal);
    if (r < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    bool over = is_over(job), good = str_eq(text_of(job, "state"), "succeeded");
    if (s.json)
        print_json(job);
    else if (!good || !opt_given(o, OPT_QUIET))
        print_job(job);
    json_decref(job);
    return good ? EXITCODE_OK : over ? EXITCODE_FINDING : EXITCODE_AGAIN;
}

static int job_list(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    json_t *answer = NULL;
    char path[256];
    uint64_t limit = 20;

    if (opt_given(o, OPT_LIMIT) && str_to_u64(o->value[OPT_LIMIT], 1, 1000, &limit) < 0)
        return opt_usage(o, "--limit takes a number from 1 to 1000");
    if (opt_given(o, OPT_STATE) && !jobstate_known(o->value[OPT_STATE]))
        return opt_usage(o, "--state takes one of %.*s", (int)sizeof(jobstate_words) - 3, jobstate_words);
    snprintf(path, sizeof(path), "/jobs?limit=%llu%s%s", (unsigned long long)limit,
             opt_given(o, OPT_STATE) ? "&state=" : "", opt_given(o, OPT_STATE) ? o->value[OPT_STATE] : "");
    int r = open_session(o, &s, &refusal);
    if (r == 0)
        r = client_call(&s.client, "GET", path, NULL, &answer, &refusal);
    if (r < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    size_t i;
    json_t *job;
    if (s.json)
        print_json(answer);
    else if (json_array_size(json_object_get(answer, "jobs")) == 0)
        log_info("no jobs; start one with: ductile job run PLUGIN COMMAND");
    else {
        printf("%6s  %-10s  %-28s %-10s tries created\n", "job", "state", "plugin", "command");
        json_array_foreach(json_object_get(answer, "jobs"), i, job) print_job_row(job);
    }
    json_decref(answer);
    return EXITCODE_OK;
}

static int job_show(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    json_t *job = NULL;
    uint64_t id;

    if (str_to_u64(o->args[0], 1, INT64_MAX, &id) < 0)
        return opt_usage(o, "\"%s\" is not a job's number", o->args[0]);
    int r = open_session(o, &s, &refusal);
    if (r == 0)
        r = get_job(&s, (json_int_t)id, &job, &refusal);
    if (r < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    if (s.json)
        print_json(job);
    else
        print_job(job);
    json_decref(job);
    return EXITCODE_OK;
}

// ---- status -------------------------------------------------------------------------------------

static void print_status(const json_t *p)
{
    char at[32];
    size_t i;
    json_t *row;
    const json_t *proven = json_object_get(p, "proven");

    printf("instance   %s, version %s, since %s\n", text_of(p, "instance"), text_of(p, "version"),
           when(int_of(p, "started_ms"), at));
    printf("posture    %s\n", text_of(p, "posture"));
    printf("valid      yes (the running config)\n");
    printf("attested   %lld plugins locked\n", (long long)int_of(p, "attested"));
    printf("enforcing  %s\n",
           json_is_true(json_object_get(p, "enforcing")) ? "yes" : "NO: plugins run as the service user");
    long long abi = (long long)int_of(p, "landlock_abi");
    if (json_is_true(json_object_get(p, "enforcing")))
        printf("landlock   ABI %lld%s%s\n", abi,
               abi < 6 ? ", absent here: signals and abstract sockets between siblings (6)" : "",
               abi < 4 ? ", TCP of network: none once more (4)" : "");
    if (json_is_object(proven))
        printf("proven     %s at %s by %s (%lld probes)\n", text_of(proven, "outcome"),
               when(int_of(proven, "at_ms"), at), text_of(proven, "verb"),
               (long long)int_of(proven, "probes"));
    else
        printf("proven     never on this ledger: ductile-gate prove\n");
    json_array_foreach(json_object_get(p, "breached"), i, row)
        printf("BREACHED   account %s: %s; none of its jobs starts (ductile-gate prove)\n",
               text_of(row, "account"), text_of(row, "what"));
    json_array_foreach(json_object_get(p, "accounts"), i, row)
    {
        const json_t *egress = json_object_get(row, "egress");
        printf("account    %-14s %-12s %s uid %lld, landlock %s", text_of(row, "name"), text_of(row, "mode"),
               text_of(row, "user"), (long long)int_of(row, "uid"), text_of(row, "landlock"));
        // The rules are the host's, loaded by another unit: the gate tried them, see `proven`.
        if (json_is_array(egress))
            printf(", egress %zu networks", json_array_size(egress));
        putchar('\n');
    }
    printf("queue     ");
    json_array_foreach(json_object_get(p, "queue"), i, row)
        printf(" %s %lld", text_of(row, "state"), (long long)int_of(row, "n"));
    printf("%s (%lld workers)\n", json_array_size(json_object_get(p, "queue")) ? "" : " empty",
           (long long)int_of(p, "workers"));
    if (strcmp(text_of(p, "ledger"), "ok") != 0)
        printf("ledger     CANNOT BE WRITTEN: %s; no work begins until it can\n", text_of(p, "ledger"));
    json_array_foreach(json_object_get(p, "refusals"), i, row)
        printf("refused    job %lld %s %s: %s\n", (long long)int_of(row, "id"), text_of(row, "plugin"),
               text_of(row, "command"), text_of(row, "reason"));
}

static int status(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    json_t *answer = NULL;
    int r = open_session(o, &s, &refusal);

    if (r == 0)
        r = client_call(&s.client, "GET", "/posture", NULL, &answer, &refusal);
    if (r < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    if (s.json)
        print_json(answer);
    else
        print_status(answer);
    json_decref(answer);
    return EXITCODE_OK;
}

// The row that tells most: the last transition that is no bookkeeping of the queue.
static const char *cause_of(const json_t *job)
{
    const json_t *list = json_object_get(job, "transitions");
    const char *found = "";

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_array_get(list, i);
        if (text_of(t, "reason")[0] && !str_eq(text_of(t, "to_state"), "running") &&
            text_of(t, "from_state")[0])
            found = text_of(t, "reason");
    }
    return found;
}

// One link: the job, how it ended, and how it began. True where another job stands behind it.
static bool print_link(const json_t *job, bool first)
{
    const json_t *event = json_object_get(job, "cause_event");
    const char *cause = cause_of(job);
    char at[32];

    printf("%sjob %lld, %s %s: %s%s%s\n", first ? "" : "  of ", (long long)int_of(job, "id"),
           text_of(job, "plugin"), text_of(job, "command"), text_of(job, "state"), cause[0] ? " - " : "",
           cause);
    if (text_of(job, "error")[0])
        printf("  it said: %s\n", text_of(job, "error"));
    printf("  attempt %lld of %lld; asked for by %s at %s\n", (long long)int_of(job, "attempt"),
           (long long)int_of(job, "max_attempts"), text_of(job, "submitted_by"),
           when(int_of(job, "created_ms"), at));
    if (!json_is_object(event))
        return false;
    printf("because of event %lld, %s\n", (long long)int_of(event, "id"), text_of(event, "type"));
    return int_of(event, "source_job") > 0;
}

static int why(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    uint64_t id;
    json_t *chain = json_array(), *job = NULL;

    if (str_to_u64(o->args[0], 1, INT64_MAX, &id) < 0) {
        json_decref(chain);
        return opt_usage(o, "\"%s\" is not the number of a job", o->args[0]);
    }
    int r = open_session(o, &s, &refusal);
    for (size_t links = 0; r == 0 && id > 0 && links < LIMIT_ROUTE_DEPTH + 2; links++) {
        r = get_job(&s, (json_int_t)id, &job, &refusal);
        if (r < 0)
            break;
        json_array_append_new(chain, job);
        id = (uint64_t)int_of(json_object_get(job, "cause_event"), "source_job");
    }
    if (r < 0) {
        json_decref(chain);
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    if (s.json)
        print_json(chain);
    for (size_t i = 0; !s.json && i < json_array_size(chain); i++)
        print_link(json_array_get(chain, i), i == 0);
    json_decref(chain);
    return EXITCODE_OK;
}

static const struct opt_verb verbs[] = {
    {.name = "status",
     .args = "",
     .options = OPT_BIT(SOCKET),
     .summary = "the gateway on one screen",
     .example = "ductile status",
     .detail =
         "Four facts told apart: valid (the config), attested (the code), enforcing (the drop), proven (the wall, "
         "with its time).",
     .exits = "69 77",
     .run = status},
    {.name = "job run",
     .args = "PLUGIN COMMAND",
     .min_args = 2,
     .max_args = 2,
     .options = OPT_BIT(SOCKET) | OPT_BIT(PAYLOAD) | OPT_BIT(TIMEOUT),
     .summary = "enqueue a job and wait for its end",
     .detail =
         "Exits 0 when the job succeeded, 1 when it ended otherwise, 75 when it had not ended in time (it goes on).",
     .example = "ductile job run github_repo_sync poll",
     .exits = "1 65 69 75 77",
     .run = job_run},
    {.name = "job enqueue",
     .args = "PLUGIN COMMAND",
     .min_args = 2,
     .max_args = 2,
     .options = OPT_BIT(SOCKET) | OPT_BIT(PAYLOAD),
     .summary = "enqueue a job",
     .detail = "The job is on disk before this returns; its number is printed.",
     .example = "ductile job enqueue notes handle --payload '{\"text\": \"hello\"}'",
     .exits = "65 69 77",
     .run = job_enqueue},
    {.name = "job list",
     .args = "",
     .options = OPT_BIT(SOCKET) | OPT_BIT(STATE) | OPT_BIT(LIMIT),
     .summary = "the newest jobs",
     .example = "ductile job list --state refused",
     .exits = "65 69 77",
     .run = job_list},
    {.name = "job show",
     .args = "JOB",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(SOCKET),
     .summary = "one job's whole journey",
     .detail = "Every transition and attempt: who it ran as, which layers held, "
               "which secrets (names) it got, how it ended, what it left behind, what it set off.",
     .example = "ductile job show 12",
     .exits = "65 69 77",
     .run = job_show},
    {.name = "why",
     .args = "JOB",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(SOCKET),
     .summary = "why a job is what it is: the chain of causes",
     .detail =
         "How it came to its state, and what led to it: the event, the job that emitted it, and so on to who asked "
         "first. Every line is a row of the ledger.",
     .example = "ductile why 12",
     .exits = "65 69 77",
     .run = why},
    {.name = "ledger verify",
     .args = "",
     .options = OPT_BIT(SOCKET) | OPT_BIT(JOURNAL),
     .summary = "walk the hash chain of the audit rows, and name the first that is not as it was written",
     .detail =
         "Row by row, computed here. --journal also holds the deliveries against what the warden said in the "
         "journal when they left, and the heads of the chain that the bus said: rows that were cut off show. Only "
         "lines count that the journal saw come from the gateway's own users and programs.",
     .example = "ductile ledger verify --journal",
     .exits = "1 69 77",
     .run = ledger_verify_verb},
};

// `ductile vault ...` is `ductile-vault ...`: found beside this program, then where it was installed.
static int run_program(const char *program, char **argv)
{
    char path[LIMIT_PATH];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

    if (n > 0) {
        path[n] = '\0';
        char *slash = strrchr(path, '/');
        snprintf(slash + 1, sizeof(path) - (size_t)(slash + 1 - path), "%s", program);
        execv(path, argv);
    }
    snprintf(path, sizeof(path), "%s/%s", DUCTILE_BINDIR, program);
    execv(path, argv);
    struct refusal refusal;
    refuse(&refusal, REFUSE_USAGE, "running %s", program);
    refuse_why(&refusal, "%s: %s", path, strerror(errno));
    refuse_remedy(&refusal, "make install");
    return refusal_print(&refusal, false);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *word, *program;
        bool keep; // the word is the program's first verb
    } others[] = {
        {"install", "ductile-install", false}, {"gate", "ductile-gate", false},
        {"vault", "ductile-vault", false},     {"run", "ductile-run", false},
        {"plugin", "ductile-install", true},   {"why-not", "ductile-gate", true},
        {"doctor", "ductile-gate", true},      {"explain", "ductile-gate", true},
    };
    static const struct opt_program program = {
        .name = "ductile",
        .summary = "run plugins as durable jobs, with as much authority as you choose",
        .detail =
            "The front door. `ductile install|gate|vault|run|plugin|why-not|explain|doctor ...` run ductile-install, ductile-gate, "
            "ductile-vault and ductile-run; the verbs below ask the running gateway over its socket.",
        .verbs = verbs,
        .n_verbs = ARRAY_LEN(verbs),
    };

    log_open(program.name, false);
    int word = opt_first_word(argc, argv);
    for (size_t i = 0; word < argc && i < ARRAY_LEN(others); i++) {
        if (!str_eq(argv[word], others[i].word))
            continue;
        for (int j = word; !others[i].keep && j < argc; j++)
            argv[j] = argv[j + 1]; // the last is the NULL
        return run_program(others[i].program, argv);
    }
    return opt_main(&program, argc, argv);
}
