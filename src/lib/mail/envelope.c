/* The envelope and its text form: reading, writing, copying. */
#include "mail/envelope.h"

#include <inttypes.h>

#include "base/panic.h"

enum field_type { FIELD_SPAN, FIELD_TIME, FIELD_SIZE };

/* Members that are plain spans and numbers. */
static const struct field {
	const char *name;
	enum field_type type;
	size_t at;
} fields[] = {
	{ "sender", FIELD_SPAN, offsetof(struct envelope, sender) },
	{ "envid", FIELD_SPAN, offsetof(struct envelope, envid) },
	{ "verp", FIELD_SPAN, offsetof(struct envelope, verp) },
	{ "arrival_us", FIELD_TIME, offsetof(struct envelope, arrival_us) },
	{ "begun_us", FIELD_TIME, offsetof(struct envelope, begun_us) },
	{ "expire_us", FIELD_TIME, offsetof(struct envelope, expire_us) },
	{ "size", FIELD_SIZE, offsetof(struct envelope, size) },
	{ "client_name", FIELD_SPAN, offsetof(struct envelope, client_name) },
	{ "client_reverse", FIELD_SPAN, offsetof(struct envelope, client_reverse) },
	{ "client_addr", FIELD_SPAN, offsetof(struct envelope, client_addr) },
	{ "client_port", FIELD_SPAN, offsetof(struct envelope, client_port) },
	{ "client_helo", FIELD_SPAN, offsetof(struct envelope, client_helo) },
	{ "client_protocol", FIELD_SPAN, offsetof(struct envelope, client_protocol) },
	{ "sasl_method", FIELD_SPAN, offsetof(struct envelope, sasl_method) },
	{ "sasl_username", FIELD_SPAN, offsetof(struct envelope, sasl_username) },
	{ "sasl_sender", FIELD_SPAN, offsetof(struct envelope, sasl_sender) },
	{ "log_ident", FIELD_SPAN, offsetof(struct envelope, log_ident) },
	{ "filter", FIELD_SPAN, offsetof(struct envelope, filter) },
	{ "redirect", FIELD_SPAN, offsetof(struct envelope, redirect) },
	{ "rewrite_context", FIELD_SPAN, offsetof(struct envelope, rewrite_context) },
	{ "message_id", FIELD_SPAN, offsetof(struct envelope, message_id) },
	{ "resent_message_id", FIELD_SPAN, offsetof(struct envelope, resent_message_id) },
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

/* Members that are words: the index is the value. */
static const char *const kinds[] = { "mail", "bounce", "double-bounce", "probe" };
static const char *const rets[] = { "none", "full", "hdrs" };

/* Bits, in the order of flag_names. */
static const char *const flag_names[] = { "smtputf8", "requiretls", "tls_optional", "eightbit",
	"hold", "local_origin", "delay_warned", "no_milters" };
#define FLAGS (sizeof(flag_names) / sizeof(flag_names[0]))

static unsigned
flags_get(const struct envelope *e)
{
	return (unsigned)e->smtputf8 | (unsigned)e->requiretls << 1 | (unsigned)e->tls_optional << 2 |
	    (unsigned)e->eightbit << 3 | (unsigned)e->hold << 4 | (unsigned)e->local_origin << 5 |
	    (unsigned)e->delay_warned << 6 | (unsigned)e->no_milters << 7;
}

static void
flags_set(struct envelope *e, unsigned bits)
{
	e->smtputf8 = bits & 1;
	e->requiretls = bits >> 1 & 1;
	e->tls_optional = bits >> 2 & 1;
	e->eightbit = bits >> 3 & 1;
	e->hold = bits >> 4 & 1;
	e->local_origin = bits >> 5 & 1;
	e->delay_warned = bits >> 6 & 1;
	e->no_milters = bits >> 7 & 1;
}

static struct span *
span_member(struct envelope *e, const struct field *f)
{
	return (struct span *)(void *)((char *)e + f->at);
}

static uint64_t
number_get(const struct envelope *e, const struct field *f)
{
	uint64_t v;

	memcpy(&v, (const char *)e + f->at, sizeof(v));
	return v;
}

/* --- NOTIFY --- */

static const char *const notify_names[] = { "NEVER", "SUCCESS", "FAILURE", "DELAY" };

static unsigned
notify_bit(struct span word)
{
	for (unsigned i = 0; i < 4; i++)
		if (span_eq_ci(word, span_str(notify_names[i])))
			return 1u << i;
	return 0;
}

bool
envelope_notify_parse(struct span s, unsigned *notify_r)
{
	struct span word;
	bool more = true;
	unsigned bits = 0;

	while (more) {
		unsigned bit;

		more = span_cut(s, ',', &word, &s);
		bit = notify_bit(word);
		if (bit == 0)
			return false;
		bits |= bit;
	}
	if ((bits & ENVELOPE_NOTIFY_NEVER) && bits != ENVELOPE_NOTIFY_NEVER)
		return false;
	*notify_r = bits;
	return true;
}

const char *
envelope_notify_text(unsigned notify)
{
	static const char *const text[] = { "", "SUCCESS", "FAILURE", "SUCCESS,FAILURE", "DELAY",
		"SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY" };

	return notify & ENVELOPE_NOTIFY_NEVER ? "NEVER" : text[notify >> 1 & 7];
}

/* --- recipients --- */

static bool
append_rcpt(struct envelope_rcpt **v, size_t *count, size_t *cap, struct arena *a,
    const struct envelope_rcpt *r)
{
	if (*count >= ENVELOPE_RCPTS_MAX)
		return false;
	if (*count == *cap) {
		size_t more = *cap == 0 ? 4 : *cap * 2;
		struct envelope_rcpt *grown = ARENA_ARRAY(a, struct envelope_rcpt, more);

		if (*count > 0)
			memcpy(grown, *v, *count * sizeof(*grown));
		*v = grown;
		*cap = more;
	}
	(*v)[(*count)++] = *r;
	return true;
}

bool
envelope_add_rcpt(struct envelope *e, struct arena *a, const struct envelope_rcpt *r)
{
	return append_rcpt(&e->rcpts, &e->rcpt_count, &e->rcpt_cap, a, r);
}

bool
envelope_add_expanded(struct envelope *e, struct arena *a, const struct envelope_rcpt *r)
{
	return append_rcpt(&e->expanded, &e->expanded_count, &e->expanded_cap, a, r);
}

static struct envelope_rcpt *
copy_rcpts(const struct envelope_rcpt *from, size_t count, struct arena *a)
{
	struct envelope_rcpt *v = ARENA_ARRAY(a, struct envelope_rcpt, count);

	for (size_t i = 0; i < count; i++) {
		v[i] = from[i];
		v[i].addr = arena_dup(a, from[i].addr);
		v[i].orig = arena_dup(a, from[i].orig);
		v[i].orcpt = arena_dup(a, from[i].orcpt);
		v[i].extra = arena_dup(a, from[i].extra);
	}
	return v;
}

void
envelope_copy(struct envelope *to, const struct envelope *from, struct arena *a)
{
	*to = *from;
	for (size_t i = 0; i < FIELDS; i++) {
		struct span *s = span_member(to, &fields[i]);

		if (fields[i].type == FIELD_SPAN)
			*s = arena_dup(a, *s);
	}
	to->rcpts = copy_rcpts(from->rcpts, from->rcpt_count, a);
	to->rcpt_cap = from->rcpt_count;
	to->expanded = copy_rcpts(from->expanded, from->expanded_count, a);
	to->expanded_cap = from->expanded_count;
	to->extra_cap = from->extra_count;
	to->extra = ARENA_ARRAY(a, struct span, from->extra_count);
	for (size_t i = 0; i < from->extra_count; i++)
		to->extra[i] = arena_dup(a, from->extra[i]);
}

/* --- writing --- */

static void
put_value(struct buf *out, struct span v)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];
		char esc[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (c <= ' ' || c == '%' || c == 127)
			buf_add(out, esc, 3);
		else
			buf_addc(out, (char)c);
	}
}

