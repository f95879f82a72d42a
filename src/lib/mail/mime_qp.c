/* 8-bit content made 7-bit, and long lines broken. */
#include "mail/mime_qp.h"

#include "base/panic.h"
#include "mail/header.h"
#include "mail/mime.h"

#define LINE_MAX_HELD 2048u     /* longer lines are taken in pieces; delimiters are shorter (RFC 2046 section 5.1.1) */
#define HEADER_MAX_HELD 65536u  /* a longer header is no Content-Transfer-Encoding: it passes */
#define NESTING_MAX 30u
#define BOUNDARY_MAX 2048u
#define QP_LINE_MAX 76u         /* RFC 2045 section 6.7 (5) */
#define ENTITIES_MAX 8192u      /* parts beyond that count as 8-bit without a look */

/* What happens to the body bytes of the place where we are. */
enum how {
	HOW_PASS,               /* as they are; an 8-bit byte makes it impossible */
	HOW_QP,
	HOW_FILL,               /* preamble, epilogue: nobody reads them, 8-bit becomes '?' */
};

struct mime_qp {
	unsigned flags;
	size_t line_limit;
	struct mime *mime;
	struct arena *a;
	struct buf *out;
	const char *obstacle;           /* why it is impossible; NULL = it is not */

	char *line;                     /* the line that has not all come yet */
	size_t line_n;
	char *header;                   /* the logical header that has not all come yet */
	size_t header_n;
	bool header_passing;            /* too long to be held: its rest goes straight out */
	bool mid_line;                  /* what comes next continues a line */
	bool scanning, scanned;
	bool began;                     /* the first line was taken */

	/* the entity whose headers are being read, or whose body this is */
	enum how how;
	bool cte_seen, type_seen, version_seen;
	size_t entity;                  /* its number, from 0 */
	uint8_t *eightbit;              /* bit per entity, from the scan */

	size_t column;                  /* of what was put out */
	size_t qp_column;
	char qp_held;                   /* a blank whose line may end behind it; 0 = none */
};

struct mime_qp *
mime_qp_new(struct arena *a, unsigned flags, size_t line_limit)
{
	struct mime_qp *m = ARENA_NEW(a, struct mime_qp);

	m->a = a;
	m->flags = flags;
	m->line_limit = line_limit;
	m->mime = mime_new(a, NESTING_MAX, BOUNDARY_MAX);
	m->line = arena_alloc(a, LINE_MAX_HELD);
	m->header = arena_alloc(a, HEADER_MAX_HELD);
	return m;
}

/* --- putting out --- */

static void
put(struct mime_qp *m, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (m->line_limit > 0 && m->column >= m->line_limit && c != '\r' && c != '\n') {
			buf_add_str(m->out, "\r\n ");
			m->column = 1;
		}
		buf_addc(m->out, c);
		m->column = c == '\n' ? 0 : c == '\r' ? m->column : m->column + 1;
	}
}

static void
put_filled(struct mime_qp *m, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		put(m, (unsigned char)s.p[i] > 127 ? SPAN("?") : span_slice(s, i, i + 1));
}

static void
qp_emit(struct mime_qp *m, const char *p, size_t n)
{
	/* One column stays free for the '=' of a soft break. */
	if (m->qp_column + n > QP_LINE_MAX - 1) {
		buf_add_str(m->out, "=\r\n");
		m->qp_column = 0;
	}
	buf_add(m->out, p, n);
	m->qp_column += n;
}

static void
qp_encoded(struct mime_qp *m, char c)
{
	static const char hex[] = "0123456789ABCDEF";
	char code[3] = { '=', hex[(unsigned char)c >> 4], hex[(unsigned char)c & 15] };

	qp_emit(m, code, 3);
}

static void
qp_held_out(struct mime_qp *m, bool at_end)
{
	if (m->qp_held == '\0')
		return;
	if (at_end)
		qp_encoded(m, m->qp_held);
	else
		qp_emit(m, &m->qp_held, 1);
	m->qp_held = '\0';
}

