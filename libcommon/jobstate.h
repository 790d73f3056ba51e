// The states of a job, as words: for the queue, the front door and help texts. jobstate.def is the table.
#pragma once
#include "str.h"

static inline bool jobstate_known(const char *word)
{
#define JOBSTATE(name, text, over)                                                                           \
    if (str_eq(word, text))                                                                                  \
        return true;
#include "jobstate.def"
#undef JOBSTATE
    return false;
}

// True for a state that nothing leaves by itself.
static inline bool jobstate_over(const char *word)
{
#define JOBSTATE(name, text, over)                                                                           \
    if (str_eq(word, text))                                                                                  \
        return over;
#include "jobstate.def"
#undef JOBSTATE
    return false;
}

// "queued, running, ..."
#define JOBSTATE(name, text, over) text ", "
static const char jobstate_words[] __attribute__((unused)) =
#include "jobstate.def"
    ;
#undef JOBSTATE
