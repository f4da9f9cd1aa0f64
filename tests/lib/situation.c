#include "tests/lib/situation.h"

#include "tests/lib/situation_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define RTT_US UINT64_C(100000) /* of a handshake, if the text says nothing */
#define TS_LEN 12
#define TIMERS 1000
#define NAME_MAX_LEN 120

/* ---- what goes wrong */

void sit_trace(struct sit *s, const char *fmt, ...)
{
    char *to = s->trace[s->n_traced++ % TRACE_LINES];
    const double ms = (double)(s->t.stack.core.now_us - s->start_us) / 1000;
    const int used = snprintf(to, TEXT_MAX, "%10.3f ", ms);
    va_list args;

    va_start(args, fmt);
    vsnprintf(to + used, TEXT_MAX - (size_t)used, fmt, args);
    va_end(args);
}

void sit_fail(struct sit *s, const char *fmt, ...)
{
    const unsigned first = s->n_traced > TRACE_LINES ? s->n_traced - TRACE_LINES : 0;
    char text[TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    printf("# %s:%u: ", s->file, s->line);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    for (unsigned i = first; i < s->n_traced; i++)
        printf("#   %s\n", s->trace[i % TRACE_LINES]);
    for (unsigned i = 0; s->begun && i < 8 && sit_draw_next(s, text); i++)
        printf("#   not named: > %s\n", text);
    fflush(stdout);
    _exit(1);
}

/* ---- words */

char *sit_word(struct sit *s)
{
    return s->at < s->n_words ? s->words[s->at++] : NULL;
}

char *sit_need(struct sit *s, const char *what)
{
    char *word = sit_word(s);

    if (word == NULL)
        sit_fail(s, "the line ends where %s should be", what);
    return word;
}

bool sit_if(struct sit *s, const char *word)
{
    if (s->at >= s->n_words || strcmp(s->words[s->at], word) != 0)
        return false;
    s->at++;
    return true;
}

/* A time is in microseconds. */
uint64_t sit_number(struct sit *s, const char *word)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = { { "", 1 }, { "us", 1 }, { "ms", 1e3 }, { "s", 1e6 }, { "h", 3600e6 } };
    char *end;
    double value;

    if (strcmp(word, "on") == 0 || strcmp(word, "yes") == 0)
        return 1;
    if (strcmp(word, "off") == 0 || strcmp(word, "no") == 0)
        return 0;
    if (strcmp(word, "infinite") == 0)
        return UINT32_MAX;
    value = strtod(word, &end);
    for (unsigned i = 0; end != word && i < ARRAY_SIZE(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return (uint64_t)(int64_t)(value * units[i].factor + (value < 0 ? -0.5 : 0.5));
    sit_fail(s, "no number: %s", word);
}

uint64_t sit_next_number(struct sit *s)
{
    return sit_number(s, sit_need(s, "a number"));
}

/* Blanks and commas part words; what follows a # is for people. */
static void split(struct sit *s, const char *line)
{
    char *at = s->text;

    snprintf(s->text, sizeof(s->text), "%s", line);
    at[strcspn(at, "#\n")] = '\0';
    s->n_words = s->at = 0;
    for (char *word = strtok(at, " \t,"); word != NULL; word = strtok(NULL, " \t,")) {
        if (s->n_words == WORDS_MAX)
            sit_fail(s, "too many words");
        s->words[s->n_words++] = word;
    }
}

/* ---- settings */

/* A field by its name, of 1 to 8 bytes. */
struct setting {
    const char *name;
    size_t offset, size;
};

#define SETTING(type, name, member)                                                                \
    {                                                                                              \
        name, offsetof(struct type, member), sizeof(((struct type *)0)->member)                    \
    }

static const struct setting confs[] = {
    SETTING(tcp_conf, "max_conns", max_conns),
    SETTING(tcp_conf, "max_half_open", max_half_open),
    SETTING(tcp_conf, "max_time_wait", max_time_wait),
    SETTING(tcp_conf, "recv_buf", recv_buf),
    SETTING(tcp_conf, "send_buf", send_buf),
    SETTING(tcp_conf, "ooo_pkts", ooo_pkts),
    SETTING(tcp_conf, "time_wait", time_wait_us),
    SETTING(tcp_conf, "syn_timeout", syn_timeout_us),
    SETTING(tcp_conf, "max_retries", max_retries),
    SETTING(tcp_conf, "rto_min", rto_min_us),
    SETTING(tcp_conf, "keepalive", keepalive_us),
    SETTING(tcp_conf, "delayed_ack", delayed_ack_us),
    SETTING(tcp_conf, "initial_window", initial_window),
    SETTING(tcp_conf, "pacing", pacing),
    SETTING(tcp_conf, "ecn", ecn),
};

static const struct setting tunings[] = {
    SETTING(tcp_tuning, "recv_buf", recv_buf),
    SETTING(tcp_tuning, "send_buf", send_buf),
    SETTING(tcp_tuning, "notsent_lowat", notsent_lowat),
    SETTING(tcp_tuning, "mss_max", mss_max),
    SETTING(tcp_tuning, "nagle", nagle),
    SETTING(tcp_tuning, "cork", cork),
    SETTING(tcp_tuning, "keepalive", keepalive_us),
    SETTING(tcp_tuning, "keepalives", keepalive),
    SETTING(tcp_tuning, "keepalive_probes", keepalive_probes),
    SETTING(tcp_tuning, "keepalive_interval", keepalive_interval_us),
    SETTING(tcp_tuning, "user_timeout", user_timeout_us),
};

static bool assign(struct sit *s, const struct setting *table, unsigned n, void *to,
                   const char *name)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t value;

        if (strcmp(table[i].name, name) != 0)
            continue;
        value = sit_next_number(s);
        memcpy((char *)to + table[i].offset, &value, table[i].size);
        return true;
    }
    return false;
}

