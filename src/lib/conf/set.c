/*
 * Sets of values: what main.cf, the overrides of one service and the defaults give
 * for every name. A set beyond the first holds only values that its overrides change,
 * directly or through $references.
 */
#include <fcntl.h>

#include "base/fd.h"
#include "base/panic.h"
#include "conf/conf_private.h"
#include "conf/params.h"

struct eval {
	struct conf_loading *l;
	struct conf_set *set;
	const struct conf_entry *entry;         /* NULL = main.cf alone */
	struct conf_value *current;             /* whose text is being expanded */
	unsigned depth;
	bool stress;
};

/* ---- the container */

struct conf_value *
conf_set_own(const struct conf_set *s, struct span name)
{
	HMAP_EACH_HASH(n, &s->values, span_hash(name)) {
		struct conf_value *v = HMAP_ENTRY(n, struct conf_value, node);

		if (span_eq(span_str(v->name), name))
			return v;
	}
	return NULL;
}

struct conf_value *
conf_set_find(const struct conf_set *s, struct span name)
{
	struct conf_value *v = conf_set_own(s, name);

	return v != NULL || s->base == NULL ? v : conf_set_own(s->base, name);
}

struct conf_value *
conf_set_add(struct conf_set *s, struct arena *a, struct span name)
{
	struct conf_value *v = ARENA_NEW(a, struct conf_value);

	v->name = arena_cstr(a, name);
	hmap_add(&s->values, &v->node, span_hash(name));
	if (s->last != NULL)
		s->last->next = v;
	else
		s->first = v;
	s->last = v;
	return v;
}

struct conf_set *
conf_set_new(struct conf *c, const char *key)
{
	struct conf_set *s = ARENA_NEW(c->arena, struct conf_set), **at = &c->sets;

	s->key = key;
	s->base = c->sets;
	for (; *at != NULL; at = &(*at)->next)
		s->id++;
	*at = s;
	return s;
}

void
conf_set_release(struct conf_set *s)
{
	hmap_release(&s->values);
}

/* ---- evaluation */

static bool evaluate(struct eval *e, struct conf_value *v, struct fault *why);

static const char *
where_file(const struct eval *e, const struct conf_value *v)
{
	return v->origin != NULL ? v->origin->file : e->l->main_file;
}

static unsigned
where_line(const struct conf_value *v)
{
	return v->origin != NULL ? v->origin->line : 0;
}

static const struct conf_def *
find_def(const struct eval *e, const char *name)
{
	struct conf_def *def = e->entry != NULL ? conf_defs_find(&e->entry->over, name) : NULL;

	return def != NULL ? def : conf_defs_find(&e->l->main, name);
}

static void
note_ref(struct eval *e, struct conf_value *from, const char *to)
{
	struct conf_ref *r = ARENA_NEW(e->l->a, struct conf_ref);

	r->name = to;
	r->next = from->refs;
	from->refs = r;
}

/* Does an override of this service change the value that `name` has in the first set? */
static bool
is_affected(const struct eval *e, const char *name, unsigned depth)
{
	const struct conf_value *v;

	if ((e->entry != NULL && conf_defs_find(&e->entry->over, name) != NULL) ||
	    (e->stress && strcmp(name, "stress") == 0) || strcmp(name, "service_name") == 0 ||
	    strcmp(name, "process_name") == 0)
		return true;
	v = conf_set_own(e->l->base, span_str(name));
	if (v == NULL || depth > CONF_DEPTH_MAX)
		return v == NULL;
	for (const struct conf_ref *r = v->refs; r != NULL; r = r->next)
		if (is_affected(e, r->name, depth + 1))
			return true;
	return false;
}

/* The evaluated entry of a name in this set or, when no override touches it, in the base. */
static struct conf_value *
value_of(struct eval *e, struct span name, struct fault *why)
{
	struct conf_value *v = conf_set_own(e->set, name);
	char key[256];

	if (v == NULL && name.n < sizeof(key)) {
		memcpy(key, name.p, name.n);
		key[name.n] = '\0';
		if (e->set != e->l->base && !is_affected(e, key, 0))
			return conf_set_own(e->l->base, name);
	}
	if (v == NULL)
		v = conf_set_add(e->set, e->l->a, name);
	if (v->phase == VALUE_BUSY) {
		fault_set(why, "", "its value refers to itself, through $%s", v->name);
		return NULL;
	}
	if (v->phase == VALUE_NEW && !evaluate(e, v, why))
		return NULL;
	return v;
}

