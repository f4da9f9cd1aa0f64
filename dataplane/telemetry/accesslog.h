/*
 * accesslog.h - one line per request or connection, in Envoy's format language
 *
 * A format is compiled once ("%REQ(USER-AGENT)% ..."), by the control thread, and
 * rendered by workers from a record into a ring of bytes of their own; the
 * control thread writes the lines to the files. A full ring loses the line,
 * counted: a slow disk never stops a worker.
 *
 * Absent values print "-". Control characters, quotes and backslashes of a peer's
 * values are escaped (\xNN), so that no peer can forge a line.
 */
#pragma once

#include "dataplane/base/arena.h"
#include "dataplane/base/ipaddr.h"

#include <stdbool.h>
#include <stdint.h>

/* Istio's default (istio 1.11: LOG-4 of the feature table). */
extern const char accesslog_default_format[];

/* Looks up a header: the value, or SLICE_NONE. */
typedef struct slice (*accesslog_header_fn)(const void *ctx, struct slice name);

struct accesslog_record {
    uint64_t start_wall_us, duration_us;
    bool is_http;
    const void *request, *response; /* for the two functions; NULL: there is none */
    accesslog_header_fn request_header, response_header;
    const char *protocol; /* "HTTP/1.1" */
    uint16_t response_code;
    const char *response_flags;        /* "UF", several comma-separated; "" : "-" */
    const char *response_code_details; /* "via_upstream" */
    const char *termination_details;   /* of the connection */
    const char *upstream_failure;      /* %UPSTREAM_TRANSPORT_FAILURE_REASON% */
    uint64_t bytes_received, bytes_sent;
    const struct ipport *upstream_host, *upstream_local; /* NULL: none */
    const char *upstream_cluster;
    const struct ipport *downstream_local, *downstream_remote;
    const char *requested_server_name;
    const char *route_name;
};

struct accesslog_format;

/* In @a. NULL: @err (of @err_len bytes) names the operator that is not known. */
struct accesslog_format *accesslog_compile(struct arena *a, const char *format, char *err,
                                           size_t err_len);

/* Writes one line, newline included, into @buf; returns its length, at most @len (a longer line is
 * cut). */
size_t accesslog_render(const struct accesslog_format *f, const struct accesslog_record *r,
                        char *buf, size_t len);

/* --- from worker to control ------------------------------------------------------------------ */

#define ACCESSLOG_LINE_MAX 8192

struct accesslog_ring;

struct accesslog_ring *accesslog_ring_new(void);
void accesslog_ring_free(struct accesslog_ring *r);

/* Worker: appends @line for the file @file. False: full. */
bool accesslog_push(struct accesslog_ring *r, uint32_t file, const char *line, size_t len);

/* Control thread: the oldest line, copied to @buf (of ACCESSLOG_LINE_MAX bytes); its length, 0:
 * none. */
size_t accesslog_pop(struct accesslog_ring *r, uint32_t *file, char *buf);
