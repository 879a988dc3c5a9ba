/* SPDX-License-Identifier: MIT */
/*
 * Who takes part and who of them is dead: tags that never come to life again, slots that come back,
 * and sleepers that hear of everything, however a participant went: processes, threads, other
 * programs, other PID namespaces, forked and spawned children.
 *
 * That it holds at every instruction is the matter of test_roster_kill.c.
 */
#include "ipc/roster_bed.h"

#include <brood/base.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>

enum { SLOTS = 8 };

/* ---- tags and slots ---- */

TEST(a_tag_is_alive_from_join_to_leave)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me = bed_join(&bed);

    CHECK(me != 0);
    CHECK_EQ(me >> TAG_BITS, 0);
    CHECK(brood__roster_alive(bed.roster, me));
    brood__roster_leave(bed.roster, me);
    CHECK(!brood__roster_alive(bed.roster, me));
    CHECK_EQ(brood__roster_deaths(bed.roster), 0);
    bed_close(&bed);
}

TEST(joins_take_the_slots_in_turn)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag first = bed_join(&bed);
    roster_tag tag = first;

    for (unsigned i = 1; i < SLOTS; i++) {
        brood__roster_leave(bed.roster, tag);
        tag = bed_join(&bed);
        CHECK((tag & 0xfff) != (first & 0xfff));
    }
    brood__roster_leave(bed.roster, tag);
    tag = bed_join(&bed);
    CHECK_EQ(tag & 0xfff, first & 0xfff);
    CHECK(tag != first);
    brood__roster_leave(bed.roster, tag);
    bed_close(&bed);
}

TEST(a_tag_comes_round_after_65536_joins_of_its_slot)
{
    struct bed bed = bed_open(1);
    roster_tag first = bed_join(&bed);

    brood__roster_leave(bed.roster, first);
    for (unsigned i = 1; i < 65536; i++) {
        roster_tag tag = bed_join(&bed);

        CHECK(tag != first && !brood__roster_alive(bed.roster, first));
        brood__roster_leave(bed.roster, tag);
    }
    CHECK_EQ(bed_join(&bed), first);
    CHECK(brood__roster_alive(bed.roster, first));
    brood__roster_leave(bed.roster, first);
    bed_close(&bed);
}

TEST(a_killed_participant_is_dead_at_once_and_counts_once)
{
    struct bed bed = bed_open(SLOTS);
    unsigned player = bed_player(&bed);

    CHECK(brood__roster_alive(bed.roster, bed_tag(&bed, player)));
    bed_kill(&bed, player);
    CHECK(!brood__roster_alive(bed.roster, bed_tag(&bed, player)));
    for (int i = 0; i < 3; i++) {
        brood__roster_look(bed.roster);
        CHECK_EQ(brood__roster_deaths(bed.roster), 1);
    }
    bed_close(&bed);
}

TEST(a_full_roster_says_so_and_has_room_again_after_a_death)
{
    struct bed bed = bed_open(3);
    unsigned players[3];
    roster_tag tag = 0;

    for (unsigned i = 0; i < 3; i++)
        players[i] = bed_player(&bed);
    CHECK_ERR(brood__roster_join(bed.roster, &tag), -EAGAIN);
    CHECK_EQ(tag, 0);
    bed_kill(&bed, players[1]);
    tag = bed_join(&bed);
    CHECK_EQ(brood__roster_deaths(bed.roster), 1);
    CHECK(!brood__roster_alive(bed.roster, bed_tag(&bed, players[1])));
    CHECK(brood__roster_alive(bed.roster, bed_tag(&bed, players[0])));
    CHECK_ERR(brood__roster_join(bed.roster, &(roster_tag){0}), -EAGAIN);
    brood__roster_leave(bed.roster, tag);
    bed_close(&bed);
}

TEST(all_slots_of_the_dead_come_back)
{
    struct bed bed = bed_open(4);

    for (int round = 0; round < 3; round++) {
        bed.players = 0;
        for (unsigned i = 0; i < 4; i++)
            (void)bed_start(&bed, bed_wait_for_ever);
        for (unsigned i = 0; i < 4; i++)
            bed_kill(&bed, i);
        gate_free(bed.joined);
        bed.joined = gate_new();
    }
    brood__roster_look(bed.roster);
    CHECK_EQ(brood__roster_deaths(bed.roster), 12);
    bed_close(&bed);
}