static bool
lookup(void *ctx, struct span name, const char **value_r)
{
	struct eval *e = ctx;
	struct conf_value *from = e->current, *v;
	struct fault why;
	struct conf_def *def;

	fault_clear(&why);
	v = value_of(e, name, &why);
	if (v == NULL) {
		conf_report_add(e->l->report, CONF_ERROR, where_file(e, from), where_line(from), NULL, "%s: %s",
		    from->name, why.text);
		return false;
	}
	note_ref(e, from, v->name);
	def = conf_defs_find(&e->l->main, v->name);
	if (def != NULL)
		def->used = true;
	if (from->origin == NULL)
		from->origin = v->origin;
	if (v->value == NULL && v->phase == VALUE_DONE && from->def != NULL && param_find_pattern(v->name) == NULL)
		conf_report_add(e->l->report, CONF_WARNING, where_file(e, from), where_line(from),
		    "define it, or take it out", "%s: $%s is not defined and stands for nothing", from->name, v->name);
	*value_r = v->value;
	return true;
}

/* A value another one depends on, by name; "" when it cannot be had. */
static const char *
need(struct eval *e, struct conf_value *for_whom, const char *name)
{
	struct fault why;
	struct conf_value *v;

	fault_clear(&why);
	note_ref(e, for_whom, name);
	v = value_of(e, span_str(name), &why);
	return v != NULL && v->value != NULL ? v->value : "";
}

/* What (computed) stands for. */
static const char *
computed(struct eval *e, struct conf_value *v)
{
	struct conf_loading *l = e->l;

	if (strcmp(v->name, "myhostname") == 0)
		return conf_host_myhostname(&l->host, l->a,
		    find_def(e, "mydomain") != NULL ? need(e, v, "mydomain") : NULL);
	if (strcmp(v->name, "mydomain") == 0)
		return conf_host_mydomain(l->a, need(e, v, "myhostname"));
	if (strcmp(v->name, "mynetworks") == 0)
		return conf_host_networks(&l->host, l->a, need(e, v, "mynetworks_style"),
		    need(e, v, "inet_interfaces"), need(e, v, "inet_protocols"));
	if (strcmp(v->name, "config_directory") == 0)
		return l->c->dir;
	if (strcmp(v->name, "service_name") == 0)
		return e->entry != NULL ? e->entry->s.name : "";
	if (strcmp(v->name, "process_name") == 0)
		return e->entry != NULL ? e->entry->s.command : "";
	return SIGNET_VERSION;
}

static const char *
raw_text(struct eval *e, struct conf_value *v)
{
	if (e->stress && strcmp(v->name, "stress") == 0)
		return "yes";
	if (v->def != NULL)
		return v->def->raw;
	if (v->row == NULL)
		return NULL;
	return v->row->computed ? computed(e, v) : v->row->def;
}

/* `myorigin = /etc/mailname`: the first line of that file. */
static bool
from_file(struct eval *e, struct conf_value *v, struct fault *why)
{
	struct span line, rest;
	struct buf b;
	int err;

	if (strcmp(v->name, "myorigin") != 0 || v->value[0] != '/' || !e->l->host.files)
		return true;
	buf_init(&b, 65536);
	err = fd_read_file(AT_FDCWD, v->value, &b);
	if (err >= 0) {
		span_cut(buf_span(&b), '\n', &line, &rest);
		v->value = arena_cstr(e->l->a, span_trim(line));
	}
	buf_release(&b);
	return err >= 0 || fault_set(why, "", "cannot read %s: %s", v->value, fd_error(err));
}

static bool
expand_into(struct eval *e, struct conf_value *v, const char *raw, struct fault *why)
{
	struct conf_value *outer = e->current;
	struct buf out;
	bool ok;

	buf_init(&out, CONF_VALUE_MAX + 1);
	e->current = v;
	ok = conf_expand(span_str(raw), lookup, e, &out, why);
	e->current = outer;
	if (ok && e->l->total + out.n > CONF_TOTAL_MAX)
		ok = fault_set(why, "", "all expanded values together are longer than %u bytes", CONF_TOTAL_MAX);
	if (ok) {
		e->l->total += out.n;
		v->value = arena_cstr(e->l->a, span_trim(buf_span(&out)));
	}
	buf_release(&out);
	return ok && from_file(e, v, why);
}

