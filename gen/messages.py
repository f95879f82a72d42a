#!/usr/bin/env python3
"""Generate the IPC codec from table/messages.tab: messages.py TABLE OUTDIR writes messages.h, messages.c and messages_fuzz.c."""
import os
import re
import sys

ROLES = ["master", "smtpd", "queue", "smtpc", "resolver", "lookup", "local", "deliver", "control", "keeper", "sts", "log", "cli"]
SCALARS = {"bool": ("bool", 1), "u8": ("uint8_t", 1), "u16": ("uint16_t", 2), "u32": ("uint32_t", 4),
           "u64": ("uint64_t", 8), "i64": ("int64_t", 8)}


def die(where, text):
    sys.exit("%s: %s" % (where, text))


class Field:
    def __init__(self, where, text, structs):
        m = re.fullmatch(r"(\w+):(?:(bool|u8|u16|u32|u64|i64|fd)|bytes<=(\d+)|(\w+)\[\]<=(\d+))", text)
        if not m:
            die(where, "cannot read field %r" % text)
        self.name, self.scalar, self.max, self.struct = m.group(1), m.group(2), m.group(3) or m.group(5), m.group(4)
        if self.struct and self.struct not in structs:
            die(where, "unknown struct %r" % self.struct)

    def is_fd(self):
        return self.scalar == "fd"

    def declare(self):
        if self.struct:
            return "\tstruct ipc_%s *%s;\n\tsize_t n_%s;\n" % (self.struct, self.name, self.name)
        if self.is_fd():
            return "\tint %s;\n" % self.name
        if self.scalar:
            return "\t%s %s;\n" % (SCALARS[self.scalar][0], self.name)
        return "\tstruct span %s;\n" % self.name

    def encode(self):
        if self.is_fd():
            return ""
        if self.struct:
            return ("\tipc_put(b, m->n_{n}, 4);\n\tfor (size_t i = 0; i < m->n_{n}; i++)\n"
                    "\t\tput_{s}(b, &m->{n}[i]);\n").format(n=self.name, s=self.struct)
        if self.scalar:
            cast = "(uint64_t)" if self.scalar == "i64" else ""
            return "\tipc_put(b, %sm->%s, %d);\n" % (cast, self.name, SCALARS[self.scalar][1])
        return "\tipc_put_bytes(b, m->%s, %s);\n" % (self.name, self.max)

    def decode(self):
        n = self.name
        if self.is_fd():
            return "\tm->%s = -1;\n" % n
        if self.struct:
            return ("\tm->n_{n} = ipc_count(r, {max});\n\tm->{n} = ARENA_ARRAY(a, struct ipc_{s}, m->n_{n});\n"
                    "\tfor (size_t i = 0; i < m->n_{n} && !r->bad; i++)\n\t\tget_{s}(r, a, &m->{n}[i]);\n"
                    ).format(n=n, max=self.max, s=self.struct)
        if self.scalar == "bool":
            return "\tm->%s = rd_u8(r) != 0;\n" % n
        if self.scalar == "i64":
            return "\tm->%s = (int64_t)rd_u64(r);\n" % n
        if self.scalar:
            return "\tm->%s = rd_%s(r);\n" % (n, self.scalar)
        return "\tm->%s = rd_sized(r, %s);\n" % (n, self.max)

    def show(self):
        n = self.name
        if self.is_fd():
            return '\tbuf_addf(b, " %s=fd:%%d", m->%s);\n' % (n, n)
        if self.struct:
            return '\tbuf_addf(b, " %s=[%%zu]", m->n_%s);\n' % (n, n)
        if self.scalar in ("i64",):
            return '\tbuf_addf(b, " %s=%%" PRId64, m->%s);\n' % (n, n)
        if self.scalar:
            return '\tbuf_addf(b, " %s=%%" PRIu64, (uint64_t)m->%s);\n' % (n, n)
        return '\tipc_show_bytes(b, "%s", m->%s);\n' % (n, n)


class Message:
    def __init__(self, where, words, structs):
        if len(words) < 4:
            die(where, "want NAME from to answer fields...")
        self.upper, senders, receivers, self.answer = words[:4]
        self.name = self.upper.lower()
        self.senders, self.receivers = self.roles(where, senders), self.roles(where, receivers)
        self.fields = [Field(where, w, structs) for w in words[4:]]
        if sum(f.is_fd() for f in self.fields) > 1:
            die(where, "at most one descriptor a message")

    @staticmethod
    def roles(where, text):
        names = ROLES[1:] if text == "all" else text.split(",")
        for n in names:
            if n not in ROLES:
                die(where, "unknown role %r" % n)
        return names

    def fd(self):
        return next((f.name for f in self.fields if f.is_fd()), None)


