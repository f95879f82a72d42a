/* Policy delegation: requests out, replies in. */
#include "smtp/policyd.h"

#include "base/text.h"

/* --- requests --- */

/* One line: what would end it, or is no text, becomes '?'. */
static void
add_value(struct buf *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		buf_addc(out, (c < 32 && c != '\t') || c == 127 ? '?' : (char)c);
	}
}

static void
add(struct buf *out, const char *name, struct span value)
{
	buf_addf(out, "%s=", name);
	add_value(out, value);
	buf_addc(out, '\n');
}

static void
add_xtext(struct buf *out, const char *name, struct span value)
{
	buf_addf(out, "%s=", name);
	text_xtext(out, value);
	buf_addc(out, '\n');
}

static void
add_session(const struct policyd_request *r, struct buf *out)
{
	add(out, "request", SPAN("smtpd_access_policy"));
	add(out, "protocol_state", r->protocol_state);
	add(out, "protocol_name", r->protocol_name);
	add(out, "client_address", r->client_address);
	add(out, "client_name", r->client_name);
	add(out, "client_port", r->client_port);
	add(out, "reverse_client_name", r->reverse_client_name);
	add(out, "server_address", r->server_address);
	add(out, "server_port", r->server_port);
	add(out, "helo_name", r->helo_name);
}

static void
add_message(const struct policyd_request *r, struct buf *out)
{
	add(out, "sender", r->sender);
	add(out, "recipient", r->recipient);
	buf_addf(out, "recipient_count=%u\n", r->recipient_count);
	add(out, "queue_id", r->queue_id);
	add(out, "instance", r->instance);
	buf_addf(out, "size=%llu\n", (unsigned long long)r->size);
	add(out, "etrn_domain", r->etrn_domain);
	add(out, "stress", r->stress ? SPAN("yes") : SPAN(""));
	add(out, "sasl_method", r->sasl_method);
	add(out, "sasl_username", r->sasl_username);
	add(out, "sasl_sender", r->sasl_sender);
}

static void
add_tls(const struct policyd_request *r, struct buf *out)
{
	add_xtext(out, "ccert_subject", r->ccert_subject);
	add_xtext(out, "ccert_issuer", r->ccert_issuer);
	add(out, "ccert_fingerprint", r->ccert_fingerprint);
	add(out, "ccert_pubkey_fingerprint", r->ccert_pubkey_fingerprint);
	add(out, "encryption_protocol", r->encryption_protocol);
	add(out, "encryption_cipher", r->encryption_cipher);
	if (r->encryption_keysize > 0)
		buf_addf(out, "encryption_keysize=%u\n", r->encryption_keysize);
	else
		add(out, "encryption_keysize", SPAN(""));
	add(out, "tls_sni", r->tls_sni);
}

bool
policyd_request_write(const struct policyd_request *r, struct buf *out)
{
	add_session(r, out);
	add_message(r, out);
	add_tls(r, out);
	add(out, "policy_context", r->policy_context);
	add(out, "compatibility_level", r->compatibility_level);
	add(out, "mail_version", r->mail_version);
	buf_addc(out, '\n');
	return !out->full;
}

/* --- replies --- */

static enum policyd_result
bad(struct fault *why, const char *text)
{
	fault_set(why, "4.3.5", "%s", text);
	return POLICYD_BAD;
}

/* One whole line; false when it has not ended yet. */
static bool
next_line(struct span *rest, struct span *line_r)
{
	if (!span_cut(*rest, '\n', line_r, rest))
		return false;
	if (line_r->n > 0 && line_r->p[line_r->n - 1] == '\r')
		line_r->n--;
	return true;
}

/* The reply without the empty line at its end. */
static enum policyd_result
check_action(struct span action, bool utf8, struct fault *why)
{
	for (size_t i = 0; i < action.n; i++) {
		unsigned char c = (unsigned char)action.p[i];

		if ((c < 32 && c != '\t') || c == 127)
			return bad(why, "control character in the action");
	}
	if (utf8 && !span_is_utf8(action))
		return bad(why, "the action is not UTF-8");
	return POLICYD_DONE;
}

enum policyd_result
policyd_reply_parse(struct span bytes, bool utf8, struct span *action_r, struct fault *why)
{
	struct span rest = bytes, line, name, value;
	bool have = false;

	*action_r = SPAN("");
	while (next_line(&rest, &line)) {
		if (line.n == 0) {
			if (!have)
				return bad(why, "reply without an action");
			if (rest.n > 0)
				return bad(why, "more behind the end of the reply");
			return check_action(*action_r, utf8, why);
		}
		if (!span_cut(line, '=', &name, &value))
			return bad(why, "a line that is not name=value");
		if (!span_eq(span_trim(name), SPAN("action")))
			return bad(why, "an attribute other than action");
		if (have)
			return bad(why, "more than one action");
		have = true;
		*action_r = span_trim(value);
	}
	return bytes.n >= POLICYD_REPLY_MAX ? bad(why, "the reply is too long") : POLICYD_MORE;
}
