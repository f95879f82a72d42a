/* The known restrictions and table types. */
#include "conf/words.h"

#include <stddef.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ACCESS(word, what) { word, WORD_TABLE, PARAM_WORKS, "looks " what " up in an access table" }

static const struct word_row restrictions[] = {
	{ "permit", WORD_ALONE, PARAM_WORKS, "accepts" },
	{ "reject", WORD_ALONE, PARAM_WORKS, "refuses" },
	{ "defer", WORD_ALONE, PARAM_WORKS, "refuses for now" },
	{ "defer_if_permit", WORD_ALONE, PARAM_WORKS, "refuses for now what would be accepted" },
	{ "defer_if_reject", WORD_ALONE, PARAM_WORKS, "refuses for now what would be refused" },
	{ "warn_if_reject", WORD_ALONE, PARAM_WORKS, "only logs the refusal of the next restriction" },
	{ "sleep", WORD_TEXT, PARAM_WORKS, "waits" },
	{ "permit_mynetworks", WORD_ALONE, PARAM_WORKS, "accepts clients in mynetworks" },
	{ "permit_inet_interfaces", WORD_ALONE, PARAM_WORKS, "accepts this host" },
	{ "permit_sasl_authenticated", WORD_ALONE, PARAM_WORKS, "accepts clients that logged in" },
	{ "permit_auth_destination", WORD_ALONE, PARAM_WORKS, "accepts recipients we are responsible for" },
	{ "permit_naked_ip_address", WORD_ALONE, PARAM_WORKS, "accepts a HELO that is an address" },
	{ "permit_mx_backup", WORD_ALONE, PARAM_WORKS, "accepts recipients we are a backup MX for" },
	{ "permit_tls_clientcerts", WORD_ALONE, PARAM_NOT_YET, "accepts clients with a listed certificate" },
	{ "permit_tls_all_clientcerts", WORD_ALONE, PARAM_NOT_YET, "accepts clients with a trusted certificate" },
	{ "permit_dnswl_client", WORD_TEXT, PARAM_WORKS, "accepts clients on a DNS list" },
	{ "permit_rhswl_client", WORD_TEXT, PARAM_WORKS, "accepts clients whose name is on a DNS list" },
	{ "reject_unauth_destination", WORD_ALONE, PARAM_WORKS, "refuses recipients we are not responsible for" },
	{ "defer_unauth_destination", WORD_ALONE, PARAM_WORKS, "refuses for now recipients we are not responsible for" },
	{ "reject_unauth_pipelining", WORD_ALONE, PARAM_WORKS, "refuses commands sent too early" },
	{ "reject_unknown_client_hostname", WORD_ALONE, PARAM_WORKS, "refuses clients without a confirmed name" },
	{ "reject_unknown_reverse_client_hostname", WORD_ALONE, PARAM_WORKS, "refuses clients without a reverse name" },
	{ "reject_unknown_forward_client_hostname", WORD_ALONE, PARAM_NOT_YET, "refuses clients whose name has no address" },
	{ "reject_invalid_helo_hostname", WORD_ALONE, PARAM_WORKS, "refuses malformed HELO names" },
	{ "reject_non_fqdn_helo_hostname", WORD_ALONE, PARAM_WORKS, "refuses HELO names without domain" },
	{ "reject_unknown_helo_hostname", WORD_ALONE, PARAM_WORKS, "refuses HELO names without DNS record" },
	{ "reject_non_fqdn_sender", WORD_ALONE, PARAM_WORKS, "refuses senders without domain" },
	{ "reject_non_fqdn_recipient", WORD_ALONE, PARAM_WORKS, "refuses recipients without domain" },
	{ "reject_unknown_sender_domain", WORD_ALONE, PARAM_WORKS, "refuses senders whose domain takes no mail" },
	{ "reject_unknown_recipient_domain", WORD_ALONE, PARAM_WORKS, "refuses recipients whose domain takes no mail" },
	{ "reject_unlisted_sender", WORD_ALONE, PARAM_WORKS, "refuses senders that do not exist here" },
	{ "reject_unlisted_recipient", WORD_ALONE, PARAM_WORKS, "refuses recipients that do not exist here" },
	{ "reject_unverified_sender", WORD_ALONE, PARAM_NOT_YET, "probes the sender address" },
	{ "reject_unverified_recipient", WORD_ALONE, PARAM_NOT_YET, "probes the recipient address" },
	{ "reject_sender_login_mismatch", WORD_ALONE, PARAM_WORKS, "refuses senders that belong to another login" },
	{ "reject_authenticated_sender_login_mismatch", WORD_ALONE, PARAM_WORKS, "refuses senders that belong to another login" },
	{ "reject_unauthenticated_sender_login_mismatch", WORD_ALONE, PARAM_WORKS, "refuses senders that belong to a login" },
	{ "reject_known_sender_login_mismatch", WORD_ALONE, PARAM_WORKS, "refuses senders that belong to another login" },
	{ "reject_multi_recipient_bounce", WORD_ALONE, PARAM_WORKS, "refuses bounces with several recipients" },
	{ "reject_plaintext_session", WORD_ALONE, PARAM_WORKS, "refuses sessions without TLS" },
	{ "reject_rbl_client", WORD_TEXT, PARAM_WORKS, "refuses clients on a DNS list" },
	{ "reject_rhsbl_client", WORD_TEXT, PARAM_WORKS, "refuses clients whose name is on a DNS list" },
	{ "reject_rhsbl_reverse_client", WORD_TEXT, PARAM_WORKS, "refuses clients whose reverse name is on a DNS list" },
	{ "reject_rhsbl_helo", WORD_TEXT, PARAM_WORKS, "refuses HELO names on a DNS list" },
	{ "reject_rhsbl_sender", WORD_TEXT, PARAM_WORKS, "refuses sender domains on a DNS list" },
	{ "reject_rhsbl_recipient", WORD_TEXT, PARAM_WORKS, "refuses recipient domains on a DNS list" },
	ACCESS("check_client_access", "the client"),
	ACCESS("check_reverse_client_hostname_access", "the client's reverse name"),
	ACCESS("check_helo_access", "the HELO name"),
	ACCESS("check_sender_access", "the sender"),
	ACCESS("check_recipient_access", "the recipient"),
	ACCESS("check_etrn_access", "the ETRN domain"),
	ACCESS("check_client_a_access", "the client's addresses"),
	ACCESS("check_client_mx_access", "the client's mail servers"),
	ACCESS("check_client_ns_access", "the client's name servers"),
	ACCESS("check_reverse_client_hostname_a_access", "the reverse name's addresses"),
	ACCESS("check_reverse_client_hostname_mx_access", "the reverse name's mail servers"),
	ACCESS("check_reverse_client_hostname_ns_access", "the reverse name's name servers"),
	ACCESS("check_helo_a_access", "the HELO name's addresses"),
	ACCESS("check_helo_mx_access", "the HELO name's mail servers"),
	ACCESS("check_helo_ns_access", "the HELO name's name servers"),
	ACCESS("check_sender_a_access", "the sender domain's addresses"),
	ACCESS("check_sender_mx_access", "the sender domain's mail servers"),
	ACCESS("check_sender_ns_access", "the sender domain's name servers"),
	ACCESS("check_recipient_a_access", "the recipient domain's addresses"),
	ACCESS("check_recipient_mx_access", "the recipient domain's mail servers"),
	ACCESS("check_recipient_ns_access", "the recipient domain's name servers"),
	{ "check_ccert_access", WORD_TABLE, PARAM_NOT_YET, "looks the client certificate up in an access table" },
	{ "check_sasl_access", WORD_TABLE, PARAM_NOT_YET, "looks the login up in an access table" },
	{ "check_policy_service", WORD_TEXT, PARAM_NOT_YET, "asks a policy service" },
	/* old names: what to write instead */
	{ "reject_unknown_client", WORD_ALONE, PARAM_OBSOLETE, "reject_unknown_client_hostname" },
	{ "reject_unknown_hostname", WORD_ALONE, PARAM_OBSOLETE, "reject_unknown_helo_hostname" },
	{ "reject_invalid_hostname", WORD_ALONE, PARAM_OBSOLETE, "reject_invalid_helo_hostname" },
	{ "reject_non_fqdn_hostname", WORD_ALONE, PARAM_OBSOLETE, "reject_non_fqdn_helo_hostname" },
	{ "reject_unknown_address", WORD_ALONE, PARAM_OBSOLETE, "reject_unknown_sender_domain" },
	{ "reject_maps_rbl", WORD_ALONE, PARAM_OBSOLETE, "reject_rbl_client DOMAIN" },
	{ "check_relay_domains", WORD_ALONE, PARAM_OBSOLETE, "reject_unauth_destination" },
};

