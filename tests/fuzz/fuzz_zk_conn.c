/* fuzz_zk_conn.c: a connection whose server, owner, network, clock and memory
 * do what the input says.
 *
 *   input --> steps --> zk_conn <--> a wire that is played (below)
 *
 * Whatever comes: requests leave in whole frames with the numbers that a server
 * expects; every call ends once, before `down`, unless it was forgotten;
 * nothing is called from inside a call; after `down` and after a close nothing
 * but `closed` comes; nothing is left.
 */
#include "store/net/wire.h"
#include "store/zookeeper/zk_conn.h"
#include "store/zookeeper/zk_frame.h"
#include "tests/fuzz/fuzz.h"

#define CALLS 8
#define NUMBERS 1024
#define STEPS_MAX 2000

struct slot {
	struct zk_call call;
	bool active;
};

struct world {
	struct sched sched;
	struct list tasks;
	struct list timers;
	uint64_t now;
	struct slice in; /* what is left of the input */
	bool inside;	 /* a call of the owner's is on the stack */
	/* the owner */
	struct zk_conn *conn;
	bool up, down, closing, closed;
	struct slot slots[CALLS];
	/* the played wire, and the server behind it */
	const struct wire_events *events;
	void *ctx;
	bool wire_up, wire_busy, wire_down, wire_closing, stuck, greeted;
	const uint8_t *sent; /* must stay while busy */
	size_t sent_n;
	struct zk_inbox inbox;
	int32_t numbers[NUMBERS]; /* of requests that wait for an answer */
	size_t first, last;
	int32_t next_number;
	unsigned watches;	/* SetWatches among them */
	struct jute_out stream; /* for the connection, not delivered yet */
	/* memory */
	long allocations, blocks, fail_at;
};

static struct world *world;

/* ---- memory -------------------------------------------------------------- */

static void *mem_realloc(void *ctx, void *p, size_t size)
{
	void *fresh;

	(void)ctx;
	FUZZ_CHECK(size < 1024 * 1024);
	if (world->allocations++ == world->fail_at) {
		return NULL;
	}
	fresh = realloc(p, size);
	world->blocks += p == NULL && fresh != NULL;
	return fresh;
}

static void mem_free(void *ctx, void *p)
{
	(void)ctx;
	world->blocks -= p != NULL;
	free(p);
}

/* ---- clock and turns ----------------------------------------------------- */

static uint64_t now_ms(struct sched *s)
{
	(void)s;
	return world->now;
}

static void post(struct sched *s, struct sched_task *t)
{
	(void)s;
	list_push_back(&world->tasks, &t->link);
}

static void unpost(struct sched *s, struct sched_task *t)
{
	(void)s;
	(void)t;
}

static void timer_start(struct sched *s, struct sched_timer *t)
{
	(void)s;
	list_push_back(&world->timers, &t->link);
}

static void timer_stop(struct sched *s, struct sched_timer *t)
{
	(void)s;
	(void)t;
}

static const struct sched_ops sched_ops = {
    .now_ms = now_ms,
    .post = post,
    .unpost = unpost,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
};

static void run_tasks(struct world *w)
{
	struct list *l;
	size_t n;

	for (n = 0; n < 16 && (l = list_first(&w->tasks)) != NULL; n++) {
		sched_task_run(kv_container_of(l, struct sched_task, link));
	}
}

static void pass_time(struct world *w, uint64_t ms)
{
	struct list *l, *next;
	struct sched_timer *t;

	w->now += ms;
	for (l = w->timers.next; l != &w->timers; l = next) {
		next = l->next;
		t = kv_container_of(l, struct sched_timer, link);
		if (t->due_ms <= w->now) {
			sched_timer_fire(t);
			return; /* the list is another one now */
		}
	}
}

/* ---- the wire ------------------------------------------------------------ */

int wire_open(const struct wire_params *p, struct wire **out,
	      struct kv_err *err)
{
	void *state = kv_malloc(1);

	if (state == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory");
	}
	kv_free(state);
	world->events = p->events;
	world->ctx = p->ctx;
	*out = (struct wire *)world;
	return KV_OK;
}

bool wire_is_busy(const struct wire *wire)
{
	const struct world *w = (const struct world *)wire;

	return !w->wire_up || w->wire_busy || w->wire_down;
}

