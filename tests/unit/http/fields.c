#include "dataplane/http/msg.h"
#include "tests/lib/test.h"

#include "dataplane/base/compiler.h"

static struct arena arena;
static struct http_fields fields;

static int setup(void **state)
{
    arena_init(&arena, 100000);
    fields = (struct http_fields){ 0 };
    return 0;
}

static int teardown(void **state)
{
    arena_fini(&arena);
    return 0;
}

static bool add(const char *name, const char *value)
{
    return http_fields_add(&fields, &arena, slice_of(name), slice_of(value));
}

static void a_field_is_copied_and_found(void **state)
{
    char name[] = "x-a", value[] = "1";

    assert_true(add(name, value));
    name[0] = value[0] = '?';
    assert_true(slice_eq(http_fields_value(&fields, SLICE("x-a")), SLICE("1")));
    assert_null(http_fields_get(&fields, SLICE("x-b")));
    assert_null(http_fields_value(&fields, SLICE("x-b")).ptr);
}

static void set_replaces_every_field_of_the_name(void **state)
{
    add("a", "1");
    add("b", "2");
    add("a", "3");
    add("c", "4");
    add("a", "5");
    assert_true(http_fields_set(&fields, &arena, SLICE("a"), SLICE("new")));
    assert_int_equal(fields.n, 3);
    assert_true(slice_eq(fields.v[0].value, SLICE("new")));
    assert_true(slice_eq(fields.v[2].name, SLICE("c")));
    assert_true(http_fields_set(&fields, &arena, SLICE("d"), SLICE("")));
    assert_int_equal(fields.n, 4);
    assert_false(http_fields_set(&fields, &arena, SLICE("a"), SLICE("x\ny")));
}

static void remove_tells_how_many(void **state)
{
    add("a", "1");
    add("b", "2");
    add("a", "3");
    assert_int_equal(http_fields_remove(&fields, SLICE("a")), 2);
    assert_int_equal(http_fields_remove(&fields, SLICE("a")), 0);
    assert_int_equal(fields.n, 1);
}

static void an_illegal_field_is_not_added(void **state)
{
    assert_false(add("", "1"));
    assert_false(add("A", "1"));
    assert_false(add("a b", "1"));
    assert_false(add("a:", "1"));
    assert_false(add("a", "1\r\nb: 2"));
    assert_false(add("a", "\x7f"));
    assert_false(http_fields_add(&fields, &arena, SLICE("a"), SLICE("\0")));
    assert_true(add("a", "\t \x80"));
    assert_int_equal(fields.n, 1);
}

static void the_list_and_the_arena_have_ends(void **state)
{
    unsigned n = 0;

    while (add("a", "1"))
        n++;
    assert_int_equal(n, HTTP_MAX_FIELDS + 28);

    fields = (struct http_fields){ 0 };
    arena_fini(&arena);
    arena_init(&arena, 700);
    for (n = 0; add("a", "0123456789"); n++)
        ;
    assert_in_range(n, 1, 16);
}

static void a_value_is_checked_at_every_place(void **state)
{
    char value[64];

    for (unsigned len = 0; len <= sizeof(value); len++) {
        memset(value, 'v', sizeof(value));
        assert_true(http_is_value((struct slice){ value, len }));
        for (unsigned at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                value[at] = (char)c;
                if (http_is_value((struct slice){ value, len }) !=
                    ((c >= 32 && c != 127) || c == '\t'))
                    fail_msg("character %u at %u of %u", c, at, len);
            }
            value[at] = 'v';
        }
    }
}

static void reasons_are_sorted_and_complete_enough(void **state)
{
    static const struct {
        uint16_t status;
        const char *reason;
    } cases[] = {
        { 100, "Continue" },
        { 200, "OK" },
        { 404, "Not Found" },
        { 431, "Request Header Fields Too Large" },
        { 503, "Service Unavailable" },
        { 511, "Network Authentication Required" },
        { 299, "Unknown" },
        { 0, "Unknown" },
        { 999, "Unknown" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(http_reason(cases[i].status), cases[i].reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_field_is_copied_and_found, setup, teardown),
        cmocka_unit_test_setup_teardown(set_replaces_every_field_of_the_name, setup, teardown),
        cmocka_unit_test_setup_teardown(remove_tells_how_many, setup, teardown),
        cmocka_unit_test_setup_teardown(an_illegal_field_is_not_added, setup, teardown),
        cmocka_unit_test_setup_teardown(the_list_and_the_arena_have_ends, setup, teardown),
        cmocka_unit_test(a_value_is_checked_at_every_place),
        cmocka_unit_test(reasons_are_sorted_and_complete_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