static void
put_qp(struct mime_qp *m, struct span s, bool eol)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		qp_held_out(m, false);
		if (c == ' ' || c == '\t')
			m->qp_held = c;
		else if (c > ' ' && c < 127 && c != '=')
			qp_emit(m, &c, 1);
		else
			qp_encoded(m, c);
	}
	if (!eol)
		return;
	qp_held_out(m, true);
	buf_add_str(m->out, "\r\n");
	m->qp_column = 0;
	m->column = 0;
}

/* --- what to do with a body --- */

static void
forbid(struct mime_qp *m, struct span s, const char *obstacle)
{
	if (m->obstacle == NULL && (m->flags & MIME_QP_CONVERT) && !span_is_ascii(s))
		m->obstacle = obstacle;
}

static bool
entity_is_8bit(const struct mime_qp *m)
{
	if (!m->scanned || m->entity >= ENTITIES_MAX)
		return true;
	return m->eightbit[m->entity / 8] >> (m->entity % 8) & 1;
}

/* A part without parts: does its body have to be encoded? */
static bool
leaf_wants_qp(const struct mime_qp *m)
{
	enum mime_encoding e = mime_encoding(m->mime);

	if (mime_type(m->mime) != MIME_TYPE_TEXT && mime_type(m->mime) != MIME_TYPE_OTHER)
		return false;
	if (mime_protected(m->mime))
		return false;
	if (m->flags & MIME_QP_DECLARED)
		return e == MIME_8BIT || e == MIME_BINARY;
	return (e == MIME_7BIT || e == MIME_8BIT || e == MIME_BINARY) && entity_is_8bit(m);
}

static bool
is_composite(const struct mime_qp *m)
{
	return mime_type(m->mime) == MIME_TYPE_MULTIPART || mime_type(m->mime) == MIME_TYPE_MESSAGE;
}

/* The encoding that the headers of this entity must name, or NULL to leave them as they are. */
static const char *
new_encoding(const struct mime_qp *m)
{
	enum mime_encoding e = mime_encoding(m->mime);

	if (!(m->flags & (MIME_QP_CONVERT | MIME_QP_DECLARED)))
		return NULL;
	if (leaf_wants_qp(m))
		return "quoted-printable";
	if (mime_protected(m->mime) || (e != MIME_8BIT && e != MIME_BINARY))
		return NULL;
	return is_composite(m) ? "7bit" : NULL;
}

/* --- headers --- */

static bool
is_cte(struct span header)
{
	struct span name, value;

	return header_split(header, &name, &value) && span_eq_ci(name, SPAN("Content-Transfer-Encoding"));
}

/* The header of an entity without MIME fields is completed so that the encoding means something (RFC 2045 section 4). */
static void
put_new_encoding(struct mime_qp *m, const char *encoding)
{
	if (mime_where(m->mime) == MIME_PRIMARY && !m->version_seen)
		put(m, SPAN("MIME-Version: 1.0\r\n"));
	if (!m->type_seen && mime_type(m->mime) == MIME_TYPE_TEXT)
		put(m, SPAN("Content-Type: text/plain; charset=unknown-8bit\r\n"));
	put(m, SPAN("Content-Transfer-Encoding: "));
	put(m, span_str(encoding));
	put(m, SPAN("\r\n"));
}

/* The held header is complete. The encoding's own is kept back: what it must say is known at the end only. */
static void
flush_header(struct mime_qp *m)
{
	struct span header = span_of(m->header, m->header_n), name, value;

	if (m->header_n == 0)
		return;
	m->header_n = 0;
	if (m->header_passing) {
		m->header_passing = false;
		return;
	}
	if (header_split(header, &name, &value)) {
		mime_header(m->mime, name, value);
		m->type_seen = m->type_seen || span_eq_ci(name, SPAN("Content-Type"));
		m->version_seen = m->version_seen || span_eq_ci(name, SPAN("MIME-Version"));
	}
	if (m->scanning)
		return;
	forbid(m, header, "8-bit data in a message header");
	if (is_cte(header) && !mime_protected(m->mime) &&
	    (m->flags & (MIME_QP_CONVERT | MIME_QP_DECLARED)))
		m->cte_seen = true;
	else
		put(m, header);
}

