/* The language of the scripts: a table of words. What a line may say is in HACKING.md. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "sim/sim.h"

enum { SCRIPT_MAX = 1 << 20, LINES_MAX = 400000, WARNINGS_MAX = 60, TAIL = 40, GAPS_MAX = 200, REST_DAYS = 3 };

struct line {
	int64_t at_us;
	const char *text;               /* "tag: line" */
};

static const char *file;
static unsigned number;
static struct line lines[LINES_MAX];
static size_t n_lines, mark;            /* `log` looks from there on: where the last things began to happen */
static bool looked;
static unsigned descriptors_at_start;
static struct { const char *text; bool came; } warnings[WARNINGS_MAX];
static size_t n_warnings;
static unsigned tokens;

const char *
script_where(void)
{
	return arena_printf(sim_arena, "%s:%u", file, number).p;
}

/* ---- the log */

void
script_log_tail(void)
{
	for (size_t i = n_lines > TAIL ? n_lines - TAIL : 0; i < n_lines; i++)
		fprintf(stderr, "    %14s  %s\n", sim_time_text(lines[i].at_us), lines[i].text);
}

void
script_log(int64_t at_us, bool warning, const char *tag, const char *text)
{
	bool known = !warning || torture_on() || strstr(text, "SIGNET_KEYS=in-process") != NULL; /* there is no keeper here */

	if (n_lines == LINES_MAX)
		sim_fail("too many log lines");
	lines[n_lines++] = (struct line){ at_us, arena_printf(sim_arena, "%s: %s", tag, text).p };
	for (size_t i = 0; i < n_warnings && warning; i++)
		if (strstr(text, warnings[i].text) != NULL)
			known = warnings[i].came = true;
	if (!known)
		sim_fail("unannounced: %s", text);
}

static size_t
lines_with(size_t from, const char *a, const char *b)
{
	size_t n = 0;

	for (size_t i = from; i < n_lines; i++)
		n += strstr(lines[i].text, a) != NULL && strstr(lines[i].text, b) != NULL;
	return n;
}

/* ---- words */

/* The rest of the line, with ends trimmed; must not be empty. */
static const char *
rest_text(struct span rest)
{
	rest = span_trim(rest);
	if (rest.n == 0)
		sim_fail("this line ends too early");
	return arena_cstr(sim_arena, rest);
}

static struct span
word(struct span *rest)
{
	struct span w;

	if (!span_token(rest, " ", &w))
		sim_fail("this line ends too early");
	return w;
}

static size_t
count_word(struct span *rest)
{
	struct span w = word(rest);
	uint64_t n;

	if (!span_u64(w, 1000000, &n))
		sim_fail("\"%.*s\" is no number", SPAN_ARG(w));
	return (size_t)n;
}

static void
no_more(struct span rest)
{
	if (span_trim(rest).n > 0)
		sim_fail("what is \"%.*s\" at the end?", SPAN_ARG(span_trim(rest)));
}

static void
must(const char *wrong)
{
	if (wrong != NULL)
		sim_fail("%s", wrong);
}

/* "1d4h", "30m", "90s", "200ms" */
static int64_t
time_word(struct span w)
{
	static const struct { const char *unit; int64_t us; } units[] = {
		{ "ms", US_PER_MS }, { "d", 86400 * US_PER_S }, { "h", 3600 * US_PER_S }, { "m", 60 * US_PER_S }, { "s", US_PER_S },
	};
	struct span rest = w;
	int64_t us = 0;

	while (rest.n > 0) {
		size_t digits = 0, u = 0;
		uint64_t n;

		while (digits < rest.n && ascii_isdigit(rest.p[digits]))
			digits++;
		if (!span_u64(span_slice(rest, 0, digits), 1000000, &n))
			break;
		rest = span_from(rest, digits);
		while (u < 5 && !span_starts(rest, span_str(units[u].unit)))
			u++;
		if (u == 5)
			break;
		us += (int64_t)n * units[u].us;
		rest = span_from(rest, strlen(units[u].unit));
	}
	if (rest.n > 0 || w.n == 0)
		sim_fail("\"%.*s\" is no time (1d4h, 30m, 90s, 200ms)", SPAN_ARG(w));
	return us;
}

