/* test_zk_network.c: the agent and a ZooKeeper server with a network between
 * them that breaks: more watches than one reconnect may name, a watch that is
 * lost while it is set anew, what happens in a gap, a session that expires,
 * answers to writes that get lost. After each the sides are equal, nothing was
 * taken for a conflict.
 *
 *   hand --> server <-- proxy <-- agent --> file    (and the other way round)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fixtures/tcp_proxy.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_server.h"
#include "tests/integration/program.h"

enum { SETTLE_MS = 90000 };

static struct zk_server *server;
static const char *const readers[] = {"fast", "general"};

struct net {
	struct tcp_proxy proxy;
	zhandle_t *hand;
	struct program agent; /* through the proxy */
	struct program look;  /* not through it: for diffs */
	char dir[TEMP_PATH_MAX];
	char zk[128], zk_direct[128], file[TEMP_PATH_MAX + 16];
};

static void net_open(struct net *n, const char *reader, bool is_target)
{
	memset(n, 0, sizeof *n);
	tcp_proxy_start(&n->proxy, zk_server_port(server, 0));
	n->hand = zk_hand_open(zk_server_endpoints(server), 4000);
	zk_hand_delete_all(n->hand, "/t");
	temp_dir(n->dir, "net");
	(void)snprintf(n->zk, sizeof n->zk, "zk://127.0.0.1:%d/t?reader=%s",
		       n->proxy.port, reader);
	(void)snprintf(n->zk_direct, sizeof n->zk_direct, "zk://%s/t",
		       zk_server_endpoints(server));
	(void)snprintf(n->file, sizeof n->file, "sqlite:%s/file.db", n->dir);
	(void)snprintf(n->agent.state, sizeof n->agent.state, "%.400s/state",
		       n->dir);
	(void)snprintf(n->agent.log, sizeof n->agent.log, "%.400s/log", n->dir);
	n->agent.path = program_path();
	n->agent.source = is_target ? n->file : n->zk;
	n->agent.target = is_target ? n->zk : n->file;
	n->look = n->agent;
	n->look.source = is_target ? n->file : n->zk_direct;
	n->look.target = is_target ? n->zk_direct : n->file;
	(void)snprintf(n->look.log, sizeof n->look.log, "%.400s/look", n->dir);
}

static void net_close(struct net *n)
{
	zk_hand_close(n->hand);
	tcp_proxy_end(&n->proxy);
	temp_remove(n->dir);
}

static void await_phase(struct net *n, const char *phase)
{
	unsigned long long end = process_clock() + SETTLE_MS;
	struct program_status st = {.seeded = false};

	while (!program_status(&n->agent, &st) ||
	       strcmp(st.phase, phase) != 0) {
		program_alive(&n->agent);
		if (process_clock() > end) {
			program_tell(&n->agent);
			fail_msg("phase %s, not %s", st.phase, phase);
		}
		process_nap();
	}
}

static void await_equal(struct net *n, const char *when)
{
	unsigned long long end = process_clock() + SETTLE_MS;

	while (program_diff(&n->look, false) != 0) {
		program_alive(&n->agent);
		if (process_clock() > end) {
			program_tell(&n->agent);
			program_tell(&n->look);
			fail_msg("not equal: %s", when);
		}
		process_nap();
	}
}

static void follow(struct net *n)
{
	program_follow(&n->agent, NULL);
	await_phase(n, "FOLLOWING");
}

static void finish(struct net *n)
{
	struct program_status st = {.seeded = false};

	assert_int_equal(program_stop(&n->agent), 0);
	assert_true(program_status(&n->agent, &st));
	assert_int_equal(st.conflicts, 0);
	assert_int_equal(st.quarantine, 0);
	assert_false(st.held);
	net_close(n);
}

/* Sets, makes and deletes some of /t/w/k....... */
static void change(struct net *n, unsigned round)
{
	char path[64];

	for (unsigned i = 0; i < 5; i++) {
		(void)snprintf(path, sizeof path, "/t/w/k%07u",
			       i + 100 * round);
		zk_hand_put_text(n->hand, path, "changed");
		(void)snprintf(path, sizeof path, "/t/w/k%07u",
			       i + 50 + 100 * round);
		(void)zk_hand_delete(n->hand, path);
		(void)snprintf(path, sizeof path, "/t/w/new%u-%u", round, i);
		zk_hand_put_text(n->hand, path, "new");
	}
}

/* 75,000 paths of 13 bytes are more than a server lets one SetWatches name. */
static void more_watches_than_a_reconnect_may_name(void **state)
{
	struct net n;

	(void)state;
	net_open(&n, "general", false);
	zk_hand_fill(n.hand, "/t/w", "k%07u", 75000, 10);
	follow(&n);
	change(&n, 0);
	tcp_proxy_cut(&n.proxy);
	change(&n, 1);
	await_equal(&n, "after the cut");
	change(&n, 2);
	await_equal(&n, "changed while it follows again");
	finish(&n);
}

