/* progress.c: draws the progress line, and keeps log lines off it. */
#include "agent/progress.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "store/base/log.h"

#define EVERY_MS 500
#define CLEAR "\r\033[K"

static void show(const char *text, size_t n)
{
	/* A line that is lost is drawn anew soon. */
	ssize_t done = write(STDERR_FILENO, text, n);

	(void)done;
}

/* A line of the log: where the progress stood; that comes back below it. */
static void log_cb(void *ctx, const char *line, size_t n)
{
	(void)ctx;
	show(CLEAR, strlen(CLEAR));
	show(line, n);
}

static void format_bytes(uint64_t bytes, char *buf, size_t cap)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double n = (double)bytes;
	size_t i = 0;

	while (n >= 1024 && i + 1 < KV_COUNT(units)) {
		n /= 1024;
		i++;
	}
	(void)snprintf(buf, cap, i == 0 ? "%.0f %s" : "%.1f %s", n, units[i]);
}

static void format_eta(uint64_t seconds, char *buf, size_t cap)
{
	if (seconds >= 3600) {
		(void)snprintf(buf, cap, ", %" PRIu64 "h%02um left",
			       seconds / 3600, (unsigned)(seconds % 3600 / 60));
	} else {
		(void)snprintf(buf, cap, ", %um%02us left",
			       (unsigned)(seconds / 60),
			       (unsigned)(seconds % 60));
	}
}

void progress_format(const struct progress_sample *s, double rate, char *buf,
		     size_t cap)
{
	char bytes[32], total[32] = "", eta[32] = "";

	format_bytes(s->bytes, bytes, sizeof(bytes));
	if (s->total > s->keys) {
		(void)snprintf(total, sizeof(total), " of about %" PRIu64,
			       s->total);
	}
	if (s->total > s->keys && rate >= 1) {
		format_eta((uint64_t)((double)(s->total - s->keys) / rate), eta,
			   sizeof(eta));
	}
	(void)snprintf(buf, cap, "%s: %" PRIu64 "%s keys, %.0f keys/s, %s%s",
		       s->what, s->keys, total, rate, bytes, eta);
}

static void draw(struct progress *p, const struct progress_sample *s)
{
	char text[256], line[sizeof(text) + sizeof(CLEAR)];
	uint64_t now = sched_now(p->sched);
	double seconds = (double)(now - p->last_ms) / 1000;

	if (seconds > 0 && s->keys >= p->last_keys) {
		double fresh = (double)(s->keys - p->last_keys) / seconds;

		p->rate = p->rate > 0 ? p->rate * 0.7 + fresh * 0.3 : fresh;
	}
	p->last_ms = now;
	p->last_keys = s->keys;
	progress_format(s, p->rate, text, sizeof(text));
	(void)snprintf(line, sizeof(line), CLEAR "%s", text);
	show(line, strlen(line));
	p->shown = true;
}

static void take_away(struct progress *p)
{
	if (p->shown) {
		show(CLEAR, strlen(CLEAR));
		p->shown = false;
	}
}

static void fire_cb(struct sched_timer *timer)
{
	struct progress *p = kv_container_of(timer, struct progress, timer);
	struct progress_sample s = {0};

	if (p->sample(p->ctx, &s)) {
		draw(p, &s);
	} else {
		take_away(p);
	}
	sched_timer_start(p->sched, &p->timer, EVERY_MS);
}

void progress_start(struct progress *p, struct sched *sched,
		    bool (*sample)(void *ctx, struct progress_sample *out),
		    void *ctx)
{
	*p = (struct progress){.sched = sched, .sample = sample, .ctx = ctx};
	if (isatty(STDERR_FILENO) != 1) {
		return;
	}
	p->running = true;
	p->last_ms = sched_now(sched);
	p->timer.fire = fire_cb;
	log_set_sink(log_cb, p);
	sched_timer_start(sched, &p->timer, EVERY_MS);
}

void progress_stop(struct progress *p)
{
	if (!p->running) {
		return;
	}
	p->running = false;
	sched_timer_stop(&p->timer);
	take_away(p);
	log_set_sink(NULL, NULL);
}
