#include "tests/unit/tls/pair.h"

void use_server(struct link *l, const struct tls_conf *conf)
{
    make_ctx(&l->server, &(struct tls_ctx_conf){ .name = "chain",
                                                 .is_server = true,
                                                 .conf = conf,
                                                 .secret = pki.server,
                                                 .trust = pki.server });
}

void use_client(struct link *l, const struct tls_conf *conf, struct tls_secret *secret)
{
    make_ctx(&l->client,
             &(struct tls_ctx_conf){
                 .name = "cluster", .conf = conf, .secret = secret, .trust = pki.client });
}

void use_both(struct link *l)
{
    struct tls_conf s = server_conf(), c = client_conf();

    use_server(l, &s);
    use_client(l, &c, pki.client);
}

void both_open(struct link *l)
{
    link_connect(l);
    link_run(l);
    if (tls_state(l->client.session) != TLS_OPEN || tls_state(l->server.session) != TLS_OPEN)
        fail_msg("client: %s; server: %s", tls_error(l->client.session),
                 tls_error(l->server.session));
}
