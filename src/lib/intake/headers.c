/* Headers on their way in: checked, rewritten, counted, completed. */
#include "base/panic.h"
#include "conf/params.h"
#include "intake/intake_private.h"
#include "log/lines_cleanup.h"
#include "mail/address.h"
#include "mail/date.h"
#include "mail/header.h"
#include "maps/maps.h"

/* A logical header in work; spans in scratch or in i->header. */
struct work {
	struct intake *i;
	struct span header;             /* wire form, with its last CRLF */
	struct span text;               /* as the checks saw it */
	struct span name, value;
	unsigned flags;
	enum mime_where where;
	struct check check;
	/* rewriting */
	struct rewrite rewrite;
	enum intake_class class;
	const char *origin;
	enum map_result result;
	struct fault why;
};

static struct maps *
checks_for(const struct work *w)
{
	const struct intake_conf *c = w->i->in.conf;

	switch (w->where) {
	case MIME_PRIMARY:
		return w->flags & HEADER_MIME ? c->mime_header_checks : c->header_checks;
	case MIME_PART:
		return c->mime_header_checks;
	case MIME_NESTED:
		return w->flags & HEADER_MIME ? c->mime_header_checks : c->nested_header_checks;
	case MIME_BODY:
		break;
	}
	panic("header in the body");
}

static void
parse(struct work *w)
{
	w->flags = 0;
	if (header_split(w->header, &w->name, &w->value))
		w->flags = header_flags(w->name);
	if (span_starts_ci(w->name, SPAN("Content-")))
		w->flags |= HEADER_MIME;
}

/* --- rewriting --- */

static bool
rewrite_one(void *ctx, struct span addr, struct span *new_r)
{
	struct work *w = ctx;
	enum map_result res;

	if (w->result == MAP_DEFER)
		return false;
	if (arena_bytes(w->i->scratch) > INTAKE_SCRATCH_BUDGET) {
		w->result = MAP_DEFER;
		return fault_set(&w->why, "4.3.0", "header takes too much memory");
	}
	res = rewrite_address(&w->rewrite, w->class, w->origin, addr, new_r);
	if (res != MAP_FOUND)           /* a wait goes on, so that all questions are asked at once */
		w->result = res;
	return res == MAP_FOUND;
}

/* Which headers are rewritten, for whom (local_header_rewrite_clients, remote_header_rewrite_domain). */
static bool
wants_rewriting(struct work *w)
{
	const struct intake *i = w->i;
	const char *remote = i->in.conf->p->remote_header_rewrite_domain;

	if (w->where != MIME_PRIMARY || !(w->flags & (HEADER_SENDER | HEADER_RECIPIENT)) || i->in.internal ||
	    i->in_own || i->decided)
		return false;
	w->class = w->flags & HEADER_SENDER ? INTAKE_HEADER_SENDER : INTAKE_HEADER_RECIPIENT;
	w->origin = i->in.rewrite_headers ? NULL : remote;
	return i->in.rewrite_headers || remote[0] != '\0';
}

static enum intake_result
rewrite(struct work *w)
{
	struct intake *i = w->i;
	size_t limit = (size_t)i->in.conf->p->header_address_token_limit;
	struct buf out;

	if (!wants_rewriting(w))
		return INTAKE_OK;
	w->result = MAP_FOUND;
	w->rewrite = (struct rewrite){ .conf = i->in.conf, .asks = i->in.asks, .arena = i->scratch,
		.log = &i->log, .why = &w->why, .no_mappings = i->in.no_mappings };
	buf_init(&out, (size_t)16 << 20);
	header_rewrite_addresses(w->value, limit, rewrite_one, w, i->scratch, &out);
	if (w->result == MAP_FOUND && !span_eq(buf_span(&out), w->value))
		w->header = arena_printf(i->scratch, "%.*s: %.*s\r\n", SPAN_ARG(w->name),
		    SPAN_ARG(buf_span(&out)));
	buf_release(&out);
	if (w->result == MAP_DEFER)
		intake_decide_fault(i, &w->why);
	return w->result == MAP_WAIT ? INTAKE_WAIT : INTAKE_OK;
}

/* --- what primary headers tell --- */

static const struct {
	const char *name;
	unsigned bit;
} seen_rows[] = {
	{ "From", INTAKE_SEEN_FROM },
	{ "Date", INTAKE_SEEN_DATE },
	{ "Message-ID", INTAKE_SEEN_MESSAGE_ID },
	{ "To", INTAKE_SEEN_RCPT },
	{ "Cc", INTAKE_SEEN_RCPT },
	{ "Resent-From", INTAKE_SEEN_RESENT_FROM },
	{ "Resent-Date", INTAKE_SEEN_RESENT_DATE },
	{ "Resent-Message-ID", INTAKE_SEEN_RESENT_MESSAGE_ID },
};

