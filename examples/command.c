/* SPDX-License-Identifier: MIT */
/* Other people's programs: what they write, how they end, and a limit to the time they take. */
#include <brood/easy.h>

int main(void)
{
    BROOD_AUTO(command) *sort = NULL;
    brood_outcome outcome;
    int r;

    r = BROOD_MUST(brood_run(
        &sort, BROOD_ARGV("sort", "-u"),
        &(brood_command_options){.in = BROOD_TEXT("pear\napple\npear\n"), .timeout_ms = 10000}));
    printf("%s", brood_command_out(sort).data);
    printf("sort: exit status %d\n", r);

    /* [limit] */
    /* The shell starts a second process, and both are gone when the time is over. */
    r = brood_call(BROOD_SHELL("sleep 1000 & sleep 1000"),
                   &(brood_command_options){.timeout_ms = 100}, &outcome);
    printf("sleep: %s\n", brood_strerror(r));
    /* [limit] */

    r = brood_call(BROOD_ARGV("no-such-program"), NULL, &outcome);
    printf("not started: %s\n", outcome.report);
    return r != -ENOENT;
}
