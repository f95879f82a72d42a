/* The server engine: RFC dialogues (whole, trickled, split everywhere), verb by phase, smuggling, BDAT, filters. */
#include "smtp/server.h"

#include "kit/server_world.h"

static const struct dialogue {
	const char *name, *in, *want;
} dialogues[] = {
	{ "a whole session with one pipelined group (RFC 2920)",
	    TX "RCPT TO:<c@y.example>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\nend\r\n.\r\nQUIT\r\n",
	    TX_REPLY "250 2.1.5 Ok\r\n" R354 QUEUED BYE "--content--\nSubject: x\r\n\r\n.dot\r\nend\r\n--news--\nclose 3 \n" },
	{ "no recipient accepted: DATA is 554 and no content is read",
	    EHLO "MAIL FROM:<>\r\nRCPT TO:<no@y.example>\r\nDATA\r\nQUIT\r\n",
	    HELLO EHLO_REPLY "250 2.1.0 Ok\r\n554 5.7.1 no\r\n554 5.5.1 Error: no valid recipients\r\n" BYE
	    "--content--\n--news--\nclose 3 \n" },
	{ "order is enforced and the state stays (RFC 5321 section 4.1.4)",
	    EHLO "RCPT TO:<b@y>\r\nDATA\r\nMAIL FROM:<a@x>\r\nMAIL FROM:<c@x>\r\nRCPT TO:<b@y>\r\nRSET\r\nRCPT TO:<b@y>\r\n",
	    HELLO EHLO_REPLY "503 5.5.1 Error: need MAIL command\r\n503 5.5.1 Error: need RCPT command\r\n250 2.1.0 Ok\r\n"
	    "503 5.5.1 Error: nested MAIL command\r\n250 2.1.5 Ok\r\n250 2.0.0 Ok\r\n503 5.5.1 Error: need MAIL command\r\n"
	    "--content--\n--news--\nreset 0 \nclose 4 \n" },
	{ "verbs in any case, local-part case kept, source route dropped",
	    "ehlo c.example\r\nmail from:<@r.example,@q.example:AbC@x>\r\nrcpt to:<\"a b\"@y>\r\nquit\r\n",
	    HELLO EHLO_REPLY "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n" BYE "--content--\n--news--\nclose 3 \n" },
	{ "unknown and malformed parameters",
	    EHLO "MAIL FROM:<a@x> FOO=1\r\nMAIL FROM:<a@x> SIZE=1 SIZE=2\r\nMAIL FROM:<a@x> BODY\r\nMAIL FROM:<a@x> RET=X\r\n"
	    "MAIL FROM:<a@x> ENVID=\r\nMAIL FROM:<a@x> BODY=BINARYMIME\r\nMAIL <a@x>\r\nMAIL FROM:<a@x> AUTH=<> RET=HDRS ENVID=QQ+2B\r\n"
	    "RCPT TO:<b@y> NOTIFY=NEVER,SUCCESS\r\nRCPT TO:<b@y> ORCPT=rfc822\r\nRCPT TO:<>\r\nRCPT TO:<b@y> ORCPT=rfc822;b@y NOTIFY=SUCCESS,DELAY\r\n",
	    HELLO EHLO_REPLY "555 5.5.4 Unsupported option: FOO=1\r\n501 5.5.4 Error: SIZE given twice\r\n"
	    "555 5.5.4 Unsupported option: BODY\r\n501 5.5.4 Error: Bad RET parameter syntax\r\n"
	    "501 5.5.4 Error: Bad ENVID parameter syntax\r\n555 5.5.4 Unsupported option: BODY=BINARYMIME\r\n"
	    "501 5.5.4 Syntax: MAIL FROM:<address>\r\n250 2.1.0 Ok\r\n501 5.5.4 Error: Bad NOTIFY parameter syntax\r\n"
	    "501 5.5.4 Error: Bad ORCPT parameter syntax\r\n501 5.1.3 Bad recipient address syntax\r\n250 2.1.5 Ok\r\n"
	    "--content--\n--news--\nclose 4 \n" },
	{ "too many recipients are 452 and the first ones beyond are no errors",
	    TX "RCPT TO:<c@y>\r\nRCPT TO:<d@y>\r\nRCPT TO:<e@y>\r\nRCPT TO:<f@y>\r\n",
	    TX_REPLY "250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n452 4.5.3 Error: too many recipients\r\n452 4.5.3 Error: too many recipients\r\n"
	    "--content--\n--news--\nclose 4 \n" },
	{ "the small verbs",
	    EHLO "NOOP with words\r\nHELP\r\nRSET x\r\nVRFY postmaster\r\nVRFY\r\nETRN y.example\r\nETRN\r\nETRN a b\r\nFOO bar\r\nEXPN list\r\n\r\nEHLO\r\nHELO c\r\nQUIT\r\n",
	    HELLO EHLO_REPLY "250 2.0.0 Ok\r\n214 2.0.0 Commands: BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET VRFY\r\n"
	    "501 5.5.4 Syntax: RSET\r\n252 2.0.0 <postmaster>\r\n501 5.5.4 Syntax: VRFY address [SMTPUTF8]\r\n250 2.0.0 Queuing started\r\n"
	    "500 5.5.2 Syntax: ETRN domain\r\n500 5.5.2 Syntax: ETRN domain\r\n500 5.5.2 Error: command not recognized\r\n"
	    "500 5.5.2 Error: command not recognized\r\n500 5.5.2 Error: bad syntax\r\n501 Syntax: EHLO hostname\r\n250 mx.example\r\n" BYE
	    "--content--\n--news--\nclose 3 \n" },
	{ "a second EHLO drops the transaction", TX EHLO "DATA\r\n",
	    TX_REPLY EHLO_REPLY "503 5.5.1 Error: need RCPT command\r\n--content--\n--news--\nreset 0 \nclose 4 \n" },
	{ "BDAT in chunks, a bare LF and a CR at a border", TX "BDAT 3\r\nab\rBDAT 4\r\n\ncd\nBDAT 0 LAST\r\nQUIT\r\n",
	    TX_REPLY "250 2.0.0 Ok: 3 bytes\r\n250 2.0.0 Ok: 4 bytes\r\n250 2.0.0 Ok: 7 bytes queued as QID\r\n" BYE
	    "--content--\nab\r\ncd\r\n--news--\nclose 3 \n" },
	{ "BDAT keeps a dot line and completes the last line", TX "BDAT 7 LAST\r\na\r\n.\r\nbQUIT\r\n",
	    TX_REPLY "250 2.0.0 Ok: 7 bytes queued as QID\r\n" BYE "--content--\na\r\n.\r\nb\r\n--news--\nclose 3 \n" },
	{ "a refused recipient's BDAT is read and dropped, commands in it are not run",
	    EHLO "MAIL FROM:<a@x>\r\nRCPT TO:<no@y>\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\nBDAT 2\r\nxxNOOP\r\n",
	    HELLO EHLO_REPLY "250 2.1.0 Ok\r\n554 5.7.1 no\r\n554 5.5.1 Error: no valid recipients\r\n250 2.0.0 Ok\r\n"
	    "503 5.5.1 Error: need RCPT command\r\n250 2.0.0 Ok\r\n--content--\n--news--\nreset 0 \nclose 4 \n" },
	{ "no DATA, MAIL, RCPT after BDAT; RSET helps", TX "BDAT 1\r\naMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nRSET\r\nMAIL FROM:<a@x>\r\n",
	    TX_REPLY "250 2.0.0 Ok: 1 bytes\r\n503 5.5.1 Error: nested MAIL command\r\n503 5.5.1 Error: RCPT after BDAT\r\n"
	    "503 5.5.1 Error: DATA after BDAT\r\n250 2.0.0 Ok\r\n250 2.1.0 Ok\r\n--content--\n--news--\nreset 0 \nclose 4 \n" },
	{ "an empty chunk that is not the last is an error of the message", TX "BDAT 0\r\nBDAT 2 LAST\r\nhiRSET\r\n",
	    TX_REPLY "551 5.7.1 Null BDAT request\r\n551 5.0.0 Discarded 2 bytes after earlier error\r\n250 2.0.0 Ok\r\n"
	    "--content--\n--news--\nreset 0 \nclose 4 \n" },
	{ "BDAT without a number cannot go on", TX "BDAT x\r\nabc",
	    TX_REPLY "501 5.5.4 Syntax: BDAT count [LAST]\r\n421 4.7.0 mx.example Error: cannot tell where the next command begins\r\n"
	    "--content--\n--news--\nclose 3 \n" },
	{ "lost in the middle of DATA", TX "DATA\r\nabc\r\n", TX_REPLY R354 "--content--\nabc\r\n--news--\nclose 4 \n" },
	{ "a stray CR becomes a space", TX "DATA\r\na\rb\r\r\n.\rc\r\n.\r\n",
	    TX_REPLY R354 QUEUED "--content--\na b \r\n c\r\n--news--\nclose 4 \n" },
	{ "non-ASCII address is let in, bad UTF-8 is not",
	    EHLO "MAIL FROM:<\xc3\xa9@x>\r\nRCPT TO:<\xff@x>\r\nRCPT TO:<\xc3\xa9@x>\r\n",
	    HELLO EHLO_REPLY "250 2.1.0 Ok\r\n500 5.5.2 Error: bad UTF-8 syntax\r\n250 2.1.5 Ok\r\n--content--\n--news--\nclose 4 \n" },
	{ "command lines may end in a bare LF", "EHLO c.example\nQUIT\n", HELLO EHLO_REPLY BYE "--content--\n--news--\nclose 3 \n" },
};

