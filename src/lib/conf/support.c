/*
 * What is set, protects or delivers, and does not work, stops the start (doc/design):
 * parameters by their row, restrictions and table types by their word, services by
 * their command. `accept_unsupported` turns the refusal into a warning. Names that
 * nobody knows are reported with the nearest one.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf_private.h"
#include "conf/params.h"
#include "conf/words.h"

#define CLASS_DEPTH_MAX 20u
#define SOCKET_PATH_MAX 107u     /* sun_path without its NUL */
#define FIX_ACCEPT "take it out, or name it in accept_unsupported to run without it"

/* A value being judged. */
struct judge {
	struct conf_loading *l;
	const struct conf_set *set;
	const struct conf_value *v;
};

static bool
accepts(const struct judge *j, const char *name)
{
	const struct conf_value *v = conf_set_find(j->set, SPAN("accept_unsupported"));

	return v != NULL && v->value != NULL && conf_list_has(v->value, name);
}

static void
say(const struct judge *j, enum conf_severity severity, const char *fix, const char *text)
{
	const struct conf_def *at = j->v->origin;

	conf_report_add(j->l->report, severity, at != NULL ? at->file : j->l->main_file, at != NULL ? at->line : 0,
	    fix, "%s: %s", j->v->name, text);
}

/* A word inside a value that does not work: refused, unless it or its parameter is accepted. */
static void
refuse_word(const struct judge *j, struct span word, const char *kind, const char *text)
{
	char name[128], line[512];
	bool fine;

	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(word));
	fine = accepts(j, name) || accepts(j, j->v->name);
	snprintf(line, sizeof(line), "%s %s does not work yet%s%s", kind, name, *text != '\0' ? "; it " : "", text);
	say(j, fine ? CONF_WARNING : CONF_ERROR, fine ? NULL : FIX_ACCEPT, line);
}

/* ---- table types */

static void judge_tables(const struct judge *j, struct span list, bool must_be_tables, unsigned depth);

static void
judge_table(const struct judge *j, struct span item, bool must_be_table, unsigned depth)
{
	struct span type, name;
	const struct word_row *row;
	char line[256];

	while (span_starts(item, SPAN("proxy:")))
		item = span_from(item, 6);
	if (!span_cut(item, ':', &type, &name) || type.n == 0 || type.p[0] == '/' || type.p[0] == '[' || type.p[0] == '!')
		return;
	row = word_table_type(type);
	if (row != NULL && row->state == PARAM_NOT_YET) {
		refuse_word(j, type, "table type", "");
	} else if (row == NULL && must_be_table) {
		snprintf(line, sizeof(line), "\"%.*s\" is no table type", (int)(type.n < 40 ? type.n : 40), type.p);
		say(j, CONF_ERROR, "hash, cdb, lmdb, texthash, inline, static, regexp, pcre, cidr, ...", line);
	} else if (row != NULL && name.n > 1 && name.p[0] == '{' &&
	    (span_eq_ci(type, SPAN("unionmap")) || span_eq_ci(type, SPAN("pipemap")))) {
		judge_tables(j, span_slice(name, 1, name.n - 1), true, depth + 1);
	}
}

static void
judge_tables(const struct judge *j, struct span list, bool must_be_tables, unsigned depth)
{
	struct span item;

	while (depth < CLASS_DEPTH_MAX && word_next(&list, &item))
		judge_table(j, item, must_be_tables, depth);
}

/* ---- restrictions */

static bool
is_class(const struct judge *j, struct span word)
{
	const struct conf_value *v = conf_set_find(j->set, SPAN("smtpd_restriction_classes"));
	struct span rest = span_str(v != NULL ? v->value : NULL), item;

	while (word_next(&rest, &item))
		if (span_eq(item, word))
			return true;
	return false;
}