/* Said once here, not at every default that compares the level. */
static void
check_level(struct eval *e, struct conf_value *v)
{
	if (strcmp(v->name, "compatibility_level") != 0 || v->value == NULL || conf_is_level(span_str(v->value)))
		return;
	conf_report_add(e->l->report, CONF_ERROR, where_file(e, v), where_line(v), "write x, x.y or x.y.z, such as 3.10",
	    "compatibility_level = %s: this is no compatibility level", v->value);
	v->value = "0";
}

static void
report_bad(struct eval *e, const struct conf_value *v, const struct fault *why)
{
	if (why->text[0] == '\0')       /* already said where it happened */
		return;
	conf_report_add(e->l->report, v->row != NULL ? CONF_ERROR : CONF_WARNING, where_file(e, v), where_line(v),
	    NULL, "%s: %s", v->name, why->text);
}

static bool
evaluate(struct eval *e, struct conf_value *v, struct fault *why)
{
	const char *raw;
	struct fault bad;
	bool ok;

	if (e->depth > CONF_DEPTH_MAX)
		return fault_set(why, "", "values refer to each other more than %u deep", CONF_DEPTH_MAX);
	fault_clear(&bad);
	v->phase = VALUE_BUSY;
	v->row = param_find(v->name);
	v->def = v->origin = find_def(e, v->name);
	raw = raw_text(e, v);
	e->depth++;
	if (raw == NULL || (v->row != NULL && v->row->raw) || (v->def == NULL && v->row->computed)) {
		v->value = raw;
		ok = true;
	} else {
		ok = expand_into(e, v, raw, &bad);
	}
	e->depth--;
	check_level(e, v);
	v->phase = ok ? VALUE_DONE : VALUE_BAD;
	if (!ok) {
		v->value = NULL;
		report_bad(e, v, &bad);
	}
	return true;
}

/* ---- types */

/* Is the value what the default would give? Then nobody asked for anything. */
static bool
equals_default(struct eval *e, const struct conf_value *v)
{
	struct conf_value scratch = { .name = v->name, .row = v->row };
	struct fault why;

	if (v->def == NULL || v->value == NULL)
		return true;
	if (v->row->computed)
		return false;
	if (v->row->raw)
		return strcmp(v->value, v->row->def) == 0;
	fault_clear(&why);
	return expand_into(e, &scratch, v->row->def, &why) && strcmp(scratch.value, v->value) == 0;
}

static bool
is_accepted(struct eval *e, const char *name)
{
	struct conf_value *v = conf_set_find(e->set, SPAN("accept_unsupported"));

	return v != NULL && v->value != NULL && conf_list_has(v->value, name);
}

static void
report_word(struct eval *e, const struct conf_value *v, const char *word)
{
	bool fine = is_accepted(e, v->name) || is_accepted(e, word);

	conf_report_add(e->l->report, fine ? CONF_WARNING : CONF_ERROR, where_file(e, v), where_line(v),
	    fine ? NULL : "use another value, or name it in accept_unsupported", "%s = %s: this value does not work yet",
	    v->name, word);
}

/* A value that is right for the row, when neither what is written nor the default can be had. */
static const char *
any_value(struct eval *e, const struct param_row *row)
{
	struct span word, rest;

	switch (row->type) {
	case PARAM_BOOL:
		return "no";
	case PARAM_INT:
	case PARAM_SIZE:
		return arena_printf(e->l->a, "%lld", (long long)row->min).p;
	case PARAM_TIME:
		return arena_printf(e->l->a, "%llds", (long long)row->min).p;
	case PARAM_ENUM:
		span_cut(span_str(row->words), '|', &word, &rest);
		return arena_cstr(e->l->a, word);
	case PARAM_STRING:
	case PARAM_LIST:
	case PARAM_MAP_LIST:
	case PARAM_PATH:
	case PARAM_RESTRICTION:
		return "";
	}
	panic("param_type %d", (int)row->type);
}