static void
put_named(struct buf *out, const char *name, struct span v, char end)
{
	if (v.n == 0)
		return;
	buf_add_str(out, name);
	buf_addc(out, '=');
	put_value(out, v);
	if (end != '\0')
		buf_addc(out, end);
}

static void
put_field(struct buf *out, const struct envelope *e, const struct field *f)
{
	struct span s;
	uint64_t v;

	switch (f->type) {
	case FIELD_SPAN:
		memcpy(&s, (const char *)e + f->at, sizeof(s));
		put_named(out, f->name, s, '\n');
		return;
	case FIELD_TIME:
	case FIELD_SIZE:
		v = number_get(e, f);
		if (v != 0)
			buf_addf(out, "%s=%" PRIu64 "\n", f->name, v);
		return;
	}
	panic("field type");
}

static void
put_rcpt(const char *name, const struct envelope_rcpt *r, struct buf *out)
{
	buf_add_str(out, name);
	put_value(out, r->addr);
	if (r->orig.n > 0)
		buf_addc(out, ' ');
	put_named(out, "orig", r->orig, '\0');
	if (r->orcpt.n > 0)
		buf_addc(out, ' ');
	put_named(out, "orcpt", r->orcpt, '\0');
	if (r->notify != 0)
		buf_addf(out, " notify=%s", envelope_notify_text(r->notify));
	if (r->flags != 0)
		buf_addf(out, " flags=%u", r->flags);
	if (r->extra.n > 0) {
		buf_addc(out, ' ');
		buf_add_span(out, r->extra);
	}
}

