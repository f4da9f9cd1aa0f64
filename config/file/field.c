#include "config/file/field.h"

#include "dataplane/base/num.h"
#include "dataplane/base/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define PATH_LEN 256

static const char *type_name(const config_setting_t *s)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_GROUP:
        return "a group { ... }";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "a number";
    case CONFIG_TYPE_FLOAT:
        return "a number with a fraction";
    case CONFIG_TYPE_STRING:
        return "a text";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    case CONFIG_TYPE_ARRAY:
        return "an array [ ... ]";
    case CONFIG_TYPE_LIST:
        return "a list ( ... )";
    default:
        return "nothing";
    }
}

/* "listeners[0].filter_chains[1].name" */
static void path_of(const config_setting_t *s, char *path, size_t len)
{
    const config_setting_t *parent = config_setting_parent(s);
    size_t n;

    path[0] = '\0';
    if (parent == NULL)
        return;
    path_of(parent, path, len);
    n = strlen(path);
    if (config_setting_name(s) != NULL)
        snprintf(path + n, len - n, "%s%s", n > 0 ? "." : "", config_setting_name(s));
    else
        snprintf(path + n, len - n, "[%d]", config_setting_index(s));
}

struct cfg_where field_where(struct reader *r, const config_setting_t *s)
{
    return source_where(r->source, config_setting_source_line(s));
}

int field_err(struct reader *r, const config_setting_t *s, const char *fmt, ...)
{
    struct cfg_where where = field_where(r, s);
    char path[PATH_LEN], words[CFG_ERR_LEN];
    va_list args;

    path_of(s, path, sizeof(path));
    va_start(args, fmt);
    vsnprintf(words, sizeof(words), fmt, args);
    va_end(args);
    return cfg_err_set(r->err, &where, "%s%s%s", path, path[0] != '\0' ? ": " : "", words);
}

static int must_be(struct reader *r, const config_setting_t *s, const char *what)
{
    return field_err(r, s, "is %s, must be %s", type_name(s), what);
}

static int text(struct reader *r, const config_setting_t *s, bool may_be_empty, const char **ret)
{
    const char *value = config_setting_get_string(s), *at;
    bool is_ascii = true;

    if (config_setting_type(s) != CONFIG_TYPE_STRING || value == NULL)
        return must_be(r, s, "a text");
    if (value[0] == '\0' && !may_be_empty)
        return field_err(r, s, "must not be empty");
    for (at = value; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return field_err(r, s, "holds a control character");
        is_ascii &= (*at & 0x80) == 0;
    }
    if (!is_ascii && !text_is_utf8(slice_of(value)))
        return field_err(r, s, "is not UTF-8");
    *ret = arena_strndup(r->arena, value, (size_t)(at - value));
    return 0;
}

int field_text(struct reader *r, const config_setting_t *s, const char **ret)
{
    return text(r, s, false, ret);
}

int field_each_text(struct reader *r, const config_setting_t *s, void *element)
{
    return text(r, s, false, element);
}

int field_each_ipaddr(struct reader *r, const config_setting_t *s, void *element)
{
    const char *value;
    int rc = field_text(r, s, &value);

    if (rc < 0)
        return rc;
    if (!ipaddr_parse(slice_of(value), element))
        return field_err(r, s, "\"%s\" is not an IP address", value);
    return 0;
}

int field_integer(struct reader *r, const config_setting_t *s, int64_t min, int64_t max,
                  int64_t *ret)
{
    const int type = config_setting_type(s);
    int64_t value;

    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return must_be(r, s, "a number");
    /* libconfig cuts a large hexadecimal number to its last 32 bits and says nothing. */
    if (config_setting_get_format(s) == CONFIG_FORMAT_HEX)
        return field_err(r, s, "must be a decimal number");
    value = type == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);
    if (value < min || value > max)
        return field_err(r, s, "%" PRId64 " is not between %" PRId64 " and %" PRId64, value, min,
                         max);
    *ret = value;
    return 0;
}