static enum cc_algorithm algorithm(struct sit *s)
{
    const char *name = sit_need(s, "reno or cubic");

    if (strcmp(name, "reno") != 0 && strcmp(name, "cubic") != 0)
        sit_fail(s, "unknown congestion control: %s", name);
    return strcmp(name, "reno") == 0 ? CC_NEWRENO : CC_CUBIC;
}

static void do_set(struct sit *s)
{
    const char *name;

    if (s->begun)
        sit_fail(s, "too late to set anything");
    while ((name = sit_word(s)) != NULL) {
        if (strcmp(name, "cc") == 0)
            s->conf.cc = algorithm(s);
        else if (strcmp(name, "sack") == 0)
            s->conf.no_sack = sit_next_number(s) == 0;
        else if (strcmp(name, "timestamps") == 0)
            s->conf.no_timestamps = sit_next_number(s) == 0;
        else if (strcmp(name, "wscale") == 0)
            s->conf.no_window_scale = sit_next_number(s) == 0;
        else if (!assign(s, confs, ARRAY_SIZE(confs), &s->conf, name))
            sit_fail(s, "unknown setting: %s", name);
    }
}

static void do_tune(struct sit *s)
{
    const char *name;

    sit_begin(s);
    s->tuning = s->t.conn != NULL ? *tcp_tuning(s->t.conn)
                                  : s->tuned ? s->tuning : *tcp_defaults(s->t.tcp);
    s->tuned = true;
    while ((name = sit_word(s)) != NULL) {
        if (strcmp(name, "cc") == 0)
            s->tuning.cc = algorithm(s);
        else if (!assign(s, tunings, ARRAY_SIZE(tunings), &s->tuning, name))
            sit_fail(s, "unknown tuning: %s", name);
    }
    if (s->t.conn != NULL)
        tcp_tune(s->t.conn, &s->tuning);
    else
        tcp_listener_tune(s->t.listener, &s->tuning);
    stack_flush(&s->t.stack);
}

static void do_peer(struct sit *s)
{
    bool mss = false;
    const char *word;

    sit_begin(s);
    while ((word = sit_word(s)) != NULL) {
        if (strcmp(word, "sack") == 0) {
            s->sack = true;
        } else if (strcmp(word, "ts") == 0) {
            s->t.ts = true;
        } else if (strcmp(word, "ecn") == 0) {
            s->ecn = true;
        } else if (strcmp(word, "mss") == 0) {
            s->t.mss = (uint16_t)sit_next_number(s);
            mss = true;
        } else if (strcmp(word, "wscale") == 0) {
            s->t.wscale = (int)sit_next_number(s);
        } else if (strcmp(word, "window") == 0) {
            s->window = (uint32_t)sit_next_number(s);
        } else if (strcmp(word, "port") == 0) {
            s->t.their_port = (uint16_t)sit_next_number(s);
        } else {
            sit_fail(s, "a peer has no %s", word);
        }
    }
    if (s->t.ts && !mss)
        s->t.mss += TS_LEN;
}

