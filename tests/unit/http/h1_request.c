#include "tests/lib/h1_log.h"
#include "tests/lib/test.h"

#include <stdio.h>

struct sample {
    const char *bytes;
    size_t len;
    const char *text; /* what the log says; for a refusal, the details */
};

#define S(bytes, text)                                                                             \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, text                                                             \
    }
#define GET(fields) "GET / HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define POST(fields) "POST / HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define LINE(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"
#define HOST(value) "GET / HTTP/1.1\r\nHost: " value "\r\n\r\n"

#define OK " . ok; idle; "
#define LAST " . ok; finished"

static const struct sample good[] = {
    /* request line */
    S(GET(""), "GET a /" OK),
    S(LINE("/a?b=c"), "GET a /a?b=c" OK),
    S(LINE("/a//b/../c"), "GET a /a//b/../c" OK),
    S(LINE("/%00%0d%0a"), "GET a /%00%0d%0a" OK),
    S(LINE("/\"<>\\^`{|}"), "GET a /\"<>\\^`{|}" OK),
    S(LINE("/?"), "GET a /?" OK),
    S(LINE("/a:b@c"), "GET a /a:b@c" OK),
    S(LINE("/http://b/"), "GET a /http://b/" OK),
    S("\r\n" GET(""), "GET a /" OK),
    S("\r\n\r\n" GET(""), "GET a /" OK),
    S("get / HTTP/1.1\r\nHost: a\r\n\r\n", "get a /" OK),
    S("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH a /" OK),
    S("!#$%&'*+-.^_`|~0aZ / HTTP/1.1\r\nHost: a\r\n\r\n", "!#$%&'*+-.^_`|~0aZ a /" OK),
    S("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS a *" OK),
    S("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD a /" OK),
    S("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE a /" OK),

    /* absolute form */
    S(LINE("http://b/c"), "GET http://b /c" OK),
    S(LINE("HTTP://b:81/c?d"), "GET http://b:81 /c?d" OK),
    S(LINE("https://b"), "GET https://b /" OK),
    S(LINE("http://b?c/d"), "GET http://b /?c/d" OK),
    S(LINE("http://[::1]:80/"), "GET http://[::1]:80 /" OK),
    S("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://b *" OK),
    S("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://b /" OK),
    S("GET http://b/ HTTP/1.0\r\n\r\n", "GET http://b / HTTP/1.0" LAST),

    /* CONNECT: the last request of its connection */
    S("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "CONNECT b:443 " LAST),
    S("CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT [::1]:443 " LAST),

    /* HTTP/1.0 */
    S("GET / HTTP/1.0\r\n\r\n", "GET  / HTTP/1.0" LAST),
    S("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET a / HTTP/1.0" LAST),
    S("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET  / HTTP/1.0" OK),
    S("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n", "GET  / HTTP/1.0" LAST),
    S("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi",
      "POST  / HTTP/1.0 2 [hi]" LAST),

    /* Host */
    S(HOST("a.b-c_d.example:8080"), "GET a.b-c_d.example:8080 /" OK),
    S(HOST("127.0.0.1:1"), "GET 127.0.0.1:1 /" OK),
    S(HOST("[2001:db8::1]"), "GET [2001:db8::1] /" OK),
    S(HOST("[::ffff:1.2.3.4]:65535"), "GET [::ffff:1.2.3.4]:65535 /" OK),
    S(HOST("A.Example"), "GET A.Example /" OK),
    S(HOST("  a \t"), "GET a /" OK),
    S(HOST("a."), "GET a. /" OK),
    S("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n", "GET a /" OK),

    /* fields */
    S(GET("X-A: 1\r\nx-b:2\r\nX-C:\r\n"), "GET a / x-a=1 x-b=2 x-c=" OK),
    S(GET("X: \t a \t b \t \r\n"), "GET a / x=a \t b" OK),
    S(GET("X: \x80\xff\r\n"), "GET a / x=\x80\xff" OK),
    S(GET("X: :a:b:\r\n"), "GET a / x=:a:b:" OK),
    S(GET("X: 1\r\nX: 2\r\n"), "GET a / x=1 x=2" OK),
    S(GET("!#$%&'*+-.^_`|~9Z: 1\r\n"), "GET a / !#$%&'*+-.^_`|~9z=1" OK),
    S(GET("Cookie: a=b\r\nCookie: c=d\r\n"), "GET a / cookie=a=b cookie=c=d" OK),
    S(GET("Trailer: x\r\n"), "GET a / trailer=x" OK),
    S(GET("Expect: 100-continue\r\n"),
      "GET a /" OK), /* without a body there is nothing to wait for */
    S(GET("Expect: the-unexpected\r\n"), "GET a / expect=the-unexpected" OK),

    /* connection */
    S(GET("Connection: close\r\n"), "GET a /" LAST),
    S(GET("Connection: CLOSE\r\n"), "GET a /" LAST),
    S(GET("Connection: keep-alive\r\n"), "GET a /" OK),
    S(GET("Connection: , ,\tclose ,\r\n"), "GET a /" LAST),
    S(GET("Connection:\r\n"), "GET a /" OK),
    S(GET("Connection: X-A, x-b\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3\r\n"), "GET a / x-c=3" OK),
    S(GET("X-A: 1\r\nX-A: 2\r\nConnection: x-a\r\nConnection: close\r\n"), "GET a /" LAST),
    S(GET("Connection: host, content-length\r\nContent-Length: 0\r\n"), "GET a / 0" OK),
    S(GET("Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\n"), "GET a /" OK),
    S(GET("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"),
      "GET a /" OK),
    S(GET("Upgrade: websocket\r\nConnection: upgrade\r\n"), "GET a /" OK),

    /* bodies */
    S(POST("Content-Length: 0\r\n"), "POST a / 0" OK),
    S(POST("Content-Length: 5\r\n") "hello", "POST a / 5 [hello]" OK),
    S(POST("Content-Length: 005\r\n") "hello", "POST a / 5 [hello]" OK),
    S(POST("Content-Length:\t5 \r\n") "hello", "POST a / 5 [hello]" OK),
    S(POST("Content-Length: 2\r\nExpect: 100-Continue\r\n") "hi", "POST a / 2 100? [hi]" OK),
    S(GET("Content-Length: 2\r\n") "hi", "GET a / 2 [hi]" OK),
    S(POST(CHUNKED) "0\r\n\r\n", "POST a / unknown" OK),
    S(POST(CHUNKED) "5\r\nhello\r\n0\r\n\r\n", "POST a / unknown [hello]" OK),
    S(POST(CHUNKED) "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "POST a / unknown [abcdef]" OK),
    S(POST(CHUNKED) "A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
      "POST a / unknown [01234567890123456789]" OK),
    S(POST(CHUNKED) "0000000000000005\r\nhello\r\n0\r\n\r\n", "POST a / unknown [hello]" OK),
    S(POST(CHUNKED) "5;a=b;c=\"d \te\"\r\nhello\r\n0;x\r\n\r\n", "POST a / unknown [hello]" OK),
    S(POST(CHUNKED) "5;\r\nhello\r\n0\r\n\r\n", "POST a / unknown [hello]" OK),
    S(POST(CHUNKED) "4\r\n\r\n\r\n\r\n0\r\n\r\n", "POST a / unknown [\r\n\r\n]" OK),
    S(POST("transfer-encoding:CHUNKED\r\n") "0\r\n\r\n", "POST a / unknown" OK),
    S(POST("Transfer-Encoding:   chunked  \r\n") "0\r\n\r\n", "POST a / unknown" OK),

    /* trailers */
    S(POST(CHUNKED) "1\r\na\r\n0\r\nX-T: 1\r\nY: 2\r\n\r\n", "POST a / unknown [a] + x-t=1 y=2" OK),
    S(POST(CHUNKED) "0\r\nX-T: 1\r\n\r\n", "POST a / unknown + x-t=1" OK),
    S(POST(CHUNKED) "0\r\nTrailer: a\r\nTE: b\r\nCookie: c\r\nAuthorization: d\r\nX: e\r\n\r\n",
      "POST a / unknown + x=e" OK),
    S(POST(CHUNKED) "0\r\nConnection: close\r\nKeep-Alive: 1\r\n\r\n", "POST a / unknown" OK),

    /* pipelines */
    S(LINE("/1") LINE("/2") LINE("/3"), "GET a /1" OK "GET a /2" OK "GET a /3" OK),
    S(POST("Content-Length: 2\r\n") "hi" GET(""), "POST a / 2 [hi]" OK "GET a /" OK),
    S(POST("Content-Length: 2\r\n") "hi\r\n" GET(""), "POST a / 2 [hi]" OK "GET a /" OK),
    S(POST(CHUNKED) "2\r\nhi\r\n0\r\n\r\n" GET(""), "POST a / unknown [hi]" OK "GET a /" OK),
    S(POST(CHUNKED) "0\r\nX: 1\r\n\r\n" GET(""), "POST a / unknown + x=1" OK "GET a /" OK),
    S(GET("Connection: close\r\n") GET(""), "GET a /" LAST),
    S("CONNECT b:1 HTTP/1.1\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\n", "CONNECT b:1 " LAST),
};

static const struct sample bad[] = {
    /* request line */
    S("\r\n\r\n\r\n" GET(""), "http1.invalid_request_line"),
    S("\n" GET(""), "http1.bare_lf"),
    S("\rGET / HTTP/1.1\r\n\r\n", "http1.bare_cr"),
    S("\r\r\n" GET(""), "http1.bare_cr"),
    S(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1.1\nHost: a\r\n\r\n", "http1.bare_lf"),
    S("GET / HTTP/1.1\rHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET /\r\n\r\n", "http1.invalid_request_line"),
    S("GET\r\n\r\n", "http1.invalid_request_line"),
    S("/ HTTP/1.1\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1.10\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/11\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/1,1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP/a.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / http/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / HTTP /1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("GET / ICY/1.1\r\nHost: a\r\n\r\n", "http1.invalid_request_line"),
    S("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_method"),
    S("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_method"),
    S("GET: / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_method"),
    S("G\xc3T / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_method"),
    S("\x16\x03\x01\x02\r\n\r\n", "http1.invalid_request_line"),
    S(LINE("a"), "http1.invalid_scheme"),
    S(LINE("*"), "http1.invalid_url"),
    S(LINE("/a#b"), "http1.invalid_url"),
    S(LINE("/#"), "http1.invalid_url"),
    S(LINE("/\0"), "http1.invalid_url"),
    S(LINE("/\x01"), "http1.invalid_url"),
    S(LINE("/\x7f"), "http1.invalid_url"),
    S(LINE("/\xc3\xa9"), "http1.invalid_url"),
    S(LINE("/\x0b"), "http1.invalid_url"),
    S(LINE("ftp://b/"), "http1.invalid_scheme"),
    S(LINE("http:/b/"), "http1.invalid_scheme"),
    S(LINE("http:///b"), "http1.invalid_url"),
    S(LINE("http://"), "http1.invalid_url"),
    S(LINE("http://u@b/"), "http1.invalid_url"),
    S(LINE("http://b:x/"), "http1.invalid_url"),
    S(LINE("http://b,c/"), "http1.invalid_url"),
    S(LINE("b:80"), "http1.invalid_scheme"),
    S("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_url"),
    S("CONNECT b HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_url"),
    S("CONNECT b: HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_url"),
    S("CONNECT [::1] HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_url"),
    S("CONNECT http://b:1/ HTTP/1.1\r\nHost: a\r\n\r\n", "http1.invalid_url"),
    S("CONNECT b:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
      "http1.invalid_content_length"),
    S("CONNECT b:1 HTTP/1.1\r\nHost: a\r\n" CHUNKED "\r\n", "http1.transfer_encoding_not_allowed"),

    /* Host */
    S("GET / HTTP/1.1\r\n\r\n", "http1.missing_host_header"),
    S("GET http://b/ HTTP/1.1\r\n\r\n", "http1.missing_host_header"),
    S("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "http1.several_host_headers"),
    S("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nhost: b\r\n\r\n", "http1.several_host_headers"),
    S("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "http1.several_host_headers"),
    S("GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n", "http1.invalid_host"),
    S(HOST(""), "http1.invalid_host"),
    S(HOST(" "), "http1.invalid_host"),
    S(HOST("a b"), "http1.invalid_host"),
    S(HOST("a,b"), "http1.invalid_host"),
    S(HOST("a/b"), "http1.invalid_host"),
    S(HOST("a@b"), "http1.invalid_host"),
    S(HOST("a#b"), "http1.invalid_host"),
    S(HOST("a?b"), "http1.invalid_host"),
    S(HOST("a%41"), "http1.invalid_host"),
    S(HOST("a\\b"), "http1.invalid_host"),
    S(HOST("\xc3\xa9"), "http1.invalid_host"),
    S(HOST(":80"), "http1.invalid_host"),
    S(HOST("a:"), "http1.invalid_host"),
    S(HOST("a:b"), "http1.invalid_host"),
    S(HOST("a:1:2"), "http1.invalid_host"),
    S(HOST("a:65536"), "http1.invalid_host"),
    S(HOST("a:000080"), "http1.invalid_host"),
    S(HOST("a:-1"), "http1.invalid_host"),
    S(HOST("::1"), "http1.invalid_host"),
    S(HOST("[::1"), "http1.invalid_host"),
    S(HOST("[::1]a"), "http1.invalid_host"),
    S(HOST("[::1]:"), "http1.invalid_host"),
    S(HOST("[]"), "http1.invalid_host"),
    S(HOST("[fe80::1%25eth0]"), "http1.invalid_host"),
    S(HOST("[v1.a]"), "http1.invalid_host"),
    S(HOST("a]"), "http1.invalid_host"),

    /* fields */
    S("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "http1.folded_line"),
    S("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", "http1.folded_line"),
    S(GET("X: a\r\n b\r\n"), "http1.folded_line"),
    S(GET("X: a\r\n\tb\r\n"), "http1.folded_line"),
    S(GET("X: a\r\n \r\n"), "http1.folded_line"),
    S(GET("X : a\r\n"), "http1.invalid_header_name"),
    S(GET("X\t: a\r\n"), "http1.invalid_header_name"),
    S(GET(": a\r\n"), "http1.invalid_header_name"),
    S(GET("X\r\n"), "http1.invalid_header_name"),
    S(GET("X a\r\n"), "http1.invalid_header_name"),
    S(GET("X(: a\r\n"), "http1.invalid_header_name"),
    S(GET("X\0: a\r\n"), "http1.invalid_header_name"),
    S(GET("\0: a\r\n"), "http1.invalid_header_name"),
    S(GET("X\xc3: a\r\n"), "http1.invalid_header_name"),
    S(GET("X\"y\": a\r\n"), "http1.invalid_header_name"),
    S(GET("X: a\n"), "http1.bare_lf"),
    S(GET("X: a\nY: b\r\n"), "http1.bare_lf"),
    S("GET / HTTP/1.1\r\nHost: a\r\n\n", "http1.bare_lf"),
    S("GET / HTTP/1.1\r\nHost: a\n\n", "http1.bare_lf"),
    S(GET("X: a\rY: b\r\n"), "http1.invalid_characters"),
    S(GET("X: a\r\r\n"), "http1.invalid_characters"),
    S(GET("\r\r\n"), "http1.invalid_header_name"),
    S(GET("X: a\0b\r\n"), "http1.invalid_characters"),
    S(GET("X: \x01\r\n"), "http1.invalid_characters"),
    S(GET("X: \x0b\r\n"), "http1.invalid_characters"),
    S(GET("X: \x0c\r\n"), "http1.invalid_characters"),
    S(GET("X: \x1f\r\n"), "http1.invalid_characters"),
    S(GET("X: \x7f\r\n"), "http1.invalid_characters"),
    S(GET("X: 0123456789abcdef\x7f"
          "0123456789abcdef\r\n"),
      "http1.invalid_characters"),
    S(GET("X: 0123456789abcdef0123456789abcde\b\r\n"), "http1.invalid_characters"),
    S(GET("Connection: a b\r\n"), "http1.connection_header_rejected"),
    S(GET("Connection: \"a\"\r\n"), "http1.connection_header_rejected"),
    S(GET("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,1,2,3,4,5,6,7\r\n"),
      "http1.connection_header_rejected"),

    /* lengths */
    S(POST("Content-Length: 5\r\nContent-Length: 5\r\n"), "http1.several_content_lengths"),
    S(POST("Content-Length: 5\r\nContent-Length: 6\r\n"), "http1.several_content_lengths"),
    S(POST("Content-Length: 5, 5\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 5, 6\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 5,\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: +5\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: -5\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 0x5\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 5 5\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 5a\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 5.0\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: \"5\"\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length:\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: \r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 9223372036854775808\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 18446744073709551616\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 18446744073709551621\r\n"), "http1.invalid_content_length"),
    S(POST("Content-Length: 99999999999999999999999999\r\n"), "http1.invalid_content_length"),
    S(POST("Content_Length : 5\r\n"), "http1.invalid_header_name"),

    /* codings */
    S(POST("Content-Length: 5\r\n" CHUNKED) "0\r\n\r\n",
      "http1.content_length_and_chunked_not_allowed"),
    S(POST(CHUNKED "Content-Length: 5\r\n") "0\r\n\r\n",
      "http1.content_length_and_chunked_not_allowed"),
    S(POST(CHUNKED "Content-Length: 0\r\n") "0\r\n\r\n",
      "http1.content_length_and_chunked_not_allowed"),
    S(POST("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"),
      "http1.content_length_and_chunked_not_allowed"),
    S(POST("Transfer-Encoding: chunked, identity\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: identity, chunked\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: identity\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: gzip\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: chunked, gzip\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: chunked, chunked\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: chunked,\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: ,chunked\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding:\tchunked\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: chunked\t\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: xchunked\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: chunkedx\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: \"chunked\"\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: chunked;q=1\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: \x80"
           "chunked\r\n"),
      "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding:\r\n"), "http1.invalid_transfer_encoding"),
    S(POST(CHUNKED CHUNKED), "http1.invalid_transfer_encoding"),
    S(POST(CHUNKED "Transfer-Encoding: identity\r\n"), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: identity\r\n" CHUNKED), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: gzip\r\n" CHUNKED), "http1.invalid_transfer_encoding"),
    S(POST("Transfer-Encoding: \x0b"
           "chunked\r\n"),
      "http1.invalid_characters"),
    S(POST("Transfer-Encoding : chunked\r\n"), "http1.invalid_header_name"),
    S(POST("Transfer-Encoding:\r\n chunked\r\n"), "http1.folded_line"),
    S("POST / HTTP/1.0\r\n" CHUNKED "\r\n0\r\n\r\n", "http1.transfer_encoding_not_allowed"),

    /* chunks */
    S(POST(CHUNKED) "\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "g\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "-1\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "+1\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) " 1\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1 \r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\t\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1 ;a\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "0x1\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\ra\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\r\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1;\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1;a\nb\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1;a\rb\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1;a\0\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1;\x7f\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) ";a\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\r\nab\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\r\na\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\r\na\rb", "http1.invalid_chunk"),
    S(POST(CHUNKED) "1\r\na0\r\n\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "8000000000000000\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "ffffffffffffffff\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "10000000000000001\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "100000000000000000001\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "00000000000000001\r\na\r\n", "http1.invalid_chunk"),
    S(POST(CHUNKED) "0\n\n", "http1.invalid_chunk"),

    /* trailers */
    S(POST(CHUNKED) "0\r\nContent-Length: 5\r\n\r\n", "http1.trailer_not_allowed"),
    S(POST(CHUNKED) "0\r\n" CHUNKED "\r\n", "http1.trailer_not_allowed"),
    S(POST(CHUNKED) "0\r\nX: 1\r\nHost: b\r\n\r\n", "http1.trailer_not_allowed"),
    S(POST(CHUNKED) "0\r\nX: 1\n\r\n", "http1.bare_lf"),
    S(POST(CHUNKED) "0\r\n\n", "http1.bare_lf"),
    S(POST(CHUNKED) "0\r\n X: 1\r\n\r\n", "http1.folded_line"),
    S(POST(CHUNKED) "0\r\nX : 1\r\n\r\n", "http1.invalid_header_name"),
    S(POST(CHUNKED) "0\r\n: 1\r\n\r\n", "http1.invalid_header_name"),
    S(POST(CHUNKED) "0\r\nX: \0\r\n\r\n", "http1.invalid_characters"),
    S(POST(CHUNKED) "0\r\nGET / HTTP/1.1\r\n\r\n", "http1.invalid_header_name"),
};

static const struct {
    const char *bytes;
    uint16_t status;
} statuses[] = {
    { "GET / HTTP/2.0\r\n\r\n", 505 },
    { "GET / HTTP/1.2\r\n\r\n", 505 },
    { "GET / HTTP/0.9\r\n\r\n", 505 },
    { "GET / HTTP/3.0\r\n\r\n", 505 },
    { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
    { POST("Transfer-Encoding: gzip, chunked\r\n"), 501 },
    { POST("Transfer-Encoding: X-Gzip , Deflate, Chunked\r\n"), 501 },
    { POST("Transfer-Encoding: compress,chunked\r\n"), 501 },
};

/* Runs @s with every kind of cut; leaves the first log in @text. */
static void check(const struct sample *s, bool is_bad)
{
    for (unsigned run = 0; run < 12; run++) {
        const enum h1_cut cut = run == 0 ? H1_WHOLE : run == 1 ? H1_BYTES : H1_RANDOM;
        struct h1_log l;

        h1_log_server(&l, NULL);
        h1_log_feed(&l, s->bytes, s->len, cut, run);
        if (is_bad) {
            if (l.details == NULL || strcmp(l.details, s->text) != 0)
                print_error("%s\n%s\nnot %s\n", s->bytes, l.text, s->text);
            assert_non_null(l.details);
            assert_string_equal(l.details, s->text);
            assert_int_equal(l.status, 400);
            assert_true(l.finished);
            assert_non_null(strstr(l.sent, "HTTP/1.1 400 Bad Request\r\n"));
            assert_non_null(strstr(l.sent, "connection: close\r\n"));
        } else {
            if (strcmp(l.text, s->text) != 0)
                print_error("%s\n", s->bytes);
            assert_string_equal(l.text, s->text);
        }
        h1_log_fini(&l);
    }
}

static void good_requests_have_one_reading(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        check(&good[i], false);
}

static void bad_requests_are_refused_with_400(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        check(&bad[i], true);
}

static void versions_and_codings_have_their_own_status(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
        struct h1_log l;

        h1_log_server(&l, NULL);
        h1_log_feed(&l, statuses[i].bytes, strlen(statuses[i].bytes), H1_BYTES, 0);
        assert_int_equal(l.status, statuses[i].status);
        assert_true(l.finished);
        assert_int_equal(http_counters(l.http)->bad_requests, 1);
        h1_log_fini(&l);
    }
}

/* After a refusal nothing is read: what follows may be the attack. */
static void nothing_is_read_after_a_refusal(void **state)
{
    static const char bytes[] = POST("Content-Length: 5, 5\r\n") GET("");
    struct h1_log l;

    h1_log_server(&l, NULL);
    h1_log_feed(&l, bytes, sizeof(bytes) - 1, H1_WHOLE, 0);
    assert_string_equal(l.text, " !400 http1.invalid_content_length protocol-error; finished");
    assert_int_equal(http_counters(l.http)->requests, 0);
    h1_log_fini(&l);
}

static const char *refused(const struct http_conf *conf, const char *bytes, enum h1_cut cut)
{
    static const char *details;
    struct h1_log l;

    h1_log_server(&l, conf);
    h1_log_feed(&l, bytes, strlen(bytes), cut, 5);
    details = l.details;
    if (details != NULL) {
        assert_int_equal(l.status, 431);
        assert_int_equal(http_counters(l.http)->too_large, 1);
    }
    h1_log_fini(&l);
    return details;
}

static void a_header_may_be_as_large_as_the_limit_and_no_larger(void **state)
{
    static const struct {
        uint32_t fill;
        const char *details;
    } cases[] = { { 63, NULL }, { 64, NULL }, { 65, "http1.headers_too_large" } };
    const struct http_conf conf = { .max_header_bytes = sizeof(GET("X: \r\n")) - 1 + 64 };
    char bytes[256];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        sprintf(bytes, GET("X: %0*d\r\n"), (int)cases[i].fill, 0);
        for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++) {
            const char *details = refused(&conf, bytes, cut);

            assert_true((details == NULL) == (cases[i].details == NULL));
            if (details != NULL)
                assert_string_equal(details, cases[i].details);
        }
    }
}

static void a_line_without_end_is_never_gathered_beyond_the_limit(void **state)
{
    const struct http_conf conf = { .max_header_bytes = 1000 };
    struct h1_log l;

    h1_log_server(&l, &conf);
    for (unsigned i = 0; i < 1000; i++)
        h1_log_give(&l, "a", 1);
    assert_null(l.details);
    assert_in_range(l.stream->arena.used, 1000, 4096);
    h1_log_give(&l, "a", 1);
    assert_string_equal(l.details, "http1.headers_too_large");
    assert_int_equal(l.status, 431);
    h1_log_fini(&l);
}

static void fields_are_counted(void **state)
{
    char bytes[1024] = "GET / HTTP/1.1\r\nHost: a\r\n";

    for (unsigned i = 1; i < HTTP_MAX_FIELDS; i++)
        strcat(bytes, "x: 1\r\n");
    strcat(bytes, "\r\n");
    assert_null(refused(NULL, bytes, H1_WHOLE));
    strcpy(strrchr(bytes, '\r'), "y: 1\r\n\r\n");
    assert_string_equal(refused(NULL, bytes, H1_WHOLE), "http1.too_many_headers");
    assert_string_equal(refused(NULL, bytes, H1_BYTES), "http1.too_many_headers");
}

static void trailers_have_limits_too(void **state)
{
    const struct http_conf conf = { .max_header_bytes = 200, .max_fields = 4 };

    assert_null(refused(&conf, POST(CHUNKED) "0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n", H1_RANDOM));
    assert_string_equal(
        refused(&conf, POST(CHUNKED) "0\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\n\r\n", H1_RANDOM),
        "http1.too_many_headers");
    for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++) {
        char bytes[512];

        sprintf(bytes, POST(CHUNKED) "0\r\na: %0200d\r\n\r\n", 0);
        assert_string_equal(refused(&conf, bytes, cut), "http1.trailers_too_large");
    }
}

static void chunk_extensions_are_bounded_in_all(void **state)
{
    static const char chunk[] = "1;0123456789012345678901234567890123456789\r\na\r\n";
    struct h1_log l;

    h1_log_server(&l, NULL);
    h1_log_give(&l, POST(CHUNKED), sizeof(POST(CHUNKED)) - 1);
    for (unsigned i = 0; i < 16 * 1024 / 40; i++)
        h1_log_give(&l, chunk, sizeof(chunk) - 1);
    assert_null(l.details);
    h1_log_give(&l, chunk, sizeof(chunk) - 1);
    assert_string_equal(l.details, "http1.invalid_chunk");
    h1_log_fini(&l);
}

static void a_long_header_spans_many_packets(void **state)
{
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nCookie: ", end[] = "\r\nX: y\r\n\r\n";
    static char cookie[50000];

    memset(cookie, 'c', sizeof(cookie));
    for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++) {
        struct h1_log l;

        h1_log_server(&l, NULL);
        h1_log_feed(&l, start, sizeof(start) - 1, cut, 7);
        h1_log_feed(&l, cookie, sizeof(cookie), cut, 8);
        h1_log_feed(&l, end, sizeof(end) - 1, cut, 9);
        assert_int_equal(l.n_text, sizeof(cookie) + strlen("GET a / cookie= x=y" OK));
        h1_log_fini(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests_have_one_reading),
        cmocka_unit_test(bad_requests_are_refused_with_400),
        cmocka_unit_test(versions_and_codings_have_their_own_status),
        cmocka_unit_test(nothing_is_read_after_a_refusal),
        cmocka_unit_test(a_header_may_be_as_large_as_the_limit_and_no_larger),
        cmocka_unit_test(a_line_without_end_is_never_gathered_beyond_the_limit),
        cmocka_unit_test(fields_are_counted),
        cmocka_unit_test(trailers_have_limits_too),
        cmocka_unit_test(chunk_extensions_are_bounded_in_all),
        cmocka_unit_test(a_long_header_spans_many_packets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
