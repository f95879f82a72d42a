/* libunbound: options, questions, answers handed over on a later turn of the loop. */
#include "dns/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <unbound-event.h>
#include <unbound.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/panic.h"

#define SEPARATORS " \t\r\n,"

enum { ANSWER_MAX = 8 << 20, ANCHOR_FILE_MAX = 1 << 20, CLASS_IN = 1 };

struct question {
	struct list node;
	struct dns_client *client;
	dns_answer_fn *fn;
	void *ctx;
	struct arena *arena;
	struct dns_answer answer;
	struct loop_task task;
	struct span name;
	enum dns_type type;
};

struct dns_client {
	struct ub_ctx *ub;
	struct loop *loop;
	struct list questions;
	size_t pending;
};

/* --- options --- */

static bool
ub_ok(int r, const char *what, struct fault *why)
{
	return r == 0 || fault_set(why, "4.3.5", "%s: %s", what, ub_strerror(r));
}

static bool
set(struct ub_ctx *ub, const char *option, const char *value, struct fault *why)
{
	return ub_ok(ub_ctx_set_option(ub, option, value), option, why);
}

static bool
set_number(struct ub_ctx *ub, const char *option, unsigned value, struct fault *why)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return set(ub, option, text, why);
}

bool
dns_server_check(struct span server, struct fault *why)
{
	struct span address, port;
	uint64_t n = 53;

	span_cut(server, '@', &address, &port);
	if (!dns_address_parse(address, NULL, NULL) || (port.p != NULL && port.n > 0 && !span_u64(port, 65535, &n)) ||
	    n == 0 || span_ends(server, SPAN("@")))
		return fault_set(why, "4.3.5", "\"%.*s\" is neither an address nor address@port",
		    SPAN_ARG(log_esc(server)));
	return true;
}

/* libunbound's defaults choke on a few hundred dead servers: 16 ports, 1 MB of cache. */
static bool
set_sizes(struct ub_ctx *ub, unsigned sockets_max, struct fault *why)
{
	unsigned range = sockets_max > 4096 ? 4096 : sockets_max < 64 ? 64 : sockets_max;

	return set_number(ub, "outgoing-range:", range, why) &&
	    set_number(ub, "num-queries-per-thread:", 2 * range, why) &&
	    set_number(ub, "outgoing-num-tcp:", range / 16, why) &&
	    set(ub, "msg-cache-size:", "32m", why) && set(ub, "rrset-cache-size:", "64m", why) &&
	    set(ub, "key-cache-size:", "8m", why) && set(ub, "neg-cache-size:", "4m", why) &&
	    set(ub, "infra-cache-numhosts:", "20000", why) && set(ub, "infra-host-ttl:", "300", why);
}

static bool
set_behaviour(struct ub_ctx *ub, struct fault *why)
{
	return set(ub, "do-not-query-localhost:", "no", why) && set(ub, "edns-buffer-size:", "1232", why) &&
	    set(ub, "unblock-lan-zones:", "yes", why) && set(ub, "insecure-lan-zones:", "yes", why) &&
	    set(ub, "use-syslog:", "no", why) && set(ub, "cache-max-negative-ttl:", "900", why);
}

static char *
next_word(struct arena *a, struct span *rest)
{
	struct span one;

	return span_token(rest, SEPARATORS, &one) ? arena_cstr(a, one) : NULL;
}

static bool
set_forwarders(struct ub_ctx *ub, struct span list, struct arena *a, struct fault *why)
{
	const char *server;

	while ((server = next_word(a, &list)) != NULL)
		if (!dns_server_check(span_str(server), why) ||
		    !ub_ok(ub_ctx_set_fwd(ub, server), server, why))
			return false;
	return true;
}

/* True when some anchor file has a key or DS whose owner is `zone`. */
static bool
anchored_in(const char *path, struct span zone)
{
	struct span rest, line, owner;
	bool found = false;
	struct buf b;

	buf_init(&b, ANCHOR_FILE_MAX);
	if (fd_read_file(AT_FDCWD, path, &b) >= 0) {
		rest = buf_span(&b);
		while (!found && span_token(&rest, "\n", &line)) {
			if (!span_token(&line, " \t", &owner))
				continue;
			if (owner.n > 1 && owner.p[owner.n - 1] == '.')
				owner.n--;
			found = span_eq_ci(owner, zone);
		}
	}
	buf_release(&b);
	return found;
}