/* ---- the world */

static void
do_conf(struct span rest)
{
	if (world_begun())
		sim_fail("conf comes before anything happens");
	if (span_index(rest, '=') < 0)
		sim_fail("conf NAME = VALUE");
	world_conf(rest);
}

static void
do_zone(struct span rest)
{
	struct span suffix = word(&rest), state = word(&rest);

	no_more(rest);
	must(facts_zone_command(suffix, state));
}

static void
do_dns(struct span rest)
{
	struct span name = word(&rest), type = word(&rest);

	must(facts_dns_command(name, type, span_str(rest_text(rest))));
}

static void
do_table(struct span rest)
{
	struct span table = word(&rest), key = word(&rest);

	must(facts_table_command(table, key, span_str(rest_text(rest))));
}

static void
do_host(struct span rest)
{
	struct span address = word(&rest), verb = word(&rest);

	must(net_host_command(address, verb, span_trim(rest)));
}

static void
do_disk(struct span rest)
{
	struct span which = word(&rest), state = word(&rest);

	if (!span_eq(which, SPAN("spool")) && !span_eq(which, SPAN("mail")))
		sim_fail("disk spool or disk mail");
	must(disk_command(which, state, span_trim(rest)));
}

static void
do_forbid(struct span rest)
{
	struct span host = word(&rest);

	no_more(rest);
	claim_forbid_clear(host);
}

static void
do_gone(struct span rest)
{
	struct span rcpt = word(&rest);

	no_more(rest);
	claim_gone(rcpt);
}

static void
do_warning(struct span rest)
{
	if (n_warnings == WARNINGS_MAX)
		sim_fail("too many warnings");
	warnings[n_warnings++].text = rest_text(rest);
}

/* ---- what happens */

static void
begin(void)
{
	if (!world_begun()) {
		world_begin();
		clock_run_until(world_loop(), clock_since_start_us());
		descriptors_at_start = world_descriptors();
	}
}

static void
pass_until(int64_t us)
{
	begin();
	if (us < clock_since_start_us())
		sim_fail("it is %s already", sim_time_text(clock_since_start_us()));
	do
		clock_run_until(world_loop(), us);
	while (clock_since_start_us() < us);
}

static void
do_after(struct span rest)
{
	int64_t us = time_word(word(&rest));

	no_more(rest);
	pass_until(clock_since_start_us() + us);
}

static void
do_at(struct span rest)
{
	int64_t us = time_word(word(&rest));

	no_more(rest);
	pass_until(us);
}

struct mail {
	struct span sender, rcpts;
	const char *notify, *gets;      /* "" = none; the reply that the message ends with */
	size_t size;
};

static const char *
content_of(const struct mail *m, const char *token)
{
	static const char filler[] = "All work and no play makes mail a dull toy.\r\n";
	struct buf b;
	const char *text;

	buf_init(&b, 16 << 20);
	buf_addf(&b, "From: sender@sim.example\r\nSubject: %s\r\n\r\nHello.\r\n", token);
	while (b.n < m->size)
		buf_add_str(&b, filler);
	buf_add_str(&b, ".\r\n");
	text = arena_cstr(sim_arena, buf_span(&b));
	buf_release(&b);
	return text;
}

/* True while the server says yes; `last` keeps its words. */
static bool
agrees(struct net_client *c, struct span line, const char **last)
{
	const char *reply = net_client_say(c, line);

	*last = reply != NULL ? reply : "nothing";
	return reply != NULL && (reply[0] == '2' || reply[0] == '3');
}

