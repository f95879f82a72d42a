/* TLS lines of the SMTP client and server. Bytes from the peer pass through log_esc. */
#include "log/lines_tls.h"

static void
put_size_text(struct buf *out, struct span curve, int bits, bool rpk)
{
	if (curve.n > 0)
		buf_addf(out, "%.*s%s", SPAN_ARG(curve), rpk ? " raw public key" : "");
	else if (bits > 0)
		buf_addf(out, rpk ? "%d bit raw public key" : "%d bits", bits);
	else if (rpk)
		buf_add_str(out, "raw public key");
}

static void
put_size(struct buf *out, struct span curve, int bits, bool rpk)
{
	if (curve.n == 0 && bits <= 0 && !rpk)
		return;
	buf_add_str(out, " (");
	put_size_text(out, curve, bits, rpk);
	buf_addc(out, ')');
}

void
log_tls_signature_size(struct buf *out, const struct log_tls_signature *s)
{
	put_size_text(out, s->curve, s->bits, s->rpk);
}

void
log_tls_key_exchange(struct buf *out, const struct log_tls *t)
{
	buf_addf(out, "key-exchange %.*s", SPAN_ARG(t->group));
	put_size(out, t->group_curve, t->group_bits, false);
}

void
log_tls_signature_text(struct buf *out, const char *side, const struct log_tls_signature *s)
{
	buf_addf(out, "%s-signature %.*s", side, SPAN_ARG(s->alg));
	put_size(out, s->curve, s->bits, s->rpk);
	if (s->digest.n > 0)
		buf_addf(out, " %s-digest %.*s", side, SPAN_ARG(s->digest));
}

void
log_tls_suffix(struct buf *out, const struct log_tls *t)
{
	if (!span_eq(t->protocol, SPAN("TLSv1.3")))
		return;
	if (t->group.n > 0) {
		buf_addc(out, ' ');
		log_tls_key_exchange(out, t);
	}
	if (t->server.alg.n > 0) {
		buf_addc(out, ' ');
		log_tls_signature_text(out, "server", &t->server);
	}
	if (t->client.alg.n > 0) {
		buf_addc(out, ' ');
		log_tls_signature_text(out, "client", &t->client);
	}
}

void
log_tls_cipher(struct buf *out, const struct log_tls *t)
{
	buf_addf(out, "%.*s with cipher %.*s (%d/%d bits)", SPAN_ARG(t->protocol), SPAN_ARG(t->cipher),
	    t->bits_used, t->bits_alg);
}

/* "...: TLSv1.3 with cipher ... key-exchange ...": the part both sides share. */
static void
summary(const struct log *l, struct buf *line, const struct log_tls *t)
{
	buf_add_str(line, ": ");
	log_tls_cipher(line, t);
	log_tls_suffix(line, t);
	log_info(l, "%s", buf_cstr(line));
	buf_release(line);
}

void
log_tls_client_summary(const struct log *l, const char *trust, bool reused, struct span namaddrport,
    const struct log_tls *t)
{
	struct span peer = log_esc(namaddrport);
	struct buf line;

	buf_init(&line, 4096);
	buf_addf(&line, "%s TLS connection %s to ", trust, reused ? "reused" : "established");
	for (size_t i = 0; i < peer.n; i++)
		buf_addc(&line, ascii_lower(peer.p[i]));
	summary(l, &line, t);
}

void
log_tls_server_summary(const struct log *l, const char *trust, struct span namaddr, struct span sni,
    const struct log_tls *t)
{
	struct buf line;

	buf_init(&line, 4096);
	buf_addf(&line, "%s TLS connection established from %.*s", trust, SPAN_ARG(log_esc(namaddr)));
	if (sni.n > 0)
		buf_addf(&line, " to %.*s", SPAN_ARG(log_esc(sni)));
	summary(l, &line, t);
}

void
log_tls_connect_error(const struct log *l, struct span namaddrport, const char *text)
{
	log_info(l, "SSL_connect error to %.*s: %s", SPAN_ARG(log_esc(namaddrport)), text);
}

void
log_tls_accept_error(const struct log *l, struct span namaddr, const char *text)
{
	log_info(l, "SSL_accept error from %.*s: %s", SPAN_ARG(log_esc(namaddr)), text);
}

