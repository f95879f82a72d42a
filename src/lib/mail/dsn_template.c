/* Texts of notices. */
#include "mail/dsn_template.h"

#include "mail/header.h"

#define INTRO \
	"This is the mail system at host $myhostname.\n\n"
#define FROM { "MAILER-DAEMON (Mail Delivery System)", 36 }
#define ASCII { "us-ascii", 8 }
#define TEXT(lit) { lit, sizeof(lit) - 1 }

static const struct dsn_templates ours = {
	.failure = { ASCII, FROM, TEXT("Undelivered Mail Returned to Sender"),
		TEXT("Postmaster Copy: Undelivered Mail"),
		TEXT(INTRO "Your message could not be delivered to the recipients listed below. What is\n"
		"known of it comes back with this report.\n\n"
		"If you need help, write to postmaster at this host and include this report; your\n"
		"own text you may leave out.\n\n"
		"                   The mail system\n") },
	.delay = { ASCII, FROM, TEXT("Delayed Mail (still being retried)"),
		TEXT("Postmaster Warning: Delayed Mail"),
		TEXT(INTRO "YOU NEED NOT DO ANYTHING AND NEED NOT SEND THE MESSAGE AGAIN.\n\n"
		"Your message has not reached the recipients listed below for more than\n"
		"$delay_warning_time_hours hour(s). Delivery will be tried until it is\n"
		"$maximal_queue_lifetime_days day(s) old.\n\n"
		"                   The mail system\n") },
	.success = { ASCII, FROM, TEXT("Successful Mail Delivery Report"), TEXT(""),
		TEXT(INTRO "Your message was handed on for the recipients listed below. If it reached a\n"
		"mailbox, that is all; if it went to another mail system, you may hear of it later\n"
		"from there.\n\n"
		"                   The mail system\n") },
	.verify = { ASCII, FROM, TEXT("Mail Delivery Status Report"), TEXT(""),
		TEXT(INTRO "Here is the delivery status report that you asked for.\n\n"
		"                   The mail system\n") },
};

const struct dsn_templates *
dsn_templates_default(void)
{
	return &ours;
}

/* --- reading a file --- */

static bool
next_line(struct span *rest, struct span *line_r)
{
	if (rest->n == 0)
		return false;
	span_cut(*rest, '\n', line_r, rest);
	return true;
}

static bool
set_header(struct dsn_template *t, struct span line, struct arena *a)
{
	struct span name, value, *slot;

	if (!header_split(line, &name, &value))
		return false;
	if (span_eq_ci(name, SPAN("Charset")))
		slot = &t->charset;
	else if (span_eq_ci(name, SPAN("From")))
		slot = &t->from;
	else if (span_eq_ci(name, SPAN("Subject")))
		slot = &t->subject;
	else if (span_eq_ci(name, SPAN("Postmaster-Subject")))
		slot = &t->postmaster_subject;
	else
		return false;
	*slot = arena_dup(a, value);
	return true;
}

/* Headers, a blank line, text: `text` is what stood between the marks. */
static bool
parse_template(struct dsn_template *t, struct span text, struct arena *a, struct fault *why)
{
	struct span line;

	while (next_line(&text, &line)) {
		line = span_trim(line);
		if (line.n == 0)
			break;
		if (!set_header(t, line, a))
			return fault_set(why, "4.3.5", "bad template header \"%.*s\"", SPAN_ARG(line));
	}
	if (text.n == 0)
		return fault_set(why, "4.3.5", "template without text");
	if (!span_is_ascii(text) && span_eq_ci(t->charset, SPAN("us-ascii")))
		return fault_set(why, "4.3.5", "template text is not us-ascii: set Charset");
	t->body = arena_dup(a, text);
	return true;
}

static struct dsn_template *
template_named(struct dsn_templates *t, struct span name)
{
	if (span_eq(name, SPAN("failure_template")))
		return &t->failure;
	if (span_eq(name, SPAN("delay_template")))
		return &t->delay;
	if (span_eq(name, SPAN("success_template")))
		return &t->success;
	return span_eq(name, SPAN("verify_template")) ? &t->verify : NULL;
}

/* From behind the "<<END" line up to the line END; false when it never comes. */
static bool
here_document(struct span *rest, struct span end, struct span *text_r)
{
	struct span begin = *rest, line;

	while (next_line(rest, &line)) {
		if (!span_eq(span_trim(line), end))
			continue;
		*text_r = span_slice(begin, 0, (size_t)(line.p - begin.p));
		return true;
	}
	return false;
}

static bool
parse_assignment(struct span line, struct span *rest, struct arena *a, struct dsn_templates *t_r,
    struct fault *why)
{
	struct span name, value, text;
	struct dsn_template *t;

	span_cut(line, '=', &name, &value);
	name = span_trim(name);
	value = span_trim(value);
	t = template_named(t_r, name);
	if (t == NULL)
		return fault_set(why, "4.3.5", "unknown template name \"%.*s\"", SPAN_ARG(name));
	if (!span_starts(value, SPAN("<<")) || span_trim(span_from(value, 2)).n == 0)
		return fault_set(why, "4.3.5", "%.*s: \"<<MARK\" expected", SPAN_ARG(name));
	value = span_trim(span_from(value, 2));
	if (!here_document(rest, value, &text))
		return fault_set(why, "4.3.5", "%.*s: no \"%.*s\" line", SPAN_ARG(name), SPAN_ARG(value));
	if (parse_template(t, text, a, why))
		return true;
	fault_prefix(why, "%.*s: ", SPAN_ARG(name));
	return false;
}

bool
dsn_templates_parse(struct span text, struct arena *a, struct dsn_templates *t_r, struct fault *why)
{
	struct span line;

	*t_r = ours;
	while (next_line(&text, &line)) {
		line = span_trim(line);
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (!parse_assignment(line, &text, a, t_r, why))
			return false;
	}
	return true;
}

/* --- expanding --- */

/* The name behind a '$' at the front of `s`; how long the whole of it is, 0 when there is none. */
static size_t
name_at(struct span s, struct span *name_r)
{
	size_t open = s.n > 1 && (s.p[1] == '{' || s.p[1] == '(') ? 1 : 0, n = 1 + open;

	while (n < s.n && (ascii_isalnum(s.p[n]) || s.p[n] == '_'))
		n++;
	*name_r = span_slice(s, 1 + open, n);
	if (name_r->n == 0)
		return 0;
	if (open == 0)
		return n;
	return n < s.n && s.p[n] == (s.p[1] == '{' ? '}' : ')') ? n + 1 : 0;
}

static size_t
expand_dollar(struct span s, dsn_value_fn *fn, void *ctx, struct arena *a, struct buf *out)
{
	struct span name, value;
	size_t n;

	if (s.n > 1 && s.p[1] == '$') {
		buf_addc(out, '$');
		return 2;
	}
	n = name_at(s, &name);
	if (n > 0 && fn(ctx, name, a, &value)) {
		buf_add_span(out, value);
		return n;
	}
	buf_addc(out, '$');
	return 1;
}

void
dsn_template_expand(struct span body, dsn_value_fn *fn, void *ctx, struct arena *a, struct buf *out)
{
	size_t i = 0;

	while (i < body.n) {
		char c = body.p[i];

		if (c == '$') {
			i += expand_dollar(span_from(body, i), fn, ctx, a, out);
			continue;
		}
		if (c == '\n')
			buf_addc(out, '\r');
		if (c != '\r')
			buf_addc(out, c);
		i++;
	}
}
