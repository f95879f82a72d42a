/* pipe(8) services as they stand in many a master.cf. */
#include "role/local/pipe_args.h"

#include "kit/kit.h"

static const struct pipe_rcpt rcpts[] = {
	{ { "Alice+Box@Example.ORG", 21 }, { "orig@example.org", 16 } },
	{ { "bob b@example.net", 17 }, { 0 } },
};

static struct pipe_facts
facts_of(const char *sender, size_t count)
{
	return (struct pipe_facts){ .sender = span_str(sender), .nexthop = SPAN("Next.HOP"), .qid = SPAN("4abc"),
		.size = 1234, .rcpts = rcpts, .rcpt_count = count, .delimiter = "+", .client_addr = SPAN("192.0.2.1") };
}

static const struct pipe_row {
	const char *name, *args, *sender;
	size_t rcpts;
	const char *want;               /* words, each with '|' behind it; or "!fault" */
} pipe_rows[] = {
	{ "a delivery agent", "flags=DRhu user=vmail:vmail argv=/usr/lib/dovecot/dovecot-lda -f ${sender} -d ${recipient}",
	    "s@x.example", 1, "/usr/lib/dovecot/dovecot-lda|-f|s@x.example|-d|alice+box@example.org|" },
	{ "one word per recipient", "user=a argv=cmd -- ${recipient} $nexthop", "s@x.example", 2,
	    "cmd|--|Alice+Box@Example.ORG|bob b@example.net|Next.HOP|" },
	{ "quoting", "flags=q user=a argv=cmd $recipient", "s@x.example", 2,
	    "cmd|Alice+Box@Example.ORG|\"bob b\"@example.net|" },
	{ "parts", "flags=hu user=a argv=cmd ${user}/${extension} $domain $(mailbox)", "s@x", 1,
	    "cmd|alice/box|example.org|alice+box|" },
	{ "numbers and dollars", "user=a argv=cmd $size$$ ${queue_id} ${client_address}", "s@x", 1,
	    "cmd|1234$|4abc|192.0.2.1|" },
	{ "the null sender has a name", "user=a argv=cmd $sender", "", 1, "cmd|MAILER-DAEMON|" },
	{ "or the one that is given", "null_sender= user=a argv=cmd $sender x", "", 1, "cmd||x|" },
	{ "braces hold words together", "user=a argv=/bin/sh -c {echo a b} {} $original_recipient", "s@x", 1,
	    "/bin/sh|-c|echo a b||orig@example.org|" },
	{ "an unknown macro", "user=a argv=cmd $password", "s@x", 1, "!pipe: unknown macro $password" },
	{ "an open bracket", "user=a argv=cmd ${sender", "s@x", 1, "!pipe: unknown macro $" },
	{ "no user", "argv=cmd", "s@x", 1, "!pipe: user= is missing" },
	{ "no command", "user=a flags=R", "s@x", 1, "!pipe: argv= is missing" },
	{ "an unknown flag", "flags=Z user=a argv=cmd", "s@x", 1, "!flags=Z is not known to pipe" },
	{ "chroot is refused by name", "chroot=/x user=a argv=cmd", "s@x", 1,
	    "!pipe: attribute chroot= is not supported" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pipe_rows) / sizeof(pipe_rows[0]); i++) {
		const struct pipe_row *row = &pipe_rows[i];
		struct arena *a = arena_new(1 << 20);
		struct pipe_facts f = facts_of(row->sender, row->rcpts);
		struct fault why = { 0 };
		struct pipe_args p;
		struct buf out;

		buf_init(&out, 65536);
		if (!pipe_args_parse(span_str(row->args), a, &p, &why) ||
		    !pipe_args_expand(&p, &f, a, &out, &why)) {
			buf_clear(&out);
			buf_addf(&out, "!%s", why.text);
		}
		for (size_t n = 0; n < out.n; n++)
			if (out.p[n] == '\0')
				out.p[n] = '|';
		if (!span_eq(buf_span(&out), span_str(row->want)))
			fail_msg("%s: got %s", row->name, buf_cstr(&out));
		buf_release(&out);
		arena_free(&a);
	}
}

static void
test_attributes(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct fault why = { 0 };
	struct pipe_args p;

	(void)state;
	assert_true(pipe_args_parse(SPAN("flags=BFORX.> eol=\\r\\n\\101\\\\ size=99 directory=/tmp user=u:g argv=c"),
	    a, &p, &why));
	assert_true(p.blank_line && p.from_line && p.original_to && p.return_path && p.final && p.quote_dot &&
	    p.quote_from);
	assert_false(p.delivered_to || p.quote || p.fold_local || p.fold_domain);
	assert_span(p.eol, "\r\nA\\");
	assert_int_equal(p.size, 99);
	assert_span(p.user, "u");
	assert_span(p.group, "g");
	assert_span(p.directory, "/tmp");
	arena_free(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_rows),
		KIT_TEST(test_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
