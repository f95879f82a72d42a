/*
 * Which servers to ask: those of dns_servers; else those of resolv.conf when they hand out
 * signatures; else the root and down from there; else resolv.conf without DNSSEC, said loudly
 * and tried again. Questions wait meanwhile, their deadlines run.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/log.h"
#include "role/resolver/service_private.h"

#define SEPARATORS " \t\r\n,"

enum { SETTINGS_MAX = 1 << 20, FILE_MAX = 1 << 20, RECHECK_MS = 30000, RETRY_MS = 120000 };

/* a, d, k and m: enough to see whether the root can be reached at all */
static const char some_roots[] = "198.41.0.4 199.7.91.13 193.0.14.129 202.12.27.33 2001:503:ba3e::2:30 2001:7fd::1";

void
resolver_read_resolv_conf(const char *path, char *out, size_t bytes)
{
	struct span rest, line, word;
	struct buf b, list;

	buf_init(&b, FILE_MAX);
	buf_init(&list, bytes - 1);
	if (fd_read_file(AT_FDCWD, path, &b) < 0)
		buf_clear(&b);
	rest = buf_span(&b);
	while (span_token(&rest, "\n", &line)) {
		if (!span_token(&line, " \t\r", &word) || !span_eq(word, SPAN("nameserver")) ||
		    !span_token(&line, " \t\r", &word) || !dns_address_parse(word, NULL, NULL))
			continue;               /* an address with %zone cannot be given to the library */
		if (list.n > 0)
			buf_addc(&list, ' ');
		buf_add_span(&list, word);
	}
	snprintf(out, bytes, "%s", list.n > 0 ? buf_cstr(&list) : "127.0.0.1");
	buf_release(&list);
	buf_release(&b);
}

/* Addresses of A and AAAA records in a hints file, at most six. */
static void
read_hints(const char *path, char *out, size_t bytes)
{
	struct span rest, word;
	struct buf b, list;
	unsigned n = 0;

	buf_init(&b, FILE_MAX);
	buf_init(&list, bytes - 1);
	if (fd_read_file(AT_FDCWD, path, &b) < 0)
		buf_clear(&b);
	rest = buf_span(&b);
	while (n < 6 && span_token(&rest, SEPARATORS, &word))
		if (dns_address_parse(word, NULL, NULL)) {
			buf_addf(&list, "%s%.*s", n++ > 0 ? " " : "", SPAN_ARG(word));
		}
	snprintf(out, bytes, "%s", buf_cstr(&list));
	buf_release(&list);
	buf_release(&b);
}

/* Anchors that cannot be read must not stop all mail: without them nothing is secure, and that is said. */
static struct span
usable_anchors(struct resolver *r, struct arena *a)
{
	struct span rest = span_str(r->settings.anchor_files), one, list = SPAN("");

	while (span_token(&rest, SEPARATORS, &one)) {
		int fd = fd_open(AT_FDCWD, arena_cstr(a, one), O_RDONLY, 0);

		if (fd < 0) {
			log_error(NULL, "dnssec_trust_anchor_files: %.*s: %s; DNSSEC is off for what it would cover",
			    SPAN_ARG(one), fd_error(fd));
			continue;
		}
		fd_close(&fd);
		list = arena_printf(a, "%.*s %.*s", SPAN_ARG(list), SPAN_ARG(one));
	}
	return list;
}

static void
ask_waiting(struct resolver *r)
{
	HMAP_EACH(n, &r->questions) {
		struct question *q = HMAP_ENTRY(n, struct question, node);

		if (!q->started)
			resolver_question_start(q);
	}
}

static void
use(struct resolver *r, enum resolver_mode mode, struct span forwarders, bool validate)
{
	struct arena *a = arena_new(SETTINGS_MAX);
	struct span anchors = validate ? usable_anchors(r, a) : SPAN("");
	struct dns_client_options o = { .forwarders = forwarders, .stubs = span_str(r->settings.stub_zones),
		.anchors = anchors, .root_hints = r->settings.root_hints_file, .sockets_max = r->settings.sockets_max };

	r->client = dns_client_new(r->loop, &o, &r->broken);
	r->mode = r->client != NULL ? mode : RESOLVER_BROKEN;
	r->validates = r->client != NULL && anchors.n > 0;
	r->signatures = mode == RESOLVER_CONFIGURED ? "unknown" : mode == RESOLVER_UNVALIDATED ? "no" : "yes";
	snprintf(r->in_use, sizeof(r->in_use), "%.*s", SPAN_ARG(forwarders));
	arena_free(&a);
	if (r->client == NULL) {
		log_error(NULL, "DNS cannot be used, every question fails: %s", r->broken.text);
		resolver_fail_all(r, r->broken.text);
		return;
	}
	log_info(NULL, "DNS by %s%s%s, DNSSEC %s", resolver_mode_name(mode), r->in_use[0] != '\0' ? ": " : "",
	    r->in_use, r->validates ? "validated here" : "off");
	ask_waiting(r);
}

