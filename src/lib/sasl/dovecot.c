/* Dovecot's authentication protocol: lines of fields separated by tabs, in both directions. */
#include "sasl/dovecot.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "sasl/mech.h"

#define LINE_IN_MAX 65536u
#define LINE_OUT_MAX 16000u     /* the service reads lines of 16384 bytes; a longer one costs all exchanges */
#define OUT_MAX (1u << 20)
#define OUT_HIGH (OUT_MAX / 2)
#define OUT_START 4096u
#define HANDSHAKE_LINES_MAX 1000u
#define VERSION_MAJOR 1u
#define USER_MAX 1024u

enum state {
	STATE_HANDSHAKE,
	STATE_READY,
	STATE_BROKEN,           /* told, or about to be */
};

struct dovecot {
	enum state state;
	const char *trouble;            /* to be told */
	bool version_seen, told;
	unsigned lines;                 /* of the handshake */
	struct buf in, out;
	struct buf words;               /* what the event points to */
	size_t used;                    /* of `in`, by the event handed out last */
	uint32_t next_id;
	struct dovecot_mech mechs[DOVECOT_MECHS_MAX];
	size_t n_mechs;
};

/* --- output: never left behind in memory that was given back --- */

static bool
out_room(struct buf *b, size_t n)
{
	struct buf bigger;

	if (b->cap - b->n > n)
		return true;
	if (n > b->max - b->n)
		return false;
	buf_init(&bigger, b->max);
	if (buf_space(&bigger, b->n + n + OUT_START < b->max ? b->n + n + OUT_START : b->max) == NULL)
		panic("dovecot: no room for %zu bytes", n);
	buf_add_span(&bigger, buf_span(b));
	if (b->p != NULL)
		explicit_bzero(b->p, b->cap);
	buf_release(b);
	*b = bigger;
	return true;
}

static void
out_cut(struct buf *b, size_t n)
{
	explicit_bzero(b->p + n, b->n - n);
	buf_truncate(b, n);
}

/* Tab, LF, CR, NUL and \001 have a spelling of their own. */
static void
add_escaped(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		const char *as = s.p[i] == '\0' ? "\0010" : s.p[i] == '\001' ? "\0011" : s.p[i] == '\t' ? "\001t" :
		    s.p[i] == '\r' ? "\001r" : s.p[i] == '\n' ? "\001n" : NULL;

		if (as != NULL)
			buf_add(b, as, 2);
		else
			buf_addc(b, s.p[i]);
	}
}

static void
add_field(struct buf *b, const char *name, struct span value)
{
	if (value.n == 0)
		return;
	buf_addf(b, "\t%s=", name);
	add_escaped(b, value);
}

/* A line was added behind `from`; too long, it is taken back. */
static bool
end_line(struct buf *b, size_t from)
{
	buf_addc(b, '\n');
	if (b->n - from <= LINE_OUT_MAX)
		return true;
	out_cut(b, from);
	return false;
}

bool
dovecot_start(struct dovecot *d, const struct dovecot_request *r, uint32_t *id_r)
{
	size_t from = d->out.n;
	struct buf *b = &d->out;

	ensure(d->state == STATE_READY);
	/* Escapes double a length at most. */
	if (!out_room(b, 1024 + r->initial.n + 2 * (r->service.n + r->local_addr.n + r->remote_addr.n + r->local_port.n +
	    r->remote_port.n + r->cert_username.n + r->mech.n)))
		return false;
	if (++d->next_id == 0)
		d->next_id = 1;
	*id_r = d->next_id;
	buf_addf(b, "AUTH\t%u\t", d->next_id);
	add_escaped(b, r->mech);
	add_field(b, "service", r->service);
	buf_add_str(b, "\tnologin");
	add_field(b, "lip", r->local_addr);
	add_field(b, "rip", r->remote_addr);
	add_field(b, "lport", r->local_port);
	add_field(b, "rport", r->remote_port);
	if (r->secured)
		buf_add_str(b, "\tsecured");
	if (r->valid_client_cert) {
		buf_add_str(b, "\tvalid-client-cert");
		add_field(b, "cert_username", r->cert_username);
	}
	/* Must be the last one; "=" is how an empty response is written. */
	if (r->has_initial) {
		buf_add_str(b, "\tresp=");
		buf_add_span(b, r->initial.n > 0 ? r->initial : SPAN("="));
	}
	return end_line(b, from);
}

