/* program.c: see program.h. */
#include "tests/integration/program.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 24, ONCE_MS = 60000 };

const char *program_path(void)
{
	const char *path = getenv("KVMIRROR_RELEASE");

	if (path == NULL || *path == '\0') {
		path = getenv("KVMIRROR");
	}
	return path == NULL || *path == '\0' ? "kvmirror" : path;
}

void program_tell(const struct program *p)
{
	char *log = temp_read(p->log);
	size_t n = log == NULL ? 0 : strlen(log);

	fprintf(stderr, "the end of %s:\n%s\n", p->log,
		n == 0	   ? "(empty)"
		: n > 4000 ? log + n - 4000
			   : log);
	free(log);
}

void program_follow(struct program *p, const char *const *more)
{
	const char *argv[ARGS_MAX] = {p->path,	 "sync",     p->source,
				      p->target, "--follow", "--state",
				      p->state};
	size_t n = 7;

	PRE(p->pid == 0);
	for (; more != NULL && *more != NULL; more++) {
		PRE(n + 1 < ARGS_MAX);
		argv[n++] = *more;
	}
	p->pid = process_start(argv, p->log);
	if (p->pid <= 0) {
		fprintf(stderr, "%s cannot be started\n", p->path);
		abort();
	}
}

void program_alive(struct program *p)
{
	int code;

	PRE(p->pid > 0);
	if (process_wait(p->pid, 0, &code)) {
		program_tell(p);
		fprintf(stderr, "%s ended by itself with %d\n", p->path, code);
		abort();
	}
}

void program_kill(struct program *p)
{
	if (p->pid > 0) {
		program_alive(p);
		process_kill(p->pid);
		p->pid = 0;
	}
}

int program_stop(struct program *p)
{
	int code;

	program_alive(p);
	code = process_stop(p->pid);
	p->pid = 0;
	return code;
}

int program_once(struct program *p)
{
	const char *argv[] = {p->path,	 "sync",   p->source, p->target,
			      "--state", p->state, NULL};

	return process_run(argv, p->log, ONCE_MS);
}

int program_diff(struct program *p, bool owned)
{
	const char *argv[] = {p->path, "diff",	  p->source, p->target,
			      NULL,    "--state", p->state,  NULL};

	if (owned) {
		argv[4] = "--owned";
	}
	return process_run(argv, p->log, ONCE_MS);
}

static long long number(json_t *route, const char *name)
{
	json_t *v = json_object_get(route, name);

	return json_is_integer(v) ? json_integer_value(v) : -1;
}

static bool take_status(const char *text, struct program_status *st)
{
	json_t *all = json_loads(text, 0, NULL);
	json_t *route = json_array_get(json_object_get(all, "routes"), 0);
	const char *phase = json_string_value(json_object_get(route, "phase"));
	bool ok = phase != NULL;

	if (ok) {
		(void)snprintf(st->phase, sizeof st->phase, "%s", phase);
		st->conflicts = number(route, "conflicts");
		st->quarantine = number(route, "quarantine");
		st->foreign = number(route, "foreign");
		st->keys = number(route, "keys");
		st->intents = number(route, "intents");
		st->seeded = json_is_true(json_object_get(route, "seeded"));
		st->held = json_is_string(json_object_get(route, "held"));
	}
	json_decref(all);
	return ok;
}

bool program_status(struct program *p, struct program_status *st)
{
	char file[TEMP_PATH_MAX + 16];
	const char *argv[] = {p->path,	"status", "--state",
			      p->state, "--json", NULL};
	char *text;
	bool ok;

	(void)snprintf(file, sizeof file, "%s.status", p->state);
	(void)remove(file);
	ok = process_run(argv, file, ONCE_MS) == 0;
	text = temp_read(file);
	ok = ok && text != NULL && take_status(text, st);
	free(text);
	return ok;
}
