/* What comes goes back, in the packets it came in. */
#include "bench/load/server.h"

static void echo(struct server_conn *c)
{
    while (c->state == SERVER_OPEN && c->transport != NULL && transport_room(c->transport) > 0) {
        if (server_recv(c, &c->in) == 0)
            return;
        server_send(c, &c->in);
    }
}

/* Comes after the last byte was taken: so everything has gone back. */
static void on_eof(struct server_conn *c)
{
    server_finish(c);
}

static bool open_raw(struct server_conn *c)
{
    return true;
}

static void close_raw(struct server_conn *c)
{
}

const struct server_proto server_raw = {
    .open = open_raw, .on_readable = echo, .on_writable = echo, .on_eof = on_eof, .close = close_raw
};