/* Move `*at` behind the next line: a polite client sends line by line. */
static bool
polite(struct span in, size_t *at)
{
	ptrdiff_t lf = span_index(span_from(in, *at), '\n');

	if (*at >= in.n)
		return false;
	*at = lf < 0 ? in.n : *at + (size_t)lf + 1;
	return true;
}

static void
run_polite(const struct smtps_config *c, struct span in, bool late, struct buf *all)
{
	struct peer p = { .now_us = 0 };
	size_t at = 0, from = 0;

	peer_open(&p, c, NULL);
	p.late = late;
	while (polite(in, &at)) {
		feed(&p, span_slice(in, from, at));
		from = at;
		while (p.n_kept > 0)
			answer_all(&p);
	}
	smtps_eof(p.s, p.now_us);
	drain(&p);
	buf_add_span(all, buf_span(&p.out));
	buf_addf(all, "--content--\n%.*s--news--\n%.*s", SPAN_ARG(buf_span(&p.content)), SPAN_ARG(buf_span(&p.news)));
	peer_close(&p);
}

/* Each dialogue line by line, with slow answers, and byte by byte. */
static void
test_dialogues(void **state)
{
	struct smtps_config c = config();
	struct buf all;

	(void)state;
	buf_init(&all, 1 << 20);
	for (size_t i = 0; i < sizeof(dialogues) / sizeof(dialogues[0]); i++) {
		const struct dialogue *d = &dialogues[i];

		for (unsigned late = 0; late < 2; late++) {
			buf_clear(&all);
			run_polite(&c, span_str(d->in), late == 1, &all);
			assert_span(buf_span(&all), d->want);
		}
		buf_clear(&all);
		run(&c, NULL, span_str(d->in), 0, 1, &all);
		assert_span(buf_span(&all), d->want);
	}
	buf_release(&all);
}

