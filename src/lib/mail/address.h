/*
 * Mail addresses. External form is what stands in SMTP commands and headers:
 * `"john doe"@example.org`. Internal form has the local part without quotes:
 * `john doe@example.org`; the domain is what stands behind the last '@'. Everything
 * inside Signet (envelopes, tables, logs before printing) uses internal form.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

/* Longest address we take from anywhere (RFC 5321 asks for 256 at least). */
#define ADDRESS_MAX 1024

/*
 * The path at the front of `*rest` (what follows "MAIL FROM:" or "RCPT TO:"), in
 * internal form, copied to `a`; `*rest` moves behind it. Source routes are dropped
 * (RFC 5321 section 4.1.1.3), `<>` gives an empty address. Strict: exactly the
 * grammar of RFC 5321 section 4.1.2. Lenient (strict_rfc821_envelopes=no): also missing <>,
 * blanks before the path, comments and phrases in the manner of RFC 822. False: no address.
 */
bool address_path(struct span *rest, bool strict, struct arena *a, struct span *addr_r);

/* Append the external form of an internal address. */
void address_quote(struct buf *out, struct span addr);
/* External form, in `a`; returns `addr` itself when nothing needs quotes. */
struct span address_external(struct span addr, struct arena *a);
/* Internal form of an external address (no <>, no comments), in `a`. Broken quoting is taken literally. */
struct span address_internal(struct span external, struct arena *a);

/* utf-8-addr-xtext of an external address (RFC 6533 section 3): all but plain ASCII as \x{HEX}. */
void address_add_unitext(struct buf *out, struct span external);

/* Split at the last '@'. False when there is none (local = all, domain empty). */
bool address_split(struct span addr, struct span *local_r, struct span *domain_r);

/* `addr` itself, or where it has no domain "addr@origin" in `a` (append_at_myorigin). */
struct span address_complete(struct span addr, const char *origin, struct arena *a);

/*
 * Split user and extension at the first byte of the local part that is in `delimiters`
 * (recipient_delimiter; "" = never). Never inside or at the front of special names:
 * mailer-daemon, postmaster, double-bounce, and with `owner_request_special` "owner-..."
 * and "...-request" when '-' is a delimiter. False: no extension, user = local.
 */
bool address_split_extension(struct span local, const char *delimiters, bool owner_request_special,
    struct span *user_r, struct span *ext_r);

/* The address with its domain in lower case (ASCII), local part untouched. */
struct span address_fold_domain(struct span addr, struct arena *a);
/* Same address: local parts byte for byte, domains case-insensitively. */
bool address_same(struct span x, struct span y);

/*
 * An address literal "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 section 4.1.3); `ip_r`
 * (may be NULL) gets the bare address. False for anything else.
 */
bool address_literal(struct span domain, struct span *ip_r);
/* "192.0.2.1" -> "192.0.2.1", "2001:db8::1" -> "IPv6:2001:db8::1" (what goes between the brackets). */
struct span address_literal_text(struct span ip, struct arena *a);

/* Letters, digits, hyphens, dots by RFC 1123 (with `utf8` also U-labels); no trailing dot, 255 at most, labels 63 at most. */
bool address_valid_domain(struct span domain, bool utf8);
/* Printable, valid dot-string or quotable local part of 1..512 bytes: no controls, no NUL. */
bool address_valid_local(struct span local, bool utf8);

/*
 * A-label form of a domain (IDNA2008, non-transitional, RFC 6531 section 3.2), in lower case.
 * ASCII domains come back folded, without looking inside. False when it has no A-label form.
 */
bool address_domain_ascii(struct span domain, struct arena *a, struct span *ascii_r, struct fault *why);
/* U-label form; on any error the domain itself. */
struct span address_domain_utf8(struct span domain, struct arena *a);
