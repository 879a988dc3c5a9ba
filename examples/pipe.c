/* SPDX-License-Identifier: MIT */
/* Parent and child on the two ends of a pipe: messages in both directions, an open file handed
 * over, and the end. A fork copies both ends, so each side frees the one that is not its own: else
 * it would itself keep open what it waits to see closed. */
#include <brood/easy.h>
#include <ctype.h>
#include <string.h>
#include <unistd.h>

static brood_pipe *parents, *childs;

/* Answers in capitals. Who sends an open file along gets the answer there. */
static int answer(void *arg)
{
    brood_message message;
    int fd;
    unsigned fd_count = 1;

    (void)arg;
    brood_pipe_free(parents);
    while (BROOD_MUST(brood_pipe_take_fds(childs, BROOD_FOREVER, &message, &fd, &fd_count)) == 1) {
        char *text = message.data;
        for (size_t i = 0; i < message.len; i++)
            text[i] = (char)toupper((unsigned char)text[i]);
        if (fd_count == 0) {
            BROOD_MUST(brood_pipe_put(childs, text, message.len, BROOD_FOREVER));
        } else {
            dprintf(fd, "%.*s", (int)message.len, text);
            close(fd);
            BROOD_MUST(brood_pipe_put(childs, "done", 4, BROOD_FOREVER));
        }
        brood_message_done(&message);
        fd_count = 1; /* how many we would take of the next message */
    }
    printf("Child: the parent's end is gone.\n");
    return 0;
}

static void ask(const char *text, FILE *file)
{
    char reply[80];
    size_t len;
    int fd = file != NULL ? fileno(file) : -1;

    BROOD_MUST(brood_pipe_put_fds(parents, text, strlen(text), &fd, file != NULL, BROOD_FOREVER));
    if (BROOD_MUST(brood_pipe_get(parents, reply, sizeof reply, &len, BROOD_FOREVER)) == 1)
        printf("Parent: \"%s\" gives \"%.*s\".\n", text, (int)len, reply);
}

int main(void)
{
    BROOD_AUTO(process) *child = NULL;
    FILE *file = tmpfile();
    char line[80] = "";

    if (file == NULL)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* lines of both come in their order */
    BROOD_MUST(brood_pipe_new(&parents, &childs, NULL));
    BROOD_MUST(brood_process_start(&child, answer, NULL, 0, NULL));
    brood_pipe_free(childs);

    ask("hello", NULL);
    ask("into a file", file);
    rewind(file);
    printf("Parent: the file says \"%s\".\n", fgets(line, sizeof line, file));
    fclose(file);
    brood_pipe_free(parents); /* the child sees the end */
    BROOD_MUST(brood_process_join(child, BROOD_FOREVER, NULL));
    return 0;
}
