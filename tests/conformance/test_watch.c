/* test_watch.c: watching: the first batch, order, resuming at any index,
 * deletes, transactions, progress, lost history. tail.c checks what holds for
 * every batch. */
#include "tests/conformance/suite.h"

static void the_first_batch_is_init(void **state)
{
	struct world *w = *state;
	uint64_t before = put_ok(w, "/a", "1");
	struct tail *t = tail_open(w, w->st, S(""), 0);

	tail_init(t);
	assert_true(t->init >= before);
	assert_int_equal(t->n, 0);
	(void)put_ok(w, "/b", "2");
	tail_count(t, 1);
	expect_bytes(t->changes[0].key, S("/b"));
}

static void a_put_is_told_as_it_was(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct store_pair p;
	const struct store_change *ch;

	tail_init(t);
	(void)put_ok(w, "/a/b", "value");
	p = pair_of(w, S("/a/b"));
	tail_until(t, p.index);
	assert_int_equal(t->n, 1);
	ch = &t->changes[0];
	assert_int_equal(ch->action, STORE_SET);
	expect_bytes(ch->key, S("/a/b"));
	expect_bytes(ch->value, S("value"));
	assert_int_equal(ch->index, p.index);
	assert_true(store_version_eq(ch->version, p.version));
	assert_true(ch->tx_end);
	assert_false(ch->inferred);
}

/* The watch keeps copies of what it was opened with. */
static void a_watch_copies_its_names(void **state)
{
	struct world *w = *state;
	char dir[] = "/dir";
	char key[] = "/key";
	struct tail *t = tail_open(w, w->st, slice_str(dir), 0);
	struct tail *k = tail_open_key(w, w->st, slice_str(key), 0);
	uint64_t index;

	memset(dir, 'x', sizeof dir);
	memset(key, 'x', sizeof key);
	tail_init(t);
	tail_init(k);
	(void)put_ok(w, "/dir/a", "1");
	index = put_ok(w, "/key", "1");
	tail_until(t, index);
	tail_until(k, index);
	assert_int_equal(t->n, 1);
	assert_int_equal(k->n, 1);
}

static void an_overwrite_is_a_put(void **state)
{
	struct world *w = *state;
	struct tail *t;
	const struct store_change *ch;
	uint64_t index;

	(void)put_ok(w, "/a", "1");
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	index = put_ok(w, "/a", "2");
	tail_until(t, index);
	assert_int_equal(t->n, 1);
	ch = &t->changes[0];
	assert_true(ch->action == STORE_SET || ch->action == STORE_UPDATE);
	expect_bytes(ch->value, S("2"));
}

static void an_empty_value_is_no_delete(void **state)
{
	struct world *w = *state;
	struct tail *t;

	(void)put_ok(w, "/a", "1");
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	expect_status(do_put(w, w->st, S("/a"), NOTHING), KV_OK);
	tail_count(t, 1);
	assert_true(t->changes[0].action != STORE_DELETE);
	assert_int_equal(t->changes[0].value.n, 0);
}

static void a_delete_is_visible(void **state)
{
	struct world *w = *state;
	struct tail *t;
	uint64_t index;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/b", "1");
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	index = delete_ok(w, "/a");
	tail_until(t, index);
	assert_int_equal(t->n, 1);
	assert_int_equal(t->changes[0].action, STORE_DELETE);
	expect_bytes(t->changes[0].key, S("/a"));
	/* Where deletes may be inferred, some may be told all the same. */
	assert_false(t->changes[0].inferred &&
		     store_capabilities(w->st)->told_deletes);
}

