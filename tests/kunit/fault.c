// SPDX-License-Identifier: GPL-2.0
/*
 * Lets allocations of a KUnit test fail, by the kernel's own fault injection.
 */

#include <linux/atomic.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/sched.h>

#include "fault.h"

/* The variable behind a file of debugfs_create_bool() and the like. */
static void *knob(struct dentry *dir, const char *name)
{
	struct dentry *dentry = debugfs_lookup(name, dir);
	void *variable;

	if (!dentry)
		return NULL;

	variable = d_inode(dentry)->i_private;
	dput(dentry);

	return variable;
}

/* The filter comes first: nobody is to fail but who asks for it. */
static int prepare(const char *name)
{
	struct dentry *dir = debugfs_lookup(name, NULL);
	bool *task_filter, *ignore_gfp_wait;
	unsigned long *verbose, *probability;
	atomic_t *times;

	if (!dir)
		return -ENOENT;

	task_filter = knob(dir, "task-filter");
	ignore_gfp_wait = knob(dir, "ignore-gfp-wait");
	verbose = knob(dir, "verbose");
	times = knob(dir, "times");
	probability = knob(dir, "probability");
	dput(dir);

	if (!task_filter || !ignore_gfp_wait || !verbose || !times || !probability)
		return -ENOENT;

	*task_filter = true;
	*ignore_gfp_wait = false;
	*verbose = 0;
	atomic_set(times, -1);
	*probability = 100;

	return 0;
}

static int prepare_pages(void)
{
	struct dentry *dir = debugfs_lookup("fail_page_alloc", NULL);
	bool *ignore_gfp_highmem;
	u32 *min_order;

	if (!dir)
		return -ENOENT;

	ignore_gfp_highmem = knob(dir, "ignore-gfp-highmem");
	min_order = knob(dir, "min-order");
	dput(dir);

	if (!ignore_gfp_highmem || !min_order)
		return -ENOENT;

	*ignore_gfp_highmem = false;
	*min_order = 0;

	return prepare("fail_page_alloc");
}

/*
 * Has fault injection reach all that a test may allocate. By default it spares
 * what may sleep and single pages, and what it does otherwise can only be set
 * by a write() from user space, where there is none yet.
 *
 * Returns -ENOENT if it cannot be set here either.
 */
int luo_kunit_fault_init(void)
{
	return prepare("failslab") ?: prepare_pages();
}

/*
 * The @n-th allocation of this task, counted from 1, is going to fail and, if
 * @onwards, all after it.
 */
void luo_kunit_fault_begin(unsigned int n, bool onwards)
{
	current->make_it_fail = onwards;
	WRITE_ONCE(current->fail_nth, n);
}

/* Ends that. Returns whether there was an @n-th allocation. */
bool luo_kunit_fault_end(void)
{
	bool reached = !READ_ONCE(current->fail_nth);

	WRITE_ONCE(current->fail_nth, 0);
	current->make_it_fail = false;

	return reached;
}
