/* Lists of clients. */
#include "maps/addrlist.h"

#include "maps/matchlist.h"

static struct matchlist *
inside(struct addrlist *l)
{
	return (struct matchlist *)(void *)l;
}

bool
addrlist_open(struct span spec, unsigned flags, const struct maps_env *env, struct addrlist **list_r,
    struct fault *why)
{
	unsigned how = MATCHLIST_NAMES | MATCHLIST_DOMAINS | MATCHLIST_ADDRS;
	struct matchlist *l;
	bool ok;

	if (flags & ADDRLIST_PARENTS)
		how |= MATCHLIST_PARENTS;
	ok = matchlist_open(spec, how, env, &l, why);
	*list_r = (struct addrlist *)(void *)l;
	return ok;
}

void
addrlist_free(struct addrlist **l)
{
	struct matchlist *m = inside(*l);

	matchlist_free(&m);
	*l = NULL;
}

bool
addrlist_empty(const struct addrlist *l)
{
	return matchlist_empty((const struct matchlist *)(const void *)l);
}

enum map_result
addrlist_find(struct addrlist *l, struct span name, struct span addr, struct asks *asks,
    struct arena *a, struct map_hit *hit_r, struct fault *why)
{
	struct match_query q = { .name = name, .addr = addr, .asks = asks, .a = a };

	return matchlist_find(inside(l), &q, hit_r, why);
}
