/* Facts for the planner: aliases, users, .forward and :include: files, fallbacks. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "conf/expand.h"
#include "mail/address.h"
#include "maps/maps.h"
#include "maps/strlist.h"
#include "role/local/agent_local.h"

/* ---- names in parameters */

struct lookup {
	const struct agent_names *n;
	const char *filter;
};

static const char *
filtered(const struct lookup *l, struct span s)
{
	char *out = arena_cstr(l->n->d->arena, s);

	for (char *p = out; *p != '\0'; p++)
		if (strchr(l->filter, *p) == NULL)
			*p = '_';
	return out;
}

/* The delimiter that stands in the recipient; nothing when it has no extension. */
static struct span
delimiter_of(const struct agent_names *n)
{
	return n->extension.n > 0 ? span_slice(span_str(n->d->p->recipient_delimiter), 0, 1) : SPAN("");
}

static bool
find_name(void *ctx, struct span name, const char **value_r)
{
	const struct lookup *l = ctx;
	const struct agent_names *n = l->n;
	struct span rcpt = delivery_rcpt(n->d)->in.addr, local, domain;

	address_split(rcpt, &local, &domain);
	const struct { const char *name; struct span value; } rows[] = {
		{ "user", n->name }, { "home", n->user != NULL ? n->user->home : SPAN("") },
		{ "shell", n->user != NULL ? n->user->shell : SPAN("") }, { "recipient", rcpt },
		{ "extension", n->extension }, { "domain", domain }, { "local", local },
		{ "recipient_delimiter", delimiter_of(n) },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (span_eq(name, span_str(rows[i].name))) {
			*value_r = filtered(l, rows[i].value);
			return true;
		}
	*value_r = conf_get(n->d->service, arena_cstr(n->d->arena, name));
	return true;
}

bool
agent_local_expand(const struct agent_names *n, struct span raw, const char *filter, struct span *text_r)
{
	struct lookup l = { .n = n, .filter = filter };
	struct fault why = { 0 };
	struct buf b;
	bool fine;

	buf_init(&b, 8192);
	fine = conf_expand(raw, find_name, &l, &b, &why);
	*text_r = arena_dup(n->d->arena, buf_span(&b));
	buf_release(&b);
	if (!fine)
		log_warning(&n->d->log, "\"%.*s\": %s", SPAN_ARG(log_esc(raw)), why.text);
	return fine;
}

/* ---- questions of the planner */

static enum map_result
fact_alias(void *ctx, struct span name, struct plan_text *r, struct fault *why)
{
	struct delivery *d = ctx;
	struct map_hit hit = { 0 };
	struct stat st;
	enum map_result found = maps_find(d->conf->alias_maps, name, d->asks, d->arena, &hit, why);

	if (found == MAP_DEFER)
		fault_set(why, "4.3.0", "alias database unavailable");
	if (found != MAP_FOUND)
		return found;
	r->text = hit.value;
	r->owner = 0;
	/* Commands of a table that a user owns run as that user; one whose owner is not known counts as root's. */
	if (hit.file.n > 0 && stat(arena_cstr(d->arena, hit.file), &st) == 0)
		r->owner = st.st_uid;
	return MAP_FOUND;
}

static enum map_result
fact_user(void *ctx, struct span name, struct plan_user *u, struct fault *why)
{
	return delivery_user(ctx, name, u, why);
}

/* A .forward that others could have written is none, and the mail goes to the mailbox (local(8)). */
static bool
trusted(struct delivery *d, struct span path, const struct plan_user *u, const struct ipc_run_read_done *file)
{
	struct span name = log_esc(path);

	if (file->state == RUN_READ_REFUSED)
		log_warning(&d->log, "file %.*s is not a regular file", SPAN_ARG(name));
	else if (file->state == RUN_READ_DENIED)
		log_warning(&d->log, "%.*s", SPAN_ARG(log_esc(file->why)));
	else if (file->owner != 0 && file->owner != u->rights.uid)
		log_warning(&d->log, "file %.*s has bad owner uid %u", SPAN_ARG(name), file->owner);
	else if (file->mode & S_IWOTH)
		log_warning(&d->log, "file %.*s is world writable", SPAN_ARG(name));
	else
		return true;
	return false;
}

static enum map_result
fact_forward(void *ctx, const struct plan_user *u, struct span ext, struct span *text_r, struct fault *why)
{
	struct delivery *d = ctx;
	struct agent_names names = { .d = d, .user = u, .name = u->name, .extension = ext };
	struct span rest = span_str(d->p->forward_path), word, path;

	if (u->rights.uid == 0)
		return MAP_ABSENT;      /* nothing of root's is read or run */
	while (span_token_brace(&rest, ", \t\n", &word)) {
		const struct ipc_run_read_done *file = NULL;
		enum map_result r;

		if (!agent_local_expand(&names, word, d->p->forward_expansion_filter, &path) ||
		    !span_starts(path, SPAN("/")))
			continue;
		r = delivery_read_file(d, path, &u->rights, &file, why);
		if (r == MAP_DEFER || r == MAP_WAIT)
			return r;
		if (r == MAP_ABSENT)
			continue;
		if (!trusted(d, path, u, file))
			return MAP_ABSENT;
		*text_r = file->text;
		return MAP_FOUND;
	}
	return MAP_ABSENT;
}

static enum map_result
fact_include(void *ctx, struct span path, const struct plan_rights *rights, struct plan_text *r, struct fault *why)
{
	struct delivery *d = ctx;
	const struct ipc_run_read_done *file = NULL;
	enum map_result found = delivery_read_file(d, path, rights, &file, why);

	if (found == MAP_WAIT || found == MAP_DEFER)
		return found;
	if (found == MAP_ABSENT || file->state != RUN_READ_OK) {
		log_warning(&d->log, "unable to read :include: file %.*s with the rights of uid %lu: %.*s",
		    SPAN_ARG(log_esc(path)), (unsigned long)rights->uid, SPAN_ARG(log_esc(file->why)));
		fault_set(why, "4.3.5", "mail system configuration error");
		return MAP_DEFER;
	}
	r->text = file->text;
	r->owner = file->owner;
	return MAP_FOUND;
}

static enum map_result
fact_is_local(void *ctx, struct span domain, struct fault *why)
{
	struct delivery *d = ctx;

	return strlist_find(d->conf->mydestination, domain, d->asks, d->arena, NULL, why);
}

/* A transport that leads back here would be an endless loop. */
static enum map_result
checked_transport(struct delivery *d, struct span value, struct span *transport_r, struct fault *why)
{
	struct span name, nexthop;
	const struct conf_service *s;

	span_cut(value, ':', &name, &nexthop);
	s = conf_find_service(d->l->role->conf, arena_cstr(d->arena, name), false);
	if (s != NULL && strcmp(s->command, "local") != 0) {
		*transport_r = value;
		return MAP_FOUND;
	}
	log_warning(&d->log, "transport \"%.*s\": %s", SPAN_ARG(log_esc(value)),
	    s == NULL ? "no such service in master.cf" : "leads back to local delivery");
	fault_set(why, "4.3.5", "mail system configuration error");
	return MAP_DEFER;
}

static enum map_result
fact_transport(void *ctx, struct span name, bool known_user, struct span *transport_r, struct fault *why)
{
	struct delivery *d = ctx;
	struct maps *maps = known_user ? d->conf->mailbox_transport_maps : d->conf->fallback_transport_maps;
	const char *fixed = known_user ? d->p->mailbox_transport : d->p->fallback_transport;
	struct map_hit hit = { 0 };
	enum map_result r = maps_find(maps, name, d->asks, d->arena, &hit, why);

	if (r == MAP_FOUND && hit.value.n > 0)
		return checked_transport(d, hit.value, transport_r, why);
	if (r == MAP_DEFER || r == MAP_WAIT)
		return r;
	if (fixed[0] == '\0')
		return MAP_ABSENT;
	return checked_transport(d, span_str(fixed), transport_r, why);
}

static enum map_result
fact_luser(void *ctx, struct span name, struct span ext, struct span *addr_r, struct fault *why)
{
	struct delivery *d = ctx;
	struct agent_names names = { .d = d, .name = name, .extension = ext };

	if (d->p->luser_relay[0] == '\0')
		return MAP_ABSENT;
	if (!agent_local_expand(&names, span_str(d->p->luser_relay), d->p->forward_expansion_filter, addr_r)) {
		fault_set(why, "4.3.5", "mail system configuration error");
		return MAP_DEFER;
	}
	*addr_r = address_complete(address_internal(*addr_r, d->arena), d->p->myorigin, d->arena);
	return MAP_FOUND;
}

static const struct plan_ops ops = {
	.alias = fact_alias, .user = fact_user, .forward = fact_forward, .include = fact_include,
	.is_local = fact_is_local, .transport = fact_transport, .luser = fact_luser,
};

/* ---- the plan */

/* default_privs; when the mail system is no root, it has only its own rights to give. */
static enum map_result
default_rights(struct delivery *d, struct plan_rights *r, struct fault *why)
{
	struct plan_user u;
	enum map_result found;

	if (!d->l->role->as_root) {
		*r = (struct plan_rights){ .uid = geteuid(), .gid = getegid() };
		return MAP_FOUND;
	}
	found = delivery_user(d, span_str(d->p->default_privs), &u, why);
	if (found == MAP_FOUND && u.rights.uid != 0 && u.rights.gid != 0) {
		*r = u.rights;
		return MAP_FOUND;
	}
	if (found == MAP_DEFER || found == MAP_WAIT)
		return found;
	log_warning(&d->log, "parameter default_privs: no unprivileged user \"%s\"", d->p->default_privs);
	fault_set(why, "4.3.5", "mail system configuration error");
	return MAP_DEFER;
}

enum map_result
agent_local_plan(struct delivery *d, struct fault *why)
{
	const struct params *p = d->p;
	struct plan_conf c = {
		.delimiter = p->recipient_delimiter, .myorigin = p->myorigin,
		.owner_request_special = p->owner_request_special,
		.expand_owner_alias = p->expand_owner_alias,
		.commands_in_alias = local_list_has(p->allow_mail_to_commands, "alias"),
		.commands_in_forward = local_list_has(p->allow_mail_to_commands, "forward"),
		.commands_in_include = local_list_has(p->allow_mail_to_commands, "include"),
		.files_in_alias = local_list_has(p->allow_mail_to_files, "alias"),
		.files_in_forward = local_list_has(p->allow_mail_to_files, "forward"),
		.files_in_include = local_list_has(p->allow_mail_to_files, "include"),
		.extension_to_alias = local_list_has(p->propagate_unmatched_extensions, "alias"),
		.extension_to_forward = local_list_has(p->propagate_unmatched_extensions, "forward"),
		.extension_to_include = local_list_has(p->propagate_unmatched_extensions, "include"),
	};
	enum map_result r = default_rights(d, &c.default_rights, why);

	if (r != MAP_FOUND)
		return r;
	return plan_make(&c, &ops, d, delivery_rcpt(d)->in.addr, d->env.sender, d->arena, &d->plan, why);
}
