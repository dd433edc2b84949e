/* place.c: see place.h. */
#include "store/sqlite/place.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/mem.h"

static int check_folder(const char *path, struct kv_err *err)
{
	const char *slash = strrchr(path, '/');
	char *dir = kv_strdup(path);
	int rv = KV_OK;

	PRE(slash != NULL);
	if (dir == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory to open a store");
	}
	dir[slash == path ? 1 : slash - path] = '\0';
	if (access(dir, F_OK) != 0) {
		rv = kv_fail(err, KV_BAD_ARGUMENT,
			     "%s: its folder cannot be reached (%s): make it "
			     "first",
			     path, strerror(errno));
	} else if (access(dir, W_OK | X_OK) != 0) {
		rv = kv_fail(err, KV_DENIED,
			     "%s: no file can be made in its folder (%s)", path,
			     strerror(errno));
	}
	kv_free(dir);
	return rv;
}

int place_check(const char *path, bool create, struct kv_err *err)
{
	struct stat sb;

	if (stat(path, &sb) != 0 && errno == ENOENT) {
		return create ? check_folder(path, err)
			      : kv_fail(err, KV_KEY_NOT_FOUND,
					"%s: no such file", path);
	}
	if (stat(path, &sb) != 0) {
		return kv_fail(err,
			       errno == EACCES ? KV_DENIED : KV_BAD_ARGUMENT,
			       "%s: %s", path, strerror(errno));
	}
	if (!S_ISREG(sb.st_mode)) {
		return kv_fail(err, KV_BAD_ARGUMENT, "%s: not a plain file",
			       path);
	}
	if (access(path, R_OK) != 0) {
		return kv_fail(err, KV_DENIED, "%s: %s", path, strerror(errno));
	}
	return KV_OK;
}

/* Of files that do not exist yet: the same folder, the same name in it. */
static bool same_missing(const char *a, const char *b)
{
	const char *as = strrchr(a, '/'), *bs = strrchr(b, '/');
	struct stat x, y;
	char *ad = kv_strdup(a), *bd = kv_strdup(b);
	bool same = true; /* in doubt */

	PRE(as != NULL && bs != NULL);
	if (ad != NULL && bd != NULL) {
		ad[as - a + 1] = '\0';
		bd[bs - b + 1] = '\0';
		same = strcmp(as, bs) == 0 && stat(ad, &x) == 0 &&
		       stat(bd, &y) == 0 && x.st_dev == y.st_dev &&
		       x.st_ino == y.st_ino;
	}
	kv_free(ad);
	kv_free(bd);
	return same;
}

bool place_same(const char *a, const char *b)
{
	struct stat x, y;
	bool x_there = stat(a, &x) == 0;
	bool y_there = stat(b, &y) == 0;

	if (x_there && y_there) {
		return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
	}
	return !x_there && !y_there && same_missing(a, b);
}
