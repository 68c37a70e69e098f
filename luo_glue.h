/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions that the Rust files of the Live Update Orchestrator and
 * luo_glue.c call of each other.
 */

#ifndef _LUO_GLUE_H
#define _LUO_GLUE_H

#include <linux/siphash.h>
#include <linux/types.h>

struct module;

/* In Rust: c_api.rs */
void luo_set_enabled(bool enable);
void luo_set_abi(const char *name);
void luo_set_damaged(const char *name);
int luo_early_init(void);
int luo_late_init(void);
int luo_report(void);

/* In C: luo_glue.c */
phys_addr_t luo_virt_to_phys(const void *virt);
void *luo_phys_to_virt(phys_addr_t phys);
void *luo_alloc_row(unsigned int order);
int luo_preserve_page(void *page);
int luo_get_user(u32 *to, const u32 __user *from);
u32 luo_hsiphash(const void *data, size_t len, const hsiphash_key_t *key);
bool luo_module_get(struct module *module);
void luo_module_put(struct module *module);
bool luo_image_for_kho(void);

#endif /* _LUO_GLUE_H */
