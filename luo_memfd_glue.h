/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What luo_memfd_glue.c writes for luo_memfd.rs to read.
 */

#ifndef _LUO_MEMFD_GLUE_H
#define _LUO_MEMFD_GLUE_H

#include <linux/types.h>

/* Whether memfds are handed over in runs. */
extern bool luo_memfd_runs;

#endif /* _LUO_MEMFD_GLUE_H */
