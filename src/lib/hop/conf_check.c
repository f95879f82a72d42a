/* The services that deliver, as hop_service_open would find them. */
#include "hop/conf_check.h"

#include <string.h>

#include "conf/params.h"
#include "conf/show.h"
#include "hop/hop.h"

/* The parameter that `text` begins with; else the service itself is the place. */
static void
say(const struct conf_service *s, const char *text, struct conf_report *report)
{
	size_t n, name = strcspn(text, ": ");
	struct conf_item *items = conf_items(s, &n);
	const char *file = s->file;
	unsigned line = s->line;

	for (size_t i = 0; i < n; i++)
		if (strlen(items[i].name) == name && strncmp(items[i].name, text, name) == 0 && items[i].file != NULL) {
			file = items[i].file;
			line = items[i].line;
		}
	conf_report_add(report, CONF_ERROR, file, line, NULL, "%s", text);
	conf_items_free(&items);
}

static void
check_service(const struct conf_service *s, bool lmtp, struct conf_report *report)
{
	struct tls_params tls;
	struct fault why = { 0 };

	hop_tls_params(s->params, lmtp ? "lmtp" : "smtp", &tls);
	if (!tls_params_check(&tls, &why) || hop_service_port(s->params, tls.prefix, &why) == 0)
		say(s, why.text, report);
}

void
hop_conf_check(const struct conf *c, struct conf_report *report)
{
	for (size_t i = 0; i < c->service_count; i++) {
		const struct conf_service *s = &c->services[i];
		bool lmtp = strcmp(s->command, "lmtp") == 0;

		if (!s->disabled && (lmtp || strcmp(s->command, "smtp") == 0))
			check_service(s, lmtp, report);
	}
}
