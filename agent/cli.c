/* cli.c: one table of options, one of commands; getopt's tables, the checks
 * and the usage texts are made from them. */
#include "agent/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/out.h"

enum {
	SYNC = 1 << 0,
	RUN = 1 << 1,
	DIFF = 1 << 2,
	STATUS = 1 << 3,
	STORE = 1 << 4,
	CHECK = 1 << 5,
	BACKENDS = 1 << 6,
	VERSION = 1 << 7,
	ALL = (1 << 8) - 1
};

#define TIMEOUT_MS 30000
#define TIMEOUT_MAX_S 31536000 /* a year */

enum option_kind {
	KIND_FLAG,    /* bool */
	KIND_TEXT,    /* const char * */
	KIND_COUNT,   /* uint64_t */
	KIND_SECONDS, /* uint64_t, in milliseconds */
	KIND_ROUTE    /* conf_route_set */
};

struct cli_option {
	const char *name;
	char letter;	 /* 0: none */
	const char *arg; /* its name in the usage; NULL: takes none */
	unsigned commands;
	enum option_kind kind;
	size_t offset; /* in struct cli_args */
	const char *help;
};

#define AT(member) offsetof(struct cli_args, member)

/* clang-format off */
static const struct cli_option options[] = {
	{"config", 'c', "FILE", RUN | DIFF | STATUS | CHECK, KIND_TEXT, AT(conf),
	 "the configuration (YAML)"},
	{"conflict", 0, "POLICY", SYNC | DIFF, KIND_ROUTE, 0,
	 "both sides have the key and differ: source-wins (default), "
	 "target-wins, stop, newest"},
	{"delete", 0, "WHICH", SYNC | DIFF, KIND_ROUTE, 0,
	 "keys that the source lacks: owned (default: those that kvmirror "
	 "wrote), never, all"},
	{"max-delete", 0, "N|P%", SYNC | DIFF, KIND_ROUTE, 0,
	 "hold when more keys than that would be deleted because the source "
	 "lacks them; 100% turns this off"},
	{"include", 0, "GLOB", SYNC | DIFF, KIND_ROUTE, 0,
	 "only these keys of the source; repeatable; * stays within a "
	 "segment, ** crosses"},
	{"exclude", 0, "GLOB", SYNC | DIFF, KIND_ROUTE, 0,
	 "not these keys; repeatable; beats include"},
	{"escape", 0, "HOW", SYNC | DIFF, KIND_ROUTE, 0,
	 "none (default), or percent: names that ZooKeeper cannot hold as %XX"},
	{"drift", 0, "HOW", SYNC | DIFF, KIND_ROUTE, 0,
	 "keys of ours that were changed at the target: repair (default), keep"},
	{"state", 0, "FILE", SYNC | RUN | DIFF | STATUS, KIND_TEXT, AT(state),
	 "the state file (default: below the user's XDG state folder)"},
	{"follow", 'f', NULL, SYNC, KIND_FLAG, AT(follow),
	 "go on with every change until SIGTERM"},
	{"dry-run", 'n', NULL, SYNC, KIND_FLAG, AT(dry_run),
	 "print what would be done and write nothing"},
	{"owned", 0, NULL, DIFF, KIND_FLAG, AT(owned),
	 "leave out foreign and quarantined keys (needs the state)"},
	{"repair", 0, NULL, DIFF, KIND_FLAG, AT(repair),
	 "reconcile what differs, with the route's state"},
	{"list", 0, "WHAT", STATUS, KIND_TEXT, AT(list),
	 "conflicts, quarantine or foreign: the keys, one a line"},
	{"key", 0, "KEY", STATUS, KIND_TEXT, AT(key),
	 "what is known of one key, and why"},
	{"admin", 0, "URL", STATUS, KIND_TEXT, AT(admin),
	 "ask a running agent (not supported yet)"},
	{"recursive", 'r', NULL, STORE, KIND_FLAG, AT(recursive),
	 "delete: the key and all below it"},
	{"index", 0, "N", STORE, KIND_COUNT, AT(index),
	 "watch: what came after this index (default: from now)"},
	{"count", 0, "N", STORE, KIND_COUNT, AT(count),
	 "watch: end after so many changes"},
	{"try", 0, NULL, STORE, KIND_FLAG, AT(try_only),
	 "lock: exit 1 when another holds it, instead of waiting"},
	{"ttl", 0, "SECONDS", STORE, KIND_SECONDS, AT(ttl_ms),
	 "lock: it stands so long when kvmirror dies (default 15)"},
	{"json", 0, NULL, SYNC | DIFF | STATUS | STORE | BACKENDS, KIND_FLAG,
	 AT(json), "results as JSON"},
	{"quiet", 'q', NULL, SYNC, KIND_FLAG, AT(quiet),
	 "no progress line, only warnings and errors in the log"},
	{"timeout", 0, "SECONDS", SYNC | DIFF | STORE, KIND_SECONDS,
	 AT(timeout_ms), "how long to wait for a server (default 30)"},
	{"log-level", 0, "LEVEL", SYNC | RUN | DIFF | STORE, KIND_TEXT,
	 AT(log_level), "debug, info, warn, error"},
	{"log-format", 0, "FORMAT", SYNC | RUN | DIFF | STORE, KIND_TEXT,
	 AT(log_format), "text, json (default: text on a terminal)"},
	{"help", 'h', NULL, ALL, KIND_FLAG, AT(help), "this text"},
};

