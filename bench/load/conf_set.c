/* --set PATH=VALUE: "client.rate=20000", "machine.ports[0].interface=eth1". */
#include "bench/load/conf_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define SET_MAX 1024

/* A copy of @from in @to (a group: as its member @name; else: as its next element). */
static bool copy(config_setting_t *to, const char *name, const config_setting_t *from)
{
    config_setting_t *s = config_setting_add(to, name, config_setting_type(from));
    bool ok = s != NULL;

    switch (config_setting_type(from)) {
    case CONFIG_TYPE_INT:
        return ok && config_setting_set_int(s, config_setting_get_int(from));
    case CONFIG_TYPE_INT64:
        return ok && config_setting_set_int64(s, config_setting_get_int64(from));
    case CONFIG_TYPE_FLOAT:
        return ok && config_setting_set_float(s, config_setting_get_float(from));
    case CONFIG_TYPE_STRING:
        return ok && config_setting_set_string(s, config_setting_get_string(from));
    case CONFIG_TYPE_BOOL:
        return ok && config_setting_set_bool(s, config_setting_get_bool(from));
    }
    for (int i = 0; ok && i < config_setting_length(from); i++) {
        const config_setting_t *e = config_setting_get_elem(from, (unsigned)i);

        ok = copy(s, config_setting_name(e), e);
    }
    return ok;
}

/* What reads as a value of libconfig is one; all else is a text: nobody quotes on a command line.
 */
static bool parse_value(config_t *to, const char *value)
{
    char text[SET_MAX + 16];

    config_init(to);
    snprintf(text, sizeof(text), "v = %s;", value);
    if (config_read_string(to, text) == CONFIG_TRUE &&
        config_setting_length(config_root_setting(to)) == 1)
        return true;
    config_destroy(to);
    config_init(to);
    return config_setting_set_string(
        config_setting_add(config_root_setting(to), "v", CONFIG_TYPE_STRING), value);
}

/*
 * The next step of a path, "ports" or "[0]", copied to @name; *@path goes behind it. NULL: that is
 * none.
 */
static const char *next_step(const char **path, char *name, size_t room)
{
    const char *at = *path;
    const size_t len = at[0] == '[' ? strcspn(at, "]") + 1 : strcspn(at, ".[");

    if (len == 0 || len >= room || len > strlen(at))
        return NULL;
    snprintf(name, room, "%.*s", (int)len, at);
    at += len;
    *path = at[0] == '.' ? at + 1 : at;
    return name;
}

static config_setting_t *step_into(config_setting_t *s, const char *name)
{
    if (name[0] == '[')
        return config_setting_get_elem(s, (unsigned)strtoul(name + 1, NULL, 10));
    return config_setting_is_group(s) ? config_setting_get_member(s, name) : NULL;
}

/* The group that the last step of @path is a member of; groups on the way are made. */
static config_setting_t *find_parent(config_setting_t *root, const char *path, char *name,
                                     size_t room)
{
    config_setting_t *s = root;

    while (next_step(&path, name, room) != NULL) {
        config_setting_t *next;

        if (path[0] == '\0')
            return config_setting_is_group(s) && name[0] != '[' ? s : NULL;
        next = step_into(s, name);
        if (next == NULL && config_setting_is_group(s) && name[0] != '[' && path[0] != '[')
            next = config_setting_add(s, name, CONFIG_TYPE_GROUP);
        if (next == NULL)
            return NULL;
        s = next;
    }
    return NULL;
}

int load_conf_set(config_t *config, const char *set, struct cfg_err *err)
{
    const char *eq = strchr(set, '=');
    char path[SET_MAX], name[SET_MAX];
    config_setting_t *parent;
    config_t value;
    bool ok;

    if (eq == NULL || eq == set || strlen(set) >= SET_MAX)
        return cfg_err_set(err, NULL, "--set %s: that is not PATH=VALUE", set);
    snprintf(path, sizeof(path), "%.*s", (int)(eq - set), set);
    parent = find_parent(config_root_setting(config), path, name, sizeof(name));
    if (parent == NULL)
        return cfg_err_set(err, NULL, "--set %s: there is no such place", set);
    config_setting_remove(parent, name);
    ok = parse_value(&value, eq + 1) &&
         copy(parent, name, config_setting_get_member(config_root_setting(&value), "v"));
    config_destroy(&value);
    return ok ? 0 : cfg_err_set(err, NULL, "--set %s: that is no name", set);
}
