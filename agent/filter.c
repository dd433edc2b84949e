/* filter.c: matches keys against globs.
 *
 * Two places to go back to are enough, one for the last `**` and one for the
 * last `*` behind it: what stands before a wildcard needs no second look, since
 * the wildcard takes whatever an earlier one would have left. So the work is
 * bounded by a power of the lengths, never exponential.
 */
#include "agent/filter.h"

/* Where to go on when the text behind a wildcard did not match. */
struct retry {
	const char *glob; /* behind the wildcard; NULL: none */
	size_t at;	  /* how far the wildcard reaches in the key */
};

/* Does one byte match an element that stands for exactly one byte? */
static bool match_one(const struct glob_token *t, uint8_t byte)
{
	switch (t->kind) {
	case GLOB_BYTE:
		return t->byte == byte;
	case GLOB_ANY:
		return byte != '/';
	case GLOB_SET:
		return byte != '/' && glob_set_has(t->set, byte);
	default:
		return false;
	}
}

/* Lets a wildcard take one byte more and goes back behind it. */
static bool retreat(struct retry *star, struct retry *stars, struct slice key,
		    const char **glob, size_t *i)
{
	struct retry *r = star;

	if (star->glob == NULL || star->at >= key.n || key.p[star->at] == '/') {
		star->glob = NULL;
		r = stars;
	}
	if (r->glob == NULL || r->at >= key.n) {
		return false;
	}
	r->at++;
	*glob = r->glob;
	*i = r->at;
	return true;
}

bool glob_match(const char *glob, struct slice key)
{
	struct retry star = {0}, stars = {0};
	size_t i = 0;

	for (;;) {
		struct glob_token t;
		const char *next = glob_token(glob, &t);

		if (t.kind == GLOB_BAD) {
			return false;
		}
		if (t.kind == GLOB_STAR) {
			star = (struct retry){next, i};
		} else if (t.kind == GLOB_STARS) {
			star.glob = NULL;
			stars = (struct retry){next, i};
		} else if (t.kind == GLOB_END && i == key.n) {
			return true;
		} else if (i < key.n && match_one(&t, key.p[i])) {
			i++;
		} else {
			if (!retreat(&star, &stars, key, &glob, &i)) {
				return false;
			}
			continue;
		}
		glob = next;
	}
}

static bool match_any(char **globs, size_t n, struct slice key)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (glob_match(globs[i], key)) {
			return true;
		}
	}
	return false;
}

bool filter_pass(const struct conf_route *route, struct slice source_key)
{
	if (match_any(route->exclude, route->n_exclude, source_key)) {
		return false;
	}
	return route->n_include == 0 ||
	       match_any(route->include, route->n_include, source_key);
}
