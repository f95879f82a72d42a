/* The order in which addresses are tried (RFC 5321 section 5.1). */
#include <string.h>

#include "base/rand.h"
#include "conf/params.h"
#include "hop/hop_private.h"

/* Every order equally likely. */
static void
shuffle(struct hop_address *list, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = rand_below((uint32_t)i);
		struct hop_address t = list[i - 1];

		list[i - 1] = list[j];
		list[j] = t;
	}
}

static int
family_rank(const struct hop_address *a, const char *preference)
{
	if (strcmp(preference, "ipv6") == 0)
		return a->family == AF_INET6 ? 0 : 1;
	if (strcmp(preference, "ipv4") == 0)
		return a->family == AF_INET ? 0 : 1;
	return 0;
}

/* Stable: what was shuffled stays shuffled inside equal preference. Lists are short. */
static void
sort(struct hop_address *list, size_t n, const char *preference)
{
	for (size_t i = 1; i < n; i++) {
		struct hop_address a = list[i];
		int rank = family_rank(&a, preference);
		size_t j = i;

		while (j > 0 && (list[j - 1].pref > a.pref || (list[j - 1].pref == a.pref &&
		    family_rank(&list[j - 1], preference) > rank))) {
			list[j] = list[j - 1];
			j--;
		}
		list[j] = a;
	}
}

static size_t
count_family(const struct hop *h, sa_family_t family)
{
	size_t n = 0;

	for (size_t i = 0; i < h->count; i++)
		n += h->list[i].family == family;
	return n;
}

/*
 * smtp_balance_inet_protocols: half of the limited list belongs to each family that has
 * addresses, so that a broken IPv6 (or IPv4) path cannot use up every try.
 */
static void
balance(struct hop *h, size_t limit)
{
	size_t half = limit / 2, taken4 = 0, taken6 = 0, out = 0;
	size_t have4 = count_family(h, AF_INET), have6 = count_family(h, AF_INET6);
	size_t max4 = limit - (have6 < half ? have6 : half);
	size_t max6 = limit - (have4 < half ? have4 : half);

	for (size_t i = 0; i < h->count && out < limit; i++) {
		bool v6 = h->list[i].family == AF_INET6;

		if (v6 ? taken6 >= max6 : taken4 >= max4)
			continue;
		taken4 += !v6;
		taken6 += v6;
		h->list[out++] = h->list[i];
	}
	h->count = out;
}

void
hop_sort(const struct params *p, struct hop *h)
{
	size_t limit = p->smtp_mx_address_limit > 0 ? (size_t)p->smtp_mx_address_limit : 0;

	if (p->smtp_randomize_addresses)
		shuffle(h->list, h->count);
	sort(h->list, h->count, p->smtp_address_preference);
	if (limit == 0 || h->count <= limit)
		return;
	if (p->smtp_balance_inet_protocols && limit > 1 && strcmp(p->smtp_address_preference, "any") == 0)
		balance(h, limit);
	else
		h->count = limit;
}