bool
dovecot_continue(struct dovecot *d, uint32_t id, struct span response)
{
	size_t from = d->out.n;

	if (!out_room(&d->out, response.n + 64))
		return false;
	buf_addf(&d->out, "CONT\t%u\t", id);
	buf_add_span(&d->out, response);
	return end_line(&d->out, from);
}

void
dovecot_cancel(struct dovecot *d, uint32_t id)
{
	if (d->state == STATE_READY && out_room(&d->out, 64))
		buf_addf(&d->out, "CANCEL\t%u\n", id);
}

struct span
dovecot_output(const struct dovecot *d)
{
	return buf_span(&d->out);
}

void
dovecot_output_taken(struct dovecot *d, size_t n)
{
	size_t left = d->out.n - n;

	ensure(n <= d->out.n);
	memmove(d->out.p, d->out.p + n, left);
	out_cut(&d->out, left);
}

/* --- input --- */

static void
broken(struct dovecot *d, const char *why)
{
	if (d->state == STATE_BROKEN)
		return;
	d->state = STATE_BROKEN;
	d->trouble = why;
}

static char
unescaped(char c)
{
	switch (c) {
	case '0':
		return '\0';
	case '1':
		return '\001';
	case 't':
		return '\t';
	case 'r':
		return '\r';
	case 'n':
		return '\n';
	}
	return c;
}

/* Into `words`, which has room for the whole line: nothing moves while the event is alive. */
static struct span
unescape(struct dovecot *d, struct span s)
{
	size_t from = d->words.n;

	for (size_t i = 0; i < s.n; i++)
		buf_addc(&d->words, s.p[i] == '\001' && i + 1 < s.n ? unescaped(s.p[++i]) : s.p[i]);
	return span_of(d->words.p + from, d->words.n - from);
}

static void
take_version(struct dovecot *d, struct span fields)
{
	struct span major, rest;
	uint64_t n;

	span_cut(fields, '\t', &major, &rest);
	if (!span_u64(major, 1000, &n) || n != VERSION_MAJOR)
		broken(d, "it speaks another version of the protocol");
	d->version_seen = true;
}

static void
take_mech(struct dovecot *d, struct span fields)
{
	struct dovecot_mech *m = &d->mechs[d->n_mechs];
	struct span name, word, rest;

	span_cut(fields, '\t', &name, &rest);
	/* A name that SMTP cannot say, or one too many: nobody will ask for it. */
	if (!sasl_mech_name_valid(name) || d->n_mechs == DOVECOT_MECHS_MAX || dovecot_mech(d, name) != NULL)
		return;
	memcpy(m->name, name.p, name.n);
	m->name[name.n] = '\0';
	m->properties = 0;
	while (span_token(&rest, "\t", &word))
		m->properties |= sasl_property(word);
	d->n_mechs++;
}

static bool
take_handshake(struct dovecot *d, struct span verb, struct span fields, struct dovecot_event *ev)
{
	if (++d->lines > HANDSHAKE_LINES_MAX) {
		broken(d, "its handshake does not end");
	} else if (span_eq(verb, SPAN("VERSION"))) {
		take_version(d, fields);
	} else if (span_eq(verb, SPAN("MECH"))) {
		take_mech(d, fields);
	} else if (span_eq(verb, SPAN("DONE"))) {
		if (!d->version_seen) {
			broken(d, "it did not say which version of the protocol it speaks");
			return false;
		}
		d->state = STATE_READY;
		*ev = (struct dovecot_event){ .kind = DOVECOT_READY };
		return true;
	}
	return false;           /* SPID, CUID, COOKIE and what is yet to be invented */
}

/* A name that can be logged, put into headers and looked up. */
static bool
user_valid(struct span user)
{
	for (size_t i = 0; i < user.n; i++)
		if ((unsigned char)user.p[i] < 32 || user.p[i] == 127)
			return false;
	return user.n > 0 && user.n <= USER_MAX && span_is_utf8(user);
}

/* "user=joe", "temp", "reason=...", in any order; unknown ones are passed over. */
static void
take_fields(struct dovecot *d, struct span fields, struct dovecot_event *ev)
{
	struct span field, name, value;

	while (span_token(&fields, "\t", &field)) {
		span_cut(field, '=', &name, &value);
		if (span_eq(name, SPAN("user")))
			ev->user = unescape(d, value);
		else if (span_eq(name, SPAN("reason")))
			ev->reason = unescape(d, value);
		else if (span_eq(name, SPAN("temp")) || (span_eq(name, SPAN("code")) && span_eq(value, SPAN("temp_fail"))))
			ev->temporary = true;
	}
	if (!user_valid(ev->user)) {
		if (ev->kind == DOVECOT_OK) {
			ev->kind = DOVECOT_FAIL;
			ev->temporary = true;
			ev->reason = SPAN("the authentication service gave no usable user name");
		}
		ev->user = SPAN("");
	}
}