static void
unknown_restriction(const struct judge *j, struct span word)
{
	const char *near = word_nearest_restriction(word);
	char line[256], fix[160];

	snprintf(line, sizeof(line), "\"%.*s\" is no restriction", (int)(word.n < 80 ? word.n : 80), word.p);
	snprintf(fix, sizeof(fix), "did you mean %s?", near != NULL ? near : "");
	say(j, CONF_ERROR, near != NULL ? fix : "see smtpd_recipient_restrictions in signet.conf(5)", line);
}

static void
old_restriction(const struct judge *j, const struct word_row *row)
{
	char line[256], fix[160];

	snprintf(line, sizeof(line), "%s is an old name that does not work", row->word);
	snprintf(fix, sizeof(fix), "write %s", row->text);
	say(j, CONF_ERROR, fix, line);
}

/* "{ type:table { search_order = ... } }" names its table first. */
static struct span
table_of(struct span argument)
{
	struct span rest, table;

	if (argument.n < 2 || argument.p[0] != '{')
		return argument;
	rest = span_slice(argument, 1, argument.n - 1);
	return word_next(&rest, &table) ? table : argument;
}

static void
judge_restriction(const struct judge *j, struct span word, struct span *rest)
{
	const struct word_row *row = word_restriction(word);
	struct span argument;
	char line[256];

	if (row == NULL) {
		if (span_index(word, ':') > 0)          /* "type:table" alone is an access table */
			judge_table(j, word, true, 0);
		else if (!is_class(j, word))
			unknown_restriction(j, word);
		return;
	}
	if (row->state == PARAM_NOT_YET)
		refuse_word(j, word, "restriction", row->text);
	else if (row->state == PARAM_OBSOLETE)
		old_restriction(j, row);
	if (row->argument == WORD_ALONE)
		return;
	if (!word_next(rest, &argument)) {
		snprintf(line, sizeof(line), "something is missing behind %s", row->word);
		say(j, CONF_ERROR, NULL, line);
	} else if (row->argument == WORD_TABLE) {
		judge_table(j, table_of(argument), true, 0);
	}
}

static void
judge_restrictions(const struct judge *j)
{
	struct span rest = span_str(j->v->value), word;

	while (word_next(&rest, &word))
		judge_restriction(j, word, &rest);
}

/* ---- parameters */

static void
judge_state(const struct judge *j, const struct param_row *row)
{
	char line[512];
	bool fine;

	if (j->v->def == NULL || j->v->is_default || j->v->value == NULL)
		return;
	switch (row->state) {
	case PARAM_WORKS:
		return;
	case PARAM_PARTIAL:
		snprintf(line, sizeof(line), "this works only in part (%s)", row->text);
		say(j, CONF_NOTE, NULL, line);
		return;
	case PARAM_OBSOLETE:
		snprintf(line, sizeof(line), "this has no effect (%s)", row->text);
		say(j, CONF_NOTE, NULL, line);
		return;
	case PARAM_NOT_YET:
		snprintf(line, sizeof(line), "this does not work yet (%s)", row->text);
		fine = accepts(j, j->v->name);
		if (row->risk == PARAM_COSMETIC)
			say(j, CONF_NOTE, NULL, line);
		else
			say(j, fine ? CONF_WARNING : CONF_ERROR, fine ? NULL : FIX_ACCEPT, line);
		return;
	}
}

/* Defaults hold nothing but good words and $names, which are judged where they are set. */
static void
judge_words(const struct judge *j)
{
	const struct param_row *row = j->v->row;

	if (j->v->def == NULL || j->v->value == NULL || row->state == PARAM_OBSOLETE || row->state == PARAM_NOT_YET)
		return;
	if (row->type == PARAM_RESTRICTION)
		judge_restrictions(j);
	else if (row->type == PARAM_MAP_LIST)
		judge_tables(j, span_str(j->v->value), true, 0);
	else if (row->type == PARAM_LIST && row->words[0] == '\0')
		judge_tables(j, span_str(j->v->value), false, 0);
}

