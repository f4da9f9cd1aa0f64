#include "config/file/file.h"

#include "config/file/objects.h"
#include "config/model/dump.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/isthmus-config-XXXXXX";

static struct snapshot *read_good(const char *path)
{
    struct snapshot *s = NULL;
    struct cfg_err err;

    if (file_read(path, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static json_t *without_where(json_t *value)
{
    const char *key;
    json_t *inner;
    size_t i;

    if (json_is_object(value)) {
        json_object_del(value, "where");
        json_object_foreach(value, key, inner) without_where(inner);
    }
    json_array_foreach(value, i, inner) without_where(inner);
    return value;
}

/* The dump says what @expected_path holds. */
static void check_dump(const char *path, const char *expected_path)
{
    struct snapshot *s = read_good(path);
    json_t *dump = without_where(snapshot_dump(s)), *expected;
    json_error_t error;

    expected = json_load_file(expected_path, 0, &error);
    if (expected == NULL)
        fail_msg("%s:%d: %s", expected_path, error.line, error.text);
    if (!json_equal(dump, expected)) {
        char *text = json_dumps(dump, JSON_INDENT(1));

        print_error("%s\n", text);
        free(text);
        fail_msg("the dump of %s is not %s", path, expected_path);
    }
    json_decref(dump);
    json_decref(expected);
    snapshot_put(s);
}

static void every_setting_is_read(void **state)
{
    check_dump("full.conf", "full.json");
}

static void what_is_absent_has_its_default(void **state)
{
    check_dump("minimal.conf", "minimal.json");
}

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 65536);

    assert_non_null(f);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

static void check_names(const struct object *o, const char *text)
{
    for (size_t i = 0; i < o->n_fields; i++) {
        char name[100];

        snprintf(name, sizeof(name), "%s = ", o->fields[i].name);
        if (strstr(text, name) == NULL)
            fail_msg("full.conf has no %s", o->fields[i].name);
        assert_non_null(o->fields[i].help);
        if (o->fields[i].object != NULL)
            check_names(o->fields[i].object, text);
    }
}

static void the_full_file_has_every_row_of_every_table(void **state)
{
    char *text = slurp("full.conf");

    check_names(&object_snapshot, text);
    free(text);
}

static void the_reference_has_every_row_too(void **state)
{
    size_t len = 0;
    char *text = NULL;
    FILE *f = open_memstream(&text, &len);

    file_reference(f);
    fclose(f);
    assert_non_null(strstr(text, "### `machine.ports[]`"));
    assert_non_null(strstr(text, "### `machine.tcp`"));
    assert_non_null(strstr(text, "### `listeners[].filter_chains[].tls`"));
    assert_non_null(strstr(text, "| `max_header_size` | size | 1KiB to 1MiB | \"60KiB\" |"));
    assert_non_null(strstr(text, "| `connect_timeout` | duration | 1ms to 1h | \"5s\" |"));
    assert_non_null(strstr(text, "| `route_config` | text |  | **required** |"));
    assert_null(strstr(text, "(null)"));
    free(text);
}

static void a_place_is_remembered(void **state)
{
    struct snapshot *s = read_good("full.conf");
    const struct cfg_where *where = &snapshot_cluster(s, "empty")->where;

    assert_string_equal(where->file, "full.conf");
    assert_in_range(where->line, 95, 115);
    snapshot_put(s);
}

/* tests/data/bad-config: "# expect: LINE: words" in the first line of each file. */
static void check_bad(const char *name)
{
    char path[300], first[300], place[320], *words;
    struct snapshot *s = NULL;
    struct cfg_err err;
    FILE *f;

    snprintf(path, sizeof(path), "bad-config/%s", name);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(first, sizeof(first), f));
    fclose(f);
    first[strcspn(first, "\n")] = '\0';
    words = strncmp(first, "# expect: ", 10) == 0 ? strstr(first + 10, ": ") : NULL;
    if (words == NULL)
        fail_msg("%s: has no \"# expect: LINE: words\"", path);
    *words = '\0';
    words += 2;
    snprintf(place, sizeof(place), ":%s: ", first + 10);

    if (file_read(path, &s, &err) != -EINVAL)
        fail_msg("%s: is not refused", path);
    assert_null(s);
    if (strstr(err.text, place) == NULL || strstr(err.text, words) == NULL)
        fail_msg("%s: expected %s%s", err.text, place, words);
}

static void bad_files_are_refused_with_line_and_reason(void **state)
{
    DIR *d = opendir("bad-config");
    struct dirent *e;
    unsigned n = 0;

    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        const size_t len = strlen(e->d_name);

        if (len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0) {
            check_bad(e->d_name);
            n++;
        }
    }
    closedir(d);
    assert_true(n >= 60);
}

