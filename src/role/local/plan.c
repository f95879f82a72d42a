/* Aliases, .forward files and users: who gets what, in the order that local(8) documents. */
#include "role/local/plan.h"

#include "mail/address.h"
#include "role/local/items.h"

#define LEVEL_MAX 100
#define ACTIONS_MAX 50000

enum source { FROM_ALIAS, FROM_FORWARD, FROM_INCLUDE };

/* An alias that is being expanded, and the ones it is inside of. */
struct chain {
	const struct chain *up;
	struct span name;
};

/* Where an item stands: it decides rights, sender and what is allowed. */
struct scope {
	enum source source;
	const struct chain *alias;              /* NULL at the top */
	const struct plan_user *user;           /* of .forward, or NULL */
	struct plan_rights rights;
	struct span to, sender, extension;
	bool indirect;                          /* local addresses too become a new message */
	unsigned level;
};

struct planner {
	const struct plan_conf *conf;
	const struct plan_ops *ops;
	void *ctx;
	struct arena *a;
	struct plan *plan;
	struct fault *why;
};

static enum map_result plan_name(struct planner *p, struct span local, const struct scope *s, bool alias_too);

static bool
same_action(const struct plan_action *x, const struct plan_action *y)
{
	if (x->kind != y->kind || !span_eq(x->text, y->text) || x->rights.uid != y->rights.uid)
		return false;
	return x->kind != PLAN_MAILBOX || span_eq(x->user.name, y->user.name);
}

/* Add an action unless it is there already (duplicate suppression); failures are always added. */
static struct plan_action *
add(struct planner *p, enum plan_kind kind, struct span text, const struct scope *s,
    const struct plan_user *user)
{
	struct plan_action *n = ARENA_NEW(p->a, struct plan_action);

	n->kind = kind;
	n->text = text;
	n->to = s->to;
	n->sender = s->sender;
	n->extension = s->extension;
	n->rights = s->rights;
	if (user != NULL)
		n->user = *user;
	if (kind == PLAN_FORWARD)
		n->rights = (struct plan_rights){ 0 };
	if (kind != PLAN_FAIL)
		for (const struct plan_action *o = p->plan->first; o != NULL; o = o->next)
			if (same_action(o, n))
				return n;
	*p->plan->last = n;
	p->plan->last = &n->next;
	p->plan->count++;
	return n;
}

static enum map_result
fail(struct planner *p, const struct scope *s, const char *dsn, const char *fmt, struct span what)
{
	struct plan_action *n = add(p, PLAN_FAIL, what, s, NULL);
	struct span text = what.n > 200 ? span_slice(what, 0, 200) : what;
	ptrdiff_t at = span_find(span_str(fmt), SPAN("%s"));

	if (at < 0)
		fault_set(&n->why, dsn, "%s", fmt);
	else
		fault_set(&n->why, dsn, "%.*s%.*s%s", (int)at, fmt, SPAN_ARG(text), fmt + at + 2);
	return MAP_FOUND;
}

/* "name@domain" of a local name. */
static struct span
address_of(struct planner *p, struct span local, const struct scope *s)
{
	struct span old_local, domain;

	if (!address_split(s->to, &old_local, &domain))
		return local;
	return arena_printf(p->a, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(domain));
}

static enum map_result
plan_fallback(struct planner *p, struct span name, const struct scope *s)
{
	struct span found;
	enum map_result r = p->ops->transport(p->ctx, name, false, &found, p->why);

	if (r == MAP_FOUND)
		add(p, PLAN_TRANSPORT, found, s, NULL);
	if (r != MAP_ABSENT)
		return r;
	r = p->ops->luser(p->ctx, name, s->extension, &found, p->why);
	if (r == MAP_FOUND)
		add(p, PLAN_FORWARD, found, s, NULL);
	if (r != MAP_ABSENT)
		return r;
	if (span_eq_ci(name, SPAN("postmaster")) || span_eq_ci(name, SPAN("mailer-daemon"))) {
		add(p, PLAN_DISCARD, name, s, NULL);
		return MAP_FOUND;
	}
	return fail(p, s, "5.1.1", "unknown user: \"%s\"", name);
}

