/* endpoint.c: see endpoint.h. */
#include "store/net/endpoint.h"

#include <string.h>

#include "store/base/mem.h"

int endpoint_split(const char *who, const char *text, const char *default_port,
		   char **out_host, char **out_port, struct kv_err *err)
{
	const char *host = text, *end, *port;

	if (text[0] == '[') {
		host = text + 1;
		end = strchr(host, ']');
		port = end == NULL ? NULL : end + 1;
	} else {
		end = strrchr(text, ':');
		end = end == NULL ? text + strlen(text) : end;
		port = end;
	}
	if (end == NULL || end == host || (*port != '\0' && *port != ':') ||
	    strcmp(port, ":") == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s: endpoint \"%s\" is not host:port", who,
			       text);
	}
	*out_host = kv_memdup(host, (size_t)(end - host));
	*out_port = kv_strdup(*port == ':' ? port + 1 : default_port);
	if (*out_host == NULL || *out_port == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "%s: no memory to open", who);
	}
	return KV_OK;
}
