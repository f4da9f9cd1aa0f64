#include "config/file/file.h"

#include "config/file/objects.h"

#include <inttypes.h>

static void type_text(const struct field *f, FILE *to)
{
    switch (f->type) {
    case FIELD_TEXT:
        fprintf(to, "text");
        return;
    case FIELD_BOOL:
        fprintf(to, "true or false");
        return;
    case FIELD_NUMBER:
        fprintf(to, "number");
        return;
    case FIELD_DURATION:
        fprintf(to, "duration");
        return;
    case FIELD_SIZE:
        fprintf(to, "size");
        return;
    case FIELD_OCTAL:
        fprintf(to, "mode");
        return;
    case FIELD_WORD:
        for (unsigned i = 0; f->words[i] != NULL; i++)
            fprintf(to, "%s\"%s\"", i > 0 ? ", " : "", f->words[i]);
        return;
    case FIELD_EACH:
        fprintf(to, "array of %s", f->form);
        return;
    case FIELD_GROUP:
        fprintf(to, "group");
        return;
    case FIELD_LIST:
        fprintf(to, "list of groups");
        return;
    case FIELD_CUSTOM:
        fprintf(to, "%s", f->form);
        return;
    }
}

static void range_text(const struct field *f, FILE *to)
{
    char min[32], max[32];

    switch (f->type) {
    case FIELD_NUMBER:
        fprintf(to, "%" PRIu64 " to %" PRIu64, f->min, f->max);
        return;
    case FIELD_DURATION:
        fprintf(to, "%s to %s", field_duration_text(f->min, min), field_duration_text(f->max, max));
        return;
    case FIELD_SIZE:
        fprintf(to, "%s to %s", field_size_text(f->min * (f->unit ? f->unit : 1), min),
                field_size_text(f->max * (f->unit ? f->unit : 1), max));
        return;
    case FIELD_OCTAL:
        fprintf(to, "up to \"%04o\"", (unsigned)f->max);
        return;
    case FIELD_EACH:
    case FIELD_LIST:
        if (f->max != 0)
            fprintf(to, "%s %" PRIu64, f->may_be_empty ? "up to" : "1 to", f->max);
        return;
    case FIELD_TEXT:
    case FIELD_BOOL:
    case FIELD_WORD:
    case FIELD_GROUP:
    case FIELD_CUSTOM:
        return;
    }
}

static void default_text(const struct field *f, FILE *to)
{
    char text[32];

    if (f->required) {
        fprintf(to, "**required**");
        return;
    }
    switch (f->type) {
    case FIELD_TEXT:
        fprintf(to, f->def_text != NULL && strchr(f->def_text, ' ') == NULL ? "\"%s\"" : "%s",
                f->def_text != NULL ? f->def_text : "");
        return;
    case FIELD_BOOL:
        fprintf(to, f->def ? "true" : "false");
        return;
    case FIELD_NUMBER:
        if (f->def_text != NULL)
            fprintf(to, "%s", f->def_text);
        else
            fprintf(to, "%" PRIu64, f->def);
        return;
    case FIELD_DURATION:
        fprintf(to, f->def_text != NULL ? "%s" : "\"%s\"",
                f->def_text != NULL ? f->def_text : field_duration_text(f->def, text));
        return;
    case FIELD_SIZE:
        fprintf(to, "\"%s\"", field_size_text(f->def * (f->unit ? f->unit : 1), text));
        return;
    case FIELD_OCTAL:
        fprintf(to, "\"%04o\"", (unsigned)f->def);
        return;
    case FIELD_WORD:
        fprintf(to, "\"%s\"", f->words[f->def]);
        return;
    case FIELD_EACH:
    case FIELD_GROUP:
    case FIELD_LIST:
    case FIELD_CUSTOM:
        return;
    }
}

static void print_object(const struct object *o, const char *path, FILE *to);

/* The groups inside, each below the one that holds it. */
static void print_inner(const struct object *o, const char *path, FILE *to)
{
    char inner[256];

    for (size_t i = 0; i < o->n_fields; i++) {
        const struct field *f = &o->fields[i];

        if (f->object == NULL)
            continue;
        snprintf(inner, sizeof(inner), "%s%s%s%s", path, path[0] != '\0' ? "." : "", f->name,
                 f->type == FIELD_LIST ? "[]" : "");
        print_object(f->object, inner, to);
    }
}

static void print_object(const struct object *o, const char *path, FILE *to)
{
    fprintf(to, "\n### %s%s%s\n\n%s\n\n", path[0] != '\0' ? "`" : "The file", path,
            path[0] != '\0' ? "`" : "", o->help);
    fprintf(to, "| setting | type | range | default | |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < o->n_fields; i++) {
        const struct field *f = &o->fields[i];

        fprintf(to, "| `%s` | ", f->name);
        type_text(f, to);
        fprintf(to, " | ");
        range_text(f, to);
        fprintf(to, " | ");
        default_text(f, to);
        fprintf(to, " | %s |\n", f->help);
    }
    print_inner(o, path, to);
}

void file_reference(FILE *to)
{
    fprintf(to,
            "Settings are written in libconfig's language: `name = value;`, groups `{ ... }`, "
            "lists `( ... )`, arrays `[ ... ]`. A duration is a text such as \"15s\" or \"250ms\" "
            "(us, ms, s, m, h); a size is a number of bytes or a text such as \"64KiB\" (KiB, MiB, "
            "GiB). A setting that is not listed here is refused, with its file and line.\n");
    print_object(&object_snapshot, "", to);
}
