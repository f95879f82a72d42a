/*
 * The parameters of intake, compiled once per process: tables opened, lists split.
 * Members carry the parameters' names.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

struct maps;
struct maps_env;
struct params;
struct route;
struct strlist;

enum intake_class {
	INTAKE_ENVELOPE_SENDER = 1,
	INTAKE_ENVELOPE_RECIPIENT = 2,
	INTAKE_HEADER_SENDER = 4,
	INTAKE_HEADER_RECIPIENT = 8,
};

/* Tables whose unmatched extension is carried over (propagate_unmatched_extensions). */
enum intake_propagate {
	INTAKE_PROPAGATE_CANONICAL = 1,
	INTAKE_PROPAGATE_VIRTUAL = 2,
	INTAKE_PROPAGATE_ALIAS = 4,
	INTAKE_PROPAGATE_FORWARD = 8,
	INTAKE_PROPAGATE_INCLUDE = 16,
	INTAKE_PROPAGATE_GENERIC = 32,
};

enum intake_byte {
	INTAKE_BYTE_8BIT = 1,
	INTAKE_BYTE_CRLF = 2,           /* CR or LF; inside a line it is a stray one */
	INTAKE_BYTE_STRIP = 4,          /* message_strip_characters */
	INTAKE_BYTE_REJECT = 8,         /* message_reject_characters */
};

struct intake_conf {
	const struct params *p;         /* numbers, strings and switches are read from here */

	struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
	struct maps *canonical_maps, *sender_canonical_maps, *recipient_canonical_maps;
	struct maps *sender_bcc_maps, *recipient_bcc_maps;
	struct maps *virtual_alias_maps;
	struct strlist *mydestination, *masquerade_exceptions;
	/* Set by the role when it has one: then address literals of ours count as our own domain, too. Not released. */
	const struct route *route;

	unsigned canonical_classes, sender_canonical_classes, recipient_canonical_classes;
	unsigned masquerade_classes;    /* bits of enum intake_class */
	unsigned propagate;             /* bits of enum intake_propagate */
	bool any_unwanted;              /* message_{reject,strip}_characters name some */
	uint8_t bytes[256];             /* bits of enum intake_byte: what each byte of content means */
};

/*
 * Compile from parameters. False with `why` naming the parameter. The result points to
 * `p` and `env`, which must stay. Release also after a failure.
 */
bool intake_conf_init(struct intake_conf *c, const struct params *p, const struct maps_env *env,
    struct fault *why);
void intake_conf_release(struct intake_conf *c);

/* Is a word in a main.cf list (separated by commas and blanks, case ignored)? */
bool intake_list_has(const char *list, const char *word, size_t n);
