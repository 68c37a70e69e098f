// SPDX-License-Identifier: GPL-2.0
/*
 * What the Rust files of the Live Update Orchestrator cannot say themselves:
 * the boot parameters, initcalls of a chosen level, exported symbols, and calls
 * of macros and inline functions.
 */

#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/kstrtox.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/siphash.h>
#include <linux/uaccess.h>

#include "luo_glue.h"

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

phys_addr_t luo_virt_to_phys(const void *virt)
{
	return virt_to_phys((void *)virt);
}

void *luo_phys_to_virt(phys_addr_t phys)
{
	return phys_to_virt(phys);
}

/* Pages that lie next to each other, each to be freed on its own. */
void *luo_alloc_row(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY |
					__GFP_NOWARN, order);

	if (!page)
		return NULL;
	split_page(page, order);

	return page_address(page);
}

int luo_preserve_page(void *page)
{
	return kho_preserve_pages(virt_to_page(page), 1);
}

int luo_get_user(u32 *to, const u32 __user *from)
{
	return get_user(*to, from);
}

u32 luo_hsiphash(const void *data, size_t len, const hsiphash_key_t *key)
{
	return hsiphash(data, len, key);
}

bool luo_module_get(struct module *module)
{
	return try_module_get(module);
}

void luo_module_put(struct module *module)
{
	module_put(module);
}

/* What kexec_load(2) loads has neither part, and no kexec hands over without both. */
bool luo_image_for_kho(void)
{
	return kexec_image && kexec_image->kho.fdt && kexec_image->kho.scratch &&
	       kexec_image->kho.scratch->bufsz;
}
