/* SPDX-License-Identifier: MIT */
/*
 * Objects for large messages: see ipc/loan.h.
 *
 * A new object for each message would spend most of its time on pages: the kernel finds, counts and
 * frees them one by one. Here the pages stay, mapped and warm, and a message costs two copies.
 *
 * What always holds
 *   - The object is sealed: nobody but us can write to it, make it shorter or give back pages of
 *     it, and we do so only through a mapping that was made before the seal. So a receiver who is
 *     our enemy cannot make us fault.
 *   - A receiver copies the message out and then closes the receipt; it does not map the object. So
 *     a sender who is its enemy can send it wrong bytes, as ever, and cannot make it fault.
 *   - We write only while nobody else has a receipt; so a message is never torn. What is written
 *     comes before what is read by the socket's lock in the kernel, and what is read before what is
 *     written next by that of the receipt's pipe.
 *
 * Receipts are counted by the kernel. They go with a receiver that is killed at any instruction,
 * and with messages that are never received, so the object always comes back; after a death of the
 * sender its objects are there as long as somebody has one. Nobody repairs anything.
 *
 * A forked child has copies of our end of the receipts and of the objects. They are useless there
 * and given back when the child first takes a loan, or frees the handle. If it was forked by one
 * thread while another sent, it may have a receipt, too, and keep it: that loan stays away. So one
 * in MISSES_PATIENCE takes in vain forgets a loan that is away, in turn; it is the receiver's then.
 *
 * The first large message of an end goes another way: most ends send none, or one, and keep no
 * memory for it.
 *
 * Who sends faster than the other side receives waits for a loan to come back, since that is sooner
 * there than a new object is made; but not long, and not again until one has come back: nobody may
 * be receiving at all.
 */
#include "ipc/loan.h"

#include "base/clock.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <assert.h>
#include <poll.h>
#include <string.h>

enum { ROOM_STEP_MIN = 64 * 1024, PATIENCE_NS = 2000000, MISSES_PATIENCE = 64 };

static void loans_unlock(struct loans *loans)
{
    brood__own_unlock(&loans->lock);
}

/* Locked. The state first: a fork beside us copies nothing that is closed already. */
static void forget(struct loans *loans, struct loan *loan)
{
    if (loan->state == LOAN_NONE)
        return;
    loan->state = LOAN_NONE;
    loans->room -= loan->room;
    brood__fd_close(loan->receipt);
    brood__fd_close(loan->watched);
    brood__fd_close(loan->object);
    if (loan->address != NULL)
        brood__memory_unmap(loan->address, loan->room);
}

void brood__loans_done(struct loans *loans)
{
    for (unsigned i = 0; i < LOANS_MAX; i++)
        forget(loans, &loans->all[i]);
}

/* What a forked child finds is its parent's. */
static void loans_lock(struct loans *loans)
{
    brood__own_lock(&loans->lock, NULL);
    if (loans->self == brood__self())
        return;
    brood__loans_done(loans);
    loans->self = brood__self();
    loans->room = 0;
    loans->asked = loans->in_vain = false;
}

/* ---- those that are away ---- */

static void come_back(struct loan *loan)
{
    const int watched = loan->watched;

    loan->watched = -1;
    loan->state = LOAN_HERE;
    brood__fd_close(watched);
}

/* Locked. */
static void look(struct loans *loans)
{
    struct pollfd looked[LOANS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < LOANS_MAX; i++)
        if (loans->all[i].state == LOAN_OUT)
            looked[count++] = (struct pollfd){.fd = loans->all[i].watched};
    if (count == 0 || brood__fd_wait(looked, count, 0) <= 0)
        return;
    for (unsigned i = 0, at = 0; i < LOANS_MAX; i++)
        if (loans->all[i].state == LOAN_OUT && (looked[at++].revents & POLLHUP) != 0) {
            come_back(&loans->all[i]);
            loans->in_vain = false;
        }
}

/* Of the loans that are away, how many went before LOAN. */
static unsigned count_before(const struct loans *loans, const struct loan *loan)
{
    unsigned count = 0;

    for (unsigned i = 0; i < LOANS_MAX; i++)
        count += loans->all[i].state == LOAN_OUT && loans->all[i].number < loan->number;
    return count;
}

/* The one in the middle of those that are away: when it comes back, the older half is back, too,
 * and we need not sleep for each. NULL: none is away. */
static struct loan *find_middle(struct loans *loans)
{
    const struct loan last = {.number = UINT64_MAX};
    const unsigned count = count_before(loans, &last);

    for (unsigned i = 0; i < LOANS_MAX; i++)
        if (loans->all[i].state == LOAN_OUT &&
            count_before(loans, &loans->all[i]) == (count - 1) / 2)
            return &loans->all[i];
    return NULL;
}

/* Locked, and unlocked meanwhile: what is closed by then wakes us too early or too late. */
static void wait_for_some(struct loans *loans, size_t len, int64_t deadline)
{
    struct loan *loan = find_middle(loans);
    int64_t until = now_ns() + PATIENCE_NS + (int64_t)len;
    struct pollfd looked = {.fd = -1};
    uint64_t number;

    if (loan == NULL)
        return;
    looked.fd = loan->watched;
    number = loan->number;
    loans->in_vain = true; /* unless look() sees one */
    loans_unlock(loans);
    (void)brood__fd_wait(&looked, 1, until < deadline ? until : deadline);
    loans_lock(loans);
    look(loans);
    /* Others have come back before it: it would be in the middle for ever. */
    if (!loans->in_vain && loan->state == LOAN_OUT && loan->number == number && until < deadline)
        forget(loans, loan);
}

