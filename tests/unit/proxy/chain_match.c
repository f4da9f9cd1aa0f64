#include "dataplane/proxy/proxy_priv.h"
#include "tests/lib/test.h"

static const char *exact[] = { "a.example" }, *suffix[] = { "*.example" },
                  *deep[] = { "*.b.example" };
static struct ipprefix inner[1];
static struct tls_conf tls;

#define TLS .tls = &tls
#define HTTP .kind = CHAIN_HTTP
#define TCP .kind = CHAIN_TCP
#define NAMES(list) .n_server_names = 1, .server_names = (list)
#define INNER .n_destinations = 1, .destinations = inner

/* Which of @chains takes it; "" if none does. */
static const char *taken(struct chain_conf *chains, uint32_t n, const char *destination,
                         const char *sni, bool is_tls)
{
    struct listener_conf conf = { .n_chains = n, .chains = chains };
    struct chain_rt rt[8] = { { NULL } };
    struct listener_rt l = { .conf = &conf, .chains = rt };
    const struct chain_rt *found;
    struct ipaddr addr;

    assert_true(n <= ARRAY_SIZE(rt));
    for (uint32_t i = 0; i < n; i++)
        rt[i].conf = &chains[i];
    assert_true(ipaddr_parse(slice_of(destination), &addr));
    found = chain_match(&l, &addr, sni, is_tls);
    return found != NULL ? found->conf->name : "";
}

#define TAKEN(chains, ...) taken(chains, ARRAY_SIZE(chains), __VA_ARGS__)

static void the_most_specific_server_name_wins(void **state)
{
    struct chain_conf chains[] = {
        { .name = "any", HTTP, TLS },
        { .name = "suffix", HTTP, TLS, NAMES(suffix) },
        { .name = "deep", HTTP, TLS, NAMES(deep) },
        { .name = "exact", HTTP, TLS, NAMES(exact) },
    };
    static const struct {
        const char *sni, *chain;
    } rows[] = {
        { "a.example", "exact" },  { "c.example", "suffix" },
        { "x.b.example", "deep" }, { "b.example", "suffix" },
        { "example", "any" },      { ".example", "any" },
        { "aaexample", "any" },    { "", "any" },
        { "other.org", "any" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(TAKEN(chains, "192.0.2.1", rows[i].sni, true), rows[i].chain);
    assert_string_equal(TAKEN(chains, "192.0.2.1", "", false), "");
}

static void the_destination_counts_before_the_name(void **state)
{
    struct chain_conf chains[] = {
        { .name = "named", HTTP, TLS, NAMES(exact) },
        { .name = "inner", HTTP, TLS, INNER },
    };

    assert_true(ipprefix_parse(SLICE("10.0.0.0/8"), true, &inner[0]));
    assert_string_equal(TAKEN(chains, "10.1.2.3", "a.example", true), "inner");
    assert_string_equal(TAKEN(chains, "11.1.2.3", "a.example", true), "named");
    assert_string_equal(TAKEN(chains, "11.1.2.3", "b.example", true), "");
}

static void tls_is_passed_on_by_name_where_no_chain_ends_it(void **state)
{
    struct chain_conf chains[] = {
        { .name = "web", HTTP, TLS, NAMES(exact) },
        { .name = "database", TCP, NAMES(suffix) },
    };

    assert_string_equal(TAKEN(chains, "192.0.2.1", "a.example", true), "web");
    assert_string_equal(TAKEN(chains, "192.0.2.1", "db.example", true), "database");
    assert_string_equal(TAKEN(chains, "192.0.2.1", "db.org", true), "");
    assert_string_equal(TAKEN(chains, "192.0.2.1", "", false), "");
}

static void of_two_alike_the_one_that_ends_tls_takes_tls(void **state)
{
    struct chain_conf chains[] = {
        { .name = "bytes", TCP },
        { .name = "secure", HTTP, TLS },
    };

    assert_string_equal(TAKEN(chains, "192.0.2.1", "a.example", true), "secure");
    assert_string_equal(TAKEN(chains, "192.0.2.1", "", false), "bytes");
    assert_string_equal(taken(chains, 1, "192.0.2.1", "a.example", true), "bytes");
}

static void plain_http_takes_no_tls(void **state)
{
    struct chain_conf chains[] = { { .name = "http", HTTP } };

    assert_string_equal(TAKEN(chains, "192.0.2.1", "a.example", true), "");
    assert_string_equal(TAKEN(chains, "192.0.2.1", "", false), "http");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_server_name_wins),
        cmocka_unit_test(the_destination_counts_before_the_name),
        cmocka_unit_test(tls_is_passed_on_by_name_where_no_chain_ends_it),
        cmocka_unit_test(of_two_alike_the_one_that_ends_tls_takes_tls),
        cmocka_unit_test(plain_http_takes_no_tls),
    };

    return cmocka_run_group_tests_name("chain_match", tests, NULL, NULL);
}
