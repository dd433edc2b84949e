/* test_route_attrs.c: what stands beside a value goes where the value goes: by
 * the seed, the stream, the repair; and what of it differs is a difference. */
#include "tests/unit/test_route_world.h"

/* Kept by the played stores as value, '~', attrs. */
static struct world *attrs_world(void)
{
	struct world *w = world_init();

	w->store_flags = STORE_ATTRS;
	put(&w->source, "/a", "1~red", FAKE_OWNER);
	put(&w->source, "/b", "2", FAKE_OWNER);
	return w;
}

static void seed_and_stream(void **state)
{
	struct world *w = attrs_world();

	(void)state;
	start(w);
	settle(w);
	assert_true(has(&w->target, "/a", "1~red"));
	assert_true(has(&w->target, "/b", "2"));
	put(&w->source, "/a", "1~blue", FAKE_OWNER); /* the value is the same */
	put(&w->source, "/b", "2~green", FAKE_OWNER);
	settle(w);
	assert_true(has(&w->target, "/a", "1~blue"));
	assert_true(has(&w->target, "/b", "2~green"));
	put(&w->source, "/a", "1", FAKE_OWNER);
	settle(w);
	assert_true(has(&w->target, "/a", "1"));
	world_finish(w);
}

/* Changes that wait in the dirty table while the scan runs. */
static void through_the_dirty_table(void **state)
{
	struct world *w = attrs_world();
	uint64_t before;

	(void)state;
	start(w);
	while (w->route->stage != STAGE_SEED) {
		step(w);
	}
	before = w->counts.attrs_put;
	put(&w->source, "/z", "9~late", FAKE_OWNER);
	settle(w);
	assert_true(has(&w->target, "/z", "9~late"));
	assert_true(w->counts.attrs_put > before);
	world_finish(w);
}

static void drift_of_attrs_is_repaired(void **state)
{
	struct world *w = attrs_world();

	(void)state;
	start(w);
	settle(w);
	put(&w->target, "/a", "1~other", FAKE_FOREIGN);
	reconcile_now(w);
	assert_true(has(&w->target, "/a", "1~red"));
	assert_int_equal(status_of(w).counters.repaired, 1);
	world_finish(w);
}

/* As an ACL does: it changes, and the version stays. */
static void drift_without_a_version(void **state)
{
	struct world *w = attrs_world();
	struct fake_key *k;

	(void)state;
	w->conf.conflict = CONF_TARGET_WINS;
	start(w);
	settle(w);
	put(&w->target, "/a", "1~other", FAKE_FOREIGN);
	k = fake_find(&w->target, slice_str("/a"));
	k->revs[k->n - 1].version = k->revs[k->n - 2].version;
	reconcile_now(w);
	assert_true(has(&w->target, "/a", "1~other"));
	assert_int_equal(status_of(w).conflicts_open, 1);
	world_finish(w);
}

/* Only what is equal in both parts is adopted. */
static void the_target_wins_by_attrs(void **state)
{
	struct world *w = attrs_world();

	(void)state;
	w->conf.conflict = CONF_TARGET_WINS;
	put(&w->target, "/a", "1~theirs", FAKE_FOREIGN);
	put(&w->target, "/b", "2", FAKE_FOREIGN);
	start(w);
	settle(w);
	assert_true(has(&w->target, "/a", "1~theirs"));
	assert_int_equal(status_of(w).conflicts_open, 1);
	assert_int_equal(status_of(w).counters.adopted, 1);
	world_finish(w);
}

static void sorted_with_a_mapping(void **state)
{
	struct world *w = attrs_world();

	(void)state;
	w->target.kind.caps.hierarchical = true;
	w->conf.escape = CONF_ESCAPE_PERCENT;
	put(&w->source, "/c%", "3~beside", FAKE_OWNER);
	start(w);
	settle(w);
	assert_true(has(&w->target, "/a", "1~red"));
	assert_true(has(&w->target, "/c%25", "3~beside"));
	world_finish(w);
}

/* Too much for one write of the target with its attrs only. */
static void limits_count_attrs(void **state)
{
	struct world *w = attrs_world();

	(void)state;
	w->target.kind.caps.max_bytes = 24;
	put(&w->source, "/fits", "12345678901~234567", FAKE_OWNER);
	put(&w->source, "/many", "12345678901~234567890", FAKE_OWNER);
	start(w);
	settle(w);
	assert_true(has(&w->target, "/fits", "12345678901~234567"));
	assert_true(has(&w->target, "/many", NULL));
	assert_int_equal(status_of(w).quarantine, 1);
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(seed_and_stream),
	    cmocka_unit_test(through_the_dirty_table),
	    cmocka_unit_test(drift_of_attrs_is_repaired),
	    cmocka_unit_test(drift_without_a_version),
	    cmocka_unit_test(the_target_wins_by_attrs),
	    cmocka_unit_test(sorted_with_a_mapping),
	    cmocka_unit_test(limits_count_attrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
