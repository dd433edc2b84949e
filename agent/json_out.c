/* json_out.c: results as JSON, one object a line (jansson). */
#include <errno.h>

#include "agent/out.h"

static void *json_malloc(size_t size)
{
	return kv_malloc(size);
}

void out_json_init(void)
{
	json_set_alloc_funcs(json_malloc, kv_free);
}

static void no_memory(struct out *o)
{
	if (o->error == 0) {
		o->error = ENOMEM;
	}
}

json_t *out_json_object(struct out *o)
{
	json_t *object = json_object();

	if (object == NULL) {
		no_memory(o);
	}
	return object;
}

static void set(struct out *o, json_t *object, const char *name, json_t *value)
{
	if (json_object_set_new(object, name, value) != 0) {
		no_memory(o);
	}
}

void out_json_uint(struct out *o, json_t *object, const char *name, uint64_t n)
{
	set(o, object, name, json_integer((json_int_t)n));
}

void out_json_bool(struct out *o, json_t *object, const char *name, bool b)
{
	set(o, object, name, json_boolean(b));
}

void out_json_text(struct out *o, json_t *object, const char *name,
		   const char *text)
{
	struct slice s = slice_str(text);
	char *printed;

	if (text == NULL) {
		set(o, object, name, json_null());
		return;
	}
	if (slice_is_utf8(s)) {
		set(o, object, name, json_stringn(text, s.n));
		return;
	}
	printed = kv_malloc(3 * s.n + 4);
	if (printed == NULL) {
		no_memory(o);
		return;
	}
	set(o, object, name, json_string(slice_print(s, printed, 3 * s.n + 4)));
	kv_free(printed);
}

void out_json_hash(struct out *o, json_t *object, const char *name,
		   const struct kv_hash *hash)
{
	char hex[KV_HASH_HEX_MAX];

	set(o, object, name, json_string(kv_hash_hex(hash, hex)));
}

void out_json_base64(struct out *o, json_t *object, const char *name,
		     struct slice bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = (bytes.n + 2) / 3 * 4, i, k = 0;
	char *text = kv_malloc(n + 1);

	if (text == NULL) {
		no_memory(o);
		return;
	}
	for (i = 0; i < bytes.n; i += 3) {
		size_t left = bytes.n - i;
		uint32_t x = (uint32_t)bytes.p[i] << 16 |
			     (left > 1 ? (uint32_t)bytes.p[i + 1] << 8 : 0) |
			     (left > 2 ? (uint32_t)bytes.p[i + 2] : 0);

		text[k++] = digits[x >> 18];
		text[k++] = digits[x >> 12 & 63];
		text[k++] = left > 1 ? digits[x >> 6 & 63] : '=';
		text[k++] = left > 2 ? digits[x & 63] : '=';
	}
	POST(k == n);
	set(o, object, name, json_stringn(text, n));
	kv_free(text);
}

void out_json_key(struct out *o, json_t *object, const char *name,
		  struct slice key)
{
	char b64[64];

	if (slice_is_utf8(key)) {
		set(o, object, name,
		    json_stringn(key.n == 0 ? "" : (const char *)key.p, key.n));
		return;
	}
	(void)snprintf(b64, sizeof(b64), "%s_b64", name);
	out_json_base64(o, object, b64, key);
}

/* The value as a member; the borrowed reference, or NULL. */
static json_t *set_borrowed(struct out *o, json_t *object, const char *name,
			    json_t *value)
{
	if (json_object_set_new(object, name, value) != 0) {
		no_memory(o);
		return NULL;
	}
	return value;
}

json_t *out_json_array(struct out *o, json_t *object, const char *name)
{
	return set_borrowed(o, object, name, json_array());
}

json_t *out_json_member(struct out *o, json_t *object, const char *name)
{
	return set_borrowed(o, object, name, json_object());
}

void out_json_append(struct out *o, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) != 0) {
		no_memory(o);
	}
}

void out_json(struct out *o, json_t *object)
{
	char *line = NULL;

	if (o->error == 0) {
		line = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
		if (line == NULL) {
			no_memory(o);
		} else {
			out_text(o, "%s\n", line);
		}
	}
	kv_free(line);
	json_decref(object);
}