static enum map_result
plan_mailbox(struct planner *p, struct span name, const struct scope *s)
{
	struct plan_user user = { 0 };
	struct span transport;
	enum map_result r = p->ops->transport(p->ctx, name, true, &transport, p->why);

	if (r == MAP_FOUND)
		add(p, PLAN_TRANSPORT, transport, s, NULL);
	if (r != MAP_ABSENT)
		return r;
	r = p->ops->user(p->ctx, name, &user, p->why);
	if (r == MAP_ABSENT)
		return plan_fallback(p, name, s);
	if (r == MAP_FOUND) {
		struct scope own = *s;

		own.rights = user.rights;
		add(p, PLAN_MAILBOX, (struct span){ 0 }, &own, &user);
	}
	return r;
}

static bool
allowed(const struct planner *p, enum item_kind kind, enum source source)
{
	const struct plan_conf *c = p->conf;

	switch (source) {
	case FROM_ALIAS:
		return kind == ITEM_COMMAND ? c->commands_in_alias : c->files_in_alias;
	case FROM_FORWARD:
		return kind == ITEM_COMMAND ? c->commands_in_forward : c->files_in_forward;
	case FROM_INCLUDE:
		return kind == ITEM_COMMAND ? c->commands_in_include : c->files_in_include;
	}
	return false;
}

static struct span
with_extension(struct planner *p, struct span addr, const struct scope *s)
{
	const struct plan_conf *c = p->conf;
	bool wanted = s->source == FROM_ALIAS ? c->extension_to_alias :
	    s->source == FROM_FORWARD ? c->extension_to_forward : c->extension_to_include;
	struct span local, domain, user, ext;

	if (!wanted || s->extension.n == 0 || c->delimiter[0] == '\0')
		return addr;
	address_split(addr, &local, &domain);
	if (address_split_extension(local, c->delimiter, c->owner_request_special, &user, &ext))
		return addr;
	return arena_printf(p->a, "%.*s%c%.*s%s%.*s", SPAN_ARG(local), c->delimiter[0],
	    SPAN_ARG(s->extension), domain.n > 0 ? "@" : "", SPAN_ARG(domain));
}

/* A local address of a list: itself again, a loop, or one level deeper. */
static enum map_result
plan_local(struct planner *p, struct span local, struct span addr, const struct scope *s)
{
	struct span name = arena_lower(p->a, local);
	struct scope deeper = *s;

	if (s->user != NULL && span_eq_ci(name, s->user->name))
		return plan_mailbox(p, name, s);
	if (s->alias != NULL && span_eq(name, s->alias->name))
		return plan_name(p, name, s, false);
	for (const struct chain *c = s->alias; c != NULL; c = c->up)
		if (span_eq(name, c->name))
			return fail(p, s, "5.4.6", "alias database loop for %s", s->alias->name);
	if (s->indirect) {
		add(p, PLAN_FORWARD, addr, s, NULL);
		return MAP_FOUND;
	}
	deeper.to = addr;
	deeper.level++;
	deeper.extension = (struct span){ 0 };
	return plan_name(p, name, &deeper, true);
}

static enum map_result
plan_address(struct planner *p, struct span item, const struct scope *s)
{
	struct span addr = with_extension(p, item, s), local, domain;
	enum map_result r;

	if (!address_split(addr, &local, &domain)) {
		domain = span_str(p->conf->myorigin);
		addr = arena_printf(p->a, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(domain));
	}
	if (local.n == 0)
		return fail(p, s, "5.1.3", "bad recipient address syntax: %s", addr);
	r = p->ops->is_local(p->ctx, domain, p->why);
	if (r == MAP_FOUND)
		return plan_local(p, local, addr, s);
	if (r == MAP_ABSENT) {
		add(p, PLAN_FORWARD, addr, s, NULL);
		return MAP_FOUND;
	}
	return r;
}

