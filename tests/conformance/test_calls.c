/* test_calls.c: the contract of every asynchronous call: exactly one callback,
 * later; cancel is a wish; close fails what is outstanding, then calls back.
 * The world counts the callbacks of all calls of all tests; here are the cases
 * that provoke it. */
#include <stdlib.h>

#include "tests/conformance/suite.h"

/* One starter for each kind of call. */
struct starter {
	const char *name;
	struct call *(*start)(struct world *w, struct store *st);
	bool writes;
};

static struct call *begin_get(struct world *w, struct store *st)
{
	return start_get(w, st, S("/a"));
}

static struct call *begin_exists(struct world *w, struct store *st)
{
	return start_exists(w, st, S("/a"));
}

static struct call *begin_put(struct world *w, struct store *st)
{
	return start_put(w, st, S("/new"), S("v"));
}

static struct call *begin_delete(struct world *w, struct store *st)
{
	return start_delete(w, st, S("/a"), false);
}

static struct call *begin_delete_tree(struct world *w, struct store *st)
{
	return start_delete(w, st, S("/d"), true);
}

static struct call *begin_atomic_put(struct world *w, struct store *st)
{
	return start_atomic_put(w, st, S("/new"), S("v"), NULL);
}

static struct call *begin_atomic_delete(struct world *w, struct store *st)
{
	static const struct store_pair previous = {.version = {1, 0}};

	return start_atomic_delete(w, st, S("/a"), &previous);
}

static struct call *begin_scan(struct world *w, struct store *st)
{
	return start_scan(w, st, store_scan, S(""), NOTHING, 0);
}

static struct call *begin_get_tree(struct world *w, struct store *st)
{
	return start_scan(w, st, store_get_tree, S("/d"), NOTHING, 0);
}

static struct call *begin_list(struct world *w, struct store *st)
{
	return start_scan(w, st, store_list, S("/d"), NOTHING, 0);
}

static struct call *begin_write(struct world *w, struct store *st)
{
	struct call *c = call_new(w, st, CALL_WRITE);

	c->ops[0] = op_put(S("/new"), S("v"));
	c->ops[1] = op_put(S("/new2"), S("v"));
	c->u.write.ops = c->ops;
	c->u.write.n_ops = 2;
	call_begin(c);
	call_submitted(c, store_write(st, &c->u.write));
	return c;
}

static struct call *begin_next(struct world *w, struct store *st)
{
	struct tail *t = tail_open(w, st, S(""), 0);
	struct call *c = start_next(w, t->watch, 0);

	c->hook_ctx = t;
	return c;
}

static const struct starter starters[] = {
    {"get", begin_get, false},
    {"exists", begin_exists, false},
    {"put", begin_put, true},
    {"delete", begin_delete, true},
    {"delete, recursive", begin_delete_tree, true},
    {"atomic_put", begin_atomic_put, true},
    {"atomic_delete", begin_atomic_delete, true},
    {"scan", begin_scan, false},
    {"get_tree", begin_get_tree, false},
    {"list", begin_list, false},
    {"write", begin_write, true},
    {"watch_next", begin_next, false},
};

static void put_something(struct world *w)
{
	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/d/1", "1");
	(void)put_ok(w, "/d/2", "1");
}

/* What a call may end with when it is cut short. */
static void expect_cut_short(const struct call *c, const struct starter *s)
{
	switch (c->status) {
	case KV_OK:
	case KV_CANCELED:
	case KV_KEY_MODIFIED:  /* atomic_delete's real result */
	case KV_KEY_NOT_FOUND: /* of what an earlier call deleted */
	case KV_KEY_EXISTS:
		return;
	case KV_UNKNOWN_OUTCOME:
		if (s->writes) {
			return;
		}
		break;
	default:
		break;
	}
	fail_msg("%s ended with %s \"%s\"", s->name, kv_status_name(c->status),
		 c->err->text);
}

