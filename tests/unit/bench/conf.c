/* What isthmus-bench reads, and what it refuses, in which words. */
#include "bench/load/conf.h"
#include "tests/lib/test.h"

#define PORT(name, peer, address)                                                                  \
    "ports = ( { name = \"" name "\"; device = \"ring\"; ring_peer = \"" peer                      \
    "\"; addresses = [ \"" address "\" ]; } );"
#define ONE                                                                                        \
    "machine = { ports = ( { name = \"p\"; device = \"af_packet\"; interface = \"e\"; "            \
    "addresses = [ \"10.0.0.1/24\" ]; } ); };\n"
#define TWO                                                                                        \
    "machine = { " PORT("c", "s", "10.0.0.1/24") " };\n"                                           \
                                                 "server_machine = { " PORT("s", "c",              \
                                                                            "10.0.0.2/24") " };\n"
#define CLIENT(more) "client = { target = \"10.0.0.2:80\"; " more " };\n"
#define SERVER(more) "server = { listen = \"10.0.0.2:80\"; " more " };\n"

static struct load_conf *read_with(const char *text, const char *set, struct cfg_err *err)
{
    return load_conf_read_text("file", text, &set, set != NULL, err);
}

static struct load_conf *read(const char *text, const char *set)
{
    struct cfg_err err = { "" };
    struct load_conf *c = read_with(text, set, &err);

    if (c == NULL)
        fail_msg("%s", err.text);
    return c;
}

static void what_is_not_said_has_its_default(void **state)
{
    struct load_conf *c = read(ONE CLIENT(""), NULL);

    assert_null(c->server);
    assert_null(c->server_machine);
    assert_int_equal(c->client->protocol, LOAD_HTTP1);
    assert_int_equal(c->client->connections, 64);
    assert_true(c->client->rate == 0);
    assert_string_equal(c->client->method, "GET");
    assert_string_equal(c->client->path, "/");
    assert_string_equal(c->client->host, "10.0.0.2:80");
    assert_int_equal(c->client->duration_us, 10000000);
    assert_int_equal(c->client->warmup_us, 1000000);
    assert_null(c->client->tls);
    load_conf_free(c);
}

static void a_client_and_a_server_are_on_two_machines(void **state)
{
    struct load_conf *c = read(TWO CLIENT("rate = 5;") SERVER("body = \"2KiB\";"), NULL);

    assert_true(c->client->rate == 5);
    assert_int_equal(c->server->body, 2048);
    assert_int_equal(c->all.n_ports, 2);
    assert_int_equal(c->all.n_workers, 2);
    assert_ptr_equal(load_conf_server_machine(c), c->server_machine);
    load_conf_free(c);
}

