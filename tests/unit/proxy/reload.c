/* What a connection under way sees of a new configuration, and what it still needs of the old. */
#include "tests/lib/gateway.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define HTTP_CHAIN(name, cluster)                                                                  \
    "clusters = ( { name = \"" cluster "\"; endpoints = [ \"10.0.0.2:8080\" ]; } );\n"             \
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"a\" ];\n"   \
    "  routes = ( { prefix = \"/\"; cluster = \"" cluster "\"; } ); } ); } );\n"                   \
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\";\n"                                   \
    "  filter_chains = ( { name = \"" name "\"; http = { route_config = \"r\"; }; } ); } );\n"
#define GET(path) "GET " path " HTTP/1.1\r\nhost: a\r\n\r\n"
#define TCP_CHAIN(cluster)                                                                         \
    "clusters = ( { name = \"" cluster "\"; endpoints = [ \"10.0.0.2:8080\" ]; } );\n"             \
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\";\n"                                   \
    "  filter_chains = ( { name = \"c\"; tcp = { cluster = \"" cluster "\"; }; } ); } );\n"

static const struct wire_conf wire = { .seed = 1, .delay_us = 100 };

/* It goes by the configuration under which its first byte came. */
static void a_request_whose_cluster_goes_while_it_comes_finds_none(void **state)
{
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, HTTP_CHAIN("old", "old"));
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    script_say(&g, &client, "GET / HTTP/1.1\r\n");
    gateway_run(&g, 10);
    gateway_reload(&g, HTTP_CHAIN("new", "new"));
    gateway_run(&g, 10);
    script_say(&g, &client, "host: a\r\n\r\n");
    gateway_run(&g, 10);
    assert_non_null(strstr(client.in, "HTTP/1.1 503"));
    assert_true(client.eof);
    script_free(&client);
    gateway_fini(&g);
}

/* A chain that is gone may still lead to a cluster that is not. */
static void a_cluster_that_stays_serves_the_old_chain_too(void **state)
{
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, HTTP_CHAIN("old", "same"));
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    script_say(&g, &client, GET("/1") GET("/2"));
    gateway_run(&g, 10);
    gateway_reload(&g, HTTP_CHAIN("new", "same"));
    script_say(&g, &g.backends[0], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    gateway_run(&g, 10);
    assert_non_null(strstr(g.backends[0].in, "GET /2"));
    script_free(&client);
    gateway_fini(&g);
}

/* It would hold the old runtime as long as it may be idle. */
static void a_connection_whose_chain_is_gone_closes_when_it_is_idle(void **state)
{
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, HTTP_CHAIN("old", "same"));
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    script_say(&g, &client, GET("/1"));
    gateway_run(&g, 10);
    gateway_reload(&g, HTTP_CHAIN("new", "same"));
    script_say(&g, &g.backends[0], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    gateway_run(&g, 10);
    assert_true(client.eof);
    gateway_run(&g, 5000);
    assert_null(g.old[0]);
    script_free(&client);
    gateway_fini(&g);
}

/* A connection that is forwarded unopened outlives several configurations. */
static void a_tcp_connection_goes_on_after_reloads(void **state)
{
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, TCP_CHAIN("one"));
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    gateway_reload(&g, TCP_CHAIN("two"));
    gateway_run(&g, 10);
    gateway_reload(&g, TCP_CHAIN("three"));
    gateway_run(&g, 10);
    script_say(&g, &client, "hello");
    gateway_run(&g, 10);
    assert_string_equal(g.backends[0].in, "hello");
    script_say(&g, &g.backends[0], "bye");
    script_shutdown(&g.backends[0]);
    gateway_run(&g, 10);
    assert_string_equal(client.in, "bye");
    script_free(&client);
    gateway_fini(&g);
}

static void open_idle(struct gateway *g, struct script *clients, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        script_connect(g, &clients[i], 80);
        gateway_run(g, 10);
        script_say(g, &clients[i], GET("/1"));
        gateway_run(g, 10);
    }
    assert_int_equal(g->n_backends, n);
    for (unsigned i = 0; i < n; i++)
        script_say(g, &g->backends[i], "HTTP/1.1 204 No Content\r\n\r\n");
    gateway_run(g, 10);
}

#define MANY 20

/* However many are idle: no turn has more to do for it. */
static void idle_connections_are_looked_at_a_few_at_a_time(void **state)
{
    struct script clients[MANY];
    struct gateway g;
    uint32_t max = 3;

    gateway_init(&g, &wire, HTTP_CHAIN("old", "same"));
    open_idle(&g, clients, MANY);
    gateway_reload(&g, HTTP_CHAIN("new", "same"));
    assert_true(proxy_renew_some(g.proxy, &max));
    assert_int_equal(max, 0);
    max = MANY;
    assert_false(proxy_renew_some(g.proxy, &max)); /* it has gone round */
    assert_int_equal(max, 2);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(clients[i].eof);
        script_free(&clients[i]);
    }
    gateway_run(&g, 5000);
    assert_null(g.old[0]);
    gateway_fini(&g);
}

