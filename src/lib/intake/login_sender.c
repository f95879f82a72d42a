/* local_login_sender_maps: the key, and the patterns of its value. */
#include "intake/login_sender.h"

#include "conf/params.h"
#include "mail/address.h"
#include "maps/maps.h"

/* Without extension, with a domain. */
static struct span
plain_address(const struct params *p, struct span sender, struct arena *a)
{
	struct span local, domain, user, extension;

	if (!address_split(sender, &local, &domain))
		domain = span_str(p->myorigin);
	address_split_extension(local, p->recipient_delimiter, p->owner_request_special, &user, &extension);
	return arena_printf(a, "%.*s@%.*s", SPAN_ARG(user), SPAN_ARG(domain));
}

static bool
listed(const struct params *p, struct span list, struct span sender, struct arena *a)
{
	struct span word, address = sender.n > 0 ? plain_address(p, sender, a) : SPAN(""), local, domain = SPAN("");

	if (sender.n > 0)
		address_split(address, &local, &domain);
	while (span_token(&list, ", \t\r\n", &word)) {
		if (span_eq(word, SPAN("*")))
			return true;
		if (sender.n == 0 ? span_eq(word, span_str(p->empty_address_local_login_sender_maps_lookup_key)) :
		    word.p[0] == '@' ? span_eq_ci(span_from(word, 1), domain) : span_eq_ci(word, address))
			return true;
	}
	return false;
}

enum map_result
login_sender_allowed(const struct maps *m, const struct params *p, const struct login_sender *q, struct asks *asks,
    struct arena *a, struct fault *why)
{
	struct span key = q->login.n > 0 ? q->login : arena_printf(a, "uid:%lu", q->uid);
	struct map_hit hit = { 0 };
	enum map_result got = maps_find(m, key, asks, a, &hit, why);

	if (got != MAP_FOUND)
		return got;
	return listed(p, hit.value, q->sender, a) ? MAP_FOUND : MAP_ABSENT;
}