bool
envelope_write_rcpt(const struct envelope_rcpt *r, struct buf *out)
{
	put_rcpt("rcpt=", r, out);
	return !out->full;
}

bool
envelope_write(const struct envelope *e, struct buf *out)
{
	unsigned bits = flags_get(e);

	if (e->kind != ENVELOPE_MAIL)
		buf_addf(out, "kind=%s\n", kinds[e->kind]);
	for (size_t i = 0; i < FIELDS; i++)
		put_field(out, e, &fields[i]);
	if (e->ret != ENVELOPE_RET_NONE)
		buf_addf(out, "ret=%s\n", rets[e->ret]);
	for (unsigned i = 0; i < FLAGS; i++)
		if (bits >> i & 1)
			buf_addf(out, "%s=yes\n", flag_names[i]);
	for (size_t i = 0; i < e->extra_count; i++) {
		buf_add_span(out, e->extra[i]);
		buf_addc(out, '\n');
	}
	for (size_t i = 0; i < e->expanded_count; i++) {
		put_rcpt("expanded=", &e->expanded[i], out);
		buf_addc(out, '\n');
	}
	for (size_t i = 0; i < e->rcpt_count; i++) {
		put_rcpt("rcpt=", &e->rcpts[i], out);
		buf_addc(out, '\n');
	}
	buf_addf(out, "rcpts=%zu\n", e->rcpt_count);
	return !out->full;
}

/* --- reading --- */

/* A reading in progress; `text` is our own copy, values are decoded in place. */
struct reading {
	struct envelope *e;
	struct arena *a;
	unsigned flags;
	bool ended;
};

static size_t
count_lines(struct span text)
{
	size_t n = 1;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

size_t
envelope_room(struct span text)
{
	size_t lines = count_lines(text);

	return size_add(size_mul(lines, 2 * (sizeof(struct envelope_rcpt) + sizeof(struct span))),
	    size_add(size_mul(text.n, 2), 65536));
}

static int
hex_digit(char c)
{
	if (ascii_isdigit(c))
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undo put_value in place (`v` points into our own copy). Only what put_value writes is taken. */
static bool
value_decode(struct span v, struct span *value_r)
{
	char *p = (char *)(uintptr_t)v.p;
	size_t n = 0;

	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];
		int hi, lo;

		if (c <= ' ' || c == 127)
			return false;
		if (c != '%') {
			p[n++] = (char)c;
			continue;
		}
		hi = v.n - i > 2 ? hex_digit(v.p[i + 1]) : -1;
		lo = v.n - i > 2 ? hex_digit(v.p[i + 2]) : -1;
		if (hi < 0 || lo < 0)
			return false;
		p[n++] = (char)(hi * 16 + lo);
		i += 2;
	}
	*value_r = span_of(p, n);
	return true;
}

/* What we keep without understanding must still be a line that put_value could have made. */
static bool
keepable(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
			return false;
	return s.n > 0;
}

static bool
word_index(struct span v, const char *const *words, size_t count, size_t *index_r)
{
	for (size_t i = 0; i < count; i++) {
		if (span_eq(v, span_str(words[i]))) {
			*index_r = i;
			return true;
		}
	}
	return false;
}

static bool
rcpt_field(struct envelope_rcpt *rcpt, struct span token, char **extra)
{
	struct span name, value;
	uint64_t n;

	span_cut(token, '=', &name, &value);
	if (span_eq(name, SPAN("orig")))
		return value_decode(value, &rcpt->orig);
	if (span_eq(name, SPAN("orcpt")))
		return value_decode(value, &rcpt->orcpt);
	if (span_eq(name, SPAN("notify")))
		return envelope_notify_parse(value, &rcpt->notify);
	if (span_eq(name, SPAN("flags"))) {
		if (!span_u64(value, UINT32_MAX, &n))
			return false;
		rcpt->flags = (unsigned)n;
		return true;
	}
	/* Unknown ones move together, behind each other, in our copy of the line. */
	if (rcpt->extra.n > 0)
		*(*extra)++ = ' ';
	else
		rcpt->extra.p = *extra;
	memmove(*extra, token.p, token.n);
	*extra += token.n;
	rcpt->extra.n = (size_t)(*extra - rcpt->extra.p);
	return true;
}

