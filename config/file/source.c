#include "config/file/source.h"

#include "dataplane/base/num.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the byte before us was in: only what can hide an include, or look like one. */
enum scan { SCAN_CODE, SCAN_COMMENT, SCAN_STRING };

struct reading {
    struct source *src;
    struct arena *arena;
    struct cfg_err *err;
    size_t room;
    uint32_t lines_room;
    unsigned depth;
    bool may_include;
    bool is_adopted; /* the text is the file's own bytes */
};

static void *grow(void *p, size_t n, size_t size)
{
    p = realloc(p, n * size);
    if (p == NULL)
        abort(); /* as an arena without a limit does: there is no configuration without memory */
    return p;
}

static int append(struct reading *r, const char *bytes, size_t len, const struct cfg_where *where)
{
    struct source *src = r->src;

    if (src->len + len > SOURCE_MAX_BYTES)
        return cfg_err_set(r->err, where, "the configuration is larger than %u MiB",
                           SOURCE_MAX_BYTES >> 20);
    if (src->len + len + 1 > r->room) {
        r->room = 2 * (src->len + len + 1);
        src->text = grow(src->text, r->room, 1);
    }
    memcpy(src->text + src->len, bytes, len);
    src->len += len;
    src->text[src->len] = '\0';
    return 0;
}

static void add_line(struct reading *r, const struct cfg_where *where)
{
    struct source *src = r->src;

    if (src->n_lines == r->lines_room) {
        r->lines_room = MAX(256, 2 * r->lines_room);
        src->lines = grow(src->lines, r->lines_room, sizeof(*src->lines));
    }
    src->lines[src->n_lines++] = *where;
}

/* What names and numbers are made of; they begin with a letter or a digit. A file of a large
 * gateway has millions of bytes: no call for each. */
enum { BEGINS = 1, GOES_ON = 2 };
static const uint8_t kind_of[256] = {
    ['0' ... '9'] = BEGINS | GOES_ON,
    ['A' ... 'Z'] = BEGINS | GOES_ON,
    ['a' ... 'z'] = BEGINS | GOES_ON,
    ['_'] = GOES_ON,
    ['-'] = GOES_ON,
    ['*'] = GOES_ON,
    ['.'] = GOES_ON,
    ['+'] = GOES_ON,
};

static bool is_kind(char c, uint8_t kind)
{
    return (kind_of[(unsigned char)c] & kind) != 0;
}

/*
 * The length of the name or number at the front, at least 1. libconfig reads a number without the
 * suffix L into 32 bits, and drops what does not fit without a word: *@cut is set.
 */
static size_t skip_word(struct slice s, bool *cut)
{
    size_t len = 0, n_digits = 0;
    uint64_t value;

    while (n_digits < s.len && isdigit((unsigned char)s.ptr[n_digits]))
        n_digits++;
    while (len < s.len && is_kind(s.ptr[len], GOES_ON))
        len++;
    if (n_digits > 0 && n_digits == len && !num_u64(slice_head(s, n_digits), INT32_MAX, &value))
        *cut = true;
    return MAX(len, 1);
}

/* Where the string that goes on at @i ends: behind its quote, or with the line. */
static size_t skip_string(struct slice line, size_t i, enum scan *state)
{
    for (; i < line.len; i++) {
        if (line.ptr[i] == '\\') {
            i++;
        } else if (line.ptr[i] == '"') {
            *state = SCAN_CODE;
            return i + 1;
        }
    }
    return line.len;
}

static size_t skip_comment(struct slice line, size_t i, enum scan *state)
{
    for (; i + 1 < line.len; i++) {
        if (line.ptr[i] == '*' && line.ptr[i + 1] == '/') {
            *state = SCAN_CODE;
            return i + 2;
        }
    }
    return line.len;
}

/* Over one word, or one other byte, of code. */
static size_t skip_code(struct slice line, size_t i, enum scan *state, bool *cut)
{
    const char c = line.ptr[i], next = i + 1 < line.len ? line.ptr[i + 1] : '\0';

    if (is_kind(c, BEGINS))
        return i + skip_word(slice_skip(line, i), cut);
    if (c == '#' || (c == '/' && next == '/'))
        return line.len;
    if (c == '"')
        *state = SCAN_STRING;
    if (c != '/' || next != '*')
        return i + 1;
    *state = SCAN_COMMENT;
    return i + 2;
}

/* Moves the state over one line. */
static enum scan scan_line(enum scan state, struct slice line, bool *cut)
{
    size_t i = 0;

    while (i < line.len) {
        switch (state) {
        case SCAN_CODE:
            i = skip_code(line, i, &state, cut);
            break;
        case SCAN_COMMENT:
            i = skip_comment(line, i, &state);
            break;
        case SCAN_STRING:
            i = skip_string(line, i, &state);
            break;
        }
    }
    return state;
}

