// SPDX-License-Identifier: GPL-2.0
/*
 * Test driver for the Live Update Orchestrator: file handlers and FLBs whose
 * callbacks userspace can count, follow in the kernel log, slow down, and make
 * fail.
 *
 * In debugfs, luo_test/ has a directory for each handler and FLB, and in it one
 * for each of its callbacks:
 *
 *   OBJECT/CALLBACK/calls    how often it was called
 *   OBJECT/CALLBACK/times    how many calls are to fail, -1 for all until reset
 *   OBJECT/CALLBACK/skip     how many calls are to succeed before that
 *   OBJECT/CALLBACK/errno    the error they are to return (can_* return false)
 *   OBJECT/CALLBACK/delay_ms how many milliseconds each call takes, whatever it
 *                            returns; nothing cuts that short
 *   HANDLER/file             opened: a file that HANDLER can preserve, once its
 *                            number has been written to it; "fd FD" or "token
 *                            TOKEN" before that makes it need another file: the
 *                            one of that descriptor, which has to be preserved
 *                            before it, or whatever is under that token
 *   HANDLER/files            how many such files exist, retrieved ones included
 *   FLB/{incoming,outgoing}  opened: a reference to the FLB's live object, whose
 *                            id can be read from it
 *   reset                    written 1: all of calls, times, skip, errno, delay_ms as
 *                            at boot
 *   damage                   written: the steps of struct test_step, to be done to
 *                            what is handed over just before this kernel ends
 *
 * Each call is logged in one line,
 *
 *   luo_test: OBJECT CALLBACK ID = RESULT
 *
 * where ID is the file's number, or for an FLB the number of the preserve call
 * that made its object. RESULT is what the callback returned, 0 if it returns
 * nothing; for a handler's finish it is the retrieve_status it was given. A file
 * that needs another one is logged with CALLBACK "needs" when it has asked for
 * that, which is before the callback it did so in.
 *
 * So is each word that is damaged,
 *
 *   luo_test: damaged ADDRESS: OLD -> NEW
 *
 * Arguments that are not what the driver gave LUO before raise a warning.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/anon_inodes.h>
#include <linux/atomic.h>
#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/luo.h>
#include <linux/kstrtox.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

enum test_cb {
	CAN_PRESERVE,
	PRESERVE,
	UNPRESERVE,
	FREEZE,
	UNFREEZE,
	RETRIEVE,
	CAN_FINISH,
	FINISH,
	NR_CALLBACKS
};

static const char * const test_cb_names[NR_CALLBACKS] = {
	[CAN_PRESERVE]	= "can_preserve",
	[PRESERVE]	= "preserve",
	[UNPRESERVE]	= "unpreserve",
	[FREEZE]	= "freeze",
	[UNFREEZE]	= "unfreeze",
	[RETRIEVE]	= "retrieve",
	[CAN_FINISH]	= "can_finish",
	[FINISH]	= "finish",
};

#define CALLBACKS_RETURNING_BOOL	(BIT(CAN_PRESERVE) | BIT(CAN_FINISH))
#define CALLBACKS_RETURNING_ERRNO	(BIT(PRESERVE) | BIT(FREEZE) | BIT(RETRIEVE))
#define FLB_CALLBACKS			(BIT(PRESERVE) | BIT(UNPRESERVE) |	\
					 BIT(RETRIEVE) | BIT(FINISH))
#define REQUIRED_CALLBACKS		(FLB_CALLBACKS | BIT(CAN_PRESERVE))
#define ALL_CALLBACKS			GENMASK(NR_CALLBACKS - 1, 0)

/**
 * struct test_object - What handlers and FLBs have in common.
 * @name:      Its compatible string.
 * @tag:       Goes into the data of its files or of itself, to tell a mix-up.
 * @callbacks: The callbacks it has, a bit each.
 * @cb:        Counter, armed failure, and delay of each callback.
 */
struct test_object {
	const char *name;
	u8 tag;
	unsigned long callbacks;
	struct {
		atomic_t calls;
		atomic_t times;
		atomic_t skip;
		u32 errno;
		u32 delay_ms;
	} cb[NR_CALLBACKS];
};

/*
 * The data handed to LUO: whether it was frozen, whether it needs another file,
 * the token of that, a tag, and an id.
 */