def read_table(path):
    rows, structs, messages = [], {}, []
    for number, line in enumerate(open(path), 1):
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            rows[-1][1].extend(line.split())
        else:
            rows.append(("%s:%d" % (path, number), line.split()))
    for where, words in rows:
        if words[0] == "struct":
            structs[words[1]] = [Field(where, w, structs) for w in words[2:]]
        else:
            messages.append(Message(where, words, structs))
    known = {m.upper for m in messages}
    for m in messages:
        if m.answer != "-" and m.answer not in known:
            die(path, "%s: unknown answer %s" % (m.upper, m.answer))
    return structs, messages


def header(structs, messages):
    out = ["/* Generated from table/messages.tab: message structs, senders, askers and handlers. */\n#pragma once\n\n"
           "#include \"base/arena.h\"\n#include \"base/buf.h\"\n#include \"ipc/ipc.h\"\n\nenum ipc_role {\n"]
    out += ["\tIPC_ROLE_%s,\n" % r.upper() for r in ROLES]
    out.append("\tIPC_ROLE_COUNT,\n};\n\nenum ipc_type {\n\tIPC_NONE,\n")
    out += ["\tIPC_%s,\n" % m.upper for m in messages]
    out.append("\tIPC_TYPE_COUNT,\n};\n\n")
    for name, fields in structs.items():
        out.append("struct ipc_%s {\n%s};\n\n" % (name, "".join(f.declare() for f in fields)))
    by_upper = {m.upper: m for m in messages}
    for m in messages:
        body = "".join(f.declare() for f in m.fields) or "\tchar nothing;\n"
        out.append("struct ipc_%s {\n%s};\n" % (m.name, body))
        out.append("bool ipc_send_%s(struct ipc_peer *to, const struct ipc_%s *m);\n" % (m.name, m.name))
        out.append("bool ipc_reply_%s(struct ipc_hub *hub, struct ipc_from to, const struct ipc_%s *m);\n" % (m.name, m.name))
        out.append("void ipc_encode_%s(struct buf *b, const struct ipc_%s *m);\n" % (m.name, m.name))
        out.append("bool ipc_decode_%s(struct span payload, struct arena *a, struct ipc_%s *m);\n\n" % (m.name, m.name))
    out.append("/*\n * Ask and be called back from the loop, exactly once: IPC_OK with the answer, or IPC_LOST / IPC_TIMEOUT with NULL.\n"
               " * The id returned is for ipc_forget; 0 means that nothing could be sent and nobody will call back.\n"
               " * Descriptors in the answer belong to the callee when it sets the member to -1.\n */\n")
    for m in messages:
        if m.answer == "-":
            continue
        ans = by_upper[m.answer].name
        out.append("typedef void ipc_%s_fn(void *ctx, enum ipc_result result, struct ipc_%s *m);\n" % (m.name, ans))
        out.append("uint64_t ipc_ask_%s(struct ipc_peer *to, const struct ipc_%s *m, int64_t timeout_ms,\n"
                   "    ipc_%s_fn *fn, void *ctx);\n" % (m.name, m.name, m.name))
    out.append("\n/* What a role does with each message that is no answer; NULL = the peer is closed as faulty. */\nstruct ipc_handlers {\n")
    answers = {m.answer for m in messages}
    for m in messages:
        if m.upper not in answers:
            out.append("\tvoid (*%s)(void *ctx, struct ipc_from from, struct ipc_%s *m);\n" % (m.name, m.name))
    out.append("};\n")
    return "".join(out)


