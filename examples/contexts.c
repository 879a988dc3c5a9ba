/* SPDX-License-Identifier: MIT */
/* What workers share and what each has for itself. The settings are copied to all; each worker
 * opens its own file, because an open FILE must not cross a fork. The start method is the fork
 * server: workers begin clean, without the memory and descriptors of this program. */
#include <brood/easy.h>
#include <string.h>

struct settings {
    char path[256];
};

static int open_file(const void *context, void **out_state)
{
    const struct settings *settings = context;
    FILE *file = fopen(settings->path, "re");

    if (file == NULL)
        return -errno; /* brood_pool_new() returns it */
    *out_state = file;
    return 0;
}

static void close_file(void *state)
{
    fclose(state);
}

static int look_up(brood_task *task)
{
    const char *key = task->in;
    FILE *file = task->state;
    char line[256];

    rewind(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            return brood_task_return(task, line, strlen(line) + 1);
    return -ENOENT;
}

int main(int argc, char **argv)
{
    const struct settings settings = {.path = "/etc/passwd"};
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(future) *future = NULL;
    const brood_result *result;

    brood_init(argc, argv); /* first in main: the fork server does not return from it */
    BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.start = BROOD_START_FORKSERVER,
                                                           .context = &settings,
                                                           .context_len = sizeof settings,
                                                           .worker_open = open_file,
                                                           .worker_close = close_file}));
    BROOD_MUST(brood_pool_submit(pool, look_up, "root:", sizeof "root:",
                                 &(brood_task_options){.timeout_ms = 200, .retries = 2}, &future));
    if (brood_future_wait(future, 5000, &result) == -ETIMEDOUT)
        puts("not yet");
    else if (result->verdict < 0)
        brood_outcome_print(stderr, "look_up", &result->outcome);
    else
        fputs(result->data, stdout);
    return 0;
}
