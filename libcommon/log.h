// Messages on standard error: plain lines for people, one logfmt line for the journal.
// Library code is silent; whoever can name the purpose logs, once. A message never holds a secret's value.
#pragma once
#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERR, LOG_LEVEL_COUNT_ };

// program: a string literal. service: logfmt lines (level=, program=, msg=) instead of "program: text".
// Where standard error is a socket (the journal), every line carries its syslog priority as "<N>".
void log_open(const char *program, bool service);
void log_set_level(enum log_level level);
// "debug", "info", "warn", "error".
const char *log_level_name(enum log_level level);

__attribute__((format(printf, 2, 3))) void log_msg(enum log_level level, const char *format, ...);
// As log_msg, without logfmt in a service: for the lines of a refusal, which `systemctl status` shows.
__attribute__((format(printf, 2, 3))) void log_plain(enum log_level level, const char *format, ...);
// A fact: of any length (log_msg ends after some KiB), and said whatever level is set.
void log_fact(const char *text);
// Logs "TEXT: strerror (ENAME)" at error level and returns r, which is -errno.
__attribute__((format(printf, 2, 3))) int log_err(int r, const char *format, ...);

#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_LEVEL_WARN, __VA_ARGS__)
