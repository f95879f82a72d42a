/*
 * SASL mechanisms as a server announces them (RFC 4422 section 3.1): their names, what they
 * lack or give, and the security options of main.cf that choose among them. Pure.
 */
#pragma once

#include "base/span.h"

enum sasl_property {
	SASL_ANONYMOUS = 1,             /* proves nothing about the client */
	SASL_PLAINTEXT = 2,             /* the password itself is sent */
	SASL_ACTIVE = 4,                /* open to an active attacker */
	SASL_DICTIONARY = 8,            /* open to guessing by who listens */
	SASL_MUTUAL_AUTH = 16,          /* the server proves something, too */
	SASL_FORWARD_SECRECY = 32,
	SASL_PRIVATE = 64,              /* not meant to be announced */
	SASL_CHANNEL_BINDING = 128,     /* needs data of the TLS channel, which we do not hand over */
};

/* "plaintext", "mutual-auth" as the Dovecot protocol writes them; 0 for words nobody knows. */
unsigned sasl_property(struct span word);

/* What smtpd_sasl_security_options asks for. */
struct sasl_options {
	unsigned without, with;         /* properties that a mechanism must not have, must have */
};
struct sasl_options sasl_options_parse(struct span list);
/* May a mechanism with these properties be announced? Private ones and channel binding never are. */
bool sasl_mech_fits(unsigned properties, struct sasl_options o);

/* 1 to 20 of A-Z, 0-9, '-', '_'; lower case is let through, for clients that write so. */
bool sasl_mech_name_valid(struct span name);

/* Well-formed base64, padded, without blanks (RFC 4954 section 4). "" is well-formed. */
bool sasl_base64_valid(struct span s);
