/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The other side of the KUnit tests of list_private.rs: lists of FLBs as C code
 * builds, walks and unlinks them.
 */

#ifndef _LUO_KUNIT_LIST_PRIVATE_H
#define _LUO_KUNIT_LIST_PRIVATE_H

#include <linux/types.h>

struct list_head;
struct liveupdate_flb;

void luo_kunit_list_init(struct list_head *head);
void luo_kunit_list_add(struct liveupdate_flb *flb, struct list_head *head);
void luo_kunit_list_del(struct liveupdate_flb *flb);
bool luo_kunit_list_unlinked(struct liveupdate_flb *flb);
size_t luo_kunit_list_walk(struct list_head *head, bool reverse,
			   struct liveupdate_flb **flbs, size_t room);

#endif /* _LUO_KUNIT_LIST_PRIVATE_H */
