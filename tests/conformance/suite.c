/* suite.c: conformance BACKEND [GROUP [PATTERN]]: runs one group, or all of
 * them. Exit code 77: the backend cannot run here, and why is said. */
#include <signal.h>
#include <stdio.h>

#include "tests/conformance/suite.h"

static const struct group groups[] = {
    {"open", group_open},   {"single", group_single}, {"keys", group_keys},
    {"scan", group_scan},   {"write", group_write},   {"watch", group_watch},
    {"calls", group_calls}, {"server", group_server}, {"lock", group_lock},
};

enum { SKIPPED = 77, USAGE = 2 };

static const struct backend *find_backend(const char *name)
{
	for (size_t i = 0; i < suite_n_backends; i++) {
		if (strcmp(suite_backends[i]->name, name) == 0) {
			return suite_backends[i];
		}
	}
	return NULL;
}

static int usage(void)
{
	fprintf(stderr, "usage: conformance BACKEND [GROUP [PATTERN]]\n");
	for (size_t i = 0; i < suite_n_backends; i++) {
		fprintf(stderr, "  backend %s\n", suite_backends[i]->name);
	}
	for (size_t i = 0; i < KV_COUNT(groups); i++) {
		fprintf(stderr, "  group %s\n", groups[i].name);
	}
	return USAGE;
}

int main(int argc, char **argv)
{
	const struct backend *be = argc > 1 ? find_backend(argv[1]) : NULL;
	const char *why;
	bool ran = false;
	int failed = 0;

	/* As the program does: a broken connection is an error, not the end. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (be == NULL) {
		return usage();
	}
	why = be->missing == NULL ? NULL : be->missing();
	if (why != NULL) {
		printf("SKIP: conformance of %s: %s\n", be->name, why);
		return SKIPPED;
	}
	world_use(be);
	if (argc > 3) {
		cmocka_set_test_filter(argv[3]);
	}
	for (size_t i = 0; i < KV_COUNT(groups); i++) {
		if (argc < 3 || strcmp(argv[2], groups[i].name) == 0) {
			failed += groups[i].run();
			ran = true;
		}
	}
	return !ran ? usage() : failed == 0 ? 0 : 1;
}
