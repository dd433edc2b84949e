/* state_path.c: default places of state files.
 *
 *   URI --parse--> scheme, hosts or file, prefix, options --\
 *   URI --------------------------------------------------> hash -> FILE.db
 */
#include "agent/state_path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/base/hash.h"
#include "store/uri.h"

static int no_memory(struct kv_err *err)
{
	return kv_fail(err, KV_NO_MEMORY, "no memory for a path");
}

int state_path_folder(char **out, struct kv_err *err)
{
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	/* A relative one is to be ignored, says the XDG specification. */
	if (xdg != NULL && xdg[0] == '/') {
		*out = kv_asprintf("%s/kvmirror", xdg);
	} else if (home != NULL && home[0] == '/') {
		*out = kv_asprintf("%s/.local/state/kvmirror", home);
	} else {
		*out = NULL;
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "no place for the state file: neither "
			       "XDG_STATE_HOME nor HOME is set; give --state "
			       "FILE");
	}
	return *out == NULL ? no_memory(err) : KV_OK;
}

/* The file as an absolute path: its folder resolved, so that the name is the
 * same before and after the file was made. A folder that is not there keeps
 * the text. */
static char *absolute(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash == NULL ? path : slash + 1;
	char real[PATH_MAX];
	char *folder, *out;

	if (slash == NULL) {
		folder = kv_strdup(".");
	} else {
		folder = kv_asprintf("%.*s", (int)(slash - path + 1), path);
	}
	if (folder == NULL) {
		return NULL;
	}
	if (realpath(folder, real) == NULL) {
		out = kv_strdup(path);
	} else {
		out = kv_asprintf("%s/%s", real, base);
	}
	kv_free(folder);
	return out;
}

/* What names the store, whatever folder it was typed in. */
static int canonical(const char *text, char **out, struct kv_err *err)
{
	struct uri *u;
	const char *options = strchr(text, '?');
	char *file;
	int status = uri_parse(text, &u, err);

	if (status != KV_OK) {
		return status;
	}
	if (u->path == NULL) {
		*out = kv_strdup(text);
	} else {
		file = absolute(u->path);
		*out = file == NULL
			   ? NULL
			   : kv_asprintf("%s:%s%s", u->scheme, file,
					 options == NULL ? "" : options);
		kv_free(file);
	}
	uri_free(u);
	return *out == NULL ? no_memory(err) : KV_OK;
}

/* FOLDER/KIND-HASH.db */
static int name_file(const char *kind, const char *text, char **out,
		     struct kv_err *err)
{
	struct kv_hash hash = kv_hash(slice_str(text));
	char hex[KV_HASH_HEX_MAX];
	char *folder = NULL;
	int status = state_path_folder(&folder, err);

	if (status != KV_OK) {
		return status;
	}
	*out =
	    kv_asprintf("%s/%s-%s.db", folder, kind, kv_hash_hex(&hash, hex));
	kv_free(folder);
	return *out == NULL ? no_memory(err) : KV_OK;
}

int state_path_of_pair(const char *source, const char *target, char **out,
		       struct kv_err *err)
{
	char *from = NULL, *to = NULL, *both = NULL;
	int status;

	*out = NULL;
	status = canonical(source, &from, err);
	if (status == KV_OK) {
		status = canonical(target, &to, err);
	}
	if (status == KV_OK) {
		/* No URI holds a line end. */
		both = kv_asprintf("%s\n%s", from, to);
		status = both == NULL ? no_memory(err)
				      : name_file("sync", both, out, err);
	}
	kv_free(from);
	kv_free(to);
	kv_free(both);
	return status;
}

int state_path_of_conf(const char *conf_path, char **out, struct kv_err *err)
{
	char *file = absolute(conf_path);
	int status;

	*out = NULL;
	if (file == NULL) {
		return no_memory(err);
	}
	status = name_file("run", file, out, err);
	kv_free(file);
	return status;
}
