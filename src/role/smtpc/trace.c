/* What smtp_tls_loglevel and smtp_tls_loglevel_maps want to see of a connection's TLS, beside the verdict. */
#include "base/clock.h"
#include "base/panic.h"
#include "log/lines_tls.h"
#include "maps/maps.h"
#include "role/smtpc/smtpc.h"

/* ---- which level */

/* The name that was looked up, then the address. FOUND also when a table failed: mail does not wait for a log level. */
enum map_result
trace_level(struct delivery *d, const struct hop_address *a)
{
	struct span keys[] = { arena_lower(d->arena, a->host), a->text };
	struct fault why;
	struct map_hit hit;

	d->tls_log = d->svc->tls_log;
	for (size_t i = 0; d->svc->loglevels != NULL && i < 2; i++) {
		switch (maps_find(d->svc->loglevels, keys[i], d->asks, d->arena, &hit, &why)) {
		case MAP_WAIT:
			return MAP_WAIT;
		case MAP_ABSENT:
			continue;
		case MAP_FOUND:
			if (log_tls_level_parse(hit.value, &d->tls_log, &why))
				return MAP_FOUND;
			break;
		case MAP_DEFER:
			break;
		}
		log_warning(&d->log, "%s_tls_loglevel_maps: %.*s: %s", d->svc->prefix, SPAN_ARG(log_esc(keys[i])), why.text);
		d->tls_log = d->svc->tls_log;
		break;
	}
	return MAP_FOUND;
}

/* ---- lines */

void
trace_records(const struct delivery *d, const struct hop_address *a, const struct tls_decision *dec, struct arena *arena)
{
	struct log l = { .tag = d->svc->cs->log_tag };
	struct span qname;

	if ((d->tls_log & LOG_TLS_DANE) == 0 || dec->n_tlsa == 0)
		return;
	qname = arena_printf(arena, "_%u._tcp.%.*s", a->port, SPAN_ARG(dec->tlsa_base));
	for (size_t i = 0; i < dec->n_tlsa; i++)
		log_tls_signed_tlsa(&l, qname, tls_tlsa_text(&dec->tlsa[i], arena));
}

static void
on_trace(void *ctx, enum stream_trace kind, const char *text)
{
	const struct conn *c = ctx;
	struct log l = { .tag = c->svc->cs->log_tag };

	switch (kind) {
	case STREAM_TRACE_STATE:
	case STREAM_TRACE_SESSION:
	case STREAM_TRACE_BYTES:
		log_tls_trace(&l, text);
		return;
	case STREAM_TRACE_CHAIN:
	case STREAM_TRACE_TICKET:
		log_tls_trace_peer(&l, span_str(c->l.peer_port), text);
		return;
	}
	panic("stream_trace");
}

void
trace_begin(struct conn *c)
{
	struct log l = { .tag = c->svc->cs->log_tag };
	struct span peer = span_str(c->l.peer_port);
	int limit = c->svc->p->tls_trace_rate_limit;
	unsigned log = log_tls_rate(&c->svc->dumps, limit, loop_now_us(c->role->loop) / US_PER_S, c->tls_log);

	if (log & LOG_TLS_VERBOSE) {
		log_tls_setting_up(&l, false, peer);
		log_tls_cipher_list(&l, peer, c->decision.ciphers);
	}
	if ((log & LOG_TLS_STEPS) && c->decision.sni.n > 0)
		log_tls_sni(&l, peer, c->decision.sni);
	if (log != c->tls_log)
		log_tls_no_dump(&l, peer, limit);
	if (!(log & (LOG_TLS_VERBOSE | LOG_TLS_STEPS | LOG_TLS_DUMPS | LOG_TLS_CACHE)))
		return;
	c->tracer = (struct stream_tracer){ .line = on_trace, .ctx = c, .cache = c->svc->prefix, .chain = log & LOG_TLS_VERBOSE,
		.steps = log & LOG_TLS_STEPS, .tickets = log & LOG_TLS_CACHE, .handshake_bytes = log & LOG_TLS_HANDSHAKE_BYTES,
		.all_bytes = log & LOG_TLS_ALL_BYTES, .messages = log & LOG_TLS_MESSAGES, .bytes_left = c->svc->p->smtp_tls_trace_size_limit };
	stream_set_tracer(&c->l.stream, &c->tracer);
}
