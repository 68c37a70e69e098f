// SPDX-License-Identifier: GPL-2.0

#include <linux/liveupdate.h>

#if defined(CONFIG_LIVEUPDATE) && !defined(CONFIG_LIVEUPDATE_RUST)

__rust_helper int
rust_helper_liveupdate_get_file_incoming(struct liveupdate_session *session,
					 u64 token, struct file **filep)
{
	return liveupdate_get_file_incoming(session, token, filep);
}

__rust_helper int
rust_helper_liveupdate_get_token_outgoing(struct liveupdate_session *session,
					  struct file *file, u64 *tokenp)
{
	return liveupdate_get_token_outgoing(session, file, tokenp);
}

#endif /* CONFIG_LIVEUPDATE && !CONFIG_LIVEUPDATE_RUST */
