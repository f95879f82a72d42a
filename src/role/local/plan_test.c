/* The planner: each row is a recipient, and the whole list of actions that follow. */
#include "role/local/plan.h"

#include <stdio.h>

#include "base/buf.h"
#include "kit/kit.h"

/* Facts of the tests: "name: targets" per line. Users: alice, bob (uid 1001, 1002). */
static const char aliases[] =
    "toalice: alice\n"
    "two: alice, bob\n"
    "list: alice, x@remote.example\n"
    "owner-list: bob\n"
    "single: alice\n"
    "owner-single: bob\n"
    "loopa: loopb\n"
    "loopb: loopa\n"
    "self: self, alice\n"
    "alice+special: bob\n"
    "cmd: \"|exit 67\", /var/log/x\n"
    "rem: x@remote.example\n"
    "twice: rem, rem, x@remote.example\n"
    "incl: :include:/lists/a\n"
    "inclcmd: :include:/lists/cmd\n"
    "inclgone: :include:/lists/gone\n"
    "inclself: :include:/lists/self\n"
    "stop: \\alice\n"
    "empty:\n"
    "nest: two, toalice\n"
    "gone: nobodyhere\n"
    "broken: broken@temp.example\n";

struct facts {
	const char *forward_alice;
	bool wait;                      /* every fact is WAIT the first time it is asked */
	bool alias_defers;
	const char *transport, *fallback, *luser;
	struct span known[64];
	size_t known_count;
	struct arena *a;
};

static bool
must_wait(struct facts *f, struct span key)
{
	if (!f->wait)
		return false;
	for (size_t i = 0; i < f->known_count; i++)
		if (span_eq(f->known[i], key))
			return false;
	f->known[f->known_count++] = arena_dup(f->a, key);
	return true;
}

static enum map_result
fact_alias(void *ctx, struct span name, struct plan_text *r, struct fault *why)
{
	struct facts *f = ctx;
	struct span rest = span_str(aliases), line, key, value;

	if (f->alias_defers) {
		fault_set(why, "4.3.0", "alias database unavailable");
		return MAP_DEFER;
	}
	if (must_wait(f, name))
		return MAP_WAIT;
	while (span_cut(rest, '\n', &line, &rest)) {
		span_cut(line, ':', &key, &value);
		if (span_eq(key, name)) {
			*r = (struct plan_text){ .text = span_trim(value) };
			return MAP_FOUND;
		}
	}
	return MAP_ABSENT;
}

static enum map_result
fact_user(void *ctx, struct span name, struct plan_user *u, struct fault *why)
{
	(void)why;
	if (must_wait(ctx, name))
		return MAP_WAIT;
	if (!span_eq(name, SPAN("alice")) && !span_eq(name, SPAN("bob")))
		return MAP_ABSENT;
	*u = (struct plan_user){ .name = name, .home = SPAN("/home/x"),
		.rights = { .uid = name.p[0] == 'a' ? 1001 : 1002, .gid = 100 } };
	return MAP_FOUND;
}

static enum map_result
fact_forward(void *ctx, const struct plan_user *u, struct span ext, struct span *text_r, struct fault *why)
{
	struct facts *f = ctx;

	(void)ext;
	(void)why;
	if (!span_eq(u->name, SPAN("alice")) || f->forward_alice == NULL)
		return MAP_ABSENT;
	if (must_wait(f, SPAN("forward")))
		return MAP_WAIT;
	*text_r = span_str(f->forward_alice);
	return MAP_FOUND;
}

static enum map_result
fact_include(void *ctx, struct span path, const struct plan_rights *rights, struct plan_text *r, struct fault *why)
{
	(void)rights;
	if (must_wait(ctx, path))
		return MAP_WAIT;
	if (span_eq(path, SPAN("/lists/a")))
		*r = (struct plan_text){ .text = SPAN("# members\nalice\nx@remote.example\n"), .owner = 0 };
	else if (span_eq(path, SPAN("/lists/cmd")))
		*r = (struct plan_text){ .text = SPAN("|cat\n/tmp/file\n"), .owner = 1002 };
	else if (span_eq(path, SPAN("/lists/self")))
		*r = (struct plan_text){ .text = SPAN(":include:/lists/self\n"), .owner = 0 };
	else {
		fault_set(why, "4.2.0", "cannot open include file %.*s", SPAN_ARG(path));
		return MAP_DEFER;
	}
	return MAP_FOUND;
}

static enum map_result
fact_is_local(void *ctx, struct span domain, struct fault *why)
{
	(void)ctx;
	if (span_eq(domain, SPAN("temp.example"))) {
		fault_set(why, "4.3.0", "domain table unavailable");
		return MAP_DEFER;
	}
	return span_eq_ci(domain, SPAN("host.example")) ? MAP_FOUND : MAP_ABSENT;
}

