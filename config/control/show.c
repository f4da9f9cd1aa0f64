#include "config/control/show.h"

#include "dataplane/base/compiler.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_WIDTH 100
#define COLUMNS_MAX 64

struct column {
    const char *key;
    size_t key_len;
    size_t width;
    bool is_text; /* aligned to the left */
};

struct table {
    unsigned n;
    struct column columns[COLUMNS_MAX];
};

/* Characters, not bytes: those of UTF-8 that begin one. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static char *escaped(const char *text)
{
    static const char hex[] = "0123456789abcdef";
    char *copy = malloc(4 * strlen(text) + 1), *at = copy;

    if (copy == NULL)
        abort();
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        /* 0xc2 0x80 to 0x9f are control characters as well: C1. */
        bool is_c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;

        if (c >= 0x20 && c != 0x7f && !is_c1) {
            *at++ = (char)c;
            continue;
        }
        memcpy(at, (char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
        at += 4;
        if (is_c1) {
            c = (unsigned char)*++text;
            memcpy(at, (char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
            at += 4;
        }
    }
    *at = '\0';
    return copy;
}

/* What stands in a cell; from malloc. */
static char *cell_text(json_t *v)
{
    char *json, *text;

    if (v == NULL || json_is_null(v))
        return escaped("-");
    if (json_is_string(v))
        return escaped(json_string_length(v) > 0 ? json_string_value(v) : "-");
    if (json_is_boolean(v))
        return escaped(json_is_true(v) ? "yes" : "no");
    json = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    text = escaped(json != NULL ? json : "?");
    free(json);
    return text;
}

static struct column *find(struct table *t, const char *key, size_t len)
{
    for (unsigned i = 0; i < t->n; i++) {
        if (t->columns[i].key_len == len && memcmp(t->columns[i].key, key, len) == 0)
            return &t->columns[i];
    }
    return NULL;
}

static void add_column(struct table *t, const char *key, size_t len)
{
    if (t->n < COLUMNS_MAX && find(t, key, len) == NULL)
        t->columns[t->n++] = (struct column){ key, len, 0, false };
}

static bool any_row_has(json_t *rows, const char *key, size_t len)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (json_object_getn(row, key, len) != NULL)
            return true;
    }
    return false;
}

static void add_listed(struct table *t, json_t *rows, const char *columns)
{
    while (columns != NULL && *columns != '\0') {
        size_t len = strcspn(columns, " ");

        if (len > 0 && (json_array_size(rows) == 0 || any_row_has(rows, columns, len)))
            add_column(t, columns, len);
        columns += len;
        columns += strspn(columns, " ");
    }
}

static json_t *cell(json_t *row, const struct column *c)
{
    return json_object_getn(row, c->key, c->key_len);
}

static void measure(struct table *t, json_t *row)
{
    for (unsigned i = 0; i < t->n; i++) {
        struct column *c = &t->columns[i];
        json_t *v = cell(row, c);
        char *text = cell_text(v);

        c->width = MAX(c->width, width_of(text));
        c->is_text |= json_is_string(v) || json_is_array(v) || json_is_object(v);
        free(text);
    }
}

/* The last column of a line is not filled up. */
static void put_cell(FILE *to, const char *text, const struct column *c, bool is_last)
{
    int fill = (int)(c->width - width_of(text));

    if (c->is_text)
        fprintf(to, "%s%*s", text, is_last ? 0 : fill, "");
    else
        fprintf(to, "%*s%s", fill, "", text);
    fputs(is_last ? "\n" : "  ", to);
}

/* "bytes_sent" is headed BYTES-SENT; from malloc. */
static char *title_of(const struct column *c)
{
    char *name = strndup(c->key, c->key_len), *safe;

    if (name == NULL)
        abort();
    for (char *at = name; *at != '\0'; at++)
        *at = *at == '_' ? '-' : (char)toupper((unsigned char)*at);
    safe = escaped(name);
    free(name);
    return safe;
}

static size_t title_width(const struct column *c)
{
    char *title = title_of(c);
    size_t width = width_of(title);

    free(title);
    return width;
}

static void put_title(FILE *to, const struct table *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        char *title = title_of(&t->columns[i]);

        put_cell(to, title, &t->columns[i], i + 1 == t->n);
        free(title);
    }
}

/* "    perf: segs_out:12 segs_in:9", over as many lines as it takes; zeros are not told. */
static void show_numbers(FILE *to, const char *name, json_t *numbers)
{
    char *safe = escaped(name);
    size_t at = (size_t)fprintf(to, "    %s:", safe);
    const char *key;
    json_t *v;

    free(safe);
    json_object_foreach(numbers, key, v)
    {
        char *text = cell_text(v), *word = escaped(key);
        const size_t len = strlen(word) + 1 + strlen(text);

        if (!json_is_integer(v) || json_integer_value(v) != 0) {
            if (at + 1 + len > BLOCK_WIDTH)
                at = (size_t)fprintf(to, "\n       ") - 1;
            at += (size_t)fprintf(to, " %s:%s", word, text);
        }
        free(text);
        free(word);
    }
    putc('\n', to);
}

