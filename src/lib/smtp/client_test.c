/* The client engine against a scripted server, with every split of what arrives and what leaves. */
#include "smtp/client.h"

#include <stdio.h>

#include "kit/kit.h"

/* ---- the server: rules by command prefix ---- */

struct rule {
	const char *command;            /* prefix; "." = end of data; NULL ends the table */
	const char *reply;
};

struct server {
	const struct rule *rules;
	struct buf in, out, heard;      /* heard: everything the client sent */
	size_t bdat_left;
	bool data, bdat_last;
};

static const char *
reply_to(const struct server *s, struct span line)
{
	static const struct rule usual[] = {
		{ "EHLO", "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n" },
		{ "LHLO", "250-mx.example\r\n250 PIPELINING\r\n" },
		{ "MAIL", "250 2.1.0 Ok\r\n" }, { "RCPT", "250 2.1.5 Ok\r\n" },
		{ "DATA", "354 go\r\n" }, { ".", "250 2.0.0 Ok: queued as 1\r\n" },
		{ "BDAT", "250 2.0.0 chunk\r\n" }, { "RSET", "250 2.0.0 Ok\r\n" },
		{ "QUIT", "221 2.0.0 Bye\r\n" }, { "", "500 5.5.2 what?\r\n" }, { NULL, NULL },
	};

	for (const struct rule *r = s->rules; r != NULL && r->command != NULL; r++)
		if (span_starts(line, span_str(r->command)))
			return r->reply;
	for (const struct rule *r = usual;; r++)
		if (span_starts(line, span_str(r->command)))
			return r->reply;
}

static void
server_line(struct server *s, struct span line)
{
	const char *reply;
	unsigned long long n = 0;

	if (s->data && !span_eq(line, SPAN(".")))
		return;
	reply = reply_to(s, line);
	s->data = span_eq(line, SPAN("DATA")) && reply[0] == '3';
	if (span_starts(line, SPAN("BDAT "))) {
		struct span rest = span_from(line, 5), num;

		s->bdat_last = span_find(rest, SPAN("LAST")) >= 0;
		(void)span_token(&rest, " ", &num);
		for (size_t i = 0; i < num.n; i++)
			n = n * 10 + (unsigned long long)(num.p[i] - '0');
		s->bdat_left = (size_t)n;
		if (n > 0)
			return;         /* answered when the bytes are in */
	}
	buf_add_str(&s->out, reply);
}

static void
server_hears(struct server *s, const char *p, size_t n)
{
	buf_add(&s->heard, p, n);
	buf_add(&s->in, p, n);
	for (;;) {
		ptrdiff_t lf;

		if (s->bdat_left > 0) {
			size_t take = s->in.n < s->bdat_left ? s->in.n : s->bdat_left;

			if (take == 0)
				return;
			buf_consume(&s->in, take);
			s->bdat_left -= take;
			if (s->bdat_left == 0)
				buf_add_str(&s->out, reply_to(s, s->bdat_last ? SPAN("BDAT LAST") : SPAN("BDAT")));
			continue;
		}
		lf = span_index(buf_span(&s->in), '\n');
		if (lf < 0)
			return;
		struct span line = span_trim(span_slice(buf_span(&s->in), 0, (size_t)lf));
		char copy[512];

		snprintf(copy, sizeof(copy), "%.*s", SPAN_ARG(line));
		buf_consume(&s->in, (size_t)lf + 1);
		server_line(s, span_str(copy));
	}
}

/* ---- one conversation ---- */

struct row {
	const char *name;
	struct rule rules[8];
	const char *greeting;           /* NULL = "220 mx.example ESMTP" */
	const char *rcpts;              /* blank separated */
	const char *content;            /* NULL = "hi\r\n" */
	const char *heard;              /* all that the client says; NULL = not looked at */
	const char *outcomes;           /* per recipient: S sent, R refused for good, r for now, P pending, A accepted */
	const char *text;               /* part of the first refusal, or of the failure */
	bool chunking, lmtp, eightbit, no_skip_5xx, my_loop, xforward;
};

static const struct smtpc_options options = {
	.helo_name = "client.example", .peer = "mx.example[192.0.2.1]", .my_name = "client.example",
	.always_ehlo = true, .skip_5xx_greeting = true,
	.helo_ms = 1000, .starttls_ms = 2000, .auth_ms = 2500, .mail_ms = 3000, .rcpt_ms = 4000, .data_init_ms = 5000,
	.data_xfer_ms = 6000, .data_done_ms = 7000, .rset_ms = 8000, .quit_ms = 9000,
};

