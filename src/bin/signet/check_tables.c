/* signet check: are the tables there, and can they be read? */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/params.h"
#include "conf/words.h"
#include "maps/maps.h"
#include "signet/check.h"

struct table_check {
	const struct checker *c;
	const struct conf_item *item;
	struct maps_env env;
	struct buf said;                /* lines */
};

/* What a table says while it loads becomes findings about the parameter that names it; not what its fault says again. */
static void
say_lines(struct table_check *t, const char *fault)
{
	struct span rest = buf_span(&t->said), line;

	while (span_token(&rest, "\n", &line)) {
		if (span_starts(line, SPAN("warning: ")) || span_starts(line, SPAN("error: ")))
			line = span_from(line, (size_t)span_index(line, ' ') + 1);
		if (!span_eq(line, span_str(fault)))
			check_say(t->c, CONF_WARNING, t->item, NULL, "%.*s", SPAN_ARG(line));
	}
	buf_release(&t->said);
}

static void
take_line(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	struct table_check *t = ctx;

	(void)wall_us;
	(void)tag;
	if (level >= LOG_LEVEL_WARNING)
		buf_addf(&t->said, "%s\n", line);
}

static bool
is_indexed(struct span type)
{
	static const char *const types[] = { "hash", "btree", "dbm", "sdbm" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (span_eq_ci(type, span_str(types[i])))
			return true;
	return false;
}

/* These are built from their source text: that is what must be there. */
static void
check_source(const struct table_check *t, struct span label, struct span path)
{
	char name[4096], fix[4200];
	int err;

	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(path));
	err = fd_access(name, R_OK);
	if (err >= 0)
		return;
	snprintf(fix, sizeof(fix), "create %s, or take the table out", name);
	check_say(t->c, CONF_ERROR, t->item, fix, "%.*s: the source text of the table cannot be read: %s",
	    SPAN_ARG(label), fd_error(err));
}

static void
check_open(struct table_check *t, struct span label)
{
	struct maps *m = NULL;
	struct fault why;

	fault_clear(&why);
	buf_init(&t->said, 1 << 20);
	log_set_sink(take_line, NULL, t);
	/* what cannot be opened at all is said by maps_conf_check, except in restrictions */
	if (!maps_open(label, 0, &t->env, &m, &why)) {
		if (t->item->row->type != PARAM_MAP_LIST)
			check_say(t->c, CONF_ERROR, t->item, NULL, "%s", why.text);
	} else if (!maps_check(m, &why)) {
		check_say(t->c, CONF_ERROR, t->item, "create it, or take it out", "%s", why.text);
	}
	log_set_sink(NULL, NULL, NULL);
	say_lines(t, why.text);
	maps_unref(&m);
}

static void
check_label(struct table_check *t, struct span label)
{
	struct span type, name;
	const struct word_row *row;
	struct span rest = label;

	if (span_starts(label, SPAN("{"))) {    /* "{ type:table { options } }" */
		rest = span_slice(label, 1, label.n - 1);
		if (!word_next(&rest, &label) || label.p[0] == '{')
			return;
	}
	while (span_starts(label, SPAN("proxy:")))
		label = span_from(label, 6);
	if (!span_cut(label, ':', &type, &name) || type.n == 0)
		return;
	row = word_table_type(type);
	if (row == NULL || row->state != PARAM_WORKS)   /* said when the configuration was loaded */
		return;
	if (is_indexed(type))
		check_source(t, label, name);
	else if (!span_eq_ci(type, SPAN("unionmap")) && !span_eq_ci(type, SPAN("pipemap")))
		check_open(t, label);
}

/* "/file/name" in a list of names: half a list is none, so everything that asks it would wait. */
static void
check_file(const struct table_check *t, struct span word)
{
	static const char *const lists[] = { "mydestination", "mynetworks", "relay_domains", "virtual_alias_domains",
		"virtual_mailbox_domains", "fast_flush_domains", "debug_peer_list" };
	char name[4096];
	int err;

	if (span_starts(word, SPAN("!")))
		word = span_from(word, 1);
	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(word));
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]) && name[0] == '/'; i++)
		if (strcmp(lists[i], t->item->name) == 0 && (err = fd_access(name, R_OK)) < 0)
			check_say(t->c, CONF_ERROR, t->item, "create it, or take it out", "%s: %s", name, fd_error(err));
}

static bool
may_name_tables(const struct conf_item *i)
{
	if (i->value == NULL || i->row == NULL)
		return false;
	if (i->file == NULL)            /* the one default that names a table */
		return strcmp(i->name, "alias_maps") == 0;
	if (i->row->state == PARAM_NOT_YET || i->row->state == PARAM_OBSOLETE)
		return false;
	return i->row->type == PARAM_MAP_LIST || i->row->type == PARAM_RESTRICTION ||
	    (i->row->type == PARAM_LIST && i->row->words[0] == '\0');
}

static void
check_item(const struct checker *c, const struct params *p, const struct conf_item *i)
{
	struct table_check t = { .c = c, .item = i };
	struct span rest = span_str(i->value), label;

	if (!may_name_tables(i))
		return;
	t.env = (struct maps_env){ .data_directory = p->data_directory, .default_database_type = p->default_database_type,
		.alias_tables = p->alias_maps, .direct = true };
	while (word_next(&rest, &label)) {
		const struct word_row *word = i->row->type == PARAM_RESTRICTION ? word_restriction(label) : NULL;

		if (word != NULL && word->argument == WORD_TEXT) {      /* "check_policy_service unix:private/x" names no table */
			word_next(&rest, &label);
			continue;
		}
		check_file(&t, label);
		check_label(&t, label);
	}
}

void
check_tables(const struct checker *c)
{
	size_t n;
	struct conf_item *items = conf_items(c->conf->none, &n);

	for (size_t i = 0; i < n; i++)
		check_item(c, c->conf->params, &items[i]);
	conf_items_free(&items);
	for (size_t s = 0; s < c->conf->service_count; s++) {
		items = conf_items(&c->conf->services[s], &n);
		for (size_t i = 0; i < n; i++)
			if (items[i].overridden)
				check_item(c, c->conf->services[s].params, &items[i]);
		conf_items_free(&items);
	}
}
