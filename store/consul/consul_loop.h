/* consul_loop.h: between consul_http.c and consul_loop.c. */
#ifndef KV_CONSUL_LOOP_H
#define KV_CONSUL_LOOP_H

#include "store/consul/consul_http.h"

/* Sets the options by which curl asks for sockets. */
void loop_watch_sockets(struct http_call *call);

/* The epoch in which the connection that a call used was opened. */
uint64_t loop_epoch_of(const struct http_call *call);

/* A transfer is over; a call that never began is. `done` may start others. */
void http_finished(struct http_call *call, CURLcode rc);
void http_failed(struct http_call *call);

#endif /* KV_CONSUL_LOOP_H */
