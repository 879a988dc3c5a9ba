/* SPDX-License-Identifier: MIT */
/* The lengths of five words, measured in the processes of a pool. They are copies of this
 * program, so its strings are there. One word is missing, and strlen(NULL) is a crash: it costs
 * that one length and nothing else. */
/* [program] */
#include <brood/easy.h>
#include <string.h>

static int measure(brood_task *task) /* runs in a worker process */
{
    const char *const *word = task->in;
    size_t *length = task->out;

    *length = strlen(*word);
    return 0;
}

int main(void)
{
    const char *words[] = {"fig", "pear", NULL, "apricot", "plum"};
    size_t lengths[5];
    int verdicts[5];
    BROOD_AUTO(pool) *pool = NULL;

    BROOD_MUST(brood_pool_new(&pool, NULL)); /* a worker for each CPU */
    BROOD_MUST(brood_pool_map(pool, measure, BROOD_IN(words, 5), BROOD_OUT(lengths, 5),
                              &(brood_map_options){.verdicts = verdicts}));
    for (int i = 0; i < 5; i++)
        if (verdicts[i] == 0)
            printf("%s: %zu\n", words[i], lengths[i]);
        else
            printf("word %d: %s\n", i, brood_strerror(verdicts[i]));
    return 0;
}
/* [program] */
