/* Events of the SMTP server: what it asks and tells its owner, and the owner's answers. */
#include <stdlib.h>

#include "base/panic.h"
#include "smtp/server_private.h"

void
smtps_ask(struct smtps *s, struct smtps_cmd *c, enum smtps_event_kind kind)
{
	if (++s->next_id == 0)
		s->next_id = 1;
	c->id = s->next_id;
	c->ask = kind;
	c->announced = false;
	c->life = LIFE_WAITING;
}

void
smtps_tell(struct smtps *s, enum smtps_event_kind kind, enum smtps_why why, struct span text)
{
	struct smtps_news *n = calloc(1, sizeof(*n) + text.n);

	ensure(n != NULL);
	if (text.n > 0)
		memcpy(n->text, text.p, text.n);
	n->ev = (struct smtps_event){ .kind = kind, .why = why, .verb = SMTPS_UNKNOWN,
		.text = { n->text, text.n }, .bytes = s->content_bytes };
	list_push_back(&s->news, &n->node);
}

static void
fill_event(const struct smtps *s, const struct smtps_cmd *c, struct smtps_event *ev)
{
	*ev = (struct smtps_event){ .kind = c->ask, .id = c->id, .verb = c->row->verb, .text = c->args,
		.mail = s->tx != NULL ? &s->tx->mail : NULL, .rcpt = c->rcpt, .x = c->x, .bytes = s->content_bytes };
	if (c->ask == SMTPS_ASK_MAIL)
		ev->mail = &c->mail;
	if (c->ask == SMTPS_ASK_UNKNOWN)
		ev->text = c->line;
	if (c->ask == SMTPS_ASK_AUTH || c->ask == SMTPS_ASK_AUTH_RESPONSE) {
		ev->text = c->auth_text;
		ev->mech = c->auth_mech;
		ev->initial = c->auth_initial;
	}
}

bool
smtps_next(struct smtps *s, struct smtps_event *event_r)
{
	struct list *n = list_pop_front(&s->news);

	free(s->told);
	s->told = NULL;
	if (n != NULL) {
		s->told = LIST_ITEM(n, struct smtps_news, node);
		*event_r = s->told->ev;
		return true;
	}
	LIST_EACH(node, &s->cmds) {
		struct smtps_cmd *c = LIST_ITEM(node, struct smtps_cmd, node);

		if (c->id != 0 && !c->announced) {
			c->announced = true;
			fill_event(s, c, event_r);
			return true;
		}
	}
	return false;
}

/* --- answers --- */

static struct smtps_cmd *
cmd_by_id(struct smtps *s, uint32_t id)
{
	LIST_EACH(node, &s->cmds) {
		struct smtps_cmd *c = LIST_ITEM(node, struct smtps_cmd, node);

		if (c->id == id)
			return c;
	}
	return NULL;
}

void
smtps_accept(struct smtps *s, uint32_t id, struct span text, int64_t now_us)
{
	struct smtps_cmd *c = cmd_by_id(s, id);
	bool greets;

	if (id == 0 || c == NULL)
		return;
	s->now_us = now_us;
	s->view = buf_span(&s->in);
	c->id = 0;
	greets = c->ask == SMTPS_ASK_CONNECT && (c->row->flags & CMD_PLAIN);
	if (!greets || s->tls || !smtps_cmd_early(s, c))
		c->row->done(s, c, true, text);
	/* STARTTLS throws input away. */
	if (s->phase == PH_TLS)
		buf_clear(&s->in);
	smtps_turn(s, now_us);
}

void
smtps_refuse(struct smtps *s, uint32_t id, const struct smtps_reply *r, int64_t now_us)
{
	struct smtps_cmd *c = cmd_by_id(s, id);

	if (id == 0 || c == NULL)
		return;
	s->now_us = now_us;
	c->id = 0;
	smtps_compose(s, c, r->code, r->dsn != NULL ? r->dsn : "", r->text);
	c->notice = r->notice;
	c->hang_up |= r->hang_up;
	c->row->done(s, c, false, SPAN(""));
	smtps_turn(s, now_us);
}