static enum map_result plan_items(struct planner *p, const struct items *items, const struct scope *s);

static enum map_result
plan_include(struct planner *p, struct span path, const struct scope *s)
{
	struct scope inside = *s;
	struct plan_text file = { 0 };
	struct items items;
	enum map_result r;

	if (s->level >= LEVEL_MAX)
		return fail(p, s, "5.4.6", "mail forwarding loop for %s", s->to);
	if (!span_starts(path, SPAN("/")))
		return fail(p, s, "5.3.5", "mail system configuration error: :include:%s", path);
	r = p->ops->include(p->ctx, path, &s->rights, &file, p->why);
	if (r != MAP_FOUND)
		return r;
	if (!items_parse_file(file.text, p->a, &items, p->why))
		return MAP_DEFER;
	inside.source = FROM_INCLUDE;
	inside.indirect = true;
	inside.level++;
	if (s->user == NULL)
		inside.rights = file.owner == 0 ? p->conf->default_rights :
		    (struct plan_rights){ .uid = file.owner };
	return plan_items(p, &items, &inside);
}

static enum map_result
plan_item(struct planner *p, const struct item *item, const struct scope *s)
{
	struct span user, ext;
	struct scope own = *s;

	switch (item->kind) {
	case ITEM_ADDRESS:
		return plan_address(p, item->text, s);
	case ITEM_LOCAL:
		address_split(arena_lower(p->a, item->text), &user, &ext);
		own.to = address_of(p, user, s);
		address_split_extension(user, p->conf->delimiter, p->conf->owner_request_special, &user,
		    &own.extension);
		return plan_mailbox(p, user, &own);
	case ITEM_INCLUDE:
		return plan_include(p, item->text, s);
	case ITEM_COMMAND:
		if (!allowed(p, item->kind, s->source))
			return fail(p, s, "5.7.1", "mail to command is restricted", item->text);
		add(p, PLAN_COMMAND, item->text, s, s->user);
		return MAP_FOUND;
	case ITEM_FILE:
		if (!allowed(p, item->kind, s->source))
			return fail(p, s, "5.7.1", "mail to file is restricted", item->text);
		add(p, PLAN_FILE, item->text, s, s->user);
		return MAP_FOUND;
	}
	return MAP_FOUND;
}

/* Every item is looked at even when one has to wait, so that all questions go out together. */
static enum map_result
plan_items(struct planner *p, const struct items *items, const struct scope *s)
{
	enum map_result result = MAP_FOUND;

	for (size_t i = 0; i < items->n; i++) {
		enum map_result r = plan_item(p, &items->v[i], s);

		if (r == MAP_DEFER)
			return r;
		if (r == MAP_WAIT)
			result = r;
		if (p->plan->count > ACTIONS_MAX) {
			fault_set(p->why, "4.3.5", "alias expansion has more than %d results", ACTIONS_MAX);
			return MAP_DEFER;
		}
	}
	return result;
}

/* owner-NAME: reports go there, so every target becomes a message of its own from that sender. */
static enum map_result
find_owner(struct planner *p, struct span name, struct scope *s)
{
	struct span owner = arena_printf(p->a, "owner-%.*s", SPAN_ARG(name));
	struct plan_text text = { 0 };
	struct items items;
	enum map_result r;

	if (span_starts(name, SPAN("owner-")) || span_ends(name, SPAN("-request"))) {
		if (p->conf->owner_request_special)
			return MAP_ABSENT;
	}
	r = p->ops->alias(p->ctx, owner, &text, p->why);
	if (r != MAP_FOUND)
		return r;
	s->indirect = true;
	s->sender = address_of(p, owner, s);
	if (p->conf->expand_owner_alias && items_parse(text.text, p->a, &items, NULL) && items.n == 1 &&
	    items.v[0].kind == ITEM_ADDRESS)
		s->sender = address_complete(items.v[0].text, p->conf->myorigin, p->a);
	return MAP_FOUND;
}