/* Split at every position; without the rule, early input is taken as it comes. */
static void
test_dialogues_split(void **state)
{
	struct smtps_config c = config();
	struct buf all;

	(void)state;
	c.forbid_pipelining = false;
	buf_init(&all, 1 << 20);
	for (size_t i = 0; i < sizeof(dialogues) / sizeof(dialogues[0]); i++) {
		struct span in = span_str(dialogues[i].in);

		for (size_t cut = 0; cut <= in.n; cut++) {
			buf_clear(&all);
			run(&c, NULL, in, cut, in.n, &all);
			assert_span(buf_span(&all), dialogues[i].want);
		}
	}
	buf_release(&all);
}

/* --- smuggling --- */

static const struct smuggle {
	const char *name, *data;
	bool ends_strict, ends_allow;
} smuggles[] = {
	{ "LF . LF", "a\n.\nb", false, true },
	{ "LF . CRLF", "a\n.\r\nb", false, true },
	{ "CRLF . LF", "a\r\n.\nb", false, true },
	{ "CRLF . CRLF", "a\r\n.\r\nb", true, true },
	{ "CR . CR", "a\r.\rb", false, false },
	{ "CR . CRLF", "a\r.\r\nb", false, false },
	{ "CRLF . CR", "a\r\n.\rb", false, false },
	{ "CRLF . CR CRLF", "a\r\n.\r\r\nb", false, false },
	{ "CRLF NUL . CRLF", "a\r\n\0.\r\nb", false, false },
	{ "LF CR . CRLF", "a\n\r.\r\nb", false, false },
	{ "CRLF .. CRLF", "a\r\n..\r\nb", false, false },
	{ "first line, LF", ".\nb", false, true },
	{ "first line, CRLF", ".\r\nb", true, true },
};

