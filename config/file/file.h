/*
 * file.h - a configuration file becomes a snapshot
 *
 * The file is in libconfig's language, and may include others:
 *
 *     @include "clusters.conf"      # beside the file that says so
 *
 * read (the tables of this folder) and validate (config/model/validate.h) in one:
 * what comes back is consistent in itself. A mistake is told with file, line and
 * setting, and nothing comes back.
 */
#pragma once

#include "config/model/snapshot.h"

#include <stdio.h>

/* 0 and a snapshot with one reference, or -EINVAL and the first mistake. */
int file_read(const char *path, struct snapshot **ret, struct cfg_err *err);

/*
 * The same, without freeing what libconfig has made of the file: that takes a third as long as
 * reading it, and can wait until the snapshot is in force. *@rest may be NULL.
 */
struct file_rest;
int file_read_first(const char *path, struct snapshot **ret, struct file_rest **rest,
                    struct cfg_err *err);
void file_rest_free(struct file_rest *rest); /* NULL is allowed */

/* file_read() for a text in memory; @name stands for its file. It can include nothing. */
int file_read_text(const char *name, const char *text, size_t len, struct snapshot **ret,
                   struct cfg_err *err);

/* Writes every setting of every table as Markdown. */
void file_reference(FILE *to);
