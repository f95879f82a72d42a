/*
 * What the administrator makes of lines (smtpd_command_filter, smtpd_reject_filter_maps, smtpd_reject_footer, smtpd_reject_footer_maps).
 * The engine asks in the middle of a line, so these tables are of types that answer at once: maps/conf_check.c refuses others.
 */
#include <time.h>

#include "base/clock.h"
#include "base/panic.h"
#include "role/smtpd/smtpd.h"

static enum map_result
look_up(struct session *s, struct maps *m, const char *name, struct span key, struct arena *a, struct span *value_r)
{
	struct map_hit hit;
	struct fault why = { 0 };
	enum map_result got = maps_find(m, key, NULL, a, &hit, &why);

	if (got == MAP_WAIT)
		panic("%s: a table that waits", name);
	if (got == MAP_DEFER)
		log_warning(&s->log, "%s: %s", name, why.text);
	if (got == MAP_FOUND)
		*value_r = hit.value;
	return got;
}

static enum smtps_edit_result
edit_command(void *session, struct span line, struct arena *a, struct span *line_r)
{
	struct session *s = session;

	switch (look_up(s, s->svc->command_filter, "smtpd_command_filter", line, a, line_r)) {
	case MAP_FOUND:
		return SMTPS_EDIT_DONE;
	case MAP_ABSENT:
		return SMTPS_EDIT_NONE;
	case MAP_DEFER:
	case MAP_WAIT:
		break;
	}
	return SMTPS_EDIT_FAILED;
}

static bool
is_reply(struct span value)
{
	uint64_t code;

	return value.n >= 5 && value.p[3] == ' ' && span_u64(span_slice(value, 0, 3), 599, &code) && code >= 400;
}

/* Without its table nobody knows whether this refusal should be for good: then it is for now. */
static bool
edit_reply(void *session, struct span reply, struct arena *a, struct span *reply_r)
{
	struct session *s = session;
	enum map_result got = look_up(s, s->svc->reject_filter, "smtpd_reject_filter_maps", reply, a, reply_r);

	if (got == MAP_FOUND && !is_reply(*reply_r)) {
		log_warning(&s->log, "smtpd_reject_filter_maps: \"%.*s\" for \"%.*s\" is not a reply such as \"450 4.7.1 text\": it is not used",
		    SPAN_ARG(log_esc(span_slice(*reply_r, 0, 200))), SPAN_ARG(log_esc(span_slice(reply, 0, 200))));
		return false;
	}
	if (got != MAP_DEFER)
		return got == MAP_FOUND;
	*reply_r = SPAN("451 4.3.0 Error: temporary lookup failure");
	return reply.p[0] == '5' && !span_starts(reply, SPAN("521"));
}

/* --- the footer --- */

static struct span
local_time(struct arena *a)
{
	time_t now = (time_t)(clock_wall_us() / 1000000);
	char text[64];
	struct tm tm;
	size_t n;

	localtime_r(&now, &tm);
	n = strftime(text, sizeof(text), "%b %d %H:%M:%S", &tm);
	return arena_dup(a, span_of(text, n));
}

/* The value of $name; false when there is none of this name. */
static bool
attribute(const struct session *s, struct span name, struct arena *a, struct span *value_r)
{
	if (span_eq(name, SPAN("client_address")))
		*value_r = s->facts.addr;
	else if (span_eq(name, SPAN("client_port")))
		*value_r = s->port;
	else if (span_eq(name, SPAN("server_name")))
		*value_r = span_str(s->p->myhostname);
	else if (span_eq(name, SPAN("localtime")))
		*value_r = local_time(a);
	else
		return false;
	return true;
}

/* $name, ${name}, $(name): how long it is from the '$', 0 = it is none. */
static size_t
reference(struct span text, struct span *name_r)
{
	char close = text.n < 2 ? '\0' : text.p[1] == '{' ? '}' : text.p[1] == '(' ? ')' : '\0';
	size_t start = close != '\0' ? 2 : 1, end = start;

	while (end < text.n && (ascii_isalnum(text.p[end]) || text.p[end] == '_'))
		end++;
	*name_r = span_slice(text, start, end);
	if (close == '\0')
		return name_r->n > 0 ? end : 0;
	return end < text.n && text.p[end] == close ? end + 1 : 0;
}

static struct span
expand(const struct session *s, struct span text, struct arena *a)
{
	struct buf out;
	struct span name, value, done;

	buf_init(&out, 8192);
	while (text.n > 0) {
		size_t n = text.p[0] == '$' ? reference(text, &name) : 0;

		if (span_starts(text, SPAN("$$"))) {
			buf_addc(&out, '$');
			n = 2;
		} else if (n > 0 && attribute(s, name, a, &value)) {
			buf_add_span(&out, value);
		} else {
			n = n > 0 ? n : 1;
			buf_add(&out, text.p, n);
		}
		text = span_from(text, n);
	}
	done = arena_dup(a, buf_span(&out));
	buf_release(&out);
	return done;
}

static struct span
edit_footer(void *session, struct span reply, struct arena *a)
{
	struct session *s = session;
	struct span text = span_str(s->p->smtpd_reject_footer);

	look_up(s, s->svc->footer_maps, "smtpd_reject_footer_maps", reply, a, &text);
	return expand(s, text, a);
}

/* --- opening --- */

bool
edit_service_open(struct service *svc, const struct maps_env *env, struct fault *why)
{
	const struct params *p = svc->p;

	return svc->local || (maps_open(span_str(p->smtpd_command_filter), 0, env, &svc->command_filter, why) &&
	    maps_open(span_str(p->smtpd_reject_filter_maps), 0, env, &svc->reject_filter, why) &&
	    maps_open(span_str(p->smtpd_reject_footer_maps), 0, env, &svc->footer_maps, why));
}

void
edit_service_close(struct service *svc)
{
	maps_unref(&svc->command_filter);
	maps_unref(&svc->reject_filter);
	maps_unref(&svc->footer_maps);
}

void
edit_begin(struct session *s)
{
	const struct service *svc = s->svc;
	struct smtps_edit e = { .ctx = s };

	if (!maps_empty(svc->command_filter))
		e.command = edit_command;
	if (!maps_empty(svc->reject_filter))
		e.reply = edit_reply;
	if (!svc->local && (!maps_empty(svc->footer_maps) || s->p->smtpd_reject_footer[0] != '\0'))
		e.footer = edit_footer;
	smtps_set_edit(s->engine, &e);
}
