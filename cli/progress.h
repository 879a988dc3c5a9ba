/* SPDX-License-Identifier: MIT */
/* --progress, --bar, --eta: how far it is, on stderr. */
#ifndef BROOD_CLI_PROGRESS_H
#define BROOD_CLI_PROGRESS_H

#include "job.h"

struct progress {
    bool on, bar, eta, terminal, shown;
    size_t total, ended, failed;
    int64_t began_us, last_us;
};

void progress_begin(struct progress *progress, const struct options *options, size_t total);
bool progress_is_on(const struct progress *progress);
void progress_ended(struct progress *progress, const struct job *job, size_t running);
void progress_show(struct progress *progress, size_t running);
void progress_end(struct progress *progress);

#endif
