/* test_open.c: the registry, opening by URI, what a store says of itself. */
#include <stdio.h>

#include "tests/conformance/suite.h"

static void a_scheme_is_taken_once(void **state)
{
	struct world *w = *state;
	struct kv_err err = {0};

	expect_code(store_register(&w->registry, w->be->ops, &err),
		    KV_BAD_ARGUMENT);
	assert_true(err.text[0] != '\0');
}

static void an_unknown_scheme_names_those_there_are(void **state)
{
	struct world *w = *state;
	struct kv_err err = {0};

	assert_null(world_open_uri(w, "nosuch://127.0.0.1:1/a", 0, &err));
	expect_code(err.status, KV_BACKEND_NOT_SUPPORTED);
	for (const char *const *s = w->be->ops->schemes; *s != NULL; s++) {
		assert_non_null(strstr(err.text, *s));
	}
}

static void bad_uris_are_refused(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {"", "nothing", "://", ":", "?"};
	char uri[SUITE_URI_MAX + 32];
	char good[SUITE_URI_MAX];

	for (size_t i = 0; i < KV_COUNT(bad); i++) {
		struct kv_err err = {0};

		assert_null(world_open_uri(w, bad[i], STORE_CREATE, &err));
		assert_true(err.status == KV_BAD_ARGUMENT ||
			    err.status == KV_BACKEND_NOT_SUPPORTED);
		assert_true(err.text[0] != '\0');
	}
	w->be->uri(w->env, w->serial, "/p", good, sizeof good);
	for (int i = 0; i < 2; i++) {
		struct kv_err err = {0};

		(void)snprintf(uri, sizeof uri, "%s%s%s", good,
			       strchr(good, '?') != NULL ? "&" : "?",
			       i == 0 ? "no_such_option=1" : "no_such_option");
		assert_null(world_open_uri(w, uri, STORE_CREATE, &err));
		expect_code(err.status, KV_BAD_ARGUMENT);
		assert_non_null(strstr(err.text, "no_such_option"));
	}
}

static void a_store_says_what_it_can(void **state)
{
	struct world *w = *state;
	const struct store_caps *caps = store_capabilities(w->st);

	assert_non_null(caps);
	/* Enough for a mirror to work with. */
	assert_true(limit_of(caps->max_ops) >= 2);
	assert_true(limit_of(caps->max_value) >= 100000);
	assert_true(limit_of(caps->max_bytes) >= limit_of(100000));
	assert_true(limit_of(caps->max_key) >= 255);
	assert_true(caps->scan_page >= 1);
	assert_string_equal(
	    store_uri(w->st)->prefix + (store_uri(w->st)->prefix_n - 2), "/p");
	assert_ptr_equal(store_sched(w->st), w->sched);
}

static void stores_at_one_place_overlap(void **state)
{
	struct world *w = *state;
	struct store *same = world_open(w, "/p");
	struct store *below = world_open(w, "/p/q");
	struct store *above = world_open(w, "");
	struct store *beside = world_open(w, "/pp");

	assert_true(store_overlap(w->st, same));
	assert_true(store_overlap(w->st, below));
	assert_true(store_overlap(below, w->st));
	assert_true(store_overlap(w->st, above));
	assert_true(store_overlap(above, w->st));
	assert_false(store_overlap(w->st, beside));
	assert_false(store_overlap(beside, w->st));
	assert_false(store_overlap(beside, below));
}

static void stores_elsewhere_do_not_overlap(void **state)
{
	struct world *w = *state;
	char uri[SUITE_URI_MAX];
	struct kv_err err = {0};
	struct store *other;

	w->be->uri_nobody(w->env, uri, sizeof uri);
	other = world_open_uri(w, uri, STORE_CREATE, &err);
	need(other != NULL, "second place that can be opened unseen");
	assert_false(store_overlap(w->st, other));
	assert_false(store_overlap(other, w->st));
}

static void an_embedded_store_is_made_when_asked(void **state)
{
	struct world *w = *state;
	char uri[SUITE_URI_MAX];
	struct kv_err err = {0};
	struct store *st;

	need(!w->be->network, "file of its own");
	w->be->uri(w->env, w->serial + 1000, "/p", uri, sizeof uri);
	assert_null(world_open_uri(w, uri, 0, &err));
	expect_code(err.status, KV_KEY_NOT_FOUND);
	kv_err_clear(&err);
	st = world_open_uri(w, uri, STORE_CREATE, &err);
	assert_non_null(st);
	expect_status(do_put(w, st, S("/a"), S("1")), KV_OK);
	world_close(w, st);
	/* What was made is there without the flag. */
	st = world_open_uri(w, uri, 0, &err);
	assert_non_null(st);
	expect_status(do_get(w, st, S("/a")), KV_OK);
}

static void never_called(struct store_lock_req *req)
{
	bool *called = req->data;

	*called = true;
}

static void locks_are_there_or_not_supported(void **state)
{
	struct world *w = *state;
	bool called = false;
	struct store_lock_req req = {.key = S("/lock"),
				     .ttl_ms = 1000,
				     .try_only = true,
				     .cb = never_called,
				     .data = &called};

	need(w->be->ops->lock == NULL, "missing lock");
	expect_code(store_lock(w->st, &req), KV_CALL_NOT_SUPPORTED);
	assert_true(req.err.text[0] != '\0');
	expect_code(store_unlock(w->st, &req), KV_CALL_NOT_SUPPORTED);
	world_turns(w, 5);
	assert_false(called);
}

static void actions_have_names(void **state)
{
	(void)state;
	assert_string_equal(store_action_name(STORE_ERROR), "error");
	assert_string_equal(store_action_name(STORE_GET), "get");
	assert_string_equal(store_action_name(STORE_SET), "set");
	assert_string_equal(store_action_name(STORE_UPDATE), "update");
	assert_string_equal(store_action_name(STORE_DELETE), "delete");
	assert_string_equal(store_action_name(STORE_INIT), "init");
	assert_int_equal(STORE_ERROR, -1);
	assert_int_equal(STORE_GET, 0);
	assert_int_equal(STORE_SET, 1);
	assert_int_equal(STORE_UPDATE, 2);
	assert_int_equal(STORE_DELETE, 3);
	assert_int_equal(STORE_INIT, 4);
}

int group_open(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(a_scheme_is_taken_once),
	    suite_test(an_unknown_scheme_names_those_there_are),
	    suite_test(bad_uris_are_refused),
	    suite_test(a_store_says_what_it_can),
	    suite_test(stores_at_one_place_overlap),
	    suite_test(stores_elsewhere_do_not_overlap),
	    suite_test(an_embedded_store_is_made_when_asked),
	    suite_test(locks_are_there_or_not_supported),
	    suite_test(actions_have_names),
	};

	return cmocka_run_group_tests_name("open", tests, world_group_set_up,
					   world_group_tear_down);
}
