/* test_zk_fixtures.c: what the tests of ZooKeeper stand on: servers of both
 * versions that start, the hand, the log, the network that breaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fixtures/tcp_proxy.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_log.h"
#include "tests/fixtures/zk_server.h"

struct told {
	char text[1024];
	size_t n;
};

static void tell(void *ctx, const struct zk_log_entry *e)
{
	static const char *const kinds[] = {"create", "set", "delete"};
	struct told *t = ctx;

	t->n += (size_t)snprintf(t->text + t->n, sizeof t->text - t->n,
				 "%s %s %.*s\n", kinds[e->kind], e->path,
				 e->data == NULL ? 4 : (int)e->n,
				 e->data == NULL ? "null" : e->data);
}

static void is_recorded(bool old)
{
	static const struct zk_hand_op ops[] = {
	    {"/a/b", "one", 3}, {"/c", "", 0}, {"/a/d", "x", 1}};
	static const struct zk_hand_op more[] = {{"/a/b", "two", 3},
						 {"/a/d", NULL, 0}};
	struct zk_options o = {.old = old};
	struct zk_server *s = zk_server_start(&o);
	zhandle_t *zh = zk_hand_open(zk_server_endpoints(s), 10000);
	struct told t = {.n = 0};

	zk_hand_write(zh, ops, 3);
	assert_true(zk_hand_holds(zh, "/a", NULL));
	assert_true(zk_hand_holds(zh, "/c", ""));
	assert_true(zk_hand_holds(zh, "/a/b", "one"));
	zk_hand_close(zh);
	zk_server_kill(s, 0);
	zk_server_restart(s, 0);
	zh = zk_hand_open(zk_server_endpoints(s), 10000);
	zk_hand_write(zh, more, 2);
	assert_true(zk_hand_holds(zh, "/a/b", "two"));
	zk_hand_delete_all(zh, "/a");
	zk_hand_close(zh);
	(void)zk_log_read(zk_server_dir(s), 0, 0, tell, &t);
	assert_string_equal(t.text, "create /a null\n"
				    "create /a/b one\ncreate /c \n"
				    "create /a/d x\n"
				    "set /a/b two\ndelete /a/d null\n"
				    "delete /a/b null\ndelete /a null\n");
	zk_server_free(s);
}

static void records_a_new_server(void **state)
{
	(void)state;
	is_recorded(false);
}

static void records_an_old_server(void **state)
{
	const char *why = zk_server_missing(true);

	(void)state;
	if (why != NULL) {
		print_message("SKIP: ZooKeeper 3.4: %s\n", why);
		skip();
	}
	is_recorded(true);
}

static void ensemble_survives_its_leader(void **state)
{
	struct zk_options o = {.nodes = 3};
	struct zk_server *s = zk_server_start(&o);
	int leader = zk_server_leader(s, true);
	zhandle_t *zh = zk_hand_open(zk_server_endpoints(s), 10000);

	(void)state;
	assert_true(leader >= 0);
	zk_hand_put_text(zh, "/a", "one");
	zk_server_kill(s, (unsigned)leader);
	zk_hand_put_text(zh, "/a", "two");
	zk_server_restart(s, (unsigned)leader);
	zk_server_backup(s);
	zk_hand_put_text(zh, "/a", "three");
	zk_hand_close(zh);
	zk_server_restore(s);
	zh = zk_hand_open(zk_server_endpoints(s), 10000);
	assert_true(zk_hand_holds(zh, "/a", "two"));
	zk_hand_close(zh);
	zk_server_free(s);
}

static void on_lost(int rc, const struct Stat *st, const void *data)
{
	(void)rc;
	(void)st;
	(void)data;
}

static void network_breaks(void **state)
{
	struct zk_options o = {.tick_ms = 200};
	struct zk_server *s = zk_server_start(&o);
	struct tcp_proxy p;
	char at[32];
	zhandle_t *through, *zh;
	struct Stat st;

	(void)state;
	tcp_proxy_start(&p, zk_server_port(s, 0));
	(void)snprintf(at, sizeof at, "127.0.0.1:%d", p.port);
	through = zk_hand_open(at, 4000);
	zh = zk_hand_open(zk_server_endpoints(s), 4000);
	tcp_proxy_cut(&p);
	zk_hand_put_text(through, "/a", "one");
	/* What is lost on the way there is not done, and a hand tries again. */
	tcp_proxy_deafen(&p);
	(void)zoo_aset(through, "/a", "lost", 4, -1, on_lost, NULL);
	tcp_proxy_cut(&p);
	zk_hand_put_text(through, "/b", "two");
	assert_true(zk_hand_holds(zh, "/a", "one"));
	/* Silence for longer than a session lives. */
	(void)zk_hand_make(through, "/e", "", 0, ZOO_EPHEMERAL);
	process_freeze(p.pid);
	while (zk_hand_stat(zh, "/e", &st)) {
		process_nap();
	}
	process_thaw(p.pid);
	zk_hand_close(zh);
	zk_hand_close(through);
	tcp_proxy_end(&p);
	zk_server_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_a_new_server),
	    cmocka_unit_test(records_an_old_server),
	    cmocka_unit_test(ensemble_survives_its_leader),
	    cmocka_unit_test(network_breaks),
	};
	const char *why = zk_server_missing(false);

	if (why != NULL) {
		print_message("SKIP: %s\n", why);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