static enum map_result
fact_transport(void *ctx, struct span name, bool known, struct span *r, struct fault *why)
{
	struct facts *f = ctx;
	const char *t = known ? f->transport : f->fallback;

	(void)name;
	(void)why;
	*r = span_str(t);
	return t != NULL ? MAP_FOUND : MAP_ABSENT;
}

static enum map_result
fact_luser(void *ctx, struct span name, struct span ext, struct span *r, struct fault *why)
{
	struct facts *f = ctx;

	(void)name;
	(void)ext;
	(void)why;
	*r = span_str(f->luser);
	return f->luser != NULL ? MAP_FOUND : MAP_ABSENT;
}

static const struct plan_ops ops = {
	fact_alias, fact_user, fact_forward, fact_include, fact_is_local, fact_transport, fact_luser,
};

static const struct plan_conf conf = {
	.delimiter = "+", .myorigin = "host.example", .owner_request_special = true,
	.commands_in_alias = true, .commands_in_forward = true,
	.files_in_alias = true, .files_in_forward = true,
	.default_rights = { .uid = 65534, .gid = 65534 },
};

static void
print_action(struct buf *b, const struct plan_action *x)
{
	static const char *const words[] = {
		"mailbox", "file", "command", "forward", "transport", "discard", "fail",
	};

	buf_addf(b, "%s%s to=%.*s", b->n > 0 ? "\n" : "", words[x->kind], SPAN_ARG(x->to));
	if (x->kind == PLAN_MAILBOX)
		buf_addf(b, " user=%.*s", SPAN_ARG(x->user.name));
	else if (x->kind == PLAN_FAIL)
		buf_addf(b, " %s %s", x->why.dsn, x->why.text);
	else
		buf_addf(b, " %.*s", SPAN_ARG(x->text));
	if (x->kind == PLAN_FILE || x->kind == PLAN_COMMAND)
		buf_addf(b, " uid=%ld", (long)x->rights.uid);
	if (!span_eq(x->sender, SPAN("s@from.example")))
		buf_addf(b, " from=%.*s", SPAN_ARG(x->sender));
	if (x->extension.n > 0)
		buf_addf(b, " ext=%.*s", SPAN_ARG(x->extension));
}

static enum map_result
make(struct facts *f, const struct plan_conf *c, const char *rcpt, struct buf *out)
{
	struct arena *a = arena_new(8 << 20);
	struct fault why = { 0 };
	struct plan plan;
	enum map_result r;
	int turns = 0;

	f->a = arena_new(1 << 20);
	f->known_count = 0;
	do
		r = plan_make(c, &ops, f, span_str(rcpt), SPAN("s@from.example"), a, &plan, &why);
	while (r == MAP_WAIT && ++turns < 200);
	if (r == MAP_FOUND)
		for (const struct plan_action *x = plan.first; x != NULL; x = x->next)
			print_action(out, x);
	else
		buf_addf(out, "%s %s", why.dsn, why.text);
	arena_free(&f->a);
	arena_free(&a);
	return r;
}

#define H "@host.example"

