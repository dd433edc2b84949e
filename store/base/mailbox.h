/* mailbox.h: items from any thread into the loop. With worker.c the only place
 * of kvmirror that has a mutex.
 *
 *   thread: mailbox_send(m, &item->link) --(list, uv_async)--> loop: receive
 */
#ifndef KV_MAILBOX_H
#define KV_MAILBOX_H

#include "store/base/sched.h"

struct mailbox;

/* `receive` gets, on the loop thread, every item in the order sent. NULL when
 * memory or handles are out. */
struct mailbox *mailbox_open(uv_loop_t *loop,
			     void (*receive)(void *ctx, struct list *item),
			     void *ctx) KV_MUSTCHECK;
/* From any thread. The item belongs to the receiver then. */
void mailbox_send(struct mailbox *m, struct list *item);
/* On the loop thread, when nobody sends any more. Items not yet received are
 * received first; then `closed` (may be NULL) is called, later. */
void mailbox_close(struct mailbox *m, void (*closed)(void *ctx));

#endif /* KV_MAILBOX_H */