static bool
take_answer(struct dovecot *d, struct span verb, struct span fields, struct dovecot_event *ev)
{
	bool cont = span_eq(verb, SPAN("CONT")), ok = span_eq(verb, SPAN("OK"));
	struct span id;
	uint64_t n;

	if (!cont && !ok && !span_eq(verb, SPAN("FAIL")))
		return false;
	span_cut(fields, '\t', &id, &fields);
	if (!span_u64(id, UINT32_MAX, &n)) {
		broken(d, "its answer names no exchange");
		return false;
	}
	*ev = (struct dovecot_event){ .kind = cont ? DOVECOT_CONT : ok ? DOVECOT_OK : DOVECOT_FAIL, .id = (uint32_t)n };
	if (!cont) {
		take_fields(d, fields, ev);
		return true;
	}
	span_cut(fields, '\t', &ev->data, &fields);
	if (!sasl_base64_valid(ev->data)) {
		broken(d, "its challenge is not base64");
		return false;
	}
	return true;
}

static bool
take_line(struct dovecot *d, struct span line, struct dovecot_event *ev)
{
	struct span verb, fields;

	buf_clear(&d->words);
	buf_space(&d->words, line.n + 1);
	span_cut(line, '\t', &verb, &fields);
	if (d->state == STATE_HANDSHAKE)
		return take_handshake(d, verb, fields, ev);
	return take_answer(d, verb, fields, ev);
}

void
dovecot_feed(struct dovecot *d, struct span bytes)
{
	ensure(bytes.n <= DOVECOT_FEED_MAX);
	if (d->state == STATE_BROKEN)
		return;
	buf_consume(&d->in, d->used);
	d->used = 0;
	ensure(buf_add_span(&d->in, bytes));
}

bool
dovecot_next(struct dovecot *d, struct dovecot_event *ev)
{
	struct span rest = span_from(buf_span(&d->in), d->used);
	ptrdiff_t lf;

	while (d->state != STATE_BROKEN && (lf = span_index(rest, '\n')) >= 0) {
		struct span line = span_slice(rest, 0, (size_t)lf);

		d->used += (size_t)lf + 1;
		rest = span_from(rest, (size_t)lf + 1);
		if (take_line(d, line, ev))
			return true;
	}
	if (rest.n > LINE_IN_MAX)
		broken(d, "its line is too long");
	if (d->state != STATE_BROKEN || d->told)
		return false;
	d->told = true;
	*ev = (struct dovecot_event){ .kind = DOVECOT_BROKEN, .reason = span_str(d->trouble) };
	return true;
}

/* --- life and facts --- */

struct dovecot *
dovecot_new(unsigned long pid)
{
	struct dovecot *d = calloc(1, sizeof(*d));

	ensure(d != NULL);
	buf_init(&d->in, LINE_IN_MAX + 2 * DOVECOT_FEED_MAX);
	buf_init(&d->out, OUT_MAX);
	buf_init(&d->words, LINE_IN_MAX + 2 * DOVECOT_FEED_MAX);
	out_room(&d->out, OUT_START);
	buf_addf(&d->out, "VERSION\t%u\t1\nCPID\t%lu\n", VERSION_MAJOR, pid);
	return d;
}

void
dovecot_free(struct dovecot **dp)
{
	struct dovecot *d = *dp;

	if (d == NULL)
		return;
	*dp = NULL;
	explicit_bzero(d->out.p, d->out.cap);
	buf_release(&d->in);
	buf_release(&d->out);
	buf_release(&d->words);
	free(d);
}

bool
dovecot_full(const struct dovecot *d)
{
	return d->out.n > OUT_HIGH;
}

bool
dovecot_ready(const struct dovecot *d)
{
	return d->state == STATE_READY;
}

size_t
dovecot_mechs(const struct dovecot *d, const struct dovecot_mech **mechs_r)
{
	*mechs_r = d->mechs;
	return d->n_mechs;
}

const struct dovecot_mech *
dovecot_mech(const struct dovecot *d, struct span name)
{
	for (size_t i = 0; i < d->n_mechs; i++)
		if (span_eq_ci(name, span_str(d->mechs[i].name)))
			return &d->mechs[i];
	return NULL;
}
