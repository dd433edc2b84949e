/* history.c: see history.h. Pure. */
#include "tests/integration/history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a target stands in a key's events. */
struct history_seen {
	uint32_t next; /* events before it are past */
	bool alive;
};

static void *must_alloc(void *p)
{
	if (p == NULL) {
		abort();
	}
	return p;
}

void history_init(struct history *h, uint32_t n_keys)
{
	h->keys = must_alloc(calloc(n_keys, sizeof *h->keys));
	h->n_keys = n_keys;
}

void history_free(struct history *h)
{
	for (uint32_t i = 0; i < h->n_keys; i++) {
		free(h->keys[i].gone);
	}
	free(h->keys);
	h->keys = NULL;
}

void history_name(uint32_t key, char buf[HISTORY_KEY_MAX])
{
	(void)snprintf(buf, HISTORY_KEY_MAX, "/d%u/k%05u", key % 10, key);
}

/* The value of one event: key, number, and letters that only these two give. */
static size_t value_of(uint32_t key, uint32_t event,
		       char buf[HISTORY_VALUE_MAX])
{
	uint32_t x = key * 2654435761U + event * 40503U + 1;
	int n = snprintf(buf, HISTORY_VALUE_MAX, "%u:%u:", key, event);
	size_t end = (size_t)n + x % 300;

	for (size_t i = (size_t)n; i < end; i++) {
		x = x * 1664525U + 1013904223U;
		buf[i] = (char)('a' + (x >> 24) % 26);
	}
	buf[end] = '\0';
	return end;
}

size_t history_next(const struct history *h, uint32_t key,
		    char buf[HISTORY_VALUE_MAX])
{
	return value_of(key, h->keys[key].n, buf);
}

bool history_alive(const struct history *h, uint32_t key)
{
	const struct history_key *k = &h->keys[key];

	return k->n > 0 && !k->gone[k->n - 1];
}

static void event(struct history *h, uint32_t key, bool gone)
{
	struct history_key *k = &h->keys[key];

	if (k->n == k->cap) {
		k->cap = k->cap == 0 ? 8 : k->cap * 2;
		k->gone = must_alloc(realloc(k->gone, k->cap));
	}
	k->gone[k->n++] = gone;
}

void history_put(struct history *h, uint32_t key)
{
	event(h, key, false);
}

void history_gone(struct history *h, uint32_t key)
{
	PRE(history_alive(h, key));
	event(h, key, true);
}

/* ---- the target's view ---------------------------------------------------*/

void view_init(struct history_view *v, const struct history *h)
{
	memset(v, 0, sizeof *v);
	v->h = h;
	v->seen = must_alloc(calloc(h->n_keys, sizeof *v->seen));
}

void view_free(struct history_view *v)
{
	free(v->seen);
	v->seen = NULL;
}

static bool wrong(struct history_view *v, const char *fmt, ...) KV_PRINTF(2, 3);
static bool wrong(struct history_view *v, const char *fmt, ...)
{
	va_list ap;

	if (v->error[0] == '\0') {
		va_start(ap, fmt);
		(void)vsnprintf(v->error, sizeof v->error, fmt, ap);
		va_end(ap);
	}
	return false;
}

static bool key_of(struct history_view *v, const char *name, uint32_t *key)
{
	char own[HISTORY_KEY_MAX];
	const char *digits = strrchr(name, 'k');
	unsigned long n = digits == NULL ? 0 : strtoul(digits + 1, NULL, 10);

	*key = (uint32_t)n;
	if (n < v->h->n_keys) {
		history_name(*key, own);
		if (strcmp(own, name) == 0) {
			return true;
		}
	}
	return wrong(v, "%s: the source never had such a key", name);
}

bool view_put(struct history_view *v, const char *name, const char *value,
	      size_t n)
{
	char whole[HISTORY_VALUE_MAX];
	const struct history_key *k;
	struct history_seen *s;
	uint32_t key;
	unsigned long e;

	if (!key_of(v, name, &key)) {
		return false;
	}
	k = &v->h->keys[key];
	s = &v->seen[key];
	e = n > 0 ? strtoul(value + strcspn(value, ":") + 1, NULL, 10) : 0;
	if (n == 0 || e >= k->n || k->gone[e] ||
	    value_of(key, (uint32_t)e, whole) != n ||
	    memcmp(whole, value, n) != 0) {
		return wrong(v, "%s: the source never had the value %.40s",
			     name, value);
	}
	if (s->alive && e + 1 == s->next) {
		v->repeats++;
		return true;
	}
	if (e < s->next) {
		return wrong(v, "%s: went back to event %lu, was at %u%s", name,
			     e, s->next - 1, s->alive ? "" : " (a delete)");
	}
	s->next = (uint32_t)e + 1;
	s->alive = true;
	v->puts++;
	return true;
}

bool view_gone(struct history_view *v, const char *name)
{
	const struct history_key *k;
	struct history_seen *s;
	uint32_t key;
	uint32_t e;

	if (!key_of(v, name, &key)) {
		return false;
	}
	k = &v->h->keys[key];
	s = &v->seen[key];
	/* The nearest delete leaves the most room for what follows. */
	for (e = s->next; e < k->n && !k->gone[e]; e++) {
	}
	if (e == k->n) {
		return wrong(v,
			     "%s: deleted after event %u, the source has "
			     "not deleted it since",
			     name, s->next - 1);
	}
	s->next = e + 1;
	s->alive = false;
	v->deletes++;
	return true;
}

bool view_final(struct history_view *v)
{
	for (uint32_t i = 0; i < v->h->n_keys; i++) {
		const struct history_key *k = &v->h->keys[i];
		const struct history_seen *s = &v->seen[i];
		char name[HISTORY_KEY_MAX];
		bool alive = history_alive(v->h, i);

		history_name(i, name);
		if (alive != s->alive) {
			return wrong(v, "%s: %s at the end, at the source %s",
				     name, s->alive ? "there" : "missing",
				     alive ? "there" : "missing");
		}
		if (alive && s->next != k->n) {
			return wrong(v,
				     "%s: event %u at the end, at the "
				     "source %u",
				     name, s->next - 1, k->n - 1);
		}
	}
	return true;
}