static void
note_message_id(struct work *w, bool resent)
{
	struct envelope *e = w->i->in.env;
	struct span *slot = resent ? &e->resent_message_id : &e->message_id;
	struct span id = header_unfold(w->value, w->i->scratch);

	if (slot->n > 0 || id.n == 0)
		return;
	*slot = arena_dup(w->i->in.arena, span_slice(id, 0, 1000));
	log_cleanup_message_id(&w->i->log, *slot, resent);
}

struct extraction {
	struct intake *i;
	bool resent;
};

static void
extract_one(void *ctx, struct span addr)
{
	struct extraction *x = ctx;
	struct intake *i = x->i;
	struct envelope_rcpt **list = x->resent ? &i->resent_to : &i->to;
	size_t *count = x->resent ? &i->resent_count : &i->to_count;
	size_t *cap = x->resent ? &i->resent_cap : &i->to_cap;

	if (*count >= ENVELOPE_RCPTS_MAX)
		return;
	if (*count == *cap) {
		struct envelope_rcpt *v;

		*cap = *cap == 0 ? 16 : *cap * 2;
		v = ARENA_ARRAY(i->in.arena, struct envelope_rcpt, *cap);
		if (*count > 0)
			memcpy(v, *list, *count * sizeof(*v));
		*list = v;
	}
	(*list)[(*count)++] = (struct envelope_rcpt){ .addr = arena_dup(i->in.arena, addr) };
}

static void
note_received(struct intake *i)
{
	/* Our own header counts, and the limit itself is one too many: as Postfix does (measured). */
	if (++i->hops < i->in.conf->p->hopcount_limit || i->in.internal || i->decided)
		return;
	log_cleanup_warning(&i->log, "message rejected: hopcount exceeded");
	intake_decide(i, INTAKE_REJECT, "554 5.4.0 Error: too many hops");
}

/* RFC 8689 section 5: "TLS-Required: No" asks for delivery even where the policy could not be met. */
static void
note_tls_required(struct work *w)
{
	if (w->i->in.conf->p->tls_required_enable && !w->i->in.env->requiretls &&
	    span_eq_ci(span_trim(w->value), SPAN("no")))
		w->i->tls_optional = true;
}

static void
note_primary(struct work *w)
{
	struct intake *i = w->i;

	for (size_t k = 0; k < sizeof(seen_rows) / sizeof(seen_rows[0]); k++)
		if (span_eq_ci(w->name, span_str(seen_rows[k].name)))
			i->seen |= seen_rows[k].bit;
	if (w->flags & HEADER_RESENT)
		i->seen |= INTAKE_SEEN_RESENT;
	if (span_eq_ci(w->name, SPAN("Received")))
		note_received(i);
	else if (span_eq_ci(w->name, SPAN("Message-ID")))
		note_message_id(w, false);
	else if (span_eq_ci(w->name, SPAN("Resent-Message-ID")))
		note_message_id(w, true);
	else if (span_eq_ci(w->name, SPAN("TLS-Required")))
		note_tls_required(w);
	if (i->in.extract_rcpts && (w->flags & HEADER_EXTRACT)) {
		struct extraction x = { .i = i, .resent = w->flags & HEADER_RESENT };

		header_each_address(w->value, SIZE_MAX, extract_one, &x, i->scratch);
	}
}

/* --- one header --- */

static bool
is_dropped(const struct work *w)
{
	if (w->check.action == CHECK_IGNORE || w->check.action == CHECK_STRIP)
		return true;
	return w->where == MIME_PRIMARY && !w->i->in_own &&
	    intake_list_has(w->i->in.conf->p->message_drop_headers, w->name.p, w->name.n);
}

/* Everything was answered: now it happens, once. */
static void
apply(struct work *w)
{
	struct intake *i = w->i;

	intake_check_act(i, &w->check, true, w->text);
	if (i->decided)
		return;
	if (w->check.action == CHECK_IGNORE || w->check.action == CHECK_STRIP)
		return;
	if (w->check.action == CHECK_PREPEND)
		intake_emit(i, header_wire_text(w->check.text, i->scratch));
	if (w->where == MIME_PRIMARY)
		note_primary(w);
	if (!i->in.conf->p->disable_mime_input_processing)
		mime_header(i->mime, w->name, w->value);
	if (!is_dropped(w) && !i->decided)
		intake_emit(i, w->header);
}