static void each_call_is_called_back_once(void **state)
{
	struct world *w = *state;

	put_something(w);
	for (size_t i = 0; i < KV_COUNT(starters); i++) {
		struct call *c = starters[i].start(w, w->st);

		expect_code(c->rv, KV_OK);
		assert_int_equal(c->called, 0);
		call_wait(c);
		world_turns(w, 5);
		assert_int_equal(c->called, 1);
	}
}

static void many_calls_at_once(void **state)
{
	struct world *w = *state;
	struct call *calls[200];

	put_something(w);
	for (size_t i = 0; i < KV_COUNT(calls); i++) {
		const struct starter *s = &starters[i % KV_COUNT(starters)];

		calls[i] = s->start(w, w->st);
		expect_code(calls[i]->rv, KV_OK);
	}
	for (size_t i = 0; i < KV_COUNT(calls); i++) {
		call_wait(calls[i]);
		expect_cut_short(calls[i], &starters[i % KV_COUNT(starters)]);
		assert_int_not_equal(calls[i]->status, KV_CANCELED);
		assert_int_not_equal(calls[i]->status, KV_UNKNOWN_OUTCOME);
	}
}

/* In the callback the request is the caller's again: it may be submitted. */
static void get_again(struct call *c)
{
	unsigned *left = c->hook_ctx;

	if (*left > 0) {
		(*left)--;
		c->inside = true;
		if (store_get(c->st, &c->u.single) == KV_OK) {
			c->expects++;
		}
		c->inside = false;
	}
}

static void a_callback_may_submit_again(void **state)
{
	struct world *w = *state;
	unsigned left = 3;
	unsigned done = 0;
	struct call *c;

	put_something(w);
	c = start_get(w, w->st, S("/a"));
	c->hook = get_again;
	c->hook_ctx = &left;
	call_wait(c);
	while (c->called < 4) {
		(void)world_run_until(w, &done, 50);
	}
	expect_status(c, KV_OK);
	assert_int_equal(c->called, 4);
	assert_int_equal(left, 0);
	expect_bytes(c->u.single.pair.value, S("1"));
}

struct freed {
	struct store_single single;
	unsigned *done;
};

static void free_it(struct store_single *req)
{
	struct freed *f = kv_container_of(req, struct freed, single);

	(*f->done)++;
	store_single_free(req);
	free(f);
}

static void a_callback_may_free_its_request(void **state)
{
	struct world *w = *state;
	unsigned done = 0;

	put_something(w);
	for (unsigned i = 0; i < 3; i++) {
		struct freed *f = calloc(1, sizeof *f);

		assert_non_null(f);
		f->done = &done;
		f->single.key = S("/a");
		f->single.value = S("2");
		f->single.cb = free_it;
		done = 0;
		expect_code(i == 0   ? store_get(w->st, &f->single)
			    : i == 1 ? store_put(w->st, &f->single)
				     : store_delete(w->st, &f->single),
			    KV_OK);
		assert_true(world_run_until(w, &done, 10000));
	}
}

/* ---- cancel --------------------------------------------------------------*/

static void cancel_is_a_wish(void **state)
{
	struct world *w = *state;

	for (unsigned turns = 0; turns < 4; turns++) {
		for (size_t i = 0; i < KV_COUNT(starters); i++) {
			struct call *c;

			put_something(w);
			c = starters[i].start(w, w->st);
			expect_code(c->rv, KV_OK);
			world_turns(w, turns);
			if (c->called == 0) {
				c->inside = true;
				store_cancel(&c->u.req);
				c->inside = false;
			}
			call_wait(c);
			expect_cut_short(c, &starters[i]);
		}
	}
	/* The store is as good as before. */
	(void)put_ok(w, "/a", "2");
	expect_stored(w, S("/a"), S("2"));
}