/* Files that are made for one test */

static void put(const char *name, const char *text)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void refused(const char *name, const char *words)
{
    struct snapshot *s = NULL;
    struct cfg_err err;
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(file_read(path, &s, &err), -EINVAL);
    assert_null(s);
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, err.text);
}

#define MACHINE                                                                                    \
    "machine = { ports = ( { name = \"p\"; device = \"af_packet\"; interface = \"v\"; } ); };\n"

static int make_dir(void **state)
{
    char path[300];

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sub", dir);
    return mkdir(path, 0700);
}

static int remove_dir(void **state)
{
    char command[100];

    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

static void an_include_is_looked_for_beside_the_file_that_names_it(void **state)
{
    struct snapshot *s;
    char path[300];

    put("main.conf", MACHINE "@include \"sub/clusters.conf\"\nlisteners = ();\n");
    put("sub/clusters.conf", "clusters = (\n  @include \"one.conf\"\n);\n");
    put("sub/one.conf", "{ name = \"a\"; }");
    snprintf(path, sizeof(path), "%s/main.conf", dir);
    s = read_good(path);
    assert_int_equal(s->n_clusters, 1);
    assert_non_null(strstr(s->clusters[0].where.file, "/sub/one.conf"));
    assert_int_equal(s->clusters[0].where.line, 1);
    snapshot_put(s);
}

static void a_mistake_in_an_included_file_is_told_there(void **state)
{
    put("main.conf", MACHINE "\n@include \"sub/bad.conf\"\n");
    put("sub/bad.conf", "# one\n# two\nclusters = ( { name = 5; } );\n");
    refused("main.conf", "/sub/bad.conf:3: clusters[0].name: is a number, must be a text");
    put("sub/bad.conf", "clusters = (\n\n{ name = ; } );\n");
    refused("main.conf", "/sub/bad.conf:3: syntax error");
}

/* As bytes, and as libconfig's escapes, which are bytes only once they are read. */
static void a_name_that_is_not_utf8_is_refused(void **state)
{
    struct snapshot *s;
    char path[300];

    put("main.conf", MACHINE "clusters = ( { name = \"a\"; },\n  { name = \"caf\xe9\"; } );\n");
    refused("main.conf", "/main.conf:3: clusters[1].name: is not UTF-8");
    put("main.conf", MACHINE "clusters = (\n  { name = \"\\xc3\"; } );\n");
    refused("main.conf", "/main.conf:3: clusters[0].name: is not UTF-8");
    put("main.conf", "# caf\xe9\n" MACHINE "clusters = ( { name = \"caf\xc3\xa9\"; } );\n");
    snprintf(path, sizeof(path), "%s/main.conf", dir);
    s = read_good(path);
    assert_string_equal(s->clusters[0].name, "caf\xc3\xa9");
    snapshot_put(s);
}

static void a_file_whose_path_is_not_utf8_can_be_dumped(void **state)
{
    struct snapshot *s;
    char path[300], *text;
    json_t *dump;

    put("caf\xe9.conf", MACHINE);
    snprintf(path, sizeof(path), "%s/caf\xe9.conf", dir);
    s = read_good(path);
    dump = snapshot_dump(s);
    text = json_dumps(dump, 0);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"machine\""));
    free(text);
    json_decref(dump);
    snapshot_put(s);
}

static void what_follows_an_include_keeps_its_lines(void **state)
{
    put("main.conf", "@include \"sub/c.conf\"\n" MACHINE "\nfoo = 1;\n");
    put("sub/c.conf", "\n\n\nclusters = ();\n\n\n");
    refused("main.conf", "/main.conf:4: foo: there is no such setting");
}

static void an_include_in_a_comment_or_a_string_is_none(void **state)
{
    struct snapshot *s;
    char path[300];

    put("main.conf", MACHINE "/*\n@include \"nowhere\"\n*/\n# @include \"nowhere\"\n");
    snprintf(path, sizeof(path), "%s/main.conf", dir);
    s = read_good(path);
    snapshot_put(s);
}