static const struct plan_row {
	const char *name, *rcpt;
	struct facts facts;
	const char *want;
} plan_rows[] = {
	{ "a user gets it in the mailbox", "alice" H, { 0 }, "mailbox to=alice" H " user=alice" },
	{ "case does not count", "Alice" H, { 0 }, "mailbox to=Alice" H " user=alice" },
	{ "an extension is for the user", "alice+x" H, { 0 }, "mailbox to=alice+x" H " user=alice ext=x" },
	{ "an alias with extension comes first", "alice+special" H, { 0 }, "mailbox to=bob" H " user=bob" },
	{ "nobody of that name", "carol" H, { 0 }, "fail to=carol" H " 5.1.1 unknown user: \"carol\"" },
	{ "an alias to a user is delivered here", "toalice" H, { 0 }, "mailbox to=alice" H " user=alice" },
	{ "several", "two" H, { 0 }, "mailbox to=alice" H " user=alice\nmailbox to=bob" H " user=bob" },
	{ "nested, each once", "nest" H, { 0 },
	    "mailbox to=alice" H " user=alice\nmailbox to=bob" H " user=bob" },
	{ "an owner makes new messages of all", "list" H, { 0 },
	    "forward to=list" H " alice" H " from=owner-list" H
	    "\nforward to=list" H " x@remote.example from=owner-list" H },
	{ "an owner for one target", "single" H, { 0 },
	    "forward to=single" H " alice" H " from=owner-single" H },
	{ "two aliases of each other", "loopa" H, { 0 },
	    "fail to=loopb" H " 5.4.6 alias database loop for loopb" },
	{ "an alias in its own expansion is the user", "self" H, { 0 },
	    "fail to=self" H " 5.1.1 unknown user: \"self\"\nmailbox to=alice" H " user=alice" },
	{ "commands and files of a table that root owns", "cmd" H, { 0 },
	    "command to=cmd" H " exit 67 uid=65534\nfile to=cmd" H " /var/log/x uid=65534" },
	{ "duplicates are suppressed", "twice" H, { 0 }, "forward to=rem" H " x@remote.example" },
	{ "an include file makes new messages", "incl" H, { 0 },
	    "forward to=incl" H " alice" H "\nforward to=incl" H " x@remote.example" },
	{ "no commands nor files in include files", "inclcmd" H, { 0 },
	    "fail to=inclcmd" H " 5.7.1 mail to command is restricted\n"
	    "fail to=inclcmd" H " 5.7.1 mail to file is restricted" },
	{ "an include file that is not there", "inclgone" H, { 0 },
	    "4.2.0 cannot open include file /lists/gone" },
	{ "an include file that includes itself", "inclself" H, { 0 },
	    "fail to=inclself" H " 5.4.6 mail forwarding loop for inclself" H },
	{ "a backslash goes to the mailbox", "stop" H, { .forward_alice = "x@remote.example" },
	    "mailbox to=alice" H " user=alice" },
	{ "an alias without targets", "empty" H, { 0 }, "4.3.5 alias empty has no targets" },
	{ "an alias to nobody", "gone" H, { 0 },
	    "fail to=nobodyhere" H " 5.1.1 unknown user: \"nobodyhere\"" },
	{ "a domain table that fails", "broken" H, { 0 }, "4.3.0 domain table unavailable" },
	{ "an alias table that fails", "alice" H, { .alias_defers = true }, "4.3.0 alias database unavailable" },
	{ ".forward to another place", "alice" H, { .forward_alice = "x@remote.example\n" },
	    "forward to=alice" H " x@remote.example" },
	{ ".forward to a local user", "alice" H, { .forward_alice = "bob\n" },
	    "forward to=alice" H " bob" H },
	{ ".forward that keeps a copy", "alice" H, { .forward_alice = "alice, x@remote.example\n" },
	    "mailbox to=alice" H " user=alice\nforward to=alice" H " x@remote.example" },
	{ ".forward that keeps a copy, the old way", "alice" H, { .forward_alice = "\\alice\nx@remote.example" },
	    "mailbox to=alice" H " user=alice\nforward to=alice" H " x@remote.example" },
	{ ".forward with command and file", "alice" H, { .forward_alice = "|cat\n/home/x/f" },
	    "command to=alice" H " cat uid=1001\nfile to=alice" H " /home/x/f uid=1001" },
	{ "an empty .forward is none", "alice" H, { .forward_alice = "# nothing\n\n" },
	    "mailbox to=alice" H " user=alice" },
	{ "mailbox_transport takes all", "carol" H, { .transport = "lmtp:unix:x" },
	    "transport to=carol" H " lmtp:unix:x" },
	{ "fallback_transport takes the unknown", "carol" H, { .fallback = "lmtp:unix:x" },
	    "transport to=carol" H " lmtp:unix:x" },
	{ "luser_relay takes the unknown", "carol" H, { .luser = "carol@elsewhere.example" },
	    "forward to=carol" H " carol@elsewhere.example" },
	{ "postmaster without alias", "postmaster" H, { 0 }, "discard to=postmaster" H " postmaster" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(plan_rows) / sizeof(plan_rows[0]); i++)
		for (int wait = 0; wait < 2; wait++) {
			struct facts facts = plan_rows[i].facts;
			struct buf out;

			facts.wait = wait != 0;
			buf_init(&out, 65536);
			make(&facts, &conf, plan_rows[i].rcpt, &out);
			if (!span_eq(buf_span(&out), span_str(plan_rows[i].want)))
				fail_msg("%s: got\n%s", plan_rows[i].name, buf_cstr(&out));
			buf_release(&out);
		}
}

static void
test_options(void **state)
{
	struct plan_conf c = conf;
	struct facts f = { 0 };
	struct buf out;

	(void)state;
	buf_init(&out, 65536);
	c.extension_to_alias = true;
	make(&f, &c, "rem+x" H, &out);
	assert_span(buf_span(&out), "forward to=rem+x" H " x+x@remote.example ext=x");
	buf_clear(&out);
	c.expand_owner_alias = true;
	make(&f, &c, "single" H, &out);
	assert_span(buf_span(&out), "forward to=single" H " alice" H " from=bob" H);
	buf_clear(&out);
	c.commands_in_include = c.files_in_include = true;
	make(&f, &c, "inclcmd" H, &out);
	assert_span(buf_span(&out), "command to=inclcmd" H " cat uid=1002\n"
	    "file to=inclcmd" H " /tmp/file uid=1002");
	buf_release(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_rows),
		KIT_TEST(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