/* ---- choosing ---- */

/* The smallest that is here and has LEN bytes, or NULL. Locked, as the following. */
static struct loan *find_here(struct loans *loans, size_t len)
{
    struct loan *best = NULL;

    for (unsigned i = 0; i < LOANS_MAX; i++) {
        struct loan *loan = &loans->all[i];

        if (loan->state == LOAN_HERE && loan->room >= len &&
            (best == NULL || loan->room < best->room))
            best = loan;
    }
    return best;
}

static struct loan *find_state(struct loans *loans, enum loan_state state)
{
    for (unsigned i = 0; i < LOANS_MAX; i++)
        if (loans->all[i].state == state)
            return &loans->all[i];
    return NULL;
}

/* So large that messages of about the same length fit, too: a quarter more at most. */
static size_t room_for(size_t len)
{
    size_t step = ROOM_STEP_MIN;

    while (step < len / 8)
        step *= 2;
    return (len + step - 1) & ~(step - 1);
}

/* Whether those that are not here leave room for ROOM bytes more. */
static bool has_room(const struct loans *loans, size_t room)
{
    uint64_t sum = room;
    unsigned count = 0;

    for (unsigned i = 0; i < LOANS_MAX; i++)
        if (loans->all[i].state == LOAN_OUT || loans->all[i].state == LOAN_FILLED) {
            sum += loans->all[i].room;
            count++;
        }
    return sum <= LOANS_LEN_MAX || count < 2;
}

/* A place for a new one of ROOM bytes. What is here is too small, and may go for it. */
static struct loan *find_place(struct loans *loans, size_t room)
{
    struct loan *place = find_state(loans, LOAN_NONE);
    struct loan *small = find_state(loans, LOAN_HERE);

    if (!has_room(loans, room))
        return NULL;
    while (small != NULL && (place == NULL || loans->room + room > LOANS_LEN_MAX)) {
        forget(loans, small);
        place = small;
        small = find_state(loans, LOAN_HERE);
    }
    return place;
}

static struct loan *find(struct loans *loans, size_t len)
{
    struct loan *loan = find_here(loans, len);

    if (loan == NULL) {
        look(loans);
        loan = find_here(loans, len);
    }
    return loan != NULL ? loan : find_place(loans, room_for(len));
}

/* One that is away too long is not waited for any more. */
static void miss(struct loans *loans)
{
    struct loan *loan = &loans->all[loans->misses / MISSES_PATIENCE % LOANS_MAX];

    if (loans->misses++ % MISSES_PATIENCE == MISSES_PATIENCE - 1 && loan->state == LOAN_OUT)
        forget(loans, loan);
}

/* ---- taking ---- */

/* Locked. Makes it ours, and the memory's accounts right, before any of it is made. */
static void reserve(struct loans *loans, struct loan *loan, size_t len)
{
    if (loan->state == LOAN_NONE) {
        loan->object = loan->watched = loan->receipt = -1;
        loan->address = NULL;
        loan->room = room_for(len);
        loans->room += loan->room;
    }
    loan->state = LOAN_FILLED;
}

static int make_object(struct loan *loan)
{
    int r;

    loan->object = brood__memory_object_open("brood-loan", loan->room);
    if (loan->object < 0)
        return loan->object;
    r = brood__memory_commit(loan->object, 0, loan->room);
    if (r == 0)
        r = brood__memory_map(&loan->address, loan->object, 0, loan->room);
    return r < 0 ? r : brood__memory_forbid(loan->object);
}

static int prepare(struct loan *loan)
{
    int ends[2];
    int r = loan->object < 0 ? make_object(loan) : 0;

    if (r < 0)
        return r;
    assert(loan->address != NULL);
    r = brood__receipt_new(ends);
    if (r < 0)
        return r;
    loan->watched = ends[0];
    loan->receipt = ends[1];
    return 0;
}

/* Locked. */
static struct loan *choose(struct loans *loans, size_t len, int64_t deadline)
{
    struct loan *loan;

    if (!loans->asked || len > LOAN_LEN_MAX) {
        loans->asked = true;
        return NULL;
    }
    loan = find(loans, len);
    if (loan == NULL && !loans->in_vain && deadline > 0) {
        wait_for_some(loans, len, deadline);
        loan = find(loans, len);
    }
    if (loan == NULL)
        miss(loans);
    else
        reserve(loans, loan, len);
    return loan;
}

struct loan *brood__loan_take(struct loans *loans, const void *data, size_t len, int64_t deadline)
{
    struct loan *loan;

    loans_lock(loans);
    loan = choose(loans, len, deadline);
    loans_unlock(loans);
    if (loan == NULL)
        return NULL;
    if (prepare(loan) < 0) {
        loans_lock(loans);
        forget(loans, loan);
        loans_unlock(loans);
        return NULL;
    }
    memcpy(loan->address, data, len);
    return loan;
}

/* Closes *FD, which is not there any more before that. */
static void drop(int *fd)
{
    const int old = *fd;

    *fd = -1;
    brood__fd_close(old);
}

void brood__loan_out(struct loans *loans, struct loan *loan)
{
    drop(&loan->receipt);
    loans_lock(loans);
    loan->number = ++loans->lent;
    loan->state = LOAN_OUT;
    loans_unlock(loans);
}

void brood__loan_back(struct loans *loans, struct loan *loan)
{
    drop(&loan->receipt);
    drop(&loan->watched);
    loans_lock(loans);
    loan->state = LOAN_HERE;
    loans_unlock(loans);
}
