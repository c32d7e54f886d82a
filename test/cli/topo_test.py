"""`basalt topo`: show, list and format; what is refused."""
import json
import re
import subprocess
import unittest
import xml.etree.ElementTree

from harness import BIN, SHARED, Case, needs_shared

MESH = "4 link=0..3-0..3:10000 pcie=0..3-n0:12000"
USER = """machine: mine
help: two cards
card_model: X
card_memory_mib: 1024
cards: 2
sm: 70
links:
  - 0-1:nv2
"""


class Show(Case):
    def test_dgx1(self):
        answer = self.ok("topo", "show", "dgx-1-v100")
        self.assertIn("NVLink between cards", answer.out)
        self.assertRegex(answer.out, r"6  0,2-4,6,7 +80 +80 ")
        got = json.loads(self.ok("topo", "show", "dgx-1-v100", "-o", "json").out)
        self.assertEqual(got["schema"], "basalt.topo/1")
        self.assertEqual([s["size"] for s in got["sets"]], list(range(2, 9)))
        by_size = {s["size"]: s for s in got["sets"]}
        self.assertEqual(by_size[5]["mbps"], 40_000)
        self.assertEqual(by_size[8]["mbps"], 120_000)
        self.assertEqual(by_size[2]["copies"], 4)
        self.assertEqual(by_size[2]["leaves_intact"], {"8": 0, "4": 1, "2": 3})

    def test_free_cards_and_questions(self):
        got = json.loads(self.ok("topo", "show", "dgx-1-v100", "--free", "0,2,4-7", "-o",
                                 "json").out)
        self.assertEqual(got["free"], [0, 2, 4, 5, 6, 7])
        for s in got["sets"]:
            self.assertTrue(set(s["cards"]) <= set(got["free"]), s)
        ask = ["topo", "show", "dgx-1-v100", "--cards", "2"]
        best = json.loads(self.ok(*ask, "-o", "json").out)["sets"]
        self.assertEqual([s["mbps"] for s in best], [40_000])
        kept = json.loads(self.ok(*ask, "--min-bandwidth", "6", "-o", "json").out)["sets"][0]
        self.assertGreaterEqual(kept["mbps"], 6_000)
        # An answer of none is an answer.
        none = self.ok(*ask, "--min-bandwidth", "41")
        self.assertIn("no 2 free cards with 41 GB/s; 8 are free, the best 2 get 40 GB/s", none.out)
        self.assertEqual(json.loads(self.ok(*ask, "--min-bandwidth", "41", "-o", "json").out)
                         ["sets"], [])
        self.assertIn("3 are free", self.ok("topo", "show", "dgx-1-v100", "--free", "0-2",
                                            "--cards", "4").out)

    def test_descriptions_and_files(self):
        self.assertEqual(self.ok("topo", "format", MESH).out, MESH + "\n")
        path = self.file("mine.yaml", USER)
        for args in [[path], ["--catalog", path]]:
            self.assertEqual(self.ok("topo", "format", *args).out, "2 sm=70 link=0-1:2*20000\n")
        self.assertIn("mine", self.ok("topo", "list", "--catalog", path).out)
        for output in ["csv", "markdown"]:
            self.assertIn("0-2", self.ok("topo", "show", MESH, "-o", output).out)

    def test_svg(self):
        for machine in ["dgx-1-v100", "dgx-a100", "dgx-2", "rtx-4090", MESH, "1", "64xH100"]:
            path = self.dir / "m.svg"
            self.ok("topo", "show", machine, "--svg", path, "--cards", "1")
            text = path.read_text()
            root = xml.etree.ElementTree.fromstring(text)
            self.assertEqual(root.attrib["width"], "800")
            self.assertNotRegex(text, r"href|url\(|<script|@import")
        self.bad("topo", "show", MESH, "--svg", self.dir / "no/m.svg", says="no/m.svg")

    def test_list(self):
        table = self.ok("topo", "list").out
        entries = json.loads(self.ok("topo", "list", "-o", "json").out)
        self.assertGreaterEqual(len(entries), 13)
        for entry in entries:
            self.assertIn(entry["machine"], table)
            self.assertEqual(self.ok("topo", "format", entry["machine"]).out.strip(),
                             entry["description"])
            self.assertLessEqual(len(entry["description"]), 4096)
            again = json.loads(self.ok("topo", "show", entry["description"], "-o", "json").out)
            self.assertEqual(again["sets"][-1]["mbps"], entry["mbps"])

    @needs_shared(SHARED / "data/topology/smi")
    def test_a_matrix_is_read(self):
        path = SHARED / "data/topology/smi/dgx1_v100_hcm_1nic.txt"
        got = json.loads(self.ok("topo", "show", path, "-o", "json").out)
        self.assertEqual(got["cards"], 8)
        line = self.ok("topo", "format", path).out.strip()
        self.assertEqual(self.ok("topo", "format", line).out.strip(), line)
        self.bad("topo", "show", SHARED / "data/topology/smi/malformed_glued_affinity.txt",
                 says="malformed_glued_affinity.txt:")

    def test_publish(self):
        line = "2xA100 link=0-1:nv12"
        patch = json.loads(self.ok("topo", "publish", line, "--uuids", "GPU-b\n GPU-a\n").out)
        text = patch["metadata"]["annotations"]["basalt.io/machine"]
        self.assertEqual(list(patch), ["metadata"])
        self.assertEqual(text, self.ok("topo", "format", line).out.strip() + " uuids=GPU-b,GPU-a")
        plain = self.ok("topo", "format", line).out.strip()
        self.assertEqual(self.ok("topo", "publish", line, "--node", "n1").out,
                         f"kubectl annotate node n1 --overwrite 'basalt.io/machine={plain}'\n")
        path = self.dir / "patch.json"
        self.assertEqual(self.ok("topo", "publish", line, "--out", path).out, "")
        self.assertNotIn("uuids", path.read_text())
        # What is told is read where nodes are.
        node = {"kind": "Node", "metadata": {"name": "n1", "annotations": {"basalt.io/machine": text}},
                "status": {"capacity": {"nvidia.com/gpu": "2"}, "allocatable": {"cpu": "8"}}}
        got = json.loads(self.ok("devices", "node", self.file("n.yaml", json.dumps(node)),
                                 "-o", "json").out)
        self.assertEqual(got["machine_source"], "published")
        self.assertEqual([c["uuid"] for c in got["cards"]], ["GPU-b", "GPU-a"])
        for args, says in [([line, "--uuids", "a"], "are 1, but the machine has 2"),
                           ([line, "--uuids", ","], "--uuids"), ([line, "--uuids", "a,b'"], "letters"),
                           ([line, "--node", "a b"], "name of a node"),
                           ([line, "--node", "-x"], "name of a node"), (["nonsense"], "nonsense")]:
            with self.subTest(args=args):
                self.bad("topo", "publish", *args, says=says)

    def test_publish_from_a_pipe(self):
        matrix = ("\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\n"
                  "GPU0\t X \tNV4\t0-15\t0\nGPU1\tNV4\t X \t16-31\t1\n")
        done = subprocess.run([BIN, "topo", "publish", "-"], input=matrix, capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = json.loads(done.stdout)["metadata"]["annotations"]["basalt.io/machine"]
        self.assertTrue(text.startswith("2 "), text)
        self.assertEqual(self.ok("topo", "format", text).out.strip(), text)


class Refused(Case):
    def test_machines(self):
        path = self.file("mine.yaml", USER)
        for args, says in [
            ([], "say which machine"), ([path, "--catalog", path], "say which machine"),
            (["hgx-h1000"], 'did you mean "hgx-h100"?'), (["no/such/file"], "does it exist?"),
            (["8xV10"], 'did you mean "V100"?'), (["8 link=0-9:5"], "column 10"),
            (["0"], "column 1"), (["--catalog", self.dir / "none.yaml"], "none.yaml"),
            (["--catalog", self.file("bad.yaml", USER.replace("0-1", "0-2"))], "bad.yaml:8:5"),
            ([self.file("key.yaml", USER.replace("links", "link"))], 'did you mean "links"?'),
            ([self.dir], "directory"),
            ([self.file("what.txt", "hello\n")], "what.txt"), ([self.file("e.txt", "")], "e.txt"),
        ]:
            for command in ["show", "format"]:
                with self.subTest(args=args, command=command):
                    self.bad("topo", command, *args, says=says)
        self.bad("topo", "list", "--catalog", self.dir / "none.yaml", says="none.yaml")

    def test_options(self):
        for args, says in [
            (["--free", "0-8"], "this machine has 0 to 7"), (["--free", "x"], "--free x"),
            (["--free", "3-1"], "--free"), (["--free", "1,,2"], "--free"),
            (["--cards", "0"], "--cards"), (["--cards", "65"], "--cards"),
            (["--min-bandwidth", "5"], "needs --cards"),
            (["--cards", "2", "--min-bandwidth", "-1"], "--min-bandwidth"),
            (["--cards", "2", "--min-bandwidth", "nan"], "--min-bandwidth"),
            (["-o", "xml"], "--output"),
        ]:
            with self.subTest(args=args):
                self.bad("topo", "show", "dgx-1-v100", *args, says=says)
        self.bad("topo")
        self.assertTrue(re.search("show", self.ok("topo", "--help").out))


if __name__ == "__main__":
    unittest.main()