static void includes_that_cannot_be_read_are_refused(void **state)
{
    char deep[40], next[80];

    put("main.conf", "\n@include \"nowhere.conf\"\n");
    refused("main.conf", "main.conf:2: ");
    refused("main.conf", "nowhere.conf: No such file");
    put("main.conf", "@include \"sub\"\n");
    refused("main.conf", "sub: is not a file");
    put("main.conf", "@include \"/dev/zero\"\n");
    refused("main.conf", "/dev/zero: is not a file");
    put("main.conf", "@include nowhere\n");
    refused("main.conf", "main.conf:1: must be: @include \"FILE\"");
    put("main.conf", "@include \"main.conf\"\n");
    refused("main.conf", "main.conf:1: files include each other more than 8 deep");
    put("sub/c.conf", "/* and no end");
    put("main.conf", "@include \"sub/c.conf\"\n*/\n");
    refused("main.conf", "sub/c.conf:1: the file ends within a comment");
    refused("nothing.conf", "nothing.conf: No such file");
    refused("sub", "sub: is not a file");

    for (unsigned i = 1; i <= 7; i++) {
        snprintf(deep, sizeof(deep), "deep%u.conf", i);
        snprintf(next, sizeof(next), i < 7 ? "@include \"deep%u.conf\"\n" : "clusters = 5;\n",
                 i + 1);
        put(deep, next);
    }
    refused("deep1.conf", "deep7.conf:1: ");
}

static void a_zero_byte_is_refused(void **state)
{
    static const char text[] = MACHINE "foo = \"a\0b\";\n";
    struct snapshot *s = NULL;
    struct cfg_err err;

    assert_int_equal(file_read_text("x", text, sizeof(text) - 1, &s, &err), -EINVAL);
    assert_string_equal(err.text, "x:2: there is a zero byte in this line");
}

/* The snapshot has copies of whatever it took. */
static void what_reading_leaves_behind_is_freed_later(void **state)
{
    char path[300];
    struct file_rest *rest;
    struct snapshot *s;
    struct cfg_err err;

    put("bad.conf", "machine = { ports = 7; };\n");
    snprintf(path, sizeof(path), "%s/bad.conf", dir);
    assert_true(file_read_first(path, &s, &rest, &err) < 0);
    file_rest_free(rest);
    assert_true(file_read_first("/nowhere/at/all.conf", &s, &rest, &err) < 0);
    assert_null(rest);

    put("good.conf", "machine = { ports = ( { name = \"p\"; device = \"af_packet\";\n"
                     "  interface = \"v\"; addresses = [ \"10.0.0.1/24\" ]; } ); };\n"
                     "clusters = ( { name = \"c\"; endpoints = [ \"10.0.0.2:80\" ]; } );");
    snprintf(path, sizeof(path), "%s/good.conf", dir);
    assert_int_equal(file_read_first(path, &s, &rest, &err), 0);
    file_rest_free(rest);
    assert_string_equal(s->clusters[0].name, "c");
    assert_string_equal(s->clusters[0].where.file, path);
    assert_ptr_equal(snapshot_cluster(s, "c"), &s->clusters[0]);
    snapshot_put(s);
}

static void a_huge_file_is_refused(void **state)
{
    char path[300];

    put("huge.conf", "# a\n");
    snprintf(path, sizeof(path), "%s/huge.conf", dir);
    assert_int_equal(truncate(path, SOURCE_MAX_BYTES + 1), 0);
    refused("huge.conf", "is too large");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_is_read),
        cmocka_unit_test(what_is_absent_has_its_default),
        cmocka_unit_test(the_full_file_has_every_row_of_every_table),
        cmocka_unit_test(the_reference_has_every_row_too),
        cmocka_unit_test(a_place_is_remembered),
        cmocka_unit_test(bad_files_are_refused_with_line_and_reason),
        cmocka_unit_test(an_include_is_looked_for_beside_the_file_that_names_it),
        cmocka_unit_test(a_mistake_in_an_included_file_is_told_there),
        cmocka_unit_test(a_name_that_is_not_utf8_is_refused),
        cmocka_unit_test(a_file_whose_path_is_not_utf8_can_be_dumped),
        cmocka_unit_test(what_follows_an_include_keeps_its_lines),
        cmocka_unit_test(an_include_in_a_comment_or_a_string_is_none),
        cmocka_unit_test(includes_that_cannot_be_read_are_refused),
        cmocka_unit_test(a_zero_byte_is_refused),
        cmocka_unit_test(what_reading_leaves_behind_is_freed_later),
        cmocka_unit_test(a_huge_file_is_refused),
    };

    if (argc < 2 || chdir(argv[1]) != 0) {
        fprintf(stderr, "usage: file DATA-DIRECTORY\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