static void a_subtree_that_goes_is_told_key_by_key(void **state)
{
	struct world *w = *state;
	struct tail *t;

	(void)put_ok(w, "/d", "1");
	(void)put_ok(w, "/d/a", "1");
	(void)put_ok(w, "/d/b/c", "1");
	(void)put_ok(w, "/d-e", "1");
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	expect_status(do_delete(w, w->st, S("/d"), true), KV_OK);
	(void)put_ok(w, "/z", "end");
	while (tail_last(t, S("/z")) == NULL) {
		expect_code(tail_pull(t, 0), KV_OK);
	}
	assert_int_equal(tail_count_key(t, S("/d")), 1);
	assert_int_equal(tail_count_key(t, S("/d/a")), 1);
	assert_int_equal(tail_count_key(t, S("/d/b/c")), 1);
	assert_int_equal(t->n, 4);
}

static void a_watch_is_cut_at_segments(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S("/a"), 0);
	struct tail *s = tail_open(w, w->st, S("/a/"), 0);
	uint64_t index;

	tail_init(t);
	tail_init(s);
	(void)put_ok(w, "/ab", "1");
	(void)put_ok(w, "/a-b", "1");
	(void)put_ok(w, "/a/x", "1");
	(void)put_ok(w, "/a/y/z", "1");
	(void)put_ok(w, "/a0", "1");
	index = put_ok(w, "/b/a/x", "1");
	tail_until(t, index);
	tail_until(s, index);
	assert_int_equal(t->n, 2);
	assert_int_equal(s->n, 2);
	expect_bytes(t->changes[0].key, S("/a/x"));
	expect_bytes(t->changes[1].key, S("/a/y/z"));
	expect_bytes(s->changes[1].key, S("/a/y/z"));
}

/* Puts and deletes of a few keys: what happened, and its index. */
enum { STORY = 24 };
struct story {
	uint64_t index[STORY + 1]; /* [0]: before it */
	struct slice key[STORY + 1];
	struct slice value[STORY + 1];
	bool gone[STORY + 1];
};

static void tell(struct world *w, struct story *s)
{
	s->index[0] = put_ok(w, "/begin", "1");
	for (size_t i = 1; i <= STORY; i++) {
		s->key[i] = world_key(w, "/k%zu", i * 5 % 4);
		s->gone[i] = i % 6 == 5;
		s->value[i] = s->gone[i] ? NOTHING : world_key(w, "%zu", i);
		if (s->gone[i]) {
			struct store_op *op = world_ops(w, 1);

			op[0] = op_delete(s->key[i]);
			expect_status(do_write(w, w->st, op, 1), KV_OK);
			if (op[0].status == KV_KEY_NOT_FOUND) {
				fail_msg("the story deletes what is not there");
			}
			s->index[i] = op[0].index;
		} else {
			struct call *c =
			    do_put(w, w->st, s->key[i], s->value[i]);

			expect_status(c, KV_OK);
			s->index[i] = c->u.single.pair.index;
		}
	}
}

/* Gone at the end, and not there before step `from` either: who compares lists
 * never saw it. */
static bool never_stood(const struct story *s, size_t from, size_t k)
{
	bool before = false;
	bool after = false;

	for (size_t i = 1; i <= STORY; i++) {
		if (slice_eq(s->key[i], s->key[k])) {
			before = i <= from ? !s->gone[i] : before;
			after = !s->gone[i];
		}
	}
	return !before && !after;
}

/* The last step of the story with this key, at or before an index; 0: none. */
static size_t last_step(const struct story *s, struct slice key, uint64_t index)
{
	for (size_t k = STORY; k > 0; k--) {
		if (slice_eq(s->key[k], key) && s->index[k] <= index) {
			return k;
		}
	}
	return 0;
}

/* Who does not tell every change may find out later that a key went. */
static bool is_late_delete(const struct tail *t, const struct story *s,
			   const struct store_change *ch)
{
	return ch->action == STORE_DELETE && !t->w->be->every_change &&
	       s->gone[last_step(s, ch->key, ch->index)];
}

/* The tail has the story after its step `from`, in order: each step where the
 * backend tells every change, else at least the last one of each key; but what
 * came and went since `from` may stay untold. */