static bool
ends(struct span data, enum smtps_bare_lf mode, size_t step)
{
	struct smtps_scan sc;
	struct buf out;
	bool end = false;

	smtps_scan_init(&sc, true, mode, true);
	buf_init(&out, 4096);
	while (data.n > 0 && !end) {
		struct span piece = span_slice(data, 0, step);
		size_t used = smtps_scan(&sc, piece, &out, &end);

		assert_true(used == piece.n || end);
		data = span_from(data, used);
	}
	for (size_t i = 0; i < out.n; i++)
		if (out.p[i] == '\n')
			assert_true(i > 0 && out.p[i - 1] == '\r');
	buf_release(&out);
	return end;
}

static void
test_smuggling(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(smuggles) / sizeof(smuggles[0]); i++) {
		const struct smuggle *m = &smuggles[i];
		struct span data = i == 8 ? SPAN("a\r\n\0.\r\nb") : span_str(m->data);

		for (size_t step = 1; step <= data.n; step++) {
			if (ends(data, SMTPS_BARE_LF_NORMALIZE, step) != m->ends_strict ||
			    ends(data, SMTPS_BARE_LF_NOTE, step) != m->ends_strict ||
			    ends(data, SMTPS_BARE_LF_REJECT, step) != m->ends_strict ||
			    ends(data, SMTPS_BARE_LF_ALLOW, step) != m->ends_allow)
				fail_msg("%s, %zu bytes at a time", m->name, step);
		}
	}
}

static void
test_bare_lf_verdict(void **state)
{
	struct smtps_config c = config();
	struct smtps_client cl = { .bare_lf = SMTPS_BARE_LF_REJECT };
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, &cl);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\n"));
	feed(&p, SPAN("a\nb\r\n.\r\n"));
	assert_true(span_find(buf_span(&p.out), SPAN("550 5.5.2 mx.example Error: bare <LF> received")) > 0);
	assert_true(span_find(buf_span(&p.news), SPAN("reset 2")) >= 0);
	assert_false(p.closed);
	buf_clear(&p.out);
	feed(&p, SPAN("NOOP\n"));
	assert_span(buf_span(&p.out), "550 5.5.2 mx.example Error: bare <LF> received\r\n");
	assert_true(p.closed);
	peer_close(&p);
}

/* --- verb by phase --- */

static const char *const phase_setup[] = { "", EHLO, EHLO "MAIL FROM:<a@x>\r\n", TX, TX "BDAT 1\r\nx" };
static const struct phase_row {
	const char *line;
	unsigned want[5];       /* greeted, ready, mail, rcpt, bdat */
} phase_rows[] = {
	{ "HELO c\r\n", { 250, 250, 250, 250, 250 } },
	{ "EHLO c\r\n", { 250, 250, 250, 250, 250 } },
	{ "STARTTLS\r\n", { 502, 502, 502, 502, 502 } },
	{ "STARTTLS x\r\n", { 501, 501, 501, 501, 501 } },
	{ "MAIL FROM:<a@x>\r\n", { 250, 250, 503, 503, 503 } },
	{ "RCPT TO:<b@y>\r\n", { 503, 503, 250, 250, 503 } },
	{ "DATA\r\n", { 503, 503, 554, 354, 503 } },
	{ "BDAT 0 LAST\r\n", { 503, 503, 554, 250, 250 } },
	{ "RSET\r\n", { 250, 250, 250, 250, 250 } },
	{ "NOOP\r\n", { 250, 250, 250, 250, 250 } },
	{ "VRFY x\r\n", { 252, 252, 252, 252, 252 } },
	{ "ETRN y\r\n", { 250, 250, 503, 503, 503 } },
	{ "HELP\r\n", { 214, 214, 214, 214, 214 } },
	{ "FOO\r\n", { 500, 500, 500, 500, 500 } },
	{ "QUIT\r\n", { 221, 221, 221, 221, 221 } },
};

static unsigned
reply_code(const struct peer *p)
{
	uint64_t code = 0;

	span_u64(span_slice(buf_span(&p->out), 0, 3), 999, &code);
	return (unsigned)code;
}

