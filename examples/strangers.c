/* SPDX-License-Identifier: MIT */
/* A queue between two programs that nobody started together. They meet at a path: of a file with
 * the 16 bytes of a ref in it, or of a unix socket over which the ref is sent.
 *
 *     $ strangers write /tmp/numbers           $ strangers read /tmp/numbers
 *     $ strangers listen /tmp/numbers          $ strangers connect /tmp/numbers
 *
 * The first one makes the queue and adds up what it gets; the second one puts numbers. */
#include <brood/easy.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* [file] */
/* The one that has the queue writes its name down, and must live while it is opened. The file comes
 * whole, and in place of one that a dead program has left there. */
static int ref_to_file(brood_ref ref, const char *path)
{
    char whole[4096];
    int len = snprintf(whole, sizeof whole, "%s.%d", path, (int)getpid());
    FILE *file = len < (int)sizeof whole ? fopen(whole, "wxe") : NULL;

    if (file == NULL)
        return len < (int)sizeof whole ? -errno : -ENAMETOOLONG;
    size_t written = fwrite(&ref, sizeof ref, 1, file);
    if (fclose(file) == 0 && written == 1 && rename(whole, path) == 0)
        return 0;
    unlink(whole);
    return -EIO;
}

static int ref_from_file(brood_ref *out_ref, const char *path)
{
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return -errno;
    size_t read = fread(out_ref, sizeof *out_ref, 1, file);
    fclose(file);
    return read == 1 ? 0 : -EIO;
}
/* [file] */

static int open_socket(const char *path, struct sockaddr_un *out_address)
{
    *out_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof out_address->sun_path)
        return -ENAMETOOLONG;
    memcpy(out_address->sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address;
    int fd = BROOD_MUST(open_socket(path, &address));

    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
        return -errno;
    return fd;
}

/* [socket] */
/* The one that has the queue sends its name and what it takes to open it: memory goes along. */
static int ref_to_client(brood_ref ref, int listener)
{
    int fd = accept(listener, NULL, NULL);

    if (fd < 0)
        return -errno;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* accept4() does both at once, with _GNU_SOURCE */
    int r = brood_ref_send(fd, ref, BROOD_FOREVER);
    close(fd);
    return r;
}

static int ref_from_server(brood_ref *out_ref, const char *path)
{
    struct sockaddr_un address;
    int fd = BROOD_MUST(open_socket(path, &address)), r = -ECONNREFUSED;

    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        r = brood_ref_receive(fd, out_ref, BROOD_FOREVER);
    close(fd);
    return r != 0 ? r : -EPIPE; /* 1: it came; 0: the other one hung up before */
}
/* [socket] */

static void make_and_get(const char *path, bool by_file)
{
    BROOD_AUTO(queue) *queue = NULL;
    long number, sum = 0;

    BROOD_MUST(brood_queue_new(&queue, &(brood_queue_options){.item_size = sizeof number}));
    int listener = by_file ? BROOD_MUST(ref_to_file(brood_queue_ref(queue), path))
                           : BROOD_MUST(listen_at(path));
    printf("Ready.\n"); /* the file is whole; the socket can be connected to */
    if (!by_file) {
        BROOD_MUST(ref_to_client(brood_queue_ref(queue), listener));
        close(listener);
    }
    while (BROOD_MUST(brood_queue_get(queue, &number, sizeof number, BROOD_FOREVER)) == 1)
        sum += number;
    unlink(path);
    printf("Got numbers with the sum %ld.\n", sum);
}

static void open_and_put(const char *path, bool by_file)
{
    BROOD_AUTO(queue) *queue = NULL;
    brood_ref ref;

    BROOD_MUST(by_file ? ref_from_file(&ref, path) : ref_from_server(&ref, path));
    BROOD_MUST(brood_queue_open(&queue, ref));
    for (long number = 1; number <= 100; number++)
        BROOD_MUST(brood_queue_put(queue, &number, sizeof number, BROOD_FOREVER));
    brood_queue_close(queue); /* for both: the other one gets what is left, and then the end */
}

int main(int argc, char **argv)
{
    const char *verb = argc == 3 ? argv[1] : "";

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (strcmp(verb, "write") == 0 || strcmp(verb, "listen") == 0)
        make_and_get(argv[2], verb[0] == 'w');
    else if (strcmp(verb, "read") == 0 || strcmp(verb, "connect") == 0)
        open_and_put(argv[2], verb[0] == 'r');
    else
        fprintf(stderr, "usage: strangers write|read|listen|connect PATH\n");
    return argc == 3 ? 0 : 2;
}
