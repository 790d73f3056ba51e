// `ductile ledger verify`: the rows by the API, the chain computed here, the journal by journalctl. It opens
// no file of the gateway.
#include "book.h"
#include "config.h"
#include "ctl.h"
#include "fd.h"
#include "str.h"
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static int take_row(struct book *book, const json_t *row)
{
    uint8_t hash[CHAIN_HASH_LEN] = {0};
    struct chain_fact f = {.seq = (int64_t)json_integer_value(json_object_get(row, "seq")),
                           .at_ms = (int64_t)json_integer_value(json_object_get(row, "at_ms")),
                           .uid = (int64_t)json_integer_value(json_object_get(row, "uid")),
                           .actor = text_of(row, "actor"),
                           .kind = text_of(row, "kind"),
                           .subject = text_of(row, "subject"),
                           .detail = text_of(row, "detail")};

    if (str_unhex(text_of(row, "prev"), f.prev, sizeof(f.prev)) < 0 ||
        str_unhex(text_of(row, "hash"), hash, sizeof(hash)) < 0)
        return -EBADMSG;
    return book_row(book, &f, hash);
}

static int read_rows(struct session *s, struct book *book, struct refusal *refusal)
{
    json_int_t after = 0;
    size_t n = 1;

    while (n > 0) {
        char path[64];
        OWNED(json_decrefp) json_t *answer = NULL;
        json_t *row;
        size_t i;
        snprintf(path, sizeof(path), "/ledger/audit?after=%lld", (long long)after);
        int r = client_call(&s->client, "GET", path, NULL, &answer, refusal);
        if (r < 0)
            return r;
        const json_t *rows = json_object_get(answer, "rows");
        n = json_array_size(rows);
        json_array_foreach(rows, i, row)
        {
            r = take_row(book, row);
            if (r < 0)
                return r;
            after = MAX(after, json_integer_value(json_object_get(row, "seq")));
        }
    }
    return 0;
}

// ---- the journal --------------------------------------------------------------------------------

// The ids as the config resolved them; for who may not read it, the users of that name.
static int find_speakers(const struct opts *o, struct book_speakers *ret, struct refusal *refusal)
{
    OWNED(config_freep) struct config *config = NULL;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    struct refusal none;
    char bus[LIMIT_NAME + 8];
    const char *instance = opt_given(o, OPT_INSTANCE) ? o->value[OPT_INSTANCE] : "ductile";

    *ret = (struct book_speakers){.warden_exe = DUCTILE_BINDIR "/ductile-run",
                                  .bus_exe = DUCTILE_LIBEXECDIR "/ductile/ductile-bus"};
    if (config_load(root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &config, &none) == 0 &&
        config->resolved) {
        ret->warden_uid = (uid_t)config->uid;
        ret->bus_uid = (uid_t)config->bus_uid;
        return 0;
    }
    const struct passwd *p = getpwnam(instance);
    if (p) {
        ret->warden_uid = ret->bus_uid = p->pw_uid;
        snprintf(bus, sizeof(bus), "%.63s-bus", instance);
        if ((p = getpwnam(bus)))
            ret->bus_uid = p->pw_uid;
        return 0;
    }
    refuse(refusal, REFUSE_JOURNAL, "comparing with the journal");
    refuse_why(refusal, "whose lines count is not known: the config cannot be read, and there is no user %s",
               instance);
    return refuse_remedy(refusal, "run it as root");
}

static pid_t start_journalctl(const struct book_speakers *who, int *ret_fd)
{
    char warden[LIMIT_PATH], bus[LIMIT_PATH];
    int p[2];

    snprintf(warden, sizeof(warden), "_EXE=%s", who->warden_exe);
    snprintf(bus, sizeof(bus), "_EXE=%s", who->bus_exe);
    // --all: without it a field of more than 4 KiB is null.
    char *argv[] = {(char *)"journalctl",
                    (char *)"--all",
                    (char *)"--no-pager",
                    (char *)"--quiet",
                    (char *)"--output=json",
                    (char *)"--output-fields=MESSAGE,_UID,_EXE",
                    warden,
                    (char *)"+",
                    bus,
                    NULL};
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_last();
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(p[1], STDOUT_FILENO) >= 0)
            execvp(argv[0], argv);
        _exit(127);
    }
    close(p[1]);
    if (pid < 0)
        close(p[0]);
    else
        *ret_fd = p[0];
    return pid < 0 ? err_last() : pid;
}

