"""Exit codes, stdout and stderr, progress, help, unknown and reserved commands."""
import json
import os
import pty
import select
import struct
import subprocess
import time
import unittest

from harness import BIN, SMALL, Case, basalt

COMMANDS = [[], ["sim"], ["verify"], ["verify", "atc23"], ["trace"], ["trace", "check"],
            ["trace", "import"], ["trace", "generate"], ["explain"], ["snapshot"],
            ["snapshot", "make"], ["snapshot", "show"], ["snapshot", "recover"],
            ["snapshot", "replay"], ["bench"], ["report"]]
RESERVED = ["bound", "what-if", "defrag", "sweep"]


def on_terminal(*args):
    """stderr is a terminal, stdout a pipe: (exit code, stdout, what the terminal got)."""
    primary, secondary = pty.openpty()
    with subprocess.Popen([BIN, *args], stdout=subprocess.PIPE, stderr=secondary,
                          stdin=subprocess.DEVNULL) as process:
        os.close(secondary)
        shown, out, deadline = b"", b"", time.monotonic() + 60
        open_ones = {primary, process.stdout.fileno()}
        while open_ones and time.monotonic() < deadline:
            for fd in select.select(list(open_ones), [], [], 1)[0]:
                try:
                    block = os.read(fd, 65536)
                except OSError:  # the other side of a terminal closed
                    block = b""
                if not block:
                    open_ones.discard(fd)
                elif fd == primary:
                    shown += block
                else:
                    out += block
        code = process.wait(timeout=10)
    os.close(primary)
    return code, out.decode(), shown.decode()


class Help(Case):
    def test_every_command_has_help(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                answer = self.ok(*command, "--help")
                self.assertIn("Usage: basalt", answer.out)
                self.assertEqual(answer.err, "")

    def test_version(self):
        self.assertRegex(self.ok("--version").out, r"^basalt \d+\.\d+\.\d+\n$")

    def test_help_names_policies_and_card_rules(self):
        text = self.ok("--help").out
        for name in ["binpack", "spread", "random", "dot-product", "gpu-clustering",
                     "gpu-packing", "best-fit", "fgd", "pwr", "Card rules"]:
            self.assertIn(name, text)


class Commands(Case):
    def test_no_arguments(self):
        self.bad(says="--help")

    def test_unknown_command_suggests(self):
        self.bad("smi", says='did you mean "sim"?')
        self.bad("explian", says='did you mean "explain"?')
        self.bad("zzzzzzzz", says=["unknown command", "sim", "report"])

    def test_reserved_commands_say_so(self):
        for name in RESERVED:
            self.bad(name, says=[f'"{name}" is not in this version'])
            self.bad(name, "--whatever", says=[f'"{name}" is not in this version'])

    def test_missing_subcommand_and_unknown_option(self):
        for command in ["snapshot", "trace", "verify"]:
            self.bad(command)
        self.bad("snapshot", "mak")
        self.bad("sim", "--polcy", "fgd", *SMALL, says="--polcy")
        self.bad("sim", "extra", *SMALL, says="extra")
        self.bad("sim", *SMALL, "-o", "xml", says=["xml", "json", "csv", "markdown"])
        for option in ["--policy", "--seeds", "--report", "--inflate"]:
            self.bad("sim", *SMALL, option, says=option)


class Streams(Case):
    def test_nothing_on_stderr_in_a_pipe(self):
        for mode in ["saturation", "replay"]:
            answer = self.ok("sim", *SMALL, "--policy", "fgd,best-fit", "--seeds", "1-4", "--mode",
                             mode, "-o", "json")
            self.assertEqual(answer.err, "")
            self.assertEqual(len(json.loads(answer.out)), 8)

    def test_a_bar_on_a_terminal_and_it_is_erased(self):
        args = ["sim", *SMALL, "--policy", "fgd,best-fit", "--seeds", "1-20", "-o", "json"]
        code, out, shown = on_terminal(*args)
        self.assertEqual(code, 0)
        self.assertEqual(len(json.loads(out)), 40)
        self.assertRegex(shown, r"simulating \[#+\.*\] \d+/40")
        self.assertTrue(shown.endswith("\r\x1b[K"), repr(shown[-60:]))
        code, out, shown = on_terminal(*args, "--quiet")
        self.assertEqual((code, shown), (0, ""))
        # The bar must not outlive a failure either.
        code, out, shown = on_terminal("sim", *SMALL, "--policy", "nope")
        self.assertEqual((code, out), (2, ""))
        self.assertNotIn("[#", shown)

    def test_a_full_disk_is_not_success(self):
        for args in [["sim", *SMALL], ["sim", *SMALL, "-o", "json"], ["sim", *SMALL, "-o", "csv"]]:
            with open("/dev/full", "wb") as full:
                process = subprocess.run([BIN, *args], stdout=full, stderr=subprocess.PIPE,
                                         timeout=30, check=False)
            self.assertEqual(process.returncode, 2, args)
            self.assertIn(b"standard output", process.stderr)

    def test_a_closed_reader_ends_it_quietly(self):
        with subprocess.Popen([BIN, "sim", *SMALL, "-o", "json"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.close()
            err = process.stderr.read()
            process.wait(timeout=30)
        self.assertEqual(err, b"")


class ExitCodes(Case):
    def test_gate_failed_is_1(self):
        suite = self.file("s.yaml", "cases:\n  - {name: a, policy: fgd, nodes: 10, pods: 50}\n")
        golden = self.dir / "g.json"
        self.ok("bench", "--suite", suite, "--golden", golden, "--accept", "--reason", "new")
        text = golden.read_text()
        golden.write_text(text.replace('"placed": ', '"placed": 1'))
        self.assertEqual(basalt("bench", "--suite", suite, "--golden", golden).code, 1)

    def test_nondeterminism_is_3(self):
        # One policy's decisions under another one's name: what a build that decides differently
        # than the one that wrote the journal looks like. Frames: length, checksum, payload.
        journals = {}
        for policy in ["dot-product", "best-fit"]:
            path = self.dir / policy
            self.ok("snapshot", "make", *SMALL, "--policy", policy, "--out", self.dir / "s",
                    "--journal", path)
            self.assertEqual(basalt("snapshot", "replay", path).code, 0)
            data = path.read_bytes()
            first = 16 + 12 + struct.unpack_from("<I", data, 16)[0]
            journals[policy] = data[:first], data[first:]
        mixed = self.file("mixed", journals["dot-product"][0] + journals["best-fit"][1])
        answer = basalt("snapshot", "replay", mixed, "-o", "json")
        self.assertEqual(answer.code, 3, answer)
        said = json.loads(answer.out)
        self.assertGreater(said["different"], 0)
        self.assertIn("was placed on", said["first_difference"])


if __name__ == "__main__":
    unittest.main()