/* The same for those to a cluster that is gone. */
static void pooled_connections_are_drained_a_few_at_a_time(void **state)
{
    struct script clients[MANY];
    struct gateway g;
    uint32_t max = 3;

    gateway_init(&g, &wire, HTTP_CHAIN("c", "old"));
    open_idle(&g, clients, MANY);
    gateway_reload(&g, HTTP_CHAIN("c", "new"));
    assert_true(upstreams_drain_some(g.upstreams, &max));
    assert_int_equal(max, 0);
    assert_int_equal(upstreams_n_conns(g.upstreams), MANY);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(g.backends[i].eof);
        script_free(&clients[i]);
    }
    gateway_run(&g, 5000);
    assert_int_equal(upstreams_n_conns(g.upstreams), 0);
    gateway_fini(&g);
}

/* An endpoint that stays keeps its connections, whatever comes and goes beside it. */
static void a_connection_outlives_changes_of_other_endpoints(void **state)
{
    static const char *const lists[] = { "\"10.0.0.2:8080\"",
                                         "\"10.0.0.2:8081\", \"10.0.0.2:8080\"",
                                         "\"10.0.0.2:8080\", \"10.0.0.2:8082\"",
                                         "\"10.0.0.2:8080\"" };
    struct script client;
    char conf[1024];
    struct gateway g;

    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
        snprintf(conf, sizeof(conf),
                 "clusters = ( { name = \"c\"; endpoints = [ %s ]; } );\n"
                 "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\";\n"
                 "  domains = [ \"a\" ]; routes = ( { prefix = \"/\"; cluster = \"c\"; } ); } );\n"
                 "} ); listeners = ( { name = \"l\"; address = \"10.0.0.1:80\";\n"
                 "  filter_chains = ( { http = { route_config = \"r\"; }; } ); } );\n",
                 lists[i]);
        if (i > 0) {
            gateway_reload(&g, conf);
            gateway_run(&g, 10);
            assert_false(g.backends[0].eof);
            continue;
        }
        gateway_init(&g, &wire, conf);
        open_idle(&g, &client, 1);
    }
    client.n = 0;
    script_say(&g, &client, GET("/2"));
    gateway_run(&g, 10);
    assert_int_equal(g.n_backends, 1);
    assert_non_null(strstr(g.backends[0].in, "GET /2"));
    script_free(&client);
    gateway_fini(&g);
}

#define LISTENERS(list)                                                                            \
    "clusters = ( { name = \"c\"; endpoints = [ \"10.0.0.2:8080\" ]; } );\n"                       \
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"a\" ];\n"   \
    "  routes = ( { prefix = \"/\"; cluster = \"c\"; } ); } ); } ); listeners = ( " list " );\n"
#define LISTENER(name, port)                                                                       \
    "{ name = \"" name "\"; address = \"10.0.0.1:" port "\";\n"                                    \
    "  filter_chains = ( { http = { route_config = \"r\"; }; } ); }"

static bool is_let_in(struct gateway *g, uint16_t port)
{
    struct script s;
    bool open;

    script_connect(g, &s, port);
    gateway_run(g, 10);
    open = s.open && !s.closed;
    script_free(&s);
    gateway_run(g, 10);
    return open;
}

/* By their names: one that moves is another, and one may take the address of another that goes. */
static void listeners_come_and_go(void **state)
{
    struct script stays, goes;
    struct gateway g;

    gateway_init(&g, &wire, LISTENERS(LISTENER("a", "80") "," LISTENER("b", "81")));
    script_connect(&g, &stays, 80);
    script_connect(&g, &goes, 81);
    gateway_run(&g, 10);
    script_say(&g, &goes, "GET /2 HTTP/1.1\r\n");
    gateway_run(&g, 10);
    gateway_reload(&g, LISTENERS(LISTENER("c", "81") "," LISTENER("a", "80")));
    gateway_run(&g, 10);
    assert_true(is_let_in(&g, 80) && is_let_in(&g, 81));
    gateway_reload(&g, LISTENERS(LISTENER("c", "82") "," LISTENER("a", "80")));
    gateway_run(&g, 10);
    assert_true(is_let_in(&g, 80) && is_let_in(&g, 82));
    assert_false(is_let_in(&g, 81));
    script_say(&g, &stays, GET("/1"));
    script_say(&g, &goes, "host: a\r\n\r\n");
    gateway_run(&g, 10);
    assert_int_equal(g.n_backends, 2);
    for (unsigned i = 0; i < 2; i++)
        script_say(&g, &g.backends[i], "HTTP/1.1 204 No Content\r\n\r\n");
    gateway_run(&g, 10);
    assert_null(strstr(stays.in, "connection: close"));
    assert_non_null(strstr(goes.in, "connection: close"));
    assert_true(goes.eof && !stays.eof);
    script_free(&stays);
    script_free(&goes);
    gateway_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_whose_cluster_goes_while_it_comes_finds_none),
        cmocka_unit_test(a_cluster_that_stays_serves_the_old_chain_too),
        cmocka_unit_test(a_connection_whose_chain_is_gone_closes_when_it_is_idle),
        cmocka_unit_test(a_tcp_connection_goes_on_after_reloads),
        cmocka_unit_test(idle_connections_are_looked_at_a_few_at_a_time),
        cmocka_unit_test(pooled_connections_are_drained_a_few_at_a_time),
        cmocka_unit_test(a_connection_outlives_changes_of_other_endpoints),
        cmocka_unit_test(listeners_come_and_go),
    };

    return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
