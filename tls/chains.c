#include "tls/chains.h"

#include <stdlib.h>
#include <string.h>

#define SETS 128 /* 512 chains: 24 KiB */
#define WAYS 4

struct entry {
    uint8_t id[CHAIN_ID_LEN];
    int64_t valid_from, valid_until; /* both 0: free */
};

struct chains {
    struct entry sets[SETS][WAYS]; /* the newest first */
};

/* A hash of SHA-256 is as good as any other in any of its bytes. */
static unsigned set_of(const uint8_t id[CHAIN_ID_LEN])
{
    return id[0] % SETS;
}

bool chains_know(const struct chains *c, const uint8_t id[CHAIN_ID_LEN], int64_t now,
                 int64_t *valid_until)
{
    const struct entry *set = c != NULL ? c->sets[set_of(id)] : NULL;

    for (unsigned i = 0; set != NULL && i < WAYS; i++) {
        if (memcmp(set[i].id, id, CHAIN_ID_LEN) != 0)
            continue;
        *valid_until = set[i].valid_until;
        return now >= set[i].valid_from && now <= set[i].valid_until;
    }
    return false;
}

void chains_add(struct chains **c, const uint8_t id[CHAIN_ID_LEN], int64_t valid_from,
                int64_t valid_until)
{
    struct entry *set;
    unsigned at = 0;

    if (*c == NULL)
        *c = calloc(1, sizeof(**c));
    if (*c == NULL)
        return;
    set = (*c)->sets[set_of(id)];
    while (at < WAYS - 1 && memcmp(set[at].id, id, CHAIN_ID_LEN) != 0)
        at++;
    memmove(&set[1], &set[0], at * sizeof(set[0]));
    memcpy(set[0].id, id, CHAIN_ID_LEN);
    set[0].valid_from = valid_from;
    set[0].valid_until = valid_until;
}

void chains_free(struct chains *c)
{
    free(c);
}
