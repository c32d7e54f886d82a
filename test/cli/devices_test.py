"""`basalt devices`: list, show, request and node; what is refused."""
import json
import unittest

from harness import Case

POD = """metadata:
  name: {name}
spec:
  containers:
  - name: c
    resources:
      limits: {limits}
"""
MINE = """vendor: nvidia
help: ours
models:
  - {model: Q8, help: a new one, memory_mib: 49152, compute_units: 300, short_names: [q8]}
"""


class Devices(Case):
    def pod(self, limits, name="p"):
        return self.file("pod.yaml", POD.format(name=name, limits=json.dumps(limits)))

    def test_list(self):
        models = json.loads(self.ok("devices", "list", "-o", "json").out)
        by_name = {m["model"]: m for m in models}
        self.assertEqual(by_name["A100"]["memory_mib"], 40960)
        self.assertEqual(by_name["Ascend910B3"]["vendor"], "ascend")
        self.assertEqual(len({m["vendor"] for m in models}), 10)
        mine = self.file("mine.yaml", MINE)
        self.assertIn("Q8", self.ok("devices", "list", "--catalog", mine).out)
        for output in ["csv", "markdown"]:
            self.assertIn("P800", self.ok("devices", "list", "-o", output).out)

    def test_show(self):
        out = self.ok("devices", "show", "a100-80g").out
        self.assertRegex(out, r"3g.40gb +40192 +428 +4  0,4 +2")
        self.assertRegex(out, r"1g.10gb\+me +9728 +142 +1  0,1,2,3,4,5,6 +1 *\n")
        self.assertIn("nvidia.com/gpumem-percentage", out)
        self.assertIn("vgpu-number-a100-80g", out)
        got = json.loads(self.ok("devices", "show", "Ascend910B4", "-o", "json").out)
        self.assertEqual(got["schema"], "basalt.devices.show/1")
        self.assertEqual([t["name"] for t in got["rules"]["templates"]],
                         ["vir05_1c_8g", "vir10_3c_16g"])
        self.assertIn("huawei.com/Ascend910B4-memory", [n["name"] for n in got["names"]])

    def node(self, annotations, allocatable=None, name="n1"):
        return self.file("node.json", json.dumps({
            "kind": "Node",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
            "status": {"capacity": allocatable or {}, "allocatable": allocatable or {},
                       "conditions": [{"type": "Ready", "status": "True"}]}}))

    def test_node(self):
        register = "hami.io/node-nvidia-register"
        cards = "".join(f"GPU-{i},10,36864,100,NVIDIA A30,{i},{'true' if i else 'false'},{i},hami-core:"
                        for i in range(2))
        scores = [{"uuid": f"GPU-{i}", "score": {f"GPU-{1 - i}": 10}} for i in range(2)]
        node = self.node({register: cards, "hami.io/node-nvidia-score": json.dumps(scores)},
                         {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": "20"})
        got = json.loads(self.ok("devices", "node", node, "-o", "json").out)
        self.assertEqual((got["schema"], got["node"], got["cordoned"]),
                         ("basalt.devices.node/1", "n1", False))
        self.assertEqual([(c["uuid"], c["model"], c["memory_mib"], c["physical_memory_mib"],
                           c["numa"], c["state"]) for c in got["cards"]],
                         [("GPU-0", "A30", 36864, 24576, 0, "ill"),
                          ("GPU-1", "A30", 36864, 24576, 1, "ready")])
        self.assertEqual(got["machine_source"], "hami-scores")
        self.assertTrue(got["machine"].startswith("2 "), got["machine"])
        table = self.ok("devices", "node", node).out
        self.assertIn("wired (hami-scores): 2 ", table)
        self.assertIn("note: machine: link speeds are not in pair scores", table)
        self.assertRegex(table, r"GPU-1 +A30 +36864 +24576 +1000 +10 +1 +shared +hami +ready")

    def test_node_that_cannot_be_read(self):
        bad = self.bad("devices", "node", self.node({"hami.io/node-nvidia-register": "x"}))
        self.assertIn("hami.io/node-nvidia-register: is neither JSON", bad.err)
        self.bad("devices", "node", self.file("pod.yaml", POD.format(name="p", limits="{}")))
        self.bad("devices", "node", self.file("list.yaml", "items: []\n"))

    def test_request(self):
        pod = self.pod({"basalt.io/gpu": "1", "basalt.io/gpu-memory": "12Gi",
                        "basalt.io/gpu-compute-units": "70"}, "neutral")
        got = json.loads(self.ok("devices", "request", pod, "-o", "json").out)
        self.assertEqual((got["schema"], got["pod"]), ("basalt.devices.request/1", "neutral"))
        models = {m["model"]: m for m in got["containers"][0]["models"]}
        self.assertEqual(models["A100"]["asks_as"],
                         "nvidia.com/gpu: 1, nvidia.com/gpucores: 23, nvidia.com/gpumem: 12288")
        self.assertEqual((models["A100"]["milli"], models["A100"]["mig_profile"]),
                         (230, "3g.20gb"))
        self.assertEqual(models["Ascend910B3"]["slice"], "vir05_1c_16g")
        self.assertEqual(models["C500"]["memory_mib"], 12288)
        self.assertEqual(models["T4"]["why_not"], "more compute than the card has")
        self.assertEqual(models["S60"]["why_not"], "compute not published")
        self.assertFalse(models["T4"]["fits"])
        table = self.ok("devices", "request", pod).out
        self.assertNotIn("T4", table)
        self.assertIn("more compute than the card has",
                      self.ok("devices", "request", pod, "--all").out)

    def test_one_vendors_names(self):
        got = json.loads(self.ok("devices", "request", self.pod({"kunlunxin.com/xpu": "2"}), "-o",
                                 "json").out)
        fits = [m["model"] for m in got["containers"][0]["models"] if m["fits"]]
        self.assertEqual((fits, got["interface"]), (["P800"], "kunlunxin/xpu"))
        self.assertIn("asks for no cards", self.ok("devices", "request", self.pod({})).out)

    def test_bad_input(self):
        self.bad("devices", "show", "A1000", says="did you mean \"A100\"?")
        self.bad("devices", "request", self.pod({"nvidia.com/gpu": "-1"}),
                 says=["container c: nvidia.com/gpu", "negative"])
        self.bad("devices", "request", self.pod({"kunlunxin.com/xpu": "3"}), says="1, 2, 4, 8")
        self.bad("devices", "request", "none.yaml", says="none.yaml")
        self.bad("devices", "list", "--catalog", self.file("bad.yaml", "vendr: x\n"),
                 says=["bad.yaml:1:1", "did you mean \"vendor\"?"])


if __name__ == "__main__":
    unittest.main()
