/*
 * The simulator: smtpd, queue, smtpc and local in one process and one loop, under a clock, a disk, a DNS and remote
 * servers that a script rules. One script a process; what fails ends it (sim_fail). HACKING.md says how to write one.
 *
 *     clock.c    time stands still while anything moves, then jumps to the next timer; seeded randomness
 *     net.c      what connect() and accept() lead to: scripted servers with or without TLS, a client of smtpd
 *     facts.c    the resolver and lookup roles' answers
 *     disk.c     the spool's and the mailboxes' disk, and the deliver role's work
 *     world.c    configuration, roles, their ties, the kill of a role
 *     claims.c   what was promised for each message, and what became of it
 *     script.c   the language; sim.c: the program, torture
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/span.h"
#include "role/common/role.h"

struct store_io;

/* ---- sim.c */
/* "FILE:LINE: ..." with the last lines of the log and the seed; ends the process. */
_Noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern struct arena *sim_arena;                 /* lives as long as the process */
/* Two scripts' worth of words: "3d 4h 5m 6.007s" since the start. */
const char *sim_time_text(int64_t since_start_us);

/* Calls that may be made to fail: the n-th of a kind (torture). */
enum torture { TORTURE_WRITE, TORTURE_FSYNC, TORTURE_LOOKUP, TORTURE_IPC, TORTURE_LINK, TORTURE_CRASH, TORTURE_KINDS };
/* One more call of that kind: true when it is the one that fails. */
bool torture_now(enum torture kind);
bool torture_on(void);
/* From now on: call `n` (from 0) of "write", "ipc", ...; with a "+" all that follow for a quarter of an hour, too. */
bool torture_arm(struct span kind, uint64_t n);

/* ---- clock.c */
void clock_seed(uint64_t seed);
int64_t clock_since_start_us(void);
/* The real world still works for us (a thread): do not let time pass. */
void clock_set_busy(bool (*busy)(void));
/* Let the loop run until nothing is left to do at that time, or until loop_stop() or a crash of the queue: look at the clock. */
void clock_run_until(struct loop *l, int64_t since_start_us);

/* ---- net.c */
void net_init(struct loop *l, const char *dir);
/* The servers' part of the language: "host ADDRESS ..."; NULL or what is wrong with it. */
const char *net_host_command(struct span address, struct span verb, struct span rest);
/* The SubjectPublicKeyInfo digest of the certificate for that name. */
struct span net_key_digest(struct span name);
struct net_client;
struct net_client *net_client_open(const char *address);
/* One exchange: send `line` (may be empty), wait for a whole reply; NULL when the server closed or said nothing for ten minutes. */
const char *net_client_say(struct net_client *c, struct span line);
void net_client_close(struct net_client **c);
int net_door(void);                             /* the descriptor that smtpd accepts at */

/* ---- facts.c */
void facts_init(struct role *resolver, struct role *lookup);
const char *facts_dns_command(struct span name, struct span type, struct span data);
const char *facts_zone_command(struct span suffix, struct span state);
const char *facts_table_command(struct span table, struct span key, struct span value);
extern const struct role_spec sim_resolver_role, sim_lookup_role, sim_deliver_role, sim_control_role;

/* ---- disk.c */
extern const struct store_io disk_io;
const char *disk_command(struct span which, struct span state, struct span rest);
int64_t disk_latency_us(void);
/* From now on nothing reaches the spool (a process that is killed). */
void disk_cut(bool cut);

/* ---- world.c */
void world_conf(struct span line);              /* "name = value"; before world_begin */
bool world_begun(void);
void world_init(void);                          /* directory, loop, network; before the script is read */
void world_begin(void);                         /* the roles, with the configuration so far */
const char *world_dir(void);
struct loop *world_loop(void);
void world_kill(struct span role);
/* The queue dies here: nothing more reaches the disk, and when the loop has stopped it is gone. */
void world_crash(void);
/* After the loop has stopped. */
void world_bury(void);
/* "hold", "release", ... of `signet queue`; false when the queue said no. */
bool world_admin(struct span op, struct span which);
size_t world_files(const char *folder);         /* in a folder of the script's directory: "spool/mail", "spool/tmp", "mail/bob/new" */
unsigned world_descriptors(void);

/* ---- claims.c */
/* A message was accepted by us: each recipient is to be accounted for. */
void claim_made(const char *token, struct span sender, struct span rcpt, bool never);
/* A copy arrived at a server or in a mailbox. */
void claim_arrived(struct span host, bool tls, struct span sender, struct span rcpt, struct span content);
/* What was accepted for that recipient so far may end without a trace (a report nobody takes). */
void claim_gone(struct span rcpt);
/* Content must never arrive there in clear. */
void claim_forbid_clear(struct span host);
size_t claim_copies(struct span rcpt, int tls); /* tls: 1 with, 0 without, -1 either */
size_t claim_reports(struct span rcpt);         /* with the null sender */
/* The newest report to that address; NULL = none. */
const char *claim_report(struct span rcpt);
/* Messages that were accepted and are neither delivered, reported nor in the spool: sim_fail. */
void claim_check(void);
/* No recipient has two copies. */
void claim_check_once(void);

/* ---- script.c */
void script_play(const char *file);
/* Behind a script that leaves the world in order: time enough for everything to end. Twice delivered is bad, or not. */
void script_rest(bool twice_is_fine);
void script_log(int64_t since_start_us, bool warning, const char *tag, const char *line);
const char *script_where(void);                 /* "FILE:LINE" */
void script_log_tail(void);
