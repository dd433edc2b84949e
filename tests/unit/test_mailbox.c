/* test_mailbox.c: items of several threads reach the loop, each once, in the
 * order of their sender; close hands out what is left. Clean under TSan. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/base/mailbox.h"
#include "store/base/status.h"
#include "tests/lib/loop.h"
#include "tests/lib/sweep.h"

#define SENDERS 4
#define ITEMS 2000

struct item {
	struct list link;
	int sender;
	int number;
};

struct box {
	struct mailbox *mailbox;
	int next[SENDERS]; /* the number expected of each */
	int received;
	bool all;
	bool closed;
	bool close_at_first;
};

struct sender {
	pthread_t thread;
	struct box *box;
	struct item items[ITEMS];
	int number;
};

static void note_closed(void *ctx)
{
	struct box *b = ctx;

	b->closed = true;
}

static void receive(void *ctx, struct list *l)
{
	struct item *item = kv_container_of(l, struct item, link);
	struct box *b = ctx;

	assert_false(b->closed);
	assert_int_equal(item->number, b->next[item->sender]);
	b->next[item->sender]++;
	b->received++;
	b->all = b->received == SENDERS * ITEMS;
	if (b->close_at_first && b->received == 1) {
		mailbox_close(b->mailbox, note_closed);
	}
}

static void *send_all(void *arg)
{
	struct sender *s = arg;
	int i;

	for (i = 0; i < ITEMS; i++) {
		s->items[i].sender = s->number;
		s->items[i].number = i;
		mailbox_send(s->box->mailbox, &s->items[i].link);
	}
	return NULL;
}

static void many_senders(void **state KV_UNUSED)
{
	struct sender *senders = calloc(SENDERS, sizeof *senders);
	struct test_loop l;
	struct box b = {0};
	int i;

	sweep_begin();
	test_loop_open(&l);
	b.mailbox = mailbox_open(&l.uv, receive, &b);
	assert_non_null(b.mailbox);
	for (i = 0; i < SENDERS; i++) {
		senders[i].box = &b;
		senders[i].number = i;
		assert_int_equal(pthread_create(&senders[i].thread, NULL,
						send_all, &senders[i]),
				 0);
	}
	test_loop_until(&l, &b.all);
	for (i = 0; i < SENDERS; i++) {
		assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
	}
	mailbox_close(b.mailbox, note_closed);
	assert_false(b.closed);
	test_loop_until(&l, &b.closed);
	assert_int_equal(b.received, SENDERS * ITEMS);
	test_loop_close(&l);
	sweep_end();
	free(senders);
}

static void close_hands_out_what_is_left(void **state KV_UNUSED)
{
	struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	struct test_loop l;
	struct box b = {0};
	int i;

	test_loop_open(&l);
	b.mailbox = mailbox_open(&l.uv, receive, &b);
	for (i = 0; i < 3; i++) {
		mailbox_send(b.mailbox, &items[i].link);
	}
	mailbox_close(b.mailbox, note_closed);
	assert_int_equal(b.received, 0);
	test_loop_until(&l, &b.closed);
	assert_int_equal(b.received, 3);
	test_loop_close(&l);
}

static void close_while_receiving(void **state KV_UNUSED)
{
	struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	struct box b = {.close_at_first = true};
	struct test_loop l;
	int i;

	test_loop_open(&l);
	b.mailbox = mailbox_open(&l.uv, receive, &b);
	for (i = 0; i < 3; i++) {
		mailbox_send(b.mailbox, &items[i].link);
	}
	test_loop_until(&l, &b.closed);
	assert_int_equal(b.received, 3);
	b.mailbox = mailbox_open(&l.uv, receive, &b);
	mailbox_close(b.mailbox, NULL);
	test_loop_close(&l);
}

static int open_one(void *ctx KV_UNUSED)
{
	uv_loop_t uv;
	struct box b = {0};

	assert_int_equal(uv_loop_init(&uv), 0);
	b.mailbox = mailbox_open(&uv, receive, &b);
	if (b.mailbox != NULL) {
		mailbox_close(b.mailbox, NULL);
	}
	(void)uv_run(&uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&uv), 0);
	return b.mailbox == NULL ? KV_NO_MEMORY : KV_OK;
}

static void out_of_memory(void **state KV_UNUSED)
{
	assert_int_equal(sweep_run(open_one, NULL), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_senders),
	    cmocka_unit_test(close_hands_out_what_is_left),
	    cmocka_unit_test(close_while_receiving),
	    cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
