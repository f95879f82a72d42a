/*
 * Canonical text: the configuration with every value expanded, as master hands it to
 * the roles in a sealed memfd. Line by line, nothing quoted, because no value holds a
 * line end:
 *
 *	signet-conf 1
 *	dir /etc/signet
 *	set                                     main.cf alone; then one per kind of overrides
 *	myhostname = mail.example.com
 *	given NAME                              set, where the default depends on compatibility_level
 *	service SET STRESS TYPE PRIVATE UNPRIV CHROOT IFUSED DISABLED WAKEUP MAXPROC VERBOSE LINE
 *	NAME, COMMAND, ARGS, TAG, FILE          one line each, as in "name relay"
 *	end
 */
#include "conf/conf_private.h"
#include "conf/params.h"

#define HEAD "signet-conf 1"
#define NUMBERS 12

/* Its default is another one below some compatibility_level: then who said the value matters. */
static bool
is_compatible(const struct conf_value *v)
{
	return v->row != NULL && v->row->def != NULL && strstr(v->row->def, "$compatibility_level") != NULL;
}

static void
write_set(const struct conf_set *s, struct buf *out)
{
	buf_add_str(out, "set\n");
	for (const struct conf_value *v = s->first; v != NULL; v = v->next)
		if (v->value != NULL) {
			buf_addf(out, "%s = %s\n", v->name, v->value);
			if (is_compatible(v) && (v->def != NULL || v->given))
				buf_addf(out, "given %s\n", v->name);
		}
}

/* Which set has these params as its own? */
static unsigned
set_of(const struct conf *c, const struct params *p)
{
	for (const struct conf_set *s = c->sets; s != NULL; s = s->next)
		if (s->params == p || s->params_lmtp == p)
			return s->id;
	return 0;
}

static void
write_service(const struct conf *c, const struct conf_service *s, struct buf *out)
{
	buf_addf(out, "service %u %u %d %d %d %d %d %d %d %d %d %u\n", s->set->id, set_of(c, s->stress), (int)s->type,
	    s->is_private, s->unpriv, s->chroot, s->wakeup_if_used, s->disabled, s->wakeup_s, s->maxproc, s->verbose,
	    s->line);
	buf_addf(out, "name %s\ncommand %s\nargs %s\ntag %s\nfile %s\n", s->name, s->command, s->args, s->log_tag,
	    s->file);
}

void
conf_write(const struct conf *c, struct buf *out)
{
	buf_addf(out, "%s\ndir %s\n", HEAD, c->dir);
	for (const struct conf_set *s = c->sets; s != NULL; s = s->next)
		write_set(s, out);
	for (size_t i = 0; i < c->service_count; i++)
		write_service(c, &c->services[i], out);
	buf_add_str(out, "end\n");
}

/* ---- reading */

struct reader {
	struct conf *c;
	struct span rest, line;         /* `line` is the current one */
	unsigned number;
	struct fault *why;
	struct conf_service *services;
	size_t count;
	size_t set_count;
};

static bool
next(struct reader *r)
{
	if (r->rest.n == 0)
		return false;
	span_cut(r->rest, '\n', &r->line, &r->rest);
	r->number++;
	return true;
}

static bool
bad(struct reader *r, const char *what)
{
	return fault_set(r->why, "", "configuration text, line %u: %s", r->number, what);
}

/* The current line is `key text`: the text. */
static bool
keyed(struct reader *r, struct span key, const char **text_r)
{
	struct span head, tail;

	span_cut(r->line, ' ', &head, &tail);
	if (!span_eq(head, key))
		return bad(r, "unexpected line");
	*text_r = arena_cstr(r->c->arena, tail);
	return true;
}

static bool
read_given(struct reader *r, struct conf_set *set)
{
	struct conf_value *v = conf_set_own(set, span_from(r->line, sizeof("given ") - 1));

	if (v == NULL)
		return bad(r, "no such name");
	v->given = true;
	return true;
}

static bool
read_value(struct reader *r, struct conf_set *set)
{
	ptrdiff_t at = span_find(r->line, SPAN(" = "));
	const char *canonical;
	struct conf_value *v;

	if (at <= 0 && span_starts(r->line, SPAN("given ")))
		return read_given(r, set);
	if (at <= 0)
		return bad(r, "no value");
	if (conf_set_own(set, span_slice(r->line, 0, (size_t)at)) != NULL)
		return bad(r, "a name stands there twice");
	v = conf_set_add(set, r->c->arena, span_slice(r->line, 0, (size_t)at));
	v->value = arena_cstr(r->c->arena, span_from(r->line, (size_t)at + 3));
	v->phase = VALUE_DONE;
	v->row = param_find(v->name);
	if (v->row == NULL || v->row->pattern)
		return true;
	if (!conf_value_check(v->row, v->value, &canonical, NULL, r->c->arena, r->why)) {
		fault_prefix(r->why, "configuration text, line %u: %s", r->number, v->name);
		return false;
	}
	v->value = canonical;
	return true;
}