/* ---- names of nobody's table */

static bool
names_service(const struct judge *j, const struct param_row *family)
{
	struct span name = span_str(j->v->name), suffix = span_from(span_str(family->name), 1);

	if (family->name[0] != '*' || strcmp(family->name, "*_service_name") == 0)
		return true;
	name.n -= suffix.n;
	for (size_t i = 0; i < j->l->entry_count; i++)
		if (span_eq(span_str(j->l->entries[i].s.name), name))
			return true;
	return false;
}

static bool
judge_family(const struct judge *j, const struct param_row *family)
{
	const char *canonical;
	struct fault why;
	char line[512];

	if (!names_service(j, family)) {
		snprintf(line, sizeof(line), "no service of this name is in master.cf (%s)", family->text);
		say(j, CONF_WARNING, "correct the name, or take it out", line);
		return true;
	}
	fault_clear(&why);
	if (j->v->value != NULL && family->state != PARAM_OBSOLETE &&
	    !conf_value_check(family, j->v->value, &canonical, NULL, j->l->a, &why)) {
		snprintf(line, sizeof(line), "%s: %s", j->v->value, why.text);
		say(j, CONF_ERROR, NULL, line);
	}
	judge_state(j, family);
	return true;
}

/* "ldap:people" reads people_server_host and the like from main.cf. */
static bool
is_table_source(const struct judge *j)
{
	const char *under = strchr(j->v->name, '_');
	char source[128];

	for (; under != NULL; under = strchr(under + 1, '_')) {
		snprintf(source, sizeof(source), ":%.*s", (int)(under - j->v->name), j->v->name);
		for (size_t i = 0; i < j->l->main.count; i++) {
			const char *at = strstr(j->l->main.list[i]->raw, source);
			char next = at != NULL ? at[strlen(source)] : 'x';

			if (!ascii_isalnum(next) && next != '_')
				return true;
		}
	}
	return false;
}

static void
judge_unknown(const struct judge *j)
{
	const struct param_row *family = param_find_pattern(j->v->name);
	const char *near;
	char fix[160];

	if (j->v->def == NULL || j->v->def->used)
		return;
	if (family != NULL) {
		judge_family(j, family);
		return;
	}
	if (is_table_source(j))
		return;
	near = param_nearest(j->v->name);
	snprintf(fix, sizeof(fix), "did you mean %s?", near != NULL ? near : "");
	say(j, CONF_WARNING, near != NULL ? fix : "take it out, if nobody needs it",
	    "nobody knows a parameter of this name, and no value refers to it");
}

static void
judge_set(struct conf_loading *l, const struct conf_set *set)
{
	struct judge j = { .l = l, .set = set };

	for (j.v = set->first; j.v != NULL; j.v = j.v->next) {
		if (j.v->row == NULL && is_class(&j, span_str(j.v->name)) && j.v->value != NULL) {
			judge_restrictions(&j);
		} else if (j.v->row == NULL) {
			judge_unknown(&j);
		} else {
			judge_state(&j, j.v->row);
			judge_words(&j);
		}
	}
}

/* ---- open relays */

static bool
list_protects(const struct conf_service *s, const char *list, unsigned depth)
{
	static const char *const words[] = { "reject_unauth_destination", "defer_unauth_destination", "reject", "defer",
		"defer_if_permit" };
	struct span rest = span_str(list), item;

	while (depth < CLASS_DEPTH_MAX && word_next(&rest, &item)) {
		const struct conf_value *v;

		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (span_eq_ci(item, span_str(words[i])))
				return true;
		if (word_restriction(item) != NULL)
			continue;
		v = conf_set_find(s->set, item);
		if (v != NULL && v->value != NULL && list_protects(s, v->value, depth + 1))
			return true;
	}
	return false;
}

