// What an operator should know of the host, beyond the wall: told, never a reason to refuse.
#include "doctor.h"
#include "capture.h"
#include "fd.h"
#include "rootfacts.h"
#include "wall.h"
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>

enum { FUTURE_S = 120, ROOM_BYTES = 64 << 20, ROOM_INODES = 1000 };

void doctor_clock(struct gate *g, time_t now)
{
    char facts[LIMIT_PATH];
    const char *stamped[] = {g->config->path, rootfacts_path(g->config, facts),
                             DUCTILE_BINDIR "/ductile-gate"};
    bool future = false;

    for (size_t i = 0; i < ARRAY_LEN(stamped); i++) {
        struct stat st;
        if (fd_stat(g->root, stamped[i], &st) < 0 || st.st_mtime <= now + FUTURE_S)
            continue;
        future = true;
        gate_note(g, CHECK_CLOCK, VERDICT_WARN, stamped[i], "it is stamped %lld s from now",
                  (long long)(st.st_mtime - now));
    }
    struct timex t = {0};
    int state = adjtimex(&t); // only asked
    if (!future)
        gate_note(g, CHECK_CLOCK, VERDICT_PASS, "clock", "%s",
                  state < 0             ? "whether it is synchronised cannot be asked"
                  : state == TIME_ERROR ? "not synchronised with any other"
                                        : "synchronised");
}

void doctor_room(struct gate *g, const char *file)
{
    char dir[LIMIT_PATH];
    struct statvfs s;

    snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(file, '/') - file), file);
    if (statvfs(dir, &s) < 0) {
        gate_note(g, CHECK_SPACE, VERDICT_UNPROVEN, dir, "%s", strerror(errno));
        return;
    }
    unsigned long long bytes = (unsigned long long)s.f_bavail * s.f_frsize;
    bool full = bytes < ROOM_BYTES || (s.f_files > 0 && s.f_favail < ROOM_INODES);
    gate_note(g, CHECK_SPACE, full ? VERDICT_WARN : VERDICT_PASS, dir, "%llu MiB and %llu files are free",
              bytes >> 20, (unsigned long long)s.f_favail);
}

// A word of a line of words.
static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = text; (p = strstr(p, word)); p += len)
        if ((p == text || p[-1] == ' ') && (p[len] == '\0' || p[len] == ' ' || p[len] == '\n'))
            return true;
    return false;
}

static int read_kernel(const char *path, char **ret)
{
    size_t len;
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? err_last() : fd_read_all(fd, 65536, ret, &len);
}

void doctor_layers(struct gate *g, int abi, const char *actions, const char *controllers)
{
    static const char *const wanted[] = {"memory", "pids", "cpu"};

    gate_note(g, CHECK_LAYERS, abi < WALL_LANDLOCK_FLOOR ? VERDICT_WARN : VERDICT_PASS, "landlock", "ABI %d",
              abi);
    gate_note(g, CHECK_LAYERS, actions ? VERDICT_PASS : VERDICT_WARN, "seccomp", "%.*s",
              actions ? (int)strcspn(actions, "\n") : 6, actions ? actions : "absent");
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        bool there = controllers && has_word(controllers, wanted[i]);
        gate_note(g, CHECK_LAYERS, there ? VERDICT_PASS : VERDICT_WARN, wanted[i], "%s",
                  !controllers ? "there is no cgroup v2 at /sys/fs/cgroup"
                  : there      ? "a controller of cgroup v2"
                               : "no controller of cgroup v2: the limit is an rlimit, or none");
    }
}

static void check_layers(struct gate *g)
{
    OWNED(freep) char *actions = NULL;
    OWNED(freep) char *controllers = NULL;

    // What cannot be read is NULL, and told as absent.
    if (read_kernel("/proc/sys/kernel/seccomp/actions_avail", &actions) < 0)
        actions = NULL;
    if (read_kernel("/sys/fs/cgroup/cgroup.controllers", &controllers) < 0)
        controllers = NULL;
    doctor_layers(g, wall_landlock_abi(), actions, controllers);
}

void doctor_version(struct gate *g, const char *program, const char *said)
{
    const char *last = strrchr(said, ' ');
    size_t len = strlen(DUCTILE_VERSION);
    bool same = last && str_starts(last + 1, DUCTILE_VERSION) && str_eq(last + 1 + len, "\n");

    gate_note(g, CHECK_VERSION, same ? VERDICT_PASS : VERDICT_WARN, program,
              "%.*s, and this is " DUCTILE_VERSION, (int)MIN(strcspn(said, "\n"), (size_t)100), said);
}

static void check_versions(struct gate *g)
{
    static const char *const programs[] = {DUCTILE_BINDIR "/ductile", DUCTILE_BINDIR "/ductile-install",
                                           DUCTILE_BINDIR "/ductile-vault", DUCTILE_BINDIR "/ductile-run",
                                           DUCTILE_LIBEXECDIR "/ductile/ductile-bus"};

    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        const char *const argv[] = {programs[i], "--version", NULL};
        OWNED(freep) char *text = NULL;
        int status, r = capture_run(argv, TIME_ASK_MS, 4096, &text, &status);
        doctor_version(g, programs[i], r < 0 || !text ? strerror(-r) : status ? "it does not start" : text);
    }
}

void check_host(struct gate *g)
{
    doctor_clock(g, time(NULL));
    doctor_room(g, g->config->state_path);
    doctor_room(g, g->config->vault_file);
    check_layers(g);
    check_versions(g);
}
