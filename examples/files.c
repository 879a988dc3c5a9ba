/* SPDX-License-Identifier: MIT */
/* Many files through a parser that nobody trusts, named as arguments.
 * A file that crashes, hangs or bloats the parser is reported with its reason; all others are
 * parsed as if nothing had happened. */
#include <brood/easy.h>
#include <string.h>

struct summary {
    size_t settings, comments;
};

/* Somebody else's parser of "name = value". A line without '=' makes it write through NULL. */
static int parse_settings(FILE *file, struct summary *summary)
{
    char line[4096];

    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#') {
            summary->comments++;
            continue;
        }
        char *equals = strchr(line, '=');
        *equals = '\0';
        summary->settings++;
    }
    return ferror(file) ? -EIO : 0;
}

static int parse(brood_task *task)
{
    FILE *file = fopen(task->in, "re");

    if (file == NULL)
        return -errno;
    int r = parse_settings(file, task->out);
    fclose(file);
    return r;
}

int main(int argc, char **argv)
{
    const brood_task_options each = {.out_size = sizeof(struct summary), .timeout_ms = 10000};
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result;
    int failed = 0;

    BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.memory_max = 1u << 30}));
    BROOD_MUST(brood_group_new(&group, pool, NULL));
    for (int i = 1; i < argc; i++)
        BROOD_MUST(brood_group_submit(group, parse, argv[i], strlen(argv[i]) + 1, &each));

    while (BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result))) {
        const char *path = argv[1 + result->index];
        const struct summary *summary = result->data;
        if (summary != NULL) {
            printf("%s: %zu settings, %zu comments\n", path, summary->settings, summary->comments);
        } else {
            brood_outcome_print(stderr, path, &result->outcome);
            failed++;
        }
    }
    printf("%d of %d failed\n", failed, argc - 1);
    return failed != 0;
}
