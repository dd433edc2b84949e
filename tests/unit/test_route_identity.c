/* test_route_identity.c: whether a store is the one that it was: identities
 * that are not known yet, become known, and are no more. */
#include "agent/identity.h"
#include "tests/unit/test_route_world.h"

static void the_table(void **state)
{
	(void)state;
	assert_int_equal(identity_judge("", ""), IDENTITY_SAME);
	assert_int_equal(identity_judge("", "x"), IDENTITY_SAME);
	assert_int_equal(identity_judge("x", "x"), IDENTITY_SAME);
	assert_int_equal(identity_judge("x", "y"), IDENTITY_OTHER);
	assert_int_equal(identity_judge("x", ""), IDENTITY_DOUBT);
	assert_int_equal(identity_judge(IDENTITY_UNSURE, "x"), IDENTITY_OTHER);
	assert_int_equal(identity_judge(IDENTITY_UNSURE, ""), IDENTITY_OTHER);
}

static void it_is_learned_once(void **state)
{
	char saved[STORE_IDENTITY_MAX] = "";

	(void)state;
	assert_false(identity_learn(saved, ""));
	assert_true(identity_learn(saved, "x"));
	assert_false(identity_learn(saved, "y"));
	assert_string_equal(saved, "x");
}

static void say(struct fake_world *f, const char *identity)
{
	(void)snprintf(f->identity, sizeof f->identity, "%s", identity);
}

static struct world *nameless_world(void)
{
	struct world *w = world_init();

	say(&w->source, "");
	say(&w->target, "");
	return w;
}

static void both_start_as_nothing(void **state)
{
	struct world *w = nameless_world();

	(void)state;
	start(w);
	settle(w);
	/* The first keys make the prefixes, on the same connections. */
	say(&w->source, "s");
	put(&w->source, "/a", "1", FAKE_OWNER);
	settle(w);
	say(&w->target, "t");
	put(&w->source, "/a", "2", FAKE_OWNER);
	settle(w);
	assert_string_equal(w->route->env.cp.source_identity, "s");
	assert_string_equal(w->route->env.cp.target_identity, "t");
	/* And when it is asked anew, it is the same. */
	w->reconciles = 0;
	fake_cut(&w->source);
	fake_cut(&w->target);
	put(&w->source, "/a", "3", FAKE_OWNER);
	settle(w);
	assert_int_equal(w->reconciles, 0);
	assert_true(has(&w->target, "/a", "3"));
	world_finish(w);
}

/* It becomes known while the connection is down. */
static void known_after_a_cut(void **state)
{
	struct world *w = nameless_world();

	(void)state;
	put(&w->source, "/a", "1", FAKE_OWNER);
	start(w);
	settle(w);
	fake_cut(&w->source);
	fake_cut(&w->target);
	say(&w->source, "s");
	say(&w->target, "t");
	w->reconciles = 0;
	put(&w->source, "/b", "1", FAKE_OWNER);
	settle(w);
	assert_int_equal(w->reconciles, 0);
	assert_string_equal(w->route->env.cp.source_identity, "s");
	assert_string_equal(w->route->env.cp.target_identity, "t");
	/* From now on another one is another one. */
	fake_cut(&w->target);
	say(&w->target, "u");
	put(&w->source, "/b", "2", FAKE_OWNER);
	settle(w);
	assert_true(w->reconciles > 0);
	world_finish(w);
}

static void known_after_a_restart(void **state)
{
	struct world *w = nameless_world();

	(void)state;
	put(&w->source, "/a", "1", FAKE_OWNER);
	start(w);
	settle(w);
	stop(w);
	say(&w->source, "s");
	say(&w->target, "t");
	start(w);
	settle(w);
	assert_int_equal(w->reconciles, 0);
	world_finish(w);
}

/* A store that says who it is for the first time, and has none of our keys as
 * we left them, is doubted. */
static void not_proven_by_any_key(void **state)
{
	struct world *w = nameless_world();

	(void)state;
	put(&w->source, "/a", "1", FAKE_OWNER);
	put(&w->source, "/b", "1", FAKE_OWNER);
	start(w);
	settle(w);
	stop(w);
	say(&w->target, "t");
	put(&w->target, "/a", "x", FAKE_FOREIGN);
	put(&w->target, "/b", "x", FAKE_FOREIGN);
	start(w);
	settle(w);
	assert_true(w->reconciles > 0);
	assert_true(has(&w->target, "/a", "1"));
	world_finish(w);
}

/* Unknown after it was known: all is gone there, or it is another one. */
static void unknown_again(void **state)
{
	struct world *w = world_init();

	(void)state;
	put(&w->source, "/a", "1", FAKE_OWNER);
	start(w);
	settle(w);
	w->reconciles = 0;
	fake_cut(&w->target);
	say(&w->target, "");
	del(&w->target, "/a", FAKE_FOREIGN);
	for (unsigned i = 0; i < 200; i++) {
		step(w);
	}
	put(&w->source, "/b", "1", FAKE_OWNER);
	settle(w);
	assert_true(w->reconciles > 0);
	assert_true(has(&w->target, "/a", "1"));
	world_finish(w);
}

static void an_unknown_source_holds(void **state)
{
	struct world *w = world_init();

	(void)state;
	w->conf.max_delete.kind = CONF_FUSE_DEFAULT;
	put(&w->source, "/a", "1", FAKE_OWNER);
	start(w);
	settle(w);
	fake_restore(&w->source, 0, false);
	say(&w->source, "");
	while (status_of(w).phase != ROUTE_HELD) {
		step(w);
	}
	assert_true(has(&w->target, "/a", "1"));
	/* What comes back releases it. */
	say(&w->source, "s2");
	put(&w->source, "/a", "1", FAKE_OWNER);
	settle(w);
	assert_true(has(&w->target, "/a", "1"));
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_table),
	    cmocka_unit_test(it_is_learned_once),
	    cmocka_unit_test(both_start_as_nothing),
	    cmocka_unit_test(known_after_a_cut),
	    cmocka_unit_test(known_after_a_restart),
	    cmocka_unit_test(not_proven_by_any_key),
	    cmocka_unit_test(unknown_again),
	    cmocka_unit_test(an_unknown_source_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