/* ---- time */

void sit_begin(struct sit *s)
{
    if (s->begun)
        return;
    peer_init(&s->t, &s->conf);
    s->begun = true;
    s->start_us = s->t.stack.core.now_us;
    s->t.mss = 1000;
    s->window = UINT16_MAX;
    s->rebase = true;
    s->our_wscale = -1;
}

void sit_run(struct sit *s, uint64_t us, bool stop)
{
    struct stack *k = &s->t.stack;
    const uint64_t until = k->core.now_us + us;

    stack_flush(k);
    while (k->core.now_us < until && !(stop && k->at < k->n_out)) {
        const uint64_t next = wheel_next_us(&k->core.wheel);

        k->core.now_us = MIN(until, MAX(next, k->core.now_us + 1));
        wheel_run(&k->core.wheel, k->core.now_us, TIMERS);
        stack_flush(k);
    }
}

void sit_all_named(struct sit *s)
{
    char text[TEXT_MAX];

    stack_flush(&s->t.stack);
    if (!sit_draw_next(s, text))
        return;
    sit_trace(s, "> %s", text);
    sit_fail(s, "something was sent that is not written: > %s", text);
}

/* ---- the owner */

/* Packets of one segment each, with the stream's bytes. */
static void write_bytes(struct sit *s, uint32_t len)
{
    struct pktq q;

    pktq_init(&q);
    while (len > 0) {
        struct pkt *p = pkt_alloc(&s->t.stack.pool.pool);
        uint32_t part;

        if (p == NULL)
            sit_fail(s, "there is no memory to write from");
        part = MIN(len, MIN(tcp_mss(s->t.conn), pkt_tailroom(p)));
        pkt_put(p, part);
        for (uint32_t i = 0; i < part; i++)
            p->data[i] = sit_our_byte(s->written + i);
        s->written += part;
        len -= part;
        pktq_push(&q, p);
    }
    if (tcp_send(s->t.conn, &q) != 0)
        sit_fail(s, "tcp_send() refuses");
}

static void need_conn(struct sit *s)
{
    if (s->t.conn == NULL)
        sit_fail(s, "there is no connection");
}

static void do_send(struct sit *s)
{
    need_conn(s);
    write_bytes(s, (uint32_t)sit_next_number(s));
    while (s->at < s->n_words)
        write_bytes(s, (uint32_t)sit_next_number(s));
    stack_flush(&s->t.stack);
}

static void do_read(struct sit *s)
{
    uint64_t left = sit_if(s, "all") ? UINT64_MAX : sit_next_number(s);
    const bool all = left == UINT64_MAX;
    uint8_t bytes[4096];

    need_conn(s);
    while (left > 0) {
        const uint64_t n = tcp_read(s->t.conn, bytes, MIN(left, sizeof(bytes)), false);

        if (n == 0 && !all)
            sit_fail(s, "%u bytes are missing", (unsigned)left);
        if (n == 0)
            break;
        for (uint64_t i = 0; i < n; i++)
            if (bytes[i] != sit_their_byte(s->read + (uint32_t)i))
                sit_fail(s, "byte %u is not what was sent", s->read + (uint32_t)i + 1);
        s->read += (uint32_t)n;
        left -= all ? 0 : n;
    }
    stack_flush(&s->t.stack);
}

static void do_shutdown(struct sit *s)
{
    need_conn(s);
    tcp_shutdown(s->t.conn);
    stack_flush(&s->t.stack);
}

static void do_abort(struct sit *s)
{
    need_conn(s);
    tcp_abort(s->t.conn);
    s->t.conn = NULL;
    stack_flush(&s->t.stack);
}

static void do_release(struct sit *s)
{
    need_conn(s);
    tcp_release(s->t.conn, sit_next_number(s));
    s->t.conn = NULL;
    stack_flush(&s->t.stack);
}