static void check_story(const struct tail *t, const struct story *s,
			size_t from)
{
	size_t k = from;

	for (size_t i = 0; i < t->n; i++) {
		const struct store_change *ch = &t->changes[i];

		if (is_late_delete(t, s, ch)) {
			continue;
		}
		do {
			k++;
			if (k > STORY) {
				size_t at = last_step(s, ch->key, ch->index);

				fail_msg("change %zu, %s of %.*s at %llu, is "
					 "not in the story after the change "
					 "before it; the key's last step by "
					 "then is %zu at %llu",
					 i, store_action_name(ch->action),
					 (int)ch->key.n,
					 (const char *)ch->key.p,
					 (unsigned long long)ch->index, at,
					 (unsigned long long)s->index[at]);
			}
		} while (s->index[k] != ch->index);
		expect_bytes(ch->key, s->key[k]);
		assert_int_equal(ch->action == STORE_DELETE, s->gone[k]);
		expect_bytes(ch->value, s->value[k]);
	}
	if (t->w->be->every_change) {
		assert_int_equal(t->n, STORY - from);
	}
	for (k = STORY; k > from; k--) {
		const struct store_change *ch = tail_last(t, s->key[k]);

		if (ch == NULL && !t->w->be->every_change &&
		    never_stood(s, from, k)) {
			continue;
		}
		assert_non_null(ch);
		assert_true(ch->index >= s->index[k]);
	}
}

static void changes_come_in_order(void **state)
{
	struct world *w = *state;
	struct story s = {0};
	struct tail *t = tail_open(w, w->st, S(""), 0);

	tail_init(t);
	tell(w, &s);
	tail_until(t, s.index[STORY]);
	/* Its first change is the story's "/begin". */
	expect_bytes(t->changes[0].key, S("/begin"));
	memmove(t->changes, t->changes + 1, --t->n * sizeof *t->changes);
	check_story(t, &s, 0);
}

static void a_watch_resumes_after_any_index(void **state)
{
	struct world *w = *state;
	struct story s = {0};

	need(store_capabilities(w->st)->resumable, "history");
	tell(w, &s);
	for (size_t from = 0; from <= STORY; from++) {
		struct tail *t = tail_open(w, w->st, S(""), s.index[from]);

		tail_until(t, s.index[STORY]);
		assert_true(t->init == s.index[from] ||
			    (from == STORY && t->init >= s.index[from]));
		check_story(t, &s, from);
		tail_close(t);
	}
}

/* A batch's index is where to go on from, also at another store object. */
static void a_watch_resumes_where_one_ended(void **state)
{
	struct world *w = *state;
	struct store *other = world_open(w, w->prefix);
	struct story s = {0};
	struct tail *first;
	struct tail *t;
	uint64_t at;

	tell(w, &s);
	first = tail_open(w, w->st, S(""), 0);
	tail_init(first);
	at = first->index;
	(void)put_ok(w, "/x", "1");
	tail_count(first, 1);
	assert_true(first->index > at);
	tail_close(first);
	(void)put_ok(w, "/y", "2");
	at = put_ok(w, "/x", "3");
	t = tail_open(w, other, S(""), first->index);
	tail_until(t, at);
	assert_int_equal(t->n, 2);
	expect_bytes(t->changes[0].key, S("/y"));
	expect_bytes(t->changes[1].key, S("/x"));
	expect_bytes(t->changes[1].value, S("3"));
}

/* The index moves on with the whole store, not only with the keys watched. */
static void progress_counts_what_others_write(void **state)
{
	struct world *w = *state;
	struct store *above = world_open(w, "");
	struct tail *t = tail_open(w, w->st, S("/mine"), 0);
	struct call *c;
	uint64_t index = 0;

	tail_init(t);
	for (unsigned i = 0; i < 5; i++) {
		c = do_put(w, above, S("/elsewhere"), S("1"));
		expect_status(c, KV_OK);
		index = c->u.single.pair.index;
	}
	expect_code(tail_pull(t, index), KV_OK);
	while (t->index < index) {
		expect_code(tail_pull(t, index), KV_OK);
	}
	assert_int_equal(t->n, 0);
	/* The mark is a position to resume after: nothing is lost there. */
	tail_close(t);
	t = tail_open(w, w->st, S("/mine"), t->index);
	index = put_ok(w, "/mine/a", "1");
	tail_until(t, index);
	assert_int_equal(t->n, 1);
}