static void
check_relay(struct conf_loading *l, const struct conf_service *s)
{
	if (s->disabled || list_protects(s, s->params->smtpd_relay_restrictions, 0) ||
	    list_protects(s, s->params->smtpd_recipient_restrictions, 0))
		return;
	conf_report_add(l->report, CONF_ERROR, s->file, s->line,
	    "set compatibility_level = 3.10, or put reject_unauth_destination or defer_unauth_destination into "
	    "smtpd_relay_restrictions",
	    "service %s would relay mail for everybody: neither smtpd_relay_restrictions nor "
	    "smtpd_recipient_restrictions refuses foreign destinations", s->name);
}

/* ---- logins */

/* What smtpd would not start with: no port, or a path that no socket can have. */
static bool
sasl_path_usable(const struct params *p)
{
	struct span path = span_str(p->smtpd_sasl_path), host, port;
	ptrdiff_t colon;
	uint64_t number;

	if (!span_starts(path, SPAN("inet:"))) {
		if (span_starts(path, SPAN("unix:")))
			path = span_from(path, 5);
		return path.n > 0 && path.n + (path.p[0] == '/' ? 0 : strlen(p->queue_directory) + 1) <= SOCKET_PATH_MAX;
	}
	host = span_from(path, 5);
	colon = span_rindex(host, ':');
	if (colon <= 0)
		return false;
	port = span_from(host, (size_t)colon + 1);
	return span_u64(port, 65535, &number) && number > 0;
}

static void
check_sasl_path(struct conf_loading *l, const struct conf_service *s)
{
	if (!sasl_path_usable(s->params))
		conf_report_add(l->report, CONF_ERROR, s->file, s->line,
		    "write inet:host:port with the port as a number, or the path of a socket, at most 107 bytes with queue_directory",
		    "service %s: smtpd_sasl_path = %s: no authentication service can be there", s->name, s->params->smtpd_sasl_path);
}

static void
check_sasl(struct conf_loading *l, const struct conf_service *s)
{
	if (s->disabled || !s->params->smtpd_sasl_auth_enable)
		return;
	if (strcmp(s->params->smtpd_sasl_type, "dovecot") == 0) {
		check_sasl_path(l, s);
		return;
	}
	conf_report_add(l->report, CONF_ERROR, s->file, s->line,
	    "run Dovecot's authentication service and set smtpd_sasl_type = dovecot and smtpd_sasl_path",
	    "service %s: smtpd_sasl_auth_enable is on, and smtpd_sasl_type = %s does not work in Signet", s->name,
	    s->params->smtpd_sasl_type);
}

/* ---- private keys in tables */

/* Tables of the lookup process would carry private keys through it: keeper reads its own. */
static void
check_sni(struct conf_loading *l, const struct conf_service *s)
{
	static const char *const others[] = { "lmdb:", "unix:" };
	struct span value = span_str(s->params->tls_server_sni_maps);

	if (strcmp(s->command, "smtpd") != 0)
		return;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (span_find_ci(value, span_str(others[i])) >= 0)
			conf_report_add(l->report, CONF_ERROR, s->file, s->line, "use hash:, cdb: or texthash:",
			    "service %s: tls_server_sni_maps: %s tables are read by another process than the one that holds private keys",
			    s->name, others[i]);
}

/* ---- numbers that must fit together */

static void
say_at(struct conf_loading *l, enum conf_severity severity, const char *name, const char *fix, const char *text)
{
	const struct conf_value *v = conf_set_own(l->base, span_str(name));
	const struct conf_def *def = v != NULL ? v->origin : NULL;

	conf_report_add(l->report, severity, def != NULL ? def->file : l->main_file, def != NULL ? def->line : 0, fix,
	    "%s: %s", name, text);
}

