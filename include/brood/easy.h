/* SPDX-License-Identifier: MIT */
/*
 * brood/easy.h - makes small programs short. All inline; <brood.h> does not include it, and it
 * is the only part of brood that prints or exits.
 */
#ifndef BROOD_EASY_H
#define BROOD_EASY_H

#include <brood.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Negative: say where and what, exit(1). Exit is clean anywhere: nothing of brood outlives it. */
static inline int brood_easy_must(int r, const char *what, const char *file, int line)
{
    if (r < 0) {
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, brood_strerror(r));
        exit(EXIT_FAILURE);
    }
    return r;
}
static inline void *brood_easy_must_have(void *p, const char *what, const char *file, int line)
{
    if (p == NULL)
        (void)brood_easy_must(-ENOMEM, what, file, line);
    return p;
}
#define BROOD_MUST(call) brood_easy_must((call), #call, __FILE__, __LINE__)
#define BROOD_MUST_HAVE(call) brood_easy_must_have((call), #call, __FILE__, __LINE__)

/* "name: killed by SIGSEGV ...", then the report, indented. */
static inline void brood_outcome_print(FILE *stream, const char *name, const brood_outcome *outcome)
{
    char text[128];
    const char *p;

    fprintf(stream, "%s: %s\n", name, brood_outcome_text(outcome, text, sizeof text));
    for (p = outcome->report; p != NULL && *p != '\0';) {
        int len = 0;

        while (p[len] != '\0' && p[len] != '\n')
            len++;
        fprintf(stream, "    %.*s\n", len, p);
        p += len + (p[len] == '\n');
    }
}

/* Join, print the outcome if the verdict is not 0, free. Returns the verdict. */
static inline int brood_process_finish(brood_process *process, const char *name)
{
    brood_outcome outcome;
    int r = brood_process_join(process, BROOD_FOREVER, &outcome);

    if (r == 0) {
        r = outcome.verdict;
        if (r != 0)
            brood_outcome_print(stderr, name, &outcome);
    }
    brood_process_free(process);
    return r;
}

#define BROOD_EASY_AUTO(noun)                                                                      \
    static inline void brood_easy_auto_##noun(brood_##noun **p)                                    \
    {                                                                                              \
        brood_##noun##_free(*p);                                                                   \
    }
BROOD_EASY_AUTO(process)
BROOD_EASY_AUTO(command)
BROOD_EASY_AUTO(pool)
BROOD_EASY_AUTO(group)
BROOD_EASY_AUTO(future)
BROOD_EASY_AUTO(queue)
BROOD_EASY_AUTO(pipe)
BROOD_EASY_AUTO(region)
/* BROOD_AUTO(pool) *pool = NULL;  is freed at the end of its block. */
#define BROOD_AUTO(noun) __attribute__((cleanup(brood_easy_auto_##noun))) brood_##noun

#endif