static int take_entry(struct book *book, const struct book_speakers *who, const char *text)
{
    OWNED(json_decrefp) json_t *o = json_loads(text, 0, NULL);
    uint64_t uid, us;

    // A message that is no text is none of ours.
    if (!json_is_string(json_object_get(o, "MESSAGE")) ||
        str_to_u64(text_of(o, "_UID"), 0, UINT32_MAX, &uid) < 0 ||
        str_to_u64(text_of(o, "__REALTIME_TIMESTAMP"), 0, INT64_MAX, &us) < 0)
        return 0;
    const struct book_line line = {.uid = (uid_t)uid,
                                   .exe = text_of(o, "_EXE"),
                                   .message = text_of(o, "MESSAGE"),
                                   .at_ms = (int64_t)us / 1000};
    return book_line(book, who, &line);
}

static int read_journal(const struct opts *o, struct book *book, struct refusal *refusal)
{
    struct book_speakers who;
    int fd = -1, status = 0, r = find_speakers(o, &who, refusal);
    OWNED(freep) char *text = NULL;
    size_t room = 0;

    if (r < 0)
        return r;
    pid_t pid = start_journalctl(&who, &fd);
    FILE *f = pid < 0 ? NULL : fdopen(fd, "r");
    while (f && r >= 0 && getline(&text, &room, f) > 0)
        r = take_entry(book, &who, text);
    if (f)
        fclose(f);
    if (pid > 0 && waitpid(pid, &status, 0) < 0)
        status = -1;
    if (r < 0)
        return r;
    if (f && status == 0 && book_sum(book).lines > 0)
        return book_compare(book);
    // "No difference" from a journal that says nothing would be a lie.
    refuse(refusal, REFUSE_JOURNAL, "comparing with the journal");
    refuse_why(refusal, f && status == 0 ? "it has no line of this gateway that this user may read"
                                         : "journalctl did not work");
    return refuse_remedy(refusal, "run it as root, on the host that the gateway runs on");
}

// ---- the verb -----------------------------------------------------------------------------------

static void print_sum(const struct session *s, const struct book_sum *sum, bool journal)
{
    char hex[2 * CHAIN_HASH_LEN + 1];
    size_t i;
    json_t *finding;

    str_hex(sum->head, sizeof(sum->head), hex);
    if (s->json) {
        json_t *o = json_pack("{s:I, s:s, s:O}", "rows", (json_int_t)sum->rows, "head", hex, "findings",
                              sum->findings);
        if (o && journal)
            json_object_update_new(o,
                                   json_pack("{s:I, s:I, s:I, s:I}", "journal_lines", (json_int_t)sum->lines,
                                             "deliveries", (json_int_t)sum->deliveries, "withdrawn",
                                             (json_int_t)sum->withdrawn, "older", (json_int_t)sum->older));
        json_dumpf(o, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(o);
        return;
    }
    json_array_foreach(sum->findings, i, finding)
        printf("row %lld %s\n", (long long)json_integer_value(json_object_get(finding, "row")),
               text_of(finding, "what"));
    if (json_array_size(sum->findings) == 0)
        printf("ledger   %lld rows, the chain is whole; its head is %.16s\n", (long long)sum->rows, hex);
    if (journal)
        printf(
            "journal  %zu deliveries stand in both, %zu written and withdrawn, %zu older than the journal\n",
            sum->deliveries, sum->withdrawn, sum->older);
}

int ledger_verify_verb(const struct opts *o)
{
    struct session s;
    struct refusal refusal;
    const bool journal = opt_given(o, OPT_JOURNAL);
    struct book *book = book_new();
    int r = book ? open_session(o, &s, &refusal) : -ENOMEM;

    if (r == 0)
        r = read_rows(&s, book, &refusal);
    if (r == 0 && journal)
        r = read_journal(o, book, &refusal);
    if (r < 0 && r != -ECANCELED) {
        refuse(&refusal, REFUSE_LEDGER, "checking the ledger");
        refuse_why(&refusal, r == -EBADMSG ? "what the gateway answered is no audit row" : "%s",
                   strerror(-r));
        refuse_remedy(&refusal, "ductile status");
    }
    int code = r < 0 ? refusal_print(&refusal, opt_given(o, OPT_JSON)) : EXITCODE_OK;
    if (r == 0) {
        const struct book_sum sum = book_sum(book);
        print_sum(&s, &sum, journal);
        code = json_array_size(sum.findings) > 0 ? EXITCODE_FINDING : EXITCODE_OK;
    }
    book_free(book);
    return code;
}
