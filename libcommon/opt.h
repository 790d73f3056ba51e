// The command line: PROGRAM [options] VERB [ARGUMENT...] [options], from a table of verbs.
// The same table prints --help, the help of each verb and the man page.
#pragma once
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

enum opt_id {
#define OPTION(name, long_name, short_name, arg, help) OPT_##name,
#include "opt.def"
#undef OPTION
    OPT_COUNT_
};
_Static_assert(OPT_COUNT_ <= 64, "struct opt_verb.options is a 64-bit set");
#define OPT_BIT(name) (UINT64_C(1) << OPT_##name)

struct opts;
enum { OPT_GIVEN_MAX = 128 }; // options on one command line

struct opt_verb {
    const char *name; // "plugin lock"; "" in a program without verbs
    const char *args; // "NAME...", for the synopsis
    int min_args, max_args;
    uint64_t options;                    // OPT_BIT(...) beyond the global ones
    const char *summary;                 // one line, lower case, no full stop
    const char *detail;                  // a paragraph, or NULL
    const char *example;                 // a command line that works
    const char *exits;                   // exit codes beyond 0, 64 and 78: "1 2 77", or ""
    int (*run)(const struct opts *opts); // returns an exit code
};

struct opt_program {
    const char *name, *summary, *detail;
    const struct opt_verb *verbs;
    size_t n_verbs;
    void (*man)(void); // prints further sections of the man page, from tables of the program's own; or NULL
};

struct opts {
    const struct opt_program *program;
    const struct opt_verb *verb;
    const char *value[OPT_COUNT_]; // the last argument, "" for a flag that was given, NULL where absent
    struct {
        enum opt_id id;
        const char *value;
    } all[OPT_GIVEN_MAX]; // in their order, for options that may be repeated
    int n_all;
    char **args;
    int n_args;
};

static inline bool opt_given(const struct opts *o, enum opt_id id)
{
    return o->value[id] != NULL;
}

// Parses, handles --help, --version and refusals of usage, and runs the verb. Returns main's exit code.
int opt_main(const struct opt_program *program, int argc, char **argv);

// Prints a usage refusal that points at the verb's --help. Returns EXITCODE_USAGE.
__attribute__((format(printf, 2, 3))) int opt_usage(const struct opts *opts, const char *why, ...);
// Where the first word stands that is neither an option nor an option's argument; argc where there is none.
int opt_first_word(int argc, char **argv);