/* What a canceled write says is true: canceled means not done, also later. */
static void a_canceled_write_tells_the_truth(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 40; i++) {
		struct slice key = world_key(w, "/c%u", i);
		struct store_op *op = world_ops(w, 1);
		struct call *c;

		op[0] = op_put(key, S("v"));
		c = start_write(w, w->st, op, 1);
		world_turns(w, i % 8);
		if (c->called == 0) {
			store_cancel(&c->u.req);
		}
		call_wait(c);
		expect_one_of(c, KV_OK, KV_CANCELED, KV_UNKNOWN_OUTCOME);
		/* Ordered behind it on this store's way to the server. */
		if (c->status == KV_OK) {
			expect_code(op[0].status, KV_OK);
			expect_stored(w, key, S("v"));
		} else if (c->status == KV_CANCELED) {
			(void)put_ok(w, "/behind", "1");
			expect_missing(w, key);
		} else {
			expect_code(op[0].status, KV_UNKNOWN_OUTCOME);
		}
	}
}

static void a_waiting_pull_can_be_canceled(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct call *c;

	tail_init(t);
	c = start_next(w, t->watch, 0);
	world_turns(w, 5);
	if (c->called == 0) {
		store_cancel(&c->u.req);
	}
	call_wait(c);
	expect_one_of(c, KV_CANCELED, KV_OK);
	tail_close(t);
	/* Another watch works. */
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	(void)put_ok(w, "/a", "1");
	tail_count(t, 1);
}

/* ---- closing a watch -----------------------------------------------------*/

static void closing_a_watch_cancels_its_pull(void **state)
{
	struct world *w = *state;

	for (unsigned turns = 0; turns < 20; turns++) {
		struct tail *t = tail_open(w, w->st, S(""), 0);
		struct call *c;

		if (turns % 2 == 0) {
			tail_init(t);
		}
		c = start_next(w, t->watch, 0);
		world_turns(w, turns);
		c->inside = c->called == 0;
		tail_close(t);
		c->inside = false;
		call_wait(c);
		expect_one_of(c, KV_CANCELED, KV_OK);
	}
}

static void a_watch_may_never_be_pulled(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S("/a"), 0);

	tail_close(t);
	(void)tail_open_key(w, w->st, S("/b"), 7);
	(void)tail_open(w, w->st, S(""), 1);
	expect_missing(w, S("/a"));
	/* Two of them are closed with the store. */
}

static void close_in_callback(struct call *c)
{
	struct tail *t = c->hook_ctx;

	tail_close(t);
}

static void a_watch_may_be_closed_in_its_callback(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct call *c;

	tail_init(t);
	(void)put_ok(w, "/a", "1");
	c = start_next(w, t->watch, 0);
	c->hook = close_in_callback;
	c->hook_ctx = t;
	call_wait(c);
	expect_status(c, KV_OK);
	expect_stored(w, S("/a"), S("1"));
}

static void a_watch_may_be_closed_with_changes_left(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct slice value = world_fill(w, 10000, 'v');

	tail_init(t);
	for (unsigned i = 0; i < 100; i++) {
		expect_status(do_put(w, w->st, world_key(w, "/k%u", i), value),
			      KV_OK);
	}
	expect_code(tail_pull(t, 0), KV_OK);
	tail_close(t);
	expect_stored(w, S("/k99"), value);
}

/* ---- closing a store -----------------------------------------------------*/

/* Close during each call, after some turns of the loop: the call is called back
 * before the store says closed. */
static void note_order(struct call *c)
{
	const unsigned *closed = c->hook_ctx;

	if (*closed > 0) {
		c->early = true;
	}
}

static void closing_cuts_each_call_short(void **state)
{
	struct world *w = *state;

	for (unsigned turns = 0; turns < 4; turns++) {
		for (size_t i = 0; i < KV_COUNT(starters); i++) {
			struct store *st;
			unsigned closed = 0;
			struct call *c;

			put_something(w);
			st = world_open(w, w->prefix);
			if (turns > 0) {
				/* Connected, that is. A delete that was cut
				 * short may have come late. */
				expect_one_of(do_get(w, st, S("/a")), KV_OK,
					      KV_KEY_NOT_FOUND);
			}
			c = starters[i].start(w, st);
			expect_code(c->rv, KV_OK);
			c->hook = note_order;
			c->hook_ctx = &closed;
			world_turns(w, turns);
			c->inside = c->called == 0;
			world_close_begin(w, st, &closed);
			c->inside = false;
			assert_int_equal(closed, 0);
			if (!world_run_until(w, &closed, 20000)) {
				fail_msg("not closed during %s",
					 starters[i].name);
			}
			assert_int_equal(c->called, 1);
			assert_false(c->early);
			expect_cut_short(c, &starters[i]);
			/* Its watch, if it had one, went with the store. */
			for (struct list *l = w->watches.next; l != &w->watches;
			     l = l->next) {
				kv_container_of(l, struct tail, link)->watch =
				    NULL;
			}
		}
	}
}

