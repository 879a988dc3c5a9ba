/* SPDX-License-Identifier: MIT */
/* Passes one fault point, and ends with 3 if the call failed. Started by a sweep. */
#include "sys/kernel.h"

int main(void)
{
    int fd = brood__fd_open("/dev/null", 0);

    brood__fd_close(fd);
    return fd < 0 ? 3 : 0;
}