static const struct word_row table_types[] = {
	{ "inline", WORD_ALONE, PARAM_WORKS, "" },
	{ "static", WORD_ALONE, PARAM_WORKS, "" },
	{ "texthash", WORD_ALONE, PARAM_WORKS, "" },
	{ "cidr", WORD_ALONE, PARAM_WORKS, "" },
	{ "regexp", WORD_ALONE, PARAM_WORKS, "" },
	{ "pcre", WORD_ALONE, PARAM_WORKS, "" },
	{ "cdb", WORD_ALONE, PARAM_WORKS, "" },
	{ "hash", WORD_ALONE, PARAM_WORKS, "" },
	{ "btree", WORD_ALONE, PARAM_WORKS, "" },
	{ "dbm", WORD_ALONE, PARAM_WORKS, "" },
	{ "sdbm", WORD_ALONE, PARAM_WORKS, "" },
	{ "lmdb", WORD_ALONE, PARAM_WORKS, "" },
	{ "fail", WORD_ALONE, PARAM_WORKS, "" },
	{ "environ", WORD_ALONE, PARAM_WORKS, "" },
	{ "randmap", WORD_ALONE, PARAM_WORKS, "" },
	{ "unionmap", WORD_ALONE, PARAM_WORKS, "" },
	{ "pipemap", WORD_ALONE, PARAM_WORKS, "" },
	{ "unix", WORD_ALONE, PARAM_WORKS, "" },
	{ "ldap", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "mysql", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "pgsql", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "sqlite", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "mongodb", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "memcache", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "socketmap", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "tcp", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "nis", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "nisplus", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "netinfo", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "internal", WORD_ALONE, PARAM_NOT_YET, "" },
	{ "debug", WORD_ALONE, PARAM_NOT_YET, "" },
};