void
log_tls_library_problem(const struct log *l, const char *text)
{
	log_warning(l, "TLS library problem: %.*s:", SPAN_ARG(log_esc(span_str(text))));
}

void
log_tls_plainer(const struct log *l, struct span namaddrport, const char *what, const char *rung)
{
	log_info(l, "%.*s: %s with plainer TLS (%s)", SPAN_ARG(log_esc(namaddrport)), what, rung);
}

void
log_tls_no_forward_secrecy(const struct log *l, struct span namaddrport, const char *cipher)
{
	log_info(l, "%.*s: no forward secrecy with cipher %s", SPAN_ARG(log_esc(namaddrport)), cipher);
}

void
log_tls_report(const struct log *l, struct span domain, struct span mx, const char *failure_type, const char *reason)
{
	struct span d = log_esc(domain), h = log_esc(mx);
	char type[64];

	if (failure_type == NULL) {
		log_info(l, "TLSRPT: status=success, domain=%.*s, receiving_mx=%.*s", SPAN_ARG(d), SPAN_ARG(h));
		return;
	}
	snprintf(type, sizeof(type), "%s", failure_type);
	for (char *p = type; *p != '\0'; p++)
		if (*p == '-')
			*p = '_';
	log_info(l, "TLSRPT: status=failure, domain=%.*s, receiving_mx=%.*s, failure_type=%s%s%.*s", SPAN_ARG(d), SPAN_ARG(h), type,
	    reason[0] != '\0' ? ", failure_reason=" : "", SPAN_ARG(log_esc(span_str(reason))));
}

void
log_tls_offer(const struct log *l, struct span host)
{
	log_info(l, "Host offered STARTTLS: [%.*s]", SPAN_ARG(log_esc(host)));
}

void
log_tls_verify_failed(const struct log *l, const char *who, struct span namaddrport, const char *why)
{
	log_info(l, "%s%scertificate verification failed for %.*s: %.*s", who, who[0] != '\0' ? " " : "",
	    SPAN_ARG(log_esc(namaddrport)), SPAN_ARG(log_esc(span_str(why))));
}

void
log_tls_reused_untrusted(const struct log *l, struct span namaddrport, bool server)
{
	log_info(l, "%.*s: re-using session with untrusted %s, look for details earlier in the log",
	    SPAN_ARG(log_esc(namaddrport)), server ? "certificate" : "peer credential");
}

void
log_tls_peercert(const struct log *l, struct span namaddr, struct span cn, struct span issuer, struct span cert_fp,
    struct span pkey_fp)
{
	log_info(l, "%.*s: subject_CN=%.*s, issuer=%.*s, cert fingerprint=%.*s, pkey fingerprint=%.*s",
	    SPAN_ARG(log_esc(namaddr)), SPAN_ARG(log_esc(cn)), SPAN_ARG(log_esc(issuer)), SPAN_ARG(cert_fp),
	    SPAN_ARG(pkey_fp));
}

void
log_tls_matched_name(const struct log *l, struct span namaddrport, struct span name)
{
	log_info(l, "%.*s: matched peername: %.*s", SPAN_ARG(log_esc(namaddrport)), SPAN_ARG(log_esc(name)));
}

void
log_tls_matched_fingerprint(const struct log *l, struct span namaddrport, struct span fp)
{
	char hex[256];
	size_t n = 0;

	for (size_t i = 0; i < fp.n && n < sizeof(hex) - 1; i++)
		if (fp.p[i] != ':')
			hex[n++] = fp.p[i];
	hex[n] = '\0';
	log_info(l, "%.*s: Matched fingerprint: %s", SPAN_ARG(log_esc(namaddrport)), hex);
}

void
log_tls_matched_dane(const struct log *l, struct span namaddrport, struct span match)
{
	log_info(l, "%.*s: Matched DANE %.*s", SPAN_ARG(log_esc(namaddrport)), SPAN_ARG(match));
}

void
log_tls_matched_depth(const struct log *l, struct span namaddrport, int depth)
{
	log_info(l, "%.*s: Matched trust anchor at depth %d", SPAN_ARG(log_esc(namaddrport)), depth);
}

