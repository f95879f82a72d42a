/* What the files of the decision share while it is put together. */
#pragma once

#include "tls/policy.h"

enum { STEPS_MAX = 40, WARNINGS_MAX = 64, NAMES_MAX = 300, DIGESTS_MAX = 300, CIPHERS_MAX = 16384 };

/* What is being put together. */
struct making {
	const struct tls_facts *f;
	const struct tls_params *p;
	struct arena *a;
	struct tls_decision *d;
	struct span source;     /* of the table entry */
	struct tls_policy *sts; /* the entry, when it has to wait for what DANE says */
};

void decide_step(struct making *m, const char *rule, struct span result, struct span source);
/* "smtp_" + name. */
struct span decide_param(struct making *m, const char *name);
void decide_step_param(struct making *m, const char *rule, struct span result, const char *name);
void decide_warn(struct making *m, struct span text);
/* The policy cannot be used: say why to the administrator, and a fixed text to the sender. Always false. */
bool decide_invalid(struct making *m, struct span warning);
bool decide_invalid_param(struct making *m, const char *name, const struct fault *why);
struct span decide_nexthop_name(struct making *m);
void decide_put_name(struct making *m, struct span name, bool subdomains, const char *strategy);

/* decide_dane.c: DANE levels become what the records allow (tls-client.md 7.1); false when the policy is unusable. */
bool decide_dane(struct making *m);
/* For an MTA-STS entry where DANE is asked for, too: is it DANE that counts, or its failure (RFC 8461 section 2)? */
bool decide_dane_comes_first(struct making *m);
/* Names for usage 2 (RFC 7672 section 3.2.2), for a decision that is still at a DANE level. */
void decide_dane_names(struct making *m);
