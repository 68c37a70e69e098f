/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What luo_glue.c calls of the Live Update Orchestrator in Rust: c_api.rs, which
 * is checked against this.
 */

#ifndef _LUO_GLUE_H
#define _LUO_GLUE_H

#include <linux/types.h>

void luo_set_enabled(bool enable);
void luo_set_abi(const char *name);
void luo_set_damaged(const char *name);
int luo_early_init(void);
int luo_late_init(void);
int luo_report(void);

#endif /* _LUO_GLUE_H */
