/* mailbox.c: a mutex around a list, and an async handle that wakes the loop.
 *
 * The wake-up is sent inside the lock: after that the sender touches the
 * mailbox no more, so that the receiver may close it on the last item.
 */
#include "store/base/mailbox.h"

#include <uv.h>

#include "store/base/mem.h"

struct mailbox {
	uv_async_t async;
	uv_mutex_t lock;
	struct list items; /* under the lock */
	void (*receive)(void *ctx, struct list *item);
	void (*closed)(void *ctx);
	void *ctx;
};

static void drain(struct mailbox *m)
{
	struct list now, *item;

	list_init(&now);
	uv_mutex_lock(&m->lock);
	list_splice_back(&now, &m->items);
	uv_mutex_unlock(&m->lock);
	while ((item = list_pop_front(&now)) != NULL) {
		m->receive(m->ctx, item);
	}
}

static void woken(uv_async_t *async)
{
	drain(async->data);
}

struct mailbox *mailbox_open(uv_loop_t *loop,
			     void (*receive)(void *ctx, struct list *item),
			     void *ctx)
{
	struct mailbox *m;

	PRE(receive != NULL);
	m = kv_calloc(1, sizeof *m);
	if (m == NULL) {
		return NULL;
	}
	list_init(&m->items);
	m->receive = receive;
	m->ctx = ctx;
	if (uv_mutex_init(&m->lock) != 0) {
		goto err_alloc;
	}
	if (uv_async_init(loop, &m->async, woken) != 0) {
		goto err_lock;
	}
	m->async.data = m;
	return m;

err_lock:
	uv_mutex_destroy(&m->lock);
err_alloc:
	kv_free(m);
	return NULL;
}

void mailbox_send(struct mailbox *m, struct list *item)
{
	list_init(item);
	uv_mutex_lock(&m->lock);
	list_push_back(&m->items, item);
	(void)uv_async_send(&m->async);
	uv_mutex_unlock(&m->lock);
}

static void async_closed(uv_handle_t *handle)
{
	struct mailbox *m = handle->data;
	void (*closed)(void *ctx) = m->closed;
	void *ctx = m->ctx;

	drain(m);
	POST(list_empty(&m->items));
	uv_mutex_destroy(&m->lock);
	kv_free(m);
	if (closed != NULL) {
		closed(ctx);
	}
}

void mailbox_close(struct mailbox *m, void (*closed)(void *ctx))
{
	PRE(!uv_is_closing((uv_handle_t *)&m->async));
	m->closed = closed;
	uv_close((uv_handle_t *)&m->async, async_closed);
}
