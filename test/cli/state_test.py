"""Snapshots, journals and explain."""
import json
import random
import re
import unittest

from harness import SMALL, Case, basalt

POLICIES = ["binpack", "spread", "random", "best-fit", "fgd", "pwr:0.1+fgd:0.9",
            "class-quota(T4=0.5;fgd)", "spread-job(fgd)", "binpack/spread"]


class State(Case):
    def setUp(self):
        super().setUp()
        self.snapshot, self.journal = self.dir / "state.snap", self.dir / "state.journal"

    def make(self, *args):
        return json.loads(self.ok("snapshot", "make", *SMALL, "--out", self.snapshot, "--journal",
                                  self.journal, "-o", "json", *args).out)

    def json(self, *args, **kwargs):
        return json.loads(self.ok("snapshot", *args, "-o", "json", **kwargs).out)


class RoundTrip(State):
    def test_one_state_by_every_way(self):
        for policy in POLICIES:
            with self.subTest(policy=policy):
                made = self.make("--policy", policy, "--seed", "3")
                digest = made["state_digest"]
                self.assertGreater(made["allocations"], 0)
                self.assertEqual(self.json("show", self.snapshot)["state_digest"], digest)
                again = self.dir / "again.snap"
                recovered = self.json("recover", self.journal, "--out", again)
                for key in ["nodes", "cards", "allocations", "gpus_allocated", "idle_cards",
                            "idle_nodes", "state_digest"]:
                    self.assertEqual(recovered[key], made[key], key)
                self.assertEqual(self.json("show", again)["state_digest"], digest)
                replay = self.json("replay", self.journal)
                self.assertEqual((replay["different"], replay["first_difference"]), (0, ""))
                self.assertEqual(replay["state_digest"], digest)
                self.assertGreaterEqual(replay["decisions"], made["allocations"])

    def test_another_policy_is_a_question_not_a_failure(self):
        self.make("--policy", "fgd")
        other = self.json("replay", self.journal, "--policy", "spread")
        self.assertGreater(other["different"], 0)
        self.assertRegex(other["first_difference"], r"record \d+: was placed on .* now")
        same = self.json("replay", self.journal, "--policy", "fgd")
        self.assertEqual(same["different"], 0)

    def test_fill_level(self):
        used = [self.make("--at", at)["gpus_allocated"] for at in (10, 50, 100)]
        self.assertEqual(used, sorted(set(used)))
        for at in ["0", "-1", "1001", "x"]:
            self.bad("snapshot", "make", *SMALL, "--out", self.dir / "x", "--at", at, says="--at")