static bool
send_envelope(struct net_client *c, const struct mail *m, const char **last)
{
	struct span rest = m->rcpts, rcpt;

	if (!agrees(c, SPAN(""), last) || !agrees(c, SPAN("EHLO client.example\r\n"), last) ||
	    !agrees(c, arena_printf(sim_arena, "MAIL FROM:<%.*s>\r\n", SPAN_ARG(m->sender)), last))
		return false;
	while (span_token(&rest, ",", &rcpt))
		if (!agrees(c, arena_printf(sim_arena, "RCPT TO:<%.*s>%s%s\r\n", SPAN_ARG(rcpt), m->notify[0] != '\0' ? " NOTIFY=" : "",
		    m->notify), last))
			return false;
	return agrees(c, SPAN("DATA\r\n"), last);
}

static void
send_mail(const struct mail *m)
{
	const char *token = arena_printf(sim_arena, "token-%u.", ++tokens).p, *last = "";
	struct net_client *c = net_client_open("198.51.100.7");
	struct span rest = m->rcpts, rcpt;
	bool accepted = send_envelope(c, m, &last) && agrees(c, span_str(content_of(m, token)), &last);
	const char *ignored;

	while (accepted && span_token(&rest, ",", &rcpt))
		claim_made(token, m->sender, rcpt, m->notify[0] != '\0' && strstr(m->notify, "FAILURE") == NULL);
	(void)agrees(c, SPAN("QUIT\r\n"), &ignored);
	net_client_close(&c);
	if (!torture_on() && strncmp(last, m->gets, strlen(m->gets)) != 0)
		sim_fail("the message was answered with \"%s\", not \"%s\"", last, m->gets);
}

static void
do_send(struct span rest)
{
	struct mail m = { .sender = word(&rest), .rcpts = word(&rest), .notify = "", .gets = "250" };
	struct span w;

	if (span_eq(m.sender, SPAN("<>")))
		m.sender = SPAN("");
	while (span_token(&rest, " ", &w)) {
		struct span key, value;

		if (span_eq(w, SPAN("gets"))) {
			m.gets = rest_text(rest);
			break;
		}
		span_cut(w, '=', &key, &value);
		if (span_eq(key, SPAN("notify")))
			m.notify = arena_cstr(sim_arena, value);
		else if (span_eq(key, SPAN("size")))
			m.size = count_word(&value);
		else
			sim_fail("send FROM TO,TO [notify=...] [size=N] [gets REPLY]");
	}
	begin();
	send_mail(&m);
}

static void
do_admin(struct span rest)
{
	struct span op = word(&rest), which = word(&rest);

	no_more(rest);
	begin();
	if (!world_admin(op, which) && !torture_on())
		sim_fail("the queue did not do it");
}

static void
do_kill(struct span rest)
{
	struct span role = word(&rest);

	no_more(rest);
	if (!span_eq(role, SPAN("queue")) && !span_eq(role, SPAN("smtpc")))
		sim_fail("kill queue or kill smtpc");
	begin();
	world_kill(role);
}

static void
do_fail(struct span rest)
{
	struct span kind = word(&rest);
	size_t n = count_word(&rest);

	no_more(rest);
	begin();
	if (torture_on())
		sim_fail("fail is for scripts that expect something");
	if (n == 0 || !torture_arm(kind, n - 1))
		sim_fail("fail write, fsync, lookup, ipc, link or crash, with a + for a while, and a number from 1");
}

/* ---- what is expected */

static void
see_log(struct span rest)
{
	const char *text = rest_text(rest);

	if (lines_with(mark, text, "") == 0)
		sim_fail("no line since %s has \"%s\"", mark < n_lines ? sim_time_text(lines[mark].at_us) : "now", text);
}

static void
see_nolog(struct span rest)
{
	const char *text = rest_text(rest);

	if (lines_with(mark, text, "") != 0)
		sim_fail("a line has \"%s\"", text);
}

static void
see_count(struct span rest)
{
	size_t n = count_word(&rest), got;
	const char *text = rest_text(rest);

	got = lines_with(0, text, "");
	if (got != n)
		sim_fail("%zu lines since the start have \"%s\", not %zu", got, text, n);
}

