/*
 * replay.c - runs a fuzz target over its corpus, where there is no libFuzzer
 *
 * usage: fuzz_NAME DIRECTORY|FILE...
 * replay - runs a fuzz target over its corpus, where there is no libFuzzer
 *
 *   fuzz_x CORPUS...     files, or folders of files; each whole, and each of its first bytes
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
#include <sys/stat.h>

#define FILE_MAX (1 << 20)
#define PREFIXES_BELOW 2048 /* a longer file is run whole only */

static unsigned n_runs;

/* From memory of exactly this size, so that a sanitizer sees the first byte beyond. */
static void run(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, bytes, len);
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    n_runs++;
}

static int replay_file(const char *path)
{
    static uint8_t bytes[FILE_MAX];
    FILE *file = fopen(path, "rb");
    size_t len;

    if (file == NULL) {
        perror(path);
        return 1;
    }
    len = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    for (size_t n = len < PREFIXES_BELOW ? 0 : len; n <= len; n++)
        run(bytes, n);
    return 0;
}

static int replay_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int failed = 0;

    if (dir == NULL) {
        perror(path);
        return 1;
    }
    while ((e = readdir(dir)) != NULL) {
        char name[4096];

        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        run(name);
    }
    closedir(dir);
        failed |= replay_file(name);
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_all(argv[i]);
    printf("%u inputs\n", n_inputs);
    return n_inputs > 0 ? 0 : 1;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) != 0) {
            perror(argv[i]);
            failed = 1;
        } else {
            failed |= S_ISDIR(st.st_mode) ? replay_folder(argv[i]) : replay_file(argv[i]);
        }
    }
    printf("%u runs\n", n_runs);
    return failed != 0 || n_runs == 0;
}
