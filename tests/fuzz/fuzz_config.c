/*
 * Any bytes as a configuration file: libconfig, the tables, and validation. What is accepted is
 * shown, too.
 */
#include "config/file/file.h"
#include "config/model/dump.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/*
 * libconfig 1.5 forgets a string that it has read when the next word is a mistake: some bytes for
 * each file that is refused for its syntax. Not ours to free.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct snapshot *s = NULL;
    struct cfg_err err;
    json_t *dump;

    if (file_read_text("fuzz", (const char *)bytes, len, &s, &err) < 0) {
        if (s != NULL || err.text[0] == '\0')
            abort(); /* a refusal has words, and leaves nothing */
        return 0;
    }
    dump = snapshot_dump(s);
    if (dump == NULL)
        abort();
    json_decref(dump);
    snapshot_put(s);
    return 0;
}
