/* SPDX-License-Identifier: MIT */
/* A program that asks questions: it is started, gets its answers, and what it says is collected.
 * Arguments, if there are any, are run instead. */
#include <brood/easy.h>

static const char answers[] = "set q=mx\npython.org\nexit\n";

int main(int argc, char **argv)
{
    const brood_command_options options = {
        .in = {.kind = BROOD_PIPE}, .out = {.kind = BROOD_CAPTURE}, .timeout_ms = 60000};
    const char *const *words = BROOD_ARGV("nslookup");
    BROOD_AUTO(command) *command = NULL;
    brood_outcome outcome;

    if (argc > 1)
        words = (const char *const *)(argv + 1);
    printf("$ %s\n", words[0]);
    BROOD_MUST(brood_command_start(&command, words, &options));
    BROOD_MUST(
        brood_command_communicate(command, answers, sizeof answers - 1, BROOD_FOREVER, &outcome));
    printf("%s", brood_command_out(command).data);
    if (outcome.cause == BROOD_EXITED)
        printf("Exit code: %d\n", outcome.code);
    else
        brood_outcome_print(stdout, words[0], &outcome);
    return outcome.verdict != 0;
}
