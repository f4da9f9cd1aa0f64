/*
 * flightlog.h - what a flight recorder has kept (tcp/recorder.h), for people and for Wireshark
 *
 * As text, a line for each segment as tcpdump writes it, with the time and what passed since the
 * line before; what is no segment is a line that begins with "#".
 *
 * As pcapng, a frame for each segment: Ethernet (addresses that mean us and them), IP, TCP with
 * SACK blocks. Timestamps are not recorded: where they were on, there is room for them, filled with
 * NOPs, so that lengths are right. Nor is payload: such a frame is cut behind its header, and its
 * checksum is 0. What is no segment is a comment of the next one, or of the last.
 *
 * Control thread.
 */
#pragma once

#include "dataplane/tcp/recorder.h"
#include "dataplane/telemetry/pcapng.h"

#include <stddef.h>

/* Calls @fn for every line, without a newline. */
void flightlog_text(const struct tcp_log *log, const struct tcp_record *records,
                    void (*fn)(const char *line, void *ctx), void *ctx);

/* Room that flightlog_pcapng() needs. */
size_t flightlog_pcapng_max(const struct tcp_log *log);

/* The whole file. False: no room. */
bool flightlog_pcapng(const struct tcp_log *log, const struct tcp_record *records,
                      struct pcapng *to);

const char *flightlog_why(enum tcp_log_why why);