struct talk {
	struct smtpc c;
	struct server s;
	struct smtpc_tx tx;
	struct smtpc_rcpt rcpts[16];
	struct arena *arena;
	struct span content;
	size_t in_step, out_step, piece;
	enum smtpc_event last;
	bool begun;
};

static const struct smtpc_xforward first_client = { .value = { [SMTPC_XF_NAME] = SPAN("first.example"), [SMTPC_XF_ADDR] = SPAN("2001:db8::1"),
	[SMTPC_XF_PORT] = SPAN("unknown"), [SMTPC_XF_PROTO] = SPAN("ESMTP"), [SMTPC_XF_HELO] = SPAN("a b\n"), [SMTPC_XF_IDENT] = SPAN("Q1"),
	[SMTPC_XF_SOURCE] = SPAN("REMOTE") } };

static void
talk_setup(struct talk *t, const struct row *row)
{
	struct span list = span_str(row->rcpts), one;
	struct smtpc_options opt = options;

	opt.lmtp = row->lmtp;
	opt.skip_5xx_greeting = !row->no_skip_5xx;
	opt.discard = row->chunking ? 0 : SMTPC_CAP_CHUNKING;
	*t = (struct talk){ .arena = arena_new(1 << 20), .in_step = SIZE_MAX, .out_step = SIZE_MAX, .piece = SIZE_MAX };
	smtpc_init(&t->c, &opt, 0);
	t->s.rules = row->rules;
	buf_init(&t->s.in, 1 << 20);
	buf_init(&t->s.out, 1 << 20);
	buf_init(&t->s.heard, 1 << 20);
	buf_add_str(&t->s.out, row->greeting != NULL ? row->greeting : "220 mx.example ESMTP\r\n");
	while (span_token(&list, " ", &one))
		t->rcpts[t->tx.n_rcpts++].addr = one;
	t->content = span_str(row->content != NULL ? row->content : "hi\r\n");
	t->tx.sender = SPAN("a@client.example");
	t->tx.bytes = t->content.n;
	t->tx.exact = row->chunking;
	t->tx.body_8bit = row->eightbit;
	t->tx.xforward = row->xforward ? &first_client : NULL;
	t->tx.rcpts = t->rcpts;
	t->tx.arena = t->arena;
}

static void
talk_end(struct talk *t)
{
	smtpc_release(&t->c);
	buf_release(&t->s.in);
	buf_release(&t->s.out);
	buf_release(&t->s.heard);
	arena_free(&t->arena);
}

static void
on_event(struct talk *t, enum smtpc_event ev)
{
	t->last = ev;
	if (ev == SMTPC_CAPS)
		smtpc_begin(&t->c, &t->tx, 0);
	if (ev == SMTPC_CONTENT) {
		struct span piece = span_slice(t->content, 0, t->piece);

		t->content = span_from(t->content, piece.n);
		smtpc_content(&t->c, piece, t->content.n == 0);
	}
	if (ev == SMTPC_TX_DONE)
		smtpc_quit(&t->c, 0);
}

/* The client writes what it has, at most out_step bytes at once. */
static bool
client_writes(struct talk *t)
{
	struct iovec v[5];
	int n = smtpc_output(&t->c, v, 5);
	size_t sent = 0;

	for (int i = 0; i < n; i++) {
		size_t len = v[i].iov_len;

		if (len > t->out_step - sent)
			len = t->out_step - sent;
		server_hears(&t->s, v[i].iov_base, len);
		sent += len;
	}
	if (sent > 0)
		smtpc_sent(&t->c, sent, 0);
	return sent > 0;
}

static bool
client_reads(struct talk *t)
{
	struct span some = span_slice(buf_span(&t->s.out), 0, t->in_step);

	if (some.n == 0)
		return false;
	smtpc_feed(&t->c, some, 0);
	buf_consume(&t->s.out, some.n);
	return true;
}

static void
talk_run(struct talk *t)
{
	bool busy = true;

	while (busy) {
		enum smtpc_event ev;

		busy = false;
		while ((ev = smtpc_next(&t->c)) != SMTPC_WAIT) {
			on_event(t, ev);
			busy = true;
		}
		busy |= client_writes(t);
		busy |= client_reads(t);
	}
}

