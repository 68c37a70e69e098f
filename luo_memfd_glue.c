// SPDX-License-Identifier: GPL-2.0
/*
 * What luo_memfd.rs cannot say itself: the boot parameter.
 */

#include <linux/init.h>
#include <linux/printk.h>
#include <linux/string.h>

#include "luo_memfd_glue.h"

static int __init luo_memfd_param(char *buf)
{
	bool runs = buf && !strcmp(buf, "runs");

	if (runs || (buf && !strcmp(buf, "v2")))
		luo_memfd_runs = runs;
	else
		pr_warn("luo_memfd: liveupdate.memfd=%s is unknown, the default is used\n",
			buf ?: "");

	return 0;
}
early_param("liveupdate.memfd", luo_memfd_param);