/* The event came through; the call that sets the watch anew did not. */
static void a_watch_is_lost_while_it_is_set_anew(void **state)
{
	struct net n;

	(void)state;
	for (size_t r = 0; r < KV_COUNT(readers); r++) {
		net_open(&n, readers[r], false);
		zk_hand_fill(n.hand, "/t/w", "k%07u", 500, 10);
		follow(&n);
		for (unsigned round = 0; round < 3; round++) {
			tcp_proxy_deafen(&n.proxy);
			change(&n, round);
			change(&n, round);
			tcp_proxy_cut(&n.proxy);
			await_equal(&n, "a watch was lost");
			change(&n, round + 1);
			await_equal(&n, "after it");
		}
		finish(&n);
	}
}

/* Nobody hears anything while znodes are deleted and made anew, so that they
 * have their old versions; for less, and for longer than a session lives. */
static void recreated_in_a_gap(void **state)
{
	struct Stat st;
	struct net n;

	(void)state;
	for (size_t r = 0; r < KV_COUNT(readers); r++) {
		zhandle_t *other;

		net_open(&n, readers[r], false);
		zk_hand_fill(n.hand, "/t/w", "k%07u", 500, 10);
		follow(&n);
		process_freeze(n.proxy.pid);
		(void)zk_hand_delete(n.hand, "/t/w/k0000007");
		zk_hand_put_text(n.hand, "/t/w/k0000007", "another one");
		zk_hand_delete_all(n.hand, "/t/w/k0000008");
		zk_hand_put_text(n.hand, "/t/w/k0000008/deep", "below");
		change(&n, 0);
		process_thaw(n.proxy.pid);
		await_equal(&n, "a short gap");
		/* A session that was made before the gap ends in it. */
		other = NULL;
		{
			char at[32];

			(void)snprintf(at, sizeof at, "127.0.0.1:%d",
				       n.proxy.port);
			other = zk_hand_open(at, 60000);
		}
		(void)zk_hand_make(other, "/e", "", 0, ZOO_EPHEMERAL);
		process_freeze(n.proxy.pid);
		zk_hand_delete_all(n.hand, "/t/w/k0000008");
		zk_hand_put_text(n.hand, "/t/w/k0000008", "flat again");
		change(&n, 1);
		while (zk_hand_stat(n.hand, "/e", &st)) {
			process_nap();
		}
		process_thaw(n.proxy.pid);
		zk_hand_close(other);
		await_equal(&n, "an expired session");
		change(&n, 2);
		await_equal(&n, "after it");
		finish(&n);
	}
}

static void put_file(struct net *n, unsigned i, const char *value)
{
	char key[32];
	const char *argv[] = {n->agent.path, "store", "put", n->file,
			      key,	     value,   NULL};

	(void)snprintf(key, sizeof key, "/d/k%u", i);
	assert_int_equal(process_run(argv, n->look.log, 30000), 0);
}

/* Writes were done, and nobody heard of it; or were not. */
static void answers_to_writes_get_lost(void **state)
{
	struct net n;

	(void)state;
	net_open(&n, "auto", true);
	for (unsigned i = 0; i < 20; i++) {
		put_file(&n, i, "first");
	}
	follow(&n);
	for (unsigned round = 0; round < 4; round++) {
		if (round % 2 == 0) {
			tcp_proxy_mute(&n.proxy);
		} else {
			tcp_proxy_deafen(&n.proxy);
		}
		for (unsigned i = 0; i < 4; i++) {
			put_file(&n, round * 4 + i, "second");
			put_file(&n, 100 + round * 4 + i, "made");
		}
		tcp_proxy_cut(&n.proxy);
		put_file(&n, 50 + round, "third");
		await_equal(&n, "answers were lost");
	}
	finish(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(more_watches_than_a_reconnect_may_name),
	    cmocka_unit_test(a_watch_is_lost_while_it_is_set_anew),
	    cmocka_unit_test(recreated_in_a_gap),
	    cmocka_unit_test(answers_to_writes_get_lost),
	};
	const char *why = zk_server_missing(false);
	const char *filter = getenv("KVTEST_FILTER");
	int failed;

	if (why != NULL) {
		print_message("SKIP: %s\n", why);
		return 77;
	}
	if (filter != NULL) {
		cmocka_set_test_filter(filter);
	}
	/* Sessions live for 4 s at most. */
	server = zk_server_start(&(struct zk_options){.tick_ms = 200});
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	zk_server_free(server);
	return failed;
}
