/* etcd_error.c: the table behind etcd_error.h. Rows are tried from above: the
 * first whose code is equal and whose text is a part of the server's decides.
 * Texts matter: etcd gives one code to refusals that need different answers.
 */
#include "store/etcd/etcd_error.h"

#include <stdio.h>
#include <string.h>

struct row {
	int code;
	const char *text; /* NULL: any */
	int read;	  /* status of a call that only reads */
	int write;	  /* status of one that writes */
	enum etcd_remedy remedy;
	const char *advice; /* may be NULL */
};

static const struct row rows[] = {
    {1, NULL, KV_TIMED_OUT, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_NONE, NULL},
    /* Without a quorum a Put is given up after about 7 s with code 2; its
     * proposal may still be committed later. */
    {2, "context deadline exceeded", KV_TIMED_OUT, KV_UNKNOWN_OUTCOME,
     ETCD_REMEDY_ROTATE, NULL},
    {2, NULL, KV_TIMED_OUT, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_ROTATE, NULL},
    {3, "too many operations", KV_TOO_LARGE, KV_TOO_LARGE, ETCD_REMEDY_FEWER,
     "the server's --max-txn-ops"},
    {3, "request is too large", KV_TOO_LARGE, KV_TOO_LARGE, ETCD_REMEDY_SMALLER,
     "the server's --max-request-bytes"},
    {3, "duplicate key", KV_BAD_ARGUMENT, KV_BAD_ARGUMENT, ETCD_REMEDY_NONE,
     NULL},
    {3, "key is not provided", KV_INVALID_KEY, KV_INVALID_KEY, ETCD_REMEDY_NONE,
     NULL},
    {3, "auth store is old", KV_DENIED, KV_DENIED, ETCD_REMEDY_TOKEN, NULL},
    {3, "user name is empty", KV_DENIED, KV_DENIED, ETCD_REMEDY_TOKEN,
     "set the options user and password"},
    {3, "authentication failed", KV_DENIED, KV_DENIED, ETCD_REMEDY_NONE,
     "check the options user and password"},
    {3, NULL, KV_BAD_ARGUMENT, KV_BAD_ARGUMENT, ETCD_REMEDY_NONE, NULL},
    {4, NULL, KV_TIMED_OUT, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_ROTATE, NULL},
    {5, "lease not found", KV_KEY_NOT_FOUND, KV_KEY_NOT_FOUND, ETCD_REMEDY_NONE,
     NULL},
    {5, NULL, KV_BROKEN, KV_BROKEN, ETCD_REMEDY_NONE, NULL},
    {7, NULL, KV_DENIED, KV_DENIED, ETCD_REMEDY_NONE,
     "the user needs a role for this prefix"},
    {8, "database space exceeded", KV_NO_SPACE, KV_NO_SPACE, ETCD_REMEDY_NONE,
     "compact and defragment the server, then disarm its alarm"},
    {8, "larger than max", KV_TOO_LARGE, KV_TOO_LARGE, ETCD_REMEDY_SMALLER,
     "the server's --max-request-bytes"},
    {8, "too many requests", KV_NOT_REACHABLE, KV_NOT_REACHABLE,
     ETCD_REMEDY_NONE, "the server is overloaded"},
    {8, NULL, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_NONE, NULL},
    {9, NULL, KV_BROKEN, KV_BROKEN, ETCD_REMEDY_NONE, NULL},
    {10, NULL, KV_TIMED_OUT, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_NONE, NULL},
    /* One code, two meanings, one answer: this history is not to be had. */
    {11, "compacted", KV_HISTORY_LOST, KV_HISTORY_LOST, ETCD_REMEDY_NONE, NULL},
    {11, "future revision", KV_HISTORY_LOST, KV_HISTORY_LOST, ETCD_REMEDY_NONE,
     "the store was restored, or is another one"},
    {11, NULL, KV_BAD_ARGUMENT, KV_BAD_ARGUMENT, ETCD_REMEDY_NONE, NULL},
    {12, NULL, KV_CALL_NOT_SUPPORTED, KV_CALL_NOT_SUPPORTED, ETCD_REMEDY_NONE,
     "is this an etcd that speaks v3?"},
    {13, NULL, KV_BROKEN, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_NONE, NULL},
    /* The member refuses before it does anything, because our calls carry
     * hasleader; a write does not get this text in any other way. */
    {14, "etcdserver: no leader", KV_NOT_REACHABLE, KV_NOT_REACHABLE,
     ETCD_REMEDY_ROTATE, "the member sees no leader: is a quorum up?"},
    {14, NULL, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_ROTATE, NULL},
    {15, NULL, KV_BROKEN, KV_BROKEN, ETCD_REMEDY_NONE,
     "the server takes its data for damaged"},
    {16, NULL, KV_DENIED, KV_DENIED, ETCD_REMEDY_TOKEN, NULL},
};

static const struct row *find_row(int code, const char *text)
{
	size_t i;

	for (i = 0; i < KV_COUNT(rows); i++) {
		if (rows[i].code == code &&
		    (rows[i].text == NULL ||
		     strstr(text, rows[i].text) != NULL)) {
			return &rows[i];
		}
	}
	return NULL;
}

struct etcd_fault etcd_fault_find(int code, const char *text, bool mutates)
{
	const struct row *row = find_row(code, text);
	struct etcd_fault f = {KV_BROKEN, ETCD_REMEDY_NONE};

	PRE(code != 0);
	if (row != NULL) {
		f.status = mutates ? row->write : row->read;
		f.remedy = row->remedy;
	} else if (mutates) {
		f.status = KV_UNKNOWN_OUTCOME;
	}
	POST(f.status != KV_OK);
	return f;
}

int etcd_fault_err(struct etcd_fault f, int code, const char *text,
		   struct kv_err *err)
{
	const struct row *row = find_row(code, text);
	const char *advice = row == NULL ? NULL : row->advice;

	if (strncmp(text, "etcdserver: ", 12) == 0) {
		text += 12;
	}
	return kv_fail(err, f.status, "etcd: %s (gRPC code %d)%s%s", text, code,
		       advice == NULL ? "" : ": ",
		       advice == NULL ? "" : advice);
}

bool etcd_fault_auth_off(int code, const char *text)
{
	return (code == 9 || code == 3) &&
	       strstr(text, "authentication is not enabled") != NULL;
}

bool etcd_version_orders_progress(const char *version)
{
	unsigned major, minor, patch;

	if (sscanf(version, "%u.%u.%u", &major, &minor, &patch) != 3) {
		return false;
	}
	if (major != 3 || minor > 5) {
		return major >= 3;
	}
	return (minor == 5 && patch >= 8) || (minor == 4 && patch >= 25);
}