static void
hold_header(struct mime_qp *m, struct span line, bool eol)
{
	size_t n = line.n + (eol ? 2 : 0);

	if (!m->header_passing && n > HEADER_MAX_HELD - m->header_n) {
		m->header_passing = true;
		if (!m->scanning) {
			forbid(m, span_of(m->header, m->header_n), "8-bit data in a message header");
			put(m, span_of(m->header, m->header_n));
		}
	}
	if (m->header_passing) {
		forbid(m, line, "8-bit data in a message header");
		if (!m->scanning) {
			put(m, line);
			put(m, eol ? SPAN("\r\n") : SPAN(""));
		}
		return;
	}
	memcpy(m->header + m->header_n, line.p, line.n);
	m->header_n += line.n;
	if (eol) {
		memcpy(m->header + m->header_n, "\r\n", 2);
		m->header_n += 2;
	}
}

static const char *
kept_encoding(const struct mime_qp *m)
{
	static const char *const names[] = { "7bit", "8bit", "binary", "quoted-printable", "base64", NULL };

	return names[mime_encoding(m->mime)];
}

static void
entity_begin(struct mime_qp *m)
{
	m->cte_seen = m->type_seen = m->version_seen = false;
	m->entity++;
}

/* The headers of an entity are complete: say the encoding, decide about the body. */
static void
end_headers(struct mime_qp *m)
{
	const char *encoding = new_encoding(m);
	bool qp = !m->scanning && leaf_wants_qp(m) && (m->flags & (MIME_QP_CONVERT | MIME_QP_DECLARED));
	bool multipart = mime_type(m->mime) == MIME_TYPE_MULTIPART;

	if (!m->scanning && encoding != NULL)
		put_new_encoding(m, encoding);
	else if (!m->scanning && m->cte_seen && kept_encoding(m) != NULL)
		put_new_encoding(m, kept_encoding(m));
	m->how = qp ? HOW_QP : HOW_PASS;
	m->qp_column = 0;
	mime_headers_end(m->mime);
	if (multipart && mime_depth(m->mime) > 0 && !mime_protected(m->mime))
		m->how = HOW_FILL;
	if (mime_where(m->mime) == MIME_NESTED)
		entity_begin(m);
}

/* --- lines --- */

static void
mark_8bit(struct mime_qp *m, struct span s)
{
	if (m->entity < ENTITIES_MAX && !span_is_ascii(s))
		m->eightbit[m->entity / 8] |= (uint8_t)(1u << (m->entity % 8));
}

static void
take_body(struct mime_qp *m, struct span line, bool eol)
{
	if (m->scanning) {
		mark_8bit(m, line);
		return;
	}
	if (m->how == HOW_QP) {
		put_qp(m, line, eol);
		return;
	}
	if (m->how == HOW_FILL && (m->flags & MIME_QP_CONVERT))
		put_filled(m, line);
	else {
		forbid(m, line, mime_protected(m->mime) ? "8-bit data in a signed or encrypted part" :
		    "8-bit data in a part that cannot be encoded");
		put(m, line);
	}
	if (eol)
		put(m, SPAN("\r\n"));
}

/* A delimiter line: passes as it is, and changes the place. False when the line is none. */
static bool
take_delimiter(struct mime_qp *m, struct span line, bool eol)
{
	enum mime_line kind = mime_peek(m->mime, line);

	if (kind == MIME_LINE_TEXT)
		return false;
	flush_header(m);
	mime_line(m->mime, line);
	m->how = kind == MIME_LINE_CLOSE && !mime_protected(m->mime) ? HOW_FILL : HOW_PASS;
	if (kind == MIME_LINE_OPEN)
		entity_begin(m);
	if (m->scanning)
		return true;
	forbid(m, line, "8-bit data in a delimiter");
	put(m, line);
	if (eol)
		put(m, SPAN("\r\n"));
	return true;
}

static bool
is_mailbox_line(struct span line)
{
	while (line.n > 0 && line.p[0] == '>')
		line = span_from(line, 1);
	return span_starts(line, SPAN("From "));
}