/* "ADDR orig=... orcpt=..." */
static bool
read_rcpt(struct reading *r, struct span line, bool expanded)
{
	struct envelope_rcpt rcpt = { 0 };
	struct span token, rest;
	bool more = span_cut(line, ' ', &token, &rest);
	struct span addr = token;
	/* Extras are gathered in their own copy: known fields are decoded where they stand. */
	char *extra = more ? arena_alloc(r->a, rest.n) : NULL;

	if (!value_decode(addr, &rcpt.addr))
		return false;
	while (more) {
		more = span_cut(rest, ' ', &token, &rest);
		if (token.n == 0 || !rcpt_field(&rcpt, token, &extra))
			return false;
	}
	return expanded ? envelope_add_expanded(r->e, r->a, &rcpt) :
	    envelope_add_rcpt(r->e, r->a, &rcpt);
}

static bool
read_field(struct reading *r, const struct field *f, struct span value)
{
	uint64_t v = 0;

	switch (f->type) {
	case FIELD_SPAN:
		return value_decode(value, span_member(r->e, f));
	case FIELD_TIME:
		if (!span_u64(value, INT64_MAX, &v))
			return false;
		break;
	case FIELD_SIZE:
		if (!span_u64(value, UINT64_MAX, &v))
			return false;
		break;
	}
	memcpy((char *)r->e + f->at, &v, sizeof(v));
	return true;
}

static bool
keep_line(struct reading *r, struct span line)
{
	struct envelope *e = r->e;

	if (e->extra_count == e->extra_cap) {
		size_t cap = e->extra_cap == 0 ? 4 : e->extra_cap * 2;
		struct span *v = ARENA_ARRAY(r->a, struct span, cap);

		if (e->extra_count > 0)
			memcpy(v, e->extra, e->extra_count * sizeof(*v));
		e->extra = v;
		e->extra_cap = cap;
	}
	e->extra[e->extra_count++] = line;
	return true;
}

/* "rcpts=COUNT" is the end; the count proves that nothing was cut out. */
static bool
read_end(struct reading *r, struct span value)
{
	uint64_t n;

	r->ended = true;
	return span_u64(value, ENVELOPE_RCPTS_MAX, &n) && n == r->e->rcpt_count;
}

static bool
read_line(struct reading *r, struct span line)
{
	struct span name, value;
	size_t i;

	if (r->ended || !keepable(line) || !span_cut(line, '=', &name, &value))
		return false;
	if (span_eq(name, SPAN("rcpt")))
		return read_rcpt(r, value, false);
	if (span_eq(name, SPAN("expanded")))
		return read_rcpt(r, value, true);
	if (span_eq(name, SPAN("rcpts")))
		return read_end(r, value);
	for (i = 0; i < FIELDS; i++)
		if (span_eq(name, span_str(fields[i].name)))
			return read_field(r, &fields[i], value);
	if (span_eq(name, SPAN("kind"))) {
		if (!word_index(value, kinds, 4, &i))
			return false;
		r->e->kind = (enum envelope_kind)i;
		return true;
	}
	if (span_eq(name, SPAN("ret"))) {
		if (!word_index(value, rets, 3, &i))
			return false;
		r->e->ret = (enum envelope_ret)i;
		return true;
	}
	if (word_index(name, flag_names, FLAGS, &i)) {
		r->flags |= span_eq(value, SPAN("yes")) ? 1u << i : 0;
		return span_eq(value, SPAN("yes"));
	}
	return keep_line(r, line);
}

bool
envelope_read(struct span text, struct arena *a, struct envelope *e_r, struct fault *why)
{
	struct reading r = { .e = e_r, .a = a };
	struct span line, rest;
	size_t number = 0;

	*e_r = (struct envelope){ 0 };
	if (text.n > ENVELOPE_TEXT_MAX || count_lines(text) > ENVELOPE_RCPTS_MAX + 1000)
		return fault_set(why, "4.3.0", "envelope text is too long: %zu bytes", text.n);
	if (text.n == 0 || text.p[text.n - 1] != '\n')
		return fault_set(why, "4.3.0", "envelope text is cut");
	rest = arena_dup(a, text);
	while (rest.n > 0) {
		number++;
		span_cut(rest, '\n', &line, &rest);
		if (!read_line(&r, line))
			return fault_set(why, "4.3.0", "envelope text: bad line %zu", number);
	}
	if (!r.ended)
		return fault_set(why, "4.3.0", "envelope text is cut: no count of recipients");
	flags_set(e_r, r.flags);
	return true;
}
