/* pair.c: see pair.h. From the target of one route on, breadth first, along all
 * whose source overlaps with what was reached. */
#include "agent/pair.h"

#include <stdio.h>

struct search {
	const struct pair_end *ends;
	size_t n;
	size_t at;
	size_t *from;  /* by which route it was reached; n: not yet */
	size_t *queue; /* those that were reached, in that order */
	size_t n_queue;
};

static void reach(struct search *s, size_t by, const struct store *place)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->from[i] == s->n && i != s->at &&
		    store_overlap(place, s->ends[i].source)) {
			s->from[i] = by;
			s->queue[s->n_queue++] = i;
		}
	}
}

static bool is_pair(const struct search *s, size_t i)
{
	const struct pair_end *a = &s->ends[s->at], *b = &s->ends[i];

	return s->from[i] == s->at && store_same_tree(a->source, b->target) &&
	       store_same_tree(a->target, b->source);
}

/* "a, c, b": the way back from the last one. */
static int fail_ring(const struct search *s, size_t last, struct kv_err *err)
{
	char names[256] = "";
	size_t used = 0;

	for (size_t i = last; i != s->at && used < sizeof names;
	     i = s->from[i]) {
		used += (size_t)snprintf(names + used, sizeof names - used,
					 ", %s", s->ends[i].name);
	}
	return kv_fail(err, KV_BAD_ARGUMENT,
		       "routes %s%s form a ring: changes would go round; only "
		       "two routes in opposite directions over the same two "
		       "prefixes are mirrored both ways",
		       s->ends[s->at].name, names);
}

static int search(struct search *s, size_t *partner, struct kv_err *err)
{
	const struct store *start = s->ends[s->at].source;

	reach(s, s->at, s->ends[s->at].target);
	for (size_t k = 0; k < s->n_queue; k++) {
		size_t i = s->queue[k];

		if (is_pair(s, i)) {
			if (*partner < s->n) {
				return fail_ring(s, i, err);
			}
			*partner = i;
			continue;
		}
		if (store_overlap(s->ends[i].target, start)) {
			return fail_ring(s, i, err);
		}
		reach(s, i, s->ends[i].target);
	}
	return KV_OK;
}

int pair_find(const struct pair_end *ends, size_t n, size_t at, size_t *partner,
	      struct kv_err *err)
{
	struct search s = {.ends = ends, .n = n, .at = at};
	int rv;

	PRE(at < n);
	*partner = n;
	s.from = kv_calloc(n, sizeof *s.from);
	s.queue = kv_calloc(n, sizeof *s.queue);
	if (s.from == NULL || s.queue == NULL) {
		rv = kv_fail(err, KV_NO_MEMORY, "no memory to look for rings");
	} else {
		for (size_t i = 0; i < n; i++) {
			s.from[i] = n;
		}
		rv = search(&s, partner, err);
	}
	kv_free(s.from);
	kv_free(s.queue);
	return rv;
}