#define TEST_FROZEN	BIT_ULL(63)
#define TEST_NEEDS	BIT_ULL(62)
#define TEST_TOKEN	GENMASK_ULL(61, 40)

static u64 test_data(const struct test_object *obj, u32 id)
{
	return (u64)obj->tag << 32 | id;
}

/* Returns the error that a call is to fail with, 0 if it is to succeed. */
static int test_inject(struct test_object *obj, enum test_cb cb)
{
	if (!atomic_read(&obj->cb[cb].times) ||
	    atomic_add_unless(&obj->cb[cb].skip, -1, 0) ||
	    !atomic_add_unless(&obj->cb[cb].times, -1, 0))
		return 0;

	return -(int)obj->cb[cb].errno;
}

/* Ends a call: takes its time, counts and logs it. */
static int test_trace(struct test_object *obj, enum test_cb cb, u32 id, int result)
{
	u32 delay_ms = READ_ONCE(obj->cb[cb].delay_ms);

	if (delay_ms)
		msleep(delay_ms);
	atomic_inc(&obj->cb[cb].calls);
	pr_info("%s %s %u = %d\n", obj->name, test_cb_names[cb], id, result);

	return result;
}

/* File handlers */

struct test_handler {
	struct liveupdate_file_handler fh;
	struct test_object obj;
	atomic_t files;
};

/**
 * struct test_file - A file that can be preserved.
 * @handler: The handler that preserves it.
 * @number:  Its identity, given by userspace; 0 until then.
 * @data:    What LUO holds as its serialized data.
 * @needs:   The file that it needs, if any.
 * @token:   The part of @data that tells which file it needs.
 */
struct test_file {
	struct test_handler *handler;
	u32 number;
	u64 data;
	struct file *needs;
	u64 token;
};

static struct test_file *test_file_alloc(struct test_handler *handler)
{
	struct test_file *tf = kzalloc_obj(*tf);

	if (!tf)
		return NULL;

	tf->handler = handler;
	atomic_inc(&handler->files);

	return tf;
}

static void test_file_free(struct test_file *tf)
{
	atomic_dec(&tf->handler->files);
	if (tf->needs)
		fput(tf->needs);
	kfree(tf);
}

static int test_file_open(struct inode *inode, struct file *file)
{
	file->private_data = test_file_alloc(inode->i_private);

	return file->private_data ? 0 : -ENOMEM;
}

static int test_file_release(struct inode *inode, struct file *file)
{
	test_file_free(file->private_data);

	return 0;
}

static ssize_t test_print_u32(char __user *buf, size_t count, loff_t *pos, u32 value)
{
	char text[sizeof("4294967295\n")];

	return simple_read_from_buffer(buf, count, pos, text,
				       scnprintf(text, sizeof(text), "%u\n", value));
}

static ssize_t test_file_read(struct file *file, char __user *buf, size_t count,
			      loff_t *pos)
{
	struct test_file *tf = file->private_data;

	return test_print_u32(buf, count, pos, tf->number);
}

/* "fd FD" or "token TOKEN": the file needs another one. */
static int test_file_need(struct test_file *tf, const char *text)
{
	u32 fd, token;

	if (tf->number || tf->needs || tf->token)
		return -EBUSY;
	if (sscanf(text, "fd %u", &fd) == 1) {
		tf->needs = fget(fd);
		return tf->needs ? 0 : -EBADF;
	}
	if (sscanf(text, "token %u", &token) == 1) {
		tf->token = TEST_NEEDS | FIELD_PREP(TEST_TOKEN, token);
		return 0;
	}

	return -EINVAL;
}

static ssize_t test_file_write(struct file *file, const char __user *buf,
			       size_t count, loff_t *pos)
{
	struct test_file *tf = file->private_data;
	char text[32] = "";
	u32 number;
	int err;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, count))
		return -EFAULT;

	err = kstrtou32(text, 0, &number);
	if (err) {
		err = test_file_need(tf, text);
		return err ?: count;
	}
	if (!number)
		return -EINVAL;
	/* Only once: LUO identifies the file by it. */
	if (cmpxchg(&tf->number, 0, number))
		return -EBUSY;

	return count;
}

