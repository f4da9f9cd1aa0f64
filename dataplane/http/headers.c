#include "dataplane/base/compiler.h"
#include "dataplane/http/fields.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define T(c) [c] = (c)
#define U(c) [c] = (c) + ('a' - 'A')

const uint8_t http_token_lower[256] = {
    T('!'), T('#'), T('$'), T('%'), T('&'), T('\''), T('*'), T('+'), T('-'), T('.'), T('^'),
    T('_'), T('`'), T('|'), T('~'), T('0'), T('1'),  T('2'), T('3'), T('4'), T('5'), T('6'),
    T('7'), T('8'), T('9'), T('a'), T('b'), T('c'),  T('d'), T('e'), T('f'), T('g'), T('h'),
    T('i'), T('j'), T('k'), T('l'), T('m'), T('n'),  T('o'), T('p'), T('q'), T('r'), T('s'),
    T('t'), T('u'), T('v'), T('w'), T('x'), T('y'),  T('z'), U('A'), U('B'), U('C'), U('D'),
    U('E'), U('F'), U('G'), U('H'), U('I'), U('J'),  U('K'), U('L'), U('M'), U('N'), U('O'),
    U('P'), U('Q'), U('R'), U('S'), U('T'), U('U'),  U('V'), U('W'), U('X'), U('Y'), U('Z'),
};

bool http_is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (http_token_lower[(uint8_t)s.ptr[i]] == 0)
            return false;
    return s.len > 0;
}

static bool is_lower_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (http_token_lower[(uint8_t)s.ptr[i]] != (uint8_t)s.ptr[i] || s.ptr[i] == 0)
            return false;
    return s.len > 0;
}

static bool is_value_char(uint8_t c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static bool are_value_chars(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_value_char((uint8_t)at[i]))
            return false;
    return true;
}

#ifdef __SSE2__
/* A bit for each that may be in a value; a control character is one that max(c, 0x20) changes. */
static int value_chars(__m128i v)
{
    const __m128i space = _mm_set1_epi8(0x20), del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
    const __m128i seen = _mm_cmpeq_epi8(_mm_max_epu8(v, space), v);

    return _mm_movemask_epi8(
        _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, del), seen), _mm_cmpeq_epi8(v, tab)));
}

static bool are_16(const char *at)
{
    return value_chars(_mm_loadu_si128((const __m128i *)(const void *)at)) == 0xffff;
}

static bool are_8(const char *at)
{
    return (value_chars(_mm_loadl_epi64((const __m128i *)(const void *)at)) & 0xff) == 0xff;
}

/* The last ones overlap those before them. */
bool http_is_value(struct slice s)
{
    if (s.len < 8)
        return are_value_chars(s.ptr, s.len);
    if (s.len < 16)
        return are_8(s.ptr) && are_8(s.ptr + s.len - 8);
    for (size_t i = 0; i + 16 <= s.len; i += 16)
        if (!are_16(s.ptr + i))
            return false;
    return are_16(s.ptr + s.len - 16);
}
#else
bool http_is_value(struct slice s)
{
    return are_value_chars(s.ptr, s.len);
}
#endif

struct http_field *http_fields_get(const struct http_fields *f, struct slice name)
{
    for (uint16_t i = 0; i < f->n; i++)
        if (slice_eq(f->v[i].name, name))
            return &f->v[i];
    return NULL;
}

struct slice http_fields_value(const struct http_fields *f, struct slice name)
{
    const struct http_field *field = http_fields_get(f, name);

    return field != NULL ? field->value : SLICE_NONE;
}

bool http_fields_push(struct http_fields *f, struct arena *a, struct slice name, struct slice value)
{
    if (f->n == f->room) {
        uint16_t room = f->room == 0 ? 16 : (uint16_t)(2 * f->room);
        struct http_field *v = arena_alloc(a, room * sizeof(*v));

        if (v == NULL)
            return false;
        if (f->n > 0)
            memcpy(v, f->v, f->n * sizeof(*v));
        f->v = v;
        f->room = room;
    }
    f->v[f->n++] = (struct http_field){ name, value };
    return true;
}

bool http_fields_add(struct http_fields *f, struct arena *a, struct slice name, struct slice value)
{
    char *copy;

    if (f->n >= HTTP_MAX_FIELDS + HTTP_OWN_FIELDS || !is_lower_token(name) || !http_is_value(value))
        return false;
    copy = arena_alloc(a, name.len + value.len);
    if (copy == NULL)
        return false;
    memcpy(copy, name.ptr, name.len);
    if (value.len > 0)
        memcpy(copy + name.len, value.ptr, value.len);
    return http_fields_push(f, a, (struct slice){ copy, name.len },
                            (struct slice){ copy + name.len, value.len });
}

/* Removes every field of that name from index @from on. */
static unsigned remove_from(struct http_fields *f, uint16_t from, struct slice name)
{
    uint16_t to = from;
    unsigned removed;

    for (uint16_t i = from; i < f->n; i++)
        if (!slice_eq(f->v[i].name, name))
            f->v[to++] = f->v[i];
    removed = (unsigned)(f->n - to);
    f->n = to;
    return removed;
}

bool http_fields_set(struct http_fields *f, struct arena *a, struct slice name, struct slice value)
{
    struct http_field *first = http_fields_get(f, name);
    struct slice copy;

    if (first == NULL)
        return http_fields_add(f, a, name, value);
    if (!http_is_value(value))
        return false;
    copy = arena_copy(a, value);
    if (copy.ptr == NULL)
        return false;
    first->value = copy;
    remove_from(f, (uint16_t)(first - f->v + 1), name);
    return true;
}

unsigned http_fields_remove(struct http_fields *f, struct slice name)
{
    return remove_from(f, 0, name);
}

enum http_special http_special(struct slice name)
{
    static const struct {
        struct slice name;
        enum http_special is;
    } table[] = {
        { { "te", 2 }, HTTP_HOP },
        { { "host", 4 }, HTTP_HOST },
        { { "expect", 6 }, HTTP_EXPECT },
        { { "upgrade", 7 }, HTTP_HOP },
        { { "connection", 10 }, HTTP_CONNECTION },
        { { "keep-alive", 10 }, HTTP_HOP },
        { { "content-length", 14 }, HTTP_CONTENT_LENGTH },
        { { "http2-settings", 14 }, HTTP_HOP },
        { { "proxy-connection", 16 }, HTTP_HOP },
        { { "transfer-encoding", 17 }, HTTP_TRANSFER_ENCODING },
    };
    const uint32_t lengths =
        1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 14 | 1 << 16 | 1 << 17;

    if (name.len > 17 || (lengths >> name.len & 1) == 0)
        return HTTP_ORDINARY;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (slice_eq(table[i].name, name))
            return table[i].is;
    return HTTP_ORDINARY;
}

bool http_is_trailer(struct slice name)
{
    static const char *const never[] = {
        "authorization",       "cache-control",      "content-encoding",
        "content-range",       "content-type",       "cookie",
        "max-forwards",        "proxy-authenticate", "range",
        "proxy-authorization", "set-cookie",         "trailer",
        "www-authenticate",
    };

    if (http_special(name) != HTTP_ORDINARY)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        if (slice_eq(name, slice_of(never[i])))
            return false;
    return true;
}
