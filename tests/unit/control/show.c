#include "config/control/show.h"

#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

static void check(const char *json, const char *columns, const char *expected)
{
    json_error_t err;
    json_t *value = json_loads(json, JSON_DECODE_ANY, &err);
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    assert_non_null(value);
    show(to, value, columns);
    fclose(to);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static void rows_are_a_table_with_the_named_columns_first(void **state)
{
    check("[{\"n\": 5, \"name\": \"a\"}, {\"n\": 1000, \"name\": \"longer\", \"extra\": true}]",
          "name n absent",
          "NAME       N  EXTRA\n"
          "a          5      -\n"
          "longer  1000    yes\n");
}

static void an_empty_table_shows_its_columns(void **state)
{
    check("[]", "cluster rq_active", "CLUSTER  RQ-ACTIVE\n");
    check("{\"shown\": 0, \"rows\": []}", "a b", "shown  0\n\nrows:\nA  B\n");
}

static void an_object_shows_its_values_before_its_tables(void **state)
{
    check("{\"rows\": [{\"k\": 1}], \"state\": \"running\", \"none\": null}", NULL,
          "state  running\nnone   -\n\nrows:\nK\n1\n");
}

static void text_keeps_its_lines_but_moves_no_cursor(void **state)
{
    check("\"one\\ntwo\\u001b[2J\"", NULL, "one\ntwo\\x1b[2J\n");
    check("[{\"k\": \"a\\nb\\u009bc\"}]", NULL, "K\na\\x0ab\\xc2\\x9bc\n");
}

static void titles_and_cells_move_no_cursor_either(void **state)
{
    check("[{\"sni\":\"\\u001b[2Ja\\u007f\",\"\\u001b\":1}]", NULL,
          "SNI           \\x1b\n"
          "\\x1b[2Ja\\x7f     1\n");
    check("\"\\u009b31m\"", NULL, "\\xc2\\x9b31m\n");
}

static void width_counts_characters(void **state)
{
    check("[{\"k\": \"\\u00e9\", \"n\": 1}, {\"k\": \"ab\", \"n\": 2}]", NULL,
          "K   N\n\u00e9   1\nab  2\n");
}

static void an_array_of_texts_is_lines(void **state)
{
    check("{\"lines\": [\"a\", \"b\\u001b\"], \"n\": 1}", NULL, "n  1\n\nlines:\na\nb\\x1b\n");
    check("[{\"k\": [\"a\", \"b\"]}]", NULL, "K\n[\"a\",\"b\"]\n");
}

/* Zeros are left out, and what is longer than a line goes on in the next. */
static void what_is_verbose_goes_below_its_row(void **state)
{
    json_t *value = json_loads("{\"shown\": 1, \"rows\": [{\"client\": \"a\", \"tcp\": {\"perf\": "
                               "{\"in\": 5, \"none\": 0, \"a_name_that_is_very_long_indeed_so_"
                               "that_it_takes_a_line\": 1, \"another_name_that_is_long_enough_for_"
                               "that_as_well\": 2}, \"path\": {}}}]}",
                               0, NULL);
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    assert_non_null(value);
    show_verbose(to, value, "client");
    fclose(to);
    assert_string_equal(text, "shown 1\n"
                              "CLIENT\n"
                              "a\n"
                              "  tcp\n"
                              "    perf: in:5 a_name_that_is_very_long_indeed_so_that_it_takes_a_"
                              "line:1\n"
                              "        another_name_that_is_long_enough_for_that_as_well:2\n"
                              "    path:\n");
    free(text);
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_a_table_with_the_named_columns_first),
        cmocka_unit_test(an_empty_table_shows_its_columns),
        cmocka_unit_test(an_object_shows_its_values_before_its_tables),
        cmocka_unit_test(text_keeps_its_lines_but_moves_no_cursor),
        cmocka_unit_test(titles_and_cells_move_no_cursor_either),
        cmocka_unit_test(width_counts_characters),
        cmocka_unit_test(an_array_of_texts_is_lines),
        cmocka_unit_test(what_is_verbose_goes_below_its_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