static void
see_status(struct span rest, const char *status)
{
	struct span to = word(&rest);
	const char *who = arena_printf(sim_arena, "to=<%.*s>, ", SPAN_ARG(to)).p;
	const char *how = arena_printf(sim_arena, "status=%s (", status).p, *text = arena_cstr(sim_arena, span_trim(rest));

	for (size_t i = mark; i < n_lines; i++)
		if (strstr(lines[i].text, who) != NULL && strstr(lines[i].text, how) != NULL && strstr(lines[i].text, text) != NULL)
			return;
	sim_fail("no line since %s says that mail for %.*s was %s%s%s", mark < n_lines ? sim_time_text(lines[mark].at_us) : "now",
	    SPAN_ARG(to), status, text[0] != '\0' ? ": " : "", text);
}

static void
see_sent(struct span rest)
{
	see_status(rest, "sent");
}

static void
see_deferred(struct span rest)
{
	see_status(rest, "deferred");
}

static void
see_bounced(struct span rest)
{
	see_status(rest, "bounced");
}

static void
see_copies(struct span rest)
{
	struct span to = word(&rest), how = span_trim(rest);
	size_t n = count_word(&rest), got;
	int tls = -1;

	how = span_trim(rest);
	if (how.n > 0 && !span_eq(how, SPAN("tls")) && !span_eq(how, SPAN("clear")))
		sim_fail("copies ADDRESS N [tls or clear]");
	if (how.n > 0)
		tls = span_eq(how, SPAN("tls"));
	got = claim_copies(to, tls);
	if (got != n)
		sim_fail("%.*s has %zu copies%s%.*s, not %zu", SPAN_ARG(to), got, how.n > 0 ? " by " : "", SPAN_ARG(how), n);
}

static void
see_reports(struct span rest)
{
	struct span to = word(&rest);
	size_t n = count_word(&rest), got = claim_reports(to);

	no_more(rest);
	if (got != n)
		sim_fail("%.*s has %zu reports, not %zu", SPAN_ARG(to), got, n);
}

static void
see_report(struct span rest)
{
	struct span to = word(&rest);
	const char *text = rest_text(rest), *got = claim_report(to);

	if (got == NULL)
		sim_fail("%.*s has no report", SPAN_ARG(to));
	if (strstr(got, text) == NULL)
		sim_fail("the newest report to %.*s has no \"%s\":\n%s", SPAN_ARG(to), text, got);
}

static void
see_files(struct span rest)
{
	const char *folder = arena_cstr(sim_arena, word(&rest));
	size_t n = count_word(&rest), got = world_files(folder);

	no_more(rest);
	if (got != n)
		sim_fail("%zu files in %s, not %zu", got, folder, n);
}

static void
see_queue(struct span rest)
{
	size_t n = count_word(&rest), got = world_files("spool/mail");

	no_more(rest);
	if (got != n)
		sim_fail("%zu messages in the queue, not %zu", got, n);
}

/* Pauses between attempts for that recipient. */
static size_t
gaps_of(struct span to, int64_t gaps[static GAPS_MAX])
{
	const char *who = arena_printf(sim_arena, "to=<%.*s>, ", SPAN_ARG(to)).p;
	int64_t last = -1;
	size_t n = 0;

	for (size_t i = 0; i < n_lines && n < GAPS_MAX; i++) {
		if (strstr(lines[i].text, who) == NULL || strstr(lines[i].text, "status=") == NULL || strstr(lines[i].text, "status=expired"))
			continue;
		if (last >= 0)
			gaps[n++] = lines[i].at_us - last;
		last = lines[i].at_us;
	}
	return n;
}

static void
see_gaps(struct span rest)
{
	struct span to = word(&rest), w;
	int64_t gaps[GAPS_MAX];
	size_t n = gaps_of(to, gaps), i = 0;

	for (; span_token(&rest, " ", &w); i++) {
		ptrdiff_t dots = span_find(w, SPAN(".."));
		int64_t low, high;

		if (dots < 0)
			sim_fail("gaps ADDRESS LOW..HIGH LOW..HIGH");
		low = time_word(span_slice(w, 0, (size_t)dots));
		high = time_word(span_from(w, (size_t)dots + 2));
		if (i >= n)
			sim_fail("%.*s was tried %zu times, which is too few", SPAN_ARG(to), n + 1);
		if (gaps[i] < low || gaps[i] > high)
			sim_fail("pause %zu of %.*s was %s, not %.*s", i + 1, SPAN_ARG(to), sim_time_text(gaps[i]), SPAN_ARG(w));
	}
}

