/* AUTH (RFC 4954): the command, the lines of the exchange, and what must not be left behind of them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "sasl/mech.h"
#include "smtp/server_private.h"

/* Only what lives in memory of ours: commands and copies, never literals (they are empty). */
static void
wipe(struct span s)
{
	if (s.n > 0)
		explicit_bzero((void *)(uintptr_t)s.p, s.n);
}

void
smtps_set_auth(struct smtps *s, const struct smtps_auth *a)
{
	char *mechs = strndup(a->mechs.n > 0 ? a->mechs.p : "", a->mechs.n);

	ensure(mechs != NULL);
	free((char *)(uintptr_t)s->auth.mechs.p);
	s->auth = *a;
	s->auth.mechs = span_str(mechs);
}

struct span
smtps_auth_mechs(const struct smtps *s)
{
	return s->auth.enabled ? s->auth.mechs : SPAN("");
}

void
smtps_set_authenticated(struct smtps *s, bool yes)
{
	s->authenticated = yes;
}

bool
smtps_authenticated(const struct smtps *s)
{
	return s->authenticated;
}

/* Why this client cannot log in now, or NULL. */
static const char *
auth_refusal(const struct smtps *s)
{
	if (s->helo == NULL)
		return "503 5.5.1 Error: send HELO/EHLO first";
	if (!s->auth.enabled || (s->client.discard & SMTPS_KW_AUTH))
		return "503 5.5.1 Error: authentication not enabled";
	if (s->tx != NULL)
		return "503 5.5.1 Error: MAIL transaction in progress";
	if (s->auth.tls_only && !s->tls)
		return "504 5.5.4 Encryption required for requested authentication mechanism";
	if (s->authenticated)
		return "503 5.5.1 Error: already authenticated";
	return NULL;
}

/* "AUTH mechanism [initial-response]"; "=" is an empty one (section 4). */
void
smtps_auth_start(struct smtps *s, struct smtps_cmd *c)
{
	const char *refusal = auth_refusal(s);
	struct span rest = c->args, junk;

	if (refusal != NULL) {
		smtps_say(s, c, "%s", refusal);
		return;
	}
	if (!span_token(&rest, " \t", &c->auth_mech) || !sasl_mech_name_valid(c->auth_mech)) {
		smtps_say(s, c, "501 5.5.4 Syntax: AUTH mechanism");
		return;
	}
	c->auth_initial = span_token(&rest, " \t", &c->auth_text);
	if (span_token(&rest, " \t", &junk)) {
		smtps_say(s, c, "501 5.5.4 Syntax: AUTH mechanism");
		return;
	}
	if (c->auth_initial && span_eq(c->auth_text, SPAN("=")))
		c->auth_text = SPAN("");
	if (!sasl_base64_valid(c->auth_text))
		smtps_say(s, c, "501 5.5.2 Error: the initial response is not base64");
	else
		smtps_ask(s, c, SMTPS_ASK_AUTH);
}

void
smtps_auth_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text)
{
	(void)text;
	if (!accepted)
		return;
	s->authenticated = true;
	smtps_say(s, c, "235 2.7.0 Authentication successful");
}

void
smtps_challenge(struct smtps *s, uint32_t id, struct span text, int64_t now_us)
{
	LIST_EACH(node, &s->cmds) {
		struct smtps_cmd *c = LIST_ITEM(node, struct smtps_cmd, node);

		if (id == 0 || c->id != id)
			continue;
		ensure(c->row->flags & CMD_SECRET);
		c->id = 0;
		smtps_show(s, c);
		transcript_add(&s->transcript, "Out:", SPAN("334 (withheld)"));
		transcript_add(&s->transcript, "In: ", SPAN("(withheld)"));
		buf_addf(&s->out, "334 ");
		buf_add_span(&s->out, text);
		buf_add_str(&s->out, "\r\n");
		s->rx = RX_AUTH;
		s->scanned = 0;
		/* So that no half of a password stays where the buffer was before it grew. */
		buf_space(&s->in, s->conf->auth_line_limit + 2);
		smtps_tick(s, now_us);
		return;
	}
}

