#include "config/model/where.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int cfg_err_set(struct cfg_err *err, const struct cfg_where *where, const char *fmt, ...)
{
    va_list args;
    int n = 0;

    if (err->text[0] != '\0')
        return -EINVAL;
    if (where != NULL && where->file != NULL)
        n = snprintf(err->text, sizeof(err->text), "%s:%u: ", where->file, where->line);
    if (n < 0 || (size_t)n >= sizeof(err->text))
        return -EINVAL;
    va_start(args, fmt);
    vsnprintf(err->text + n, sizeof(err->text) - (size_t)n, fmt, args);
    va_end(args);
    return -EINVAL;
}