static const struct cli_command commands[] = {
	{"sync", SYNC, "SOURCE TARGET [options]",
	 "Mirrors SOURCE into TARGET: writes what differs, applies what changes "
	 "meanwhile,\nprints the source's index that the target stands for, and "
	 "ends.",
	 2, 2, cmd_sync},
	{"run", RUN, "-c FILE [options]",
	 "The agent: all routes of a file, until SIGTERM. SIGHUP reads the file "
	 "again,\nSIGUSR1 logs the status.",
	 0, 0, cmd_run},
	{"diff", DIFF, "SOURCE TARGET | -c FILE [ROUTE] [options]",
	 "Compares keys and values; a line a key: missing (the target lacks "
	 "it),\nextra (the source lacks it), changed.",
	 0, 2, cmd_diff},
	{"status", STATUS, "[SOURCE TARGET | -c FILE [ROUTE] | --state FILE] [options]",
	 "Shows phase, positions and counts of each route, as saved in the "
	 "state file.\nWithout arguments: of all state files below the user's "
	 "XDG state folder.",
	 0, 2, cmd_status},
	{"store", STORE, "CALL URI [KEY [VALUE]] [options] [-- COMMAND...]",
	 "One call of a store:\n"
	 "  get URI KEY          the value as it is\n"
	 "  put URI KEY VALUE    VALUE '-': from standard input\n"
	 "  delete URI KEY       --recursive: all below it as well\n"
	 "  exists URI KEY       true or false\n"
	 "  list URI [DIR]       the keys below DIR\n"
	 "  tree URI [DIR]       the keys below DIR with their values\n"
	 "  watch URI [KEY|DIR/] a line a change: index, action, key, value\n"
	 "  lock URI KEY -- COMMAND [ARG...]   runs COMMAND while it holds the "
	 "lock KEY, ends it\n"
	 "                       when the lock is lost (exit 3), else exits with "
	 "its code;\n"
	 "                       KVMIRROR_LOCK_TOKEN is the fencing token\n"
	 "KEY is relative to the URI's prefix and begins with '/'. In lines, "
	 "bytes of keys\nthat do not print stand as %XX.",
	 2, 4, cmd_store},
	{"check", CHECK, "-c FILE",
	 "Checks a configuration file without connecting anywhere.", 0, 0,
	 cmd_check},
	{"backends", BACKENDS, "[--json]",
	 "Lists the kinds of stores, their schemes and options.", 0, 0,
	 cmd_backends},
	{"version", VERSION, "", "Prints the version.", 0, 0, cmd_version},
};
/* clang-format on */

