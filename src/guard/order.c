/* SPDX-License-Identifier: MIT */
/*
 * Reading the order: nothing in it is believed before it was looked at here.
 *
 * After order_read() every part lies inside the packet, every string has its NUL, every number is
 * in the range that the wire's header gives, and no two descriptors have one destination. What
 * the kernel itself refuses (a limit, a user, a descriptor that is not open) is left to it.
 *
 * A death leaves nothing.
 */
#include "guard/order.h"

#include "guard/calls.h"

#include <brood/base.h>

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

enum { SIGNAL_MAX = 64 };

static _Alignas(struct guard_order) unsigned char packet[GUARD_ORDER_LEN_MAX];

static bool is_fd(int32_t fd)
{
    return fd > GUARD_CONTROL_FD && fd <= GUARD_FD_NUMBER_MAX;
}

static bool head_is_right(const struct guard_order *head, uint32_t len)
{
    uint64_t reserved = head->reserved_word;

    for (unsigned i = 0; i < sizeof head->reserved / sizeof head->reserved[0]; i++)
        reserved |= head->reserved[i];
    return head->version == GUARD_VERSION && head->len == len && reserved == 0 &&
           (head->flags & ~(uint64_t)GUARD_FLAGS) == 0;
}

static bool numbers_are_right(const struct guard_order *head)
{
    return head->containment >= BROOD_CONTAIN_CHILD &&
           head->containment <= BROOD_CONTAIN_NAMESPACE && head->umask <= 0777 &&
           head->nice >= -20 && head->nice <= 19 && head->stop_signal >= 0 &&
           head->stop_signal <= SIGNAL_MAX && head->timeout_ms >= 0 && head->cpu_time_max_ms >= 0 &&
           (head->cgroup_fd == 0 || is_fd(head->cgroup_fd)) &&
           (head->caller_fd == 0 || is_fd(head->caller_fd)) &&
           (head->signals_default & head->signals_ignored) == 0;
}

static bool flags_fit(const struct guard_order *head)
{
    const uint64_t contradiction = GUARD_LEAVE_LEFTOVERS | GUARD_CONTAIN_OR_FAIL;
    bool session = (head->flags & GUARD_NEW_SESSION) != 0;

    if (head->containment == BROOD_CONTAIN_NAMESPACE &&
        (head->flags & contradiction) == contradiction)
        return false;
    /* A session has a group of its own, and a leader of a session cannot move to another. */
    return (session || (head->flags & GUARD_TERMINAL) == 0) &&
           (!session || (head->flags & GUARD_OWN_GROUP) == 0) &&
           ((head->flags & GUARD_SET_GROUPS) != 0 || head->group_count == 0);
}

static bool counts_are_right(const struct guard_order *head)
{
    if (head->candidate_count == 0 || head->candidate_count > GUARD_CANDIDATES_MAX ||
        head->limit_count > GUARD_LIMITS_MAX || head->fd_count > GUARD_FDS_MAX ||
        head->group_count > GUARD_GROUPS_MAX || head->strings_len > GUARD_ORDER_LEN_MAX)
        return false;
    return head->len == sizeof *head + head->limit_count * sizeof(struct guard_limit) +
                            head->fd_count * sizeof(struct guard_fd) +
                            head->group_count * sizeof(uint32_t) + head->strings_len;
}

static bool limits_are_right(const struct order *order)
{
    for (uint32_t i = 0; i < order->head->limit_count; i++) {
        if (order->limits[i].reserved != 0)
            return false;
    }
    return true;
}

static bool fds_are_right(const struct order *order)
{
    for (uint32_t i = 0; i < order->head->fd_count; i++) {
        if (!is_fd(order->fds[i].from) || order->fds[i].to < 0 ||
            order->fds[i].to > GUARD_FD_NUMBER_MAX)
            return false;
        for (uint32_t j = 0; j < i; j++) {
            if (order->fds[j].to == order->fds[i].to)
                return false;
        }
    }
    return true;
}

/* Cuts the strings into the working directory and the candidates, of which there are as many as
 * was said, and the last ends the packet. */
static bool strings_are_right(struct order *order, const char *strings)
{
    uint32_t len = order->head->strings_len, count = 0, cwd_len = 0;
    bool with_cwd = (order->head->flags & GUARD_SET_CWD) != 0;

    if (len == 0 || strings[len - 1] != '\0')
        return false;
    for (uint32_t i = 0; i < len; i++) {
        if (strings[i] == '\0' && count++ == 0)
            cwd_len = i + 1;
    }
    order->cwd = with_cwd ? strings : NULL;
    order->candidates = with_cwd ? strings + cwd_len : strings;
    return count == order->head->candidate_count + with_cwd;
}

static int dissect(struct order *order, uint32_t len)
{
    const struct guard_order *head = (const struct guard_order *)(const void *)packet;
    const char *strings;

    if (len < sizeof *head || !head_is_right(head, len) || !numbers_are_right(head) ||
        !flags_fit(head) || !counts_are_right(head))
        return -EINVAL;
    order->head = head;
    order->limits = (const struct guard_limit *)(const void *)(head + 1);
    order->fds = (const struct guard_fd *)(const void *)(order->limits + head->limit_count);
    order->groups = (const uint32_t *)(const void *)(order->fds + head->fd_count);
    strings = (const char *)(order->groups + head->group_count);
    if (!limits_are_right(order) || !fds_are_right(order) || !strings_are_right(order, strings))
        return -EINVAL;
    return 0;
}

int order_read(struct order *out)
{
    long r = CALL6(SYS_recvfrom, GUARD_CONTROL_FD, packet, sizeof packet, MSG_TRUNC, 0, 0);

    if (r < 0)
        return (int)r;
    if (r == 0)
        return -EPIPE;
    return r > (long)sizeof packet ? -EINVAL : dissect(out, (uint32_t)r);
}
