/*
 * conf_impl.h - between the files that read a configuration (conf*.c)
 */
#pragma once

#include "bench/load/conf.h"
#include "config/file/field.h"

/* The table of the whole file. */
const struct object *load_conf_object(void);

/* Puts the value of "PATH=VALUE" where PATH says, in the place of what is there. -EINVAL and words:
 * it makes no sense. */
int load_conf_set(config_t *config, const char *set, struct cfg_err *err);

/* What holds between the settings. */
int load_conf_check(struct load_conf *c, struct cfg_err *err);
