/* Headers: finding, unfolding, writing. Address lists inside them are in header_addresses.c. */
#include "mail/header.h"

size_t
header_name_length(struct span line)
{
	size_t n = 0, i;

	while (n < line.n && line.p[n] > ' ' && line.p[n] < 127 && line.p[n] != ':')
		n++;
	for (i = n; i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'); i++)
		;
	return i < line.n && line.p[i] == ':' ? n : 0;
}

bool
header_split(struct span header, struct span *name_r, struct span *value_r)
{
	size_t n = header_name_length(header);
	struct span name;

	if (n == 0)
		return false;
	*name_r = span_slice(header, 0, n);
	span_cut(header, ':', &name, value_r);
	*value_r = span_trim(*value_r);
	return true;
}

struct span
header_unfold(struct span value, struct arena *a)
{
	char *p = arena_alloc(a, value.n);
	size_t n = 0;

	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] != '\r' && value.p[i] != '\n')
			p[n++] = value.p[i];
	return span_of(p, n);
}

struct span
header_check_text(struct span header, struct arena *a)
{
	char *p = arena_alloc(a, header.n);
	size_t n = 0;

	if (span_ends(header, SPAN("\r\n")))
		header.n -= 2;
	for (size_t i = 0; i < header.n; i++)
		if (header.p[i] != '\r' || i + 1 == header.n || header.p[i + 1] != '\n')
			p[n++] = header.p[i];
	return span_of(p, n);
}

/* Bytes of the line at the front, its line end included. */
static size_t
line_length(struct span s)
{
	ptrdiff_t lf = span_index(s, '\n');

	return lf < 0 ? s.n : (size_t)lf + 1;
}

struct span
header_wire_text(struct span text, struct arena *a)
{
	struct span result;
	struct buf b;

	buf_init(&b, size_add(size_mul(text.n, 2), 2));
	for (size_t k = 0; k < text.n; k++) {
		if (text.p[k] == '\n')
			buf_addc(&b, '\r');
		if (text.p[k] != '\r')
			buf_addc(&b, text.p[k]);
	}
	buf_add_str(&b, "\r\n");
	result = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return result;
}

bool
header_next(struct span *rest, struct span *header_r)
{
	size_t n = line_length(*rest);

	if (header_name_length(span_slice(*rest, 0, n)) == 0)
		return false;
	while (n < rest->n && (rest->p[n] == ' ' || rest->p[n] == '\t'))
		n += line_length(span_from(*rest, n));
	*header_r = span_slice(*rest, 0, n);
	*rest = span_from(*rest, n);
	return true;
}

bool
header_find(struct span block, struct span name, struct arena *a, struct span *value_r)
{
	struct span header, got, value;

	while (header_next(&block, &header)) {
		if (header_split(header, &got, &value) && span_eq_ci(got, name)) {
			*value_r = header_unfold(value, a);
			return true;
		}
	}
	return false;
}

static const struct {
	const char *name;
	unsigned flags;
} known[] = {
	{ "From", HEADER_SENDER | HEADER_ONCE },
	{ "Sender", HEADER_SENDER | HEADER_ONCE },
	{ "Reply-To", HEADER_SENDER | HEADER_ONCE },
	{ "Return-Path", HEADER_SENDER | HEADER_ONCE },
	{ "Errors-To", HEADER_SENDER },
	{ "Return-Receipt-To", HEADER_SENDER },
	{ "Disposition-Notification-To", HEADER_SENDER },
	{ "Mail-Followup-To", HEADER_SENDER },
	{ "To", HEADER_RECIPIENT | HEADER_EXTRACT | HEADER_ONCE },
	{ "Cc", HEADER_RECIPIENT | HEADER_EXTRACT | HEADER_ONCE },
	{ "Bcc", HEADER_RECIPIENT | HEADER_EXTRACT | HEADER_ONCE },
	{ "Apparently-To", HEADER_RECIPIENT },
	{ "Resent-From", HEADER_SENDER | HEADER_RESENT },
	{ "Resent-Sender", HEADER_SENDER | HEADER_RESENT },
	{ "Resent-Reply-To", HEADER_SENDER | HEADER_RESENT },
	{ "Resent-To", HEADER_RECIPIENT | HEADER_EXTRACT | HEADER_RESENT },
	{ "Resent-Cc", HEADER_RECIPIENT | HEADER_EXTRACT | HEADER_RESENT },
	{ "Resent-Bcc", HEADER_RECIPIENT | HEADER_EXTRACT | HEADER_RESENT },
	{ "Resent-Date", HEADER_RESENT },
	{ "Resent-Message-ID", HEADER_RESENT },
	{ "Date", HEADER_ONCE },
	{ "Subject", HEADER_ONCE },
	{ "Message-ID", HEADER_ONCE },
	{ "MIME-Version", HEADER_MIME },
	{ "Content-Type", HEADER_MIME },
	{ "Content-Transfer-Encoding", HEADER_MIME },
	{ "Content-Disposition", HEADER_MIME },
	{ "Content-Description", HEADER_MIME },
	{ "Content-ID", HEADER_MIME },
};

unsigned
header_flags(struct span name)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (span_eq_ci(name, span_str(known[i].name)))
			return known[i].flags;
	return 0;
}

#define FOLD_AT 78

/* `column` bytes stand on the line already; the first word never moves away from them. */
static void
add_words(struct buf *out, size_t column, struct span value)
{
	bool more = value.n > 0, first = true;
	struct span word;

	for (; more; first = false) {
		more = span_cut(value, ' ', &word, &value);
		if (column + 1 + word.n > FOLD_AT && !first && word.n > 0) {
			buf_add_str(out, "\r\n");
			column = 0;
		}
		buf_addc(out, ' ');
		buf_add_span(out, word);
		column += 1 + word.n;
	}
	buf_add_str(out, "\r\n");
}

void
header_add_folded(struct buf *out, struct span first, struct span value)
{
	buf_add_span(out, first);
	add_words(out, first.n, value);
}

void
header_add(struct buf *out, struct span name, struct span value)
{
	buf_add_span(out, name);
	buf_addc(out, ':');
	add_words(out, name.n + 1, value);
}

static bool
is_phrase_byte(char c)
{
	return ascii_isalnum(c) || (unsigned char)c > 127 || c == ' ' ||
	    (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

void
header_add_phrase(struct buf *out, struct span phrase)
{
	bool plain = phrase.n > 0;

	for (size_t i = 0; i < phrase.n; i++)
		plain = plain && is_phrase_byte(phrase.p[i]);
	if (plain) {
		buf_add_span(out, phrase);
		return;
	}
	buf_addc(out, '"');
	for (size_t i = 0; i < phrase.n; i++) {
		char c = phrase.p[i];

		if (c == '"' || c == '\\')
			buf_addc(out, '\\');
		buf_addc(out, (unsigned char)c < ' ' ? ' ' : c);
	}
	buf_addc(out, '"');
}
