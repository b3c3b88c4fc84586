// SPDX-License-Identifier: Apache-2.0
//
// What the daemon and csb-agent say to each other over the channel (HTTP/2 with prior knowledge on
// one byte stream; the daemon is the client). The agent's answers are hostile input to the daemon:
// every cap below is enforced by the receiver.
//
// How it works
//
//   GET  /health   200, JSON: {"agent": VERSION, "protocol": 1}
//   GET  /stats    200, JSON: {"cpu_count", "memory_total_bytes", "memory_available_bytes",
//                  "kernel", "cmdline", "uptime_ms", "agent", "protocol"}
//   POST /sync     JSON {"time_ns": host CLOCK_REALTIME, "entropy": 128 hex digits,
//                  "hostname": name, "machine_id": 32 hex digits}
//                  The agent credits and reseeds the kernel's generator, sets clock and identity.
//                  200 {"ok": true}. Nothing of a user runs before it in a clone.
//   POST /prepare  JSON {"id": name, "argv": [...], "env": {...}, "ready_ms": N,
//                  "limits": LIMITS or absent, "zygote": true or absent}
//                  Starts a fresh interpreter in a jail of its own, which waits for its program
//                  ("Prepared interpreters" below); with "zygote", outside of virtual machines and
//                  where one is ready, forked from an interpreter of that argv and env that has
//                  started up already (agent/zygote.h). 200 {"prepared": id} once it is ready; 504
//                  when it was not in time; 500 when it died. Replaces nothing: at most
//                  AGENT_PREPARED_MAX.
//   POST /run      Runs one program. Body: u32be length of HEAD, HEAD (JSON), then the bytes
//                  of each file in the order of HEAD.files, then stdin. Answer: 200 and frames
//                  until a RESULT frame, which is last; or AGENT_STATUS_GONE when the prepared
//                  interpreter is no more, and nothing ran. RST_STREAM by the daemon kills the run.
//
//   /envd/...      The data plane of a long-lived sandbox (agent/envd/envd.h), where the agent has
//                  one: in a virtual machine and with --envd; else 404. The daemon forwards a
//                  client's request with its method, its path and query after /envd, its body, and
//                  of its headers AGENT_ENVD_HEADERS and all x-metadata-*. Bodies either way have
//                  no bound and are held back by flow control. Of the answer's headers
//                  content-type, content-length, content-encoding, content-range and vary are the
//                  client's; an answer that is broken off (RST_STREAM) must be broken off for him
//                  too. A client that goes away is RST_STREAM by the daemon: processes go on. POST
//                  /envd/init is the daemon's own: {"envVars": {name: value}, "defaultUser": name,
//                  "defaultWorkdir": path}, each optional; 204.
//
//                  AGENT_HEADER_APART on a request of the daemon's own for root says that root is
//                  only to be somebody else than the programs' user: where all are one
//                  (agent/envd/user.h), the request is for that user.
//
//   CONNECT        where there is /envd: a TCP connection to what listens on a port in the sandbox
//                  (agent/connect.h). :authority is "localhost:PORT". 200, then DATA both ways;
//                  END_STREAM is the end of either's sending, RST_STREAM breaks it off. 502 when
//                  nobody listens, 503 when there are too many.
//
// Errors are 4xx/5xx with JSON {"error": word, "message": sentence}; below /envd they are E2B's.
//
// HEAD of /run:
//   {"prepared": id or null,         use that prepared interpreter (once), for the compile step
//                                    where there is one, else for the run; null starts one
//    "files": [{"path": relative, "size": bytes, "executable": true or absent}],
//                                     first is the program; written below /work, mode 0644 or 0755
//    "stdin_size": bytes,
//    "artifact": {"path": relative, "max_bytes": N} or null or absent,
//                                     what the compile step makes and the daemon wants to have
//    "compile": {"argv": [...], "env": {...}, "limits": LIMITS} or null,
//    "run": {"argv": [...], "args": [...], "env": {...}, "limits": LIMITS}}
// LIMITS: {"wall_ms", "cpu_ms", "memory_bytes", "processes", "output_bytes", "disk_bytes"}, all
// present, integers > 0. The run's command line is argv followed by args. env is the whole
// environment given by the caller on top of AGENT's base (PATH, HOME, USER, LANG, TMPDIR).
//
// A frame is u8 type, u32be length, payload.
//
// ARTIFACT frames carry the asked-for file in pieces, in order, anywhere after the compile step.
// The agent reads it, a regular file reached by no link, when the compile step has succeeded and
// before the run step starts: no run has a hand in it. A file that is absent, empty or larger than
// asked for is not sent at all.
//
// RESULT payload:
//   {"phase": "compile" | "run",     where it ended; "compile" means the program was not run
//    "reason", "exit_code", "signal", "limits_hit", "stdout_bytes", "stderr_bytes", "truncated",
//    "usage",                        of that step, see STEP
//    "message": sentence for "internal", else "",
//    "artifact_bytes": of the whole artifact, sent before; 0: none,
//    "compile": null or STEP}        of the compile step
// STEP:
//   {"reason": "exit" | "signal" | "timeout" | "cpu_timeout" | "memory" | "output_limit" | "disk" |
//              "processes" | "internal",
//    "exit_code": 0..255 when it exited by itself, else -1,
//    "signal": 1..64 when a signal ended it that the limits did not send, else 0,
//    "limits_hit": [reason of each limit it ran into, whether it failed for it or not],
//    "stdout_bytes", "stderr_bytes": what it wrote, as far as it was read,
//    "truncated": bool,              it wrote more than its limit
//    "usage": {"wall_ns", "cpu_user_ns", "cpu_system_ns", "memory_peak_bytes",
//              "processes_peak": N or null where the kernel does not tell}}
// Reasons: a limit that ended the step ("timeout", "cpu_timeout", "output_limit") is its reason.
// Else, if the step failed (a signal, an exit code other than 0) and ran into a limit that refuses
// instead of ending ("memory": the kernel killed a process of it, "processes": a fork or thread was
// refused, "disk": no room left at its end), that is the reason, in this order; exit_code or signal
// still tell how it ended. Else "exit" or "signal". "internal": our fault.
//
// Prepared interpreters: the process is started as argv with descriptor AGENT_CONTROL_FD being one
// end of a unix stream socket, named to it by the environment variable CSB_CONTROL_FD. When ready
// to take a program it writes one byte 'R'. The agent, at /run, writes the files, then sends u32be
// length and JSON {"args": [...], "env": {...}} and closes its end; the hook applies both, closes
// the descriptor and lets the interpreter go on to run the program as usual. Standard input is a
// pipe that the agent feeds from then on. A compiler is prepared in the same way; what it is sent
// is empty, since arguments and environment are the run's, and its standard input too.
#ifndef CSB_CHANNEL_AGENT_WIRE_H
#define CSB_CHANNEL_AGENT_WIRE_H

