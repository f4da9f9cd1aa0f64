#include "dataplane/http/http.h"

#include "dataplane/base/own.h"

#include <stdlib.h>

struct http *http_new(struct core *core, uint32_t max_conns)
{
    struct http *h = own_alloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->core = core;
    if (slab_init(&h->h1, h1_size, max_conns) < 0)
        goto err_http;
    /* Two for each: an arena that wants more takes it from those that wait between requests. */
    if (slab_init_raw(&h->blocks, HTTP_BLOCK, 2 * max_conns) < 0)
        goto err_h1;
    return h;

err_h1:
    slab_fini(&h->h1);
err_http:
    free(h);
    return NULL;
}

void http_free(struct http *h)
{
    if (h == NULL)
        return;
    slab_fini(&h->blocks);
    slab_fini(&h->h1);
    free(h);
}

const struct http_counters *http_counters(const struct http *h)
{
    return &h->counters;
}

uint32_t http_n_conns(const struct http *h)
{
    return h->h1.in_use;
}

uint32_t http_n_streams(const struct http *h)
{
    return h->n_streams;
}

/* --- into the codec: what takes time, in a stage of its own --- */

void http_conn_input(struct http_conn *c, struct pktq *in)
{
    struct stages *st = &c->http->core->stages;
    const enum stage was = stage_enter(st, STAGE_HTTP);

    c->codec->input(c, in); /* may free @c */
    stage_leave(st, was);
}

int http_stream_send_headers(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct stages *st = &s->conn->http->core->stages;
    const enum stage was = stage_enter(st, STAGE_HTTP);
    const int rc = s->conn->codec->send_headers(s, m, end);

    stage_leave(st, was);
    return rc;
}

int http_stream_send_data(struct http_stream *s, struct pktq *data, bool end)
{
    struct stages *st = &s->conn->http->core->stages;
    const enum stage was = stage_enter(st, STAGE_HTTP);
    const int rc = s->conn->codec->send_data(s, data, end);

    stage_leave(st, was);
    return rc;
}
