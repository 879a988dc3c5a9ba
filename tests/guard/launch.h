/* SPDX-License-Identifier: MIT */
/*
 * Starting a guard and talking to it, as the library does, but with every word in the test's hand.
 *
 *     struct launch launch;
 *
 *     launch_init(&launch, "exit", "3");           a verb of tests/programs/guarded.c
 *     launch.order.timeout_ms = 100;               whatever the test is about
 *     launch_start(&launch);
 *     launch_expect(&launch, GUARD_STARTED);
 *     launch_expect(&launch, GUARD_ENDED);         now in launch.event
 *     launch_done(&launch);
 */
#ifndef BROOD_TESTS_GUARD_LAUNCH_H
#define BROOD_TESTS_GUARD_LAUNCH_H

#include "run/guard_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { LAUNCH_FEW = 8 };

struct launch {
    struct guard_order order; /* counts and lengths are filled in from what follows */
    const char *paths[LAUNCH_FEW];
    const char *cwd;
    struct guard_limit limits[LAUNCH_FEW];
    struct guard_fd fds[LAUNCH_FEW];
    int give[LAUNCH_FEW]; /* what stands at fds[i].from when the guard starts */
    int give_cgroup;      /* -1, or what stands at order.cgroup_fd */
    int give_caller;
    uint32_t groups[LAUNCH_FEW];
    const char *argv[LAUNCH_FEW];
    const char *environment[LAUNCH_FEW];
    const char *guard_path; /* a file with its bytes; NULL: made for each start */
    int input;              /* the command's; -1: nothing */
    pid_t guard;
    int control;
    int output; /* what the command writes */
    struct guard_event event;
};

/* A copy of the guard as a file of this test, where there is no /proc to execute it by. */
const char *launch_guard_file(void);
/* Moves a descriptor out of the way of those that the guard gets: for .give and .input. */
int launch_lift(int fd);
/* A program of guarded.c with up to two arguments, each may be NULL. */
void launch_init(struct launch *launch, const char *verb, const char *argument);
void launch_start(struct launch *launch);
/* The same with PACKET in place of the order. */
void launch_start_raw(struct launch *launch, const void *packet, size_t len);
/* The next event into launch->event; false: the guard is gone. */
bool launch_hear(struct launch *launch);
void launch_expect(struct launch *launch, enum guard_event_kind kind);
/* Started, and has written that it is ready. */
void launch_await_ready(struct launch *launch);
void launch_ask(const struct launch *launch, enum guard_request_kind kind, int signal,
                enum guard_whom whom);
/* All that is written until nobody holds the other end any more. */
void launch_read_all(struct launch *launch, char *text, size_t size);
/* That nobody is left who holds the command's output. */
void launch_expect_silence(struct launch *launch);
/* The guard must have ended by itself, with 0. */
void launch_done(struct launch *launch);

#endif