static void do_quickack(struct sit *s)
{
    need_conn(s);
    tcp_quick_ack(s->t.conn, sit_next_number(s) != 0);
    stack_flush(&s->t.stack);
}

static void do_refuse(struct sit *s)
{
    sit_begin(s);
    s->t.refuse = true;
}

static void do_unlisten(struct sit *s)
{
    sit_begin(s);
    tcp_unlisten(s->t.listener);
    stack_flush(&s->t.stack);
}

static void do_open(struct sit *s)
{
    struct ipport remote = { .addr = ipaddr_v4(PEER) };
    int err;

    sit_begin(s);
    remote.port = s->t.their_port;
    s->t.conn = tcp_connect(s->t.tcp, &remote, NULL, s->tuned ? &s->tuning : NULL, &peer_ops, &s->t,
                            &err);
    if (s->t.conn == NULL)
        sit_fail(s, "tcp_connect() refuses");
    s->t.our_port = tcp_local(s->t.conn).port;
    stack_flush(&s->t.stack);
}

/* ---- handshakes that nobody needs to read again */

static void say(struct sit *s, const char *line, void (*what)(struct sit *s))
{
    split(s, line);
    what(s);
}

static uint64_t rtt_of(struct sit *s)
{
    return sit_if(s, "rtt") ? sit_next_number(s) : RTT_US;
}

static void do_accept(struct sit *s)
{
    const uint64_t rtt_us = rtt_of(s);

    sit_begin(s);
    s->t.events[0] = '\0';
    s->from_us = s->to_us = 0;
    say(s, "syn", sit_their_segment);
    say(s, s->ecn ? "syn ack 1 ece" : "syn ack 1", sit_our_segment);
    sit_run(s, rtt_us, true);
    sit_all_named(s);
    say(s, "ack 1", sit_their_segment);
    say(s, "accept", sit_events);
}

static void do_connect(struct sit *s)
{
    const uint64_t rtt_us = rtt_of(s);

    do_open(s);
    s->from_us = s->to_us = 0;
    say(s, s->conf.ecn ? "syn ece cwr" : "syn", sit_our_segment);
    sit_run(s, rtt_us, true);
    sit_all_named(s);
    say(s, "syn ack 1", sit_their_segment);
    say(s, "ack 1", sit_our_segment);
    say(s, "open", sit_events);
}

/* ---- other */

static void do_anew(struct sit *s)
{
    s->t.their_iss += s->their_nxt + (uint32_t)sit_next_number(s);
    s->last_end = s->t.our_iss + s->our_nxt;
    s->rebase = true;
    s->their_nxt = s->their_ack = s->our_nxt = 0;
    s->read = s->written = 0;
}

static void do_memory(struct sit *s)
{
    const char *word = sit_need(s, "low, enough or none");
    struct test_pool *pool = &s->t.stack.pool;

    sit_begin(s);
    if (strcmp(word, "low") != 0 && strcmp(word, "enough") != 0 && strcmp(word, "none") != 0)
        sit_fail(s, "memory is low, enough or none");
    pool->pool.low = strcmp(word, "low") == 0;
    pool->max = strcmp(word, "none") == 0 ? MAX(pool->n_out, 1) : 0;
}

static const struct verb {
    const char *name;
    void (*run)(struct sit *s);
    bool waits; /* for a segment of ours: it looks at the time itself */
} verbs[] = {
    { ">", sit_our_segment, true },
    { "<", sit_their_segment },
    { "expect", sit_expect },
    { "events", sit_events },
    { "set", do_set },
    { "tune", do_tune },
    { "peer", do_peer },
    { "accept", do_accept },
    { "connect", do_connect },
    { "open", do_open },
    { "send", do_send },
    { "read", do_read },
    { "shutdown", do_shutdown },
    { "abort", do_abort },
    { "release", do_release },
    { "quickack", do_quickack },
    { "refuse", do_refuse },
    { "unlisten", do_unlisten },
    { "anew", do_anew },
    { "memory", do_memory },
};

