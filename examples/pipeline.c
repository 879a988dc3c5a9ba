/* SPDX-License-Identifier: MIT */
/* seq 1000000 | grep 7 | head -n 3, without a shell: each of the three has its own end, where a
 * shell tells only that of the last. The first two lose their reader, and SIGPIPE ends them. */
#include <brood/easy.h>

int main(void)
{
    const char *const *const argvs[] = {BROOD_ARGV("seq", "1000000"), BROOD_ARGV("grep", "7"),
                                        BROOD_ARGV("head", "-n", "3")};
    const brood_command_options options[] = {
        {.timeout_ms = 10000},
        {.timeout_ms = 10000},
        {.timeout_ms = 10000, .out = {.kind = BROOD_CAPTURE}},
    };
    brood_command *commands[3];
    brood_outcome outcomes[3];

    BROOD_MUST(brood_pipeline_start(commands, 3, argvs, options));
    BROOD_MUST(brood_pipeline_wait(commands, 3, BROOD_FOREVER, outcomes));
    printf("%s", brood_command_out(commands[2]).data);
    for (int i = 0; i < 3; i++) {
        brood_outcome_print(stdout, argvs[i][0], &outcomes[i]);
        brood_command_free(commands[i]);
    }
    return outcomes[2].verdict != 0;
}
