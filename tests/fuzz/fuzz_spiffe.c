/*
 * Any bytes as a SPIFFE identity, a prefix of one and a host name: what is accepted is printable,
 * and its parts put together are the whole.
 */
#include "dataplane/base/compiler.h"
#include "tests/fuzz/fuzz.h"
#include "tls/hostname.h"
#include "tls/spiffe.h"

#include <stdlib.h>

static void check(struct slice text, const struct spiffe_id *id)
{
    if (9 + id->domain.len + id->path.len != text.len)
        abort();
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= 0x20 || text.ptr[i] >= 0x7f || strchr("?#@%\\", text.ptr[i]) != NULL)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice text = { (const char *)bytes, len };
    char name[HOSTNAME_MAX + 1], again[HOSTNAME_MAX + 1];
    struct spiffe_id id;

    if (spiffe_parse(text, &id)) {
        check(text, &id);
        if (id.path.len > 0 && (slice_ends(id.path, SLICE("/")) || id.path.ptr[0] != '/'))
            abort();
    }
    if (spiffe_parse_prefix(text, &id))
        check(text, &id);
    if (hostname_copy(text, name)) {
        if (strlen(name) > len || !hostname_copy(slice_of(name), again) ||
            strcmp(name, again) != 0 || !hostname_matches(text, name))
            abort();
    }
    hostname_matches(text, "a.example.com");
    return 0;
}