/* All pauses after the first `from` lie between. */
static void
see_tries(struct span rest)
{
	struct span to = word(&rest);
	size_t low = count_word(&rest), high = count_word(&rest), n;
	int64_t gaps[GAPS_MAX];

	no_more(rest);
	n = gaps_of(to, gaps) + 1;
	if (n < low || n > high)
		sim_fail("%.*s was tried %zu times, not %zu to %zu", SPAN_ARG(to), n, low, high);
}

/* ---- the table */

/* The world is set up, something happens to it, or it is looked at (not by torture). */
enum sort { SET, DO, SEE };

static const struct command {
	const char *word;
	void (*run)(struct span rest);
	enum sort sort;
} commands[] = {
	{ "conf", do_conf, SET }, { "zone", do_zone, SET }, { "dns", do_dns, SET }, { "table", do_table, SET },
	{ "host", do_host, SET }, { "disk", do_disk, SET }, { "never-clear", do_forbid, SET }, { "gone", do_gone, SET }, { "warning", do_warning, SEE },
	{ "send", do_send, DO }, { "after", do_after, DO }, { "at", do_at, DO }, { "admin", do_admin, DO },
	{ "kill", do_kill, DO }, { "fail", do_fail, DO },
	{ "log", see_log, SEE }, { "nolog", see_nolog, SEE }, { "count", see_count, SEE }, { "sent", see_sent, SEE },
	{ "deferred", see_deferred, SEE }, { "bounced", see_bounced, SEE }, { "copies", see_copies, SEE },
	{ "reports", see_reports, SEE }, { "report", see_report, SEE }, { "queue", see_queue, SEE }, { "files", see_files, SEE },
	{ "gaps", see_gaps, SEE }, { "tries", see_tries, SEE },
};

static void
run_line(struct span line)
{
	struct span w;

	line = span_trim(line);
	if (line.n == 0 || line.p[0] == '#')
		return;
	w = word(&line);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (span_eq(w, span_str(commands[i].word))) {
			if (commands[i].sort == SEE && torture_on())
				return;
			if (commands[i].sort == DO && looked)
				mark = n_lines;
			looked = commands[i].sort == SEE || (looked && commands[i].sort == SET);
			commands[i].run(span_trim(line));
			return;
		}
	sim_fail("what does \"%.*s\" mean?", SPAN_ARG(w));
}

void
script_rest(bool twice_is_fine)
{
	size_t left;
	unsigned descriptors;

	pass_until(clock_since_start_us() + REST_DAYS * 86400 * US_PER_S);
	claim_check();
	if (!twice_is_fine)
		claim_check_once();
	left = world_files("spool/mail") + world_files("spool/tmp");
	if (left != 0)
		sim_fail("%zu files are in the spool for ever", left);
	descriptors = world_descriptors();
	if (descriptors != descriptors_at_start)
		sim_fail("%u descriptors are open, %u were at the start", descriptors, descriptors_at_start);
}

void
script_play(const char *path)
{
	struct span rest, line;
	struct buf text;

	file = path;
	buf_init(&text, SCRIPT_MAX);
	if (fd_read_file(AT_FDCWD, path, &text) < 0)
		sim_fail("cannot be read");
	for (rest = buf_span(&text); rest.n > 0;) {
		if (!span_cut(rest, '\n', &line, &rest)) {
			line = rest;
			rest = SPAN("");
		}
		number++;
		run_line(line);
	}
	begin();
	clock_run_until(world_loop(), clock_since_start_us());
	claim_check();
	for (size_t i = 0; i < n_warnings; i++)
		if (!warnings[i].came)
			sim_fail("the warning \"%s\" never came", warnings[i].text);
	buf_release(&text);
}
