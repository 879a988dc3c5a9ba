/* SPDX-License-Identifier: MIT */
/* A program is run to its end, and its exit status is what the call returns. It has our stdout. So
 * what we have printed must be out before. Arguments, if there are any, are run instead. */
#include <brood/easy.h>

int main(int argc, char **argv)
{
    const char *const *words = BROOD_ARGV("nslookup", "www.python.org");

    if (argc > 1)
        words = (const char *const *)(argv + 1);
    printf("$");
    for (int i = 0; words[i] != NULL; i++)
        printf(" %s", words[i]);
    printf("\n");
    fflush(stdout);
    int r = BROOD_MUST(brood_call(words, NULL, NULL));
    printf("Exit code: %d\n", r);
    return r;
}
