/*
 * listener.h - where clients come in, and what becomes of them
 *
 * Envoy's shape: a listener has filter chains; the first bytes choose one (TLS
 * server name, most specific first, as Envoy's FilterChainMatch: destination
 * prefix, then server name exact, "*.suffix" longest first, none); a chain
 * without ->tls takes plaintext, and, if it is a TCP proxy, passes TLS on unopened;
 * a listener whose chains all have ->tls refuses plaintext. A chain ends in an HTTP
 * connection manager or a TCP proxy.
 */
#pragma once

#include "config/model/tls.h"
#include "dataplane/base/ipaddr.h"

enum chain_kind { CHAIN_HTTP, CHAIN_TCP };

/* What becomes of x-forwarded-client-cert (Envoy's ForwardClientCertDetails). */
enum xfcc_mode {
    XFCC_SANITIZE,            /* remove what came; default */
    XFCC_FORWARD_ONLY,        /* over mTLS: pass on what came; else remove */
    XFCC_APPEND_FORWARD,      /* over mTLS: append ours */
    XFCC_SANITIZE_SET,        /* over mTLS: replace by ours; else remove */
    XFCC_ALWAYS_FORWARD_ONLY, /* pass on what came */
};

struct http_chain_conf {
    const char *stat_prefix;
    const char *route_config; /* by name */
    const char *server_name; /* "server" response header, "istio-envoy"; "" passes the upstream's */
    const char *access_log;  /* by name; NULL: none */
    enum xfcc_mode forward_client_cert;
    bool set_subject, set_uri, set_dns; /* keys of our XFCC element besides By and Hash */
    bool use_remote_address; /* we are the edge: XFF is appended, x-request-id replaced, ... default
                                true */
    uint32_t xff_trusted_hops;
    bool preserve_request_id;    /* keep an external x-request-id; default false */
    uint64_t idle_timeout_us;    /* connection without a stream, default 1 h */
    uint64_t headers_timeout_us; /* from first byte of a request to the end of its header, default
                                    60 s; 0: none */
    uint64_t stream_idle_timeout_us; /* nothing moves on a stream, default 5 min: 408 or 504 */
    uint64_t request_timeout_us;     /* whole request received, default 0: none: 408 */
    uint64_t delayed_close_us;       /* wait for the peer's FIN, default 1 s */
    uint32_t max_header_bytes;       /* default 60 KiB */
    uint32_t max_fields;             /* default 100 */
    struct cfg_where where;
};

struct tcp_chain_conf {
    const char *stat_prefix;
    const char *cluster;      /* by name */
    const char *access_log;   /* by name; NULL: none */
    uint64_t idle_timeout_us; /* default 1 h */
    struct cfg_where where;
};

struct chain_conf {
    const char *name;
    uint32_t n_server_names;
    const char **server_names; /* "a.example", "*.example"; lower case */
    uint32_t n_destinations;
    struct ipprefix *destinations;
    struct tls_conf *tls; /* NULL: plaintext */
    enum chain_kind kind;
    struct http_chain_conf *http;
    struct tcp_chain_conf *tcp;
    struct cfg_where where;
};

struct listener_conf {
    const char *name;
    struct ipport address;     /* 0.0.0.0: every address of ours */
    uint64_t hello_timeout_us; /* until a chain is chosen, default 15 s */
    uint32_t n_chains;
    struct chain_conf *chains;
    struct cfg_where where;
};