TEST(who_it_was_can_be_asked_until_the_slot_is_taken)
{
    struct bed bed = bed_open(1);
    unsigned player = bed_player(&bed);
    pid_t pid = bed.pids[player];
    roster_tag tag = bed_tag(&bed, player), next;
    int found = 0, tid = 0;

    CHECK(brood__roster_who(bed.roster, tag, &found, &tid));
    CHECK_EQ(found, pid);
    CHECK_EQ(tid, pid);
    bed_kill(&bed, player);
    CHECK(brood__roster_who(bed.roster, tag, &found, &tid));
    brood__roster_look(bed.roster);
    CHECK(brood__roster_who(bed.roster, tag, &found, &tid));
    CHECK_EQ(found, pid);
    next = bed_join(&bed);
    CHECK(!brood__roster_who(bed.roster, tag, &found, &tid));
    CHECK(brood__roster_who(bed.roster, next, &found, &tid));
    CHECK_EQ(found, getpid());
    brood__roster_leave(bed.roster, next);
    CHECK(!brood__roster_who(bed.roster, 0, &found, &tid));
    bed_close(&bed);
}

static void note_and_wait(struct bed *bed, roster_tag me)
{
    brood__roster_note(bed->roster, me, 77);
    gate_count(bed->joined);
    bed_wait_for_ever(bed, me);
}

TEST(a_note_outlives_its_writer_until_the_slot_is_taken)
{
    struct bed bed = bed_open(3);
    roster_tag tags[3];
    unsigned player = bed_start(&bed, note_and_wait);

    gate_wait_count(bed.joined, 2);
    CHECK(!brood__roster_dead_note(bed.roster, 77));
    bed_kill(&bed, player);
    CHECK(brood__roster_dead_note(bed.roster, 77));
    CHECK(!brood__roster_dead_note(bed.roster, 78));
    /* As long as there are other slots, that one is left alone. */
    tags[0] = bed_join(&bed);
    tags[1] = bed_join(&bed);
    CHECK(brood__roster_dead_note(bed.roster, 77));
    tags[2] = bed_join(&bed);
    CHECK(!brood__roster_dead_note(bed.roster, 77));
    for (unsigned i = 0; i < 3; i++)
        brood__roster_leave(bed.roster, tags[i]);
    bed_close(&bed);
}

TEST(a_note_of_one_who_left_is_no_dead_note)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me = bed_join(&bed);

    brood__roster_note(bed.roster, me, 5);
    brood__roster_leave(bed.roster, me);
    CHECK(!brood__roster_dead_note(bed.roster, 5));
    bed_close(&bed);
}

/* ---- damage ---- */

TEST(tags_that_were_never_given_are_dead)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me = bed_join(&bed);
    int pid, tid;

    for (int i = 0; i < 100000; i++) {
        roster_tag tag = (roster_tag)test_random();

        CHECK(tag == me || !brood__roster_alive(bed.roster, tag));
        CHECK(tag == me || !brood__roster_who(bed.roster, tag, &pid, &tid));
    }
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

static void fill_at_random(void *memory, size_t len)
{
    for (size_t i = 0; i + sizeof(uint64_t) <= len; i += sizeof(uint64_t)) {
        uint64_t value = test_random();

        memcpy((char *)memory + i, &value, sizeof value);
    }
}

/* With the copy that is kept of it. */
static void write_slots(struct roster *roster, uint32_t slots)
{
    uint32_t words[2] = {slots, ~slots};

    memcpy(roster, words, sizeof words);
}

TEST(a_damaged_roster_is_looked_at_without_a_crash)
{
    struct bed bed = bed_open(ROSTER_SLOTS_MAX);
    size_t len = brood__roster_len(ROSTER_SLOTS_MAX);
    int pid, tid;

    for (int round = 0; round < 20; round++) {
        uint32_t slots = (uint32_t)test_random_below(2 * ROSTER_SLOTS_MAX);

        fill_at_random(bed.roster, len);
        write_slots(bed.roster, slots);
        CHECK(brood__roster_check(bed.roster, len) <= ROSTER_SLOTS_MAX);
        for (int i = 0; i < 1000; i++) {
            roster_tag tag = (roster_tag)test_random();

            (void)brood__roster_alive(bed.roster, tag);
            (void)brood__roster_who(bed.roster, tag, &pid, &tid);
        }
        (void)brood__roster_dead_note(bed.roster, test_random());
        (void)brood__roster_deaths(bed.roster);
        brood__roster_look(bed.roster);
    }
    bed_close(&bed);
}

