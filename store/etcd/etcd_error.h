/* etcd_error.h: what etcd's refusals mean here, as one table.
 *
 *   grpc-status, grpc-message --> etcd_fault_find --> KV_ status, remedy
 *
 * Nothing above this folder sees a gRPC code.
 */
#ifndef KV_ETCD_ERROR_H
#define KV_ETCD_ERROR_H

#include "store/base/status.h"

/* What may be done about a refusal before it is told to the caller. */
enum etcd_remedy {
	ETCD_REMEDY_NONE,
	ETCD_REMEDY_TOKEN,  /* nothing was done: authenticate, then again */
	ETCD_REMEDY_ROTATE, /* another endpoint may do better next time */
	ETCD_REMEDY_FEWER,  /* nothing was done: fewer operations a request */
	ETCD_REMEDY_SMALLER /* nothing was done: fewer bytes a request */
};

struct etcd_fault {
	int status;
	enum etcd_remedy remedy;
};

/* The meaning of a non-zero gRPC code with its text. `mutates`: the call was
 * one that writes; where the server may have done it all the same, the status
 * is KV_UNKNOWN_OUTCOME. */
struct etcd_fault etcd_fault_find(int code, const char *text, bool mutates);

/* "etcd: TEXT (gRPC code N)" and, where a person can do something, what. */
int etcd_fault_err(struct etcd_fault f, int code, const char *text,
		   struct kv_err *err);

/* Is it Authenticate's answer of a server that has no authentication? */
bool etcd_fault_auth_off(int code, const char *text);

/* Does a server of that version ("3.4.23") answer a manual progress request
 * in the order of its events? An unknown form: no. */
bool etcd_version_orders_progress(const char *version);

#endif /* KV_ETCD_ERROR_H */