static void set_puts_a_value_in_the_place_of_the_files(void **state)
{
    static const struct {
        const char *set;
        double rate;
        uint64_t duration_us;
        const char *path;
    } cases[] = {
        { "client.rate=2.5", 2.5, 10000000, "/" },
        { "client.rate=7", 7, 10000000, "/" },
        { "client.duration=5s", 0, 5000000, "/" },
        { "client.path=/a?b=c", 0, 10000000, "/a?b=c" },
        { "client.path=\"/q\"", 0, 10000000, "/q" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct load_conf *c = read(ONE CLIENT(""), cases[i].set);

        assert_true(c->client->rate == cases[i].rate);
        assert_int_equal(c->client->duration_us, cases[i].duration_us);
        assert_string_equal(c->client->path, cases[i].path);
        load_conf_free(c);
    }
}

static void set_reaches_into_lists_and_makes_groups(void **state)
{
    struct load_conf *c = read(ONE CLIENT(""), "machine.ports[0].interface=eth7");

    assert_string_equal(c->machine.ports[0].interface, "eth7");
    load_conf_free(c);
    c = read(ONE CLIENT(""), "machine.tcp.max_connections=1000");
    assert_int_equal(c->machine.tcp.max_connections, 1000);
    load_conf_free(c);
    c = read(ONE CLIENT(""), "machine.ports[0].addresses=[\"10.0.0.1/24\", \"10.0.0.3/24\"]");
    assert_int_equal(c->machine.ports[0].n_addrs, 2);
    assert_int_equal(c->client->n_source_addresses, 2); /* taken in turn without being asked to */
    load_conf_free(c);
}

static void targets_may_be_several(void **state)
{
    struct load_conf *c =
        read(ONE CLIENT("settle = \"3s\";"), "client.target=[\"10.0.0.2:80\", \"10.0.0.3:81\"]");

    assert_int_equal(c->client->n_targets, 2);
    assert_int_equal(c->client->targets[0].port, 80);
    assert_int_equal(c->client->targets[1].port, 81);
    assert_string_equal(c->client->host, "10.0.0.2:80");
    assert_int_equal(c->client->settle_us, 3000000);
    load_conf_free(c);
    c = read(ONE CLIENT(""), "client.target=[\"10.0.0.4:82\"]");
    assert_int_equal(c->client->n_targets, 1);
    assert_int_equal(c->client->targets[0].port, 82);
    assert_int_equal(c->client->settle_us, 0);
    load_conf_free(c);
}

#define TLS "tls = { mode = \"simple\"; "

static void mistakes_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *set, *words;
    } cases[] = {
        { "", NULL, "machine is missing" },
        { ONE, NULL, "file:1: there is neither a client nor a server" },
        { ONE CLIENT("") SERVER(""), NULL, "file:3: a client and a server take two machines" },
        { TWO CLIENT(""), NULL, "file:2: server_machine is for a client and a server" },
        { TWO CLIENT("") SERVER(""), "machine.workers=2",
          "file:2: port s: machines that a ring joins have as many workers, not 2 and 1" },
        { ONE CLIENT("conections = 4;"), NULL,
          "file:2: client.conections: there is no such "
          "setting; is \"connections\" meant?" },
        { ONE CLIENT("rate = -1;"), NULL, "file:2: client.rate: is not between" },
        { ONE CLIENT("rate = \"x\";"), NULL, "client.rate: must be a number of requests" },
        { ONE CLIENT("protocol = \"h3\";"), NULL, "\"h3\" is none of: http1, raw" },
        { ONE CLIENT("protocol = \"raw\";"), NULL, "raw needs a request_body" },
        { ONE CLIENT("path = \"x\";"), NULL, "path \"x\" is not one" },
        { ONE CLIENT("connections = 100000;"), NULL, "more than machine.tcp.max_connections" },
        { ONE CLIENT("source_addresses = [ \"10.0.0.9\" ];"), NULL, "10.0.0.9 is of no port" },
        { ONE "client = { target = \"x\"; };", NULL, "client.target: \"x\" is not an address" },
        { ONE "client = { target = [ ]; };", NULL,
          "client.target: must be an address and port, or" },
        { ONE "client = { target = { }; };", NULL,
          "client.target: must be an address and port, or" },
        { ONE "client = { target = [ \"10.0.0.2:80\", \"x\" ]; };", NULL,
          "client.target[1]: \"x\" is not an address" },
        { ONE "client = { target = [ \"10.0.0.2:80\", \"0.0.0.0:80\" ]; };", NULL,
          "nobody can serve at 0.0.0.0:80" },
        { ONE CLIENT(TLS "};"), NULL, "client.tls: trusted_ca is missing" },
        { ONE CLIENT(TLS "trusted_ca = \"x\"; };"), NULL, "who is the server?" },
        { ONE SERVER(TLS "certificate = \"x\"; private_key = \"y\"; resume = true; };"), NULL,
          "server.tls.resume: it is a client that resumes" },
        { ONE CLIENT(TLS "trusted_ca = \"x\"; sni = \"a.b\"; alpn = [ \"h2\" ]; };"), NULL,
          "HTTP/2" },
        { ONE CLIENT(TLS "trusted_ca = \"x\"; certificate = \"y\"; };"), NULL,
          "client.tls: private_key is missing" },
        { ONE SERVER(TLS "};"), NULL, "server.tls: a server needs certificate and private_key" },
        { ONE SERVER(TLS "secret = \"x\"; };"), NULL, "server.tls.secret: there is no such" },
        { ONE CLIENT(""), "client.rate=x", "--set client.rate: must be a number of requests" },
        { ONE CLIENT(""), "client.colour=red", "--set client.colour: there is no such setting" },
        { ONE CLIENT(""), "client", "--set client: that is not PATH=VALUE" },
        { ONE CLIENT(""), "machine.ports[3].name=x", "there is no such place" },
        { ONE CLIENT(""), "client.target.x=1", "there is no such place" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct cfg_err err = { "" };
        struct load_conf *c = read_with(cases[i].text, cases[i].set, &err);

        if (c != NULL || strstr(err.text, cases[i].words) == NULL)
            fail_msg("case %zu: \"%s\" has not: %s", i, err.text, cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(a_client_and_a_server_are_on_two_machines),
        cmocka_unit_test(set_puts_a_value_in_the_place_of_the_files),
        cmocka_unit_test(set_reaches_into_lists_and_makes_groups),
        cmocka_unit_test(targets_may_be_several),
        cmocka_unit_test(mistakes_are_refused_with_their_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
