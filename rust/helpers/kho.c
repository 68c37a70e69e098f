// SPDX-License-Identifier: GPL-2.0

#include <linux/io.h>
#include <linux/mm.h>

__rust_helper phys_addr_t rust_helper_virt_to_phys(const void *virt)
{
	return virt_to_phys((void *)virt);
}

__rust_helper void *rust_helper_phys_to_virt(phys_addr_t phys)
{
	return phys_to_virt(phys);
}

__rust_helper struct page *rust_helper_virt_to_page(const void *virt)
{
	return virt_to_page(virt);
}

__rust_helper void *rust_helper_page_address(const struct page *page)
{
	return page_address(page);
}
