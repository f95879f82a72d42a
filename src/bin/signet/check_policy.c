/* signet check: check_policy_service: can its argument be read, and does anybody listen there? */
#include <string.h>

#include "base/arena.h"
#include "base/fd.h"
#include "conf/params.h"
#include "conf/words.h"
#include "role/smtpd/acl.h"
#include "role/smtpd/policy_service.h"
#include "signet/check.h"

enum { SEEN_MAX = 256 };

struct policy_check {
	const struct checker *c;
	struct arena *a;
	struct span seen[SEEN_MAX];     /* asked already: one finding for each service is enough */
	size_t n_seen;
};

static bool
first_time(struct policy_check *k, struct span text)
{
	for (size_t i = 0; i < k->n_seen; i++)
		if (span_eq(k->seen[i], text))
			return false;
	if (k->n_seen < SEEN_MAX)
		k->seen[k->n_seen++] = arena_dup(k->a, text);
	return true;
}

static void
check_service(struct policy_check *k, const struct conf_service *svc, const struct conf_item *i, struct span text)
{
	struct policy_service *s;
	struct fault why = { 0 };
	int r;

	if (!first_time(k, text))
		return;
	if (!policy_service_parse(text, svc->params, k->a, &s, &why))
		return;                 /* acl_conf_check() says so */
	if (!acl_action_check(svc, s->default_action, &why))
		check_say(k->c, CONF_ERROR, i, "OK, DUNNO, REJECT text, 5nn text, or a list of restrictions", "check_policy_service %s: default_action "
		    "\"%.*s\": %s: while the service does not answer clients get 451", s->name, SPAN_ARG(s->default_action), why.text);
	r = s->socket_path != NULL ? check_listens_path(s->socket_path) : check_listens_inet(arena_cstr(k->a, s->host), s->port);
	if (r < 0)
		check_say(k->c, CONF_WARNING, i, "start the policy service, or correct its place",
		    "check_policy_service %s: nobody answers at %s: %s; until then clients get \"%.*s\"", s->name,
		    s->socket_path != NULL ? s->socket_path : s->name, fd_error(r), SPAN_ARG(s->default_action));
}

static void
check_item(struct policy_check *k, const struct conf_service *svc, const struct conf_item *i)
{
	struct span rest, word;

	if (i->value == NULL || i->file == NULL || (i->row != NULL && i->row->type != PARAM_RESTRICTION))
		return;
	rest = span_str(i->value);
	while (word_next(&rest, &word))
		if (span_eq_ci(word, SPAN("check_policy_service")) && word_next(&rest, &word))
			check_service(k, svc, i, word);
}

static void
check_items(struct policy_check *k, const struct conf_service *s, bool all)
{
	size_t n;
	struct conf_item *items = conf_items(s, &n);

	for (size_t i = 0; i < n; i++)
		if (all || items[i].overridden)
			check_item(k, s, &items[i]);
	conf_items_free(&items);
}

void
check_policy(const struct checker *c)
{
	struct policy_check k = { .c = c, .a = arena_new(16u << 20) };

	check_items(&k, c->conf->none, true);
	for (size_t i = 0; i < c->conf->service_count; i++)
		if (!c->conf->services[i].disabled && strcmp(c->conf->services[i].command, "smtpd") == 0)
			check_items(&k, &c->conf->services[i], false);
	arena_free(&k.a);
}
