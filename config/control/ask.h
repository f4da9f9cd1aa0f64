/*
 * ask.h - a line to the daemon, and a line from it, over its Unix socket
 *
 * All functions wait, at most ->timeout_s at a time.
 */
#pragma once

struct ask_conf {
    const char *socket;
    unsigned timeout_s;
};

enum { ASK_NOT_ASKED = 2 }; /* exit status */

/* Returns a socket or -errno. */
int ask_open(const struct ask_conf *conf);

/* @request is without its newline, *@ret too, and is from malloc. 0 or -errno; -EPIPE: it ended
 * before. */
int ask_line(int fd, const char *request, char **ret);

/* Both, and the end. */
int ask(const struct ask_conf *conf, const char *request, char **ret);

/* Says on stderr why it could not be asked, and what to do. Returns ASK_NOT_ASKED. */
int ask_cannot(const struct ask_conf *conf, int err);
