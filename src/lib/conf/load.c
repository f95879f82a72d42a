/* Loading: files (or texts) to definitions, definitions to sets, sets to services. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/conf_private.h"
#include "conf/params.h"

static struct conf *
new_conf(const char *dir)
{
	struct arena *a = arena_new(CONF_ARENA_MAX);
	struct conf *c = ARENA_NEW(a, struct conf);
	char here[4096];

	c->arena = a;
	c->refs = 1;
	/* processes that read it may stand elsewhere */
	if (dir[0] != '/' && getcwd(here, sizeof(here)) != NULL)
		c->dir = arena_printf(a, "%s/%s", here, dir).p;
	else
		c->dir = arena_cstr(a, span_str(dir));
	return c;
}

struct conf *
conf_ref(struct conf *c)
{
	c->refs++;
	return c;
}

void
conf_unref(struct conf **c)
{
	struct conf *gone = *c;
	struct arena *a;

	*c = NULL;
	if (gone == NULL || --gone->refs > 0)
		return;
	for (struct conf_set *s = gone->sets; s != NULL; s = s->next)
		conf_set_release(s);
	a = gone->arena;
	arena_free(&a);
}

/* ---- services */

static int
default_maxproc(const struct conf_loading *l)
{
	const struct conf_value *v = conf_set_find(l->base, SPAN("default_process_limit"));
	int64_t limit = 100;

	if (v != NULL && v->value != NULL)
		conf_value_int(v->value, &limit);
	return (int)limit;
}

/* "name/type" or "type" in master_service_disable. */
static bool
is_disabled(const struct conf_loading *l, const struct conf_service *s)
{
	static const char *const words[] = { "inet", "unix", "unix-dgram", "fifo", "pass" };
	const struct conf_value *v = conf_set_find(l->base, SPAN("master_service_disable"));
	struct buf both;
	bool hit;

	if (v == NULL || v->value == NULL || *v->value == '\0')
		return false;
	buf_init(&both, 4096);
	buf_addf(&both, "%s/%s", s->name, words[s->type]);
	hit = conf_list_has(v->value, words[s->type]) || conf_list_has(v->value, buf_cstr(&both));
	buf_release(&both);
	return hit;
}

static void
finish_service(struct conf_loading *l, struct conf_entry *e)
{
	struct conf_service *s = &e->s;
	bool lmtp = strcmp(s->command, "lmtp") == 0;
	struct conf_set *set = conf_set_eval(l, e, false);
	struct conf_set *stress = strcmp(s->command, "smtpd") == 0 ? conf_set_eval(l, e, true) : set;

	s->set = set;
	s->params = conf_set_params(set, l->a, lmtp);
	s->stress = conf_set_params(stress, l->a, lmtp);
	s->log_tag = arena_printf(l->a, "%s/%s", s->params->syslog_name, s->command).p;
	if (s->maxproc < 0)
		s->maxproc = default_maxproc(l);
	s->disabled = is_disabled(l, s);
}

static void
evaluate_services(struct conf_loading *l)
{
	struct conf_service *list = ARENA_ARRAY(l->a, struct conf_service, l->entry_count + 1);
	struct conf_entry none = { .s = { .name = "", .command = "", .args = "", .file = "" } };

	none.s.set = conf_set_eval(l, NULL, false);
	none.s.params = none.s.stress = conf_set_params(l->base, l->a, false);
	none.s.log_tag = none.s.params->syslog_name;
	list[l->entry_count] = none.s;
	for (size_t i = 0; i < l->entry_count; i++) {
		finish_service(l, &l->entries[i]);
		list[i] = l->entries[i].s;
	}
	l->c->services = list;
	l->c->service_count = l->entry_count;
	l->c->none = &list[l->entry_count];
	l->c->params = l->c->none->params;
}

/* Does any text name the service it is read for? Then services cannot share their values. */
static bool
defs_name_service(const struct conf_defs *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (strstr(d->list[i]->raw, "service_name") != NULL || strstr(d->list[i]->raw, "process_name") != NULL)
			return true;
	return false;
}

/* Into main.cf, and in place of what services say. */
static void
apply_with(struct conf_loading *l)
{
	unsigned old;

	for (size_t i = 0; i < l->with_count; i++) {
		struct span name = span_str(l->with[i].name), value = span_str(l->with[i].value);

		conf_defs_put(&l->main, l->a, name, value, "command line", 0, &old);
		for (size_t k = 0; k < l->entry_count; k++)
			if (conf_defs_find(&l->entries[k].over, l->with[i].name) != NULL)
				conf_defs_put(&l->entries[k].over, l->a, name, value, "command line", 0, &old);
	}
}

static void
load_texts(struct conf_loading *l, struct span main_cf, struct span master_cf)
{
	conf_read_main(l, main_cf);
	conf_read_master(l, master_cf);
	apply_with(l);
	l->names_service = defs_name_service(&l->main);
	for (size_t i = 0; i < l->entry_count; i++)
		l->names_service = l->names_service || defs_name_service(&l->entries[i].over);
	evaluate_services(l);
	conf_check_support(l);
	for (size_t i = 0; i < l->entry_count; i++)
		conf_defs_release(&l->entries[i].over);
	free(l->entries);
	conf_defs_release(&l->main);
}