/* Every code by RFC 2034: there on 2xx, 4xx, 5xx but for the greeting, HELO and EHLO; its class agrees. */
static void
check_dsn(const struct peer *p, const char *line)
{
	struct span out = buf_span(&p->out);

	if (out.p[0] == '3' || span_starts_ci(span_str(line), SPAN("EHLO")) || span_starts_ci(span_str(line), SPAN("HELO")))
		return;
	assert_true(out.n > 6 && out.p[4] == out.p[0] && out.p[5] == '.');
}

static void
test_verb_by_phase(void **state)
{
	struct smtps_config c = config();

	(void)state;
	for (size_t r = 0; r < sizeof(phase_rows) / sizeof(phase_rows[0]); r++)
		for (size_t ph = 0; ph < 5; ph++) {
			struct peer p = { .now_us = 0 };
			struct span setup = span_str(phase_setup[ph]), line;

			peer_open(&p, &c, NULL);
			for (size_t at = 0, from = 0; polite(setup, &at); from = at) {
				line = span_slice(setup, from, at);
				feed(&p, line);
			}
			buf_clear(&p.out);
			feed(&p, span_str(phase_rows[r].line));
			if (reply_code(&p) != phase_rows[r].want[ph])
				fail_msg("%s in phase %zu: %.*s", phase_rows[r].line, ph, SPAN_ARG(buf_span(&p.out)));
			check_dsn(&p, phase_rows[r].line);
			peer_close(&p);
		}
}

/* --- pipelining --- */

static void
test_recipients_are_asked_together(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	p.late = true;
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<no@y>\r\nRCPT TO:<d@y>\r\nDATA\r\n"));
	assert_int_equal(p.n_kept, 1);
	buf_clear(&p.out);
	answer_all(&p);
	assert_int_equal(p.n_kept, 3);
	answer_all(&p);         /* in reverse: replies leave in order all the same */
	assert_span(buf_span(&p.out), "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n554 5.7.1 no\r\n250 2.1.5 Ok\r\n");
	assert_int_equal(p.n_kept, 1);
	assert_int_equal(p.kept[0].kind, SMTPS_ASK_DATA);
	peer_close(&p);
}

static void
test_early_talker(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .late = true };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN("EHLO x\r\n"));
	answer_all(&p);
	assert_span(buf_span(&p.out), "554 5.5.0 Error: SMTP protocol synchronization\r\n");
	assert_span(buf_span(&p.news), "early 0 EHLO x\r\n\nclose 3 \n");
	assert_string_equal(smtps_where(p.s), "CONNECT");
	peer_close(&p);
}

static void
test_pipelining_after_data(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nSubject: x\r\n"));
	assert_true(span_find(buf_span(&p.out), SPAN("554 5.5.0 Error: SMTP protocol synchronization")) > 0);
	assert_true(p.closed);
	assert_true(p.why == SMTPS_WHY_QUIT);
	assert_int_equal(smtps_count(p.s, SMTPS_DATA).total, 1);
	assert_int_equal(smtps_count(p.s, SMTPS_DATA).ok, 0);
	peer_close(&p);
}

static void
test_helo_client_must_not_pipeline(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN("HELO x\r\n"));
	feed(&p, SPAN("MAIL FROM:<>\r\nRCPT TO:<b@y>\r\n"));
	assert_true(p.closed);
	assert_true(span_starts(buf_span(&p.news), SPAN("early 0 RCPT TO:<b@y>")));
	peer_close(&p);
}

/* --- filters and footers --- */

static enum smtps_edit_result
edit_command(void *ctx, struct span line, struct arena *a, struct span *line_r)
{
	buf_addf(ctx, "[%.*s]", SPAN_ARG(line));
	if (span_eq(line, SPAN("BROKEN")))
		return SMTPS_EDIT_FAILED;
	if (span_eq(line, SPAN("LONG"))) {
		*line_r = (struct span){ arena_alloc(a, 100000), 100000 };
		memset((char *)(uintptr_t)line_r->p, 'x', line_r->n);
		return SMTPS_EDIT_DONE;
	}
	if (!span_eq(line, SPAN("HALLO")))
		return SMTPS_EDIT_NONE;
	*line_r = SPAN(" EHLO a.example ");
	return SMTPS_EDIT_DONE;
}