static bool parse_ipport(struct slice s, struct ipport *ret)
{
    const char *colon = s.len > 0 ? memrchr(s.ptr, ':', s.len) : NULL;
    struct slice host;
    uint64_t port;

    if (colon == NULL)
        return false;
    host = slice_head(s, (size_t)(colon - s.ptr));
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = slice_skip(slice_head(host, host.len - 1), 1);
    else if (slice_find(host, ':') < host.len)
        return false;
    if (!ipaddr_parse(host, &ret->addr) ||
        !num_u64(slice_skip(s, (size_t)(colon - s.ptr) + 1), UINT16_MAX, &port) || port == 0)
        return false;
    ret->port = (uint16_t)port;
    return true;
}

int field_ipport(struct reader *r, const config_setting_t *s, struct ipport *ret)
{
    const char *value;
    int rc = field_text(r, s, &value);

    if (rc < 0)
        return rc;
    if (!parse_ipport(slice_of(value), ret))
        return field_err(r, s,
                         "\"%s\" is not an address and port, such as \"192.0.2.1:80\" or "
                         "\"[2001:db8::1]:80\"",
                         value);
    return 0;
}

/* The largest unit that divides it. */
const char *field_duration_text(uint64_t us, char buf[32])
{
    static const struct {
        uint64_t us;
        const char *name;
    } units[] = {
        { 3600 * SECONDS, "h" }, { 60 * SECONDS, "m" }, { SECONDS, "s" },
        { 1000, "ms" },          { 1, "us" },
    };

    snprintf(buf, 32, "0s");
    for (size_t i = 0; i < ARRAY_SIZE(units) && us > 0; i++) {
        if (us % units[i].us == 0) {
            snprintf(buf, 32, "%" PRIu64 "%s", us / units[i].us, units[i].name);
            break;
        }
    }
    return buf;
}

const char *field_size_text(uint64_t bytes, char buf[32])
{
    static const char *const names[] = { "", "KiB", "MiB", "GiB" };
    unsigned i = 0;

    while (i < 3 && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    snprintf(buf, 32, "%" PRIu64 "%s", bytes, names[i]);
    return buf;
}

static void store(const struct field *f, void *obj, uint64_t value)
{
    char *at = (char *)obj + f->at;

    switch (f->size) {
    case 1:
        *(uint8_t *)at = (uint8_t)value;
        break;
    case 2:
        memcpy(at, &(uint16_t){ (uint16_t)value }, 2);
        break;
    case 4:
        memcpy(at, &(uint32_t){ (uint32_t)value }, 4);
        break;
    case 8:
        memcpy(at, &value, 8);
        break;
    }
}

static int read_bool(struct reader *r, const config_setting_t *s, const struct field *f, void *obj)
{
    if (config_setting_type(s) != CONFIG_TYPE_BOOL)
        return must_be(r, s, "true or false");
    store(f, obj, config_setting_get_bool(s) != 0);
    return 0;
}

static int read_number(struct reader *r, const config_setting_t *s, const struct field *f,
                       void *obj)
{
    int64_t value = 0;
    int rc = field_integer(r, s, (int64_t)f->min, (int64_t)f->max, &value);

    if (rc == 0)
        store(f, obj, (uint64_t)value);
    return rc;
}

static int read_duration(struct reader *r, const config_setting_t *s, const struct field *f,
                         void *obj)
{
    const char *value = config_setting_get_string(s);
    char min[32], max[32];
    uint64_t us;

    if (config_setting_type(s) != CONFIG_TYPE_STRING)
        return must_be(r, s, "a duration such as \"15s\" or \"250ms\"");
    if (!num_duration_us(slice_of(value), &us))
        return field_err(r, s, "\"%s\" is not a duration such as \"15s\" or \"250ms\"", value);
    if (us < f->min || us > f->max)
        return field_err(r, s, "\"%s\" is not between %s and %s", value,
                         field_duration_text(f->min, min), field_duration_text(f->max, max));
    store(f, obj, us);
    return 0;
}

static int read_size(struct reader *r, const config_setting_t *s, const struct field *f, void *obj)
{
    const int type = config_setting_type(s);
    const uint64_t unit = f->unit != 0 ? f->unit : 1;
    char min[32], max[32];
    uint64_t bytes = 0;

    if (type == CONFIG_TYPE_STRING) {
        if (!num_size(slice_of(config_setting_get_string(s)), &bytes))
            return field_err(r, s, "\"%s\" is not a size such as \"64KiB\" or \"2MiB\"",
                             config_setting_get_string(s));
    } else if (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) {
        int64_t number =
            type == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);

        if (config_setting_get_format(s) == CONFIG_FORMAT_HEX)
            return field_err(r, s, "must be a decimal number");
        if (number < 0)
            return field_err(r, s, "is negative or far too large");
        bytes = (uint64_t)number;
    } else {
        return must_be(r, s, "a size such as \"64KiB\" or \"2MiB\"");
    }
    if (bytes % unit != 0)
        return field_err(r, s, "must be a multiple of %s", field_size_text(unit, min));
    if (bytes / unit < f->min || bytes / unit > f->max)
        return field_err(r, s, "is not between %s and %s", field_size_text(f->min * unit, min),
                         field_size_text(f->max * unit, max));
    store(f, obj, bytes / unit);
    return 0;
}

