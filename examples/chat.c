/* SPDX-License-Identifier: MIT */
/* Two programs that nobody started together. The first one prints a ref, 32 digits; started with
 * that, the second one is at the other end of its pipe:
 *
 *     $ chat                                   $ chat 5f0c...
 *     Run: chat 5f0c...
 *
 * A line typed here appears there. When one of them ends or is killed, the other one says so. */
#include <brood/easy.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* [ref] */
static int open_new(brood_pipe **out_pipe)
{
    brood_pipe *other;
    brood_ref ref;

    BROOD_MUST(brood_pipe_new(out_pipe, &other, NULL));
    ref = brood_pipe_ref(other);
    brood_pipe_free(other); /* brood holds it open, until it is fetched */
    if (ref.word[0] == 0)
        return -EAGAIN;
    printf("Run: chat %016" PRIx64 "%016" PRIx64 "\n", ref.word[0], ref.word[1]);
    return 0;
}

static int open_other(brood_pipe **out_pipe, const char *digits)
{
    brood_ref ref;

    if (strlen(digits) != 32 ||
        sscanf(digits, "%16" SCNx64 "%16" SCNx64, &ref.word[0], &ref.word[1]) != 2)
        return -EINVAL;
    return brood_pipe_open(out_pipe, ref);
}
/* [ref] */

/* False: there is nothing more to type. */
static bool send_line(brood_pipe *pipe)
{
    char line[1024];
    ssize_t len = read(STDIN_FILENO, line, sizeof line);

    if (len <= 0)
        return false;
    /* That the other one is gone, we are told when we receive. */
    (void)!brood_pipe_put(pipe, line, (size_t)len, BROOD_FOREVER);
    return true;
}

/* False: the other one is gone. */
static bool print_message(brood_pipe *pipe)
{
    brood_message message;
    int r = brood_pipe_take(pipe, 0, &message);

    if (r == 1) {
        printf("> %.*s", (int)message.len, (const char *)message.data);
        brood_message_done(&message);
    }
    return r == 1 || r == -ETIMEDOUT;
}

int main(int argc, char **argv)
{
    BROOD_AUTO(pipe) *pipe = NULL;
    bool open = true;

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    BROOD_MUST(argc > 1 ? open_other(&pipe, argv[1]) : open_new(&pipe));
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = BROOD_MUST(brood_pipe_fd(pipe)), .events = POLLIN}};
    while (open && poll(fds, 2, -1) > 0) {
        if (fds[1].revents != 0 && !print_message(pipe)) {
            printf("The other one is gone.\n");
            open = false;
        } else if (fds[0].revents != 0) {
            open = send_line(pipe);
        }
    }
    return 0;
}
