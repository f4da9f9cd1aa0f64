/*
 * replay.c - runs a fuzz target over its corpus, where there is no libFuzzer
 *
 * usage: fuzz_NAME DIRECTORY|FILE...
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned n_inputs;

static void run(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;
    long size;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0) {
        perror(path);
        exit(1);
    }
    rewind(f);
    bytes = malloc((size_t)size + 1); /* exactly the input and one: an overrun shows */
    if (bytes == NULL || fread(bytes, 1, (size_t)size, f) != (size_t)size) {
        perror(path);
        exit(1);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
    n_inputs++;
}

static void run_all(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;

    if (dir == NULL) {
        run(path);
        return;
    }
    while ((e = readdir(dir)) != NULL) {
        char name[4096];

        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        run(name);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_all(argv[i]);
    printf("%u inputs\n", n_inputs);
    return n_inputs > 0 ? 0 : 1;
}
