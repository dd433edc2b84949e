/* zkhand.c: zk_hand for shell tests: commands from standard input, one a line.
 *
 *   zkhand HOSTS [USER:PASSWORD] <<<'put /a/b value'
 *
 *   put PATH VALUE   set, or make with null parents (VALUE may be missing:
 *                    empty data)
 *   null PATH        the same with null data
 *   del PATH         one znode; fine when it is gone
 *   delall PATH      with all below it
 *   begin ... commit put and del between them are one transaction
 *   get PATH         prints the data and a line feed; nothing where there is
 *                    no such znode
 *   dump PATH        lines "NAME VALUE" of all znodes below PATH that hold
 *                    data, names relative to it
 *   stat PATH        "czxid mzxid version children ephemeral"
 *   closeoff PATH    only these credentials may do anything with it; openup
 *   fill PATH N SIZE children k0 .. of SIZE bytes
 *   ephemeral PATH VALUE   lives until the end of the input
 *   say TEXT         prints it: how far it has come
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fixtures/zk_hand.h"

enum { OPS_MAX = 128 };

struct hand {
	zhandle_t *zh;
	struct zk_hand_op ops[OPS_MAX];
	size_t n;
	bool open; /* between begin and commit */
};

static void add(struct hand *h, const char *path, const char *value)
{
	struct zk_hand_op op = {path, value, 0};

	if (value != NULL) {
		op.n = strlen(value);
	}
	if (!h->open) {
		zk_hand_write(h->zh, &op, 1);
		return;
	}
	if (h->n == OPS_MAX) {
		fprintf(stderr, "zkhand: more than %d in one\n", OPS_MAX);
		exit(1);
	}
	op.path = strdup(path);
	op.value = value == NULL ? NULL : strdup(value);
	h->ops[h->n++] = op;
}

static void commit(struct hand *h)
{
	zk_hand_write(h->zh, h->ops, h->n);
	for (size_t i = 0; i < h->n; i++) {
		free((void *)(uintptr_t)h->ops[i].path);
		free((void *)(uintptr_t)h->ops[i].value);
	}
	h->n = 0;
	h->open = false;
}

static void dump_one(void *ctx, const char *path, const char *data, int n,
		     const struct Stat *st)
{
	const char *top = ctx;
	size_t cut = strcmp(top, "/") == 0 ? 0 : strlen(top);

	(void)st;
	if (n >= 0 && path[cut] == '/' && path[cut + 1] != '\0' &&
	    strncmp(path, "/zookeeper", 10) != 0) {
		printf("%s %.*s\n", path + cut, n, data);
	}
}

static void print(struct hand *h, const char *path)
{
	int n;
	char *data = zk_hand_get(h->zh, path, &n);

	if (data != NULL && n >= 0) {
		printf("%.*s\n", n, data);
	}
	free(data);
}

static void print_stat(struct hand *h, const char *path)
{
	struct Stat st;

	if (zk_hand_stat(h->zh, path, &st)) {
		printf("%lld %lld %d %d %d\n", (long long)st.czxid,
		       (long long)st.mzxid, st.version, st.numChildren,
		       st.ephemeralOwner != 0);
	}
}

static bool write_command(struct hand *h, const char *verb, const char *path,
			  const char *rest)
{
	if (strcmp(verb, "put") == 0) {
		add(h, path, rest);
	} else if (strcmp(verb, "null") == 0) {
		zk_hand_put(h->zh, path, NULL, 0);
	} else if (strcmp(verb, "del") == 0) {
		add(h, path, NULL);
	} else if (strcmp(verb, "delall") == 0) {
		zk_hand_delete_all(h->zh, path);
	} else if (strcmp(verb, "begin") == 0) {
		h->open = true;
	} else if (strcmp(verb, "commit") == 0) {
		commit(h);
	} else if (strcmp(verb, "closeoff") == 0) {
		zk_hand_close_off(h->zh, path);
	} else if (strcmp(verb, "openup") == 0) {
		zk_hand_open_up(h->zh, path);
	} else if (strcmp(verb, "ephemeral") == 0) {
		(void)zk_hand_make(h->zh, path, rest, strlen(rest),
				   ZOO_EPHEMERAL);
	} else if (strcmp(verb, "fill") == 0) {
		unsigned n = 0;
		size_t size = 0;

		if (sscanf(rest, "%u %zu", &n, &size) != 2) {
			return false;
		}
		zk_hand_fill(h->zh, path, "k%u", n, size);
	} else {
		return false;
	}
	return true;
}

static bool command(struct hand *h, char *line)
{
	char *verb = line;
	char *path = line + strcspn(line, " ");
	char *rest;

	if (*path != '\0') {
		*path++ = '\0';
	}
	if (strcmp(verb, "say") == 0) {
		puts(path);
		return true;
	}
	rest = path + strcspn(path, " ");
	if (*rest != '\0') {
		*rest++ = '\0';
	}
	if (strcmp(verb, "get") == 0) {
		print(h, path);
	} else if (strcmp(verb, "dump") == 0) {
		zk_hand_walk(h->zh, path, dump_one, path);
	} else if (strcmp(verb, "stat") == 0) {
		print_stat(h, path);
	} else {
		return write_command(h, verb, path, rest);
	}
	return true;
}

int main(int argc, char **argv)
{
	struct hand h = {.n = 0};
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (argc < 2) {
		fprintf(stderr, "usage: zkhand HOSTS [USER:PASSWORD]\n");
		return 2;
	}
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	h.zh = zk_hand_open(argv[1], 30000);
	if (argc > 2) {
		zk_hand_auth(h.zh, argv[2]);
	}
	while ((n = getline(&line, &cap, stdin)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (*line != '\0' && !command(&h, line)) {
			fprintf(stderr, "zkhand: not understood: %s\n", line);
			return 2;
		}
	}
	free(line);
	zk_hand_close(h.zh);
	return 0;
}
