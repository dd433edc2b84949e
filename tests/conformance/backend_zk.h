/* backend_zk.h: ZooKeeper's rows of the table of backends: both ways of
 * reading, an ensemble, an old server, credentials. */
#ifndef KV_SUITE_BACKEND_ZK_H
#define KV_SUITE_BACKEND_ZK_H

#include "tests/conformance/suite.h"

extern const struct backend zk_backend;
extern const struct backend zk_general_backend;
extern const struct backend zk3_backend;
extern const struct backend zk34_backend;
extern const struct backend zk_digest_backend;

#endif /* KV_SUITE_BACKEND_ZK_H */