/* ---- usage texts -------------------------------------------------------- */

static const char exit_codes[] =
    "Exit codes: 0 done, 1 different or not everything carried, 2 usage or\n"
    "configuration, 3 failed.\n";

static void usage_all(FILE *f)
{
	size_t i;

	(void)fprintf(f, "kvmirror mirrors the keys of one key-value store "
			 "into another.\n\n");
	for (i = 0; i < KV_COUNT(commands); i++) {
		(void)fprintf(f, "  kvmirror %s %s\n", commands[i].name,
			      commands[i].synopsis);
	}
	(void)fprintf(f,
		      "\nMore: kvmirror COMMAND --help. Stores are URIs such "
		      "as etcd://host:2379/prefix or\nsqlite:FILE; see "
		      "kvmirror backends.\n%s",
		      exit_codes);
}

static void usage_option(FILE *f, const struct cli_option *o)
{
	char left[48];

	(void)snprintf(
	    left, sizeof(left), "%s%c%s--%s%s%s", o->letter == 0 ? "  " : "-",
	    o->letter == 0 ? ' ' : o->letter, o->letter == 0 ? " " : ",",
	    o->name, o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);
	(void)fprintf(f, "  %-26s %s\n", left, o->help);
}

static void usage_command(FILE *f, const struct cli_command *c)
{
	size_t i;

	(void)fprintf(f, "kvmirror %s %s\n\n%s\n\n", c->name, c->synopsis,
		      c->help);
	for (i = 0; i < KV_COUNT(options); i++) {
		if ((options[i].commands & c->bit) != 0) {
			usage_option(f, &options[i]);
		}
	}
	(void)fprintf(f, "\n%s", exit_codes);
}

/* ---- parsing --------------------------------------------------------------*/

static const struct cli_command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < KV_COUNT(commands); i++) {
		if (strcmp(commands[i].name, name) == 0) {
			return &commands[i];
		}
	}
	return NULL;
}

/* getopt's tables for one command. An option's number is its place. */
struct tables {
	char letters[2 * KV_COUNT(options) + 2];
	struct option longs[KV_COUNT(options) + 1];
	size_t n;
};

static void tables_fill(struct tables *t, unsigned bit)
{
	size_t i, n = 0, k = 0;

	t->letters[k++] = ':';
	for (i = 0; i < KV_COUNT(options); i++) {
		const struct cli_option *o = &options[i];

		if ((o->commands & bit) == 0) {
			continue;
		}
		t->longs[n++] = (struct option){
		    .name = o->name,
		    .has_arg = o->arg == NULL ? no_argument : required_argument,
		    .val = 256 + (int)i};
		if (o->letter != 0) {
			t->letters[k++] = o->letter;
			if (o->arg != NULL) {
				t->letters[k++] = ':';
			}
		}
	}
	t->longs[n] = (struct option){0};
	t->letters[k] = '\0';
}

/* The option that getopt's number, or letter, stands for. */
static const struct cli_option *find_option(int code, unsigned bit)
{
	size_t i;

	if (code >= 256) {
		return &options[code - 256];
	}
	for (i = 0; i < KV_COUNT(options); i++) {
		if (options[i].letter == code &&
		    (options[i].commands & bit) != 0) {
			return &options[i];
		}
	}
	return NULL;
}

static int parse_count(const char *name, const char *text, uint64_t *out,
		       struct kv_err *err)
{
	char *end = NULL;
	unsigned long long n = 0;

	if (text[0] >= '0' && text[0] <= '9') {
		n = strtoull(text, &end, 10);
	}
	if (end == NULL || *end != '\0' || n > INT64_MAX) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "--%s: '%s', expected a number", name, text);
	}
	*out = n;
	return KV_OK;
}

