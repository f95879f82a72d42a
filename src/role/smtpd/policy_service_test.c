/* What may stand behind check_policy_service. */
#include "role/smtpd/policy_service.h"

#include <stdio.h>

#include "conf/params.h"
#include "kit/kit.h"

static const struct params params = { .queue_directory = "/var/spool/signet", .smtpd_policy_service_timeout_ms = 100000,
	.smtpd_policy_service_retry_delay_ms = 1000, .smtpd_policy_service_max_idle_ms = 300000,
	.smtpd_policy_service_max_ttl_ms = 1000000, .smtpd_policy_service_try_limit = 2,
	.smtpd_policy_service_default_action = "451 4.3.5 Server configuration problem", .smtpd_policy_service_policy_context = "" };

#define REST " 100000 1000 300000 1000000 2 0 [451 4.3.5 Server configuration problem] []"

static const struct {
	const char *text, *want;
} rows[] = {
	{ "unix:private/policy", "/var/spool/signet/private/policy" REST },
	{ "unix:/run/policy", "/run/policy" REST },
	{ "inet:127.0.0.1:10031", "127.0.0.1 10031" REST },
	{ "inet:localhost:10031", "127.0.0.1 10031" REST },
	{ "inet:10031", "127.0.0.1 10031" REST },
	{ "inet:[2001:db8::1]:10031", "2001:db8::1 10031" REST },
	{ "inet:policy.example:smtp", "policy.example 25" REST },
	{ "{ inet:h.example:1 }", "h.example 1" REST },
	{ "{ inet:h.example:1, timeout=10s, try_limit=1, default_action=DUNNO, policy_context=x }",
	    "h.example 1 10000 1000 300000 1000000 1 0 [DUNNO] [x]" },
	{ "{ inet:h.example:1, { default_action = 450 4.7.1 later, friend }, max_idle=1m max_ttl=2m retry_delay=0 request_limit=7 }",
	    "h.example 1 100000 0 60000 120000 2 7 [450 4.7.1 later, friend] []" },
	{ "{ inet:h.example:1, try_limit=0 }", "h.example 1 100000 1000 300000 1000000 1 0 [451 4.3.5 Server configuration problem] []" },
	{ "private/policy", "!unix:path or inet:host:port is wanted" },
	{ "tcp:h:1", "!unix:path or inet:host:port is wanted" },
	{ "unix:", "!the path is missing" },
	{ "inet:h.example:0", "!\"0\" is no port" },
	{ "inet:h.example:no-such-service-name", "!is no port" },
	{ "inet:h.example:70000", "!is no port" },
	{ "{ }", "!the service is missing" },
	{ "{ inet:h:1, tiemout=1 }", "!unknown attribute \"tiemout\"" },
	{ "{ inet:h:1, timeout=soon }", "!bad value soon for timeout" },
	{ "{ inet:h:1, timeout=0 }", "!one second at least" },
	{ "{ inet:h:1, try_limit=-1 }", "!bad value -1 for try_limit" },
	{ "{ inet:h:1, timeout }", "!\"timeout\" is not name=value" },
	{ "unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	    "!too long for a socket" },
};

static void
print(const struct policy_service *s, char *out, size_t size)
{
	int n = s->socket_path != NULL ? snprintf(out, size, "%s", s->socket_path) :
	    snprintf(out, size, "%.*s %u", SPAN_ARG(s->host), s->port);

	snprintf(out + n, size - (size_t)n, " %lld %lld %lld %lld %u %u [%.*s] [%.*s]", (long long)s->timeout_ms,
	    (long long)s->retry_delay_ms, (long long)s->max_idle_ms, (long long)s->max_ttl_ms, s->try_limit, s->request_limit,
	    SPAN_ARG(s->default_action), SPAN_ARG(s->policy_context));
}

static void
services_and_their_attributes(void **state)
{
	struct arena *a = arena_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_service *s;
		struct fault why = { 0 };
		char got[500];
		bool fine = policy_service_parse(span_str(rows[i].text), &params, a, &s, &why);

		if (rows[i].want[0] == '!') {
			if (fine || strstr(why.text, rows[i].want + 1) == NULL)
				fail_msg("%s: %s", rows[i].text, fine ? "taken" : why.text);
			continue;
		}
		if (!fine)
			fail_msg("%s: %s", rows[i].text, why.text);
		print(s, got, sizeof(got));
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].text, got);
	}
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(services_and_their_attributes),
};

KIT_MAIN(tests)
