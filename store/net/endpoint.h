/* endpoint.h: "host:port" as it stands in a URI, in its two parts. */
#ifndef KV_ENDPOINT_H
#define KV_ENDPOINT_H

#include "store/base/status.h"

/* Takes "host", "host:port", "[v6]" or "[v6]:port" apart; without a port,
 * `default_port` stands in. New strings in *host and *port (kv_free, also after
 * a failure). KV_BAD_ARGUMENT, beginning with the backend's name `who`;
 * KV_NO_MEMORY. */
int endpoint_split(const char *who, const char *text, const char *default_port,
		   char **host, char **port, struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_ENDPOINT_H */
