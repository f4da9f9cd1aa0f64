#include "dataplane/commands.h"

#include <stdlib.h>

struct control {
    struct daemon *daemon;
};

struct control *commands_open(struct daemon *d, struct cfg_err *err)
{
    struct control *c = calloc(1, sizeof(*c));

    if (c != NULL)
        c->daemon = d;
    return c;
}

void commands_close(struct control *c)
{
    free(c);
}
