"""What the tests of the command share: running it, its answers, temporary folders, small inputs."""
import os
import resource
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
BIN = os.environ.get("BASALT_BIN", str(SOURCE / "build/release/bin/basalt"))
SHARED = Path(os.environ.get("BASALT_SHARED") or SOURCE.parent / "shared")
OPENB = SHARED / "data/alibaba_openb_2023/csv"
ATC23 = SHARED / "data/fgd_atc23_expected"
HAMI = SOURCE / "examples/hami-before-after.yaml"

SMALL = ["--generate", "--generate-nodes", "20", "--generate-pods", "300"]
NODES = ("sn,cpu_milli,memory_mib,gpu,model\n"
         "n0,64000,262144,4,T4\n"
         "n1,96000,393216,8,P100\n"
         "n2,32000,100000,0,\n")
PODS = ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
        "p0,1000,1024,1,460,\n"
        "p1,2000,1024,1,1000,T4|P100\n"
        "p2,1000,1024,0,0,\n"
        "p3,4000,4096,2,1000,\n")


class Answer:
    def __init__(self, args, process):
        self.args = args
        self.code = process.returncode
        self.out = process.stdout.decode("utf-8")
        self.err = process.stderr.decode("utf-8", "backslashreplace")

    def __str__(self):
        shown = " ".join(a if len(a) < 200 else a[:200] + "..." for a in map(str, self.args))
        return (f"\n$ basalt {shown}\nexit {self.code}\nstdout: {self.out[:1500]}\n"
                f"stderr: {self.err[:1500]}")


def basalt(*args, timeout=60, cwd=None, memory_limit=None, **kwargs):
    def limit():
        if memory_limit:
            resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    process = subprocess.run([BIN, *map(str, args)], capture_output=True, timeout=timeout, cwd=cwd,
                             stdin=subprocess.DEVNULL, preexec_fn=limit, check=False, **kwargs)
    return Answer(args, process)


class Case(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="basalt-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, True)

    def file(self, name, content):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def ok(self, *args, **kwargs):
        answer = basalt(*args, **kwargs)
        self.assertEqual(answer.code, 0, answer)
        return answer

    def bad(self, *args, says=(), code=2, **kwargs):
        """Refused: exit 2, one clear message on stderr, nothing on stdout, no crash."""
        before = self.listing()
        answer = basalt(*args, timeout=kwargs.pop("timeout", 30), **kwargs)
        self.assertEqual(answer.code, code, answer)
        self.assertEqual(answer.out, "", answer)
        self.assertTrue(answer.err.startswith("basalt: "), answer)
        self.assertNotIn("terminate", answer.err, answer)
        self.assertNotIn("exception", answer.err, answer)
        self.assertGreater(len(answer.err), 15, answer)
        self.assertLess(len(answer.err), 20_000, "the message is endless")
        for text in [says] if isinstance(says, (str, Path)) else says:
            self.assertIn(str(text), answer.err, answer)
        self.assertEqual(before, self.listing(), f"files were left behind{answer}")
        return answer

    def listing(self):
        return sorted(str(p.relative_to(self.dir)) for p in self.dir.rglob("*"))

    def small_trace(self, nodes=NODES, pods=PODS):
        return ["--nodes", str(self.file("nodes.csv", nodes)),
                "--pods", str(self.file("pods.csv", pods))]


def needs_shared(path):
    """Skips, saying so in words that ctest looks for."""
    if Path(path).exists():
        return lambda test: test
    print("skipped: no shared data", flush=True)
    return unittest.skip("skipped: no shared data")