static bool
anchored(struct span anchors, struct span zone, struct arena *a)
{
	const char *path;

	if (zone.n > 1 && zone.p[zone.n - 1] == '.')
		zone.n--;
	while ((path = next_word(a, &anchors)) != NULL)
		if (anchored_in(path, zone))
			return true;
	return false;
}

static bool
begin_zone(struct ub_ctx *ub, const char *zone, const struct dns_client_options *o, struct arena *a, struct fault *why)
{
	return anchored(o->anchors, span_str(zone), a) || set(ub, "domain-insecure:", zone, why);
}

static bool
set_stubs(struct ub_ctx *ub, const struct dns_client_options *o, struct arena *a, struct fault *why)
{
	struct span rest = o->stubs;
	const char *word, *zone = NULL;
	bool served = true;

	while ((word = next_word(a, &rest)) != NULL) {
		if (dns_server_check(span_str(word), NULL)) {
			if (zone == NULL)
				return fault_set(why, "4.3.5", "server \"%s\" without a zone before it", word);
			served = true;
			if (!ub_ok(ub_ctx_set_stub(ub, zone, word, 0), word, why))
				return false;
			continue;
		}
		if (!served)
			break;
		zone = word;
		served = false;
		if (!begin_zone(ub, zone, o, a, why))
			return false;
	}
	return served || fault_set(why, "4.3.5", "zone \"%s\" without a server behind it", zone);
}

static bool
set_anchors(struct ub_ctx *ub, struct span files, struct arena *a, struct fault *why)
{
	const char *path;
	int fd;

	while ((path = next_word(a, &files)) != NULL) {
		fd = fd_open(AT_FDCWD, path, O_RDONLY, 0);
		if (fd < 0)
			return fault_set(why, "4.3.5", "%s: %s", path, fd_error(fd));
		fd_close(&fd);
		if (!ub_ok(ub_ctx_add_ta_file(ub, path), path, why))
			return false;
	}
	return true;
}

static bool
set_all(struct ub_ctx *ub, const struct dns_client_options *o, struct arena *a, struct fault *why)
{
	if (!set_sizes(ub, o->sockets_max, why) || !set_behaviour(ub, why))
		return false;
	if (o->root_hints[0] != '\0' && !set(ub, "root-hints:", o->root_hints, why))
		return false;
	return set_forwarders(ub, o->forwarders, a, why) && set_stubs(ub, o, a, why) &&
	    set_anchors(ub, o->anchors, a, why);
}

static void
ignore_answer(void *ctx, int rcode, void *packet, int packet_bytes, int sec, char *why_bogus, int limited)
{
	(void)ctx;
	(void)rcode;
	(void)packet;
	(void)packet_bytes;
	(void)sec;
	(void)why_bogus;
	(void)limited;
}

/* Mistakes in files show when the options are frozen: ask something that needs no network. */
static bool
freeze(struct ub_ctx *ub, struct fault *why)
{
	int r = ub_resolve_event(ub, "localhost", DNS_TYPE_A, CLASS_IN, NULL, ignore_answer, NULL);

	return r == 0 || fault_set(why, "4.3.5", "DNS library: %s (trust anchor files?)", ub_strerror(r));
}

/*
 * Names like "test" are answered by the library itself; where the administrator named a server
 * for them, that one shall be asked. Only possible when the options are frozen.
 */
static bool
unblock_zones(struct ub_ctx *ub, const struct dns_client_options *o, struct arena *a, struct fault *why)
{
	struct span rest = o->stubs;
	const char *word;

	if (o->forwarders.n > 0 && !ub_ok(ub_ctx_zone_remove(ub, "test"), "test", why))
		return false;
	while ((word = next_word(a, &rest)) != NULL)
		if (!dns_server_check(span_str(word), NULL) && !ub_ok(ub_ctx_zone_remove(ub, word), word, why))
			return false;
	return true;
}