/* A value of the wrong type is reported; the default takes its place so that checking can go on. */
static void
check_type(struct eval *e, struct conf_value *v)
{
	const char *canonical, *not_yet;
	struct fault why;

	if (v->row == NULL || v->row->pattern)
		return;
	v->is_default = equals_default(e, v);
	fault_clear(&why);
	if (v->value != NULL &&
	    conf_value_check(v->row, v->value, &canonical, &not_yet, e->l->a, &why)) {
		v->value = canonical;
		if (not_yet != NULL && !v->is_default)
			report_word(e, v, not_yet);
		return;
	}
	if (v->value != NULL)
		conf_report_add(e->l->report, CONF_ERROR, where_file(e, v), where_line(v), NULL, "%s = %s: %s",
		    v->name, v->value, why.text);
	fault_clear(&why);
	if (!expand_into(e, v, v->row->def, &why) ||
	    !conf_value_check(v->row, v->value, &canonical, NULL, e->l->a, &why))
		v->value = any_value(e, v->row);
}

/* ---- all names */

static void
evaluate_all(struct eval *e)
{
	struct conf_loading *l = e->l;
	struct fault why;

	fault_clear(&why);
	(void)value_of(e, SPAN("accept_unsupported"), &why);
	for (size_t i = 0; i < param_count; i++)
		if (!param_rows[i].pattern)
			(void)value_of(e, span_str(param_rows[i].name), &why);
	for (size_t i = 0; i < l->main.count; i++)
		(void)value_of(e, span_str(l->main.list[i]->name), &why);
	for (size_t i = 0; e->entry != NULL && i < e->entry->over.count; i++)
		(void)value_of(e, span_str(e->entry->over.list[i]->name), &why);
	for (struct conf_value *v = e->set->first; v != NULL; v = v->next)
		check_type(e, v);
}

static const char *
set_key(struct conf_loading *l, const struct conf_entry *entry, bool stress)
{
	struct buf b;
	const char *key;

	buf_init(&b, CONF_FILE_MAX * 2);
	for (size_t i = 0; entry != NULL && i < entry->over.count; i++)
		buf_addf(&b, "%s=%s\n", entry->over.list[i]->name, entry->over.list[i]->raw);
	if (stress)
		buf_add_str(&b, "(stress)\n");
	if (entry != NULL && l->names_service)
		buf_addf(&b, "(%s %s)\n", entry->s.name, entry->s.command);
	key = arena_cstr(l->a, buf_span(&b));
	buf_release(&b);
	return key;
}

struct conf_set *
conf_set_eval(struct conf_loading *l, const struct conf_entry *entry, bool stress)
{
	const char *key = set_key(l, entry, stress);
	struct eval e = { .l = l, .entry = entry, .stress = stress };

	for (struct conf_set *s = l->c->sets; s != NULL; s = s->next)
		if (strcmp(s->key, key) == 0)
			return s;
	e.set = conf_set_new(l->c, key);
	if (l->base == NULL)
		l->base = e.set;
	evaluate_all(&e);
	return e.set;
}

/* ---- struct params */

static void
store(const struct conf_value *v, struct params *p)
{
	if (v != NULL && v->value != NULL)
		conf_value_store(v->row, v->value, p);
}

static void
fill_lmtp(const struct conf_set *s, struct params *p)
{
	for (size_t i = 0; i < param_count; i++)
		if (param_rows[i].mirror != NULL && !param_rows[i].pattern)
			store(conf_set_find(s, span_str(param_rows[i].name)), p);
}

const struct params *
conf_set_params(struct conf_set *s, struct arena *a, bool lmtp)
{
	if (s->params == NULL) {
		s->params = ARENA_NEW(a, struct params);
		if (s->base != NULL && s->base->params != NULL)
			*s->params = *s->base->params;
		for (const struct conf_value *v = s->first; v != NULL; v = v->next)
			if (v->row != NULL && !v->row->pattern && v->row->mirror == NULL)
				store(v, s->params);
	}
	if (lmtp && s->params_lmtp == NULL) {
		s->params_lmtp = ARENA_NEW(a, struct params);
		*s->params_lmtp = *s->params;
		fill_lmtp(s, s->params_lmtp);
	}
	return lmtp ? s->params_lmtp : s->params;
}