/* Its owner is pinned while a file is open, also one opened through debugfs. */
static const struct file_operations test_file_fops = {
	.owner		= THIS_MODULE,
	.open		= test_file_open,
	.release	= test_file_release,
	.read		= test_file_read,
	.write		= test_file_write,
};

static struct test_handler *to_test_handler(struct liveupdate_file_handler *fh)
{
	return container_of(fh, struct test_handler, fh);
}

static bool test_can_preserve(struct liveupdate_file_handler *fh, struct file *file)
{
	struct test_handler *handler = to_test_handler(fh);
	struct test_file *tf = file->private_data;
	bool ok;

	if (file->f_op != &test_file_fops)
		return false;

	ok = tf->handler == handler && tf->number &&
	     !test_inject(&handler->obj, CAN_PRESERVE);

	return test_trace(&handler->obj, CAN_PRESERVE, tf->number, ok);
}

/* Logs what a file was told about the one that it needs. */
static int test_needs(struct test_handler *handler, u32 number, int result)
{
	pr_info("%s needs %u = %d\n", handler->obj.name, number, result);

	return result;
}

/* Asks for the token of the file that @tf needs. */
static int test_ask_token(struct test_file *tf, struct liveupdate_session *session)
{
	u64 token;
	int err;

	if (!tf->needs)
		return 0;

	err = liveupdate_get_token_outgoing(session, tf->needs, &token);
	if (!err)
		tf->token = TEST_NEEDS | FIELD_PREP(TEST_TOKEN, token);

	return test_needs(tf->handler, tf->number, err);
}

static int test_preserve(struct liveupdate_file_op_args *args)
{
	struct test_handler *handler = to_test_handler(args->handler);
	struct test_file *tf = args->file->private_data;
	int err = test_inject(&handler->obj, PRESERVE);

	WARN_ON(tf->handler != handler);
	if (!err)
		err = test_ask_token(tf, args->session);
	if (!err) {
		tf->data = test_data(&handler->obj, tf->number) | tf->token;
		args->serialized_data = tf->data;
		args->private_data = tf;
	}

	return test_trace(&handler->obj, PRESERVE, tf->number, err);
}

/* Checks what LUO kept of a preserved file. */
static struct test_file *test_preserved(struct liveupdate_file_op_args *args)
{
	struct test_file *tf = args->file->private_data;

	WARN_ON(tf->handler != to_test_handler(args->handler));
	WARN_ON(tf != args->private_data);
	WARN_ON(tf->data != args->serialized_data);

	return tf;
}

static void test_unpreserve(struct liveupdate_file_op_args *args)
{
	struct test_file *tf = test_preserved(args);

	test_trace(&tf->handler->obj, UNPRESERVE, tf->number, 0);
}

static int test_freeze(struct liveupdate_file_op_args *args)
{
	struct test_file *tf = test_preserved(args);
	int err = test_inject(&tf->handler->obj, FREEZE);

	/* Only a successful freeze changes the data. */
	args->serialized_data |= TEST_FROZEN;
	if (!err)
		tf->data = args->serialized_data;

	return test_trace(&tf->handler->obj, FREEZE, tf->number, err);
}

static void test_unfreeze(struct liveupdate_file_op_args *args)
{
	struct test_file *tf = test_preserved(args);

	test_trace(&tf->handler->obj, UNFREEZE, tf->number, 0);
}

/* Checks the data of a file from the previous kernel, returns the file's number. */
static u32 test_incoming(struct liveupdate_file_op_args *args)
{
	struct test_object *obj = &to_test_handler(args->handler)->obj;
	u64 data = args->serialized_data;
	u32 number = lower_32_bits(data);
	u64 expected = test_data(obj, number);

	if (obj->callbacks & BIT(FREEZE))
		expected |= TEST_FROZEN;
	if (data & TEST_NEEDS)
		expected |= data & (TEST_NEEDS | TEST_TOKEN);
	WARN_ON(!number || data != expected);

	return number;
}

/* Asks for the file that one from the previous kernel needs. */
static int test_ask_file(struct liveupdate_file_op_args *args, u32 number,
			 struct file **needs)
{
	u64 data = args->serialized_data;

	if (!(data & TEST_NEEDS))
		return 0;

	return test_needs(to_test_handler(args->handler), number,
			  liveupdate_get_file_incoming(args->session,
						       FIELD_GET(TEST_TOKEN, data),
						       needs));
}

