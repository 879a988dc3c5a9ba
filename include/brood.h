/* SPDX-License-Identifier: MIT */
/* brood.h - everything but <brood/easy.h>. */
#ifndef BROOD_H
#define BROOD_H

#include <brood/base.h>
#include <brood/command.h>
#include <brood/group.h>
#include <brood/pipe.h>
#include <brood/pipeline.h>
#include <brood/pool.h>
#include <brood/process.h>
#include <brood/queue.h>
#include <brood/region.h>
#include <brood/sync.h>
#include <brood/task.h>
#include <brood/wait.h>
#include <brood/words.h>

#endif
