/* Fuzz: lists as main.cf would have them, asked for a name and an address. First line: what is asked for. */
#include "base/log.h"
#include "maps/addrlist.h"
#include "maps/maps.h"
#include "maps/strlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int
no_files(void *ctx, const char *path)
{
	(void)ctx;
	(void)path;
	return -2;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct maps_env env = { .data_directory = "", .default_database_type = "cdb", .alias_tables = "",
		.open = no_files };
	struct arena *a;
	struct span key, spec;
	struct addrlist *addrs;
	struct strlist *names;

	if (n > 4000)
		return 0;
	log_set_sink(log_sink_none, NULL, NULL);
	a = arena_new(64 << 20);
	span_cut(span_of(p, n), '\n', &key, &spec);
	if (addrlist_open(spec, ADDRLIST_PARENTS, &env, &addrs, NULL)) {
		addrlist_find(addrs, key, key, NULL, a, NULL, NULL);
		addrlist_free(&addrs);
	}
	if (strlist_open(spec, STRLIST_DOMAIN, &env, &names, NULL)) {
		strlist_find(names, key, NULL, a, NULL, NULL);
		strlist_free(&names);
	}
	arena_free(&a);
	return 0;
}
