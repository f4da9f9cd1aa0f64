#include "config/control/show.h"
#include "tests/lib/test.h"

#include <stdlib.h>

static void shows(const char *json, const char *columns, const char *expected)
{
    json_error_t err;
    json_t *value = json_loads(json, JSON_DECODE_ANY, &err);
    size_t len;
    char *text;
    FILE *f;

    assert_non_null(value);
    f = open_memstream(&text, &len);
    show(f, value, columns);
    fclose(f);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static void an_array_of_objects_is_a_table(void **state)
{
    shows("[{\"name\":\"a\",\"n\":5,\"up\":true},{\"name\":\"longer\",\"n\":12345,\"up\":false}]",
          NULL,
          "NAME        N   UP\n"
          "a           5  yes\n"
          "longer  12345   no\n");
}

static void listed_columns_come_first(void **state)
{
    shows("[{\"c\":\"x\",\"b\":\"y\"},{\"a_b\":1,\"d\":null}]", "a_b  absent b",
          "A-B  B  C  D\n"
          "  -  y  x  -\n"
          "  1  -  -  -\n");
}

static void a_table_without_rows_has_its_title(void **state)
{
    shows("[]", "worker client", "WORKER  CLIENT\n");
    shows("[]", NULL, "");
}

static void an_object_is_lines_and_then_its_tables(void **state)
{
    shows("{\"version\":3,\"workers\":[{\"id\":0,\"load\":0.25}],\"state\":\"running\","
          "\"ports\":[]}",
          NULL,
          "version  3\n"
          "state    running\n"
          "ports    []\n"
          "\n"
          "workers:\n"
          "ID  LOAD\n"
          " 0  0.25\n");
}

static void text_is_itself(void **state)
{
    shows("\"a 1\\nb 2\\n\"", NULL, "a 1\nb 2\n");
    shows("\"\"", NULL, "");
    shows("null", NULL, "");
    shows("7", NULL, "7\n");
    shows("[\"a\",\"b\"]", NULL, "a\nb\n");
}

static void nobody_moves_the_cursor(void **state)
{
    shows("[{\"sni\":\"\\u001b[2Ja\\u007f\",\"\\u001b\":1}]", NULL,
          "SNI           \\x1b\n"
          "\\x1b[2Ja\\x7f     1\n");
    shows("\"\\u009b31m\"", NULL, "\\xc2\\x9b31m\n");
    shows("{\"a\\u0007\":\"b\\nc\"}", NULL, "a\\x07  b\\x0ac\n");
}

static void columns_are_as_wide_as_their_characters(void **state)
{
    shows("[{\"a\":\"\xc3\xa4\xc3\xb6\",\"b\":1},{\"a\":\"xyz\",\"b\":2}]", NULL,
          "A    B\n"
          "\xc3\xa4\xc3\xb6   1\n"
          "xyz  2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_of_objects_is_a_table),
        cmocka_unit_test(listed_columns_come_first),
        cmocka_unit_test(a_table_without_rows_has_its_title),
        cmocka_unit_test(an_object_is_lines_and_then_its_tables),
        cmocka_unit_test(text_is_itself),
        cmocka_unit_test(nobody_moves_the_cursor),
        cmocka_unit_test(columns_are_as_wide_as_their_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
