/*
 * text.h - two questions about texts that people have written
 */
#pragma once

#include "dataplane/base/slice.h"

/* RFC 3629: neither overlong forms, nor surrogates, nor anything beyond U+10FFFF. */
bool text_is_utf8(struct slice s);

/*
 * Is @meant what somebody meant who wrote @typed? So if it takes at most one letter put in, left
 * out or changed, or two in a word of five letters and more. For suggestions, never for choices.
 */
bool text_is_slip(const char *typed, const char *meant);