/* +30ms, +20ms..30ms */
static void read_time(struct sit *s)
{
    char *word, *dots;

    s->from_us = s->to_us = 0;
    if (s->at >= s->n_words || s->words[s->at][0] != '+')
        return;
    word = sit_word(s) + 1;
    dots = strstr(word, "..");
    if (dots != NULL)
        *dots = '\0';
    s->from_us = sit_number(s, word);
    s->to_us = dots != NULL ? sit_number(s, dots + 2) : s->from_us;
}

static void step(struct sit *s, const char *line)
{
    const struct verb *v = verbs;
    const char *word;

    split(s, line);
    if (s->n_words == 0)
        return;
    read_time(s);
    word = sit_need(s, "what happens");
    while (v < verbs + ARRAY_SIZE(verbs) && strcmp(v->name, word) != 0)
        v++;
    if (v == verbs + ARRAY_SIZE(verbs))
        sit_fail(s, "unknown word: %s", word);
    if (!v->waits && s->begun && v->run != sit_expect && v->run != sit_events)
        sit_all_named(s);
    if (!v->waits && s->to_us > 0) {
        if (s->from_us != s->to_us)
            sit_fail(s, "only a segment of ours comes at some time between two");
        sit_run(s, s->to_us, true);
        sit_all_named(s);
    }
    v->run(s);
    if (sit_word(s) != NULL)
        sit_fail(s, "too many words: %s", s->words[s->at - 1]);
}

/* ---- a file of them */

struct lines {
    char **at;
    unsigned n;
};

static struct lines read_lines(const char *path)
{
    struct lines ret = { 0 };
    char line[1024];
    FILE *f = fopen(path, "r");

    if (f == NULL)
        return ret;
    while (fgets(line, sizeof(line), f) != NULL) {
        ret.at = realloc(ret.at, (ret.n + 1) * sizeof(ret.at[0]));
        assert(ret.at != NULL);
        ret.at[ret.n++] = strdup(line);
    }
    fclose(f);
    return ret;
}

static void free_lines(struct lines *l)
{
    for (unsigned i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
}

static bool is_start(const char *line)
{
    return strncmp(line, "situation ", 10) == 0;
}

/* From the line after the first to that before the next situation. */
static int run(const char *path, const struct lines *l, unsigned first, const char *name)
{
    struct sit *s = calloc(1, sizeof(*s));

    assert(s != NULL);
    s->file = path;
    s->name = name;
    for (unsigned i = first + 1; i < l->n && !is_start(l->at[i]); i++) {
        s->line = i + 1;
        step(s, l->at[i]);
    }
    if (!s->begun)
        sit_fail(s, "nothing happens");
    sit_all_named(s);
    peer_fini(&s->t); /* aborts unless everything has come home */
    free(s);
    return 0;
}

/* A process of its own: what asserts, or leaks, spoils no other. */
static bool run_apart(const char *path, const struct lines *l, unsigned first, const char *name)
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0)
        exit(run(path, l, first, name));
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    if (WIFSIGNALED(status))
        printf("# %s:%u: killed by signal %d\n", path, first + 1, WTERMSIG(status));
    return status == 0;
}

/* "situation NAME # RFC 9293, 3.5": both parts, or false. */
static bool read_title(const char *line, char name[NAME_MAX_LEN], char about[NAME_MAX_LEN])
{
    return sscanf(line, "situation %119[^#] # %119[^\n]", name, about) == 2;
}

int situation_file(const char *path)
{
    struct lines l = read_lines(path);
    unsigned n = 0;
    int failed = 0;

    for (unsigned i = 0; i < l.n; i++) {
        char name[NAME_MAX_LEN], about[NAME_MAX_LEN];
        size_t len;
        bool ok;

        if (!is_start(l.at[i]))
            continue;
        if (!read_title(l.at[i], name, about)) {
            printf("# %s:%u: a situation says what it is about: situation NAME # RFC 9293, 3.5\n",
                   path, i + 1);
            failed++;
            continue;
        }
        for (len = strlen(name); len > 0 && name[len - 1] == ' '; len--)
            name[len - 1] = '\0';
        ok = run_apart(path, &l, i, name);
        failed += !ok;
        printf("%s %u - %s (%s)\n", ok ? "ok" : "not ok", ++n, name, about);
    }
    printf("1..%u\n", n);
    free_lines(&l);
    return n > 0 ? failed : -1;
}
