/* The message of `signet send`: standard input in wire form. */
#include <ctype.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/params.h"
#include "mail/address.h"
#include "mail/header.h"
#include "signet/send.h"

#define HEAD_MAX ((size_t)1 << 20)
#define LINE_MAX_KEPT ((size_t)1 << 20)
#define OUT_FLUSH ((size_t)1 << 17)

struct reader {
	struct send_mail *m;
	int in;
	bool dots_are_text, ended, eof;
	bool first, line_start, keep_cr;
	struct buf have, out;
	struct fault *why;
};

static bool
flush(struct reader *r)
{
	int e = fd_write_all(r->m->fd, r->out.p, r->out.n);

	if (e < 0)
		return fault_set(r->why, "4.3.0", "cannot keep the message: %s", fd_error(e));
	r->m->size += r->out.n;
	buf_clear(&r->out);
	return true;
}

static bool
put_line(struct reader *r, struct span line, bool ended)
{
	uint64_t limit = r->m->p->message_size_limit;

	if (!span_is_ascii(line))
		r->m->env.eightbit = true;
	buf_add_span(&r->out, line);
	if (ended)
		buf_add_str(&r->out, "\r\n");
	if (limit > 0 && r->m->size + r->out.n > limit + limit / 8)
		return fault_set(r->why, "5.3.4", "message is larger than %llu bytes (message_size_limit)",
		    (unsigned long long)limit);
	return r->out.n < OUT_FLUSH || flush(r);
}