#define AGENT_PROTOCOL     1
#define AGENT_PORT_NAME    "csb"

#define AGENT_HEAD_MAX     (1u << 20)  // bytes of HEAD
#define AGENT_BODY_MAX     (28u << 20) // bytes of a whole /run body
#define AGENT_FILES_MAX    257         // files of one run, an artifact among them
#define AGENT_ARTIFACT_MAX (8u << 20)  // bytes of an artifact
#define AGENT_PATH_MAX     255         // bytes of a file's relative path
#define AGENT_FRAME_MAX    (64u << 10) // bytes of one frame's payload
#define AGENT_JSON_MAX     (64u << 10) // bytes of any JSON answer, RESULT included
#define AGENT_PREPARED_MAX 4
#define AGENT_STATUS_GONE  409
#define AGENT_CONTROL_FD   3
// The control socket of an agent that serves a host (SOCK_SEQPACKET): this byte with the descriptor
// of a stream socket begins a session on it. The end of the socket ends the agent.
#define AGENT_CONTROL_SESSION 'S'

// Of the requests below /envd.
#define AGENT_ENVD_HEADERS                                                                         \
    "content-type", "content-encoding", "accept-encoding", "range", "authorization",               \
        "connect-timeout-ms", "keepalive-ping-interval"
#define AGENT_HEADER_APART "csb-apart"

enum agent_frame {
    AGENT_FRAME_STDOUT = 1,
    AGENT_FRAME_STDERR = 2,
    AGENT_FRAME_COMPILE_OUT = 3, // what the compiler wrote to stdout or stderr
    AGENT_FRAME_ARTIFACT = 4,    // a piece of what the compile step made
    AGENT_FRAME_RESULT = 9,
};

#endif
