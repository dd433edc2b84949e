/* cmd_check.c: `kvmirror check`: is a configuration file as it should be? It
 * connects nowhere and opens no store. */
#include "agent/cli.h"
#include "agent/out.h"

int cmd_check(const struct cli *cli, struct cli_args *args)
{
	struct conf *conf;
	struct kv_err err = {0};
	struct out o;

	if (args->conf == NULL) {
		return cli_complain(CLI_USAGE,
				    "check: give the file: kvmirror check -c "
				    "FILE");
	}
	if (cli_load_conf(cli, args->conf, &conf, &err) != KV_OK) {
		return cli_error(&err);
	}
	out_init(&o);
	out_text(&o, "%s: ok, %zu route%s\n", args->conf, conf->n_routes,
		 conf->n_routes == 1 ? "" : "s");
	conf_free(conf);
	return out_finish(&o, CLI_OK);
}