static void closing_with_much_outstanding(void **state)
{
	struct world *w = *state;
	struct store *st = world_open(w, w->prefix);
	struct call *calls[120];
	unsigned closed = 0;

	put_something(w);
	for (size_t i = 0; i < KV_COUNT(calls); i++) {
		calls[i] = starters[i % KV_COUNT(starters)].start(w, st);
		expect_code(calls[i]->rv, KV_OK);
	}
	world_turns(w, 2);
	world_close_begin(w, st, &closed);
	assert_true(world_run_until(w, &closed, 20000));
	for (size_t i = 0; i < KV_COUNT(calls); i++) {
		assert_int_equal(calls[i]->called, 1);
		expect_cut_short(calls[i], &starters[i % KV_COUNT(starters)]);
	}
	for (struct list *l = w->watches.next; l != &w->watches; l = l->next) {
		kv_container_of(l, struct tail, link)->watch = NULL;
	}
}

static void closing_at_once(void **state)
{
	struct world *w = *state;
	unsigned closed = 0;

	world_close_begin(w, world_open(w, w->prefix), &closed);
	assert_int_equal(closed, 0);
	assert_true(world_run_until(w, &closed, 20000));
}

/* In the callback of a call that close cut short: the store takes nothing. */
static void try_again(struct call *c)
{
	int *rv = c->hook_ctx;

	c->u.single.err.status = KV_OK;
	c->inside = true;
	*rv = store_get(c->st, &c->u.single);
	c->inside = false;
	c->status = KV_CANCELED;
}

static void a_closing_store_takes_nothing(void **state)
{
	struct world *w = *state;
	struct store *st = world_open(w, w->prefix);
	struct call *c = start_get(w, st, S("/a"));
	unsigned closed = 0;
	int rv = KV_OK;

	c->hook = try_again;
	c->hook_ctx = &rv;
	world_close_begin(w, st, &closed);
	assert_true(world_run_until(w, &closed, 20000));
	expect_code(rv, KV_CANCELED);
	assert_int_equal(c->called, 1);
}

static void close_store_in_callback(struct call *c)
{
	unsigned *closed = c->hook_ctx;

	world_close_begin(c->w, c->st, closed);
}

static void a_store_may_be_closed_in_a_callback(void **state)
{
	struct world *w = *state;

	put_something(w);
	for (size_t i = 0; i < KV_COUNT(starters); i++) {
		struct store *st = world_open(w, w->prefix);
		unsigned closed = 0;
		struct call *beside;
		struct call *c;

		if (starters[i].start == begin_next) {
			world_close(w, st);
			continue;
		}
		beside = start_get(w, st, S("/a"));
		c = starters[i].start(w, st);
		c->hook = close_store_in_callback;
		c->hook_ctx = &closed;
		assert_true(world_run_until(w, &closed, 20000));
		assert_int_equal(c->called, 1);
		assert_int_equal(beside->called, 1);
		expect_one_of(beside, KV_OK, KV_CANCELED, KV_KEY_NOT_FOUND);
	}
}

static void next_and_close(struct call *c)
{
	unsigned *closed = c->hook_ctx;

	store_batch_free(c->u.next.batch);
	c->u.next.batch = NULL;
	world_close_begin(c->w, c->st, closed);
}

