/* main.c: the program. The one place that names backends. */
#include <signal.h>
#include <sys/resource.h>

#include "agent/cli.h"
#include "agent/out.h"
#include "store/consul/consul.h"
#include "store/etcd/etcd.h"
#include "store/sqlite/sqlite.h"
#include "store/zookeeper/zookeeper.h"

static int register_all(struct store_registry *r, struct kv_err *err)
{
	static const struct store_ops *const all[] = {
	    &store_sqlite_ops, &store_etcd_ops, &store_zookeeper_ops,
	    &store_consul_ops};
	int status = KV_OK;
	size_t i;

	for (i = 0; i < KV_COUNT(all) && status == KV_OK; i++) {
		status = store_register(r, all[i], err);
	}
	return status;
}

/* Many routes are many files and connections: as many as the system allows. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct store_registry registry = {0};
	struct kv_err err = {0};
	int code;

	/* A closed pipe or connection shows as an error of the write. */
	(void)signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	out_json_init();
	if (register_all(&registry, &err) != KV_OK) {
		code = cli_error(&err);
	} else {
		code = cli_main(&registry, argc, argv);
	}
	store_registry_free(&registry);
	return code;
}
