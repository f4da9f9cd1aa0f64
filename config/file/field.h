/*
 * field.h - a setting is a row: name, type, place, range, default, help
 *
 * One table per object says everything about its settings: how they are read,
 * what is refused, and what the reference prints. The one who adds a setting
 * adds a row, and nothing else in this folder.
 *
 * What a table cannot say, a row says by a function: ->each reads one element of
 * a list, ->read the whole setting, and the object's ->check what holds between
 * settings of one group. What holds between objects is config/model/validate.h.
 */
#pragma once

#include "config/file/source.h"
#include "dataplane/base/arena.h"
#include "dataplane/base/ipaddr.h"

#include <libconfig.h>
#include <stdbool.h>
#include <stdint.h>

enum field_type {
    FIELD_TEXT,     /* const char * */
    FIELD_BOOL,     /* bool */
    FIELD_NUMBER,   /* uint16_t, uint32_t */
    FIELD_DURATION, /* uint64_t, microseconds: "15s" */
    FIELD_SIZE,     /* uint32_t, in ->unit bytes: "64KiB", or a number of bytes */
    FIELD_OCTAL,    /* uint32_t: "0600" */
    FIELD_WORD,     /* an enum: one of ->words, in the order of its values */
    FIELD_EACH,     /* an array or list; ->each reads one element */
    FIELD_GROUP,    /* { ... } of ->object: in place, or (->pointer) NULL where it is absent */
    FIELD_LIST,     /* ( { ... }, ... ) of ->object */
    FIELD_CUSTOM,   /* ->read */
};

struct object;

/* What a reader needs wherever it is. */
struct reader {
    struct arena *arena; /* of the snapshot */
    const struct source *source;
    struct cfg_err *err;
};

struct field {
    const char *name;
    enum field_type type;
    bool required;
    bool pointer;      /* GROUP, EACH, LIST: the place is a pointer, memory comes from the arena */
    bool may_be_empty; /* TEXT: "" has a meaning; EACH, LIST: no element is an answer */
    uint32_t size;     /* of the value, or of one element */
    uint32_t at, n_at; /* offsets: of the place, and of its number of elements */
    uint64_t min, max; /* EACH, LIST: of elements (0: no limit) */
    uint64_t def;
    const char *def_text; /* TEXT; and for the reference, where the default is not a value */
    uint64_t unit;        /* SIZE; 0: 1 */
    const char *const *words;
    const struct object *object;
    int (*each)(struct reader *r, const config_setting_t *s, void *element);
    int (*read)(struct reader *r, const config_setting_t *s, void *obj);
    const char *form; /* EACH, CUSTOM: how a value is written, for the reference */
    const char *help;
};

struct object {
    const char *name;
    const char *help;
    size_t size;
    int32_t where_at; /* offset of its struct cfg_where; -1: it has none */
    const struct field *fields;
    size_t n_fields;
    /* Called after all fields are read, also for a group that is absent (@s is then its parent). */
    int (*check)(struct reader *r, const config_setting_t *s, void *obj);
};

#define FIELD_SIZE_OF(whole, member) sizeof(((whole *)NULL)->member)

#define FIELD(kind, whole, member, ...)                                                            \
    {                                                                                              \
        .name = #member, .type = (kind), .at = offsetof(whole, member),                            \
        .size = FIELD_SIZE_OF(whole, member), __VA_ARGS__                                          \
    }
#define FIELD_AS(text, kind, whole, member, ...)                                                   \
    {                                                                                              \
        .name = (text), .type = (kind), .at = offsetof(whole, member),                             \
        .size = FIELD_SIZE_OF(whole, member), __VA_ARGS__                                          \
    }
/* An array or a pointer to one, with its count. */
#define FIELD_MANY(text, kind, whole, member, count, ...)                                          \
    {                                                                                              \
        .name = (text), .type = (kind), .at = offsetof(whole, member),                             \
        .n_at = offsetof(whole, count), .size = FIELD_SIZE_OF(whole, member[0]), __VA_ARGS__       \
    }
/* A pointer to a group that may be absent. */
#define FIELD_OPTIONAL(whole, member, of, ...)                                                     \
    {                                                                                              \
        .name = #member, .type = FIELD_GROUP, .at = offsetof(whole, member), .pointer = true,      \
        .object = &(of), __VA_ARGS__                                                               \
    }

#define OBJECT_MAX_FIELDS 64 /* rows of one table */

#define OBJECT(text, whole, table, ...)                                                            \
    {                                                                                              \
        .name = (text), .size = sizeof(whole), .fields = (table), .n_fields = ARRAY_SIZE(table),   \
        __VA_ARGS__                                                                                \
    }

#define SECONDS UINT64_C(1000000)
#define HOURS (3600 * SECONDS)
#define DAYS (24 * HOURS)

/* Reads the group @s by the rows of @o into @to, which is zeroed. Unknown names are refused. */
int object_read(struct reader *r, const config_setting_t *s, const struct object *o, void *to);

/* Sets every default, as if the group were empty. @parent: where it could have been written. */
int object_default(struct reader *r, const config_setting_t *parent, const struct object *o,
                   void *to);

/* "FILE:LINE: listeners[0].port: " and the words. Returns -EINVAL. */
int field_err(struct reader *r, const config_setting_t *s, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A string without control characters, not empty; a copy in the arena. */
int field_text(struct reader *r, const config_setting_t *s, const char **ret);
int field_integer(struct reader *r, const config_setting_t *s, int64_t min, int64_t max,
                  int64_t *ret);
struct cfg_where field_where(struct reader *r, const config_setting_t *s);

/* "192.0.2.1:80", "[2001:db8::1]:80": the port is not 0. */
int field_ipport(struct reader *r, const config_setting_t *s, struct ipport *ret);

/* For ->each of a list of texts, and of a list of addresses (struct ipaddr). */
int field_each_text(struct reader *r, const config_setting_t *s, void *element);
int field_each_ipaddr(struct reader *r, const config_setting_t *s, void *element);

/* "15s", "250ms": as num_duration_us() reads it. */
const char *field_duration_text(uint64_t us, char buf[32]);
const char *field_size_text(uint64_t bytes, char buf[32]);
