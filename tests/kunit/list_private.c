// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the KUnit tests of list_private.rs: what C code does to a list
 * of FLBs, with the macros of linux/list_private.h.
 */

#include <linux/list_private.h>
#include <linux/liveupdate.h>

#include "list_private.h"

void luo_kunit_list_init(struct list_head *head)
{
	INIT_LIST_HEAD(head);
}

void luo_kunit_list_add(struct liveupdate_flb *flb, struct list_head *head)
{
	list_add_tail(&ACCESS_PRIVATE(flb, private.list), head);
}

void luo_kunit_list_del(struct liveupdate_flb *flb)
{
	list_del(&ACCESS_PRIVATE(flb, private.list));
}

bool luo_kunit_list_unlinked(struct liveupdate_flb *flb)
{
	return list_empty_careful(&ACCESS_PRIVATE(flb, private.list));
}

/* Puts the entries into @flbs, at most @room; returns how many that were. */
size_t luo_kunit_list_walk(struct list_head *head, bool reverse,
			   struct liveupdate_flb **flbs, size_t room)
{
	struct liveupdate_flb *flb;
	size_t n = 0;

	if (reverse) {
		list_private_for_each_entry_reverse(flb, head, private.list) {
			if (n == room)
				break;
			flbs[n++] = flb;
		}
	} else {
		list_private_for_each_entry(flb, head, private.list) {
			if (n == room)
				break;
			flbs[n++] = flb;
		}
	}

	return n;
}
