/* base.h: what every file of kvmirror may use: attributes, contracts, an
 * intrusive list.
 *
 * Contracts: PRE states what a caller must have done, POST what a function
 * promises, IN that a value lies in a range, ERGO that one fact follows from
 * another. They are active in every build but one with NDEBUG; they state
 * facts about the program, never about its input.
 */
#ifndef KV_BASE_H
#define KV_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The result must be looked at. */
#define KV_MUSTCHECK __attribute__((warn_unused_result))
/* Argument number `fmt` is a printf format, its arguments start at `first`. */
#define KV_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define KV_UNUSED __attribute__((unused))

#define PRE(cond) assert(cond)
#define POST(cond) assert(cond)
#define ERGO(a, b) assert(!(a) || (b))
#define IN(low, value, high) ((low) <= (value) && (value) <= (high))

#define KV_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KV_MIN(a, b) ((a) < (b) ? (a) : (b))
#define KV_MAX(a, b) ((a) > (b) ? (a) : (b))

/* The object of `type` whose member `member` is at `ptr`. */
#define kv_container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* An intrusive, circular, doubly linked list. A `struct list` is both the head
 * and a member of each element. An element that is in no list points to
 * itself, so that list_remove is always allowed on an initialised one. */
struct list {
	struct list *next;
	struct list *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_push_back(struct list *head, struct list *elem)
{
	PRE(elem->next == elem);
	PRE(head->prev != NULL);
	elem->prev = head->prev;
	elem->next = head;
	head->prev->next = elem;
	head->prev = elem;
}

static inline void list_push_front(struct list *head, struct list *elem)
{
	list_push_back(head->next, elem);
}

static inline void list_remove(struct list *elem)
{
	elem->prev->next = elem->next;
	elem->next->prev = elem->prev;
	list_init(elem);
}

/* The first element, or NULL. */
static inline struct list *list_first(struct list *head)
{
	return list_empty(head) ? NULL : head->next;
}

/* Takes the first element out; NULL when there is none. */
static inline struct list *list_pop_front(struct list *head)
{
	struct list *elem = list_first(head);

	if (elem != NULL) {
		list_remove(elem);
	}
	return elem;
}

/* Moves all elements of `from` behind those of `to`; `from` is empty then. */
static inline void list_splice_back(struct list *to, struct list *from)
{
	if (list_empty(from)) {
		return;
	}
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#endif /* KV_BASE_H */
