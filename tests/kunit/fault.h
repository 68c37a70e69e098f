/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What fault.rs calls of fault.c.
 */

#ifndef _LUO_KUNIT_FAULT_H
#define _LUO_KUNIT_FAULT_H

#include <linux/types.h>

int luo_kunit_fault_init(void);
void luo_kunit_fault_begin(unsigned int n, bool onwards);
bool luo_kunit_fault_end(void);

#endif /* _LUO_KUNIT_FAULT_H */