class Broken(State):
    def test_no_snapshot(self):
        self.make()
        text = self.file("text", "name,cpu_milli\n")
        for command, path, says in [
            ("show", text, "not a Basalt snapshot"), ("show", self.journal, "not a Basalt snap"),
            ("show", self.file("empty", ""), "not a Basalt snapshot"),
            ("recover", text, "not a Basalt journal"), ("recover", self.snapshot, "not a Basalt j"),
            ("recover", self.dir / "empty", "not a Basalt journal"),
            ("replay", text, "not a Basalt journal"),
            ("show", self.dir / "missing", "exist"), ("recover", self.dir, "directory"),
            ("show", self.dir, "directory"),
        ]:
            with self.subTest(command=command, path=path):
                self.bad("snapshot", command, path, says=[path, says])
        self.bad("explain", "--snapshot", text, "--request", "gpus=1", says=text)
        header = self.journal.read_bytes()[:16]
        self.bad("snapshot", "replay", self.file("headonly", header), says="headonly")
        newer = header[:8] + b"\xff\0\0\0" + header[12:]
        self.bad("snapshot", "recover", self.file("newer", newer), says=["newer", "version 255"])

    def test_every_damage_to_a_snapshot_is_noticed(self):
        self.make()
        good = self.snapshot.read_bytes()
        rng = random.Random(7)
        for i in range(60):
            data = bytearray(good)
            at = rng.randrange(len(data))
            if i % 3 == 0:
                data = data[:at]
            elif i % 3 == 1:
                data[at] ^= 1 << rng.randrange(8)
            else:
                data[at:at] = bytes(rng.randrange(256) for _ in range(5))
            broken = self.file("broken.snap", bytes(data))
            self.bad("snapshot", "show", broken, says=broken)
            self.bad("explain", "--snapshot", broken, "--request", "gpus=1", says=broken)

    def test_a_torn_journal_recovers_with_a_warning(self):
        self.make()
        good = self.journal.read_bytes()
        whole = self.json("recover", self.journal)["allocations"]
        ends = {16}  # between two frames nothing is torn
        while max(ends) < len(good):
            ends.add(max(ends) + 12 + int.from_bytes(good[max(ends):max(ends) + 4], "little"))
        rng = random.Random(8)
        for cut in [len(good) - 1, len(good) - 7, len(good) // 2, 17, *(
                rng.randrange(40, len(good)) for _ in range(10))]:
            cut -= 1 if cut in ends else 0
            torn = self.file("torn.journal", good[:cut])
            recover = ("snapshot", "recover", torn, "-o", "json", "--out", self.dir / "t")
            answer = self.ok(*recover)
            if not answer.err:  # the cut fell between two records
                self.file("torn.journal", good[:cut - 1])
                answer = self.ok(*recover)
            self.assertLessEqual(json.loads(answer.out)["allocations"], whole)
            self.assertRegex(answer.err, r"torn\.journal: .* at byte \d+; \d+ bytes? dropped\n")
            self.assertEqual(self.json("show", self.dir / "t")["state_digest"],
                             json.loads(answer.out)["state_digest"])
            if cut > len(good) // 3:
                replay = basalt("snapshot", "replay", torn, "-o", "json")
                self.assertEqual(replay.code, 0, replay)
                self.assertEqual(json.loads(replay.out)["different"], 0)
                self.assertIn("torn.journal", replay.err)

    def test_a_damaged_journal_never_crashes(self):
        self.make()
        good = self.journal.read_bytes()
        rng = random.Random(9)
        for _ in range(40):
            data = bytearray(good)
            at = rng.randrange(len(data))
            data[at:at + rng.randrange(1, 5)] = bytes(
                rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            broken = self.file("broken.journal", bytes(data))
            for command in ["recover", "replay"]:
                answer = basalt("snapshot", command, broken)
                self.assertIn(answer.code, (0, 2), answer)
                if data != good:
                    self.assertIn("broken.journal", answer.err, answer)

    def test_outputs(self):
        out = self.dir / "missing/x"
        self.bad("snapshot", "make", *SMALL, "--out", out, says=out)
        self.bad("snapshot", "make", *SMALL, "--out", self.dir, says=self.dir)
        self.bad("snapshot", "make", *SMALL, "--out", self.dir / "s", "--journal", out, says=out)
        self.bad("snapshot", "make", *SMALL, says="--out")
        self.make()
        self.bad("snapshot", "recover", self.journal, "--out", out, says=out)


class Explain(State):
    def explain(self, *args):
        answer = self.ok("explain", "--snapshot", self.snapshot, "-o", "json", *args)
        return json.loads(answer.out)

    def test_counts_add_up(self):
        nodes = self.make("--at", "95")["nodes"]
        outcomes = set()
        for request in ["gpus=1", "gpus=1,milli=10", "gpus=1,milli=460,cpu=6000,memory=12288",
                        "gpus=8", "gpus=64", "gpus=1,models=T4", "gpus=1,models=T4|P100",
                        "gpus=1,models=None", "cpu=1", "cpu=999999999", "memory=999999999",
                        "gpus=2,milli=300", "gpus=1,cpu=500000,models=T4|A10|G2"]:
            with self.subTest(request=request):
                said = self.explain("--request", request)
                outcomes.add(said["outcome"])
                self.assertEqual(said["nodes"], nodes)
                self.assertEqual(sum(c["nodes"] for c in said["counts"]), nodes)
                self.assertEqual(len({c["reason"] for c in said["counts"]}), len(said["counts"]))
                fits = sum(c["nodes"] for c in said["counts"] if c["reason"] == "fits")
                self.assertEqual(said["outcome"] == "Placed", fits > 0)
                self.assertEqual(len(said["best"]), min(5, fits))
                text = self.ok("explain", "--snapshot", self.snapshot, "--request", request).out
                first, second = text.split("\n")[:2]
                self.assertTrue(first.endswith(": " + said["outcome"]), text)
                counted = re.findall(r"(?:^|; )([\d,]+) nodes?: ", second)
                self.assertEqual(sum(int(n.replace(",", "")) for n in counted), nodes, text)
                for c in said["counts"]:
                    self.assertIn(c["text"], second)
                scores = [b["score"] for b in said["best"]]
                self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(outcomes, {"Placed", "Wait", "Infeasible"})

    def test_wait_and_infeasible_differ(self):
        self.make("--at", "130")
        self.assertEqual(self.explain("--request", "gpus=8")["outcome"], "Wait")
        self.assertEqual(self.explain("--request", "gpus=9")["outcome"], "Infeasible")
        self.assertEqual(self.explain("--request", "gpus=1,models=Z")["outcome"], "Infeasible")

    def test_the_best_is_where_it_goes(self):
        # What explain calls best at a state is where the engine places the pod there.
        self.make("--at", "60")
        for policy in ["fgd", "best-fit", "binpack", "spread"]:
            one = self.explain("--policy", policy, "--request", "gpus=1,milli=200", "--top", "1")
            many = self.explain("--policy", policy, "--request", "gpus=1,milli=200", "--top",
                                "1000")
            self.assertEqual(one["best"], many["best"][:1])
        self.assertEqual(self.explain("--request", "gpus=1,milli=1", "--top", "0")["best"], [])

    def test_requests(self):
        self.make()
        for text, says in [
            ("", "known: gpus"), ("gpu=1", 'did you mean "gpus"?'), ("gpus", "gpus="),
            ("gpus=", '""'), ("gpus=x", '"x"'), ("gpus=-1", '"-1"'), ("gpus=1.5", '"1.5"'),
            ("gpus=65", "65"), ("gpus=99999999999999999999", "9999"), ("milli=460", "0 cards"),
            ("gpus=1,milli=0", "no compute"), ("gpus=1,milli=1001", "1001"),
            ("gpus=1,gpus=2", "twice"), ("gpus=1,", "unknown part"),
            ("gpus=1,gpu-memory-percent=101", "101"), ("gpus=1,bogus=2", "bogus"),
            ("gpus=1 cpu=2", "gpus="), ("(" * 1000, "unknown part"), ("gpus=" + "9" * 50_000, ""),
        ]:
            with self.subTest(request=text):
                self.bad("explain", "--snapshot", self.snapshot, "--request", text,
                         says=["--request", says])
        self.bad("explain", "--snapshot", self.snapshot, says="--request")
        self.bad("explain", "--request", "gpus=1", says="--trace")
        self.bad("explain", "--snapshot", self.snapshot, *SMALL, "--request", "gpus=1",
                 says="--snapshot")
        for top in ["-1", "1001", "x"]:
            self.bad("explain", "--snapshot", self.snapshot, "--request", "gpus=1", "--top", top)


if __name__ == "__main__":
    unittest.main()