/* Objects of groups of numbers. */
static void show_blocks(FILE *to, json_t *row)
{
    const char *key, *name;
    json_t *block, *group;

    json_object_foreach(row, key, block)
    {
        char *safe = escaped(key);

        if (json_is_object(block))
            fprintf(to, "  %s\n", safe);
        free(safe);
        json_object_foreach(block, name, group) show_numbers(to, name, group);
    }
}

/* @blocks: what is an object goes below its row. */
static void show_table(FILE *to, json_t *rows, const char *columns, bool blocks)
{
    struct table t = { .n = 0 };
    json_t *row;
    size_t i;

    add_listed(&t, rows, columns);
    json_array_foreach(rows, i, row)
    {
        const char *key;
        json_t *v;

        json_object_foreach(row, key, v)
        {
            if (!blocks || !json_is_object(v))
                add_column(&t, key, strlen(key));
        }
    }
    for (unsigned k = 0; k < t.n; k++)
        t.columns[k].width = title_width(&t.columns[k]);
    json_array_foreach(rows, i, row) measure(&t, row);
    if (t.n > 0)
        put_title(to, &t);
    json_array_foreach(rows, i, row)
    {
        for (unsigned k = 0; k < t.n; k++) {
            char *text = cell_text(cell(row, &t.columns[k]));

            put_cell(to, text, &t.columns[k], k + 1 == t.n);
            free(text);
        }
        if (blocks)
            show_blocks(to, row);
    }
}

static bool is_table(json_t *v)
{
    json_t *row;
    size_t i;

    if (!json_is_array(v))
        return false;
    json_array_foreach(v, i, row)
    {
        if (!json_is_object(row))
            return false;
    }
    return true;
}

static bool is_lines(json_t *v)
{
    json_t *line;
    size_t i;

    json_array_foreach(v, i, line)
    {
        if (!json_is_string(line))
            return false;
    }
    return json_array_size(v) > 0;
}

/* An empty array is an empty table where columns are known. */
static bool is_nested(json_t *v, const char *columns)
{
    return json_is_object(v) || is_lines(v) ||
           (is_table(v) && (columns != NULL || json_array_size(v) > 0));
}

/* Values first, in a column of their own; then whatever is larger, each with its name above. */
static void show_object(FILE *to, json_t *o, const char *columns)
{
    size_t width = 0;
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
    {
        if (!is_nested(v, columns))
            width = MAX(width, width_of(key));
    }
    json_object_foreach(o, key, v)
    {
        char *text = cell_text(v), *name = escaped(key);

        if (!is_nested(v, columns))
            fprintf(to, "%s%*s  %s\n", name, (int)(width - MIN(width, width_of(name))), "", text);
        free(text);
        free(name);
    }
    json_object_foreach(o, key, v)
    {
        char *name = escaped(key);

        if (is_nested(v, columns)) {
            fprintf(to, "\n%s:\n", name);
            show(to, v, columns);
        }
        free(name);
    }
}

/* Text of several lines stays so (a configuration, Prometheus); the rest is escaped. */
static void show_text(FILE *to, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        char *line = strndup(text, len), *safe;

        if (line == NULL)
            abort();
        safe = escaped(line);
        fprintf(to, "%s\n", safe);
        free(safe);
        free(line);
        text += len + (text[len] == '\n');
    }
}

void show(FILE *to, json_t *value, const char *columns)
{
    json_t *v;
    size_t i;

    if (is_table(value)) {
        show_table(to, value, columns, false);
    } else if (json_is_object(value)) {
        show_object(to, value, columns);
    } else if (json_is_string(value)) {
        show_text(to, json_string_value(value));
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, v)
        {
            char *text = cell_text(v);

            fprintf(to, "%s\n", text);
            free(text);
        }
    } else if (value != NULL && !json_is_null(value)) {
        char *text = cell_text(value);

        fprintf(to, "%s\n", text);
        free(text);
    }
}

void show_verbose(FILE *to, json_t *value, const char *columns)
{
    const char *key;
    json_t *v;

    json_object_foreach(value, key, v)
    {
        char *text = cell_text(v), *name = escaped(key);

        if (is_table(v))
            show_table(to, v, columns, true);
        else
            fprintf(to, "%s %s\n", name, text);
        free(text);
        free(name);
    }
}

bool show_error(const json_t *answer)
{
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *hint = json_string_value(json_object_get(answer, "hint"));
    json_t *words = json_pack("s++", "isthmusctl: ", error != NULL ? error : "refused", "");

    show(stderr, words, NULL);
    json_decref(words);
    if (hint != NULL && hint[0] != '\0') {
        words = json_pack("s+", "  ", hint);
        show(stderr, words, NULL);
        json_decref(words);
    }
    /* Told by the socket, before any command: see dialog.h. */
    return !json_is_false(json_object_get(answer, "asked"));
}
