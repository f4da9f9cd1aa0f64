#include "config/control/filter.h"

#include "dataplane/base/base64.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>

#define SNAPLEN 65535

static char *as_base64(const void *bytes, size_t len)
{
    char *text = malloc(base64_len(len) + 1);

    if (text == NULL)
        return NULL;
    base64_encode(bytes, len, text);
    text[base64_len(len)] = '\0';
    return text;
}

char *filter_compile(const char *text, char *why, size_t room)
{
    struct bpf_program program;
    char *digits = NULL;
    pcap_t *p;

    if (text[strspn(text, " \t\n")] == '\0')
        return as_base64("", 0);
    p = pcap_open_dead(DLT_EN10MB, SNAPLEN);
    snprintf(why, room, "no memory");
    if (p == NULL)
        return NULL;
    if (pcap_compile(p, &program, text, 1, PCAP_NETMASK_UNKNOWN) == 0) {
        digits = as_base64(program.bf_insns, program.bf_len * sizeof(program.bf_insns[0]));
        pcap_freecode(&program);
    } else {
        snprintf(why, room, "%s", pcap_geterr(p));
    }
    pcap_close(p);
    return digits;
}