static void want_of_what_was_told_is_answered(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	uint64_t index;

	tail_init(t);
	index = put_ok(w, "/a", "1");
	tail_until(t, index);
	/* Nothing new: the mark comes all the same, at once. */
	expect_code(tail_pull(t, index), KV_OK);
	assert_int_equal(t->n, 1);
	assert_true(t->index >= index);
	expect_code(tail_pull(t, 1), KV_OK);
	assert_int_equal(t->n, 1);
}

/* Without `want` a pull waits for something to tell. */
static void a_pull_waits(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct call *c;

	tail_init(t);
	c = start_next(w, t->watch, 0);
	/* Some calls' worth of time. */
	for (unsigned i = 0; i < 5; i++) {
		expect_missing(w, S("/none"));
	}
	while (c->called > 0) {
		/* A progress mark is allowed. */
		expect_status(c, KV_OK);
		assert_int_equal(c->u.next.batch->n, 0);
		expect_code(tail_take(t, c), KV_OK);
		c = start_next(w, t->watch, 0);
		world_turns(w, 3);
	}
	(void)put_ok(w, "/a", "1");
	call_wait(c);
	expect_code(tail_take(t, c), KV_OK);
	tail_count(t, 1);
	expect_bytes(t->changes[0].key, S("/a"));
}

static void a_transaction_ends_once(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	size_t n = KV_MIN(limit_of(store_capabilities(w->st)->max_ops), 50);
	struct store_op *ops = world_ops(w, n);

	need(store_capabilities(w->st)->atomic, "transactions");
	tail_init(t);
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < n; i++) {
			ops[i] =
			    op_put(world_key(w, "/k%u-%zu", round, i), S("v"));
		}
		expect_status(do_write(w, w->st, ops, n), KV_OK);
	}
	tail_count(t, 3 * n);
	/* Where one commit has one index, it is one transaction; sqlite may
	 * show several commits as one. */
	assert_in_range(t->ends, 1, 3);
	assert_true(t->changes[3 * n - 1].tx_end);
	for (size_t i = 0; i + 1 < t->n; i++) {
		if (t->changes[i].index == t->changes[i + 1].index) {
			assert_false(t->changes[i].tx_end);
		}
	}
	for (size_t r = 0; r < 3; r++) {
		for (size_t i = 0; i + 1 < n; i++) {
			assert_false(t->changes[r * n + i].tx_end);
		}
	}
}

/* Puts and deletes in one write: all of it is told. */
static void a_mixed_transaction_is_told_whole(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 3);
	struct tail *t;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/b", "1");
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	ops[0] = op_delete(S("/a"));
	ops[1] = op_put(S("/b"), S("2"));
	ops[2] = op_put(S("/c"), S("3"));
	expect_status(do_write(w, w->st, ops, 3), KV_OK);
	tail_count(t, 3);
	assert_int_equal(tail_last(t, S("/a"))->action, STORE_DELETE);
	expect_bytes(tail_last(t, S("/b"))->value, S("2"));
	expect_bytes(tail_last(t, S("/c"))->value, S("3"));
}

/* A transaction of many large values: whole, whatever pieces it comes in. */
static void a_large_transaction(void **state)
{
	struct world *w = *state;
	const struct store_caps *caps = store_capabilities(w->st);
	size_t n = KV_MIN(limit_of(caps->max_ops), 100);
	size_t size =
	    KV_MIN(limit_of(caps->max_bytes), (size_t)1 << 20) / n - 200;
	struct store_op *ops = world_ops(w, n);
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct slice value = world_fill(w, size, 'v');

	tail_init(t);
	for (unsigned round = 0; round < 8; round++) {
		for (size_t i = 0; i < n; i++) {
			ops[i] =
			    op_put(world_key(w, "/k%u-%zu", round, i), value);
		}
		expect_status(do_write(w, w->st, ops, n), KV_OK);
	}
	tail_count(t, 8 * n);
	assert_int_equal(t->n, 8 * n);
	for (size_t i = 0; i < t->n; i++) {
		assert_int_equal(t->changes[i].value.n, size);
	}
}

