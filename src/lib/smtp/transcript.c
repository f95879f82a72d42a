/* A bounded transcript of an SMTP session. */
#include "smtp/transcript.h"

#include "base/panic.h"

static const struct {
	const char *word;
	unsigned class;
} words[] = {
	{ "policy", SMTP_NOTICE_POLICY },
	{ "protocol", SMTP_NOTICE_PROTOCOL },
	{ "data", SMTP_NOTICE_DATA },
	{ "resource", SMTP_NOTICE_RESOURCE },
	{ "software", SMTP_NOTICE_SOFTWARE },
	{ "bounce", SMTP_NOTICE_BOUNCE },
};

unsigned
smtp_notice_classes(struct span list)
{
	struct span word;
	unsigned classes = 0;

	while (span_token(&list, ", \t\r\n", &word))
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (span_eq_ci(word, span_str(words[i].word)))
				classes |= words[i].class;
	return classes;
}

bool
smtp_notice_sender(struct span own, struct span sender)
{
	struct span domain;

	span_cut(own, '@', &own, &domain);
	return own.n > 0 && sender.n > own.n && sender.p[own.n] == '@' && span_eq_ci(span_slice(sender, 0, own.n), own);
}

void
transcript_init(struct transcript *t, unsigned wanted)
{
	*t = (struct transcript){ .wanted = wanted };
	buf_init(&t->text, TRANSCRIPT_MAX);
}

void
transcript_release(struct transcript *t)
{
	buf_release(&t->text);
}

void
transcript_clear(struct transcript *t)
{
	unsigned wanted = t->wanted;
	bool muted = t->muted;

	buf_release(&t->text);
	transcript_init(t, wanted);
	t->muted = muted;
}

/* Room for another line: the oldest ones behind the beginning go, a good many at once. */
static void
make_room(struct transcript *t)
{
	size_t from = t->head + (TRANSCRIPT_MAX - TRANSCRIPT_HEAD) / 4;
	const char *lf;

	if (t->text.n + TRANSCRIPT_LINE_MAX + 8 <= TRANSCRIPT_MAX)
		return;
	lf = memchr(t->text.p + from, '\n', t->text.n - from);
	ensure(lf != NULL);
	from = (size_t)(lf - t->text.p) + 1;
	memmove(t->text.p + t->head, t->text.p + from, t->text.n - from);
	buf_truncate(&t->text, t->text.n - (from - t->head));
	t->cut = true;
}

static void
begin_line(struct transcript *t, const char *who)
{
	make_room(t);
	buf_addc(&t->text, ' ');
	buf_add_str(&t->text, who);
	buf_addc(&t->text, ' ');
	t->open = true;
	t->line_n = 0;
}

static void
end_line(struct transcript *t)
{
	buf_addc(&t->text, '\n');
	t->open = false;
	t->lines++;
	if (t->text.n <= TRANSCRIPT_HEAD && !t->cut)
		t->head = t->text.n;
}

/* Bytes of a line that end at its LF, CR or their own end: how many. */
static size_t
piece_length(struct span bytes)
{
	size_t n = 0;

	while (n < bytes.n && bytes.p[n] != '\n' && bytes.p[n] != '\r')
		n++;
	return n;
}

/* What a line may still hold, with what is no printable ASCII shown as '?'; "..." stands for the rest. */
static void
add_piece(struct transcript *t, struct span piece)
{
	enum { SHOWN = TRANSCRIPT_LINE_MAX - 4 };
	size_t from = t->text.n, room = t->line_n < SHOWN ? SHOWN - t->line_n : 0;

	if (!buf_add(&t->text, piece.p, piece.n < room ? piece.n : room))
		return;
	for (size_t i = from; i < t->text.n; i++) {
		unsigned char ch = (unsigned char)t->text.p[i];

		if ((ch < 32 && ch != '\t') || ch >= 127)
			t->text.p[i] = '?';
	}
	if (t->line_n <= SHOWN && t->line_n + piece.n > SHOWN)
		buf_add_str(&t->text, "...");
	t->line_n += piece.n;
}

void
transcript_stream(struct transcript *t, const char *who, struct span bytes)
{
	if (t->wanted == 0)
		return;
	for (size_t n; bytes.n > 0; bytes = span_from(bytes, n + 1)) {
		n = piece_length(bytes);
		if (n > 0 && !t->open)
			begin_line(t, who);
		add_piece(t, span_slice(bytes, 0, n));
		if (n < bytes.n && bytes.p[n] == '\n' && t->open)
			end_line(t);
	}
}

void
transcript_add(struct transcript *t, const char *who, struct span lines)
{
	struct span line;

	if (t->wanted == 0)
		return;
	if (t->open)
		end_line(t);
	while (lines.n > 0) {
		span_cut(lines, '\n', &line, &lines);
		begin_line(t, who);
		for (size_t n; line.n > 0; line = span_from(line, n + 1)) {
			n = piece_length(line);
			add_piece(t, span_slice(line, 0, n));
		}
		end_line(t);
	}
}

void
transcript_trouble(struct transcript *t, unsigned classes)
{
	if (!t->muted)
		t->classes |= classes;
}

void
transcript_write(const struct transcript *t, struct buf *out)
{
	buf_add(out, t->text.p, t->cut ? t->head : t->text.n);
	if (t->cut) {
		buf_add_str(out, " [... lines are left out here ...]\n");
		buf_add(out, t->text.p + t->head, t->text.n - t->head);
	}
	if (t->open)
		buf_addc(out, '\n');
}
