// SPDX-License-Identifier: GPL-2.0
/*
 * What the Rust files of the Live Update Orchestrator cannot say themselves:
 * the boot parameters, initcalls of a chosen level, exported symbols, and the
 * bodies of tracepoints.
 */

#include <linux/export.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/liveupdate.h>

#include "luo_glue.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "luo_trace.h"

static int __init luo_param(char *buf)
{
	bool enable;
	int err;

	err = kstrtobool(buf, &enable);
	if (!err)
		luo_set_enabled(enable);

	return err;
}
early_param("liveupdate", luo_param);

static int __init luo_abi_param(char *buf)
{
	luo_set_abi(buf ?: "");

	return 0;
}
early_param("liveupdate.abi", luo_abi_param);

static int __init luo_damaged_param(char *buf)
{
	luo_set_damaged(buf ?: "");

	return 0;
}
early_param("liveupdate.damaged", luo_damaged_param);

early_initcall(luo_early_init);
late_initcall(luo_late_init);
late_initcall_sync(luo_report);

EXPORT_SYMBOL_GPL(liveupdate_enabled);
EXPORT_SYMBOL_GPL(liveupdate_register_file_handler);
EXPORT_SYMBOL_GPL(liveupdate_unregister_file_handler);
EXPORT_SYMBOL_GPL(liveupdate_register_flb);
EXPORT_SYMBOL_GPL(liveupdate_unregister_flb);
EXPORT_SYMBOL_GPL(liveupdate_flb_get_incoming);
EXPORT_SYMBOL_GPL(liveupdate_flb_put_incoming);
EXPORT_SYMBOL_GPL(liveupdate_flb_get_outgoing);
EXPORT_SYMBOL_GPL(liveupdate_flb_put_outgoing);
EXPORT_SYMBOL_GPL(liveupdate_get_file_incoming);
EXPORT_SYMBOL_GPL(liveupdate_get_token_outgoing);