static int read_octal(struct reader *r, const config_setting_t *s, const struct field *f, void *obj)
{
    const char *value = config_setting_get_string(s);
    uint64_t mode = 0;

    if (config_setting_type(s) != CONFIG_TYPE_STRING)
        return must_be(r, s, "a mode such as \"0600\"");
    if (strlen(value) == 0 || strlen(value) > 4 || strspn(value, "01234567") != strlen(value))
        return field_err(r, s, "\"%s\" is not a mode such as \"0600\"", value);
    for (const char *c = value; *c != '\0'; c++)
        mode = mode << 3 | (uint64_t)(*c - '0');
    if (mode > f->max)
        return field_err(r, s, "\"%s\" is more than %04o", value, (unsigned)f->max);
    store(f, obj, mode);
    return 0;
}

static int read_word(struct reader *r, const config_setting_t *s, const struct field *f, void *obj)
{
    char known[256] = "";
    const char *value = config_setting_get_string(s);

    if (config_setting_type(s) != CONFIG_TYPE_STRING)
        return must_be(r, s, "a text");
    for (unsigned i = 0; f->words[i] != NULL; i++) {
        const size_t n = strlen(known);

        if (strcmp(f->words[i], value) == 0) {
            store(f, obj, i);
            return 0;
        }
        snprintf(known + n, sizeof(known) - n, "%s%s", n > 0 ? ", " : "", f->words[i]);
    }
    return field_err(r, s, "\"%s\" is none of: %s", value, known);
}

/* Room for @n elements: in the object, or in the arena. */
static char *elements(struct reader *r, const struct field *f, void *obj, unsigned n)
{
    char *at = (char *)obj + f->at;

    memcpy((char *)obj + f->n_at, &(uint32_t){ n }, sizeof(uint32_t));
    if (!f->pointer)
        return at;
    if (n > 0)
        *(void **)at = arena_alloc(r->arena, (size_t)n * f->size);
    return *(void **)at;
}

static int read_elements(struct reader *r, const config_setting_t *s, const struct field *f,
                         void *obj)
{
    const int type = config_setting_type(s), n = config_setting_length(s);
    const char *what = f->type == FIELD_LIST ? "a list ( { ... }, ... )" : "an array [ ... ]";
    int rc = 0;
    char *to;

    if (type != CONFIG_TYPE_LIST && (f->type == FIELD_LIST || type != CONFIG_TYPE_ARRAY))
        return must_be(r, s, what);
    if (n == 0 && !f->may_be_empty)
        return field_err(r, s, "must not be empty");
    if (f->max != 0 && (uint64_t)n > f->max)
        return field_err(r, s, "has %d elements, more than %" PRIu64, n, f->max);

    to = elements(r, f, obj, (unsigned)n);
    for (int i = 0; i < n && rc == 0; i++) {
        const config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        void *at = to + (size_t)i * f->size;

        if (f->type == FIELD_EACH)
            rc = f->each(r, e, at);
        else if (config_setting_type(e) != CONFIG_TYPE_GROUP)
            rc = must_be(r, e, "a group { ... }");
        else
            rc = object_read(r, e, f->object, at);
    }
    return rc;
}

static int read_group(struct reader *r, const config_setting_t *s, const struct field *f, void *obj)
{
    char *at = (char *)obj + f->at;

    if (config_setting_type(s) != CONFIG_TYPE_GROUP)
        return must_be(r, s, "a group { ... }");
    if (!f->pointer)
        return object_read(r, s, f->object, at);
    *(void **)at = arena_alloc(r->arena, f->object->size);
    return object_read(r, s, f->object, *(void **)at);
}

