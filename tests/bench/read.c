/* read.c: read, zkread and hold: how fast a tree is read, and what following it
 * costs in memory.
 *
 *   read    every page of a scan, with values
 *   zkread  the same tree by libzookeeper alone, as a plain client would read
 *           it: getData of every znode, getChildren where there are some, so
 *           many in flight
 *   hold    a watch of the whole tree, opened and ready: memory before, after
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/fixtures/zk_hand.h"

/* Resident KiB of this process. */
static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long size = 0, pages = 0;

	if (f == NULL || fscanf(f, "%ld %ld", &size, &pages) != 2) {
		bench_die("no /proc/self/statm");
	}
	(void)fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- by the store ---------------------------------------------------------
 */

struct reading {
	struct store *st;
	struct store_scan scan;
	struct arena last;
	uint64_t keys, bytes, pages;
	bool all;
};

static void next_page(struct reading *r, struct slice after);

static void on_page(struct store_scan *req)
{
	struct reading *r = req->data;
	struct store_page *p = req->page;
	struct slice after = {0};
	bool more;

	if (req->err.status != KV_OK) {
		bench_die("scan: %s", req->err.text);
	}
	r->pages++;
	r->keys += p->n;
	for (size_t i = 0; i < p->n; i++) {
		r->bytes += p->pairs[i].value.n;
	}
	more = p->more && p->n > 0;
	if (more) {
		arena_reset(&r->last);
		after = slice_dup(&r->last, p->pairs[p->n - 1].key);
	}
	store_page_free(p);
	r->all = !more;
	if (more) {
		next_page(r, after);
	}
}

static void next_page(struct reading *r, struct slice after)
{
	memset(&r->scan, 0, sizeof r->scan);
	r->scan.after = after;
	r->scan.cb = on_page;
	r->scan.data = r;
	if (store_scan(r->st, &r->scan) != KV_OK) {
		bench_die("scan: %s", r->scan.err.text);
	}
}

int bench_read(struct bench *b, const struct bench_args *a)
{
	struct reading r = {.st = bench_store(b, a->words[0])};
	uint64_t begin = bench_now_us();
	double wall;

	next_page(&r, (struct slice){0});
	bench_until(b, &r.all, 600);
	wall = (double)(bench_now_us() - begin) / 1e6;
	(void)printf("keys=%llu seconds=%.3f rate=%.0f bytes=%llu pages=%llu "
		     "rss_kib=%ld\n",
		     (unsigned long long)r.keys, wall, (double)r.keys / wall,
		     (unsigned long long)r.bytes, (unsigned long long)r.pages,
		     resident());
	arena_free(&r.last);
	bench_close(b, r.st);
	return 0;
}

int bench_hold(struct bench *b, const struct bench_args *a)
{
	struct store *st = bench_store(b, a->words[0]);
	struct bench_watch w = {0};
	long before = resident();
	uint64_t begin = bench_now_us();

	bench_watch_open(&w, b, st);
	(void)printf("seconds=%.3f before_kib=%ld kib=%ld\n",
		     (double)(bench_now_us() - begin) / 1e6, before,
		     resident() - before);
	bench_watch_close(&w);
	bench_close(b, st);
	return 0;
}

/* ---- by libzookeeper alone ------------------------------------------------
 */

/* Asked from the library's own thread, where all answers come; the main thread
 * starts it and waits for the end. */
struct plain {
	zhandle_t *zh;
	char **paths; /* still to be asked for, a stack */
	size_t n, cap;
	size_t in_flight, window;
	uint64_t keys, bytes;
	atomic_bool all;
};

struct one {
	struct plain *p;
	char *path;
};

static void push(struct plain *p, char *path)
{
	if (p->n == p->cap) {
		p->cap = p->cap == 0 ? 1024 : p->cap * 2;
		p->paths = realloc(p->paths, p->cap * sizeof *p->paths);
		if (p->paths == NULL) {
			bench_die("no memory");
		}
	}
	p->paths[p->n++] = path;
}

static void go_on(struct plain *p);

static void answered(struct one *o)
{
	struct plain *p = o->p;

	free(o->path);
	free(o);
	p->in_flight--;
	go_on(p);
}

static void on_children(int rc, const struct String_vector *names,
			const void *data)
{
	struct one *o = (struct one *)(uintptr_t)data;

	if (rc != ZOK) {
		bench_die("children of %s: %s", o->path, zerror(rc));
	}
	for (int32_t i = 0; i < names->count; i++) {
		char *path = NULL;

		if (asprintf(&path, "%s/%s", o->path, names->data[i]) < 0) {
			bench_die("no memory");
		}
		push(o->p, path);
	}
	answered(o);
}

static void on_data(int rc, const char *value, int n, const struct Stat *st,
		    const void *data)
{
	struct one *o = (struct one *)(uintptr_t)data;

	(void)value;
	if (rc != ZOK) {
		bench_die("data of %s: %s", o->path, zerror(rc));
	}
	o->p->keys += n >= 0;
	o->p->bytes += (uint64_t)(n > 0 ? n : 0);
	if (st->numChildren == 0) {
		answered(o);
	} else if (zoo_aget_children(o->p->zh, o->path, 0, on_children, o) !=
		   ZOK) {
		bench_die("children of %s", o->path);
	}
}

static void go_on(struct plain *p)
{
	while (p->n > 0 && p->in_flight < p->window) {
		struct one *o = calloc(1, sizeof *o);

		if (o == NULL) {
			bench_die("no memory");
		}
		o->p = p;
		o->path = p->paths[--p->n];
		p->in_flight++;
		if (zoo_aget(p->zh, o->path, 0, on_data, o) != ZOK) {
			bench_die("data of %s", o->path);
		}
	}
	if (p->in_flight == 0) {
		atomic_store(&p->all, true);
	}
}

/* The first answer comes on the library's thread, and all that follows. */
static void on_start(int rc, const struct Stat *st, const void *data)
{
	(void)rc;
	(void)st;
	go_on((struct plain *)(uintptr_t)data);
}

int bench_zkread(const struct bench_args *a)
{
	struct plain p = {.window = (size_t)a->window};
	uint64_t begin;
	double wall;

	p.zh = zk_hand_open(a->words[0], 30000);
	push(&p, strdup(a->words[1]));
	begin = bench_now_us();
	if (zoo_aexists(p.zh, "/", 0, on_start, &p) != ZOK) {
		bench_die("not connected");
	}
	while (!atomic_load(&p.all)) {
		(void)usleep(1000);
	}
	wall = (double)(bench_now_us() - begin) / 1e6;
	(void)printf("keys=%llu seconds=%.3f rate=%.0f bytes=%llu\n",
		     (unsigned long long)p.keys, wall, (double)p.keys / wall,
		     (unsigned long long)p.bytes);
	zk_hand_close(p.zh);
	free(p.paths);
	return 0;
}
