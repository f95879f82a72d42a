/* Policy services: what stands behind check_policy_service. */
#include "role/smtpd/policy_service.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

#include "conf/conf.h"
#include "conf/params.h"

/* --- the place --- */

static bool
find_port(struct span text, struct arena *a, unsigned *port_r)
{
	const struct servent *known;
	uint64_t port;

	if (span_u64(text, 65535, &port)) {
		*port_r = (unsigned)port;
		return port > 0;
	}
	known = getservbyname(arena_cstr(a, text), "tcp");
	if (known != NULL)
		*port_r = ntohs((uint16_t)known->s_port);
	return known != NULL;
}

static bool
take_inet(struct policy_service *s, struct span text, struct arena *a, struct fault *why)
{
	ptrdiff_t colon = span_rindex(text, ':');
	struct span host = SPAN("localhost"), port = text;

	if (colon >= 0) {
		port = span_from(text, (size_t)colon + 1);
		if (colon > 0)
			host = span_slice(text, 0, (size_t)colon);
	}
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_slice(host, 1, host.n - 1);
	if (span_eq_ci(host, SPAN("localhost")))
		host = SPAN("127.0.0.1");
	if (!find_port(port, a, &s->port))
		return fault_set(why, "", "check_policy_service %s: \"%.*s\" is no port", s->name, SPAN_ARG(port));
	s->host = host;
	return true;
}

static bool
take_unix(struct policy_service *s, struct span text, const struct params *p, struct arena *a, struct fault *why)
{
	struct span path = text.n > 0 && text.p[0] == '/' ? text :
	    arena_printf(a, "%s/%.*s", p->queue_directory, SPAN_ARG(text));

	s->socket_path = arena_cstr(a, path);
	if (text.n > 0 && path.n < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return true;
	return fault_set(why, "", "check_policy_service %s: %s", s->name,
	    text.n == 0 ? "the path is missing" : "the path is too long for a socket");
}

static bool
take_place(struct policy_service *s, struct span place, const struct params *p, struct arena *a, struct fault *why)
{
	s->name = arena_cstr(a, place);
	place = span_str(s->name);
	if (span_starts(place, SPAN("inet:")))
		return take_inet(s, span_from(place, 5), a, why);
	if (span_starts(place, SPAN("unix:")))
		return take_unix(s, span_from(place, 5), p, a, why);
	return fault_set(why, "", "check_policy_service %s: unix:path or inet:host:port is wanted", s->name);
}

/* --- its attributes --- */

enum attribute_kind { ATTR_MS, ATTR_COUNT, ATTR_TEXT };

static const struct attribute {
	const char *name;
	enum attribute_kind kind;
	size_t at;
} attributes[] = {
	{ "timeout", ATTR_MS, offsetof(struct policy_service, timeout_ms) },
	{ "retry_delay", ATTR_MS, offsetof(struct policy_service, retry_delay_ms) },
	{ "max_idle", ATTR_MS, offsetof(struct policy_service, max_idle_ms) },
	{ "max_ttl", ATTR_MS, offsetof(struct policy_service, max_ttl_ms) },
	{ "try_limit", ATTR_COUNT, offsetof(struct policy_service, try_limit) },
	{ "request_limit", ATTR_COUNT, offsetof(struct policy_service, request_limit) },
	{ "default_action", ATTR_TEXT, offsetof(struct policy_service, default_action) },
	{ "policy_context", ATTR_TEXT, offsetof(struct policy_service, policy_context) },
};

static bool
attribute_set(struct policy_service *s, const struct attribute *at, struct span value, struct arena *a)
{
	void *member = (char *)s + at->at;
	uint64_t count;

	switch (at->kind) {
	case ATTR_MS:
		return conf_time_ms(arena_cstr(a, value), (int64_t *)member);
	case ATTR_COUNT:
		if (!span_u64(value, INT32_MAX, &count))
			return false;
		*(unsigned *)member = (unsigned)count;
		return true;
	case ATTR_TEXT:
		*(struct span *)member = arena_dup(a, value);
		return true;
	}
	return false;
}

/* "timeout=10s", or with blanks inside braces. */
static bool
take_attribute(struct policy_service *s, struct span word, struct arena *a, struct fault *why)
{
	struct span name, value;

	if (word.n > 1 && word.p[0] == '{')
		word = span_trim(span_slice(word, 1, word.n - 1));
	if (!span_cut(word, '=', &name, &value))
		return fault_set(why, "", "check_policy_service %s: \"%.*s\" is not name=value", s->name, SPAN_ARG(word));
	name = span_trim(name);
	value = span_trim(value);
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		if (!span_eq(name, span_str(attributes[i].name)))
			continue;
		if (attribute_set(s, &attributes[i], value, a))
			return true;
		return fault_set(why, "", "check_policy_service %s: bad value %.*s for %s", s->name, SPAN_ARG(value),
		    attributes[i].name);
	}
	return fault_set(why, "", "check_policy_service %s: unknown attribute \"%.*s\"", s->name, SPAN_ARG(name));
}

static void
defaults(struct policy_service *s, const struct params *p)
{
	s->timeout_ms = p->smtpd_policy_service_timeout_ms;
	s->retry_delay_ms = p->smtpd_policy_service_retry_delay_ms;
	s->max_idle_ms = p->smtpd_policy_service_max_idle_ms;
	s->max_ttl_ms = p->smtpd_policy_service_max_ttl_ms;
	s->try_limit = (unsigned)p->smtpd_policy_service_try_limit;
	s->request_limit = (unsigned)p->smtpd_policy_service_request_limit;
	s->default_action = span_str(p->smtpd_policy_service_default_action);
	s->policy_context = span_str(p->smtpd_policy_service_policy_context);
	s->utf8 = p->smtputf8_enable;
}

bool
policy_service_parse(struct span text, const struct params *p, struct arena *a, struct policy_service **service_r,
    struct fault *why)
{
	struct policy_service *s = ARENA_NEW(a, struct policy_service);
	struct span rest = text, word;

	defaults(s, p);
	s->text = arena_cstr(a, text);
	if (text.n > 1 && text.p[0] == '{' && text.p[text.n - 1] == '}')
		rest = span_slice(text, 1, text.n - 1);
	if (!span_token(&rest, ", \t\r\n", &word))
		return fault_set(why, "", "check_policy_service: the service is missing");
	if (!take_place(s, word, p, a, why))
		return false;
	while (span_token_brace(&rest, ", \t\r\n", &word))
		if (!take_attribute(s, word, a, why))
			return false;
	if (s->timeout_ms < 1000)
		return fault_set(why, "", "check_policy_service %s: timeout has to be one second at least", s->name);
	if (s->try_limit == 0)
		s->try_limit = 1;
	*service_r = s;
	return true;
}

int64_t
policy_service_patience_ms(const struct policy_service *s)
{
	/* Waiting for a connection, connecting, writing, reading; one attempt is free when an old connection had died. */
	return (4 * s->timeout_ms + s->retry_delay_ms) * ((int64_t)s->try_limit + 1) + 5000;
}
