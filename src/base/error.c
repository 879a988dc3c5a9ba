/* SPDX-License-Identifier: MIT */
/* The texts of brood's own errors, and the version. */
#include <brood/base.h>

#include <errno.h>
#include <string.h>

const char *brood_strerror(int error)
{
    switch (error) {
#define ERROR_CASE(name, value, text)                                                              \
    case name:                                                                                     \
        return text;
        BROOD_ERRORS(ERROR_CASE)
#undef ERROR_CASE
    case -ETIMEDOUT: /* libc's text speaks of connections */
        return "timed out: the time to wait is over";
    case -EMSGSIZE: /* and here of long messages only */
        return "wrong size: the message does not fit, or is not of the size asked for";
    case -EDEADLK: /* and here of "resource deadlock" */
        return "this thread has it already, and would wait for itself";
    default:
        break;
    }
    if (error >= 0)
        return "success";
    return error > BROOD_ERROR_END ? strerror(-error) : "unknown error";
}

const char *brood_version(void)
{
    return BROOD_VERSION;
}

const char *brood_containment_name(int containment)
{
    switch (containment) {
    case BROOD_CONTAIN_CHILD:
        return "child";
    case BROOD_CONTAIN_GROUP:
        return "group";
    case BROOD_CONTAIN_NAMESPACE:
        return "namespace";
    default:
        return "none";
    }
}
