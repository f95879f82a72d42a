/* Following the MIME structure of a message. */
#include "mail/mime.h"

#include "base/buf.h"

/* One open multipart. */
struct level {
	char *boundary;         /* boundary_limit bytes, kept for the next multipart at this depth */
	size_t n;
	bool digest;            /* parts are messages unless they say otherwise (RFC 2046 section 5.1.5) */
	bool protected;
};

struct mime {
	struct arena *a;
	struct level *levels;
	size_t depth, nesting_limit, boundary_limit;
	enum mime_where where;
	unsigned faults;

	/* the entity whose headers are being read, or were read last */
	enum mime_type type;
	enum mime_encoding encoding;
	char subtype[32];
	size_t subtype_n;
	char *boundary;
	size_t boundary_n;
};

static void
entity_reset(struct mime *m)
{
	bool digest = m->depth > 0 && m->levels[m->depth - 1].digest && m->where == MIME_PART;

	m->type = digest ? MIME_TYPE_MESSAGE : MIME_TYPE_TEXT;
	m->encoding = MIME_7BIT;
	m->subtype_n = 0;
	m->boundary_n = 0;
}

struct mime *
mime_new(struct arena *a, size_t nesting_limit, size_t boundary_limit)
{
	struct mime *m = ARENA_NEW(a, struct mime);

	m->a = a;
	m->nesting_limit = nesting_limit;
	m->boundary_limit = boundary_limit;
	m->levels = ARENA_ARRAY(a, struct level, nesting_limit);
	m->boundary = arena_alloc(a, boundary_limit);
	entity_reset(m);
	return m;
}

enum mime_where
mime_where(const struct mime *m)
{
	return m->where;
}

size_t
mime_depth(const struct mime *m)
{
	return m->depth;
}

unsigned
mime_faults(const struct mime *m)
{
	return m->faults;
}

enum mime_type
mime_type(const struct mime *m)
{
	return m->type;
}

enum mime_encoding
mime_encoding(const struct mime *m)
{
	return m->encoding;
}

struct span
mime_subtype(const struct mime *m)
{
	return span_of(m->subtype, m->subtype_n);
}

bool
mime_protected(const struct mime *m)
{
	for (size_t i = 0; i < m->depth; i++)
		if (m->levels[i].protected)
			return true;
	return false;
}

/* --- Content-Type and its parameters --- */

/* Blanks, folds and (nested comments) in front. */
static void
skip_cfws(struct span *s)
{
	unsigned depth = 0;
	size_t i = 0;

	for (; i < s->n; i++) {
		char c = s->p[i];

		if (c == '(')
			depth++;
		else if (depth > 0 && c == ')')
			depth--;
		else if (depth > 0 && c == '\\')
			i++;
		else if (depth == 0 && !ascii_isspace(c))
			break;
	}
	*s = span_from(*s, i);
}

static struct span
take_token(struct span *s)
{
	size_t n = 0;
	struct span t;

	skip_cfws(s);
	while (n < s->n && s->p[n] > ' ' && s->p[n] != 127 && strchr("()<>@,;:\\\"/[]?=", s->p[n]) == NULL)
		n++;
	t = span_slice(*s, 0, n);
	*s = span_from(*s, n);
	return t;
}

static bool
take_char(struct span *s, char c)
{
	skip_cfws(s);
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = span_from(*s, 1);
	return true;
}

/* A token or quoted-string, unquoted into `out` of `max` bytes; what is longer is cut. */
static size_t
take_value(struct span *s, char *out, size_t max)
{
	size_t n = 0;
	bool quoted = take_char(s, '"');

	while (s->n > 0) {
		char c = s->p[0];

		/* Unquoted values end at ';' or a blank only: some senders leave out the quotes they need. */
		if (quoted ? c == '"' : c == ';' || ascii_isspace(c) || c == '(')
			break;
		if (quoted && c == '\\' && s->n > 1) {
			*s = span_from(*s, 1);
			c = s->p[0];
		}
		if (n < max && c != '\r' && c != '\n')
			out[n++] = c;
		*s = span_from(*s, 1);
	}
	if (quoted)
		take_char(s, '"');
	return n;
}

/* ";name=value" in turn; false at the end. Values other than the boundary's are read over. */
static bool
take_parameter(struct mime *m, struct span *s)
{
	struct span name;
	char scrap[1];
	bool boundary;

	while (s->n > 0 && !take_char(s, ';'))
		*s = span_from(*s, 1);
	if (s->n == 0)
		return false;
	name = take_token(s);
	if (!take_char(s, '='))
		return true;
	boundary = span_eq_ci(name, SPAN("boundary"));
	if (boundary && m->boundary_n == 0)
		m->boundary_n = take_value(s, m->boundary, m->boundary_limit);
	else
		take_value(s, scrap, 0);
	return true;
}