static int parse_seconds(const char *name, const char *text, uint64_t *out,
			 struct kv_err *err)
{
	char *end = NULL;
	double s = 0;

	if (strspn(text, "0123456789.") == strlen(text)) {
		s = strtod(text, &end);
	}
	if (end == NULL || end == text || *end != '\0' || s < 0.001 ||
	    s > TIMEOUT_MAX_S) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "--%s: '%s', expected seconds, above 0", name,
			       text);
	}
	*out = (uint64_t)(s * 1000);
	return KV_OK;
}

static int take_option(struct cli_args *a, const struct cli_option *o,
		       const char *text, struct kv_err *err)
{
	void *at = (char *)a + o->offset;
	int status;

	switch (o->kind) {
	case KIND_FLAG:
		*(bool *)at = true;
		return KV_OK;
	case KIND_TEXT:
		if (text[0] == '\0') {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "--%s: must not be empty", o->name);
		}
		*(const char **)at = text;
		return KV_OK;
	case KIND_COUNT:
		return parse_count(o->name, text, at, err);
	case KIND_SECONDS:
		return parse_seconds(o->name, text, at, err);
	case KIND_ROUTE:
		break;
	}
	a->route_given = true;
	status = conf_route_set(&a->route, o->name, text, err);
	if (status != KV_OK) {
		/* The text begins with the option's name. */
		struct kv_err inner = *err;

		(void)kv_fail(err, status, "--%s", inner.text);
	}
	return status;
}

/* The word of the command line that getopt stumbled on. */
static int bad_option(int code, char **argv, struct kv_err *err)
{
	const char *word = argv[optind - 1];

	if (code == ':') {
		return kv_fail(err, KV_BAD_ARGUMENT, "%s needs a value", word);
	}
	if (optopt > 0 && optopt < 256) {
		return kv_fail(err, KV_BAD_ARGUMENT, "unknown option -%c",
			       optopt);
	}
	if (optopt >= 256) {
		return kv_fail(err, KV_BAD_ARGUMENT, "%s takes no value", word);
	}
	return kv_fail(err, KV_BAD_ARGUMENT, "unknown option %s", word);
}

static int parse_options(int argc, char **argv, struct cli_args *a,
			 struct kv_err *err)
{
	struct tables t = {0};
	int code, status = KV_OK;

	tables_fill(&t, a->command->bit);
	/* 0 makes getopt begin anew, whatever it parsed before. */
	optind = 0;
	opterr = 0;
	while (status == KV_OK && (code = getopt_long(argc, argv, t.letters,
						      t.longs, NULL)) != -1) {
		if (code == '?' || code == ':') {
			status = bad_option(code, argv, err);
		} else {
			status = take_option(
			    a, find_option(code, a->command->bit), optarg, err);
		}
	}
	return status;
}

static int take_args(int argc, char **argv, struct cli_args *a,
		     struct kv_err *err)
{
	const struct cli_command *c = a->command;
	size_t n = (size_t)(argc - optind), i;

	if (a->help) {
		return KV_OK;
	}
	if (n < c->min_args || n > c->max_args) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s: usage: kvmirror %s %s",
			       n < c->min_args ? "arguments are missing"
					       : "too many arguments",
			       c->name, c->synopsis);
	}
	for (i = 0; i < n; i++) {
		a->args[a->n_args++] = argv[optind + (int)i];
	}
	return KV_OK;
}

/* Behind `--` stands the command of `store lock`; elsewhere an argument that
 * may begin with '-'. Cuts it off; the number of words left. */
static int cut_tail(int argc, char **argv, struct cli_args *a)
{
	bool lock = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0 && lock) {
			a->tail = argv + i + 1;
			a->n_tail = (size_t)(argc - i - 1);
			return i;
		}
		lock |=
		    a->command->bit == STORE && strcmp(argv[i], "lock") == 0;
	}
	return argc;
}