/* The alias `name`, if there is one: FOUND when its targets are in the plan. */
static enum map_result
plan_alias(struct planner *p, struct span name, struct span unmatched, const struct scope *s)
{
	struct chain link = { .up = s->alias, .name = name };
	struct scope inside = *s;
	struct plan_text text = { 0 };
	struct items items;
	enum map_result r = p->ops->alias(p->ctx, name, &text, p->why), owner;

	if (r != MAP_FOUND)
		return r;
	inside.source = FROM_ALIAS;
	inside.alias = &link;
	inside.user = NULL;
	inside.extension = unmatched;
	inside.rights = text.owner == 0 ? p->conf->default_rights : (struct plan_rights){ .uid = text.owner };
	owner = find_owner(p, name, &inside);
	if (owner == MAP_DEFER || owner == MAP_WAIT)
		return owner;
	if (!items_parse(text.text, p->a, &items, p->why)) {
		fault_prefix(p->why, "alias %.*s", SPAN_ARG(name));
		return MAP_DEFER;
	}
	if (items.n == 0) {
		fault_set(p->why, "4.3.5", "alias %.*s has no targets", SPAN_ARG(name));
		return MAP_DEFER;
	}
	if (items.n > 1)
		p->plan->expanded = true;
	return plan_items(p, &items, &inside);
}

static enum map_result
plan_user(struct planner *p, struct span name, struct span ext, const struct scope *s)
{
	struct plan_user user = { 0 };
	struct scope inside = *s;
	struct span text = { 0 };
	struct items items = { 0 };
	enum map_result r = p->ops->user(p->ctx, name, &user, p->why);

	if (r == MAP_FOUND)
		r = p->ops->forward(p->ctx, &user, ext, &text, p->why);
	if (r == MAP_DEFER || r == MAP_WAIT)
		return r;
	inside.extension = ext;
	if (r == MAP_FOUND && !items_parse_file(text, p->a, &items, p->why)) {
		fault_prefix(p->why, ".forward of %.*s", SPAN_ARG(name));
		return MAP_DEFER;
	}
	if (items.n == 0)
		return plan_mailbox(p, name, &inside);
	inside.source = FROM_FORWARD;
	inside.user = &user;
	inside.rights = user.rights;
	inside.indirect = true;
	inside.level++;
	if (items.n > 1)
		p->plan->expanded = true;
	return plan_items(p, &items, &inside);
}

/* A local name in lower case, with its extension: aliases (whole, then without extension), then the user. */
static enum map_result
plan_name(struct planner *p, struct span local, const struct scope *s, bool alias_too)
{
	struct span user, ext = { 0 };
	bool extended = address_split_extension(local, p->conf->delimiter, p->conf->owner_request_special,
	    &user, &ext);
	enum map_result r = MAP_ABSENT;

	if (s->level > LEVEL_MAX)
		return fail(p, s, "5.4.6", "mail forwarding loop for %s", s->to);
	if (alias_too)
		r = plan_alias(p, local, (struct span){ 0 }, s);
	if (r == MAP_ABSENT && alias_too && extended)
		r = plan_alias(p, user, ext, s);
	if (r != MAP_ABSENT)
		return r;
	return plan_user(p, user, ext, s);
}

enum map_result
plan_make(const struct plan_conf *conf, const struct plan_ops *ops, void *ctx, struct span rcpt,
    struct span sender, struct arena *a, struct plan *plan_r, struct fault *why)
{
	struct planner p = { .conf = conf, .ops = ops, .ctx = ctx, .a = a, .plan = plan_r, .why = why };
	struct scope top = { .source = FROM_ALIAS, .to = rcpt, .sender = sender,
		.rights = conf->default_rights };
	struct span local, domain;
	enum map_result r;

	*plan_r = (struct plan){ .last = &plan_r->first };
	address_split(rcpt, &local, &domain);
	r = plan_name(&p, arena_lower(a, local), &top, true);
	if (r == MAP_FOUND && plan_r->count == 0)
		return fail(&p, &top, "5.2.4", "the expansion of %s has no recipients", rcpt);
	return r;
}
