/* state_path.h: where the state of a route stands when nobody said it: below
 * the user's XDG state folder, one file per source and target. */
#ifndef KV_STATE_PATH_H
#define KV_STATE_PATH_H

#include "store/base/status.h"

/* "$XDG_STATE_HOME/kvmirror" or "~/.local/state/kvmirror", a new string.
 * KV_BAD_ARGUMENT when neither is known. */
int state_path_folder(char **out, struct kv_err *err) KV_MUSTCHECK;

/* The file for one source and target (URIs); a relative file in a URI counts
 * from the current folder. */
int state_path_of_pair(const char *source, const char *target, char **out,
		       struct kv_err *err) KV_MUSTCHECK;

/* The file for a configuration that names none. */
int state_path_of_conf(const char *conf_path, char **out,
		       struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_STATE_PATH_H */
