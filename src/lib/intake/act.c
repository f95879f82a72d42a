/* What checks do to a message, and how the verdict is made. */
#include <stdio.h>

#include "conf/params.h"
#include "intake/intake_private.h"
#include "log/lines_cleanup.h"
#include "mail/address.h"
#include "maps/maps.h"

/* One message asks for no more copies than that. */
#define BCC_MAX 1000

void
intake_decide(struct intake *i, enum intake_action action, const char *reply_format, ...)
{
	char text[1024];
	va_list ap;

	if (i->decided)
		return;
	va_start(ap, reply_format);
	vsnprintf(text, sizeof(text), reply_format, ap);
	va_end(ap);
	i->decided = true;
	i->action = action;
	i->reply = arena_dup(i->in.arena, span_str(text));
}

void
intake_decide_fault(struct intake *i, const struct fault *why)
{
	intake_decide(i, INTAKE_REJECT, "451 %s Error: %s", why->dsn[0] != '\0' ? why->dsn : "4.3.0",
	    "temporary lookup failure");
}

static void
log_event(struct intake *i, const char *action, const char *what, struct span content, struct span text)
{
	const struct envelope *e = i->in.env;
	struct log_cleanup_check ev = { .action = action, .what = what, .content = content,
		.origin = i->in.origin, .have_sender = true,
		.sender = address_external(e->sender, i->scratch), .protocol = e->client_protocol,
		.helo = e->client_helo, .text = text };

	if (e->rcpt_count > 0)
		ev.recipient = address_external(e->rcpts[e->rcpt_count - 1].addr, i->scratch);
	log_cleanup_check(&i->log, &ev);
}

void
intake_mime_error(struct intake *i, const char *text, struct span content)
{
	if (i->decided)
		return;
	log_event(i, "reject", arena_cstr(i->scratch, arena_printf(i->scratch, "mime-error %s:", text)), content,
	    SPAN(""));
	intake_decide(i, INTAKE_REJECT, "550 5.6.0 %s", text);
}

enum intake_result
intake_check_find(struct intake *i, struct maps *maps, struct span text, bool header,
    struct check *check_r)
{
	struct fault why = { 0 };
	struct map_hit hit = { 0 };

	*check_r = (struct check){ .action = CHECK_DUNNO };
	if (i->checks_off || i->decided || maps_empty(maps))
		return INTAKE_OK;
	switch (maps_find(maps, text, i->in.asks, i->scratch, &hit, &why)) {
	case MAP_WAIT:
		return INTAKE_WAIT;
	case MAP_ABSENT:
		return INTAKE_OK;
	case MAP_DEFER:
		log_cleanup_warning(&i->log, "%s checks map lookup problem -- message not accepted, try again later: %s",
		    header ? "header" : "body", why.text);
		intake_decide_fault(i, &why);
		return INTAKE_OK;
	case MAP_FOUND:
		break;
	}
	if (check_parse(hit.value, header, check_r, &why))
		return INTAKE_OK;
	log_cleanup_warning(&i->log, "%.*s: %s -- message not accepted, try again later", SPAN_ARG(hit.table), why.text);
	intake_decide(i, INTAKE_REJECT, "451 4.3.5 Error: server configuration error");
	return INTAKE_OK;
}

/* "5.7.1 text" with the default in front when the text brings no code. */
static struct span
with_code(struct span text, struct arena *a)
{
	if (text.n > 5 && (text.p[0] == '4' || text.p[0] == '5') && text.p[1] == '.' &&
	    ascii_isdigit(text.p[2]) && span_index(span_slice(text, 3, 7), '.') >= 0)
		return text;
	return arena_printf(a, "5.7.1 %.*s", SPAN_ARG(text));
}

static struct span
reject(struct intake *i, struct span text)
{
	struct span reply;

	if (text.n == 0) {
		intake_decide(i, INTAKE_REJECT, "550 5.7.1 message content rejected");
		return SPAN("5.7.1 message content rejected");
	}
	reply = with_code(text, i->scratch);
	intake_decide(i, INTAKE_REJECT, "%s %.*s", reply.p[0] == '4' ? "451" : "550", SPAN_ARG(reply));
	return reply;
}

static void
add_bcc(struct intake *i, struct span addr)
{
	struct span *list;

	addr = address_internal(addr, i->in.arena);
	for (size_t k = 0; k < i->bcc_count; k++)
		if (address_same(i->bcc[k], addr))
			return;
	if (i->bcc_count == BCC_MAX)
		return;
	if (i->bcc_count % 16 == 0) {
		list = ARENA_ARRAY(i->in.arena, struct span, i->bcc_count + 16);
		if (i->bcc_count > 0)
			memcpy(list, i->bcc, i->bcc_count * sizeof(*list));
		i->bcc = list;
	}
	i->bcc[i->bcc_count++] = addr;
}

/* Repeated FILTER and REDIRECT replace each other; only changes take memory. */
static void
set_span(struct intake *i, struct span *s, struct span value)
{
	if (!span_eq(*s, value))
		*s = arena_dup(i->in.arena, value);
}

void
intake_check_act(struct intake *i, const struct check *c, bool header, struct span text)
{
	struct span said = c->text;

	switch (c->action) {
	case CHECK_DUNNO:
	case CHECK_IGNORE:
		return;
	case CHECK_REJECT:
		said = reject(i, c->text);
		break;
	case CHECK_DISCARD:
		intake_decide(i, INTAKE_DISCARD, "250 2.0.0 Ok");
		break;
	case CHECK_BCC:
		add_bcc(i, c->text);
		break;
	case CHECK_FILTER:
		set_span(i, &i->filter, c->text);
		break;
	case CHECK_REDIRECT:
		set_span(i, &i->redirect, address_internal(c->text, i->scratch));
		break;
	case CHECK_HOLD:
		i->hold = true;
		break;
	case CHECK_PASS:
		i->checks_off = true;
		break;
	case CHECK_INFO:
	case CHECK_WARN:
	case CHECK_PREPEND:
	case CHECK_REPLACE:
	case CHECK_STRIP:
		break;
	}
	log_event(i, check_word(c->action), header ? "header" : "body", text, said);
}
