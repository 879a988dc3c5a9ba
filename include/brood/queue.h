/* SPDX-License-Identifier: MIT */
/*
 * brood/queue.h - many to many messages between threads and processes, whole after any death.
 *
 *     brood_queue *queue = NULL;
 *     int r = brood_queue_new(&queue, &(brood_queue_options){.item_size = sizeof(struct reading)});
 *     ... start processes ...
 *     r = brood_queue_put(queue, &reading, sizeof reading, BROOD_FOREVER);      one side
 *     while ((r = brood_queue_get(queue, &reading, sizeof reading, BROOD_FOREVER)) == 1)
 *         ...                                                                   the other
 *     brood_queue_close(queue);                                                 and the end
 *
 * Messages are in shared memory when put returns: no thread has to be flushed, and the death of the
 * producer takes nothing away. A producer's messages come out in its order. A message is got by one
 * consumer; one that a consumer was still getting, or had taken and not done, when it died goes to
 * another (behind what others got meanwhile: the one exception to the order).
 *
 * Any participant may be killed at any instruction. A stopped one holds up nobody until the ring
 * comes round to the message that it is at; but a message for which it had just been woken may wait
 * for the next put, or 10 s. More than 64 messages being written at once hide what is behind them.
 *
 * Threads: any function from any thread, brood_queue_free() last; a message is done in the thread
 *          that took it, or another of its process.
 * Fork:    handles go on working in the child; a message stays with the process that took or
 *          reserved it. Other processes open it by ref.
 */
#ifndef BROOD_QUEUE_H
#define BROOD_QUEUE_H

#include <brood/base.h>
#include <brood/region.h>

BROOD_BEGIN_DECLS

typedef struct brood_queue brood_queue;

/* Zero, or a NULL pointer instead of the whole struct, means the default. */
typedef struct brood_queue_options {
    const char *name;          /* for people; default: "queue" */
    size_t item_size;          /* all messages have this size; default: any size */
    unsigned capacity;         /* messages, at most 2^20; default: 1024 */
    uint64_t memory_max;       /* bytes, for messages that do not fit in place (more than 240,
                                  or an item_size over 4080); default: 1 GiB, taken as needed */
    unsigned participants_max; /* threads that use it at once, at most 4094; default: 1022 */
    bool pack;                 /* put_many packs small items (up to 248 bytes); needs item_size */
    bool report_deaths;        /* a call that would wait returns BROOD_EPEER after a death */
    uint64_t reserved[4];      /* must be zero */
} brood_queue_options;

/* A message in shared memory: being written (reserve) or being read (take). All zero is none. */
typedef struct brood_message {
    void *data;
    size_t len;
    uint64_t reserved[4];
} brood_message;

/*
 * All that put, get, reserve and take may return, besides what they say:
 *   -ETIMEDOUT    it was full (empty) all the time; 0 tries, a negative timeout waits without end
 *   BROOD_ECLOSED brood_queue_close() was called (put, reserve, send)
 *   BROOD_EPEER   with report_deaths: a participant died since one of these was last told so
 *                 with this handle, and there is nothing to get (no room): the queue is whole,
 *                 call again to wait on
 *   -EINVAL, BROOD_EHANDLE; -EAGAIN: participants_max threads are using it; -ENOMEM
 *   BROOD_EABI    the shared memory holds what no queue could have written
 */

/* Returns 0 and sets *OUT_QUEUE; or -EINVAL (also: pack without item_size), -ENOMEM, -EFBIG,
 * -EMFILE, -ENFILE, -ENOSYS. */
BROOD_API BROOD_MUST_CHECK int brood_queue_new(brood_queue **out_queue,
                                               const brood_queue_options *options);
/* A queue of another process; as brood_region_open(). -EINVAL: REF names something else. */
BROOD_API BROOD_MUST_CHECK int brood_queue_open(brood_queue **out_queue, brood_ref ref);
/* All zero: it cannot be served. Holds as a brood_region_ref() does. */
BROOD_API brood_ref brood_queue_ref(const brood_queue *queue);

/* Copies LEN bytes into the queue. 0; or -EMSGSIZE: larger than the queue's memory, or not
 * item_size. */
BROOD_API BROOD_MUST_CHECK int brood_queue_put(brood_queue *queue, const void *data, size_t len,
                                               int64_t timeout_ms);
/* Copies a message of exactly LEN bytes out. 1 got one; 0: closed, and everything was got and done;
 * or -EMSGSIZE: the next message has another size, and stays: take it. */
