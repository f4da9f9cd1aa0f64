/*
 * filter.h - pcap-filter(7) to classic BPF
 *
 * It is compiled here, by whoever asks, and not by the daemon: names of hosts are looked up, which
 * takes as long as it takes, and mistakes are told at once. The daemon checks the program again.
 */
#pragma once

#include <stddef.h>

/* The program for Ethernet as base64, from malloc; "" for an empty filter. NULL: @why has words. */
char *filter_compile(const char *text, char *why, size_t room);
