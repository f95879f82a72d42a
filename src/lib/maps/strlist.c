/* Lists of names. */
#include "maps/strlist.h"

#include "maps/matchlist.h"

/* The list behind both interfaces; never defined, only pointed to. */
static struct matchlist *
inside(struct strlist *l)
{
	return (struct matchlist *)(void *)l;
}

bool
strlist_open(struct span spec, unsigned flags, const struct maps_env *env, struct strlist **list_r,
    struct fault *why)
{
	struct matchlist *l;
	unsigned how = MATCHLIST_NAMES;
	bool ok;

	if (flags & STRLIST_DOMAIN)
		how |= MATCHLIST_DOMAINS;
	if (flags & STRLIST_PARENTS)
		how |= MATCHLIST_PARENTS;
	ok = matchlist_open(spec, how, env, &l, why);
	*list_r = (struct strlist *)(void *)l;
	return ok;
}

void
strlist_free(struct strlist **l)
{
	struct matchlist *m = inside(*l);

	matchlist_free(&m);
	*l = NULL;
}

bool
strlist_empty(const struct strlist *l)
{
	return matchlist_empty((const struct matchlist *)(const void *)l);
}

enum map_result
strlist_find(struct strlist *l, struct span name, struct asks *asks, struct arena *a,
    struct map_hit *hit_r, struct fault *why)
{
	struct match_query q = { .name = name, .asks = asks, .a = a };

	return matchlist_find(inside(l), &q, hit_r, why);
}
