/*
 * isthmus-bench against itself: two machines in one process, joined by rings. A scenario a run, as
 * DPDK starts once in a process. Nothing here depends on how fast it goes.
 */
#include "bench/load/run.h"
#include "dataplane/base/log.h"
#include "tests/lib/certs.h"

#include <stdlib.h>

static const char machines[] =
    "machine = { workers = 2; memory = \"128MiB\"; packets = 4096; ports = ( { name = \"c\"; "
    "device = \"ring\"; ring_peer = \"s\"; addresses = [ \"10.9.0.1/24\" ]; } ); };"
    "server_machine = { workers = 2; memory = \"128MiB\"; packets = 4096; ports = ( { name = "
    "\"s\"; "
    "device = \"ring\"; ring_peer = \"c\"; addresses = [ \"10.9.0.2/24\" ]; } ); };";

/* %s: the folder of the certificates. */
#define CLIENT_TLS                                                                                 \
    "tls = { mode = \"mutual\"; certificate = \"%s/cert.pem\"; private_key = \"%s/key.pem\"; "     \
    "trusted_ca = \"%s/ca.pem\"; sni = \"bench.example\"; alpn = [ \"http/1.1\" ]; resume = %s; "  \
    "};"
#define SERVER_TLS                                                                                 \
    "tls = { mode = \"mutual\"; certificate = \"%s/cert.pem\"; private_key = \"%s/key.pem\"; "     \
    "trusted_ca = \"%s/ca.pem\"; alpn = [ \"http/1.1\" ]; };"
#define TIMES "duration = \"2s\"; warmup = \"100ms\"; timeout = \"30s\"; connect_timeout = \"30s\";"

static const struct scenario {
    const char *name, *client, *server;
    bool tls;
    double rate;       /* of an open loop */
    uint64_t per_conn; /* requests of a connection */
    bool resumes;
} scenarios[] = {
    { .name = "http1", .client = "connections = 16; path = \"/bytes/5000\";", .server = "" },
    { .name = "post",
      .client = "connections = 8; method = \"POST\"; request_body = \"100KiB\";",
      .server = "body = \"200KiB\";" },
    { .name = "churn",
      .client = "connections = 8; requests_per_connection = 2;",
      .server = "",
      .per_conn = 2 },
    { .name = "open", .client = "connections = 16; rate = 500.0;", .server = "", .rate = 500 },
    { .name = "tls", .client = "connections = 8;", .server = "body = \"20KiB\";", .tls = true },
    { .name = "resumed",
      .client = "connections = 8; requests_per_connection = 2;",
      .server = "",
      .tls = true,
      .per_conn = 2,
      .resumes = true },
    { .name = "raw",
      .client = "protocol = \"raw\"; connections = 8; request_body = \"10KiB\";",
      .server = "protocol = \"raw\";" },
    { .name = "raw-tls",
      .client = "protocol = \"raw\"; connections = 4; request_body = 10;",
      .server = "protocol = \"raw\";",
      .tls = true },
};

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static void make_certs(struct test_dir *dir)
{
    struct test_cert root, leaf;

    test_dir_init(dir);
    test_cert_make(&root, &(struct test_cert_conf){ .cn = "root", .is_ca = true });
    test_cert_make(&leaf, &(struct test_cert_conf){
                              .cn = "bench",
                              .issuer = &root,
                              .uri = { "spiffe://cluster.local/ns/bench/sa/bench" },
                              .dns = { "bench.example" },
                          });
    test_write_certs(dir, "ca.pem", (const struct test_cert *const[]){ &root, NULL });
    test_write_certs(dir, "cert.pem", (const struct test_cert *const[]){ &leaf, NULL });
    test_write_key(dir, "key.pem", &leaf, NULL);
    test_cert_free(&root);
    test_cert_free(&leaf);
}

static struct load_conf *read_conf(const struct scenario *s, const char *dir)
{
    char client_tls[1024] = "", server_tls[1024] = "", text[4096];
    struct cfg_err err = { "" };
    struct load_conf *c;

    if (s->tls) {
        snprintf(client_tls, sizeof(client_tls), CLIENT_TLS, dir, dir, dir,
                 s->resumes ? "true" : "false");
        snprintf(server_tls, sizeof(server_tls), SERVER_TLS, dir, dir, dir);
    }
    snprintf(text, sizeof(text),
             "%s client = { target = \"10.9.0.2:80\"; " TIMES " %s %s };"
             "server = { listen = \"10.9.0.2:80\"; %s %s };",
             machines, s->client, client_tls, s->server, server_tls);
    c = load_conf_read_text(s->name, text, NULL, 0, &err);
    check(c != NULL, err.text);
    return c;
}

static void look_at(const struct scenario *s, const struct load_result *r)
{
    const struct load_stats *c = &r->client;

    printf("%s: %lu requests, %lu errors, %lu connections, %lu handshakes, %lu resumed, %.3f s\n",
           s->name, (unsigned long)c->requests, (unsigned long)load_stats_errors(c),
           (unsigned long)c->opened, (unsigned long)c->handshakes, (unsigned long)c->resumed,
           r->seconds);
    for (unsigned i = 0; i < LOAD_ERROR_COUNT; i++)
        if (c->errors[i] > 0)
            printf("  %lu %s\n", (unsigned long)c->errors[i], load_error_text((enum load_error)i));
    check(c->requests > 0, "requests are answered");
    check(load_stats_errors(c) == 0 && load_stats_errors(&r->server) == 0, "there is no error");
    check(c->latency_ns.n == c->requests, "each has its latency");
    check(c->handshakes == (s->tls ? c->opened : 0), "each connection has its handshake");
    check(c->connect_ns.n == c->opened, "each connection has its time");
    check(r->workers == 2 && r->seconds >= 2, "it lasts as long as it should");
    check(c->open == 0 && r->server.open == 0, "connections come home");
    /* Five standard deviations; the seed is another each time. */
    if (s->rate > 0)
        check((double)c->requests > s->rate * r->seconds - 160 &&
                  (double)c->requests < s->rate * r->seconds + 160,
              "an open loop keeps to its count");
    check(s->resumes ? c->resumed > 0 && c->resumed + 16 >= c->handshakes : c->resumed == 0,
          "who resumes, resumes");
    if (s->per_conn > 0)
        check(c->opened + 16 >= c->requests / s->per_conn, "connections are churned");
}

static void run(const struct scenario *s)
{
    static struct load_result result;
    struct cfg_err err = { "" };
    struct test_dir dir;
    struct load_conf *c;

    make_certs(&dir);
    c = read_conf(s, dir.path);
    check(load_run(&(struct load_run_conf){ .conf = c }, &result, &err) == 0, err.text);
    look_at(s, &result);
    load_conf_free(c);
    test_dir_fini(&dir);
}

int main(int argc, char **argv)
{
    log_set_level(LOG_LVL_WARNING);
    for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(scenarios); i++) {
        if (strcmp(scenarios[i].name, argv[1]) != 0)
            continue;
        run(&scenarios[i]);
        return 0;
    }
    fprintf(stderr, "usage: bench_load SCENARIO\n");
    return 2;
}
