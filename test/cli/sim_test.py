"""The JSON contract of `basalt sim`, determinism, and sums that must agree."""
import itertools
import json
import unittest

from harness import SMALL, Case

POLICIES = ["binpack", "spread", "random", "dot-product", "gpu-clustering", "gpu-packing",
            "best-fit", "fgd", "pwr", "pwr:0.1+fgd:0.9", "binpack/spread", "fgd/random",
            "class-quota(T4=0.5;fgd)", "spread-job(fgd)"]


class Sim(Case):
    def runs(self, *args):
        return json.loads(self.ok("sim", *SMALL, "-o", "json", *args).out)

    def digests(self, *args):
        runs = self.runs(*args)
        out = {(r["policy"], r["seed"]): (r["digest"], r["placed"], tuple(r["allocation_pct"]),
                                          tuple(r["fragmentation_pct"])) for r in runs}
        self.assertEqual(len(out), len(runs))
        return out

    def test_contract(self):
        runs = self.runs("--policy", ",".join(POLICIES), "--seeds", "42-43,50")
        self.assertIsInstance(runs, list)
        self.assertEqual([(r["policy"], r["seed"]) for r in runs],
                         list(itertools.product(POLICIES, [42, 43, 50])))
        for r in runs:
            with self.subTest(policy=r["policy"], seed=r["seed"]):
                self.assertRegex(r["digest"], r"^[0-9a-f]{32}$")
                self.assertGreaterEqual(r["cpu_seconds"], 0)
                points = len(r["arrived_pct"])
                self.assertEqual(r["arrived_pct"], list(range(points)))
                for series in ["allocation_pct", "fragmentation_pct", "fragmentation_ratio_pct",
                               "idle_cards", "idle_nodes"]:
                    self.assertEqual(len(r[series]), points, series)
                for cause, series in r["causes_gpus"].items():
                    self.assertEqual(len(series), points, cause)
                for series in ["allocation_pct", "fragmentation_pct"]:
                    for value in r[series]:
                        self.assertTrue(value is None or 0 <= value <= 100, (series, value))
                # Every arrival goes through the engine once, and is placed or not.
                self.assertEqual(r["placed"] + r["failed"], r["arrivals"])
                self.assertEqual(r["engine_calls"], r["arrivals"])
                self.assertEqual(r["work"]["decisions"], r["arrivals"])
                self.assertEqual(sum(f["count"] for f in r["failed_shapes"]), r["failed"])
        # The same arrivals for each policy of a seed.
        for seed in [42, 43, 50]:
            self.assertEqual(len({r["arrivals"] for r in runs if r["seed"] == seed}), 1)

    def test_replay_sums(self):
        for queue in ["fifo", "skip"]:
            for r in self.runs("--mode", "replay", "--queue", queue, "--policy", "fgd,spread",
                               "--seeds", "1-2", "--generate-load", "1.5"):
                self.assertEqual(r["placed"] + r["failed"], r["arrivals"])
                self.assertGreaterEqual(r["engine_calls"], r["arrivals"])
                self.assertEqual(len(r["queued"]), len(r["hours"]))
                self.assertEqual(r["hours"], sorted(r["hours"]))
                w = r["wait_s"]
                self.assertTrue(0 <= w["p50"] <= w["p95"] <= w["p99"] <= w["max"], w)

    def test_same_everywhere(self):
        for mode in ["saturation", "replay"]:
            common = ["--seeds", "7-8", "--mode", mode]
            usual = self.digests("--policy", ",".join(POLICIES), *common)
            for other in [["--policy", ",".join(POLICIES)],
                          ["--policy", ",".join(POLICIES), "--threads", "1"],
                          ["--policy", ",".join(POLICIES), "--threads", "2"],
                          ["--policy", ",".join(reversed(POLICIES))],
                          ["--policy", ",".join(POLICIES), "--scan"]]:
                with self.subTest(mode=mode, other=other[-1]):
                    self.assertEqual(usual, self.digests(*other, *common))
            for seed, policy in [(7, "fgd"), (8, "random")]:  # alone as among others
                alone = self.digests("--policy", policy, "--seeds", seed, "--mode", mode)
                self.assertEqual(alone[policy, seed], usual[policy, seed])
            # A digest that does not depend on what is decided proves nothing.
            # (Without departures to retry, a replay of one trace is the same for every seed.)
            self.assertGreater(len({v[0] for v in usual.values()}), len(POLICIES) - 2)

    def test_observers_change_nothing(self):
        plain = self.digests("--policy", "fgd,best-fit")
        self.assertEqual(plain, self.digests("--policy", "fgd,best-fit", "--failures"))
        self.assertEqual(plain, self.digests("--policy", "fgd,best-fit", "--report",
                                             self.dir / "r.html"))

    def test_a_saved_trace_is_the_generated_one(self):
        self.ok("trace", "generate", "--nodes", 20, "--pods", 300, "--out", self.dir / "t")
        saved = json.loads(self.ok("sim", "--trace", self.dir / "t", "-o", "json").out)
        self.assertEqual([r["digest"] for r in saved], [r["digest"] for r in self.runs()])

    def test_several_traces_in_one_command(self):
        for name, seed in [("a", 1), ("b", 2)]:
            self.ok("trace", "generate", "--nodes", 10, "--pods", 100, "--seed", seed, "--out",
                    self.dir / name)
        runs = json.loads(self.ok("sim", "--trace", self.dir / "a", "--trace", self.dir / "b/",
                                  "--seeds", "1-2", "-o", "json").out)
        self.assertEqual([(r["trace"], r["seed"]) for r in runs],
                         [("a", 1), ("a", 2), ("b", 1), ("b", 2)])

    def test_extreme_seeds(self):
        largest = str(2**64 - 1)
        runs = self.runs("--seeds", f"0,{largest},{2**64 - 3}-{2**64 - 2}")
        self.assertEqual([r["seed"] for r in runs], [0, 2**64 - 1, 2**64 - 3, 2**64 - 2])

    def test_orders(self):
        trace = self.small_trace()
        order = "# c\n2 0 1\n3 0 1 2 0\n"
        self.file("orders/pods_42.txt", order)
        first = json.loads(self.ok("sim", *trace, "--orders", self.dir / "orders", "-o",
                                   "json").out)
        self.assertEqual(first[0]["arrivals"], 5)
        (self.dir / "orders/pods_42.txt").unlink()
        import gzip  # the same, compressed and under the short name of a longer trace
        self.file("orders/s_42.txt.gz", gzip.compress(order.encode()))
        (self.dir / "pods.csv").rename(self.dir / "pod_s.csv")
        trace[3] = str(self.dir / "pod_s.csv")
        again = json.loads(self.ok("sim", *trace, "--orders", self.dir / "orders", "-o",
                                   "json").out)
        self.assertEqual(first[0]["digest"], again[0]["digest"])


if __name__ == "__main__":
    unittest.main()