int cli_parse(int argc, char **argv, struct cli_args *out, struct kv_err *err)
{
	int status;

	PRE(argc >= 2);
	*out = (struct cli_args){.timeout_ms = TIMEOUT_MS};
	conf_route_init(&out->route);
	out->command = find_command(argv[1]);
	if (out->command == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "unknown command '%s'; see kvmirror --help",
			       argv[1]);
	}
	argc = 1 + cut_tail(argc - 1, argv + 1, out);
	status = parse_options(argc - 1, argv + 1, out, err);
	if (status == KV_OK) {
		status = take_args(argc - 1, argv + 1, out, err);
	}
	if (status == KV_BAD_ARGUMENT) {
		struct kv_err inner = *err;

		(void)kv_fail(err, status, "%s: %s; see kvmirror %s --help",
			      argv[1], inner.text, argv[1]);
	}
	return status;
}

void cli_args_clear(struct cli_args *args)
{
	conf_route_clear(&args->route);
}

/* ---- errors ---------------------------------------------------------------*/

int cli_exit_code(int status)
{
	switch (status) {
	case KV_OK:
		return CLI_OK;
	case KV_BAD_ARGUMENT:
	case KV_BACKEND_NOT_SUPPORTED:
	case KV_CALL_NOT_SUPPORTED:
		return CLI_USAGE;
	default:
		return CLI_FAILED;
	}
}

/* One line on standard error, whatever the text holds. */
static void tell(const char *text)
{
	char line[KV_ERR_TEXT_MAX + 64];
	char *p;

	(void)snprintf(line, sizeof(line) - 1, "kvmirror: %s", text);
	for (p = line; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f) {
			*p = ' ';
		}
	}
	(void)fprintf(stderr, "%s\n", line);
}

int cli_error(const struct kv_err *err)
{
	PRE(err->status != KV_OK);
	tell(err->text[0] == '\0' ? kv_status_text(err->status) : err->text);
	return cli_exit_code(err->status);
}

void cli_advise(struct kv_err *err)
{
	struct kv_err inner = *err;
	const char *advice;

	switch (err->status) {
	case KV_NOT_REACHABLE:
	case KV_TIMED_OUT:
		advice = "is the server there, and the URI right?";
		break;
	case KV_DENIED:
		advice = "check user, password and permissions";
		break;
	case KV_NO_SPACE:
		advice = "make room there, then run it again";
		break;
	default:
		return;
	}
	(void)kv_fail(err, inner.status, "%s; %s", inner.text, advice);
}

int cli_complain(int code, const char *fmt, ...)
{
	char text[KV_ERR_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	tell(text);
	return code;
}

/* ---- the program
 * ------------------------------------------------------------*/

static bool is_one_of(const char *word, const char *a, const char *b,
		      const char *c)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0 ||
	       strcmp(word, c) == 0;
}

static int print_usage(const struct cli_command *c)
{
	struct out o;

	out_init(&o);
	if (c == NULL) {
		usage_all(stdout);
	} else {
		usage_command(stdout, c);
	}
	if (ferror(stdout)) {
		o.error = EIO;
	}
	return out_finish(&o, CLI_OK);
}

int cli_main(const struct store_registry *registry, int argc, char **argv)
{
	struct cli cli = {.registry = registry};
	struct cli_args args;
	struct kv_err err = {0};
	int code;

	if (argc < 2) {
		usage_all(stderr);
		return CLI_USAGE;
	}
	if (is_one_of(argv[1], "help", "--help", "-h")) {
		return print_usage(argc > 2 ? find_command(argv[2]) : NULL);
	}
	if (is_one_of(argv[1], "--version", "-V", "-v")) {
		return cmd_version(&cli, NULL);
	}
	if (cli_parse(argc, argv, &args, &err) != KV_OK) {
		code = cli_error(&err);
	} else if (args.help) {
		code = print_usage(args.command);
	} else {
		code = args.command->run(&cli, &args);
	}
	cli_args_clear(&args);
	return code;
}
