/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What glue.c does for the KUnit tests: the calls that the bindings lack.
 */

#ifndef _LUO_KUNIT_GLUE_H
#define _LUO_KUNIT_GLUE_H

#include <linux/types.h>

struct file;

/* A page of a file, and what is said of its folio. */
struct luo_kunit_page {
	phys_addr_t phys;
	unsigned int order;
	bool uptodate;
	bool dirty;
	bool pinned;
};

int luo_kunit_preserved_order(phys_addr_t phys);
u64 luo_kunit_preserved_pages(void);
bool luo_kunit_published(const char *name, u64 *phys, u64 *size);
phys_addr_t luo_kunit_hand_over(unsigned int order);
void luo_kunit_split(phys_addr_t phys, unsigned int order);
bool luo_kunit_page(struct file *file, pgoff_t index, struct luo_kunit_page *to);
void luo_kunit_huge_pages(struct file *file, bool allow);
unsigned long luo_kunit_user_page(bool writable);
bool luo_kunit_user_write(unsigned long addr, void *data, int len);
void luo_kunit_be_mortal(void);
u64 luo_kunit_log_end(void);
size_t luo_kunit_log_line(u64 *seq, char *line, size_t size);
unsigned long luo_kunit_free_pages(void);

#endif /* _LUO_KUNIT_GLUE_H */