static void
outcomes(const struct talk *t, char *out)
{
	for (size_t i = 0; i < t->tx.n_rcpts; i++) {
		const struct smtpc_rcpt *r = &t->rcpts[i];

		out[i] = r->outcome == SMTPC_SENT ? 'S' : r->outcome == SMTPC_PENDING ? 'P' :
		    r->outcome == SMTPC_ACCEPTED ? 'A' : smtpc_rcpt_soft(r) ? 'r' : 'R';
	}
	out[t->tx.n_rcpts] = '\0';
}

static void
check(const struct talk *t, const struct row *row)
{
	char got[17];

	outcomes(t, got);
	if (strcmp(got, row->outcomes) != 0)
		fail_msg("%s: outcomes %s, not %s", row->name, got, row->outcomes);
	if (row->heard != NULL && !span_eq(buf_span(&t->s.heard), span_str(row->heard)))
		fail_msg("%s: heard\n%.*s", row->name, SPAN_ARG(buf_span(&t->s.heard)));
	if (row->text == NULL)
		return;
	if (span_find(span_str(t->c.fault.text), span_str(row->text)) >= 0)
		return;
	for (size_t i = 0; i < t->tx.n_rcpts; i++)
		if (span_find(t->rcpts[i].text, span_str(row->text)) >= 0)
			return;
	fail_msg("%s: no text %s but %s / %.*s", row->name, row->text, t->c.fault.text, SPAN_ARG(t->rcpts[0].text));
}

#define HELLO "EHLO client.example\r\n"
#define CHUNKY { "EHLO", "250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n" }
#define PLAIN_EHLO { "EHLO", "250 mx.example\r\n" }