static void
take_header_line(struct mime_qp *m, struct span line, bool eol)
{
	bool more = (m->header_n > 0 || m->header_passing) && line.n > 0 &&
	    (line.p[0] == ' ' || line.p[0] == '\t');

	if (more) {
		hold_header(m, line, eol);
		return;
	}
	flush_header(m);
	m->header_passing = false;
	/* A mailbox's separator that leaked is no end of the headers, whoever deals with it. */
	if (!m->began && is_mailbox_line(line)) {
		if (m->scanning)
			return;
		forbid(m, line, "8-bit data in a message header");
		put(m, line);
		if (eol)
			put(m, SPAN("\r\n"));
		return;
	}
	if (header_name_length(line) > 0) {
		hold_header(m, line, eol);
		return;
	}
	end_headers(m);
	if (!m->scanning)
		put(m, SPAN("\r\n"));
	if (line.n == 0 && eol)
		return;
	if (mime_where(m->mime) == MIME_BODY)
		take_body(m, line, eol);
	else
		take_header_line(m, line, eol);
}

static void
take_line(struct mime_qp *m, struct span line, bool eol)
{
	bool bol = !m->mid_line, body = mime_where(m->mime) == MIME_BODY;

	m->mid_line = !eol;
	if (!bol && !body && (m->header_n > 0 || m->header_passing))
		hold_header(m, line, eol);
	else if (!bol)
		take_body(m, line, eol);
	else if (take_delimiter(m, line, eol))
		return;
	else if (body)
		take_body(m, line, eol);
	else
		take_header_line(m, line, eol);
	m->began = true;
}

/* The held line: whole, or as much of it as is held at once (the CR of a CRLF to come stays). */
static void
take_held(struct mime_qp *m, bool at_end)
{
	struct span held = span_of(m->line, m->line_n);
	bool eol = span_ends(held, SPAN("\r\n"));
	bool half = !eol && !at_end && span_ends(held, SPAN("\r"));

	take_line(m, span_slice(held, 0, held.n - (eol ? 2 : half ? 1 : 0)), eol);
	m->line_n = 0;
	if (half)
		m->line[m->line_n++] = '\r';
}

static void
take(struct mime_qp *m, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		m->line[m->line_n++] = s.p[i];
		if (m->line_n == LINE_MAX_HELD ||
		    (s.p[i] == '\n' && m->line_n > 1 && m->line[m->line_n - 2] == '\r'))
			take_held(m, false);
	}
}

static void
finish(struct mime_qp *m)
{
	if (m->line_n > 0)
		take_held(m, true);
	if (mime_where(m->mime) != MIME_BODY) {
		if (m->mid_line && (m->header_n > 0 || m->header_passing)) {
			hold_header(m, SPAN(""), true);
			m->mid_line = false;
		}
		flush_header(m);
		end_headers(m);
	}
	if (!m->scanning && m->mid_line && m->how == HOW_QP)
		put_qp(m, SPAN(""), true);
	else if (!m->scanning && m->mid_line)
		put(m, SPAN("\r\n"));
}

void
mime_qp_scan(struct mime_qp *m, struct span content)
{
	if (!m->scanning) {
		m->scanning = true;
		m->eightbit = arena_alloc(m->a, ENTITIES_MAX / 8);
	}
	take(m, content);
}

void
mime_qp_scan_end(struct mime_qp *m)
{
	ensure(m->scanning);
	finish(m);
	*m = (struct mime_qp){ .a = m->a, .flags = m->flags, .line_limit = m->line_limit, .line = m->line,
		.header = m->header, .eightbit = m->eightbit, .scanned = true };
	m->mime = mime_new(m->a, NESTING_MAX, BOUNDARY_MAX);
}

static enum mime_qp_result
result(const struct mime_qp *m, struct fault *why)
{
	if (m->obstacle == NULL)
		return MIME_QP_OK;
	fault_set(why, "5.6.3", "%s cannot be converted to 7 bits", m->obstacle);
	return MIME_QP_IMPOSSIBLE;
}

enum mime_qp_result
mime_qp_feed(struct mime_qp *m, struct span content, struct buf *out, struct fault *why)
{
	m->out = out;
	take(m, content);
	return result(m, why);
}

enum mime_qp_result
mime_qp_end(struct mime_qp *m, struct buf *out, struct fault *why)
{
	m->out = out;
	finish(m);
	return result(m, why);
}
