// SPDX-License-Identifier: GPL-2.0

#include <linux/uaccess.h>

__rust_helper int rust_helper_get_user_u32(u32 *to, const u32 __user *from)
{
	return get_user(*to, from);
}