static enum mime_type
message_type(struct span subtype)
{
	if (span_eq_ci(subtype, SPAN("rfc822")) || span_eq_ci(subtype, SPAN("global")) ||
	    span_eq_ci(subtype, SPAN("news")))
		return MIME_TYPE_MESSAGE;
	return MIME_TYPE_PARTIAL;
}

static void
set_content_type(struct mime *m, struct span value)
{
	struct span type = take_token(&value), subtype = SPAN("");

	if (take_char(&value, '/'))
		subtype = take_token(&value);
	m->boundary_n = 0;
	m->subtype_n = subtype.n < sizeof(m->subtype) - 1 ? subtype.n : sizeof(m->subtype) - 1;
	for (size_t i = 0; i < m->subtype_n; i++)
		m->subtype[i] = ascii_lower(subtype.p[i]);
	if (span_eq_ci(type, SPAN("multipart")))
		m->type = MIME_TYPE_MULTIPART;
	else if (span_eq_ci(type, SPAN("message")))
		m->type = message_type(subtype);
	else
		m->type = span_eq_ci(type, SPAN("text")) ? MIME_TYPE_TEXT : MIME_TYPE_OTHER;
	while (m->type == MIME_TYPE_MULTIPART && take_parameter(m, &value))
		;
}

static void
set_encoding(struct mime *m, struct span value)
{
	static const struct {
		const char *name;
		enum mime_encoding encoding;
	} names[] = {
		{ "7bit", MIME_7BIT }, { "8bit", MIME_8BIT }, { "binary", MIME_BINARY },
		{ "quoted-printable", MIME_QP }, { "base64", MIME_BASE64 },
	};
	struct span word = take_token(&value);

	m->encoding = MIME_ENCODING_UNKNOWN;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (span_eq_ci(word, span_str(names[i].name)))
			m->encoding = names[i].encoding;
}

void
mime_header(struct mime *m, struct span name, struct span value)
{
	if (span_eq_ci(name, SPAN("Content-Type")))
		set_content_type(m, value);
	else if (span_eq_ci(name, SPAN("Content-Transfer-Encoding")))
		set_encoding(m, value);
}

/* --- structure --- */

static void
open_multipart(struct mime *m)
{
	struct level *l;

	if (m->boundary_n == 0)
		return;
	if (m->depth == m->nesting_limit) {
		m->faults |= MIME_FAULT_NESTING;
		return;
	}
	l = &m->levels[m->depth++];
	if (l->boundary == NULL)
		l->boundary = arena_alloc(m->a, m->boundary_limit);
	memcpy(l->boundary, m->boundary, m->boundary_n);
	l->n = m->boundary_n;
	l->digest = span_eq(mime_subtype(m), SPAN("digest"));
	l->protected = span_eq(mime_subtype(m), SPAN("signed")) ||
	    span_eq(mime_subtype(m), SPAN("encrypted"));
}

void
mime_headers_end(struct mime *m)
{
	bool composite = m->type == MIME_TYPE_MULTIPART || m->type == MIME_TYPE_MESSAGE;

	if (composite && m->encoding != MIME_7BIT && m->encoding != MIME_8BIT && m->encoding != MIME_BINARY)
		m->faults |= MIME_FAULT_DOMAIN;
	m->where = MIME_BODY;
	if (m->type == MIME_TYPE_MULTIPART) {
		open_multipart(m);
	} else if (m->type == MIME_TYPE_MESSAGE && (m->encoding == MIME_7BIT ||
	    m->encoding == MIME_8BIT || m->encoding == MIME_BINARY)) {
		m->where = MIME_NESTED;
		entity_reset(m);
	}
}

/* Which level's delimiter the line is: `*level_r` of it, only with OPEN and CLOSE. */
static enum mime_line
classify(const struct mime *m, struct span line, size_t *level_r)
{
	if (m->depth == 0 || !span_starts(line, SPAN("--")))
		return MIME_LINE_TEXT;
	line = span_from(line, 2);
	for (size_t i = m->depth; i-- > 0;) {
		const struct level *l = &m->levels[i];

		if (!span_starts(line, span_of(l->boundary, l->n)))
			continue;
		*level_r = i;
		return span_starts(span_from(line, l->n), SPAN("--")) ? MIME_LINE_CLOSE : MIME_LINE_OPEN;
	}
	return MIME_LINE_TEXT;
}

enum mime_line
mime_peek(const struct mime *m, struct span line)
{
	size_t level;

	return classify(m, line, &level);
}

enum mime_line
mime_line(struct mime *m, struct span line)
{
	size_t level = 0;
	enum mime_line kind = classify(m, line, &level);

	/* A delimiter of an outer multipart closes what is open inside it. */
	switch (kind) {
	case MIME_LINE_TEXT:
		break;
	case MIME_LINE_OPEN:
		m->depth = level + 1;
		m->where = MIME_PART;
		entity_reset(m);
		break;
	case MIME_LINE_CLOSE:
		m->depth = level;
		m->where = MIME_BODY;
		break;
	}
	return kind;
}