static void
check_numbers(struct conf_loading *l)
{
	const struct params *p = l->c->params;
	uint64_t message = p->message_size_limit;

	if (p->mailbox_size_limit > 0 && (message == 0 || p->mailbox_size_limit < message))
		say_at(l, CONF_ERROR, "mailbox_size_limit", "raise it, set it to 0, or lower message_size_limit",
		    "it is smaller than message_size_limit");
	if (p->virtual_mailbox_limit > 0 && (message == 0 || p->virtual_mailbox_limit < message))
		say_at(l, CONF_ERROR, "virtual_mailbox_limit", "raise it, set it to 0, or lower message_size_limit",
		    "it is smaller than message_size_limit");
	if (p->maximal_backoff_time_ms < p->minimal_backoff_time_ms)
		say_at(l, CONF_ERROR, "maximal_backoff_time", NULL, "it is shorter than minimal_backoff_time");
	if (p->queue_run_delay_ms > p->minimal_backoff_time_ms)
		say_at(l, CONF_WARNING, "queue_run_delay", "shorten it, or lengthen minimal_backoff_time",
		    "it is longer than minimal_backoff_time, so mail waits longer than that");
}

/* ---- services */

static void
judge_service(struct conf_loading *l, const struct conf_service *s)
{
	const char *why;
	bool fine;

	if (s->disabled)
		return;
	if (s->chroot)
		conf_report_add(l->report, CONF_NOTE, l->master_file, 0, NULL,
		    "chroot is set for some services; Signet confines its processes in its own way");
	if (conf_command_kind(s->command, &why) != CONF_COMMAND_REFUSED)
		return;
	fine = conf_accepts(s, s->name) || conf_accepts(s, s->command);
	conf_report_add(l->report, fine ? CONF_WARNING : CONF_ERROR, s->file, s->line, fine ? NULL : FIX_ACCEPT,
	    "service %s: the command %s does not work in Signet; it %s", s->name, s->command, why);
}

/* ---- Postfix's own directories */

static bool
exists(const char *dir, const char *name)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) && access(path, F_OK) == 0;
}

static void
check_absolute(struct conf_loading *l, const char *name, const char *path)
{
	if (path[0] != '/')
		say_at(l, CONF_ERROR, name, "write the whole path, beginning with /", "this is no absolute path");
}

static void
check_directories(struct conf_loading *l)
{
	const struct params *p = l->c->params;
	const char *queue = p->queue_directory, *data = p->data_directory;
	const struct conf_def *def = conf_defs_find(&l->main, "queue_directory");

	check_absolute(l, "queue_directory", queue);
	check_absolute(l, "data_directory", data);
	if (!exists(queue, ".signet-spool") && exists(queue, "incoming") && exists(queue, "active") && exists(queue, "deferred"))
		conf_report_add(l->report, CONF_ERROR, def != NULL ? def->file : l->main_file, def != NULL ? def->line : 0,
		    "stop Postfix when its queue is empty and set queue_directory to a new directory, such as "
		    "/var/spool/signet; mail that waits there stays Postfix's to deliver",
		    "queue_directory = %s: this is the queue of a Postfix; Signet does not write into it", queue);
	def = conf_defs_find(&l->main, "data_directory");
	if (exists(data, "master.lock") && exists(data, "prng_exch"))
		conf_report_add(l->report, CONF_ERROR, def != NULL ? def->file : l->main_file, def != NULL ? def->line : 0,
		    "set data_directory to a new directory, such as /var/lib/signet",
		    "data_directory = %s: this belongs to a Postfix; Signet does not write into it", data);
}

void
conf_check_support(struct conf_loading *l)
{
	for (const struct conf_set *s = l->c->sets; s != NULL; s = s->next)
		judge_set(l, s);
	for (size_t i = 0; i < l->c->service_count; i++) {
		const struct conf_service *s = &l->c->services[i];

		judge_service(l, s);
		if (strcmp(s->command, "smtpd") == 0) {
			check_relay(l, s);
			check_sni(l, s);
			check_sasl(l, s);
		}
	}
	check_numbers(l);
	conf_check_together(l);
	if (l->host.files)
		check_directories(l);
}
