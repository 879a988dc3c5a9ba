/* SPDX-License-Identifier: MIT */
/* What came of it all: counting while it runs, the table at the end. */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "screen.h"
#include "traps.h"
#include "work.h"

#include <brood.h>

struct job {
    const char *path;        /* borrowed */
    const struct trap *trap; /* NULL: a file of the real tree */
    bool good;               /* it was done, and it is no trap */
};

/* Tasks that ended badly in the same way and for the same reason. */
struct incident {
    enum ending ending;
    unsigned count;
    char how[32];
    char where[96]; /* of the first */
    const char *story;
};

enum { INCIDENTS_MAX = 16 };

struct tally {
    size_t ended[ENDINGS];
    struct work sum; /* of the real files; digests are combined by exclusive or */
    struct incident incidents[INCIDENTS_MAX];
    unsigned incident_count;
    size_t surprises; /* tasks that did not end as they should */
    char surprise[256];
    int64_t wall_us;
};

/* One file done, and the work it took: for loops without a pool. */
void tally_work(struct tally *tally, const struct work *work);
/* One task ended. */
void tally_result(struct tally *tally, struct job *job, const brood_result *result);

void report_table(const struct screen *screen, const struct tally *tally);
void report_speed(const struct screen *screen, const char *label, const struct tally *tally,
                  size_t files, const struct tally *base);

#endif