static void
strict_header(struct intake *i, struct span header)
{
	const struct params *p = i->in.conf->p;
	bool eightbit = !span_is_ascii(header);

	if (eightbit)
		i->eightbit_header = true;
	if (eightbit && (p->strict_7bit_headers || p->strict_8bitmime) && !i->in.env->smtputf8 && !i->in.internal)
		intake_mime_error(i, "improper use of 8-bit data in message header",
		    header_check_text(header, i->scratch));
}

enum intake_result
intake_flush_header(struct intake *i)
{
	struct work w = { .i = i, .header = buf_span(&i->header) };

	if (i->header.n == 0)
		return INTAKE_OK;
	arena_clear(i->scratch);
	w.where = mime_where(i->mime);
	parse(&w);
	w.text = header_check_text(w.header, i->scratch);
	if (intake_check_find(i, checks_for(&w), w.text, true, &w.check) == INTAKE_WAIT)
		return INTAKE_WAIT;
	if (w.check.action == CHECK_REPLACE) {
		w.header = header_wire_text(w.check.text, i->scratch);
		parse(&w);
	}
	if (rewrite(&w) == INTAKE_WAIT)
		return INTAKE_WAIT;
	strict_header(i, w.header);
	if (!i->decided)
		apply(&w);
	buf_clear(&i->header);
	return INTAKE_OK;
}

/* --- the end of the primary headers --- */

static void
add_from(struct intake *i, const char *resent)
{
	struct span sender = rewrite_form(i->in.conf->p, NULL,
	    i->in.env->sender.n > 0 ? i->in.env->sender : SPAN("MAILER-DAEMON"), i->scratch);
	struct span external = address_external(sender, i->scratch);
	struct buf b;

	buf_init(&b, 65536);
	buf_addf(&b, "%sFrom: ", resent);
	if (i->in.full_name.n == 0) {
		buf_add_span(&b, external);
	} else if (strcmp(i->in.conf->p->header_from_format, "obsolete") == 0) {
		buf_addf(&b, "%.*s (%.*s)", SPAN_ARG(external), SPAN_ARG(i->in.full_name));
	} else {
		header_add_phrase(&b, i->in.full_name);
		buf_addf(&b, " <%.*s>", SPAN_ARG(external));
	}
	intake_emit_line(i, buf_span(&b));
	buf_release(&b);
}

static void
add_message_id(struct intake *i, bool resent)
{
	struct envelope *e = i->in.env;
	struct span *slot = resent ? &e->resent_message_id : &e->message_id;

	*slot = arena_printf(i->in.arena, "<%.*s@%s>", SPAN_ARG(i->in.qid), i->in.conf->p->myhostname);
	intake_emit_line(i, arena_printf(i->scratch, "%sMessage-Id: %.*s", resent ? "Resent-" : "",
	    SPAN_ARG(*slot)));
	log_cleanup_message_id(&i->log, *slot, resent);
}

static void
add_missing(struct intake *i)
{
	bool resent = i->seen & INTAKE_SEEN_RESENT;
	const char *prefix = resent ? "Resent-" : "";

	if (!(i->seen & (resent ? INTAKE_SEEN_RESENT_MESSAGE_ID : INTAKE_SEEN_MESSAGE_ID)))
		add_message_id(i, resent);
	if (!(i->seen & (resent ? INTAKE_SEEN_RESENT_DATE : INTAKE_SEEN_DATE)))
		intake_emit_line(i, arena_printf(i->scratch, "%sDate: %.*s", prefix,
		    SPAN_ARG(date_rfc5322(i->in.now_us, i->scratch))));
	if (!(i->seen & (resent ? INTAKE_SEEN_RESENT_FROM : INTAKE_SEEN_FROM)))
		add_from(i, prefix);
}

void
intake_close_headers(struct intake *i)
{
	const struct params *p = i->in.conf->p;
	bool local = i->in.rewrite_headers || i->in.env->local_origin;

	if (i->headers_closed)
		return;
	i->headers_closed = true;
	if (i->decided)
		return;
	if (!i->in.internal && (local || p->always_add_missing_headers))
		add_missing(i);
	if (!(i->seen & INTAKE_SEEN_RCPT) && p->undisclosed_recipients_header[0] != '\0')
		intake_emit_line(i, span_str(p->undisclosed_recipients_header));
	if (i->in.env->message_id.n == 0 && i->in.env->resent_message_id.n == 0)
		log_cleanup_message_id(&i->log, SPAN("<>"), false);
}