/* --- the response --- */

/* It ended here, by the client or by us. */
static void
end_exchange(struct smtps *s, struct smtps_cmd *c, const char *how, const char *reply)
{
	s->rx = RX_LINES;
	smtps_tell(s, SMTPS_TELL_AUTH_END, SMTPS_WHY_CLIENT, span_str(how));
	smtps_say(s, c, "%s", reply);
	c->notice = 0;
}

static void
forget_text(struct smtps_cmd *c)
{
	wipe(c->auth_text);
	free(c->auth_copy);
	c->auth_copy = NULL;
	c->auth_text = SPAN("");
}

/* Not into the arena: it has room for a command, not for any number of long responses. */
static void
keep_response(struct smtps_cmd *c, struct span line)
{
	forget_text(c);
	c->auth_copy = malloc(line.n + 1);
	ensure(c->auth_copy != NULL);
	memcpy(c->auth_copy, line.p, line.n);
	c->auth_text = span_of(c->auth_copy, line.n);
}

static void
take_response(struct smtps *s, struct smtps_cmd *c, struct span line, bool bare_lf)
{
	line = span_trim(line);
	if (bare_lf && s->client.bare_lf == SMTPS_BARE_LF_REJECT) {
		end_exchange(s, c, "bare <LF> received", "501 5.5.2 Error: bare <LF> received");
		smtps_bare_lf_refuse(s, c);
	} else if (s->skip_auth || line.n > s->conf->auth_line_limit) {
		end_exchange(s, c, "SASL response limit exceeded", "500 5.5.6 Error: the response is too long");
	} else if (span_eq(line, SPAN("*"))) {
		end_exchange(s, c, "aborted by the client", "501 5.7.0 Authentication aborted");
	} else if (!sasl_base64_valid(line)) {
		end_exchange(s, c, "response is not base64", "501 5.5.2 Error: the response is not base64");
	} else {
		s->rx = RX_LINES;
		keep_response(c, line);
		smtps_ask(s, c, SMTPS_ASK_AUTH_RESPONSE);
	}
	s->skip_auth = false;
}

/* More than any response may have, and no end of it. */
static void
skip_what_is_too_long(struct smtps *s)
{
	if (s->view.n <= s->conf->auth_line_limit + 1)
		return;
	s->skip_auth = true;
	s->view = SPAN("");
	s->wipe = true;
}

bool
smtps_auth_step(struct smtps *s)
{
	struct smtps_cmd *c = LIST_ITEM(s->cmds.next, struct smtps_cmd, node);
	bool bare_lf;
	ptrdiff_t lf;

	if (s->rx != RX_AUTH || s->view.n == 0)
		return false;
	lf = span_index(s->view, '\n');
	if (lf < 0) {
		skip_what_is_too_long(s);
		return false;
	}
	bare_lf = lf == 0 || s->view.p[lf - 1] != '\r';
	s->saw_bare_lf |= bare_lf;
	s->wipe = true;
	take_response(s, c, span_slice(s->view, 0, (size_t)lf), bare_lf);
	s->view = span_from(s->view, (size_t)lf + 1);
	return true;
}

void
smtps_auth_drop(struct smtps *s, struct smtps_cmd *c)
{
	if (s->rx == RX_AUTH)
		s->rx = RX_LINES;
	forget_text(c);
	wipe(c->line);
}

/* --- what may be shown --- */

struct span
smtps_auth_redact(struct span input, bool all, char out[128])
{
	ptrdiff_t at = span_find_ci(input, SPAN("AUTH "));

	if (all)
		return SPAN("(withheld)");
	if (at < 0)
		return input;
	snprintf(out, 128, "%.*sAUTH (withheld)", (int)at, input.p);
	return span_str(out);
}