static int test_retrieve(struct liveupdate_file_op_args *args)
{
	struct test_handler *handler = to_test_handler(args->handler);
	u32 number = test_incoming(args);
	int err = test_inject(&handler->obj, RETRIEVE);
	struct file *needs = NULL;
	struct test_file *tf;

	if (!err)
		err = test_ask_file(args, number, &needs);
	if (err)
		goto out;

	tf = test_file_alloc(handler);
	if (!tf) {
		if (needs)
			fput(needs);
		err = -ENOMEM;
		goto out;
	}
	tf->number = number;
	tf->needs = needs;

	args->file = anon_inode_getfile_fmode(handler->obj.name, &test_file_fops, tf,
					      O_RDWR, FMODE_PREAD);
	if (IS_ERR(args->file)) {
		err = PTR_ERR(args->file);
		test_file_free(tf);
	}
out:
	return test_trace(&handler->obj, RETRIEVE, number, err);
}

/* Checks that LUO has the file if it was retrieved. */
static u32 test_retrieved(struct liveupdate_file_op_args *args)
{
	u32 number = test_incoming(args);
	struct test_file *tf;

	if (args->retrieve_status <= 0) {
		WARN_ON(args->file);
	} else if (!WARN_ON(!args->file)) {
		tf = args->file->private_data;
		WARN_ON(tf->number != number);
	}

	return number;
}

static bool test_can_finish(struct liveupdate_file_op_args *args)
{
	struct test_object *obj = &to_test_handler(args->handler)->obj;

	return test_trace(obj, CAN_FINISH, test_retrieved(args),
			  !test_inject(obj, CAN_FINISH));
}

static void test_finish(struct liveupdate_file_op_args *args)
{
	test_trace(&to_test_handler(args->handler)->obj, FINISH,
		   test_retrieved(args), args->retrieve_status);
}

static unsigned long test_get_id(struct file *file)
{
	struct test_file *tf = file->private_data;

	return tf->number;
}

#define TEST_REQUIRED_OPS				\
	.owner		= THIS_MODULE,			\
	.can_preserve	= test_can_preserve,		\
	.preserve	= test_preserve,		\
	.unpreserve	= test_unpreserve,		\
	.retrieve	= test_retrieve,		\
	.finish		= test_finish

#define TEST_OPTIONAL_OPS				\
	.freeze		= test_freeze,			\
	.unfreeze	= test_unfreeze,		\
	.can_finish	= test_can_finish

static const struct liveupdate_file_ops test_ops_a = {
	TEST_REQUIRED_OPS,
	TEST_OPTIONAL_OPS,
	.get_id		= test_get_id,
};

static const struct liveupdate_file_ops test_ops_b = {
	TEST_REQUIRED_OPS,
	TEST_OPTIONAL_OPS,
};

static const struct liveupdate_file_ops test_ops_c = {
	TEST_REQUIRED_OPS,
};

#define TEST_HANDLER(_name, _tag, _ops, _callbacks) {				\
	.fh	= { .ops = _ops, .compatible = _name },				\
	.obj	= { .name = _name, .tag = _tag, .callbacks = _callbacks },	\
}

static struct test_handler test_handlers[] = {
	TEST_HANDLER("luo-test-a", 'a', &test_ops_a, ALL_CALLBACKS),
	TEST_HANDLER("luo-test-b", 'b', &test_ops_b, ALL_CALLBACKS),
	TEST_HANDLER("luo-test-c", 'c', &test_ops_c, REQUIRED_CALLBACKS),
};

/* FLBs */

/**
 * struct test_flb - An FLB, whose live object is just an id.
 * @flb:      What LUO knows.
 * @obj:      What it has in common with handlers.
 * @outgoing: The live object of this kernel.
 * @incoming: The live object that the previous kernel handed over.
 */
struct test_flb {
	struct liveupdate_flb flb;
	struct test_object obj;
	u32 outgoing;
	u32 incoming;
};

static struct test_flb *to_test_flb(struct liveupdate_flb *flb)
{
	return container_of(flb, struct test_flb, flb);
}