/* One line without its end, or (`ended` false) a piece of a very long one. */
static bool
take_line(struct reader *r, struct span line, bool ended)
{
	bool whole = r->line_start && ended;

	if (ended && !r->keep_cr && line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (whole && !r->dots_are_text && span_eq(line, SPAN("."))) {
		r->ended = true;
		return true;
	}
	r->line_start = ended;
	if (r->first && whole && span_starts(line, SPAN("From "))) {
		r->first = false;
		return true;
	}
	r->first = false;
	return put_line(r, line, ended);
}

/* sendmail_fix_line_endings: strict takes CRLF for a line end when the first line ends with it. */
static bool
keeps_cr(const char *how, struct span first)
{
	if (strcmp(how, "strict") == 0)
		return first.n == 0 || first.p[first.n - 1] != '\r';
	return strcmp(how, "never") == 0;
}

static bool
take_lines(struct reader *r)
{
	while (!r->ended) {
		ptrdiff_t lf = span_index(buf_span(&r->have), '\n');
		bool fine;

		if (lf < 0 && r->have.n < LINE_MAX_KEPT && !(r->eof && r->have.n > 0))
			return true;
		if (r->first && lf >= 0)
			r->keep_cr = keeps_cr(r->m->p->sendmail_fix_line_endings, span_slice(buf_span(&r->have), 0, (size_t)lf));
		fine = take_line(r, span_slice(buf_span(&r->have), 0, lf >= 0 ? (size_t)lf : r->have.n),
		    lf >= 0 || r->eof);
		buf_consume(&r->have, lf >= 0 ? (size_t)lf + 1 : r->have.n);
		if (!fine)
			return false;
	}
	return true;
}

static bool
read_all(struct reader *r)
{
	while (!r->ended && !r->eof) {
		char chunk[65536];
		ssize_t got = fd_read(r->in, chunk, sizeof(chunk));

		if (got < 0)
			return fault_set(r->why, "4.3.0", "cannot read the message: %s", fd_error((int)got));
		r->eof = got == 0;
		buf_add(&r->have, chunk, (size_t)got);
		if (!take_lines(r))
			return false;
	}
	return flush(r);
}

/* The header block, for -t and for a From header of our own. */
static void
keep_head(struct send_mail *m)
{
	size_t n = m->size < HEAD_MAX ? (size_t)m->size : HEAD_MAX;
	char *p = arena_alloc(m->arena, n + 1);
	struct span rest, header, head = span_of(p, n);

	if (fd_pread_all(m->fd, p, n, 0) < 0)
		return;
	rest = head;
	while (header_next(&rest, &header))
		;
	m->head = span_slice(head, 0, (size_t)(rest.p - head.p));
}

bool
send_read(struct send_mail *m, int in, bool dots_are_text, struct fault *why)
{
	struct reader r = { .m = m, .in = in, .dots_are_text = dots_are_text, .first = true, .line_start = true,
		.why = why };
	bool fine;

	m->fd = memfd_create("message", MFD_CLOEXEC);
	if (m->fd < 0)
		return fault_set(why, "4.3.0", "cannot keep the message: %s", fd_error(-errno));
	buf_init(&r.have, LINE_MAX_KEPT + 65536);
	buf_init(&r.out, OUT_FLUSH + LINE_MAX_KEPT + 65536 + 16);
	fine = read_all(&r);
	buf_release(&r.have);
	buf_release(&r.out);
	if (fine)
		keep_head(m);
	return fine;
}

/* ---- headers */

static void
add_rcpt(void *ctx, struct span addr)
{
	struct send_mail *m = ctx;
	struct envelope_rcpt r = { .addr = addr };

	if (m->p->extract_recipient_limit > 0 && m->env.rcpt_count >= (size_t)m->p->extract_recipient_limit)
		return;
	if (addr.n > 0 && addr.n <= ADDRESS_MAX)
		envelope_add_rcpt(&m->env, m->arena, &r);
}

static bool
has_resent(struct span head)
{
	struct span header, name, value;

	while (header_next(&head, &header))
		if (header_split(header, &name, &value)) {
			unsigned flags = header_flags(name);

			if ((flags & HEADER_EXTRACT) && (flags & HEADER_RESENT))
				return true;
		}
	return false;
}

void
send_extract(struct send_mail *m)
{
	bool resent = has_resent(m->head);
	struct span rest = m->head, header, name, value;

	while (header_next(&rest, &header)) {
		unsigned flags = header_split(header, &name, &value) ? header_flags(name) : 0;

		if ((flags & HEADER_EXTRACT) && ((flags & HEADER_RESENT) != 0) == resent)
			header_each_address(header_unfold(value, m->arena), SIZE_MAX, add_rcpt, m, m->arena);
	}
}

static bool
prepend(struct send_mail *m, struct span header, struct fault *why)
{
	char chunk[65536];
	uint64_t at = 0;
	int fd = memfd_create("message", MFD_CLOEXEC);
	int e = fd < 0 ? -errno : fd_write_all(fd, header.p, header.n);

	while (e == 0 && at < m->size) {
		size_t n = m->size - at < sizeof(chunk) ? (size_t)(m->size - at) : sizeof(chunk);

		e = fd_pread_all(m->fd, chunk, n, at);
		if (e == 0)
			e = fd_write_all(fd, chunk, n);
		at += n;
	}
	fd_close(&m->fd);
	m->fd = fd;
	m->size += header.n;
	return e == 0 || fault_set(why, "4.3.0", "cannot keep the message: %s", fd_error(e));
}

bool
send_add_from(struct send_mail *m, struct fault *why)
{
	struct span from;
	struct buf b;
	bool fine;

	if (m->full_name.n == 0 || m->env.sender.n == 0 || header_find(m->head, SPAN("From"), m->arena, &from))
		return true;
	buf_init(&b, 4096);
	buf_add_str(&b, "From: ");
	header_add_phrase(&b, m->full_name);
	buf_addf(&b, " <%.*s>\r\n", SPAN_ARG(address_external(m->env.sender, m->arena)));
	/* Text without headers: a line between, or its first line would be one. */
	if (m->head.n == 0 && m->size > 0) {
		char first[2] = "";

		if (m->size < 2 || fd_pread_all(m->fd, first, 2, 0) < 0 || memcmp(first, "\r\n", 2) != 0)
			buf_add_str(&b, "\r\n");
	}
	fine = prepend(m, buf_span(&b), why);
	buf_release(&b);
	return fine;
}
