/* Handshakes and verdicts in words. */
#include "hop/verdict.h"

#include <stdio.h>

#include "base/log.h"
#include "hop/outcome.h"
#include "log/lines_tls.h"
#include "tls/stream.h"

void
hop_tls_state(const struct tls_decision *d, const char *prefix, const char *suffix, char state_r[80])
{
	const char *asked = tls_level_name(d->asked), *got = tls_level_name(d->level);

	if (d->asked == d->level)
		snprintf(state_r, 80, "%s%s%s", prefix, got, suffix);
	else if (suffix[0] == ':')
		snprintf(state_r, 80, "%s%s%s", prefix, asked, suffix);
	else
		snprintf(state_r, 80, "%s%s:%s%s", prefix, asked, got, suffix);
}

/* ---- STARTTLS (tls-client.md 1.1) */

bool
hop_no_starttls(const struct tls_decision *d, const char *peer, struct fault *why)
{
	struct hop_outcome o;

	hop_outcome(d, HOP_EVENT_NOT_OFFERED, peer, &o);
	return o.next == TLS_NEXT_CLEAR || fault_set(why, o.dsn, "%s", o.text);
}

bool
hop_starttls_refused(const struct tls_decision *d, const char *peer, struct span reply, struct fault *why)
{
	struct hop_outcome o;

	hop_outcome(d, HOP_EVENT_REFUSED, peer, &o);
	return o.next == TLS_NEXT_CLEAR || fault_set(why, o.dsn, "%s: %.*s", o.text, SPAN_ARG(span_slice(reply, 0, 400)));
}

/* ---- lines */

static void
log_matches(const struct log *l, const struct tls_decision *d, const struct tls_verdict *v, struct span peer)
{
	if (v->matched_name[0] != '\0' && d->level == TLS_LEVEL_FINGERPRINT)
		log_tls_matched_fingerprint(l, peer, span_str(v->matched_name));
	else if (v->matched_name[0] != '\0')
		log_tls_matched_name(l, peer, span_str(v->matched_name));
	if (v->by_tafile)
		log_tls_matched_depth(l, peer, v->anchor_depth);
	if (v->dane_match[0] != '\0')
		log_tls_matched_dane(l, peer, span_str(v->dane_match));
	if (v->anchor[0] != '\0')
		log_tls_matched_anchor(l, peer, span_str(v->anchor));
}

/* At levels that let anybody pass: who did? */
static void
log_untrusted(const struct log *l, const struct tls_verdict *v, const struct tls_info *info, struct span peer)
{
	if (v->chain_ok || !info->peer_cert || v->reason[0] == '\0')
		return;
	if (info->resumed)
		log_tls_reused_untrusted(l, peer, false);
	else
		log_tls_verify_failed(l, v->reason_who, peer, v->reason);
}

/* The CN, or the name that matched where there is none. */
static struct span
shown_subject(const struct tls_decision *d, const struct tls_verdict *v, const struct tls_info *info)
{
	return info->peer_cn.n == 0 && d->level != TLS_LEVEL_FINGERPRINT ? span_str(v->matched_name) : info->peer_cn;
}

void
hop_log_verdict(const struct log *l, struct stream *s, const struct tls_decision *d, const struct tls_verdict *v,
    struct span peer_port, const struct hop_telling *tell, struct arena *a)
{
	struct tls_info info;

	if (!stream_info(s, d->digest_name, a, &info))
		return;
	if (tell->sessions && info.resumed)
		log_tls_reusing(l, peer_port, false);
	if (tell->untrusted && !d->must_match)
		log_untrusted(l, v, &info, peer_port);
	if (tell->matches && !info.resumed)
		log_matches(l, d, v, peer_port);
	if (tell->peercert && info.peer_cert)
		log_tls_peercert(l, peer_port, shown_subject(d, v, &info), info.issuer_cn, info.cert_fp, info.pkey_fp);
	if (tell->peercert && info.peer_rpk)
		log_tls_rawkey(l, peer_port, info.pkey_fp);
	if (tell->summary)
		log_tls_client_summary(l, tls_trust_name(v->trust), false, peer_port, &info.wire);
}

void
hop_log_mismatch(const struct log *l, const struct tls_decision *d, const struct tls_verdict *v, struct span peer_port)
{
	if (!v->matched && v->reason[0] != '\0' && (d->must_match || v->weak))
		log_tls_verify_failed(l, v->reason_who, peer_port, v->reason);
}

void
hop_log_handshake_failed(const struct log *l, const struct stream *s, struct span peer_port, const char *reason)
{
	const struct stream_failure *f = stream_failure(s);

	log_tls_connect_error(l, peer_port, reason);
	for (unsigned i = 0; i < f->n_library; i++)
		log_tls_library_problem(l, f->library[i]);
}

void
hop_log_unusable(const struct log *l, const struct hop_address *addr, const struct tls_decision *d, struct arena *a)
{
	struct span peer = arena_printf(a, "%.*s[%.*s]:%u", SPAN_ARG(addr->host), SPAN_ARG(addr->text), addr->port);

	for (size_t i = 0; i < d->n_tlsa; i++) {
		const struct tls_tlsa *r = &d->tlsa[i];

		if (r->fate == TLS_TLSA_USAGE)
			log_warning(l, "%.*s: %s: %.*s", SPAN_ARG(log_esc(peer)), tls_tlsa_fate_text(r->fate),
			    SPAN_ARG(tls_tlsa_text(r, a)));
		else if (r->fate != TLS_TLSA_USABLE && r->fate != TLS_TLSA_WEAKER)
			log_tls_unusable_tlsa(l, peer, tls_tlsa_text(r, a));
	}
}
