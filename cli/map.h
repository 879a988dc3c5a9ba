/* SPDX-License-Identifier: MIT */
/* The verbs. Each returns the exit status. */
#ifndef BROOD_CLI_MAP_H
#define BROOD_CLI_MAP_H

int verb_map(int argc, char **argv);
int verb_run(int argc, char **argv);

#endif
