/* SPDX-License-Identifier: MIT */
/* brood: the verbs, --version and --help. */
#include "map.h"
#include "options.h"
#include "text.h"

#include <brood.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: brood map [options] command [words] ::: inputs    run it for each input, in parallel\n"
    "       brood run [options] command [words]               run it once, with limits\n"
    "       brood --version | --help\n"
    "\n"
    "What a command started is gone when it has ended, when it is stopped, and when brood ends.\n"
    "\n"
    "  brood map gzip ::: *.log\n"
    "  brood run --timeout 10m --mem 2G -- make check\n"
    "\n"
    "More: brood map --help, brood run --help, man brood\n";

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    if (strcmp(verb, "map") == 0)
        return verb_map(argc - 1, argv + 1);
    if (strcmp(verb, "run") == 0)
        return verb_run(argc - 1, argv + 1);
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "-V") == 0) {
        printf("brood %s\n", brood_version());
        return 0;
    }
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (strcmp(verb, "--completion") == 0 && argc > 2 && options_completion(argv[2], stdout))
        return 0;
    if (*verb != '\0')
        warn("there is no '%s'; the verbs are map and run", verb);
    fputs(help, stderr);
    return EXIT_ERROR;
}