struct dns_client *
dns_client_new(struct loop *l, const struct dns_client_options *o, struct fault *why)
{
	struct dns_client *c = calloc(1, sizeof(*c));
	struct arena *a = arena_new(16 << 20);

	ensure(c != NULL);
	c->loop = l;
	list_init(&c->questions);
	c->ub = ub_ctx_create_event(loop_base(l));
	ensure(c->ub != NULL);
	(void)ub_ctx_debugout(c->ub, NULL);     /* it would write to stderr; failures come back as values */
	if (!set_all(c->ub, o, a, why) || !freeze(c->ub, why) || !unblock_zones(c->ub, o, a, why))
		dns_client_free(&c);
	arena_free(&a);
	return c;
}

/* --- questions --- */

static void
drop(struct question *q)
{
	loop_task_cancel(&q->task);
	list_remove(&q->node);
	q->client->pending--;
	arena_free(&q->arena);
	free(q);
}

void
dns_client_free(struct dns_client **cp)
{
	struct dns_client *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	ub_ctx_delete(c->ub);
	LIST_EACH(n, &c->questions)
		drop(LIST_ITEM(n, struct question, node));
	free(c);
}

size_t
dns_client_pending(const struct dns_client *c)
{
	return c->pending;
}

static void
deliver(void *ctx)
{
	struct question *q = ctx;
	dns_answer_fn *fn = q->fn;
	void *fn_ctx = q->ctx;
	struct arena *a = q->arena;
	struct dns_answer answer = q->answer;

	q->arena = NULL;
	drop(q);
	fn(fn_ctx, &answer);
	arena_free(&a);
}

/* What may not be used is not there: a bogus answer keeps only its reason. */
static void
set_status(struct question *q, int sec, const char *why_bogus)
{
	struct dns_answer *d = &q->answer;

	d->status = sec == 2 ? DNS_SECURE : DNS_INSECURE;
	if (sec != 1)
		return;
	d->status = DNS_BOGUS;
	d->count = 0;
	d->nodata = d->nxdomain = d->alias = false;
	d->canon = d->name;
	d->why = arena_dup(q->arena, span_slice(span_str(why_bogus != NULL ? why_bogus : "bogus"), 0, 1000));
}

static void
on_answer(void *ctx, int rcode, void *packet, int packet_bytes, int sec, char *why_bogus, int limited)
{
	struct question *q = ctx;
	struct dns_answer *d = &q->answer;
	struct fault why;

	(void)limited;
	if (rcode != 0 || packet == NULL || packet_bytes <= 0) {
		dns_answer_fail(d, q->arena, q->name, q->type, "no server gave an answer (SERVFAIL)");
		d->rcode = rcode > 0 && rcode < 16 ? (uint8_t)rcode : DNS_RCODE_SERVFAIL;
	} else if (!dns_parse_packet(span_of(packet, (size_t)packet_bytes), q->name, q->type, q->arena, d, &why)) {
		dns_answer_fail(d, q->arena, q->name, q->type, why.text);
	} else if (sec != 1 && d->rcode != DNS_RCODE_OK && d->rcode != DNS_RCODE_NXDOMAIN) {
		dns_answer_fail(d, q->arena, q->name, q->type, "the servers answer with an error");
	} else {
		set_status(q, sec, why_bogus);
	}
	loop_defer(q->client->loop, &q->task);
}

void
dns_client_ask(struct dns_client *c, struct span name, enum dns_type type, dns_answer_fn *fn, void *ctx)
{
	struct question *q = calloc(1, sizeof(*q));
	int r = UB_SYNTAX;

	ensure(q != NULL);
	q->client = c;
	q->fn = fn;
	q->ctx = ctx;
	q->type = type;
	q->arena = arena_new(ANSWER_MAX);
	loop_task_init(&q->task, deliver, q);
	list_push_back(&c->questions, &q->node);
	c->pending++;
	q->name = arena_dup(q->arena, span_slice(name, 0, DNS_NAME_MAX));
	if (name.n > 0 && name.n < DNS_NAME_MAX && span_is_ascii(name) && memchr(name.p, '\0', name.n) == NULL)
		r = ub_resolve_event(c->ub, arena_cstr(q->arena, name), (int)type, CLASS_IN, q, on_answer, NULL);
	if (r == 0)
		return;
	dns_answer_fail(&q->answer, q->arena, q->name, type, r == UB_SYNTAX ? "not a valid name" : ub_strerror(r));
	loop_defer(c->loop, &q->task);
}