static const struct row rows[] = {
	{ .name = "pipelined, everything accepted", .rcpts = "b@x c@x", .outcomes = "SS",
	    .heard = HELLO "MAIL FROM:<a@client.example> SIZE=4\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "without extensions", .rcpts = "b@x", .rules = { PLAIN_EHLO }, .outcomes = "S",
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "EHLO refused: HELO", .rcpts = "b@x", .rules = { { "EHLO", "502 no\r\n" }, { "HELO", "250 mx\r\n" } },
	    .outcomes = "S", .heard = HELLO "HELO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "HELO refused too", .rcpts = "b@x", .rules = { { "EHLO", "502 no\r\n" }, { "HELO", "550 5.7.1 go away\r\n" } },
	    .outcomes = "P", .text = "host mx.example[192.0.2.1] refused to talk to me: 550 5.7.1 go away" },
	{ .name = "dots are doubled", .rcpts = "b@x", .content = ".\r\n..x\r\ny.z\r\n.\r\n", .outcomes = "S",
	    .heard = HELLO "MAIL FROM:<a@client.example> SIZE=16\r\nRCPT TO:<b@x>\r\nDATA\r\n..\r\n...x\r\ny.z\r\n..\r\n.\r\nQUIT\r\n" },
	{ .name = "XFORWARD, all of it", .rcpts = "b@x", .xforward = true, .outcomes = "S",
	    .rules = { { "EHLO", "250-x\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n" }, { "XFORWARD", "250 ok\r\n" } },
	    .heard = HELLO "XFORWARD NAME=first.example ADDR=IPV6:2001:db8::1 PORT=[UNAVAILABLE]\r\nXFORWARD PROTO=ESMTP HELO=a+20b+0A IDENT=Q1 SOURCE=REMOTE\r\n"
		"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "XFORWARD in lock step, in part, refused", .rcpts = "b@x", .xforward = true, .outcomes = "S",
	    .rules = { { "EHLO", "250-x\r\n250 XFORWARD IDENT COLOUR\r\n" }, { "XFORWARD", "550 5.7.0 no\r\n" } },
	    .heard = HELLO "XFORWARD IDENT=Q1\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "XFORWARD not announced", .rcpts = "b@x", .xforward = true, .outcomes = "S", .rules = { PLAIN_EHLO },
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "XFORWARD announced without attributes", .rcpts = "b@x", .xforward = true, .outcomes = "S",
	    .rules = { { "EHLO", "250-x\r\n250 XFORWARD\r\n" } },
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "content without a last line end", .rcpts = "b@x", .content = "hi", .outcomes = "S",
	    .heard = HELLO "MAIL FROM:<a@client.example> SIZE=2\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "empty content", .rcpts = "b@x", .content = "", .outcomes = "S",
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nDATA\r\n.\r\nQUIT\r\n" },
	{ .name = "one recipient refused", .rcpts = "b@x c@x d@x", .rules = { { "RCPT TO:<c@x>", "550-5.1.1 no\r\n550 5.1.1 such user\r\n" } },
	    .outcomes = "SRS", .text = "host mx.example[192.0.2.1] said: 550-5.1.1 no 550 5.1.1 such user (in reply to RCPT TO command)" },
	{ .name = "552 to RCPT is temporary", .rcpts = "b@x c@x", .rules = { { "RCPT TO:<c@x>", "552 5.5.3 too many\r\n" } }, .outcomes = "Sr" },
	{ .name = "552 to RCPT without a code of its own", .rcpts = "b@x c@x", .rules = { { "RCPT TO:<c@x>", "552 enough\r\n" } }, .outcomes = "Sr" },
	{ .name = "a full mailbox is no such 552", .rcpts = "b@x c@x", .rules = { { "RCPT TO:<c@x>", "552 5.2.2 full\r\n" } }, .outcomes = "SR" },
	{ .name = "MAIL refused under pipelining", .rcpts = "b@x c@x", .rules = { { "MAIL", "452 4.3.1 later\r\n" },
	    { "RCPT", "503 5.5.1 need MAIL\r\n" }, { "DATA", "503 5.5.1 no\r\n" } }, .outcomes = "rr", .text = "(in reply to MAIL FROM command)" },
	{ .name = "MAIL refused in lock step", .rcpts = "b@x c@x", .rules = { PLAIN_EHLO, { "MAIL", "550 5.7.1 no\r\n" } }, .outcomes = "RR",
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nQUIT\r\n" },
	{ .name = "nobody accepted, yet 354: the dot alone", .rcpts = "b@x", .rules = { { "RCPT", "550 5.1.1 no\r\n" }, { ".", "554 5.5.1 none\r\n" } },
	    .outcomes = "R", .heard = HELLO "MAIL FROM:<a@client.example> SIZE=4\r\nRCPT TO:<b@x>\r\nDATA\r\n.\r\nQUIT\r\n", .text = "RCPT TO" },
	{ .name = "nobody accepted in lock step", .rcpts = "b@x c@x", .rules = { PLAIN_EHLO, { "RCPT", "450 4.2.0 busy\r\n" } }, .outcomes = "rr",
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nQUIT\r\n" },
	{ .name = "DATA refused", .rcpts = "b@x", .rules = { { "DATA", "451 4.3.0 no\r\n" } }, .outcomes = "r", .text = "(in reply to DATA command)" },
	{ .name = "DATA answered with 250: no content", .rcpts = "b@x", .rules = { { "DATA", "250 ok\r\n" } }, .outcomes = "r",
	    .heard = HELLO "MAIL FROM:<a@client.example> SIZE=4\r\nRCPT TO:<b@x>\r\nDATA\r\nQUIT\r\n" },
	{ .name = "content refused", .rcpts = "b@x c@x", .rules = { { ".", "554 5.7.1 spam\r\n" } }, .outcomes = "RR",
	    .text = "host mx.example[192.0.2.1] said: 554 5.7.1 spam (in reply to end of DATA command)" },
	{ .name = "5xx greeting is the next server's turn", .greeting = "554 no\r\n", .rcpts = "b@x", .outcomes = "P", .heard = "",
	    .text = "refused to talk to me: 554 no" },
	{ .name = "multi-line greeting with bare LF", .greeting = "220-mx.example\n220 ESMTP\n", .rcpts = "b@x", .outcomes = "S" },
	{ .name = "8-bit content", .rcpts = "b@x", .eightbit = true, .content = "\303\244\r\n", .outcomes = "S",
	    .heard = HELLO "MAIL FROM:<a@client.example> SIZE=4 BODY=8BITMIME\r\nRCPT TO:<b@x>\r\nDATA\r\n\303\244\r\n.\r\nQUIT\r\n" },
	{ .name = "BDAT in one group", .rcpts = "b@x", .chunking = true, .content = ".\r\n", .rules = { CHUNKY }, .outcomes = "S",
	    .heard = HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\nBDAT 3 LAST\r\n.\r\nQUIT\r\n" },
	{ .name = "BDAT refused with everything", .rcpts = "b@x", .chunking = true, .rules = { CHUNKY, { "MAIL", "550 5.7.1 no\r\n" },
	    { "RCPT", "503 no\r\n" }, { "BDAT", "503 no\r\n" } }, .outcomes = "R", .text = "MAIL FROM" },
	{ .name = "BDAT LAST refused", .rcpts = "b@x", .chunking = true, .rules = { CHUNKY, { "BDAT LAST", "552 5.3.4 big\r\n" } }, .outcomes = "R",
	    .text = "(in reply to end of DATA command)" },
	{ .name = "LMTP: one answer per recipient", .lmtp = true, .rcpts = "b@x c@x d@x",
	    .rules = { { "RCPT TO:<c@x>", "550 5.1.1 no\r\n" }, { ".", "250 2.0.0 b ok\r\n452 4.2.2 d full\r\n" } }, .outcomes = "SRr" },
	{ .name = "LMTP: nobody", .lmtp = true, .rcpts = "b@x", .rules = { { "RCPT", "550 5.1.1 no\r\n" }, { "DATA", "503 5.5.1 no\r\n" } }, .outcomes = "R" },
	{ .name = "control bytes never reach the wire", .rcpts = "b@x\r\nRSET c@x", .outcomes = "RS",
	    .heard = HELLO "MAIL FROM:<a@client.example> SIZE=4\r\nRCPT TO:<c@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n" },
	{ .name = "junk before a reply without pipelining", .rcpts = "b@x", .rules = { { "EHLO", "hello there\r\n250 mx.example\r\n" }, { "MAIL", "Warning: x\r\n250 ok\r\n" } }, .outcomes = "S" },
	{ .name = "junk under pipelining ends the session", .rcpts = "b@x", .rules = { { "MAIL", "Warning: x\r\n250 ok\r\n" } }, .outcomes = "P",
	    .text = "broke the protocol while sending MAIL FROM" },
};

static void
splits_of(const struct row *row)
{
	static const size_t steps[] = { SIZE_MAX, 1, 2, 3, 5, 7, 11, 31 };

	for (size_t i = 0; i < 8; i++) {
		for (size_t j = 0; j < 8; j++) {
			struct talk t;

			talk_setup(&t, row);
			t.in_step = steps[i];
			t.out_step = steps[j];
			t.piece = row->chunking ? SIZE_MAX : steps[(i + j) % 8];
			talk_run(&t);
			check(&t, row);
			talk_end(&t);
		}
	}
}

static void
dialogues_at_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		splits_of(&rows[i]);
}

static void
chunks_and_a_refused_one(void **state)
{
	static const struct row row = { .name = "chunks", .rcpts = "b@x", .chunking = true, .content = "one\r\ntwo\r\n",
		.rules = { CHUNKY } };
	static const struct row bad = { .name = "bad", .rcpts = "b@x", .chunking = true, .content = "one\r\ntwo\r\nsix\r\n",
		.rules = { PLAIN_EHLO, { "EHLO", "250-x\r\n250 CHUNKING\r\n" }, { "BDAT", "452 4.3.1 full\r\n" } } };
	struct talk t;

	(void)state;
	talk_setup(&t, &row);
	t.piece = 5;
	talk_run(&t);
	assert_span(buf_span(&t.s.heard), HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\n"
	    "BDAT 5\r\none\r\nBDAT 5 LAST\r\ntwo\r\nQUIT\r\n");
	assert_int_equal(t.rcpts[0].outcome, SMTPC_SENT);
	talk_end(&t);
	/* in lock step, and after an error no more chunks (RFC 3030 section 2) */
	talk_setup(&t, &bad);
	t.s.rules = &bad.rules[1];
	t.piece = 5;
	talk_run(&t);
	assert_span(buf_span(&t.s.heard), HELLO "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@x>\r\n"
	    "BDAT 5\r\none\r\nQUIT\r\n");
	assert_int_equal(t.rcpts[0].outcome, SMTPC_REFUSED);
	assert_true(t.c.must_reset);
	talk_end(&t);
}

/* Feed `text`, collect what the client wants to write into `wrote`. */
static enum smtpc_event
say(struct smtpc *c, const char *text, int64_t now, char *wrote, size_t size)
{
	enum smtpc_event ev;
	struct iovec v[4];
	int n;

	smtpc_feed(c, span_str(text), now);
	ev = smtpc_next(c);
	n = smtpc_output(c, v, 4);
	wrote[0] = '\0';
	if (n > 0) {
		snprintf(wrote, size, "%.*s", (int)v[0].iov_len, (char *)v[0].iov_base);
		smtpc_sent(c, v[0].iov_len, now);
	}
	return ev;
}

static void
starttls_forgets_what_was_said_before(void **state)
{
	struct smtpc c;
	char w[512];

	(void)state;
	smtpc_init(&c, &options, 0);
	assert_int_equal(say(&c, "220 mx\r\n", 0, w, sizeof(w)), SMTPC_WAIT);
	assert_string_equal(w, HELLO);
	assert_int_equal(say(&c, "250-mx\r\n250-STARTTLS\r\n250-AUTH PLAIN login\r\n250 AUTH=LOGIN X\r\n", 0, w, sizeof(w)), SMTPC_CAPS);
	assert_string_equal(c.caps.auth, "PLAIN LOGIN X");
	smtpc_starttls(&c, 0);
	assert_int_equal(say(&c, "", 0, w, sizeof(w)), SMTPC_WAIT);
	assert_string_equal(w, "STARTTLS\r\n");
	assert_int_equal(say(&c, "220 2.0.0 go\r\n", 0, w, sizeof(w)), SMTPC_TLS_START);
	smtpc_tls_started(&c, 0);
	assert_int_equal(c.caps.bits, 0);
	assert_int_equal(say(&c, "", 0, w, sizeof(w)), SMTPC_WAIT);
	assert_string_equal(w, HELLO);
	assert_int_equal(say(&c, "250 mx\r\n", 0, w, sizeof(w)), SMTPC_CAPS);
	assert_int_equal(c.caps.bits, SMTPC_CAP_ESMTP);
	smtpc_release(&c);
}

static void
bytes_behind_the_answer_to_starttls_end_it(void **state)
{
	struct smtpc c;
	char w[512];

	(void)state;
	smtpc_init(&c, &options, 0);
	say(&c, "220 mx\r\n", 0, w, sizeof(w));
	say(&c, "250-mx\r\n250 STARTTLS\r\n", 0, w, sizeof(w));
	smtpc_starttls(&c, 0);
	say(&c, "", 0, w, sizeof(w));
	assert_int_equal(say(&c, "220 go\r\n250 mx\r\n", 0, w, sizeof(w)), SMTPC_FAILED);
	assert_string_equal(c.fault.dsn, "4.7.0");
	smtpc_release(&c);
}

static void
starttls_refused_goes_on(void **state)
{
	struct smtpc c;
	char w[512];

	(void)state;
	smtpc_init(&c, &options, 0);
	say(&c, "220 mx\r\n", 0, w, sizeof(w));
	say(&c, "250-mx\r\n250 STARTTLS\r\n", 0, w, sizeof(w));
	smtpc_starttls(&c, 0);
	say(&c, "", 0, w, sizeof(w));
	assert_int_equal(say(&c, "454 4.7.0 TLS not available\r\n", 0, w, sizeof(w)), SMTPC_TLS_REFUSED);
	assert_int_equal(c.reply.code, 454);
	assert_true(smtpc_idle(&c));
	smtpc_release(&c);
}

static void
auth_steps(void **state)
{
	struct smtpc c;
	char w[512];

	(void)state;
	smtpc_init(&c, &options, 0);
	say(&c, "220 mx\r\n", 0, w, sizeof(w));
	say(&c, "250-mx\r\n250 AUTH LOGIN\r\n", 0, w, sizeof(w));
	smtpc_auth(&c, SPAN("LOGIN"), (struct span){ NULL, 0 }, 0);
	assert_int_equal(say(&c, "", 0, w, sizeof(w)), SMTPC_WAIT);
	assert_string_equal(w, "AUTH LOGIN\r\n");
	assert_int_equal(say(&c, "334 VXNlcm5hbWU6\r\n", 0, w, sizeof(w)), SMTPC_AUTH_STEP);
	smtpc_auth_respond(&c, SPAN("user"), 0);
	assert_int_equal(say(&c, "", 0, w, sizeof(w)), SMTPC_WAIT);
	assert_string_equal(w, "dXNlcg==\r\n");
	assert_int_equal(say(&c, "535 5.7.8 no\r\n", 0, w, sizeof(w)), SMTPC_AUTH_REFUSED);
	smtpc_auth(&c, SPAN("PLAIN"), SPAN(""), 0);
	say(&c, "", 0, w, sizeof(w));
	assert_string_equal(w, "AUTH PLAIN =\r\n");
	assert_int_equal(say(&c, "235 2.7.0 ok\r\n", 0, w, sizeof(w)), SMTPC_AUTH_OK);
	smtpc_release(&c);
}

static void
deadlines_follow_the_step(void **state)
{
	struct smtpc c;
	char w[512];

	(void)state;
	smtpc_init(&c, &options, 5);
	assert_int_equal(smtpc_deadline(&c), 5 + 1000 * 1000);
	say(&c, "220 mx\r\n", 100, w, sizeof(w));
	assert_int_equal(smtpc_deadline(&c), 100 + 1000 * 1000);
	say(&c, "250 mx\r\n", 200, w, sizeof(w));
	assert_int_equal(smtpc_deadline(&c), INT64_MAX);
	smtpc_reset(&c, 300);
	say(&c, "", 300, w, sizeof(w));
	assert_int_equal(smtpc_deadline(&c), 300 + 8000 * 1000);
	assert_int_equal(say(&c, "250 ok\r\n", 400, w, sizeof(w)), SMTPC_RESET_OK);
	smtpc_quit(&c, 500);
	say(&c, "", 500, w, sizeof(w));
	smtpc_timeout(&c);
	assert_int_equal(smtpc_next(&c), SMTPC_CLOSED);
	smtpc_release(&c);
}

static void
breaks_are_named(void **state)
{
	static const struct row row = { .name = "", .rcpts = "b@x", .rules = { { "DATA", "" } } };
	struct talk t;

	(void)state;
	talk_setup(&t, &row);
	talk_run(&t);
	assert_int_equal(smtpc_deadline(&t.c), 5000 * 1000);
	smtpc_timeout(&t.c);
	assert_int_equal(smtpc_next(&t.c), SMTPC_FAILED);
	assert_string_equal(t.c.fault.text,
	    "conversation with mx.example[192.0.2.1] timed out while sending DATA command");
	assert_int_equal(t.rcpts[0].outcome, SMTPC_ACCEPTED);
	talk_end(&t);
}

static void
lost_after_the_dot(void **state)
{
	static const struct row row = { .name = "", .rcpts = "b@x", .rules = { { ".", "" } } };
	struct talk t;

	(void)state;
	talk_setup(&t, &row);
	talk_run(&t);
	smtpc_eof(&t.c);
	assert_int_equal(smtpc_next(&t.c), SMTPC_FAILED);
	assert_string_equal(t.c.fault.text, "lost connection with mx.example[192.0.2.1] while sending end of data"
	    " -- message may be sent more than once");
	assert_string_equal(t.c.fault.dsn, "4.4.2");
	talk_end(&t);
}

/* A second transaction on the same connection resets what the first left open, in the same group. */
static void
reuse_resets_first(void **state)
{
	static const struct row row = { .name = "", .rcpts = "b@x", .rules = { { "RCPT TO:<b@x>", "550 5.1.1 no\r\n" }, { "DATA", "503 no\r\n" } } };
	struct talk t;
	struct smtpc_rcpt second = { .addr = SPAN("c@x"), .notify = SPAN("NEVER"), .orcpt = SPAN("rfc822;c@x") };
	struct smtpc_tx tx;
	char w[512];

	(void)state;
	talk_setup(&t, &row);
	while (t.last != SMTPC_TX_DONE) {
		(void)client_writes(&t);
		(void)client_reads(&t);
		t.last = smtpc_next(&t.c);
		if (t.last == SMTPC_CAPS)
			smtpc_begin(&t.c, &t.tx, 0);
	}
	tx = t.tx;
	tx.rcpts = &second;
	tx.n_rcpts = 1;
	tx.ret = SPAN("HDRS");
	tx.envid = SPAN("x+2By");
	smtpc_begin(&t.c, &tx, 0);
	say(&t.c, "", 0, w, sizeof(w));
	assert_string_equal(w, "RSET\r\nMAIL FROM:<a@client.example> SIZE=4 RET=HDRS ENVID=x+2By\r\n"
	    "RCPT TO:<c@x> NOTIFY=NEVER ORCPT=rfc822;c@x\r\nDATA\r\n");
	assert_int_equal(t.c.uses, 2);
	talk_end(&t);
}

static void
settled_recipients_are_not_asked_again(void **state)
{
	static const struct row row = { .name = "", .rcpts = "b@x c@x d@x", .heard = NULL };
	struct talk t;

	(void)state;
	talk_setup(&t, &row);
	t.rcpts[0].outcome = SMTPC_SENT;
	t.rcpts[2].outcome = SMTPC_REFUSED;
	talk_run(&t);
	assert_span(buf_span(&t.s.heard), HELLO "MAIL FROM:<a@client.example> SIZE=4\r\nRCPT TO:<c@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n");
	assert_int_equal(t.rcpts[1].outcome, SMTPC_SENT);
	talk_end(&t);
}

static void
many_recipients_in_one_pass(void **state)
{
	static struct smtpc_rcpt rcpts[1000];
	static const struct row row = { .name = "", .rcpts = "" };
	struct talk t;

	(void)state;
	talk_setup(&t, &row);
	for (size_t i = 0; i < 1000; i++)
		rcpts[i] = (struct smtpc_rcpt){ .addr = SPAN("somebody.with.a.name@some.domain.example") };
	t.tx.rcpts = rcpts;
	t.tx.n_rcpts = 1000;
	talk_run(&t);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(rcpts[i].outcome, SMTPC_SENT);
	t.tx.n_rcpts = 0;
	talk_end(&t);
}

static void
keywords_to_discard(void **state)
{
	(void)state;
	assert_int_equal(smtpc_cap_mask(SPAN("pipelining, StartTLS nonsense")), SMTPC_CAP_PIPELINING | SMTPC_CAP_STARTTLS);
}

/* The transcript for the postmaster: what is said, whole at every split, and only what breaks the protocol is trouble. */
static void
transcripts(void **state)
{
	static const struct {
		struct rule rule;
		unsigned classes;
	} cases[] = {
		{ { "RCPT", "550 5.1.1 no such user\r\n" }, 0 },
		{ { "RCPT", "501 5.5.2 what\r\n" }, SMTP_NOTICE_PROTOCOL },
		{ { "MAIL", "555 5.5.4 option\r\n" }, SMTP_NOTICE_PROTOCOL },
		{ { "MAIL", "451 4.7.1 later\r\n" }, 0 },
		{ { ".", "350 odd\r\n" }, SMTP_NOTICE_PROTOCOL },
		{ { "DATA", "junk\r\n354 go\r\n" }, SMTP_NOTICE_PROTOCOL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t step = 1; step < 60; step += 7) {
			struct row row = { .name = "", .rcpts = "b@y", .rules = { cases[i].rule }, .content = "words\r\n" };
			struct talk t;
			struct buf b;

			talk_setup(&t, &row);
			t.in_step = t.out_step = step;
			transcript_release(&t.c.transcript);
			transcript_init(&t.c.transcript, SMTP_NOTICE_PROTOCOL);
			talk_run(&t);
			buf_init(&b, TRANSCRIPT_MAX);
			transcript_write(&t.c.transcript, &b);
			assert_int_equal(transcript_due(&t.c.transcript), cases[i].classes);
			assert_non_null(strstr(buf_cstr(&b), " In:  220 mx.example ESMTP\n Out: EHLO "));
			assert_non_null(strstr(buf_cstr(&b), "\n Out: MAIL FROM:<a@client.example>"));
			assert_null(strstr(buf_cstr(&b), "words"));
			buf_release(&b);
			talk_end(&t);
		}
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(transcripts),
	KIT_TEST(dialogues_at_every_split),
	KIT_TEST(chunks_and_a_refused_one),
	KIT_TEST(starttls_forgets_what_was_said_before),
	KIT_TEST(bytes_behind_the_answer_to_starttls_end_it),
	KIT_TEST(starttls_refused_goes_on),
	KIT_TEST(auth_steps),
	KIT_TEST(deadlines_follow_the_step),
	KIT_TEST(breaks_are_named),
	KIT_TEST(lost_after_the_dot),
	KIT_TEST(reuse_resets_first),
	KIT_TEST(settled_recipients_are_not_asked_again),
	KIT_TEST(many_recipients_in_one_pass),
	KIT_TEST(keywords_to_discard),
};

KIT_MAIN(tests)