void
log_tls_matched_anchor(const struct log *l, struct span namaddrport, struct span fp)
{
	log_info(l, "%.*s: Matched trust anchor fingerprint: %.*s", SPAN_ARG(log_esc(namaddrport)), SPAN_ARG(fp));
}

void
log_tls_unusable_tlsa(const struct log *l, struct span namaddrport, struct span record)
{
	log_warning(l, "%.*s: unusable TLSA RR: %.*s", SPAN_ARG(log_esc(namaddrport)), SPAN_ARG(record));
}

void
log_tls_signed_tlsa(const struct log *l, struct span qname, struct span record)
{
	log_info(l, "DNSSEC-signed TLSA record: %.*s: %.*s", SPAN_ARG(log_esc(qname)), SPAN_ARG(record));
}

void
log_tls_rawkey(const struct log *l, struct span namaddr, struct span pkey_fp)
{
	log_info(l, "%.*s: raw public key fingerprint=%.*s", SPAN_ARG(log_esc(namaddr)), SPAN_ARG(pkey_fp));
}

void
log_tls_names(const struct log *l, struct span subject, struct span issuer)
{
	log_info(l, "subject=%.*s", SPAN_ARG(log_esc(subject)));
	log_info(l, "issuer=%.*s", SPAN_ARG(log_esc(issuer)));
}

void
log_tls_initializing(const struct log *l, bool server)
{
	log_info(l, "initializing the %s-side TLS engine", server ? "server" : "client");
}

void
log_tls_trace(const struct log *l, const char *text)
{
	log_info(l, "%.*s", SPAN_ARG(log_esc(span_str(text))));
}

void
log_tls_trace_peer(const struct log *l, struct span namaddr, const char *text)
{
	log_info(l, "%.*s: %.*s", SPAN_ARG(log_esc(namaddr)), SPAN_ARG(log_esc(span_str(text))));
}

void
log_tls_no_dump(const struct log *l, struct span namaddr, int limit)
{
	log_info(l, "%.*s: no dump of this session: tls_trace_rate_limit is %d for each second", SPAN_ARG(log_esc(namaddr)), limit);
}

void
log_tls_md5_default(const struct log *l, const char *parameter)
{
	log_info(l, "using backwards-compatible default setting %s=md5 to compute certificate fingerprints", parameter);
}

void
log_tls_setting_up(const struct log *l, bool server, struct span namaddr)
{
	log_info(l, "setting up TLS connection %s %.*s", server ? "from" : "to", SPAN_ARG(log_esc(namaddr)));
}

void
log_tls_cipher_list(const struct log *l, struct span namaddr, struct span list)
{
	log_info(l, "%.*s: TLS cipher list \"%.*s\"", SPAN_ARG(log_esc(namaddr)), SPAN_ARG(log_esc(list)));
}

void
log_tls_sni(const struct log *l, struct span namaddrport, struct span name)
{
	log_info(l, "%.*s: SNI hostname: %.*s", SPAN_ARG(log_esc(namaddrport)), SPAN_ARG(log_esc(name)));
}

void
log_tls_sni_unmatched(const struct log *l, struct span namaddr, struct span name)
{
	log_info(l, "TLS SNI %.*s from %.*s not matched, using default chain", SPAN_ARG(log_esc(name)),
	    SPAN_ARG(log_esc(namaddr)));
}

void
log_tls_reusing(const struct log *l, struct span namaddr, bool server_ticket)
{
	log_info(l, "%.*s: Reusing old session%s", SPAN_ARG(log_esc(namaddr)),
	    server_ticket ? " (RFC 5077 session ticket)" : "");
}

void
log_tls_abort(const struct log *l, struct span namaddr, const char *reason)
{
	log_info(l, "NOQUEUE: abort: TLS from %.*s: %s", SPAN_ARG(log_esc(namaddr)), reason);
}

void
log_tls_policy_lookup(const struct log *l, struct span nexthop, struct span host, const char *reason)
{
	log_warning(l, "TLS policy lookup for %.*s/%.*s: %s", SPAN_ARG(log_esc(nexthop)), SPAN_ARG(log_esc(host)),
	    reason);
}