/* Where a transaction comes in pieces, its index is reached with the last one:
 * who resumes before gets all of it again. */
static void a_torn_transaction_is_told_again(void **state)
{
	struct world *w = *state;
	const struct store_caps *caps = store_capabilities(w->st);
	size_t n = KV_MIN(limit_of(caps->max_ops), 500);
	size_t size =
	    KV_MIN(limit_of(caps->max_bytes), (size_t)24 << 20) / n - 200;
	struct store_op *ops = world_ops(w, n);
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct slice value = world_fill(w, size, 'v');
	struct tail *again;

	tail_init(t);
	for (size_t i = 0; i < n; i++) {
		ops[i] = op_put(world_key(w, "/k%zu", i), value);
	}
	expect_status(do_write(w, w->st, ops, n), KV_OK);
	expect_code(tail_pull(t, 0), KV_OK);
	need(t->n < n, "transaction that comes in pieces");
	assert_true(t->index < t->changes[0].index);
	tail_close(t);
	again = tail_open(w, w->st, S(""), t->index);
	tail_count(again, n);
	assert_int_equal(again->n, n);
	assert_int_equal(again->ends, 1);
	assert_true(again->index >= ops[n - 1].index);
}

static void odd_values_and_large_ones(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_value);
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct slice big = world_fill(w, KV_MIN(max, (size_t)1 << 20), 0xfe);

	tail_init(t);
	expect_status(do_put(w, w->st, S("/nul"), B("a\0b\0")), KV_OK);
	expect_status(do_put(w, w->st, S("/big"), big), KV_OK);
	tail_count(t, 2);
	expect_bytes(tail_last(t, S("/nul"))->value, B("a\0b\0"));
	expect_bytes(tail_last(t, S("/big"))->value, big);
}

/* ---- one key -------------------------------------------------------------*/

static void watching_a_key_begins_with_its_pair(void **state)
{
	struct world *w = *state;
	struct tail *t;
	struct store_pair p;

	(void)put_ok(w, "/k", "1");
	p = pair_of(w, S("/k"));
	t = tail_open_key(w, w->st, S("/k"), 0);
	tail_init(t);
	assert_int_equal(t->n, 1);
	assert_int_equal(t->changes[0].action, STORE_GET);
	expect_bytes(t->changes[0].key, S("/k"));
	expect_bytes(t->changes[0].value, S("1"));
	assert_true(store_version_eq(t->changes[0].version, p.version));
	assert_int_equal(t->changes[0].index, p.index);
}

static void watching_a_key_tells_of_that_key_alone(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open_key(w, w->st, S("/k"), 0);
	uint64_t index;

	tail_init(t);
	assert_int_equal(t->n, 0); /* it is not there yet */
	(void)put_ok(w, "/k/child", "no");
	(void)put_ok(w, "/kk", "no");
	(void)put_ok(w, "/k-", "no");
	index = put_ok(w, "/k", "1");
	tail_until(t, index);
	assert_int_equal(t->n, 1);
	(void)put_ok(w, "/k", "2");
	(void)delete_ok(w, "/k");
	index = put_ok(w, "/k", "3");
	tail_until(t, index);
	expect_bytes(t->changes[t->n - 1].value, S("3"));
	if (w->be->every_change) {
		assert_int_equal(t->n, 4);
		expect_bytes(t->changes[1].value, S("2"));
		assert_int_equal(t->changes[2].action, STORE_DELETE);
	}
	(void)delete_ok(w, "/k");
	while (t->changes[t->n - 1].action != STORE_DELETE) {
		expect_code(tail_pull(t, 0), KV_OK);
	}
}

