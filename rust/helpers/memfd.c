// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/shmem_fs.h>

__rust_helper bool rust_helper_shmem_file(struct file *file)
{
	return shmem_file(file);
}

__rust_helper struct inode *rust_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

__rust_helper void rust_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

__rust_helper void rust_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

__rust_helper loff_t rust_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

__rust_helper void rust_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

__rust_helper void rust_helper_shmem_freeze(struct inode *inode, bool freeze)
{
	shmem_freeze(inode, freeze);
}

__rust_helper void rust_helper_shmem_freeze_holes(struct inode *inode, bool freeze)
{
	shmem_freeze_holes(inode, freeze);
}

#ifndef CONFIG_TRANSPARENT_HUGEPAGE
__rust_helper unsigned long
rust_helper_shmem_allowable_huge_orders(struct inode *inode, struct vm_area_struct *vma,
					pgoff_t index, loff_t write_end, bool shmem_huge_force)
{
	return shmem_allowable_huge_orders(inode, vma, index, write_end, shmem_huge_force);
}
#endif