static int test_flb_preserve(struct liveupdate_flb_op_args *args)
{
	struct test_flb *tflb = to_test_flb(args->flb);
	u32 id = atomic_read(&tflb->obj.cb[PRESERVE].calls) + 1;
	int err = test_inject(&tflb->obj, PRESERVE);

	if (!err) {
		tflb->outgoing = id;
		args->data = test_data(&tflb->obj, id);
		args->obj = &tflb->outgoing;
	}

	return test_trace(&tflb->obj, PRESERVE, id, err);
}

static void test_flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	struct test_flb *tflb = to_test_flb(args->flb);

	WARN_ON(args->obj != &tflb->outgoing);
	WARN_ON(args->data != test_data(&tflb->obj, tflb->outgoing));
	test_trace(&tflb->obj, UNPRESERVE, tflb->outgoing, 0);
}

static int test_flb_retrieve(struct liveupdate_flb_op_args *args)
{
	struct test_flb *tflb = to_test_flb(args->flb);
	u32 id = lower_32_bits(args->data);
	int err = test_inject(&tflb->obj, RETRIEVE);

	WARN_ON(!id || args->data != test_data(&tflb->obj, id));
	if (!err) {
		tflb->incoming = id;
		args->obj = &tflb->incoming;
	}

	return test_trace(&tflb->obj, RETRIEVE, id, err);
}

static void test_flb_finish(struct liveupdate_flb_op_args *args)
{
	struct test_flb *tflb = to_test_flb(args->flb);

	WARN_ON(args->obj != &tflb->incoming);
	test_trace(&tflb->obj, FINISH, tflb->incoming, 0);
}

static const struct liveupdate_flb_ops test_flb_ops = {
	.owner		= THIS_MODULE,
	.preserve	= test_flb_preserve,
	.unpreserve	= test_flb_unpreserve,
	.retrieve	= test_flb_retrieve,
	.finish		= test_flb_finish,
};

#define TEST_FLB(_name, _tag) {							\
	.flb	= { .ops = &test_flb_ops, .compatible = _name },		\
	.obj	= { .name = _name, .tag = _tag, .callbacks = FLB_CALLBACKS },	\
}

static struct test_flb test_flbs[] = {
	TEST_FLB("luo-test-flb-1", '1'),
	TEST_FLB("luo-test-flb-2", '2'),
	TEST_FLB("luo-test-flb-3", '3'),
};

/* Which handler depends on which FLBs, in the order of registration. */
static const struct {
	struct test_handler *handler;
	struct test_flb *flb;
} test_links[] = {
	{ &test_handlers[0], &test_flbs[0] },
	{ &test_handlers[0], &test_flbs[1] },
	{ &test_handlers[0], &test_flbs[2] },
	{ &test_handlers[1], &test_flbs[1] },
};

/* An open file is a reference to the live object. */
static int test_flb_open_incoming(struct inode *inode, struct file *file)
{
	struct test_flb *tflb = inode->i_private;

	return liveupdate_flb_get_incoming(&tflb->flb, &file->private_data);
}

static int test_flb_release_incoming(struct inode *inode, struct file *file)
{
	struct test_flb *tflb = inode->i_private;

	liveupdate_flb_put_incoming(&tflb->flb);

	return 0;
}

static int test_flb_open_outgoing(struct inode *inode, struct file *file)
{
	struct test_flb *tflb = inode->i_private;

	return liveupdate_flb_get_outgoing(&tflb->flb, &file->private_data);
}

static int test_flb_release_outgoing(struct inode *inode, struct file *file)
{
	struct test_flb *tflb = inode->i_private;

	liveupdate_flb_put_outgoing(&tflb->flb);

	return 0;
}

static ssize_t test_flb_read(struct file *file, char __user *buf, size_t count,
			     loff_t *pos)
{
	const u32 *id = file->private_data;

	return test_print_u32(buf, count, pos, *id);
}

static const struct file_operations test_flb_incoming_fops = {
	.owner		= THIS_MODULE,
	.open		= test_flb_open_incoming,
	.release	= test_flb_release_incoming,
	.read		= test_flb_read,
};

static const struct file_operations test_flb_outgoing_fops = {
	.owner		= THIS_MODULE,
	.open		= test_flb_open_outgoing,
	.release	= test_flb_release_outgoing,
	.read		= test_flb_read,
};

/* Damage to what is handed over */

