/* uri.h: what names a store.
 *
 *   scheme://host:port,host:port/prefix?option=value&option=value
 *   sqlite:PATH?prefix=/a/b
 *
 * `?prefix=` may stand in place of the path on every scheme. Percent-escapes
 * are decoded in prefix and option values (and in a sqlite path: %3F is a `?`
 * in a file name). A password in the authority is refused.
 */
#ifndef KV_STORE_URI_H
#define KV_STORE_URI_H

#include "store/base/options.h"

struct uri {
	char *text;   /* as given; holds no secret by construction */
	char *scheme; /* lower case */
	char *
	    *endpoints; /* "host:port", default port filled in by the backend */
	size_t n_endpoints;
	char *path;   /* sqlite: the file; else NULL */
	char *prefix; /* "" or "/a/b": begins with '/', does not end with one */
	size_t prefix_n;
	struct option_value *options; /* all but `prefix` */
	size_t n_options;
};

/* Parses `text`. KV_BAD_ARGUMENT says what is wrong and where. */
int uri_parse(const char *text, struct uri **out,
	      struct kv_err *err) KV_MUSTCHECK;
void uri_free(struct uri *u);

/* libkv's create_endpoints: "http://host:port" for each of `hosts`
 * ("host:port"), with the given scheme. An array of n new strings, each and the
 * array to be kv_freed; NULL when memory is out. */
char **store_create_endpoints(const char *const *hosts, size_t n,
			      const char *scheme) KV_MUSTCHECK;

/* libkv's normalize: "/path/to/key": one leading slash, no trailing one,
 * no empty segments. New string. (Only for people's convenience: the store's
 * calls take keys as bytes and change none.) */
char *store_normalize(const char *key) KV_MUSTCHECK;

#endif /* KV_STORE_URI_H */
