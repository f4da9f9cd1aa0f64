/*
 * Any bytes as the filter of a capture, as it comes from the control socket: base64, a classic BPF
 * program, and a frame. What is let in ends, and reads nothing but the frame; what is no base64 or
 * no program is refused with a reason.
 */
#include "dataplane/base/base64.h"
#include "drivers/capture.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void run(const void *program, size_t len, const uint8_t *frame, uint32_t frame_len)
{
    const char *why = NULL;
    struct capture_filter *f = capture_filter_new(program, len, &why);

    if (f == NULL && (why == NULL || why[0] == '\0'))
        abort();
    if (f != NULL)
        (void)capture_filter_match(f, frame, frame_len);
    capture_filter_free(f);
}

/* What is decoded is encoded to the same text. */
static void decode(struct slice text, const uint8_t *frame, uint32_t frame_len)
{
    uint8_t *bytes = malloc(text.len + 1);
    char *again = malloc(base64_len(text.len) + 1);
    size_t len = 0;

    if (bytes == NULL || again == NULL)
        abort();
    if (base64_decode(text, bytes, text.len + 1, &len)) {
        if (base64_len(len) != text.len)
            abort();
        base64_encode(bytes, len, again);
        if (text.len > 0 && memcmp(again, text.ptr, text.len) != 0)
            abort();
        run(bytes, len, frame, frame_len);
    }
    free(again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = { data, size };
    const bool is_text = fuzz_u8(&f) % 2 != 0;
    const uint32_t want = fuzz_u16(&f);
    uint8_t *part = malloc(want + 1), *frame;
    uint32_t len, frame_len;

    if (part == NULL)
        abort();
    len = fuzz_bytes(&f, part, want);
    frame = malloc(f.len + 1); /* of its own, so that a sanitizer sees its end */
    if (frame == NULL)
        abort();
    frame_len = fuzz_bytes(&f, frame, (uint32_t)f.len);
    if (is_text)
        decode((struct slice){ (const char *)part, len }, frame, frame_len);
    else
        run(part, len, frame, frame_len);
    free(frame);
    free(part);
    return 0;
}