static bool
read_file(struct conf_loading *l, const char *file, struct buf *b)
{
	int err = fd_read_file(AT_FDCWD, file, b);

	if (err == -EFBIG)
		conf_report_add(l->report, CONF_ERROR, file, 0, NULL, "longer than %u bytes", CONF_FILE_MAX);
	else if (err < 0)
		conf_report_add(l->report, CONF_ERROR, file, 0, NULL, "cannot read it: %s", fd_error(err));
	else if (b->n > 0 && memchr(b->p, '\0', b->n) != NULL)
		conf_report_add(l->report, CONF_ERROR, file, 0, NULL, "it holds a NUL byte and is no text");
	else
		return true;
	return false;
}

static const char *
path_in(struct conf *c, const char *name)
{
	return arena_printf(c->arena, "%s/%s", c->dir, name).p;
}

bool
conf_load(const char *dir, struct conf **conf_r, struct conf_report *report)
{
	return conf_load_with(dir, NULL, 0, conf_r, report);
}

bool
conf_load_with(const char *dir, const struct conf_override *over, size_t count, struct conf **conf_r,
    struct conf_report *report)
{
	struct conf *c = new_conf(dir);
	struct conf_loading l = { .c = c, .a = c->arena, .report = report, .with = over, .with_count = count };
	struct buf main_cf, master_cf;
	bool ok;

	buf_init(&main_cf, CONF_FILE_MAX);
	buf_init(&master_cf, CONF_FILE_MAX);
	l.main_file = path_in(c, "main.cf");
	l.master_file = path_in(c, "master.cf");
	ok = read_file(&l, l.main_file, &main_cf);
	ok = read_file(&l, l.master_file, &master_cf) && ok;
	if (ok) {
		conf_host_init(&l.host, l.a);
		load_texts(&l, buf_span(&main_cf), buf_span(&master_cf));
	} else {
		conf_unref(&c);
	}
	buf_release(&main_cf);
	buf_release(&master_cf);
	*conf_r = c;
	return report->errors == 0;
}

bool
conf_parse(struct span main_cf, struct span master_cf, struct conf **conf_r, struct conf_report *report)
{
	struct conf *c = new_conf("/etc/signet");
	struct conf_loading l = { .c = c, .a = c->arena, .report = report };

	l.main_file = "main.cf";
	l.master_file = "master.cf";
	conf_host_test(&l.host, l.a);
	if (main_cf.n > CONF_FILE_MAX || master_cf.n > CONF_FILE_MAX ||
	    (main_cf.n > 0 && memchr(main_cf.p, '\0', main_cf.n) != NULL) ||
	    (master_cf.n > 0 && memchr(master_cf.p, '\0', master_cf.n) != NULL)) {
		conf_report_add(report, CONF_ERROR, "main.cf", 0, NULL, "too long, or no text");
		conf_unref(&c);
	} else {
		load_texts(&l, main_cf, master_cf);
	}
	*conf_r = c;
	return report->errors == 0;
}

/* ---- questions */

static bool
is_inet(const struct conf_service *s)
{
	return s->type == CONF_SERVICE_INET || s->type == CONF_SERVICE_PASS;
}

const struct conf_service *
conf_find_service(const struct conf *c, const char *name, bool inet)
{
	for (size_t i = 0; i < c->service_count; i++)
		if (is_inet(&c->services[i]) == inet && strcmp(c->services[i].name, name) == 0)
			return &c->services[i];
	return NULL;
}

const struct conf_service *
conf_next_command(const struct conf *c, const char *command, const struct conf_service *after)
{
	for (size_t i = after != NULL ? (size_t)(after - c->services) + 1 : 0; i < c->service_count; i++)
		if (!c->services[i].disabled && strcmp(c->services[i].command, command) == 0)
			return &c->services[i];
	return NULL;
}

const char *
conf_get(const struct conf_service *s, const char *name)
{
	const struct conf_value *v = conf_set_find(s->set, span_str(name));
	const struct param_row *row;

	if (v != NULL)
		return v->value;
	/* a family's default is one $name or plain text */
	row = param_find_pattern(name);
	if (row == NULL)
		return NULL;
	if (row->def[0] != '$')
		return row->def;
	v = conf_set_find(s->set, span_str(row->def + 1));
	return v != NULL ? v->value : NULL;
}

bool
conf_get_int(const struct conf_service *s, const char *name, int *value_r)
{
	const char *value = conf_get(s, name);
	int64_t v;

	if (value == NULL || !conf_value_int(value, &v) || v > INT32_MAX || v < INT32_MIN)
		return false;
	*value_r = (int)v;
	return true;
}

bool
conf_get_ms(const struct conf_service *s, const char *name, int64_t *value_r)
{
	const char *value = conf_get(s, name);

	return value != NULL && conf_time_ms(value, value_r);
}

bool
conf_time_ms(const char *text, int64_t *value_r)
{
	int64_t v;

	if (!conf_value_time(text, 's', &v) || v > INT32_MAX)
		return false;
	*value_r = v * 1000;
	return true;
}

bool
conf_list_has(const char *list, const char *word)
{
	struct span rest = span_str(list), token;

	while (span_token(&rest, ", \t\r\n", &token))
		if (span_eq(token, span_str(word)))
			return true;
	return false;
}

bool
conf_accepts(const struct conf_service *s, const char *name)
{
	return conf_list_has(s->params->accept_unsupported, name);
}