enum test_step_op {
	STEP_END,
	STEP_SET,	/* value = operand */
	STEP_ADD,	/* value += operand */
	STEP_FLIP,	/* value ^= operand */
	STEP_FOLLOW,	/* value = the word at the physical address value */
	STEP_FREE_PAGE,	/* value = the physical address of a page that nobody uses */
	STEP_PLACE,	/* place = value */
	STEP_WRITE,	/* the word at the physical address place = value */
	STEP_PUBLISH,	/* KHO's entry, at place, is now at value, of operand bytes */
	STEP_LEFT,	/* value <<= operand */
	STEP_RIGHT,	/* value >>= operand */
};

/**
 * struct test_step - What is to be done to the hand-over.
 * @op:      One of enum test_step_op.
 * @operand: Its operand, if it has one.
 */
struct test_step {
	u64 op;
	u64 operand;
};

static struct test_step test_steps[256];

static ssize_t test_damage_write(struct file *file, const char __user *buf,
				 size_t count, loff_t *pos)
{
	return simple_write_to_buffer(test_steps, sizeof(test_steps), pos, buf, count);
}

static const struct file_operations test_damage_fops = {
	.owner	= THIS_MODULE,
	.write	= test_damage_write,
};

static u64 *test_word(u64 phys)
{
	return pfn_valid(PHYS_PFN(phys)) ? phys_to_virt(phys) : NULL;
}

/* Runs when everything has been written down, and nobody will look at it again. */
static int test_damage(struct notifier_block *nb, unsigned long action, void *data)
{
	u64 value = 0, place = 0, *word;
	unsigned long page;
	int err;

	for (int i = 0; i < ARRAY_SIZE(test_steps); i++) {
		u64 operand = test_steps[i].operand;

		switch (test_steps[i].op) {
		case STEP_SET:
			value = operand;
			break;
		case STEP_ADD:
			value += operand;
			break;
		case STEP_FLIP:
			value ^= operand;
			break;
		case STEP_LEFT:
			value <<= operand;
			break;
		case STEP_RIGHT:
			value >>= operand;
			break;
		case STEP_FOLLOW:
			word = test_word(value);
			if (!word)
				goto err_no_memory;
			value = *word;
			break;
		case STEP_FREE_PAGE:
			page = get_zeroed_page(GFP_KERNEL);
			value = virt_to_phys((void *)page);
			free_page(page);
			break;
		case STEP_PLACE:
			place = value;
			break;
		case STEP_WRITE:
			word = test_word(place);
			if (!word)
				goto err_no_memory;
			pr_info("damaged %#llx: %#llx -> %#llx\n", place, *word, value);
			*word = value;
			break;
		case STEP_PUBLISH:
			kho_remove_subtree(phys_to_virt(place));
			err = kho_add_subtree(LUO_KHO_ENTRY_NAME, phys_to_virt(value), operand);
			pr_info("damaged KHO's entry: %#llx -> %#llx, %llu bytes = %d\n",
				place, value, operand, err);
			break;
		default:
			return NOTIFY_DONE;
		}
	}

	return NOTIFY_DONE;

err_no_memory:
	pr_err("not damaged: no memory at %#llx or %#llx\n", place, value);

	return NOTIFY_DONE;
}

static struct notifier_block test_damage_nb = {
	.notifier_call	= test_damage,
};

/* Setup */

static struct dentry *test_root;

static void test_object_reset(struct test_object *obj)
{
	for (int i = 0; i < NR_CALLBACKS; i++) {
		atomic_set(&obj->cb[i].times, 0);
		atomic_set(&obj->cb[i].skip, 0);
		atomic_set(&obj->cb[i].calls, 0);
		obj->cb[i].errno = EIO;
		WRITE_ONCE(obj->cb[i].delay_ms, 0);
	}
}

static void test_reset_all(void)
{
	for (int i = 0; i < ARRAY_SIZE(test_handlers); i++)
		test_object_reset(&test_handlers[i].obj);
	for (int i = 0; i < ARRAY_SIZE(test_flbs); i++)
		test_object_reset(&test_flbs[i].obj);
}

static int test_reset_set(void *data, u64 value)
{
	if (value != 1)
		return -EINVAL;
	test_reset_all();

	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_reset_fops, NULL, test_reset_set, "%llu\n");

