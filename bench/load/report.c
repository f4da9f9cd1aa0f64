#include "bench/load/report.h"

static const struct {
    const char *name;
    double share;
} percentiles[] = {
    { "p50", 0.5 },  { "p75", 0.75 },    { "p90", 0.9 },
    { "p99", 0.99 }, { "p99.9", 0.999 }, { "p99.99", 0.9999 },
};

static const struct load_stats *main_stats(const struct load_result *r)
{
    return r->has_client ? &r->client : &r->server;
}

static double rate(const struct load_result *r, uint64_t n)
{
    return r->seconds > 0 ? (double)n / r->seconds : 0;
}

/* --- for people ------------------------------------------------------------------------------ */

static void print_hist(FILE *to, const char *what, const struct hist *h)
{
    if (h->n == 0)
        return;
    fprintf(to, "%-12s %10.1f %10.1f", what, (double)hist_min(h) / 1e3, hist_mean(h) / 1e3);
    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
        fprintf(to, " %10.1f", (double)hist_percentile(h, percentiles[i].share) / 1e3);
    fprintf(to, " %10.1f\n", (double)h->max / 1e3);
}

static void print_hists(FILE *to, const struct load_stats *s)
{
    if (s->latency_ns.n == 0 && s->connect_ns.n == 0)
        return;
    fprintf(to, "\n%-12s %10s %10s", "us", "min", "mean");
    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
        fprintf(to, " %10s", percentiles[i].name);
    fprintf(to, " %10s\n", "max");
    print_hist(to, "latency", &s->latency_ns);
    print_hist(to, "connect", &s->connect_ns);
}

static void print_errors(FILE *to, const struct load_stats *s)
{
    fprintf(to, "errors       %12lu\n", (unsigned long)load_stats_errors(s));
    for (unsigned i = 0; i < LOAD_ERROR_COUNT; i++)
        if (s->errors[i] > 0)
            fprintf(to, "  %-10s %12lu  %s\n", load_error_name((enum load_error)i),
                    (unsigned long)s->errors[i], load_error_text((enum load_error)i));
}

static void print_stats(FILE *to, const struct load_result *r, const struct load_stats *s)
{
    fprintf(to, "requests     %12lu  %.1f/s\n", (unsigned long)s->requests, rate(r, s->requests));
    fprintf(to, "connections  %12lu  opened, %lu TLS handshakes, %lu of them resumed\n",
            (unsigned long)s->opened, (unsigned long)s->handshakes, (unsigned long)s->resumed);
    fprintf(to, "bytes in     %12lu  %.1f MiB/s\n", (unsigned long)s->bytes_in,
            rate(r, s->bytes_in) / (1 << 20));
    fprintf(to, "bytes out    %12lu  %.1f MiB/s\n", (unsigned long)s->bytes_out,
            rate(r, s->bytes_out) / (1 << 20));
    if (s->missed > 0)
        fprintf(to, "missed       %12lu  requests that found no idle connection, and waited\n",
                (unsigned long)s->missed);
    print_errors(to, s);
    print_hists(to, s);
}

void report_table(FILE *to, const struct load_result *r)
{
    fprintf(to, "measured %.3f s with %u worker%s\n\n", r->seconds, r->workers,
            r->workers == 1 ? "" : "s");
    print_stats(to, r, main_stats(r));
    if (!r->has_client || !r->has_server)
        return;
    fprintf(to, "\nthe server\n");
    print_stats(to, r, &r->server);
}

/* --- for programs ---------------------------------------------------------------------------- */

static void json_hist(FILE *to, const char *name, const struct hist *h)
{
    fprintf(to, "\"%s\": {\"min\": %.3f, \"mean\": %.3f", name, (double)hist_min(h) / 1e3,
            hist_mean(h) / 1e3);
    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
        fprintf(to, ", \"%s\": %.3f", percentiles[i].name,
                (double)hist_percentile(h, percentiles[i].share) / 1e3);
    fprintf(to, ", \"max\": %.3f}", (double)h->max / 1e3);
}

static void json_stats(FILE *to, const struct load_result *r, const struct load_stats *s)
{
    fprintf(to, "\"requests\": %lu, \"errors\": %lu, \"errors_by_kind\": {",
            (unsigned long)s->requests, (unsigned long)load_stats_errors(s));
    for (unsigned i = 0; i < LOAD_ERROR_COUNT; i++)
        fprintf(to, "%s\"%s\": %lu", i > 0 ? ", " : "", load_error_name((enum load_error)i),
                (unsigned long)s->errors[i]);
    fprintf(to, "}, \"rate\": %.3f, \"bytes_in\": %lu, \"bytes_out\": %lu, ", rate(r, s->requests),
            (unsigned long)s->bytes_in, (unsigned long)s->bytes_out);
    fprintf(to, "\"connections_opened\": %lu, \"handshakes\": %lu, \"resumed\": %lu, ",
            (unsigned long)s->opened, (unsigned long)s->handshakes, (unsigned long)s->resumed);
}

void report_json(FILE *to, const struct load_result *r)
{
    const struct load_stats *s = main_stats(r);

    fprintf(to, "{");
    json_stats(to, r, s);
    json_hist(to, "latency_us", &s->latency_ns);
    fprintf(to, ", ");
    json_hist(to, "connect_us", &s->connect_ns);
    fprintf(to, ", \"seconds\": %.6f, \"opening_seconds\": %.3f, \"workers\": %u, \"missed\": %lu",
            r->seconds, r->opening, r->workers, (unsigned long)s->missed);
    if (r->has_client && r->has_server) {
        fprintf(to, ", \"server\": {");
        json_stats(to, r, &r->server);
        fprintf(to, "\"open\": %lu}", (unsigned long)r->server.open);
    }
    fprintf(to, "}\n");
}
