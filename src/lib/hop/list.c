/* The next hops of one delivery: those that a route gave, then the fallback relays; and what one that leads nowhere means. */
#include <string.h>

#include "conf/params.h"
#include "hop/hop.h"

void
hop_list(const struct hop_service *svc, struct span nexthop, struct arena *a, struct hop_list *l_r)
{
	struct span fallback = span_str(svc->p->smtp_fallback_relay), rest = nexthop, word;

	*l_r = (struct hop_list){ .svc = svc, .whole = nexthop };
	l_r->hop = ARENA_ARRAY(a, struct span, nexthop.n / 2 + fallback.n / 2 + 2);
	if (span_starts(nexthop, SPAN("unix:"))) {      /* a path has no fallback, and may have blanks */
		l_r->hop[l_r->count++] = nexthop;
		l_r->given = 1;
		return;
	}
	while (span_token(&rest, ", \t\r\n", &word))
		l_r->hop[l_r->count++] = word;
	l_r->given = l_r->count;
	while (span_token(&fallback, ", \t\r\n", &word))
		l_r->hop[l_r->count++] = word;
}

static const char *
our_parameter(const struct hop_list *l, size_t i)
{
	struct span relayhost = span_trim(span_str(l->svc->p->relayhost));

	if (i >= l->given)
		return "fallback_relay";
	return relayhost.n > 0 && span_eq(span_trim(l->whole), relayhost) ? "relayhost" : NULL;
}

/*
 * A next hop that does not resolve is bad luck for mail, but a mistake for a relay of ours. A domain that accepts no
 * mail (RFC 7505 section 4.1) gets none by way of a fallback relay either.
 */
struct span
hop_list_leads_nowhere(struct hop_list *l, size_t i, struct fault *why, struct arena *a)
{
	const char *param = our_parameter(l, i);
	struct span mistake;

	if (why->dsn[0] != '5')
		return SPAN("");
	if (param == NULL) {
		if (strcmp(why->dsn, "5.1.10") == 0)
			l->count = l->given;
		return SPAN("");
	}
	mistake = arena_printf(a, "%s configuration problem: %s", param, why->text);
	fault_set(why, "4.3.5", "Server configuration error");
	return mistake;
}

void
hop_list_found(struct hop_list *l, size_t i, const struct hop *h)
{
	if (h->ours && i < l->given)
		l->count = l->given;
}