static int read_field(struct reader *r, const config_setting_t *s, const struct field *f, void *obj)
{
    switch (f->type) {
    case FIELD_TEXT:
        return text(r, s, f->may_be_empty, (const char **)((char *)obj + f->at));
    case FIELD_BOOL:
        return read_bool(r, s, f, obj);
    case FIELD_NUMBER:
        return read_number(r, s, f, obj);
    case FIELD_DURATION:
        return read_duration(r, s, f, obj);
    case FIELD_SIZE:
        return read_size(r, s, f, obj);
    case FIELD_OCTAL:
        return read_octal(r, s, f, obj);
    case FIELD_WORD:
        return read_word(r, s, f, obj);
    case FIELD_EACH:
    case FIELD_LIST:
        return read_elements(r, s, f, obj);
    case FIELD_GROUP:
        return read_group(r, s, f, obj);
    case FIELD_CUSTOM:
        return f->read(r, s, obj);
    }
    return -EINVAL;
}

/* The setting is absent. @s: the group that lacks it, or a group around that. */
static int set_default(struct reader *r, const config_setting_t *s, const struct field *f,
                       void *obj)
{
    char *at = (char *)obj + f->at;

    if (f->required)
        return field_err(r, s, "%s is missing", f->name);

    switch (f->type) {
    case FIELD_TEXT:
        *(const char **)at = f->def_text;
        return 0;
    case FIELD_BOOL:
    case FIELD_NUMBER:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_OCTAL:
    case FIELD_WORD:
        store(f, obj, f->def);
        return 0;
    case FIELD_GROUP:
        return f->pointer ? 0 : object_default(r, s, f->object, at);
    case FIELD_EACH:
    case FIELD_LIST:
    case FIELD_CUSTOM:
        return 0;
    }
    return 0;
}

/* The row of that name; n_fields: there is none. */
static size_t find(const struct object *o, const char *name)
{
    size_t i = 0;

    while (i < o->n_fields &&
           (o->fields[i].name[0] != name[0] || strcmp(o->fields[i].name, name) != 0))
        i++;
    return i;
}

static int refuse_unknown(struct reader *r, const config_setting_t *e, const struct object *o)
{
    const char *name = config_setting_name(e);

    for (size_t k = 0; k < o->n_fields; k++)
        if (text_is_slip(name, o->fields[k].name))
            return field_err(r, e, "there is no such setting; is \"%s\" meant?", o->fields[k].name);
    return field_err(r, e, "there is no such setting");
}

/*
 * Which setting of the group @s is for which row; NULL: none. libconfig's own look-up by name calls
 * strchr() for every letter that it compares.
 */
static int assign(struct reader *r, const config_setting_t *s, const struct object *o,
                  const config_setting_t *settings[OBJECT_MAX_FIELDS])
{
    assert(o->n_fields <= OBJECT_MAX_FIELDS);
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        const size_t at = find(o, config_setting_name(e));

        if (at == o->n_fields)
            return refuse_unknown(r, e, o);
        settings[at] = e;
    }
    return 0;
}

int object_default(struct reader *r, const config_setting_t *parent, const struct object *o,
                   void *to)
{
    int rc = 0;

    for (size_t i = 0; i < o->n_fields && rc == 0; i++)
        rc = set_default(r, parent, &o->fields[i], to);
    if (rc == 0 && o->check != NULL)
        rc = o->check(r, parent, to);
    return rc;
}

int object_read(struct reader *r, const config_setting_t *s, const struct object *o, void *to)
{
    const config_setting_t *settings[OBJECT_MAX_FIELDS] = { NULL };
    int rc = assign(r, s, o, settings);

    if (o->where_at >= 0)
        *(struct cfg_where *)((char *)to + o->where_at) = field_where(r, s);
    for (size_t i = 0; i < o->n_fields && rc == 0; i++)
        rc = settings[i] != NULL ? read_field(r, settings[i], &o->fields[i], to)
                                 : set_default(r, s, &o->fields[i], to);
    if (rc == 0 && o->check != NULL)
        rc = o->check(r, s, to);
    return rc;
}