static struct dentry *test_object_debugfs(struct test_object *obj)
{
	struct dentry *dir = debugfs_create_dir(obj->name, test_root);
	struct dentry *cb;

	for (int i = 0; i < NR_CALLBACKS; i++) {
		if (!(obj->callbacks & BIT(i)))
			continue;

		cb = debugfs_create_dir(test_cb_names[i], dir);
		debugfs_create_atomic_t("calls", 0400, cb, &obj->cb[i].calls);
		debugfs_create_u32("delay_ms", 0600, cb, &obj->cb[i].delay_ms);
		if (!(BIT(i) & (CALLBACKS_RETURNING_BOOL | CALLBACKS_RETURNING_ERRNO)))
			continue;

		debugfs_create_atomic_t("times", 0600, cb, &obj->cb[i].times);
		debugfs_create_atomic_t("skip", 0600, cb, &obj->cb[i].skip);
		if (BIT(i) & CALLBACKS_RETURNING_ERRNO)
			debugfs_create_u32("errno", 0600, cb, &obj->cb[i].errno);
	}

	return dir;
}

static void test_handler_debugfs(struct test_handler *handler)
{
	struct dentry *dir = test_object_debugfs(&handler->obj);

	debugfs_create_atomic_t("files", 0400, dir, &handler->files);
	/* Not behind debugfs's own operations: can_preserve looks for ours. */
	debugfs_create_file_unsafe("file", 0600, dir, handler, &test_file_fops);
}

static void test_flb_debugfs(struct test_flb *tflb)
{
	struct dentry *dir = test_object_debugfs(&tflb->obj);

	debugfs_create_file("incoming", 0400, dir, tflb, &test_flb_incoming_fops);
	debugfs_create_file("outgoing", 0400, dir, tflb, &test_flb_outgoing_fops);
}

static int __init test_flbs_init(void)
{
	int err;

	for (int i = 0; i < ARRAY_SIZE(test_links); i++) {
		err = liveupdate_register_flb(&test_links[i].handler->fh,
					      &test_links[i].flb->flb);
		if (err)
			return err;
	}

	for (int i = 0; i < ARRAY_SIZE(test_flbs); i++)
		test_flb_debugfs(&test_flbs[i]);

	return 0;
}

static void test_flbs_exit(void)
{
	for (int i = ARRAY_SIZE(test_links) - 1; i >= 0; i--)
		liveupdate_unregister_flb(&test_links[i].handler->fh,
					  &test_links[i].flb->flb);
}

static int __init luo_test_init(void)
{
	int registered, err;

	test_reset_all();
	test_root = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("reset", 0200, test_root, NULL, &test_reset_fops);
	debugfs_create_file("damage", 0200, test_root, NULL, &test_damage_fops);

	for (registered = 0; registered < ARRAY_SIZE(test_handlers); registered++) {
		err = liveupdate_register_file_handler(&test_handlers[registered].fh);
		if (err)
			goto err_unregister;
		test_handler_debugfs(&test_handlers[registered]);
	}

	if (IS_ENABLED(CONFIG_LIVEUPDATE_TEST_DRIVER_FLB)) {
		err = test_flbs_init();
		if (err)
			goto err_unregister;
	}

	err = register_reboot_notifier(&test_damage_nb);
	if (err)
		goto err_unregister;

	return 0;

err_unregister:
	debugfs_remove(test_root);
	/* Takes the FLBs along. */
	while (registered--)
		liveupdate_unregister_file_handler(&test_handlers[registered].fh);
	pr_err("not registered: %pe\n", ERR_PTR(err));

	return err;
}
late_initcall(luo_test_init);

static void __exit luo_test_exit(void)
{
	unregister_reboot_notifier(&test_damage_nb);
	debugfs_remove(test_root);
	if (IS_ENABLED(CONFIG_LIVEUPDATE_TEST_DRIVER_FLB))
		test_flbs_exit();
	for (int i = ARRAY_SIZE(test_handlers) - 1; i >= 0; i--)
		liveupdate_unregister_file_handler(&test_handlers[i].fh);
}
module_exit(luo_test_exit);

MODULE_DESCRIPTION("Test driver for LUO file handlers and FLBs");
MODULE_LICENSE("GPL");
