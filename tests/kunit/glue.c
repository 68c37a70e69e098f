// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the KUnit tests: what KHO has noted for the next kernel, memory
 * of the previous kernel, of files and of userspace, threads that can be killed,
 * and the kernel log.
 */

#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/kho_radix_tree.h>
#include <linux/kmsg_dump.h>
#include <linux/libfdt.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/shmem_fs.h>
#include <linux/signal.h>

#include <page_alloc.h>

#include "glue.h"

/* The tree that the next kernel will get, which debugfs shows. */
static const void *kho_fdt(void)
{
	static const char * const path[] = { "kho", "out", "fdt" };
	const struct debugfs_blob_wrapper *blob;
	struct dentry *dentry = NULL;

	for (int i = 0; i < ARRAY_SIZE(path); i++) {
		struct dentry *parent = dentry;

		dentry = debugfs_lookup(path[i], parent);
		dput(parent);
		if (!dentry)
			return NULL;
	}
	blob = d_inode(dentry)->i_private;
	dput(dentry);

	return blob->data;
}

static bool u64_property(const void *fdt, int node, const char *name, u64 *value)
{
	int len;
	const void *property = fdt_getprop(fdt, node, name, &len);

	if (!property || len != sizeof(*value))
		return false;
	memcpy(value, property, sizeof(*value));

	return true;
}

/* The tree that says what is preserved, or NULL. */
static struct kho_radix_node *preservations(void)
{
	const void *fdt = kho_fdt();
	u64 root;

	if (!fdt || !u64_property(fdt, 0, KHO_FDT_MEMORY_MAP_PROP_NAME, &root))
		return NULL;

	return phys_to_virt(root);
}

/* Whether a tree has a key. */
static bool has_key(const struct kho_radix_node *node, unsigned long key)
{
	const struct kho_radix_leaf *leaf;

	for (int level = KHO_TREE_MAX_DEPTH - 1; level > 0; level--) {
		int shift = (level - 1) * KHO_TABLE_SIZE_LOG2 + KHO_BITMAP_SIZE_LOG2;
		u64 next = READ_ONCE(node->table[(key >> shift) % ARRAY_SIZE(node->table)]);

		if (!next)
			return false;
		node = phys_to_virt(next);
	}
	leaf = (const void *)node;

	return test_bit(key % (1UL << KHO_BITMAP_SIZE_LOG2), leaf->bitmap);
}

/* The order with which KHO will hand over what begins at @phys, or -1. */
int luo_kunit_preserved_order(phys_addr_t phys)
{
	const struct kho_radix_node *root = preservations();

	for (int order = 0; root && order <= MAX_PAGE_ORDER; order++) {
		/* A key is a 1, and below it the address without the bits that are always 0. */
		unsigned long bit = 1UL << (64 - PAGE_SHIFT - order);

		if (!IS_ALIGNED(phys, PAGE_SIZE << order))
			break;
		if (has_key(root, bit | phys >> (PAGE_SHIFT + order)))
			return order;
	}

	return -1;
}

static int count(unsigned long key, void *data)
{
	*(u64 *)data += 1ULL << (65 - fls64(key) - PAGE_SHIFT);

	return 0;
}

/* How many pages KHO will hand over. */
u64 luo_kunit_preserved_pages(void)
{
	const struct kho_radix_walk_cb cb = { .leaf = count };
	struct kho_radix_node *root = preservations();
	struct kho_radix_tree tree;
	u64 pages = 0;

	if (root && !kho_radix_init_tree(&tree, root))
		kho_radix_walk_tree(&tree, &cb, &pages);

	return pages;
}

/* Whether the next kernel will find something called @name, and where. */
bool luo_kunit_published(const char *name, u64 *phys, u64 *size)
{
	const void *fdt = kho_fdt();
	int node = fdt ? fdt_subnode_offset(fdt, 0, name) : -1;

	return node >= 0 && u64_property(fdt, node, KHO_SUB_TREE_PROP_NAME, phys) &&
	       u64_property(fdt, node, KHO_SUB_TREE_SIZE_PROP_NAME, size);
}

/* What the boot leaves in the first struct page of what was preserved with @order. */
static void mark(struct page *page, unsigned int order)
{
	set_page_private(page, 0x4b484f50UL << 32 | order);
}

/*
 * Makes pages look as the boot leaves what the previous kernel preserved with
 * @order: not managed, and marked in the first struct page. Returns the
 * physical address, or 0 without memory. kho_restore_free() undoes it.
 */
phys_addr_t luo_kunit_hand_over(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO, order);

	if (!page)
		return 0;
	adjust_managed_page_count(page, -(1L << order));
	mark(page, order);

	return page_to_phys(page);
}

/* Makes two neighbours with @order of what luo_kunit_hand_over() made with one more. */
void luo_kunit_split(phys_addr_t phys, unsigned int order)
{
	struct page *page = phys_to_page(phys);

	mark(page, order);
	mark(page + (1UL << order), order);
}

/* Looks at a page of a file. Returns false if it is a hole. */
bool luo_kunit_page(struct file *file, pgoff_t index, struct luo_kunit_page *to)
{
	struct folio *folio = filemap_get_folio(file->f_mapping, index);

	if (IS_ERR(folio))
		return false;
	to->phys = page_to_phys(folio_file_page(folio, index));
	to->order = folio_order(folio);
	to->uptodate = folio_test_uptodate(folio);
	to->dirty = folio_test_dirty(folio);
	to->pinned = folio_maybe_dma_pinned(folio);
	folio_put(folio);

	return true;
}

/* Lets files without a name, such as this one, have huge pages, or not any more. */
void luo_kunit_huge_pages(struct file *file, bool allow)
{
	struct shmem_sb_info *sbinfo = file_inode(file)->i_sb->s_fs_info;

	/* As huge=always and huge=never do. */
	sbinfo->huge = allow;
}

/* A page of user memory with none behind it, or 0 without memory. */
unsigned long luo_kunit_user_page(bool writable)
{
	unsigned long prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	unsigned long addr = kunit_vm_mmap(kunit_get_current_test(), NULL, 0, 2 * PAGE_SIZE,
					   prot, MAP_ANONYMOUS | MAP_PRIVATE, 0);

	if (IS_ERR_VALUE(addr) || vm_munmap(addr + PAGE_SIZE, PAGE_SIZE))
		return 0;

	return addr;
}

/* Writes to a page of luo_kunit_user_page(), whether or not userspace could. */
bool luo_kunit_user_write(unsigned long addr, void *data, int len)
{
	return access_remote_vm(current->mm, addr, data, len, FOLL_WRITE | FOLL_FORCE) == len;
}

/* Lets the current kernel thread be killed, as tasks of userspace can be. */
void luo_kunit_be_mortal(void)
{
	allow_signal(SIGKILL);
}

/* Where the next line of the log will be. */
u64 luo_kunit_log_end(void)
{
	struct kmsg_dump_iter iter;

	kmsg_dump_rewind(&iter);

	return iter.next_seq;
}

/* Reads the line at @seq and moves on; returns its length, 0 if there is none. */
size_t luo_kunit_log_line(u64 *seq, char *line, size_t size)
{
	struct kmsg_dump_iter iter = { .cur_seq = *seq };
	size_t len;

	if (!kmsg_dump_get_line(&iter, false, line, size, &len))
		return 0;
	*seq = iter.cur_seq;

	return len;
}

/* How many pages are free, those included that a processor keeps for itself. */
unsigned long luo_kunit_free_pages(void)
{
	drain_all_pages(NULL);

	return global_zone_page_state(NR_FREE_PAGES);
}
