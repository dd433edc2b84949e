/* cli_conf.c: what commands take from the configuration file, or from the
 * options in its place: routes, the state file, the log.
 *
 *   -c FILE -----------> conf_load --> URIs checked --> struct conf
 *   SOURCE TARGET, ... --------------> URIs checked --> struct conf_route
 */
#include "agent/agent.h"
#include "agent/cli.h"
#include "agent/state_path.h"

static int check_uris(const struct cli *cli, const char *path,
		      const struct conf *conf, struct kv_err *err)
{
	size_t i;

	for (i = 0; i < conf->n_routes; i++) {
		const struct conf_route *r = &conf->routes[i];
		const char *side = "source";
		int status = agent_check_uri(cli->registry, r->source, err);

		if (status == KV_OK) {
			side = "target";
			status = agent_check_uri(cli->registry, r->target, err);
		}
		if (status != KV_OK) {
			return kv_wrap(err, "%s:%u: route '%s': %s", path,
				       r->line, r->name, side);
		}
	}
	return KV_OK;
}

int cli_load_conf(const struct cli *cli, const char *path, struct conf **out,
		  struct kv_err *err)
{
	int status = conf_load(path, out, err);

	if (status == KV_OK) {
		status = check_uris(cli, path, *out, err);
	} else if (status != KV_NO_MEMORY) {
		/* Not there, not readable: the configuration is at fault. */
		err->status = KV_BAD_ARGUMENT;
		status = KV_BAD_ARGUMENT;
	}
	if (status != KV_OK) {
		conf_free(*out);
		*out = NULL;
	}
	return status;
}

int cli_route_of_args(const struct cli *cli, struct cli_args *args,
		      struct kv_err *err)
{
	struct conf_route *r = &args->route;
	int status;

	PRE(args->n_args == 2);
	status = conf_route_set(r, "name", "sync", err);
	if (status == KV_OK) {
		status = conf_route_set(r, "source", args->args[0], err);
	}
	if (status == KV_OK) {
		status = conf_route_set(r, "target", args->args[1], err);
	}
	if (status == KV_OK) {
		status = agent_check_uri(cli->registry, r->source, err);
		if (status != KV_OK) {
			return kv_wrap(err, "source");
		}
	}
	if (status == KV_OK) {
		status = agent_check_uri(cli->registry, r->target, err);
		if (status != KV_OK) {
			return kv_wrap(err, "target");
		}
	}
	return status;
}

int cli_state_path(const struct cli_args *args, const struct conf *conf,
		   char **out, struct kv_err *err)
{
	const char *given = args->state;

	*out = NULL;
	if (given == NULL && conf != NULL) {
		given = conf->state;
	}
	if (given != NULL) {
		*out = kv_strdup(given);
		return *out == NULL
			   ? kv_fail(err, KV_NO_MEMORY, "no memory for a path")
			   : KV_OK;
	}
	if (conf != NULL) {
		return state_path_of_conf(args->conf, out, err);
	}
	return state_path_of_pair(args->args[0], args->args[1], out, err);
}

int cli_log_of(const struct cli_args *args, const struct conf *conf,
	       struct cli_log *out, struct kv_err *err)
{
	int status = KV_OK;

	*out = (struct cli_log){.level = args->quiet ? LOG_LEVEL_WARN
						     : LOG_LEVEL_INFO,
				.format = LOG_FORMAT_TEXT,
				.format_given = args->log_format != NULL};
	if (conf != NULL) {
		out->level = conf->log_level;
		out->format = conf->log_format;
		out->format_given = out->format_given || conf->log_format_given;
	}
	if (args->log_level != NULL) {
		status = conf_log_level(args->log_level, &out->level, err);
	}
	if (status == KV_OK && args->log_format != NULL) {
		status = conf_log_format(args->log_format, &out->format, err);
	}
	return status;
}

void cli_log_set(const struct cli_log *log)
{
	log_set_level(log->level);
	if (log->format_given) {
		log_set_format(log->format);
	}
}

int cli_apply_log(const struct cli_args *args, const struct conf *conf,
		  struct kv_err *err)
{
	struct cli_log log;
	int status = cli_log_of(args, conf, &log, err);

	if (status == KV_OK) {
		cli_log_set(&log);
	}
	return status;
}