static bool
edit_reply(void *ctx, struct span reply, struct arena *a, struct span *reply_r)
{
	(void)a;
	buf_addf(ctx, "{%.*s}", SPAN_ARG(reply));
	*reply_r = span_starts(reply, SPAN("554")) ? SPAN("421 4.7.9 x\ry") : span_starts(reply, SPAN("503")) ? SPAN("250 2.0.0 ok") : SPAN("");
	return !span_starts(reply, SPAN("500"));
}

static struct span
edit_footer(void *ctx, struct span reply, struct arena *a)
{
	(void)ctx;
	(void)a;
	return span_starts(reply, SPAN("500")) ? SPAN("one\\ntwo") : span_starts(reply, SPAN("421")) ? SPAN("\\c!") : SPAN("");
}

static void
test_commands_and_refusals_are_edited(void **state)
{
	struct smtps_config conf = config();
	struct peer p = { 0 };
	struct buf seen;
	struct smtps_edit e = { edit_command, edit_reply, edit_footer, &seen };

	(void)state;
	buf_init(&seen, 65536);
	peer_open(&p, &conf, NULL);
	smtps_set_edit(p.s, &e);
	feed(&p, SPAN("HALLO\r\n"));
	buf_clear(&p.out);
	feed(&p, SPAN("AUTH PLAIN AGEAYg==\r\n"));
	feed(&p, SPAN("auth LOGIN\r\n"));
	feed(&p, SPAN("LONG\r\n"));
	feed(&p, SPAN("BLAH\r\n"));
	assert_string_equal(buf_cstr(&seen), "[HALLO]{503 5.5.1 Error: authentication not enabled}{503 5.5.1 Error: authentication not enabled}[LONG]"
	    "{500 5.5.2 mx.example Error: command too long}[BLAH]{500 5.5.2 Error: command not recognized}");
	/* what is no refusal takes the place of none */
	assert_string_equal(buf_cstr(&p.out), "503 5.5.1 Error: authentication not enabled\r\n503 5.5.1 Error: authentication not enabled\r\n"
	    "500-5.5.2 mx.example Error: command too long\r\n500-5.5.2 one\r\n500 5.5.2 two\r\n"
	    "500-5.5.2 Error: command not recognized\r\n500-5.5.2 one\r\n500 5.5.2 two\r\n");
	buf_clear(&p.out);
	feed(&p, SPAN("MAIL FROM:<a@b>\r\nRCPT TO:<no@b>\r\n"));
	assert_string_equal(buf_cstr(&p.out), "250 2.1.0 Ok\r\n421 4.7.9 x?y!\r\n");
	assert_true(p.closed);
	peer_close(&p);
	p = (struct peer){ 0 };
	peer_open(&p, &conf, NULL);
	smtps_set_edit(p.s, &e);
	buf_clear(&p.out);
	feed(&p, SPAN("BROKEN\r\n"));
	assert_string_equal(buf_cstr(&p.out), "421 4.3.0 mx.example Error: temporary lookup failure!\r\n");
	assert_true(p.closed);
	peer_close(&p);
	buf_release(&seen);
}

static void
test_replies_are_ascii(void **state)
{
	static const struct smtps_reply no = { 550, "4.1.1", { "caf\xc3\xa9\r\x01\nsecond", 14 }, false, 0 };
	struct smtps_config c = config();
	struct peer p = { .helo_reply = &no };

	(void)state;
	peer_open(&p, &c, NULL);
	buf_clear(&p.out);
	feed(&p, SPAN(EHLO));
	assert_span(buf_span(&p.out), "550-5.1.1 caf????\r\n550 5.1.1 second\r\n");
	assert_span(smtps_helo(p.s), "");
	peer_close(&p);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_dialogues),
	KIT_TEST(test_dialogues_split),
	KIT_TEST(test_smuggling),
	KIT_TEST(test_bare_lf_verdict),
	KIT_TEST(test_verb_by_phase),
	KIT_TEST(test_recipients_are_asked_together),
	KIT_TEST(test_early_talker),
	KIT_TEST(test_pipelining_after_data),
	KIT_TEST(test_helo_client_must_not_pipeline),
	KIT_TEST(test_replies_are_ascii),
	KIT_TEST(test_commands_and_refusals_are_edited),
};
KIT_MAIN(tests)
