/* cli.h: the command line: which commands and options there are, their usage
 * texts, how an error is told, and the exit codes.
 *
 *   argv --cli_parse--> struct cli_args --> cmd_*(cli, args) --> exit code
 */
#ifndef KV_CLI_H
#define KV_CLI_H

#include "conf/conf.h"
#include "store/store.h"

enum cli_exit {
	CLI_OK = 0,	   /* done and true */
	CLI_DIFFERENT = 1, /* different, missing, or not everything carried */
	CLI_USAGE = 2,	   /* usage or configuration */
	CLI_FAILED = 3
};

/* What every command is given. */
struct cli {
	const struct store_registry *registry;
};

#define CLI_ARGS_MAX 8

struct cli_command;

/* One parsed command line. Strings are borrowed from argv. */
struct cli_args {
	const struct cli_command *command;
	const char *args[CLI_ARGS_MAX]; /* positional ones */
	size_t n_args;
	char **tail; /* store: what stands behind `--`, NULL-terminated */
	size_t n_tail;
	struct conf_route route; /* from the options of a route */
	bool route_given;	 /* one of these stood there */
	const char *conf;	 /* -c */
	const char *state;
	const char *admin;
	const char *list;
	const char *key;
	bool help;
	bool follow;
	bool dry_run;
	bool json;
	bool quiet;
	bool owned;
	bool repair;
	bool recursive;
	bool try_only;
	uint64_t ttl_ms;
	uint64_t timeout_ms;
	uint64_t index;
	uint64_t count;
	const char *log_level;
	const char *log_format;
};

struct cli_command {
	const char *name;
	unsigned bit; /* in the options' masks */
	const char *synopsis;
	const char *help; /* a paragraph */
	size_t min_args;
	size_t max_args;
	int (*run)(const struct cli *cli, struct cli_args *args);
};

/* Parses argv[1] (the command) and what follows. KV_BAD_ARGUMENT says what is
 * wrong and where the usage is told. cli_args_clear in any case. */
int cli_parse(int argc, char **argv, struct cli_args *out,
	      struct kv_err *err) KV_MUSTCHECK;
void cli_args_clear(struct cli_args *args);

/* The whole program: parses, runs, answers with the exit code. */
int cli_main(const struct store_registry *registry, int argc, char **argv);

/* The exit code that a status stands for. */
int cli_exit_code(int status);

/* Tells an error on standard error, as one line; the exit code of its status,
 * or the one given. */
int cli_error(const struct kv_err *err);
/* Adds to the error what a person can do about it. */
void cli_advise(struct kv_err *err);
int cli_complain(int code, const char *fmt, ...) KV_PRINTF(2, 3);

struct cli_log {
	enum log_level level;
	enum log_format format;
	bool format_given; /* else as the terminal is */
};

/* Checks and sets apart, for a file that may still be refused. */
int cli_log_of(const struct cli_args *args, const struct conf *conf,
	       struct cli_log *out, struct kv_err *err) KV_MUSTCHECK;
void cli_log_set(const struct cli_log *log);

/* Log level and format as given on the command line and, where there is one, in
 * the file; `quiet` leaves out what is only information. */
int cli_apply_log(const struct cli_args *args, const struct conf *conf,
		  struct kv_err *err) KV_MUSTCHECK;

/* Loads a configuration file, with the URIs checked as far as that goes
 * without opening a store. Its errors are KV_BAD_ARGUMENT or KV_NO_MEMORY. */
int cli_load_conf(const struct cli *cli, const char *path, struct conf **out,
		  struct kv_err *err) KV_MUSTCHECK;

/* The route of SOURCE TARGET and the options, in args->route, named "sync";
 * URIs checked likewise. */
int cli_route_of_args(const struct cli *cli, struct cli_args *args,
		      struct kv_err *err) KV_MUSTCHECK;

/* The state file: --state, or the file's `state`, or (conf NULL: for SOURCE
 * TARGET) the default place. A new string. */
int cli_state_path(const struct cli_args *args, const struct conf *conf,
		   char **out, struct kv_err *err) KV_MUSTCHECK;

/* The commands; each answers with the exit code. */
int cmd_sync(const struct cli *cli, struct cli_args *args);
int cmd_run(const struct cli *cli, struct cli_args *args);
int cmd_diff(const struct cli *cli, struct cli_args *args);
int cmd_status(const struct cli *cli, struct cli_args *args);
int cmd_store(const struct cli *cli, struct cli_args *args);
int cmd_lock(const struct cli *cli, struct cli_args *args); /* store lock */
int cmd_check(const struct cli *cli, struct cli_args *args);
int cmd_backends(const struct cli *cli, struct cli_args *args);
int cmd_version(const struct cli *cli, struct cli_args *args);

#endif /* KV_CLI_H */
