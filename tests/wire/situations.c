/*
 * situations - the conversations of tests/wire/situations, one file a run
 *
 *   situations FILE
 *
 * tests/lib/situation.h says how they are written.
 */
#include "tests/lib/situation.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: situations FILE\n");
        return 2;
    }
    return situation_file(argv[1]) == 0 ? 0 : 1;
}
