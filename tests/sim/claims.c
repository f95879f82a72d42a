/* What was promised and what became of it: for each accepted recipient a copy, a report, or a place in the spool. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "sim/sim.h"
#include "store/store.h"

enum { CLAIMS_MAX = 2000, COPIES_MAX = 4000, FORBIDDEN_MAX = 20 };

/* Messages carry a token in their Subject; reports carry the headers of what they are about. */
struct claim {
	const char *token;
	struct span sender, rcpt;
	bool never;                     /* it may end without a report */
	size_t copies, reports;
};

struct copy {
	struct span sender, rcpt;
	const char *content;
	bool tls;
};

static struct claim claims[CLAIMS_MAX];
static size_t n_claims;
static struct copy copies[COPIES_MAX];
static size_t n_copies;
static struct span forbidden[FORBIDDEN_MAX];
static size_t n_forbidden;

/* With the empty sender, or the one of reports that make no further reports. */
static bool
is_report(struct span sender)
{
	return sender.n == 0 || span_starts(sender, SPAN("double-bounce@"));
}

void
claim_made(const char *token, struct span sender, struct span rcpt, bool never)
{
	if (n_claims == CLAIMS_MAX)
		sim_fail("too many messages");
	claims[n_claims++] = (struct claim){ .token = token, .sender = arena_dup(sim_arena, sender), .rcpt = arena_dup(sim_arena, rcpt),
		.never = never };
}

void
claim_forbid_clear(struct span host)
{
	if (n_forbidden == FORBIDDEN_MAX)
		sim_fail("too many hosts");
	forbidden[n_forbidden++] = arena_dup(sim_arena, host);
}

void
claim_arrived(struct span host, bool tls, struct span sender, struct span rcpt, struct span content)
{
	struct copy *c = &copies[n_copies++];

	for (size_t i = 0; i < n_forbidden && !tls; i++)
		if (span_eq(host, forbidden[i]))
			sim_fail("mail for %.*s went to %.*s in clear at %s", SPAN_ARG(rcpt), SPAN_ARG(host),
			    sim_time_text(clock_since_start_us()));
	if (n_copies == COPIES_MAX)
		sim_fail("too many copies");
	*c = (struct copy){ arena_dup(sim_arena, sender), arena_dup(sim_arena, rcpt), arena_cstr(sim_arena, content), tls };
	for (size_t i = 0; i < n_claims; i++) {
		struct claim *k = &claims[i];

		if (strstr(c->content, k->token) == NULL)
			continue;
		if (span_eq(k->rcpt, rcpt) && span_eq(k->sender, sender))
			k->copies++;
		else if (is_report(sender) && span_find(content, k->rcpt) >= 0)
			k->reports++;
	}
}

void
claim_gone(struct span rcpt)
{
	for (size_t i = 0; i < n_claims; i++)
		claims[i].never = claims[i].never || span_eq(claims[i].rcpt, rcpt);
}

size_t
claim_copies(struct span rcpt, int tls)
{
	size_t n = 0;

	for (size_t i = 0; i < n_copies; i++)
		n += !is_report(copies[i].sender) && span_eq(copies[i].rcpt, rcpt) && (tls < 0 || copies[i].tls == (tls == 1));
	return n;
}

size_t
claim_reports(struct span rcpt)
{
	size_t n = 0;

	for (size_t i = 0; i < n_copies; i++)
		n += is_report(copies[i].sender) && span_eq(copies[i].rcpt, rcpt);
	return n;
}

const char *
claim_report(struct span rcpt)
{
	for (size_t i = n_copies; i > 0; i--)
		if (is_report(copies[i - 1].sender) && span_eq(copies[i - 1].rcpt, rcpt))
			return copies[i - 1].content;
	return NULL;
}

/* ---- the account */

static struct buf in_spool;

static void
found(void *ctx, const struct store_entry *e, int result)
{
	struct store_op op;

	(void)result;
	if (e == NULL || e->found != STORE_FOUND_GOOD)
		return;
	store_op_init(&op, STORE_LOAD, span_str(e->qid), NULL, NULL);
	op.content_max = 16 << 20;
	store_load_dir(ctx, &op);
	buf_add_span(&in_spool, e->envelope);
	if (op.result == 0 && op.content_loaded)
		buf_add_span(&in_spool, op.content);
	buf_add_str(&in_spool, "\n----\n");
	store_op_release(&op);
}

void
claim_check(void)
{
	char path[128];

	buf_init(&in_spool, 256 << 20);
	snprintf(path, sizeof(path), "%s/spool", world_dir());
	(void)store_scan_dir(path, found, path);
	for (size_t i = 0; i < n_claims; i++) {
		const struct claim *k = &claims[i];

		if (k->copies == 0 && k->reports == 0 && !k->never && k->sender.n > 0 && strstr(buf_cstr(&in_spool), k->token) == NULL)
			sim_fail("%s from %.*s to %.*s was accepted and is lost: no copy, no report, not in the spool", k->token,
			    SPAN_ARG(k->sender), SPAN_ARG(k->rcpt));
	}
	buf_release(&in_spool);
}

void
claim_check_once(void)
{
	for (size_t i = 0; i < n_claims; i++)
		if (claims[i].copies > 1)
			sim_fail("%s reached %.*s %zu times", claims[i].token, SPAN_ARG(claims[i].rcpt), claims[i].copies);
}