static void
on_root_probed(void *ctx, struct span good, bool answered)
{
	struct resolver *r = ctx;

	(void)answered;
	probe_free(&r->probe);
	if (good.n > 0) {
		use(r, RESOLVER_RECURSING, SPAN(""), true);
		return;
	}
	/* an error, because secure delivery by DNS is impossible now; once, not at every retry */
	if (!r->warned)
		log_error(NULL, "DNSSEC is off: the servers of %s (%s) hand out no signatures and the root cannot be "
		    "reached; name validating or signature-preserving servers in dns_servers", r->settings.resolv_conf,
		    r->found);
	r->warned = true;
	use(r, RESOLVER_UNVALIDATED, span_str(r->found), false);
	loop_timer_set_ms(&r->recheck, RETRY_MS);
}

static void
probe_root(struct resolver *r)
{
	char roots[512];

	snprintf(roots, sizeof(roots), "%s", some_roots);
	if (r->settings.root_hints_file[0] != '\0')
		read_hints(r->settings.root_hints_file, roots, sizeof(roots));
	r->probe = probe_new(r->loop, span_str(roots), false, r->settings.probe_ms, on_root_probed, r);
}

static void
on_resolvers_probed(void *ctx, struct span good, bool answered)
{
	struct resolver *r = ctx;

	(void)answered;
	probe_free(&r->probe);
	if (good.n > 0)
		use(r, RESOLVER_FORWARDING, good, true);
	else
		probe_root(r);
}

/* Configured servers are used as they are: what cannot be validated is bogus then, and the log says why. */
static void
on_configured_probed(void *ctx, struct span good, bool answered)
{
	struct resolver *r = ctx;

	probe_free(&r->probe);
	r->signatures = good.n > 0 ? "yes" : answered ? "no" : "no answer";
	if (!answered)
		log_warning(NULL, "dns_servers (%s) do not answer", r->settings.servers);
	if (good.n == 0 && answered && r->validates)
		log_error(NULL, "dns_servers (%s) hand out no DNSSEC signatures: below the trust anchors in "
		    "dnssec_trust_anchor_files every answer will be refused as bogus", r->settings.servers);
}

static void
drop_client(struct resolver *r)
{
	probe_free(&r->probe);
	dns_client_free(&r->client);
	HMAP_EACH(n, &r->questions) {
		struct question *q = HMAP_ENTRY(n, struct question, node);

		if (!q->native)
			q->started = false;
	}
}

static void
decide(struct resolver *r)
{
	drop_client(r);
	r->mode = RESOLVER_DECIDING;
	r->validates = false;
	r->signatures = "unknown";
	r->in_use[0] = '\0';
	loop_timer_stop(&r->recheck);
	if (r->settings.servers[0] != '\0') {
		use(r, RESOLVER_CONFIGURED, span_str(r->settings.servers), true);
		if (r->validates)
			r->probe = probe_new(r->loop, span_str(r->settings.servers), true, r->settings.probe_ms,
			    on_configured_probed, r);
		return;
	}
	resolver_read_resolv_conf(r->settings.resolv_conf, r->found, sizeof(r->found));
	r->probe = probe_new(r->loop, span_str(r->found), true, r->settings.probe_ms, on_resolvers_probed, r);
	loop_timer_set_ms(&r->recheck, RECHECK_MS);
}

/* resolv.conf changed, or we are without DNSSEC and may do better now. */
static void
on_recheck(void *ctx)
{
	struct resolver *r = ctx;
	char now[sizeof(r->found)];

	resolver_read_resolv_conf(r->settings.resolv_conf, now, sizeof(now));
	if (strcmp(now, r->found) != 0)
		r->warned = false;
	if (strcmp(now, r->found) != 0 || r->mode == RESOLVER_UNVALIDATED)
		decide(r);
	else
		loop_timer_set_ms(&r->recheck, RECHECK_MS);
}

void
resolver_reconf(struct resolver *r, const struct resolver_settings *s)
{
	struct arena *old = r->settings_arena;
	struct arena *a = arena_new(SETTINGS_MAX);

	r->settings = *s;
	r->settings.servers = arena_cstr(a, span_trim(span_str(s->servers)));
	r->settings.stub_zones = arena_cstr(a, span_str(s->stub_zones));
	r->settings.root_hints_file = arena_cstr(a, span_str(s->root_hints_file));
	r->settings.anchor_files = arena_cstr(a, span_str(s->anchor_files));
	r->settings.resolv_conf = arena_cstr(a, span_str(s->resolv_conf));
	r->settings_arena = a;
	r->deadline_ms = s->deadline_ms;
	r->warned = false;
	decide(r);
	arena_free(&old);
}

void
resolver_servers_init(struct resolver *r)
{
	loop_timer_init(&r->recheck, r->loop, on_recheck, r);
}

void
resolver_servers_release(struct resolver *r)
{
	probe_free(&r->probe);
	dns_client_free(&r->client);
	loop_timer_release(&r->recheck);
	arena_free(&r->settings_arena);
}
