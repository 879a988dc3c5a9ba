/* SPDX-License-Identifier: MIT */
/*
 * brood/pipeline.h - commands one behind the other, each with its own guard and its own options.
 *
 *     const char *const *const argvs[] = {BROOD_ARGV("du"), BROOD_ARGV("sort", "-n")};
 *     brood_command *commands[2];
 *     int r = brood_pipeline_start(commands, 2, argvs, NULL);
 */
#ifndef BROOD_PIPELINE_H
#define BROOD_PIPELINE_H

#include <brood/command.h>

BROOD_BEGIN_DECLS

/*
 * brood_pipeline_start() - COUNT commands, each one's stdout the next one's stdin.
 *
 * ARGVS[i] is run with OPTIONS[i] (OPTIONS may be NULL, for defaults throughout). The .out of all
 * but the last and the .in of all but the first must be default. OUT_COMMANDS[i] are ordinary
 * commands; or none is started, and none runs on: then the error of the first that failed.
 * brood_pipeline_wait() waits for all of them and serves all their streams: 0, -ETIMEDOUT, or an
 * error as brood_command_wait(). OUTCOMES is NULL or has room for COUNT.
 * A command that ends early leaves the one before it without reader, which ends by SIGPIPE as in a
 * shell. No timeout of one bounds the others: give the same to each.
 */
BROOD_API BROOD_MUST_CHECK int brood_pipeline_start(brood_command **out_commands, unsigned count,
                                                    const char *const *const *argvs,
                                                    const brood_command_options *options);
BROOD_API BROOD_MUST_CHECK int brood_pipeline_wait(brood_command **commands, unsigned count,
                                                   int64_t timeout_ms, brood_outcome *outcomes);

BROOD_END_DECLS

#endif
