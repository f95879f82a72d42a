/* A bounded transcript of an SMTP session. */
#include "smtp/transcript.h"

#include "base/panic.h"

static const struct {
	struct span word;
	unsigned class;
} words[] = {
	{ { "policy", 6 }, SMTP_NOTICE_POLICY },
	{ { "protocol", 8 }, SMTP_NOTICE_PROTOCOL },
	{ { "data", 4 }, SMTP_NOTICE_DATA },
	{ { "resource", 8 }, SMTP_NOTICE_RESOURCE },
	{ { "software", 8 }, SMTP_NOTICE_SOFTWARE },
	{ { "bounce", 6 }, SMTP_NOTICE_BOUNCE },
};

unsigned
smtp_notice_classes(struct span list)
{
	struct span word;
	unsigned classes = 0;

	while (span_token(&list, ", \t\r\n", &word))
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (span_eq_ci(word, words[i].word))
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
	buf_addf(&t->text, " %s ", who);
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

static void
add_byte(struct transcript *t, unsigned char ch)
{
	if (t->line_n == TRANSCRIPT_LINE_MAX - 4)
		buf_add_str(&t->text, "...");
	else if (t->line_n < TRANSCRIPT_LINE_MAX - 4)
		buf_addc(&t->text, (ch < 32 && ch != '\t') || ch >= 127 ? '?' : (char)ch);
	t->line_n++;
}

void
transcript_stream(struct transcript *t, const char *who, struct span bytes)
{
	if (t->wanted == 0)
		return;
	for (size_t i = 0; i < bytes.n; i++) {
		if (bytes.p[i] == '\r')
			continue;
		if (bytes.p[i] == '\n') {
			if (t->open)
				end_line(t);
			continue;
		}
		if (!t->open)
			begin_line(t, who);
		add_byte(t, (unsigned char)bytes.p[i]);
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
		for (size_t i = 0; i < line.n; i++)
			if (line.p[i] != '\r')
				add_byte(t, (unsigned char)line.p[i]);
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