/* A request, as a server reads it. */
static void take_request(struct world *w, struct slice frame)
{
	struct jute_in in = {.p = frame.p, .n = frame.n};
	int32_t number, op;

	if (!w->greeted) {
		w->greeted = true;
		FUZZ_CHECK(frame.n == 45);
		return;
	}
	number = jute_get_int(&in);
	op = jute_get_int(&in);
	FUZZ_CHECK(!in.failed);
	if (op == ZK_OP_PING || op == ZK_OP_AUTH) {
		FUZZ_CHECK(number ==
			   (op == ZK_OP_PING ? ZK_XID_PING : ZK_XID_AUTH));
		return;
	}
	if (op == ZK_OP_CLOSE_SESSION) {
		FUZZ_CHECK(w->closing && number >= w->next_number);
		return; /* what had not left stays */
	}
	if (op == ZK_OP_SET_WATCHES) {
		FUZZ_CHECK(number == ZK_XID_WATCHES && w->watches == 0);
		w->watches++;
	} else {
		FUZZ_CHECK(number == w->next_number);
		w->next_number++;
	}
	FUZZ_CHECK(w->last - w->first < NUMBERS);
	w->numbers[w->last++ % NUMBERS] = number;
}

static void take_requests(struct world *w)
{
	struct slice in = slice_of(w->sent, w->sent_n), frame;
	long fail_at = w->fail_at;

	w->fail_at = -1; /* the server's memory does not end */
	while (zk_feed(&w->inbox, &in, &frame) == ZK_FEED_FRAME) {
		take_request(w, frame);
	}
	/* Whole frames leave. */
	FUZZ_CHECK(w->inbox.head_n == 0);
	w->fail_at = fail_at;
}

void wire_send(struct wire *wire, const uint8_t *p, size_t n)
{
	struct world *w = (struct world *)wire;

	FUZZ_CHECK(!wire_is_busy(wire) && !w->wire_closing && n > 0);
	w->sent = p;
	w->sent_n = n;
	w->wire_busy = w->stuck;
	if (!w->wire_busy) {
		take_requests(w);
	}
}

static void drain(struct world *w)
{
	if (w->wire_busy && !w->wire_down && !w->wire_closing) {
		w->wire_busy = false;
		take_requests(w);
		w->events->drained(w->ctx);
	}
}

void wire_close(struct wire *wire)
{
	struct world *w = (struct world *)wire;

	FUZZ_CHECK(!w->wire_closing);
	w->wire_closing = true;
}

static void wire_goes_down(struct world *w)
{
	struct kv_err err;

	if (!w->wire_down && !w->wire_closing) {
		w->wire_down = true;
		(void)kv_fail(&err, KV_NOT_REACHABLE, "the wire is cut");
		w->events->down(w->ctx, &err);
	}
}

static void wire_comes_up(struct world *w)
{
	if (!w->wire_up && !w->wire_down && !w->wire_closing) {
		w->wire_up = true;
		w->events->up(w->ctx);
	}
}

/* What the server said arrives, in parts of `piece` bytes. */
static void deliver(struct world *w, size_t piece)
{
	struct jute_out stream = w->stream;
	struct slice all = slice_of(stream.p, stream.n), part;
	uint8_t *copy;

	w->stream = (struct jute_out){0};
	while (w->wire_up && !w->wire_down && !w->wire_closing && all.n > 0) {
		part = fuzz_bytes(&all, piece);
		copy = malloc(part.n);
		FUZZ_CHECK(copy != NULL);
		memcpy(copy, part.p, part.n);
		w->events->data(w->ctx, copy, part.n);
		free(copy);
	}
	jute_out_free(&stream);
}

/* ---- the owner ----------------------------------------------------------- */

static void start(struct world *w, unsigned which);
static void forget(struct world *w, unsigned which);
static void close_conn(struct world *w);

/* What an owner may do from inside an event. */
static void react(struct world *w)
{
	unsigned what = fuzz_byte(&w->in);

	switch (what % 8) {
	case 1:
		start(w, fuzz_byte(&w->in));
		break;
	case 2:
		forget(w, fuzz_byte(&w->in));
		break;
	case 3:
		if (what > 200) {
			close_conn(w);
		}
		break;
	default:
		break;
	}
}

