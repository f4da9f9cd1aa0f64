#include "tls/spiffe.h"
#include "tests/lib/test.h"

static void identities_are_read_strictly(void **state)
{
    static const struct {
        struct slice uri;
        const char *domain, *path; /* NULL: refused */
    } rows[] = {
        { SLICE("spiffe://cluster.local/ns/foo/sa/bar"), "cluster.local", "/ns/foo/sa/bar" },
        { SLICE("spiffe://td"), "td", "" },
        { SLICE("spiffe://t-d_1.x/A.b-c_9"), "t-d_1.x", "/A.b-c_9" },
        { SLICE("spiffe://td/..."), "td", "/..." },
        { SLICE(""), NULL, NULL },
        { SLICE("spiffe://"), NULL, NULL },
        { SLICE("spiffe:///ns/foo"), NULL, NULL },
        { SLICE("spiffe://td/"), NULL, NULL },
        { SLICE("spiffe://td/a/"), NULL, NULL },
        { SLICE("spiffe://td//a"), NULL, NULL },
        { SLICE("spiffe://td/./a"), NULL, NULL },
        { SLICE("spiffe://td/a/.."), NULL, NULL },
        { SLICE("spiffe://Td/a"), NULL, NULL },
        { SLICE("SPIFFE://td/a"), NULL, NULL },
        { SLICE("https://td/a"), NULL, NULL },
        { SLICE("spiffe://user@td/a"), NULL, NULL },
        { SLICE("spiffe://td:80/a"), NULL, NULL },
        { SLICE("spiffe://td/a?b"), NULL, NULL },
        { SLICE("spiffe://td/a#b"), NULL, NULL },
        { SLICE("spiffe://td/a%2fb"), NULL, NULL },
        { SLICE("spiffe://td/a\0/sa/admin"), NULL, NULL },
        { SLICE("spiffe://td\0.evil/a"), NULL, NULL },
        { SLICE("spiffe://td/\xc3\xa4"), NULL, NULL },
        { SLICE("spiffe://td/a b"), NULL, NULL },
        { SLICE("spiffe://td/*"), NULL, NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct spiffe_id id;

        assert_int_equal(spiffe_parse(rows[i].uri, &id), rows[i].domain != NULL);
        if (rows[i].domain == NULL)
            continue;
        assert_true(slice_eq(id.domain, slice_of(rows[i].domain)));
        assert_true(slice_eq(id.path, slice_of(rows[i].path)));
    }
}

static void a_prefix_names_its_trust_domain_in_full(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        { "spiffe://td/", true },
        { "spiffe://td/ns/foo/", true },
        { "spiffe://td/ns/fo", true },
        { "spiffe://td/ns/.", true },
        { "spiffe://td", false },
        { "spiffe://", false },
        { "", false },
        { "spiffe://td//", false },
        { "spiffe://td/../", false },
        { "spiffe://td/..", false },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct spiffe_id id;

        assert_int_equal(spiffe_parse_prefix(slice_of(rows[i].text), &id), rows[i].ok);
    }
}

static void lengths_are_bounded(void **state)
{
    char text[SPIFFE_ID_MAX + 2];
    struct spiffe_id id;

    memset(text, 'a', sizeof(text));
    memcpy(text, "spiffe://td/", 12);
    assert_true(spiffe_parse((struct slice){ text, SPIFFE_ID_MAX }, &id));
    assert_false(spiffe_parse((struct slice){ text, SPIFFE_ID_MAX + 1 }, &id));
    text[11] = 'a';
    assert_true(spiffe_parse((struct slice){ text, 9 + SPIFFE_DOMAIN_MAX }, &id));
    assert_false(spiffe_parse((struct slice){ text, 10 + SPIFFE_DOMAIN_MAX }, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identities_are_read_strictly),
        cmocka_unit_test(a_prefix_names_its_trust_domain_in_full),
        cmocka_unit_test(lengths_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