TEST(memory_too_short_for_its_slots_is_no_roster)
{
    struct bed bed = bed_open(SLOTS);
    uint32_t slots = ROSTER_SLOTS_MAX + 1;

    CHECK_EQ(brood__roster_check(bed.roster, brood__roster_len(SLOTS) - 1), 0);
    CHECK_EQ(brood__roster_check(bed.roster, 8), 0);
    write_slots(bed.roster, slots);
    CHECK_EQ(brood__roster_check(bed.roster, SIZE_MAX / 2), 0);
    CHECK_ERR(brood__roster_join(bed.roster, &(roster_tag){0}), BROOD_EABI);
    slots = 0;
    write_slots(bed.roster, slots);
    CHECK_EQ(brood__roster_check(bed.roster, SIZE_MAX / 2), 0);
    bed_close(&bed);
}

/* As much memory as the roster needs, and none behind it. */
static struct roster *roster_before_a_wall(unsigned slots, char **out_memory, size_t *out_len)
{
    size_t len = (brood__roster_len(slots) + 4095) & ~(size_t)4095;
    char *memory =
        mmap(NULL, len + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct roster *roster = (void *)(memory + len - brood__roster_len(slots));

    CHECK(memory != MAP_FAILED);
    CHECK_OK(mprotect(memory + len, 4096, PROT_NONE));
    brood__roster_init(roster, slots);
    *out_memory = memory;
    *out_len = len + 4096;
    return roster;
}

TEST(a_number_of_slots_that_has_grown_lets_nobody_beyond_the_roster)
{
    char *memory;
    size_t len;
    struct roster *roster = roster_before_a_wall(SLOTS, &memory, &len);
    uint32_t grown = ROSTER_SLOTS_MAX;
    roster_tag tags[SLOTS], tag;

    for (unsigned i = 0; i < SLOTS; i++)
        CHECK_OK(brood__roster_join(roster, &tags[i]));
    memcpy(roster, &grown, sizeof grown);
    CHECK_ERR(brood__roster_join(roster, &tag), BROOD_EABI);
    CHECK_EQ(brood__roster_check(roster, SIZE_MAX / 2), 0);
    brood__roster_look(roster);
    CHECK(!brood__roster_dead_note(roster, 1));
    grown = SLOTS;
    memcpy(roster, &grown, sizeof grown);
    for (unsigned i = 0; i < SLOTS; i++)
        brood__roster_leave(roster, tags[i]);
    CHECK_OK(munmap(memory, len));
}

/* ---- ways to live and to go ---- */

static void *wait_and_exit(void *context)
{
    const struct bed *bed = context;

    gate_wait_count(bed->joined, 2);
    _exit(0);
}

static void end_first_thread(struct bed *bed, roster_tag me)
{
    pthread_t thread;

    (void)me;
    CHECK_EQ(pthread_create(&thread, NULL, wait_and_exit, bed), 0);
    pthread_exit(NULL);
}

TEST(a_first_thread_that_ends_is_a_death_while_its_process_lives)
{
    struct bed bed = bed_open(SLOTS);
    unsigned player = bed_start(&bed, end_first_thread);

    while (brood__roster_alive(bed.roster, bed_tag(&bed, player)))
        (void)sched_yield();
    CHECK_EQ(kill(bed.pids[player], 0), 0);
    gate_count(bed.joined);
    CHECK_EQ(bed_reap(&bed, player), 0);
    brood__roster_look(bed.roster);
    CHECK_EQ(brood__roster_deaths(bed.roster), 1);
    bed_close(&bed);
}

TEST(a_participant_that_spawns_or_forks_is_as_alive_as_before)
{
    struct bed bed = bed_open(SLOTS);
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    roster_tag me = bed_join(&bed);
    int status;
    pid_t pid;

    for (int i = 0; i < 3; i++) {
        CHECK_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, NULL), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        pid = CHECK_OK(fork());
        if (pid == 0)
            _exit(0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(brood__roster_alive(bed.roster, me));
    }
    brood__roster_look(bed.roster);
    CHECK_EQ(brood__roster_deaths(bed.roster), 0);
    CHECK(brood__roster_alive(bed.roster, me));
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

static void become_another(struct bed *bed, roster_tag me)
{
    (void)bed;
    (void)me;
    (void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
}

TEST(a_participant_that_becomes_another_program_is_dead)
{
    struct bed bed = bed_open(SLOTS);
    unsigned sleeper, player;

    bed.bury_dead = true;
    sleeper = bed_sleeper(&bed);
    player = bed_start(&bed, become_another);
    bed_await_end(&bed, sleeper, "an exec was slept over");
    CHECK_EQ(kill(bed.pids[player], 0), 0);
    CHECK(!brood__roster_alive(bed.roster, bed_tag(&bed, player)));
    bed_close(&bed);
}

/* The parent and the child of a fork are two participants, and neither's end harms the other's
 * locks: one libc leaves the parent's list of robust locks in the child. */
static void fork_and_join(struct bed *bed, roster_tag me)
{
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0) {
        roster_tag own;

        brood__roster_forked();
        own = bed_join(bed);
        CHECK(own != me);
        CHECK(brood__roster_alive(bed->roster, me));
        brood__roster_leave(bed->roster, own);
        (void)bed_join(bed);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    brood__roster_leave(bed->roster, me);
    atomic_store(&bed->board->tags[1], bed_join(bed));
    gate_count(bed->joined);
    bed_wait_for_ever(bed, me);
}

TEST(a_forked_child_that_joins_leaves_the_locks_of_its_parent_alone)
{
    struct bed bed = bed_open(SLOTS);
    unsigned player = bed_start(&bed, fork_and_join);
    unsigned sleeper;

    gate_wait_count(bed.joined, 2);
    brood__roster_look(bed.roster);
    CHECK_EQ(brood__roster_deaths(bed.roster), 1); /* the child's second time */
    CHECK(brood__roster_alive(bed.roster, bed_tag(&bed, 1)));
    CHECK(!brood__roster_alive(bed.roster, bed_tag(&bed, player)));
    bed.bury_dead = true;
    bed.players = 2;
    gate_free(bed.joined);
    bed.joined = gate_new();
    for (unsigned i = 0; i < 2; i++)
        gate_count(bed.joined);
    sleeper = bed_sleeper(&bed);
    bed_kill(&bed, player);
    bed_await_end(&bed, sleeper, "the death of a forking participant was slept over");
    CHECK_EQ(brood__roster_deaths(bed.roster), 2);
    bed_close(&bed);
}

TEST(a_private_roster_that_was_forked_keeps_one_holder_only)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me = bed_join(&bed);
    int status;
    pid_t pid;

    CHECK_OK(munmap(bed.board, bed.len));
    CHECK(mmap(bed.board, bed.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
               -1, 0) == bed.board);
    brood__roster_init(bed.roster, SLOTS);
    me = bed_join(&bed);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        roster_tag second;

        brood__roster_forked();
        brood__roster_inherit(bed.roster, me);
        CHECK(brood__roster_alive(bed.roster, me));
        second = bed_join(&bed);
        CHECK(second != me);
        brood__roster_leave(bed.roster, me);
        CHECK(!brood__roster_alive(bed.roster, me));
        brood__roster_inherit(bed.roster, 0);
        CHECK(!brood__roster_alive(bed.roster, second));
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(brood__roster_alive(bed.roster, me));
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

/* ---- other programs, other namespaces ---- */

struct foreign {
    struct bed bed;
    int fd;
    pid_t pid;
    roster_tag tag;
};

/* Another program, with the memory as a descriptor. It has joined when this returns. */
static void foreign_open(struct foreign *foreign, const char *what)
{
    char fd[16], offset[16];
    size_t len = bed_len(SLOTS);
    void *memory;

    foreign->fd = CHECK_OK(brood__memory_object("test", len));
    CHECK_OK(brood__memory_map(&memory, foreign->fd, 0, len));
    foreign->bed = bed_over(memory, SLOTS);
    (void)snprintf(fd, sizeof fd, "%d", foreign->fd);
    (void)snprintf(offset, sizeof offset, "%d", BED_ROSTER_AT);
    foreign->pid = CHECK_OK(fork());
    if (foreign->pid == 0) {
        CHECK_OK(brood__fd_inherit(foreign->fd, true));
        (void)execl(test_program("participant"), "participant", fd, offset, what, (char *)NULL);
        _exit(127);
    }
    while ((foreign->tag = atomic_load(&foreign->bed.board->word)) == 0)
        (void)brood__futex_wait((const void *)(uintptr_t)&foreign->bed.board->word, 0,
                                deadline_in(10));
}

static void foreign_close(struct foreign *foreign)
{
    int status;

    CHECK_EQ(waitpid(foreign->pid, &status, 0), foreign->pid);
    bed_close(&foreign->bed);
    brood__fd_close(foreign->fd);
}

TEST(another_program_takes_part_and_its_death_is_heard_of)
{
    struct foreign foreign;
    roster_tag me;
    uint32_t moment;

    foreign_open(&foreign, "stay");
    CHECK(brood__roster_alive(foreign.bed.roster, foreign.tag));
    me = bed_join(&foreign.bed);
    CHECK_OK(kill(foreign.pid, SIGKILL));
    do {
        moment = brood__roster_moment(foreign.bed.roster);
        if (brood__roster_deaths(foreign.bed.roster) == 0)
            CHECK_OK(brood__roster_sleep(foreign.bed.roster, me, &foreign.bed.board->word,
                                         foreign.tag, moment, deadline_in(TEST_PATIENCE_MS)));
    } while (brood__roster_deaths(foreign.bed.roster) == 0);
    CHECK(!brood__roster_alive(foreign.bed.roster, foreign.tag));
    brood__roster_leave(foreign.bed.roster, me);
    foreign_close(&foreign);
}

static void check_foreign_end(const char *what, uint32_t deaths)
{
    struct foreign foreign;

    foreign_open(&foreign, what);
    while (brood__roster_alive(foreign.bed.roster, foreign.tag))
        (void)sched_yield();
    bed_await_end_of(foreign.pid, "it does not end");
    brood__roster_look(foreign.bed.roster);
    CHECK_EQ(brood__roster_deaths(foreign.bed.roster), deaths);
    foreign_close(&foreign);
}

TEST(another_program_that_leaves_is_no_death)
{
    check_foreign_end("leave", 0);
}

TEST(another_program_that_returns_or_execs_without_leaving_is_a_death)
{
    check_foreign_end("return", 1);
    check_foreign_end("exec", 1);
}

static bool unshare_pids(void)
{
    return unshare(CLONE_NEWPID) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0;
}

/* Its children are in a namespace of their own, and have low numbers there. */
static void live_elsewhere(struct bed *bed, roster_tag me)
{
    int status;
    pid_t pid;

    brood__roster_leave(bed->roster, me);
    if (!unshare_pids())
        _exit(77);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        atomic_store(&bed->board->tags[0], bed_join(bed));
        gate_count(bed->joined);
        gate_wait_count(bed->joined, 3);
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
}

TEST(a_participant_of_another_pid_namespace_is_seen_to_live_and_to_die)
{
    struct bed bed = bed_open(SLOTS);
    unsigned player = bed_start(&bed, live_elsewhere);
    int pid, tid;
    roster_tag me;

    while (gate_counted(bed.joined) < 2) {
        int status;

        if (waitpid(bed.pids[player], &status, WNOHANG) > 0) {
            bed.pids[player] = 0;
            bed_close(&bed);
            SKIP("no PID namespaces for this user");
        }
    }
    me = bed_join(&bed);
    brood__roster_look(bed.roster);
    CHECK(brood__roster_alive(bed.roster, bed_tag(&bed, 0)));
    CHECK(brood__roster_who(bed.roster, bed_tag(&bed, 0), &pid, &tid));
    CHECK_EQ(pid, 1);
    gate_count(bed.joined);
    while (brood__roster_deaths(bed.roster) == 0) {
        uint32_t moment = brood__roster_moment(bed.roster);

        if (brood__roster_deaths(bed.roster) == 0)
            CHECK_OK(brood__roster_sleep(bed.roster, me, &bed.board->word, 0, moment,
                                         deadline_in(TEST_PATIENCE_MS)));
    }
    CHECK(!brood__roster_alive(bed.roster, bed_tag(&bed, 0)));
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

enum { ROBUST_SHARED_TYPE = 132 };

/* In its namespace it is process 1, and forks until the numbers have come to that one. */
static int compare_with_number(uint32_t expected)
{
    for (;;) {
        int status;
        pid_t pid = CHECK_OK(fork());

        if (pid == 0)
            _exit(getpid() != ROBUST_SHARED_TYPE || brood__roster_abi() == expected ? 0 : 1);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (pid >= ROBUST_SHARED_TYPE)
            return status == 0 ? 0 : 1;
    }
}

/* One libc keeps the type of a mutex, 132 for ours, before its owner's thread id. */
TEST(a_thread_whose_number_is_the_type_of_a_mutex_finds_its_life_word)
{
    struct gate *told = gate_new();
    uint32_t *expected =
        mmap(NULL, sizeof *expected, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t outer = CHECK_OK(fork());
    int status;
    pid_t pid;

    CHECK(expected != MAP_FAILED);
    if (outer == 0) {
        *expected = brood__roster_abi();
        _exit(0);
    }
    CHECK_EQ(waitpid(outer, &status, 0), outer);
    outer = CHECK_OK(fork());
    if (outer == 0) {
        if (!unshare_pids())
            _exit(77);
        pid = CHECK_OK(fork());
        if (pid == 0)
            _exit(compare_with_number(*expected));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        _exit(status == 0 ? 0 : 1);
    }
    CHECK_EQ(waitpid(outer, &status, 0), outer);
    CHECK_OK(munmap(expected, sizeof *expected));
    gate_free(told);
    if (WEXITSTATUS(status) == 77)
        SKIP("no PID namespaces for this user");
    CHECK_EQ(status, 0);
}
