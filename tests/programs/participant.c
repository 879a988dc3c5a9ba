/* SPDX-License-Identifier: MIT */
/*
 * A participant of another program: participant <descriptor> <offset> <what>
 *
 * It maps the memory object that it inherited, joins the roster at the offset, writes its tag into
 * the first word of the memory, wakes who waits there, and then: "leave" leaves, "stay" waits to be
 * killed, "exec" becomes another program, "return" returns from main() without leaving.
 */
#include "ipc/roster.h"
#include "sys/kernel.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd = argc == 4 ? (int)strtol(argv[1], NULL, 10) : -1;
    struct stat status;
    struct roster *roster;
    _Atomic uint32_t *word;
    roster_tag tag;
    void *memory;
    long offset;

    if (fstat(fd, &status) < 0 || brood__memory_map(&memory, fd, 0, (size_t)status.st_size) < 0)
        return 2;
    word = memory;
    offset = strtol(argv[2], NULL, 10);
    roster = (void *)((char *)memory + offset);
    if (brood__roster_check(roster, (size_t)(status.st_size - offset)) == 0 ||
        brood__roster_join(roster, &tag) < 0)
        return 3;
    atomic_store(word, tag);
    brood__futex_wake(memory, 1);
    if (strcmp(argv[3], "stay") == 0)
        for (;;)
            (void)pause();
    if (strcmp(argv[3], "exec") == 0)
        return execl("/bin/true", "true", (char *)NULL);
    if (strcmp(argv[3], "leave") == 0)
        brood__roster_leave(roster, tag);
    return 0;
}