static void a_store_may_be_closed_in_a_watch_callback(void **state)
{
	struct world *w = *state;
	struct store *st = world_open(w, w->prefix);
	struct tail *t = tail_open(w, st, S(""), 0);
	struct tail *other = tail_open(w, st, S("/x"), 0);
	unsigned closed = 0;
	struct call *waits;
	struct call *c;

	tail_init(other);
	waits = start_next(w, other->watch, 0);
	c = start_next(w, t->watch, 0);
	c->st = st;
	c->hook = next_and_close;
	c->hook_ctx = &closed;
	assert_true(world_run_until(w, &closed, 20000));
	t->watch = NULL;
	other->watch = NULL;
	assert_int_equal(waits->called, 1);
	expect_status(waits, KV_CANCELED);
}

/* ---- every allocation can fail -------------------------------------------*/

struct meager {
	unsigned long left;
	bool failed;
};

static void *meager_realloc(void *ctx, void *ptr, size_t size)
{
	struct meager *m = ctx;

	if (m->left == 0) {
		m->failed = true;
		return NULL;
	}
	m->left--;
	return realloc(ptr, size);
}

static void meager_free(void *ctx, void *ptr)
{
	(void)ctx;
	free(ptr);
}

/* A connection that lack of memory broke may take the next call with it, not
 * the one after that. */
static void put_again(struct world *w)
{
	struct call *c = do_put(w, w->st, S("/a"), S("1"));

	if (c->status != KV_OK) {
		expect_one_of(c, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME);
		c = do_put(w, w->st, S("/a"), S("1"));
	}
	expect_status(c, KV_OK);
}

/* The n-th allocation of a call fails and all that follow do: the call says so,
 * whatever n; afterwards the store is as good as before. Backends with a thread
 * of their own allocate there, too, which is why all later ones fail. */
static void a_call_survives_lack_of_memory(void **state)
{
	struct world *w = *state;

	put_something(w);
	expect_stored(w, S("/a"), S("1"));
	for (size_t i = 0; i < KV_COUNT(starters); i++) {
		if (starters[i].start == begin_next) {
			continue;
		}
		for (unsigned long n = 0; n < 60; n++) {
			struct meager m = {.left = n};
			struct kv_mem_hooks hooks = {.realloc = meager_realloc,
						     .free = meager_free,
						     .ctx = &m};
			struct call *c;

			kv_mem_set_hooks(&hooks);
			c = starters[i].start(w, w->st);
			call_wait(c);
			kv_mem_set_hooks(NULL);
			if (!m.failed) {
				break;
			}
			switch (c->status) {
			case KV_NO_MEMORY:
			case KV_NOT_REACHABLE: /* lost with the connection */
			case KV_UNKNOWN_OUTCOME:
			case KV_CANCELED:
				break;
			default:
				expect_cut_short(c, &starters[i]);
			}
			put_again(w);
		}
	}
	expect_stored(w, S("/a"), S("1"));
}

int group_calls(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(each_call_is_called_back_once),
	    suite_test(many_calls_at_once),
	    suite_test(a_callback_may_submit_again),
	    suite_test(a_callback_may_free_its_request),
	    suite_test(cancel_is_a_wish),
	    suite_test(a_canceled_write_tells_the_truth),
	    suite_test(a_waiting_pull_can_be_canceled),
	    suite_test(closing_a_watch_cancels_its_pull),
	    suite_test(a_watch_may_never_be_pulled),
	    suite_test(a_watch_may_be_closed_in_its_callback),
	    suite_test(a_watch_may_be_closed_with_changes_left),
	    suite_test(closing_cuts_each_call_short),
	    suite_test(closing_with_much_outstanding),
	    suite_test(closing_at_once),
	    suite_test(a_closing_store_takes_nothing),
	    suite_test(a_store_may_be_closed_in_a_callback),
	    suite_test(a_store_may_be_closed_in_a_watch_callback),
	    suite_test(a_call_survives_lack_of_memory),
	};

	return cmocka_run_group_tests_name("calls", tests, world_group_set_up,
					   world_group_tear_down);
}
