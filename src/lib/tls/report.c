/* The record that asks for reports, the policy, and the event of one connection (RFC 8460; tls-client.md 15, 20.5). */
#include "tls/report.h"

#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#include "base/panic.h"

static const struct {
	enum tls_report_code code;
	const char *name;
} codes[] = {
	{ TLS_REPORT_SUCCESS, "success" },
	{ TLS_REPORT_STARTTLS_NOT_SUPPORTED, "starttls-not-supported" },
	{ TLS_REPORT_CERTIFICATE_HOST_MISMATCH, "certificate-host-mismatch" },
	{ TLS_REPORT_CERTIFICATE_NOT_TRUSTED, "certificate-not-trusted" },
	{ TLS_REPORT_CERTIFICATE_EXPIRED, "certificate-expired" },
	{ TLS_REPORT_VALIDATION_FAILURE, "validation-failure" },
	{ TLS_REPORT_STS_POLICY_FETCH_ERROR, "sts-policy-fetch-error" },
	{ TLS_REPORT_STS_POLICY_INVALID, "sts-policy-invalid" },
	{ TLS_REPORT_STS_WEBPKI_INVALID, "sts-webpki-invalid" },
	{ TLS_REPORT_TLSA_INVALID, "tlsa-invalid" },
	{ TLS_REPORT_DNSSEC_INVALID, "dnssec-invalid" },
	{ TLS_REPORT_DANE_REQUIRED, "dane-required" },
};
#define N_CODES (sizeof(codes) / sizeof(codes[0]))

const char *
tls_report_code_name(enum tls_report_code code)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (codes[i].code == code)
			return codes[i].name;
	panic("tls_report_code %d", (int)code);
}

/* ---- scope and record */

bool
tls_report_wanted(const struct tls_report_scope *s)
{
	enum tls_level level;

	if (!s->enabled || s->lmtp || s->unix_socket || s->tls_required_no)
		return false;
	if (!tls_level_parse(span_trim(span_str(s->global_level)), &level) || level == TLS_LEVEL_NONE)
		return false;
	return dns_name_is_host(s->domain);     /* no address */
}

bool
tls_report_is_record(struct span text)
{
	static const struct span version = { "v=TLSRPTv1", 10 };
	struct span rest;

	if (!span_starts(text, version))
		return false;
	for (rest = span_from(text, version.n); rest.n > 0 && (rest.p[0] == ' ' || rest.p[0] == '\t'); rest = span_from(rest, 1))
		;
	return rest.n > 0 && rest.p[0] == ';';
}

struct span
tls_report_name(struct span domain, struct arena *a)
{
	return arena_printf(a, "_smtp._tls.%.*s", SPAN_ARG(domain));
}

/* What section 3 can consist of: printable ASCII and blanks. */
static bool
is_text(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] > '~')
			return false;
	return true;
}

static enum tls_report_found
check(struct span record, struct fault *why)
{
	if (record.n > TLS_REPORT_RECORD_MAX) {
		fault_set(why, "", "it has %zu bytes, more than %d", record.n, TLS_REPORT_RECORD_MAX);
		return TLS_REPORT_BAD_RECORD;
	}
	if (!is_text(record)) {
		fault_set(why, "", "it is not printable text");
		return TLS_REPORT_BAD_RECORD;
	}
	return TLS_REPORT_ASKED_FOR;
}

enum tls_report_found
tls_report_find(const struct dns_answer *answer, struct span *record_r, struct fault *why)
{
	size_t found = 0;

	*record_r = SPAN("");
	fault_clear(why);
	if (!dns_known(answer)) {
		fault_set(why, "", "%s%.*s", answer->status == DNS_BOGUS ? "DNSSEC validation failed: " : "", SPAN_ARG(span_slice(answer->why, 0, 200)));
		return TLS_REPORT_FAILED;
	}
	for (size_t i = 0; i < answer->count; i++)
		if (answer->records[i].type == DNS_TYPE_TXT && tls_report_is_record(answer->records[i].data) && found++ == 0)
			*record_r = answer->records[i].data;
	if (found == 1)
		return check(*record_r, why);
	*record_r = SPAN("");
	return found == 0 ? TLS_REPORT_NO_RECORD : TLS_REPORT_SEVERAL;
}

/* ---- policy */

const char *
tls_report_policy_name(enum tls_report_policy_type type)
{
	switch (type) {
	case TLS_REPORT_TLSA: return "tlsa";
	case TLS_REPORT_STS: return "sts";
	case TLS_REPORT_NO_POLICY: return "no-policy-found";
	}
	panic("tls_report_policy_type");
}

/* "3 1 1 0A1B...", the whole of it (RFC 8460 section 4.5). */
static struct span
tlsa_string(const struct tls_tlsa *r, struct arena *a)
{
	static const char hex[] = "0123456789ABCDEF";
	char head[16], *p;
	size_t n = (size_t)snprintf(head, sizeof(head), "%u %u %u ", r->usage, r->selector, r->matching);

	p = ARENA_ARRAY(a, char, n + 2 * r->data.n);
	memcpy(p, head, n);
	for (size_t i = 0; i < r->data.n; i++) {
		p[n++] = hex[(unsigned char)r->data.p[i] >> 4];
		p[n++] = hex[(unsigned char)r->data.p[i] & 15];
	}
	return (struct span){ p, n };
}

/* Records count at DANE levels; those of which none was usable count although the level is another one now. */
static bool
is_tlsa(const struct tls_decision *d)
{
	return d->n_tlsa > 0 && (tls_level_is_dane(d->level) ||
	    (d->failure_type != NULL && strcmp(d->failure_type, "tlsa-invalid") == 0));
}

