/* Lines of the SMTP server. */
#include "log/lines_smtpd.h"

#include <stdio.h>
#include <time.h>

#include "base/buf.h"

#define LINE_MAX_BYTES 3500u

void
log_smtpd_connect(const struct log *l, struct span namaddr)
{
	log_info(l, "connect from %.*s", SPAN_ARG(log_esc(namaddr)));
}

static void
add_count(struct buf *b, const char *name, unsigned ok, unsigned total)
{
	buf_addf(b, " %s=%u", name, ok);
	if (ok != total || total == 0)
		buf_addf(b, "/%u", total);
}

void
log_smtpd_disconnect(const struct log *l, struct span namaddr, const struct log_smtpd_count *counts, size_t n,
    const char *notes)
{
	unsigned ok = 0, total = 0;
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	for (size_t i = 0; i < n; i++) {
		if (counts[i].total > 0)
			add_count(&b, counts[i].name, counts[i].ok, counts[i].total);
		ok += counts[i].ok;
		total += counts[i].total;
	}
	add_count(&b, "commands", ok, total);
	if (notes[0] != '\0')
		buf_addf(&b, " notes=%s", notes);
	log_info(l, "disconnect from %.*s%s", SPAN_ARG(log_esc(namaddr)), buf_cstr(&b));
	buf_release(&b);
}

void
log_smtpd_ended(const struct log *l, const char *how, const char *where, struct span namaddr)
{
	log_info(l, "%s after %s from %.*s", how, where, SPAN_ARG(log_esc(namaddr)));
}

static void
add_named(struct buf *b, const char *name, struct span value)
{
	if (value.n > 0)
		buf_addf(b, ", %s=%.*s", name, SPAN_ARG(log_esc(value)));
}

void
log_smtpd_client(const struct log *l, const struct log_smtpd_client *c)
{
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	buf_addf(&b, "client=%.*s", SPAN_ARG(log_esc(c->namaddr)));
	add_named(&b, "orig_queue_id", c->orig_queue_id);
	add_named(&b, "orig_client", c->orig_client);
	add_named(&b, "sasl_method", c->sasl_method);
	add_named(&b, "sasl_username", c->sasl_username);
	add_named(&b, "sasl_sender", c->sasl_sender);
	log_info(l, "%s", buf_cstr(&b));
	buf_release(&b);
}

void
log_smtpd_sasl_failed(const struct log *l, struct span namaddr, struct span mech, struct span reason, struct span user)
{
	char method[32];
	size_t n = 0;

	for (; n < mech.n && n < sizeof(method); n++)
		method[n] = ascii_upper(mech.p[n]);
	log_warning(l, "%.*s: SASL %.*s authentication failed: %.*s, sasl_username=%.*s", SPAN_ARG(log_esc(namaddr)),
	    SPAN_ARG(log_esc(span_of(method, n))), SPAN_ARG(log_esc(span_slice(reason, 0, 200))),
	    SPAN_ARG(user.n > 0 ? log_esc(span_slice(user, 0, 200)) : SPAN("(unavailable)")));
}

void
log_smtpd_sasl_aborted(const struct log *l, struct span namaddr, struct span how)
{
	log_info(l, "%.*s: SASL authentication aborted: %.*s", SPAN_ARG(log_esc(namaddr)), SPAN_ARG(log_esc(how)));
}

void
log_smtpd_pickup(const struct log *l, unsigned long uid, struct span sender)
{
	log_info(l, "uid=%lu from=<%.*s>", uid, SPAN_ARG(log_esc(sender)));
}

