/* test_route_known.c: what a route tells a source that re-lists of the keys it
 * knows, and when these are all that there were. */
#include "tests/unit/test_route_world.h"

static struct world *relisting_world(void)
{
	struct world *w = world_init();

	source_relists(w);
	put(&w->source, "/a", "1", FAKE_OWNER);
	put(&w->source, "/b", "2", FAKE_OWNER);
	return w;
}

/* Everything is applied, and the watch is opened anew. */
static bool is_complete(struct world *w)
{
	uint64_t relists = w->counts.relists;

	settle(w);
	w->reconciles = 0;
	fake_cut(&w->source);
	put(&w->source, "/again", "x", FAKE_OWNER);
	settle(w);
	assert_int_equal(w->reconciles, 0);
	assert_true(w->counts.relists > relists);
	return w->route->known.complete;
}

static void all_keys_are_named(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	start(w);
	assert_true(is_complete(w));
	del(&w->source, "/a", FAKE_OWNER);
	put(&w->source, "/c", "3", FAKE_OWNER);
	assert_true(is_complete(w));
	world_finish(w);
}

static void so_after_a_restart(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	start(w);
	settle(w);
	stop(w);
	put(&w->source, "/c", "3", FAKE_OWNER);
	start(w);
	settle(w);
	assert_int_equal(w->reconciles, 0);
	assert_true(w->route->known.complete);
	world_finish(w);
}

static void with_a_mapping(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	w->target.kind.caps.hierarchical = true;
	w->conf.escape = CONF_ESCAPE_PERCENT;
	put(&w->source, "/x%", "1", FAKE_OWNER);
	start(w);
	assert_true(is_complete(w));
	world_finish(w);
}

static void not_with_a_filter(void **state)
{
	static char pattern[] = "/no/**";
	static char *exclude[] = {pattern};
	struct world *w = relisting_world();

	(void)state;
	w->conf.exclude = exclude;
	w->conf.n_exclude = 1;
	start(w);
	assert_false(is_complete(w));
	world_finish(w);
}

static void not_beside_quarantine(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	start(w);
	put(&w->source, "/bad!", "1", FAKE_OWNER);
	assert_false(is_complete(w));
	assert_int_equal(status_of(w).quarantine, 1);
	world_finish(w);
}

static void not_beside_yielded_keys(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	w->conf.conflict = CONF_TARGET_WINS;
	put(&w->target, "/a", "theirs", FAKE_FOREIGN);
	start(w);
	assert_false(is_complete(w));
	world_finish(w);
}

static void not_beside_kept_drift(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	w->conf.drift = CONF_DRIFT_KEEP;
	start(w);
	settle(w);
	put(&w->target, "/a", "drift", FAKE_FOREIGN);
	reconcile_now(w);
	assert_int_equal(status_of(w).conflicts_open, 1);
	assert_false(is_complete(w));
	world_finish(w);
}

static void not_after_a_scan_of_several_states(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	w->source.kind.caps.scan_page = 1;
	start(w);
	while (w->counts.scans < 4) {
		step(w);
	}
	put(&w->source, "/a", "3", FAKE_OWNER);
	while (w->route->stage != STAGE_FOLLOW) {
		step(w);
	}
	assert_true(w->route->env.cp.complete);
	assert_false(w->route->env.cp.exact);
	/* What a watch has told since is exact. */
	settle(w);
	assert_false(w->route->known.complete);
	assert_true(w->route->env.cp.exact);
	assert_true(is_complete(w));
	world_finish(w);
}

/* A single pass ends, although the watch has nothing to tell any more. */
static void a_pass_ends_in_silence(void **state)
{
	struct world *w = relisting_world();

	(void)state;
	w->source.kind.silent = true;
	w->one_shot = true;
	start(w);
	settle(w);
	assert_true(has(&w->target, "/a", "1"));
	assert_int_equal(status_of(w).end_index, w->source.index);
	assert_int_equal(status_of(w).saved, w->source.index);
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_keys_are_named),
	    cmocka_unit_test(so_after_a_restart),
	    cmocka_unit_test(with_a_mapping),
	    cmocka_unit_test(not_with_a_filter),
	    cmocka_unit_test(not_beside_quarantine),
	    cmocka_unit_test(not_beside_yielded_keys),
	    cmocka_unit_test(not_beside_kept_drift),
	    cmocka_unit_test(not_after_a_scan_of_several_states),
	    cmocka_unit_test(a_pass_ends_in_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
