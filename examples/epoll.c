/* SPDX-License-Identifier: MIT */
/* A pool in an event loop: what comes from stdin (a terminal or a pipe) goes to the workers and
 * comes back in capitals. Callbacks run inside brood_pool_dispatch() and brood_pool_join(), in
 * this thread and in no other. */
#include <brood/easy.h>
#include <sys/epoll.h>
#include <unistd.h>

static int shout(brood_task *task)
{
    const char *in = task->in;
    char *out = brood_task_alloc(task, task->in_len);

    if (out == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < task->in_len; i++)
        out[i] = (char)(in[i] >= 'a' && in[i] <= 'z' ? in[i] - 32 : in[i]);
    return 0;
}

static void print(const brood_result *result, void *context)
{
    (void)context;
    if (result->data != NULL)
        fwrite(result->data, 1, result->len, stdout);
    else
        brood_outcome_print(stderr, "shout", &result->outcome);
}

static bool submit_line(brood_pool *pool)
{
    char line[4096];
    ssize_t len = read(STDIN_FILENO, line, sizeof line);

    if (len <= 0)
        return false;
    BROOD_MUST(brood_pool_submit(pool, shout, line, (size_t)len,
                                 &(brood_task_options){.on_done = print}, NULL));
    return true;
}

static int watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;
    struct epoll_event event;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool open = true;

    BROOD_MUST(brood_pool_new(&pool, NULL));
    int pool_fd = BROOD_MUST(brood_pool_fd(pool));
    BROOD_MUST(watch(epoll_fd, pool_fd));
    BROOD_MUST(watch(epoll_fd, STDIN_FILENO));
    while (open && epoll_wait(epoll_fd, &event, 1, -1) == 1) {
        if (event.data.fd == pool_fd)
            BROOD_MUST(brood_pool_dispatch(pool));
        else
            open = submit_line(pool);
    }
    brood_pool_close(pool);
    return BROOD_MUST(brood_pool_join(pool, BROOD_FOREVER)) != 0; /* prints the rest */
}
