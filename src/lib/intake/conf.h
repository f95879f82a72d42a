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
struct params;

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

struct intake_conf {
	const struct params *p;         /* numbers, strings and switches are read from here */

	const struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
	const struct maps *canonical_maps, *sender_canonical_maps, *recipient_canonical_maps;
	const struct maps *sender_bcc_maps, *recipient_bcc_maps;
	const struct maps *virtual_alias_maps;

	unsigned canonical_classes, sender_canonical_classes, recipient_canonical_classes;
	unsigned masquerade_classes;    /* bits of enum intake_class */
	unsigned propagate;             /* bits of enum intake_propagate */
};

/*
 * Compile from parameters; tables are opened by the maps library. False with `why`
 * naming the parameter. The result points to `p`, which must stay.
 */
bool intake_conf_init(struct intake_conf *c, const struct params *p, struct fault *why);
void intake_conf_release(struct intake_conf *c);
