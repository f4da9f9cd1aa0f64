#include "dataplane/net/drop.h"

#define NAME(name, text) [DROP_##name] = #name,
static const char *const names[] = { DROP_REASONS(NAME) };

#define TEXT(name, text) [DROP_##name] = (text),
static const char *const texts[] = { DROP_REASONS(TEXT) };

const char *drop_name(enum drop why)
{
    return names[why];
}

const char *drop_text(enum drop why)
{
    return texts[why];
}
