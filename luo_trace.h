/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints of the Live Update Orchestrator in Rust: what becomes of a
 * session, of each of its files, and of what these share, and how long the
 * callbacks of the drivers took for it.
 */

#undef TRACE_SYSTEM
#undef TRACE_INCLUDE_FILE
#undef TRACE_INCLUDE_PATH
#define TRACE_SYSTEM liveupdate
#define TRACE_INCLUDE_FILE luo_trace
#define TRACE_INCLUDE_PATH ../kernel/liveupdate/rust

#if !defined(_LUO_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _LUO_TRACE_H

#include <linux/liveupdate.h>
#include <linux/tracepoint.h>

/* What was asked for by an ioctl of a session, or of the device. */
DECLARE_EVENT_CLASS(luo_session,

	TP_PROTO(const char *session, int ret),

	TP_ARGS(session, ret),

	TP_STRUCT__entry(
		__string(session, session)
		__field(int, ret)
	),

	TP_fast_assign(
		__assign_str(session);
		__entry->ret = ret;
	),

	TP_printk("session=%s ret=%d", __get_str(session), __entry->ret)
);

#define DEFINE_LUO_SESSION_EVENT(name)					\
	DEFINE_EVENT(luo_session, name,					\
		     TP_PROTO(const char *session, int ret),		\
		     TP_ARGS(session, ret))

DEFINE_LUO_SESSION_EVENT(luo_session_create);
DEFINE_LUO_SESSION_EVENT(luo_session_retrieve);
DEFINE_LUO_SESSION_EVENT(luo_session_finish);
DEFINE_LUO_SESSION_EVENT(luo_session_close);

/* What a file handler answered, and after how many nanoseconds. */
DECLARE_EVENT_CLASS(luo_file,

	TP_PROTO(const char *session, u64 token,
		 const struct liveupdate_file_handler *handler, int ret, u64 ns),

	TP_ARGS(session, token, handler, ret, ns),

	TP_STRUCT__entry(
		__string(session, session)
		__field(u64, token)
		__string(handler, handler->compatible)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__assign_str(session);
		__entry->token = token;
		__assign_str(handler);
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("session=%s token=%#llx handler=%s ret=%d ns=%llu",
		  __get_str(session), __entry->token, __get_str(handler),
		  __entry->ret, __entry->ns)
);

#define DEFINE_LUO_FILE_EVENT(name)					\
	DEFINE_EVENT(luo_file, name,					\
		     TP_PROTO(const char *session, u64 token,		\
			      const struct liveupdate_file_handler *handler, \
			      int ret, u64 ns),				\
		     TP_ARGS(session, token, handler, ret, ns))

DEFINE_LUO_FILE_EVENT(luo_file_preserve);
DEFINE_LUO_FILE_EVENT(luo_file_unpreserve);
DEFINE_LUO_FILE_EVENT(luo_file_freeze);
DEFINE_LUO_FILE_EVENT(luo_file_unfreeze);
DEFINE_LUO_FILE_EVENT(luo_file_retrieve);
DEFINE_LUO_FILE_EVENT(luo_file_can_finish);
DEFINE_LUO_FILE_EVENT(luo_file_finish);

/* The same for what files share. */
DECLARE_EVENT_CLASS(luo_flb,

	TP_PROTO(const struct liveupdate_flb *flb, int ret, u64 ns),

	TP_ARGS(flb, ret, ns),

	TP_STRUCT__entry(
		__string(flb, flb->compatible)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__assign_str(flb);
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("flb=%s ret=%d ns=%llu",
		  __get_str(flb), __entry->ret, __entry->ns)
);

#define DEFINE_LUO_FLB_EVENT(name)					\
	DEFINE_EVENT(luo_flb, name,					\
		     TP_PROTO(const struct liveupdate_flb *flb, int ret, u64 ns), \
		     TP_ARGS(flb, ret, ns))

DEFINE_LUO_FLB_EVENT(luo_flb_preserve);
DEFINE_LUO_FLB_EVENT(luo_flb_unpreserve);
DEFINE_LUO_FLB_EVENT(luo_flb_retrieve);
DEFINE_LUO_FLB_EVENT(luo_flb_finish);

/* Why what the previous kernel handed over cannot be taken. */
TRACE_EVENT(luo_refuse,

	TP_PROTO(const char *session, const char *record, size_t record_len,
		 const char *field, size_t field_len),

	TP_ARGS(session, record, record_len, field, field_len),

	TP_STRUCT__entry(
		__string(session, session)
		__string_len(record, record, record_len)
		__string_len(field, field, field_len)
	),

	TP_fast_assign(
		__assign_str(session);
		__assign_str(record);
		__assign_str(field);
	),

	TP_printk("session=%s record=%s field=%s",
		  __get_str(session), __get_str(record), __get_str(field))
);

/* Many sessions are about to be written down, or made. */
DECLARE_EVENT_CLASS(luo_begin,

	TP_PROTO(unsigned long sessions),

	TP_ARGS(sessions),

	TP_STRUCT__entry(
		__field(unsigned long, sessions)
	),

	TP_fast_assign(
		__entry->sessions = sessions;
	),

	TP_printk("sessions=%lu", __entry->sessions)
);

/* They are, or none is. */
DECLARE_EVENT_CLASS(luo_end,

	TP_PROTO(unsigned long sessions, int ret),

	TP_ARGS(sessions, ret),

	TP_STRUCT__entry(
		__field(unsigned long, sessions)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->sessions = sessions;
		__entry->ret = ret;
	),

	TP_printk("sessions=%lu ret=%d", __entry->sessions, __entry->ret)
);

/* Sessions of this kernel, for the next one. */
DEFINE_EVENT(luo_begin, luo_serialize_begin,
	     TP_PROTO(unsigned long sessions),
	     TP_ARGS(sessions));
DEFINE_EVENT(luo_end, luo_serialize_end,
	     TP_PROTO(unsigned long sessions, int ret),
	     TP_ARGS(sessions, ret));

/* Sessions of the previous kernel. */
DEFINE_EVENT(luo_begin, luo_restore_begin,
	     TP_PROTO(unsigned long sessions),
	     TP_ARGS(sessions));
DEFINE_EVENT(luo_end, luo_restore_end,
	     TP_PROTO(unsigned long sessions, int ret),
	     TP_ARGS(sessions, ret));

#endif /* _LUO_TRACE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