BROOD_API BROOD_MUST_CHECK int brood_queue_get(brood_queue *queue, void *data, size_t len,
                                               int64_t timeout_ms);
/*
 * brood_queue_put_many(), brood_queue_get_many() - up to COUNT items of a queue with an item_size.
 *
 * They wait until one item can be put (got), and take as many more as can be without waiting. With
 * the option .pack several small items travel as one message, an order of magnitude faster: then
 * the queue may hold more items than its capacity, as many times more as brood_queue_pack() says,
 * and nothing can be taken or reserved in place.
 *
 * Return how many, from 1 on; get_many 0: closed, and everything was got; -EINVAL for a queue
 * without item_size, or COUNT 0.
 */
BROOD_API BROOD_MUST_CHECK int brood_queue_put_many(brood_queue *queue, const void *items,
                                                    unsigned count, int64_t timeout_ms);
BROOD_API BROOD_MUST_CHECK int brood_queue_get_many(brood_queue *queue, void *items, unsigned count,
                                                    int64_t timeout_ms);
BROOD_API int brood_queue_pack(const brood_queue *queue); /* 1: it packs nothing */

/*
 * In place. Reserve gives room for LEN bytes, written by you, then sent or dropped. Take gives a
 * message, read by you, then done: it is yours alone meanwhile, and goes to somebody else if you
 * die, or call brood_message_return(). Do not write to what you take: another may read it then.
 */
BROOD_API BROOD_MUST_CHECK int brood_queue_reserve(brood_queue *queue, size_t len,
                                                   int64_t timeout_ms, brood_message *out_message);
/* The message is in the queue, and zeroed here; its len may be made smaller before. 0; or
 * BROOD_ECLOSED, and it is dropped; -EOWNERDEAD: it is gone, as the thread that reserved it has
 * ended; -EMSGSIZE: its len was made larger, and it stays reserved; BROOD_EFORKED: the process that
 * this one was forked from has it. */
BROOD_API BROOD_MUST_CHECK int brood_queue_send(brood_queue *queue, brood_message *message);
/* 1 and fills *OUT_MESSAGE; 0: closed, and everything was got and done. */
BROOD_API BROOD_MUST_CHECK int brood_queue_take(brood_queue *queue, int64_t timeout_ms,
                                                brood_message *out_message);
/* Taken: it is done and gone. Reserved: it is dropped. Zeroes it; zeroed is fine. A forked child's
 * copy of a message of its parent is only zeroed. */
BROOD_API void brood_message_done(brood_message *message);
/* Taken: it is the queue's again, for anybody. Reserved: dropped. Zeroes it; zeroed is fine; a
 * copy as above. */
BROOD_API void brood_message_return(brood_message *message);

/* Wakes everybody, in all processes: nothing more can be put, getters get what is left and then 0.
 * A getter waits for messages that others have taken and not done, which may come back, or are
 * still writing. */
BROOD_API void brood_queue_close(brood_queue *queue);
/* Waits until every message put so far is got and done, or its process dead and the message done
 * by another. 0, -ETIMEDOUT or BROOD_EPEER: with report_deaths, a participant died since a join was
 * last told so with this handle; the calls above are told of it, too. */
BROOD_API BROOD_MUST_CHECK int brood_queue_join(brood_queue *queue, int64_t timeout_ms);
/* Messages in it that nobody has taken, for the moment. One that was taken by a thread that died
 * counts again when somebody has looked for a message. */
BROOD_API int brood_queue_size(const brood_queue *queue);
/* How many participants died so far without leaving: by a signal, or _exit(). A thread that still
 * runs when its process calls exit() is none of them. */
BROOD_API int brood_queue_deaths(const brood_queue *queue);
/* A descriptor of this process that polls readable when get would not wait: there is a message, or
 * the end, or with report_deaths the news of a death. Made when first asked for, with a thread that
 * watches the queue. Level-triggered, and at times readable for what another process got first.
 * Borrowed; do not read or close it. Or -EMFILE, -ENFILE, -ENOMEM, -EAGAIN (no thread, or no place
 * among the participants), BROOD_EHANDLE. */
BROOD_API int brood_queue_fd(brood_queue *queue);
/* This process's handle. Messages taken or reserved through it can no longer be done: those of this
 * thread go back with the last handle on the queue, others when their threads end. NULL is
 * allowed. */
BROOD_API void brood_queue_free(brood_queue *queue);

BROOD_END_DECLS

#endif
