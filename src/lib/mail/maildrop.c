/* The head of a maildrop file. */
#include "mail/maildrop.h"

#include "base/text.h"

/* "signet-maildrop 1 <bytes of envelope> <flags> <full name as xtext>" */
#define MAGIC SPAN("signet-maildrop")

bool
maildrop_write(const struct maildrop_head *h, struct buf *out)
{
	struct buf env;
	bool fine;

	buf_init(&env, MAILDROP_HEAD_MAX - 4096);
	fine = envelope_write(&h->env, &env);
	if (fine) {
		buf_addf(out, "signet-maildrop 1 %zu %s%s- ", env.n, h->extract_rcpts ? "t" : "",
		    h->sender_given ? "f" : "");
		text_xtext(out, span_slice(h->full_name, 0, 256));
		buf_addc(out, '\n');
		buf_add_span(out, buf_span(&env));
	}
	buf_release(&env);
	return fine && !out->full;
}

static bool
bad(struct fault *why, const char *what)
{
	return fault_set(why, "5.6.0", "malformed maildrop file: %s", what);
}

/* What the submitter may say. Where it came from, where it goes on the way, and what it is are ours to know. */
static void
take_envelope(struct envelope *to, const struct envelope *from)
{
	*to = (struct envelope){
		.sender = from->sender, .envid = from->envid, .ret = from->ret, .verp = from->verp,
		.smtputf8 = from->smtputf8, .requiretls = from->requiretls, .eightbit = from->eightbit,
		.rcpts = from->rcpts, .rcpt_count = from->rcpt_count, .rcpt_cap = from->rcpt_cap,
	};
	for (size_t i = 0; i < to->rcpt_count; i++) {
		to->rcpts[i].flags = 0;
		to->rcpts[i].extra = (struct span){ 0 };
	}
}

static bool
read_line(struct span line, struct arena *a, struct maildrop_head *h, uint64_t *bytes_r)
{
	struct span word;
	struct buf name;

	if (!span_cut(line, ' ', &word, &line) || !span_eq(word, MAGIC) ||
	    !span_cut(line, ' ', &word, &line) || !span_eq(word, SPAN("1")) ||
	    !span_cut(line, ' ', &word, &line) || !span_u64(word, MAILDROP_HEAD_MAX, bytes_r) ||
	    !span_cut(line, ' ', &word, &line))
		return false;
	h->extract_rcpts = span_index(word, 't') >= 0;
	h->sender_given = span_index(word, 'f') >= 0;
	buf_init(&name, 256);
	if (text_unxtext(&name, line))
		h->full_name = arena_dup(a, buf_span(&name));
	buf_release(&name);
	return true;
}

bool
maildrop_read(struct span text, struct arena *a, struct maildrop_head *h, size_t *used_r, struct fault *why)
{
	struct envelope env = { 0 };
	struct span line, rest;
	uint64_t bytes = 0;

	*h = (struct maildrop_head){ 0 };
	if (!span_cut(span_slice(text, 0, 4096), '\n', &line, &rest))
		return bad(why, "no head");
	rest = span_from(text, line.n + 1);
	if (!read_line(line, a, h, &bytes) || bytes > rest.n)
		return bad(why, "damaged head");
	if (!envelope_read(span_slice(rest, 0, (size_t)bytes), a, &env, NULL))
		return bad(why, "damaged envelope");
	take_envelope(&h->env, &env);
	*used_r = line.n + 1 + (size_t)bytes;
	return true;
}
