#include "dataplane/base/base64.h"

#include "tests/lib/test.h"

/* RFC 4648, 10. */
static const struct {
    const char *bytes, *text;
} vectors[] = {
    { "", "" },
    { "f", "Zg==" },
    { "fo", "Zm8=" },
    { "foo", "Zm9v" },
    { "foob", "Zm9vYg==" },
    { "fooba", "Zm9vYmE=" },
    { "foobar", "Zm9vYmFy" },
    { "\xfb\xff\xbe", "+/++" },
};

static void the_vectors_of_the_rfc(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
        const size_t n = strlen(vectors[i].bytes);
        char text[16] = "", bytes[16] = "";
        size_t len = 99;

        assert_int_equal(base64_len(n), strlen(vectors[i].text));
        base64_encode(vectors[i].bytes, n, text);
        assert_string_equal(text, vectors[i].text);
        assert_true(base64_decode(slice_of(vectors[i].text), bytes, sizeof(bytes), &len));
        assert_int_equal(len, n);
        assert_string_equal(bytes, vectors[i].bytes);
    }
}

static void what_is_no_base64_is_refused(void **state)
{
    static const char *const bad[] = { "Z",     "Zg",   "Zg=",  "Zg===",     "Zh==",
                                       "Zm9=",  "=g==", "Z===", "====",      "Zg==Zg==",
                                       "Zm9\n", "Zm 9", "Zm9-", "Zm\xc3\xa9" };
    char bytes[16];
    size_t len;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        if (base64_decode(slice_of(bad[i]), bytes, sizeof(bytes), &len))
            fail_msg("\"%s\"", bad[i]);
}

static void no_more_is_written_than_there_is_room_for(void **state)
{
    char bytes[4] = "abc";
    size_t len;

    assert_false(base64_decode(SLICE("Zm9v"), bytes, 2, &len));
    assert_string_equal(bytes, "abc");
    assert_true(base64_decode(SLICE("Zm9v"), bytes, 3, &len));
    assert_true(base64_decode(SLICE("Zg=="), bytes, 1, &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(no_more_is_written_than_there_is_room_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
