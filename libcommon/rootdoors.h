// Doors that only root can see: what sudo, doas, polkit, shadow and cron say of one account. Each judge takes
// a text (or a tree below a root fd) and says what it found; none runs a program or writes.
//
// A door exists where another process of that uid could use it. It is open to a plugin where it can be used
// under our drop: no_new_privs takes setuid programs away, and nothing else.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum rootdoor_id {
#define ROOTDOOR(name, id, word) ROOTDOOR_##name,
#include "rootdoors.def"
#undef ROOTDOOR
    ROOTDOOR_COUNT_
};

// "GATE-DOOR-03" and "sudo".
const char *rootdoor_check(enum rootdoor_id id);
const char *rootdoor_word(enum rootdoor_id id);

// By rank: the worst that was found stays.
enum door_state { DOOR_NONE, DOOR_UNKNOWN, DOOR_EXISTS, DOOR_COUNT_ };

struct rootdoor {
    enum door_state state;
    bool open;          // to a plugin
    char evidence[384]; // one line, for people
};

struct door_subject {
    const char *user;
    uid_t uid;
    gid_t gid;
    char **groups; // names, the primary one included
    size_t n_groups;
    gid_t *gids; // the primary one included
    size_t n_gids;
};

// The groups of user below root: every gid it has, and every name of those. -errno.
MUST int rootdoors_subject(int root, const char *user, uid_t uid, gid_t gid, struct door_subject *ret);
void rootdoors_subject_free(struct door_subject *subject);

// What `sudo -l -U USER` answered, under LC_ALL=C.
void rootdoors_sudo(const char *answer, struct rootdoor *door);
// A doas.conf. The last rule that fits decides, so a deny without command and target closes what stands
// above.
void rootdoors_doas(const char *text, const struct door_subject *subject, struct rootdoor *door);
// A polkit .rules file. It is a program, and is not run: a rule that may say YES to the user, whatever the
// action, is a door; one that is more than conditions and returns cannot be judged. What an earlier rule
// refuses is not weighed.
void rootdoors_polkit(const char *path, const char *text, const struct door_subject *subject,
                      struct rootdoor *door);
// A .pkla file of polkit before 0.106.
void rootdoors_pkla(const char *path, const char *text, const struct door_subject *subject,
                    struct rootdoor *door);
// Login: a shell and a password that opens, from the texts of passwd and shadow.
void rootdoors_login(const char *passwd, const char *shadow, const struct door_subject *subject,
                     struct rootdoor *door);
// A crontab, an at job, or its name in cron.allow or at.allow, below root.
void rootdoors_cron(int root, const struct door_subject *subject, struct rootdoor *door);

// Notes what was found; the worst stays, of equals the first.
__attribute__((format(printf, 4, 5))) void rootdoors_note(struct rootdoor *door, enum door_state state,
                                                          bool open, const char *format, ...);
