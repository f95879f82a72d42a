/* cidr: networks in order. Keys that are no addresses are not in it. */
#include "maps/cidr.h"
#include "maps/rules.h"

static void *
compile(struct arena *a, struct span *rest, unsigned *groups_r, struct fault *why)
{
	struct cidr *c = ARENA_NEW(a, struct cidr);
	struct span word = rules_flags(rest);

	*groups_r = 0;
	return cidr_parse(word, c, why) ? c : NULL;
}

static enum map_result
match(void *pattern, struct span key, const void *parsed, struct rules_match *groups_r,
    struct fault *why)
{
	const struct cidr *net = pattern, *addr = parsed;

	(void)key;
	(void)why;
	/* "!10.0.0.0/8" says nothing of IPv6 addresses, as in Postfix */
	groups_r->apart = net->v6 != addr->v6;
	return cidr_match(pattern, parsed) ? MAP_FOUND : MAP_ABSENT;
}

static const void *
parse_key(struct arena *a, struct span key)
{
	struct cidr *c = ARENA_NEW(a, struct cidr);

	return cidr_addr(key, c) ? c : NULL;
}

static const struct rules_type cidr_rules = {
	.compile = compile, .match = match, .parse_key = parse_key,
};

static bool
cidr_open(struct table *t, struct fault *why)
{
	return rules_open(t, &cidr_rules, why);
}

const struct table_type table_cidr = {
	"cidr", true, false, cidr_open, rules_find, rules_check, rules_close
};
