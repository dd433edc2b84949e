/* zookeeper.h: the ZooKeeper backend: schemes zk and zks.
 *
 *   scans, watches --> zk_session --> zk_conn --> wire (TCP, TLS) --> server
 *   writes, locks ---> zk_handle --(mailbox)--> libzookeeper_mt ----> server
 *
 * Reading and watching stand on a connection of our own, in the loop: the C
 * library offers neither multiRead nor persistent recursive watches, sends the
 * watches of a handle in one SetWatches that a server refuses for ever once it
 * is larger than its message limit, and knows no TLS. Two ways of reading:
 *   fast     servers >= 3.6: multiRead, one recursive watch for the tree
 *   general  any server: single reads, a data and a child watch on every znode
 */
#ifndef KV_ZOOKEEPER_H
#define KV_ZOOKEEPER_H

#include "store/store_ops.h"

extern const struct store_ops store_zookeeper_ops;

#endif /* KV_ZOOKEEPER_H */