static void up_cb(void *ctx)
{
	struct world *w = ctx;

	FUZZ_CHECK(!w->inside && !w->up && !w->down && !w->closing);
	w->up = true;
	react(w);
}

static void event_cb(void *ctx, enum zk_event_type type, struct slice path)
{
	struct world *w = ctx;

	FUZZ_CHECK(!w->inside && w->up && !w->down && !w->closing);
	FUZZ_CHECK(type >= ZK_EVENT_CREATED && type <= ZK_EVENT_CHILD);
	FUZZ_CHECK(path.n > 0 && path.p[0] == '/');
	react(w);
}

static void down_cb(void *ctx, const struct kv_err *err)
{
	struct world *w = ctx;
	size_t i;

	FUZZ_CHECK(!w->inside && !w->down && !w->closing);
	FUZZ_CHECK(strstr(err->text, "host:1") != NULL);
	w->down = true;
	for (i = 0; i < CALLS; i++) {
		FUZZ_CHECK(!w->slots[i].active);
	}
	react(w);
}

static void closed_cb(void *ctx)
{
	struct world *w = ctx;

	FUZZ_CHECK(w->closing && !w->closed);
	w->closed = true;
}

static void done_cb(struct zk_call *call)
{
	struct slot *s = kv_container_of(call, struct slot, call);
	struct world *w = world;

	FUZZ_CHECK(!w->inside && !w->down && !w->closing && s->active);
	FUZZ_CHECK(call->conn == NULL && call->frame.p == NULL);
	s->active = false;
	if (call->err.status == KV_OK && call->body.n > 0) {
		(void)jute_get_bytes(&call->body, NULL);
	}
	react(w);
}

static void start(struct world *w, unsigned which)
{
	struct slot *s = &w->slots[which % CALLS];
	bool watches = which > 200;

	if (w->closing || s->active || !zk_conn_is_up(w->conn)) {
		return;
	}
	memset(s, 0, sizeof *s);
	s->call.done = done_cb;
	zk_call_begin(&s->call, watches ? ZK_OP_SET_WATCHES : ZK_OP_EXISTS);
	zk_put_path_watch(&s->call.frame, slice_str("/some/path"), false);
	s->active = true;
	w->inside = true;
	zk_call_start(w->conn, &s->call);
	w->inside = false;
}

static void forget(struct world *w, unsigned which)
{
	struct slot *s = &w->slots[which % CALLS];

	w->inside = true;
	zk_call_forget(&s->call);
	w->inside = false;
	s->active = false;
}

static void close_conn(struct world *w)
{
	size_t i;

	if (w->closing) {
		return;
	}
	w->closing = true;
	w->inside = true;
	zk_conn_close(w->conn);
	w->inside = false;
	for (i = 0; i < CALLS; i++) {
		FUZZ_CHECK(w->slots[i].call.conn == NULL);
		FUZZ_CHECK(w->slots[i].call.frame.p == NULL);
	}
}

/* ---- what the server says ------------------------------------------------ */

static void say_handshake(struct world *w, unsigned how)
{
	static const uint8_t password[16];

	jute_put_int(&w->stream, how % 2 == 0 ? 37 : 36);
	jute_put_int(&w->stream, 0);
	jute_put_int(&w->stream, (int32_t)how * 8);
	jute_put_long(&w->stream, 1);
	jute_put_bytes(&w->stream, slice_of(password, 16));
	if (how % 2 == 0) {
		jute_put_bool(&w->stream, how == 254);
	}
}

static void say(struct world *w, int32_t number, int64_t zxid, int32_t error,
		struct slice body)
{
	jute_put_int(&w->stream, (int32_t)(16 + body.n));
	jute_put_int(&w->stream, number);
	jute_put_long(&w->stream, zxid);
	jute_put_int(&w->stream, error);
	jute_put_raw(&w->stream, body);
}

/* The answer to the request that waits longest. */
static void say_reply(struct world *w)
{
	unsigned how = fuzz_byte(&w->in);
	int32_t number;

	if (w->first == w->last) {
		return;
	}
	number = w->numbers[w->first++ % NUMBERS];
	w->watches -= number == ZK_XID_WATCHES;
	say(w, number, (int64_t)how - 1, how > 128 ? ZK_NO_NODE : ZK_OK,
	    fuzz_bytes(&w->in, how % 16));
}