def code(structs, messages):
    by_upper = {m.upper: m for m in messages}
    answers = {m.answer for m in messages if m.answer != "-"}
    out = ["/* Generated from table/messages.tab. */\n#include \"ipc/messages.h\"\n\n#include <inttypes.h>\n\n"
           "#include \"base/rd.h\"\n#include \"ipc/ipc_private.h\"\n\n"]
    out.append("static const char *const role_names[] = {\n%s};\n\n" % "".join('\t"%s",\n' % r for r in ROLES))
    out.append("const char *\nipc_role_name(unsigned role)\n{\n\treturn role < IPC_ROLE_COUNT ? role_names[role] : \"?\";\n}\n\n")
    out.append("static const char *const type_names[] = {\n\t\"NONE\",\n%s};\n\n" % "".join('\t"%s",\n' % m.upper for m in messages))
    out.append("const char *\nipc_type_name(unsigned type)\n{\n\treturn type < IPC_TYPE_COUNT ? type_names[type] : \"?\";\n}\n\n")
    for name, fields in structs.items():
        out.append("static void\nput_%s(struct buf *b, const struct ipc_%s *m)\n{\n%s}\n\n" % (name, name, "".join(f.encode() for f in fields)))
        out.append("static void\nget_%s(struct rd *r, struct arena *a, struct ipc_%s *m)\n{\n\t(void)a;\n%s}\n\n"
                   % (name, name, "".join(f.decode() for f in fields)))
    for m in messages:
        fd = "m->%s" % m.fd() if m.fd() else "-1"
        unused = "" if any(not f.is_fd() for f in m.fields) else "\t(void)b;\n\t(void)m;\n"
        out.append("void\nipc_encode_%s(struct buf *b, const struct ipc_%s *m)\n{\n%s%s}\n\n"
                   % (m.name, m.name, unused, "".join(f.encode() for f in m.fields)))
        out.append("bool\nipc_decode_%s(struct span payload, struct arena *a, struct ipc_%s *m)\n{\n\tstruct rd rd = rd_init(payload), *r = &rd;\n\n"
                   "\t(void)a;\n\t(void)m;\n%s\treturn rd_done(r);\n}\n\n" % (m.name, m.name, "".join(f.decode() for f in m.fields)))
        out.append("bool\nipc_send_%s(struct ipc_peer *to, const struct ipc_%s *m)\n{\n\tstruct buf *b = ipc_frame_begin(to, IPC_%s, ipc_new_id(to), %s);\n\n"
                   "\tif (b == NULL)\n\t\treturn false;\n\tipc_encode_%s(b, m);\n\treturn ipc_frame_end(to);\n}\n\n" % (m.name, m.name, m.upper, fd, m.name))
        out.append("bool\nipc_reply_%s(struct ipc_hub *hub, struct ipc_from to, const struct ipc_%s *m)\n{\n\tstruct ipc_peer *p = ipc_peer_find(hub, to.peer_id);\n"
                   "\tstruct buf *b = p == NULL ? NULL : ipc_frame_begin(p, IPC_%s, to.id, %s);\n\n"
                   "\tif (b == NULL)\n\t\treturn false;\n\tipc_encode_%s(b, m);\n\treturn ipc_frame_end(p);\n}\n\n" % (m.name, m.name, m.upper, fd, m.name))
        if m.answer != "-":
            out.append("uint64_t\nipc_ask_%s(struct ipc_peer *to, const struct ipc_%s *m, int64_t timeout_ms,\n    ipc_%s_fn *fn, void *ctx)\n{\n"
                       "\tuint64_t id = ipc_new_id(to);\n\tstruct buf *b = ipc_frame_begin(to, IPC_%s, id, %s);\n\n\tif (b == NULL)\n\t\treturn 0;\n"
                       "\tipc_encode_%s(b, m);\n\tif (!ipc_frame_end(to))\n\t\treturn 0;\n"
                       "\tipc_wait_add(to, id, IPC_%s, IPC_%s, timeout_ms, (ipc_any_fn *)fn, ctx);\n\treturn id;\n}\n\n"
                       % (m.name, m.name, m.name, m.upper, fd, m.name, m.upper, m.answer))
    out.append("/* Wake the asker: typed call through the pointer that ipc_ask_* stored. */\nvoid\nipc_wait_call(unsigned asked, ipc_any_fn *fn, void *ctx, enum ipc_result result,\n"
               "    struct span payload, int *fd, struct arena *a)\n{\n\tswitch ((enum ipc_type)asked) {\n")
    for m in messages:
        if m.answer == "-":
            continue
        ans = by_upper[m.answer]
        afd = ans.fd()
        take = "\t\tm.%s = *fd;\n" % afd if afd else ""
        give = "\t\t*fd = m.%s;\n" % afd if afd else ""
        out.append("\tcase IPC_%s: {\n\t\tstruct ipc_%s m;\n\n\t\tif (result == IPC_OK && !ipc_decode_%s(payload, a, &m))\n\t\t\tresult = IPC_LOST;\n"
                   "\t\tif (result != IPC_OK) {\n\t\t\t((ipc_%s_fn *)fn)(ctx, result, NULL);\n\t\t\treturn;\n\t\t}\n%s"
                   "\t\t((ipc_%s_fn *)fn)(ctx, result, &m);\n%s\t\treturn;\n\t}\n"
                   % (m.upper, ans.name, ans.name, m.name, take, m.name, give))
    out.append("\tcase IPC_NONE:\n\tcase IPC_TYPE_COUNT:\n")
    for m in messages:
        if m.answer == "-":
            out.append("\tcase IPC_%s:\n" % m.upper)
    out.append("\t\tbreak;\n\t}\n\t(void)fd;\n}\n\n")
    out.append("bool\nipc_is_answer(unsigned type)\n{\n\tswitch ((enum ipc_type)type) {\n")
    out += ["\tcase IPC_%s:\n" % a for a in sorted(answers)]
    out.append("\t\treturn true;\n\tcase IPC_NONE:\n\tcase IPC_TYPE_COUNT:\n")
    out += ["\tcase IPC_%s:\n" % m.upper for m in messages if m.upper not in answers]
    out.append("\t\treturn false;\n\t}\n\treturn false;\n}\n\n")
    out.append("enum ipc_dispatch\nipc_dispatch(const struct ipc_handlers *on, void *ctx, unsigned type, struct ipc_from from,\n    struct span payload, int *fd, struct arena *a)\n{\n"
               "\tswitch ((enum ipc_type)type) {\n")
    for m in messages:
        if m.upper in answers:
            continue
        take = "\t\tm.%s = *fd;\n" % m.fd() if m.fd() else ""
        give = "\t\t*fd = m.%s;\n" % m.fd() if m.fd() else ""
        out.append("\tcase IPC_%s: {\n\t\tstruct ipc_%s m;\n\n\t\tif (on->%s == NULL)\n\t\t\treturn IPC_UNWANTED;\n\t\tif (!ipc_decode_%s(payload, a, &m))\n\t\t\treturn IPC_GARBLED;\n%s"
                   "\t\ton->%s(ctx, from, &m);\n%s\t\treturn IPC_HANDLED;\n\t}\n" % (m.upper, m.name, m.name, m.name, take, m.name, give))
    out += ["\tcase IPC_%s:\n" % a for a in sorted(answers)]
    out.append("\tcase IPC_NONE:\n\tcase IPC_TYPE_COUNT:\n\t\tbreak;\n\t}\n\treturn IPC_UNWANTED;\n}\n\n")
    out.append("void\nipc_print(struct buf *b, unsigned type, struct span payload, struct arena *a)\n{\n\tbuf_add_str(b, ipc_type_name(type));\n\tswitch ((enum ipc_type)type) {\n")
    for m in messages:
        if not m.fields:
            continue
        out.append("\tcase IPC_%s: {\n\t\tstruct ipc_%s v, *m = &v;\n\n\t\tif (!ipc_decode_%s(payload, a, m)) {\n\t\t\tbuf_add_str(b, \" (garbled)\");\n\t\t\treturn;\n\t\t}\n%s\t\treturn;\n\t}\n"
                   % (m.upper, m.name, m.name, "".join("\t" + f.show() for f in m.fields)))
    out += ["\tcase IPC_%s:\n" % m.upper for m in messages if not m.fields]
    out.append("\tcase IPC_NONE:\n\tcase IPC_TYPE_COUNT:\n\t\treturn;\n\t}\n}\n\n")
    out.append("/* Bit sets of roles by type: senders and receivers. */\nstatic const uint32_t may_from[] = {\n\t0,\n")
    out += ["\t0x%x,\n" % sum(1 << ROLES.index(r) for r in m.senders) for m in messages]
    out.append("};\nstatic const uint32_t may_to[] = {\n\t0,\n")
    out += ["\t0x%x,\n" % sum(1 << ROLES.index(r) for r in m.receivers) for m in messages]
    out.append("};\n\nbool\nipc_may_send(unsigned from, unsigned to, unsigned type)\n{\n\treturn type < IPC_TYPE_COUNT && from < IPC_ROLE_COUNT && to < IPC_ROLE_COUNT &&\n"
               "\t    (may_from[type] >> from & 1) != 0 && (may_to[type] >> to & 1) != 0;\n}\n")
    return "".join(out)


def fuzz(messages):
    return ("/* Generated: every decoder on any bytes; the first two bytes choose the type. */\n#include <stddef.h>\n#include <stdint.h>\n\n"
            "#include \"ipc/messages.h\"\n#include \"ipc/ipc_private.h\"\n\nint LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);\n\n"
            "int\nLLVMFuzzerTestOneInput(const uint8_t *data, size_t size)\n{\n\tstruct arena *a;\n\tstruct buf b;\n\n\tif (size < 2)\n\t\treturn 0;\n"
            "\ta = arena_new(64u << 20);\n\tbuf_init(&b, 1u << 20);\n\tipc_print(&b, (unsigned)(data[0] | data[1] << 8) %% IPC_TYPE_COUNT,\n"
            "\t    span_of(data + 2, size - 2), a);\n\tbuf_release(&b);\n\tarena_free(&a);\n\treturn 0;\n}\n") % ()


def main():
    table, outdir = sys.argv[1], sys.argv[2]
    structs, messages = read_table(table)
    for name, text in (("messages.h", header(structs, messages)), ("messages.c", code(structs, messages)), ("messages_fuzz.c", fuzz(messages))):
        path = os.path.join(outdir, name)
        with open(path, "w") as f:
            f.write(text)


main()