void
log_smtpd_action(const struct log *l, const char *action, const char *where, struct span namaddr, struct span text,
    const struct log_smtpd_env *env)
{
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	buf_addf(&b, "%s: %s from %.*s: %.*s;", action, where, SPAN_ARG(log_esc(namaddr)), SPAN_ARG(log_esc(text)));
	if (env->have_sender)
		buf_addf(&b, " from=<%.*s>", SPAN_ARG(log_esc(env->sender)));
	if (env->have_recipient)
		buf_addf(&b, " to=<%.*s>", SPAN_ARG(log_esc(env->recipient)));
	if (env->proto.n > 0)
		buf_addf(&b, " proto=%.*s", SPAN_ARG(env->proto));
	if (env->helo.n > 0)
		buf_addf(&b, " helo=<%.*s>", SPAN_ARG(log_esc(env->helo)));
	log_info(l, "%s", buf_cstr(&b));
	buf_release(&b);
}

/* C escapes, as Postfix shows input that is not even a command. */
static void
add_escaped(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '\r')
			buf_add_str(b, "\\r");
		else if (c == '\n')
			buf_add_str(b, "\\n");
		else if (c == '\t')
			buf_add_str(b, "\\t");
		else if (c == '\\')
			buf_add_str(b, "\\\\");
		else if (c < 32 || c > 126)
			buf_addf(b, "\\%03o", c);
		else
			buf_addc(b, (char)c);
	}
}

void
log_smtpd_pipelining(const struct log *l, const char *where, struct span namaddr, struct span input)
{
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	add_escaped(&b, span_slice(input, 0, 100));
	log_info(l, "improper command pipelining after %s from %.*s: %s", where, SPAN_ARG(log_esc(namaddr)), buf_cstr(&b));
	buf_release(&b);
}

void
log_smtpd_not_smtp(const struct log *l, struct span namaddr, struct span line)
{
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	add_escaped(&b, span_slice(line, 0, 100));
	log_warning(l, "non-SMTP command from %.*s: %s", SPAN_ARG(log_esc(namaddr)), buf_cstr(&b));
	buf_release(&b);
}

void
log_smtpd_improper_x(const struct log *l, bool xclient, struct span namaddr, struct span why)
{
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	if (why.n > 0)
		add_escaped(&b, span_slice(why, 0, 200));
	else
		buf_addf(&b, "insufficient authorization: smtpd_authorized_%s_hosts does not list it", xclient ? "xclient" : "xforward");
	log_warning(l, "improper %s command from %.*s: %s", xclient ? "XCLIENT" : "XFORWARD", SPAN_ARG(log_esc(namaddr)), buf_cstr(&b));
	buf_release(&b);
}

void
log_smtpd_discarding(const struct log *l, struct span keywords)
{
	log_info(l, "discarding EHLO keywords: %.*s", SPAN_ARG(keywords));
}

void
log_smtpd_limit(const struct log *l, const char *what, unsigned count, struct span namaddr, const char *service)
{
	log_warning(l, "%s limit exceeded: %u from %.*s for service %s", what, count, SPAN_ARG(log_esc(namaddr)), service);
}

void
log_smtpd_forged(const struct log *l, struct span name, struct span addr, struct span why)
{
	log_warning(l, "hostname %.*s does not resolve to address %.*s%s%.*s", SPAN_ARG(log_esc(name)), SPAN_ARG(addr),
	    why.n > 0 ? ": " : "", SPAN_ARG(log_esc(why)));
}

void
log_smtpd_wrapper_dropped(const struct log *l, struct span namaddr, const char *service)
{
	log_warning(l, "Wrapper-mode request dropped from %.*s for service %s. TLS context initialization failed. "
	    "For details see earlier warnings in your logs.", SPAN_ARG(log_esc(namaddr)), service);
}

void
log_smtpd_canceled(const struct log *l)
{
	log_info(l, "removed (canceled)");
}

void
log_smtpd_statistics(const struct log *l, const char *what, unsigned value, const char *unit, const char *service,
    struct span addr, int64_t wall_us)
{
	time_t when = (time_t)(wall_us / 1000000);
	struct tm tm;
	char date[32];

	localtime_r(&when, &tm);
	strftime(date, sizeof(date), "%b %e %H:%M:%S", &tm);
	log_info(l, "statistics: max %s %u%s for (%s:%.*s) at %s", what, value, unit, service, SPAN_ARG(addr), date);
}