/* 1: @line is an include of @name. 0: it is not. */
static int parse_include(struct slice line, struct slice *name)
{
    size_t i = 0, end;

    while (i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t'))
        i++;
    line = slice_skip(line, i);
    if (!slice_starts(line, SLICE("@include")))
        return 0;
    line = slice_skip(line, strlen("@include"));
    while (line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
        line = slice_skip(line, 1);
    if (line.len == 0 || line.ptr[0] != '"')
        return -EINVAL;
    line = slice_skip(line, 1);
    end = slice_find(line, '"');
    if (end == 0 || end == line.len)
        return -EINVAL;
    *name = slice_head(line, end);
    for (line = slice_skip(line, end + 1); line.len > 0; line = slice_skip(line, 1)) {
        if (line.ptr[0] == '#')
            break;
        if (strchr(" \t\r", line.ptr[0]) == NULL)
            return -EINVAL;
    }
    return 1;
}

/* A name beside the file that includes it. */
static const char *beside(struct arena *a, const char *file, struct slice name)
{
    const char *slash = strrchr(file, '/');

    if (name.ptr[0] == '/' || slash == NULL)
        return arena_strndup(a, name.ptr, name.len);
    return arena_printf(a, "%.*s/%.*s", (int)(slash - file), file, SLICE_ARG(name));
}

static int read_file(struct reading *r, const char *path, const struct cfg_where *from);

/*
 * A whole file that includes nothing, and stands alone, is the text as it is: nothing is copied. It
 * has a byte of room behind it for the zero.
 */
static bool adopt_text(struct reading *r, char *bytes, size_t len)
{
    if (r->src->len > 0 || r->depth > 1 || len == 0 || bytes[len - 1] != '\n' ||
        memmem(bytes, len, "@include", strlen("@include")) != NULL)
        return false;
    free(r->src->text);
    bytes[len] = '\0';
    r->src->text = bytes;
    r->src->len = len;
    r->is_adopted = true;
    return true;
}

static int take_line(struct reading *r, struct slice line, const struct cfg_where *where)
{
    int rc;

    add_line(r, where);
    if (r->is_adopted)
        return 0;
    rc = append(r, line.ptr, line.len, where);
    return rc == 0 ? append(r, "\n", 1, where) : rc;
}

static int take_text(struct reading *r, const char *file, struct slice text)
{
    struct cfg_where where = { file, 0 };
    enum scan state = SCAN_CODE;
    bool cut = false;

    while (text.len > 0) {
        const size_t lf = slice_find(text, '\n');
        const struct slice line = slice_head(text, lf);
        struct slice name;
        int rc = 0;

        where.line++;
        if (slice_find(line, '\0') < line.len)
            return cfg_err_set(r->err, &where, "there is a zero byte in this line");
        if (state == SCAN_CODE)
            rc = parse_include(line, &name);
        if (rc < 0)
            return cfg_err_set(r->err, &where, "must be: @include \"FILE\"");
        if (rc > 0) {
            if (!r->may_include)
                return cfg_err_set(r->err, &where, "there is no file to include from here");
            rc = read_file(r, beside(r->arena, file, name), &where);
        } else {
            rc = take_line(r, line, &where);
            state = scan_line(state, line, &cut);
        }
        if (cut && rc == 0)
            rc = cfg_err_set(r->err, &where, "a number larger than 2147483647 must end in L");
        if (rc < 0)
            return rc;
        text = slice_skip(text, lf < text.len ? lf + 1 : lf);
    }
    /* Else what follows the include would be read as a part of it. */
    if (state != SCAN_CODE)
        return cfg_err_set(r->err, &where, "the file ends within a %s",
                           state == SCAN_STRING ? "string" : "comment");
    return 0;
}

/* Reads a regular file; the caller frees *@ret. */
static int slurp(struct reading *r, const char *path, const struct cfg_where *from, char **ret,
                 size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
    struct stat st;
    size_t len = 0;
    char *bytes;

    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = cfg_err_set(r->err, from, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > SOURCE_MAX_BYTES) {
        close(fd);
        return cfg_err_set(r->err, from, "%s: %s", path,
                           S_ISREG(st.st_mode) ? "is too large" : "is not a file");
    }
    bytes = grow(NULL, (size_t)st.st_size + 1, 1);
    while (len < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + len, (size_t)st.st_size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = cfg_err_set(r->err, from, "%s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (rc < 0) {
        free(bytes);
        return rc;
    }
    *ret = bytes;
    *ret_len = len;
    return 0;
}

static int read_file(struct reading *r, const char *path, const struct cfg_where *from)
{
    size_t len = 0;
    char *bytes = NULL;
    bool adopted;
    int rc;

    if (r->depth == SOURCE_MAX_DEPTH)
        return cfg_err_set(r->err, from, "files include each other more than %u deep",
                           SOURCE_MAX_DEPTH);
    rc = slurp(r, path, from, &bytes, &len);
    if (rc < 0)
        return rc;
    r->depth++;
    adopted = adopt_text(r, bytes, len);
    rc = take_text(r, path, (struct slice){ bytes, len });
    r->depth--;
    if (!adopted)
        free(bytes);
    return rc;
}

int source_read(struct source *src, const char *path, struct arena *a, struct cfg_err *err)
{
    struct reading r = { .src = src, .arena = a, .err = err, .may_include = true };
    int rc;

    *src = (struct source){ 0 };
    append(&r, "", 0, NULL);
    rc = read_file(&r, arena_strdup(a, path), NULL);
    if (rc < 0)
        source_fini(src);
    return rc;
}

int source_from_text(struct source *src, const char *name, const char *text, size_t len,
                     struct arena *a, struct cfg_err *err)
{
    struct reading r = { .src = src, .arena = a, .err = err };
    int rc;

    *src = (struct source){ 0 };
    append(&r, "", 0, NULL);
    rc = take_text(&r, arena_strdup(a, name), (struct slice){ text, len });
    if (rc < 0)
        source_fini(src);
    return rc;
}

void source_fini(struct source *src)
{
    free(src->text);
    free(src->lines);
    *src = (struct source){ 0 };
}

struct cfg_where source_where(const struct source *src, unsigned line)
{
    if (src->n_lines == 0)
        return (struct cfg_where){ NULL, 0 };
    return src->lines[MIN(MAX(line, 1u), src->n_lines) - 1];
}