/* ---- history -------------------------------------------------------------*/

static void an_old_index_is_history_lost(void **state)
{
	struct world *w = *state;
	struct tail *t;
	uint64_t old;

	need(w->be->forget != NULL, "way to forget its history");
	old = put_ok(w, "/a", "1");
	(void)put_ok(w, "/a", "2");
	(void)delete_ok(w, "/a");
	(void)put_ok(w, "/b", "2");
	(void)put_ok(w, "/b", "3");
	w->be->forget(w->env, w->serial);
	t = tail_open(w, w->st, S(""), old);
	expect_code(tail_pull(t, 0), KV_HISTORY_LOST);
	tail_close(t);
	/* And from now on everything is as before. */
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	(void)put_ok(w, "/c", "1");
	tail_count(t, 1);
}

/* Forgetting what is already behind a watch does it no harm. */
static void an_open_watch_outlives_forgetting(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	uint64_t index;

	need(w->be->forget != NULL, "way to forget its history");
	tail_init(t);
	index = put_ok(w, "/a", "1");
	tail_until(t, index);
	w->be->forget(w->env, w->serial);
	index = put_ok(w, "/b", "2");
	tail_until(t, index);
	expect_bytes(t->changes[t->n - 1].key, S("/b"));
}

static void an_index_of_the_future_is_history_lost(void **state)
{
	struct world *w = *state;
	uint64_t future = put_ok(w, "/a", "1") + 1000000;
	struct tail *t = tail_open(w, w->st, S(""), future);

	expect_code(tail_pull(t, 0), KV_HISTORY_LOST);
}

static void another_history_is_history_lost(void **state)
{
	struct world *w = *state;
	struct tail *t;
	uint64_t old = 0;

	need(w->be->wipe != NULL, "way to begin another history");
	for (unsigned i = 0; i < 30; i++) {
		old = put_ok(w, "/a", "1");
	}
	world_close(w, w->st);
	w->be->wipe(w->env, w->serial);
	w->st = world_open(w, w->prefix);
	expect_missing(w, S("/a"));
	t = tail_open(w, w->st, S(""), old);
	expect_code(tail_pull(t, 0), KV_HISTORY_LOST);
}

/* ---- back-pressure, several watches --------------------------------------*/

/* Nobody asks for a while; then all of it comes, in order. */
static void a_slow_reader_misses_nothing(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	size_t batch =
	    KV_MIN(limit_of(store_capabilities(w->st)->max_ops), 100);
	struct slice value = world_fill(w, 1000, 'v');
	size_t total = 0;

	tail_init(t);
	while (total < 5000) {
		struct store_op *ops = world_ops(w, batch);

		for (size_t k = 0; k < batch; k++, total++) {
			ops[k] = op_put(world_key(w, "/s/%zu", total), value);
		}
		expect_status(do_write(w, w->st, ops, batch), KV_OK);
	}
	tail_count(t, total);
	assert_int_equal(t->n, total);
	for (size_t i = 0; i < total; i += 97) {
		assert_int_equal(tail_count_key(t, t->changes[i].key), 1);
	}
}

static void watches_do_not_disturb_each_other(void **state)
{
	struct world *w = *state;
	struct tail *t[5];
	uint64_t index;

	for (size_t i = 0; i < KV_COUNT(t); i++) {
		t[i] = tail_open(w, w->st, i % 2 == 0 ? S("") : S("/odd"), 0);
		tail_init(t[i]);
	}
	(void)put_ok(w, "/odd/a", "1");
	(void)put_ok(w, "/even/a", "1");
	tail_close(t[2]);
	index = put_ok(w, "/odd/b", "1");
	for (size_t i = 0; i < KV_COUNT(t); i++) {
		if (i != 2) {
			tail_until(t[i], index);
			assert_int_equal(t[i]->n, i % 2 == 0 ? 3 : 2);
		}
	}
}