static void say_event(struct world *w)
{
	uint8_t body[24] = {0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, '/', 'x'};
	unsigned how = fuzz_byte(&w->in);

	body[3] = (uint8_t)(how % 4 + 1 + (how == 255));
	body[11] = (uint8_t)(how == 77 ? 3 : 2);
	say(w, ZK_XID_EVENT, -1, 0, slice_of(body, 14));
}

/* ---- the play ------------------------------------------------------------ */

static void step(struct world *w)
{
	unsigned what = fuzz_byte(&w->in), n = fuzz_byte(&w->in);

	switch (what % 14) {
	case 0:
		jute_put_raw(&w->stream, fuzz_bytes(&w->in, n));
		break;
	case 1:
		say_handshake(w, n);
		break;
	case 2:
		say(w, ZK_XID_AUTH, 0, n == 1 ? ZK_AUTH_FAILED : 0,
		    slice_of(NULL, 0));
		break;
	case 3:
		say_reply(w);
		break;
	case 4:
		say_event(w);
		break;
	case 5:
		say(w, ZK_XID_PING, 1, 0, slice_of(NULL, 0));
		break;
	case 6:
		deliver(w, n + 1);
		break;
	case 7:
		start(w, n);
		break;
	case 8:
		forget(w, n);
		break;
	case 9:
		run_tasks(w);
		break;
	case 10:
		pass_time(w, (uint64_t)n * 4);
		break;
	case 11:
		w->stuck = n % 2 == 1;
		drain(w);
		break;
	case 12:
		if (n == 1) {
			wire_goes_down(w);
		} else {
			wire_comes_up(w);
		}
		break;
	default:
		if (n == 1) {
			close_conn(w);
		} else if (n > 192) {
			w->fail_at = w->allocations + (n & 7);
		}
		break;
	}
	w->stream.failed = false; /* memory ended for the server, too */
}

static bool open_conn(struct world *w, unsigned how)
{
	static const struct zk_conn_events events = {.up = up_cb,
						     .event = event_cb,
						     .down = down_cb,
						     .closed = closed_cb};
	struct zk_conn_params p = {
	    .sched = &w->sched,
	    .host = "host",
	    .port = "1",
	    .timeout_ms = 1000,
	    .session_ms = 1000,
	    .last_zxid = how & 1 ? 5 : 0,
	    .auth_scheme = how & 2 ? "digest" : NULL,
	    .auth = slice_str("user:password"),
	    .max_reply = 512,
	    .events = &events,
	    .ctx = w,
	};
	struct kv_err err = {0};

	w->fail_at = how & 4 ? (long)(how >> 3 & 3) : -1;
	if (zk_conn_open(&p, &w->conn, &err) == KV_OK) {
		return true;
	}
	FUZZ_CHECK(err.status == KV_NO_MEMORY);
	FUZZ_CHECK(strstr(err.text, "host:1") != NULL);
	return false;
}

/* Closes, and takes all away. */
static void end(struct world *w)
{
	unsigned turns;

	close_conn(w);
	for (turns = 0; turns < 100 && !w->wire_closing; turns++) {
		run_tasks(w);
		pass_time(w, 100);
	}
	FUZZ_CHECK(w->wire_closing);
	run_tasks(w);
	w->events->closed(w->ctx);
	FUZZ_CHECK(w->closed && list_empty(&w->tasks) &&
		   list_empty(&w->timers));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct kv_mem_hooks hooks = {.realloc = mem_realloc,
						  .free = mem_free};
	static struct world fresh;
	unsigned steps = 0;

	memset(&fresh, 0, sizeof fresh);
	world = &fresh;
	world->sched.ops = &sched_ops;
	list_init(&world->tasks);
	list_init(&world->timers);
	world->in = slice_of(p, n);
	world->now = 1000;
	world->next_number = 1;
	world->inbox.max = SIZE_MAX;
	kv_mem_set_hooks(&hooks);
	if (open_conn(world, fuzz_byte(&world->in))) {
		while (world->in.n > 0 && steps++ < STEPS_MAX) {
			step(world);
		}
		end(world);
	}
	zk_inbox_free(&world->inbox);
	jute_out_free(&world->stream);
	FUZZ_CHECK(world->blocks == 0);
	kv_mem_set_hooks(NULL);
	return 0;
}
