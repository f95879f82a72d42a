/* regexp: POSIX regular expressions, by the C library's regcomp so that they mean what they mean to Postfix. */
#include <regex.h>
#include <stdlib.h>

#include "base/panic.h"
#include "maps/rules.h"

static bool
flags_of(struct span flags, int *flags_r, struct fault *why)
{
	*flags_r = REG_EXTENDED | REG_ICASE;
	for (size_t i = 0; i < flags.n; i++) {
		if (flags.p[i] == 'i')
			*flags_r ^= REG_ICASE;
		else if (flags.p[i] == 'm')
			*flags_r ^= REG_NEWLINE;
		else if (flags.p[i] == 'x')
			*flags_r ^= REG_EXTENDED;
		else
			return fault_set(why, "4.3.5", "unknown regexp flag \"%c\"", flags.p[i]);
	}
	return true;
}

static void *
compile(struct arena *a, struct span *rest, unsigned *groups_r, struct fault *why)
{
	struct span text;
	regex_t *re;
	int flags, r;

	if (!rules_delimited(rest, &text, why) || !flags_of(rules_flags(rest), &flags, why))
		return NULL;
	if (memchr(text.p, '\0', text.n) != NULL) {
		fault_set(why, "4.3.5", "the pattern contains a NUL byte");
		return NULL;
	}
	re = calloc(1, sizeof(*re));
	if (re == NULL)
		panic("out of memory");
	r = regcomp(re, arena_cstr(a, text), flags);
	if (r != 0) {
		char words[200];

		regerror(r, re, words, sizeof(words));
		fault_set(why, "4.3.5", "%s", words);
		free(re);
		return NULL;
	}
	*groups_r = (unsigned)re->re_nsub;
	return re;
}

static void
copy_groups(const regmatch_t *v, size_t n, struct span key, struct rules_match *m)
{
	m->n = n;
	for (size_t i = 0; i < n; i++)
		m->groups[i] = v[i].rm_so < 0 ? span_str(NULL) :
		    span_slice(key, (size_t)v[i].rm_so, (size_t)v[i].rm_eo);
}

static enum map_result
match(void *pattern, struct span key, const void *parsed, struct rules_match *groups_r,
    struct fault *why)
{
	regex_t *re = pattern;
	regmatch_t v[RULES_GROUPS];
	size_t n = re->re_nsub + 1 < RULES_GROUPS ? re->re_nsub + 1 : RULES_GROUPS;
	int r;

	v[0].rm_so = 0;
	v[0].rm_eo = (regoff_t)key.n;
	r = regexec(re, parsed, n, v, REG_STARTEND);
	if (r == REG_NOMATCH)
		return MAP_ABSENT;
	if (r != 0) {
		fault_set(why, "4.3.0", "matching the pattern failed (code %d)", r);
		return MAP_DEFER;
	}
	copy_groups(v, n, key, groups_r);
	return MAP_FOUND;
}

/* The key with a NUL behind it: we give its length as well, but the C library is not to be trusted to stop there. */
static const void *
parse_key(struct arena *a, struct span key)
{
	return arena_cstr(a, key);
}

static void
release(void *pattern)
{
	regfree(pattern);
	free(pattern);
}

static const struct rules_type regexp_rules = {
	.substitutes = true, .empty_value = true, .compile = compile, .match = match, .parse_key = parse_key, .release = release,
};

static bool
regexp_open(struct table *t, struct fault *why)
{
	return rules_open(t, &regexp_rules, why);
}

const struct table_type table_regexp = {
	"regexp", true, false, regexp_open, rules_find, rules_check, rules_close
};