/* The number in a key "/k12" or a value "12". */
static uint64_t number_of(struct slice s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] >= '0' && s.p[i] <= '9') {
			n = n * 10 + (uint64_t)(s.p[i] - '0');
		}
	}
	return n;
}

/* A seed as the agent does it: the watch first, then the pages, while others
 * write; pages plus changes give the present state. */
static void pages_and_changes_join(void **state)
{
	struct world *w = *state;
	struct store *other = world_open(w, w->prefix);
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct slice after = NOTHING;
	uint64_t value[30] = {0}; /* what the copy has; 0: nothing */
	uint64_t truth[30] = {0};
	uint64_t seen_at[30] = {0};
	uint64_t last = 0;
	bool more = true;

	tail_init(t);
	for (unsigned i = 1; more; i++) {
		struct call *c;

		for (unsigned k = 0; k < 3; k++) {
			unsigned key = (i * 11 + k * 7) % 30;
			struct slice name = world_key(w, "/k%02u", key);

			truth[key] = (i * 3 + k) % 5 == 4 ? 0 : i * 3 + k;
			if (truth[key] == 0) {
				c = do_delete(w, other, name, false);
				expect_one_of(c, KV_OK, KV_KEY_NOT_FOUND);
			} else {
				c = do_put(w, other, name,
					   world_key(w, "%u", i * 3 + k));
				expect_status(c, KV_OK);
			}
		}
		c = do_scan(w, w->st, store_scan, S(""), after, 2);
		expect_status(c, KV_OK);
		more = c->u.scan.page->more || i < 20;
		for (size_t k = 0; k < c->u.scan.page->n; k++) {
			struct store_pair *p = &c->u.scan.page->pairs[k];
			size_t key = number_of(p->key);

			value[key] = number_of(p->value);
			seen_at[key] = p->index;
			after = p->key;
		}
	}
	last = put_ok(w, "/k00", "999");
	truth[0] = 999;
	tail_until(t, last);
	for (size_t i = 0; i < t->n; i++) {
		const struct store_change *ch = &t->changes[i];
		size_t key = number_of(ch->key);

		if (ch->index > seen_at[key]) {
			value[key] = ch->action == STORE_DELETE
					 ? 0
					 : number_of(ch->value);
			seen_at[key] = ch->index;
		}
	}
	for (size_t i = 0; i < 30; i++) {
		assert_int_equal(value[i], truth[i]);
	}
}

int group_watch(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(the_first_batch_is_init),
	    suite_test(a_put_is_told_as_it_was),
	    suite_test(a_watch_copies_its_names),
	    suite_test(an_overwrite_is_a_put),
	    suite_test(an_empty_value_is_no_delete),
	    suite_test(a_delete_is_visible),
	    suite_test(a_subtree_that_goes_is_told_key_by_key),
	    suite_test(a_watch_is_cut_at_segments),
	    suite_test(changes_come_in_order),
	    suite_test(a_watch_resumes_after_any_index),
	    suite_test(a_watch_resumes_where_one_ended),
	    suite_test(progress_counts_what_others_write),
	    suite_test(want_of_what_was_told_is_answered),
	    suite_test(a_pull_waits),
	    suite_test(a_transaction_ends_once),
	    suite_test(a_mixed_transaction_is_told_whole),
	    suite_test(a_large_transaction),
	    suite_test(a_torn_transaction_is_told_again),
	    suite_test(odd_values_and_large_ones),
	    suite_test(watching_a_key_begins_with_its_pair),
	    suite_test(watching_a_key_tells_of_that_key_alone),
	    suite_test(an_old_index_is_history_lost),
	    suite_test(an_open_watch_outlives_forgetting),
	    suite_test(an_index_of_the_future_is_history_lost),
	    suite_test(another_history_is_history_lost),
	    suite_test(a_slow_reader_misses_nothing),
	    suite_test(watches_do_not_disturb_each_other),
	    suite_test(pages_and_changes_join),
	};

	return cmocka_run_group_tests_name("watch", tests, world_group_set_up,
					   world_group_tear_down);
}