void
tls_report_policy(const struct tls_decision *d, struct span domain, struct arena *a, struct tls_report_policy *p_r)
{
	const struct tls_policy *e = d->policy;

	*p_r = (struct tls_report_policy){ .type = TLS_REPORT_NO_POLICY, .domain = domain };
	if (is_tlsa(d)) {
		struct span *strings = ARENA_ARRAY(a, struct span, d->n_tlsa);

		for (size_t i = 0; i < d->n_tlsa; i++)
			strings[i] = tlsa_string(&d->tlsa[i], a);
		*p_r = (struct tls_report_policy){ .type = TLS_REPORT_TLSA, .domain = d->tlsa_base, .strings = strings, .n_strings = d->n_tlsa };
	} else if (!tls_level_is_dane(d->level) && e != NULL && e->policy_type.n > 0) {
		*p_r = (struct tls_report_policy){ .domain = e->policy_domain.n > 0 ? e->policy_domain : domain, .strings = e->policy_string, .n_strings = e->n_policy_string,
			.mx = e->mx_host_pattern, .n_mx = e->n_mx_host_pattern };
		p_r->type = span_eq(e->policy_type, SPAN("sts")) ? TLS_REPORT_STS : TLS_REPORT_NO_POLICY;
	}
}

/* ---- event */

static bool
event(struct tls_report_event *e, enum tls_report_code code, const char *reason)
{
	e->code = code;
	snprintf(e->reason, sizeof(e->reason), "%.127s", reason);
	return true;
}

/* Words of the library, or ours, as one word. */
static bool
event_words(struct tls_report_event *e, enum tls_report_code code, const char *words)
{
	event(e, code, words);
	for (char *p = e->reason; *p != '\0'; p++)
		if (*p == ' ')
			*p = '_';
	return true;
}

static bool
by_name(struct tls_report_event *e, struct span name, const char *reason)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (span_eq(name, span_str(codes[i].name)))
			return event(e, codes[i].code, codes[i].code == TLS_REPORT_VALIDATION_FAILURE ? reason : "");
	return event(e, TLS_REPORT_VALIDATION_FAILURE, reason);
}

/* The certificate that was shown is not the one that is wanted. */
static bool
mismatch(struct tls_report_event *e, const struct tls_verdict *v)
{
	if (v->weak)
		return event_words(e, TLS_REPORT_VALIDATION_FAILURE, v->reason);
	switch (v->error) {
	case X509_V_OK:
		return event(e, v->chain_ok ? TLS_REPORT_CERTIFICATE_HOST_MISMATCH : TLS_REPORT_CERTIFICATE_NOT_TRUSTED,
		    v->trust == TLS_TRUST_ANONYMOUS ? "no-certificate" : "");
	case X509_V_ERR_HOSTNAME_MISMATCH:
		return event(e, TLS_REPORT_CERTIFICATE_HOST_MISMATCH, "");
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
		return event(e, TLS_REPORT_CERTIFICATE_EXPIRED, "");
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
		return event_words(e, TLS_REPORT_VALIDATION_FAILURE, X509_verify_cert_error_string(v->error));
	case X509_V_ERR_CERT_UNTRUSTED:
		return event(e, TLS_REPORT_CERTIFICATE_NOT_TRUSTED, "");
	default:
		return event_words(e, TLS_REPORT_CERTIFICATE_NOT_TRUSTED, X509_verify_cert_error_string(v->error));
	}
}

static bool
none_usable(const struct tls_decision *d)
{
	return d->failure_type != NULL && strcmp(d->failure_type, "tlsa-invalid") == 0;
}

/* DANE that was demanded and failed (20.5); whatever else makes a policy unusable is ours. */
static bool
unusable(struct tls_report_event *e, const struct tls_decision *d)
{
	if (d->asked != TLS_LEVEL_DANE_ONLY || d->failure_type == NULL)
		return false;
	if (none_usable(d))
		return event(e, TLS_REPORT_TLSA_INVALID, "all-TLSA-records-unusable");
	return by_name(e, span_str(d->failure_type), "");
}

static bool
verdict(struct tls_report_event *e, const struct tls_report_facts *f)
{
	if (f->resumed && f->skip_resumed)
		return false;
	if (none_usable(f->decision))
		return event(e, TLS_REPORT_TLSA_INVALID, "all-TLSA-records-unusable");
	if (f->decision->policy_failure)
		return by_name(e, f->decision->policy_failure_type, "external-policy-failure");
	return f->verdict->matched ? event(e, TLS_REPORT_SUCCESS, "") : mismatch(e, f->verdict);
}

bool
tls_report_event(const struct tls_report_facts *f, struct tls_report_event *e)
{
	*e = (struct tls_report_event){ 0 };
	if (f->reused || f->reported)
		return false;
	switch (f->at) {
	case TLS_REPORT_AT_UNUSABLE:
		return unusable(e, f->decision);
	case TLS_REPORT_AT_NOT_OFFERED:
		return !f->hidden && tls_level_needs_tls(f->decision->level) && event(e, TLS_REPORT_STARTTLS_NOT_SUPPORTED, "");
	case TLS_REPORT_AT_REFUSED:
		return event(e, TLS_REPORT_STARTTLS_NOT_SUPPORTED, "");
	case TLS_REPORT_AT_HANDSHAKE:
		if (none_usable(f->decision))
			return event(e, TLS_REPORT_TLSA_INVALID, "all-TLSA-records-unusable");
		return event(e, TLS_REPORT_VALIDATION_FAILURE, "tls-handshake-failure");
	case TLS_REPORT_AT_VERDICT:
		return verdict(e, f);
	case TLS_REPORT_AT_OTHER:
		return false;
	}
	panic("tls_report_at");
}