static const struct word_row *
find(const struct word_row *rows, size_t n, struct span word)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_ci(span_str(rows[i].word), word))
			return &rows[i];
	return NULL;
}

const struct word_row *
word_restriction(struct span word)
{
	return find(restrictions, COUNT(restrictions), word);
}

const struct word_row *
word_table_type(struct span type)
{
	return find(table_types, COUNT(table_types), type);
}

const char *
word_nearest_restriction(struct span word)
{
	unsigned best = (unsigned)(word.n / 4 + 2);
	const char *found = NULL;

	for (size_t i = 0; i < COUNT(restrictions); i++) {
		unsigned d = word_distance(word, span_str(restrictions[i].word));

		if (d < best) {
			best = d;
			found = restrictions[i].word;
		}
	}
	return found;
}

bool
word_next(struct span *rest, struct span *item_r)
{
	struct span s = *rest;
	size_t n = 0, level = 0;

	while (s.n > 0 && (ascii_isspace(s.p[0]) || s.p[0] == ','))
		s = span_from(s, 1);
	for (; n < s.n; n++) {
		if (level == 0 && (ascii_isspace(s.p[n]) || s.p[n] == ','))
			break;
		if (s.p[n] == '{')
			level++;
		else if (s.p[n] == '}' && level > 0)
			level--;
	}
	*item_r = span_slice(s, 0, n);
	*rest = span_from(s, n);
	return n > 0;
}