/* Every known name must have its value in the first set: struct params has no holes. */
static bool
is_complete(struct reader *r, const struct conf_set *base)
{
	for (size_t i = 0; i < param_count; i++) {
		const struct conf_value *v;

		if (param_rows[i].pattern)
			continue;
		v = conf_set_own(base, span_str(param_rows[i].name));
		if (v == NULL || v->value == NULL)
			return fault_set(r->why, "", "configuration text: %s is missing", param_rows[i].name);
	}
	return true;
}

static bool
read_set(struct reader *r)
{
	struct conf_set *set = conf_set_new(r->c, "");

	while (next(r)) {
		if (span_eq(r->line, SPAN("set")) || span_starts(r->line, SPAN("service ")) || span_eq(r->line, SPAN("end"))) {
			r->set_count++;
			if (set->base == NULL && !is_complete(r, set))
				return false;
			conf_set_params(set, r->c->arena, false);
			return true;
		}
		if (!read_value(r, set))
			return false;
	}
	return bad(r, "the end is missing");
}

static struct conf_set *
set_number(const struct conf *c, uint64_t id)
{
	struct conf_set *s = c->sets;

	while (s != NULL && s->id != id)
		s = s->next;
	return s;
}

static bool
read_numbers(struct reader *r, uint64_t n[NUMBERS])
{
	struct span rest = span_from(r->line, sizeof("service ") - 1), t;

	for (size_t i = 0; i < NUMBERS; i++)
		if (!span_token(&rest, " ", &t) || !span_u64(t, INT32_MAX, &n[i]))
			return bad(r, "a number is missing");
	if (n[0] >= r->set_count || n[1] >= r->set_count || n[2] > CONF_SERVICE_PASS)
		return bad(r, "a number is out of range");
	return true;
}

static void
take_numbers(struct conf_service *s, const uint64_t n[NUMBERS])
{
	s->type = (enum conf_service_type)n[2];
	s->is_private = n[3] != 0;
	s->unpriv = n[4] != 0;
	s->chroot = n[5] != 0;
	s->wakeup_if_used = n[6] != 0;
	s->disabled = n[7] != 0;
	s->wakeup_s = (int)n[8];
	s->maxproc = (int)n[9];
	s->verbose = (int)n[10];
	s->line = (unsigned)n[11];
}

static bool
read_service(struct reader *r)
{
	struct conf_service *s = &r->services[r->count];
	struct conf_set *set, *stress;
	uint64_t n[NUMBERS];
	bool lmtp;

	if (r->count == CONF_SERVICES_MAX)
		return bad(r, "too many services");
	if (!read_numbers(r, n))
		return false;
	take_numbers(s, n);
	if (!(next(r) && keyed(r, SPAN("name"), &s->name) && next(r) && keyed(r, SPAN("command"), &s->command) &&
	        next(r) && keyed(r, SPAN("args"), &s->args) && next(r) && keyed(r, SPAN("tag"), &s->log_tag) &&
	        next(r) && keyed(r, SPAN("file"), &s->file)))
		return bad(r, "a line of the service is missing");
	set = set_number(r->c, n[0]);
	stress = set_number(r->c, n[1]);
	lmtp = strcmp(s->command, "lmtp") == 0;
	s->set = set;
	s->params = conf_set_params(set, r->c->arena, lmtp);
	s->stress = conf_set_params(stress, r->c->arena, lmtp);
	r->count++;
	return next(r) || bad(r, "the end is missing");
}

static bool
read_all(struct reader *r)
{
	if (!next(r) || !span_eq(r->line, SPAN(HEAD)))
		return bad(r, "not " HEAD);
	if (!next(r) || !keyed(r, SPAN("dir"), &r->c->dir) || !next(r) || !span_eq(r->line, SPAN("set")))
		return bad(r, "no set");
	while (span_eq(r->line, SPAN("set")))
		if (!read_set(r))
			return false;
	while (span_starts(r->line, SPAN("service ")))
		if (!read_service(r))
			return false;
	return (span_eq(r->line, SPAN("end")) && r->rest.n == 0) || bad(r, "unexpected line");
}

static void
add_none(struct reader *r)
{
	struct conf_service *none = &r->services[r->count];

	*none = (struct conf_service){ .name = "", .command = "", .args = "", .file = "", .set = r->c->sets };
	none->params = none->stress = r->c->sets->params;
	none->log_tag = none->params->syslog_name;
	r->c->services = r->services;
	r->c->service_count = r->count;
	r->c->none = none;
	r->c->params = none->params;
}

bool
conf_read(struct span text, struct conf **conf_r, struct fault *why)
{
	struct arena *a = arena_new(CONF_ARENA_MAX);
	struct conf *c = ARENA_NEW(a, struct conf);
	struct reader r = { .c = c, .rest = text, .why = why };

	*conf_r = NULL;
	c->arena = a;
	c->refs = 1;
	if (text.n > CONF_TOTAL_MAX || (text.n > 0 && memchr(text.p, '\0', text.n) != NULL)) {
		conf_unref(&c);
		return fault_set(why, "", "configuration text: too long, or no text");
	}
	r.services = ARENA_ARRAY(a, struct conf_service, CONF_SERVICES_MAX + 1);
	if (!read_all(&r)) {
		conf_unref(&c);
		return false;
	}
	add_none(&r);
	*conf_r = c;
	return true;
}
