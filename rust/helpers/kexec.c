// SPDX-License-Identifier: GPL-2.0

#include "../../kernel/kexec_internal.h"

__rust_helper bool rust_helper_kexec_trylock(void)
{
	return kexec_trylock();
}

__rust_helper void rust_helper_kexec_unlock(void)
{
	kexec_unlock();
}
