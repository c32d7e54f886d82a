// Writes made-up reports for working on the page: node test/web/sample.mjs OUT_DIR
//   big.html      six policies x ten seeds on a cluster of openb's size, six card maps
//   compare.html  a scenario: binpack and spread on two nodes, arms side by side
//   sparse.html   one policy, one seed, missing values, hostile strings
//   replay.html   time on the x axis, a queue, seeds that end at different times
// The numbers follow the published averages in outline only; nothing here is a measurement.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const template = join(here, "..", "..", "web", "dist", "report.html.tmpl");

/** What report/html.cc does, for pages made without the C++ build. */
export function renderHtml(json) {
  const page = readFileSync(template, "utf8");
  return page.replace("@BASALT_REPORT_DATA@", () => gzipSync(json, { level: 9 }).toString("base64"));
}

function rng(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const round = (v, digits = 3) => Number(v.toFixed(digits));

const CAUSES = [
  { key: "no_card_fits", label: "No card fits" },
  { key: "cpu_short", label: "CPU short" },
  { key: "both", label: "No card fits and CPU short" },
  { key: "model_not_allowed", label: "Model not allowed" },
  { key: "dust", label: "Dust: card too small beside a fitting one" },
  { key: "cpu_only", label: "No GPU asked (CPU-only class)" },
];

// [model, nodes, cards a node, CPU milli a node]; the sums are openb's 1,213 nodes and 6,212 cards.
const FLEET = [
  ["A10", 1, 2, 128000], ["G2", 549, 8, 96000], ["G3", 39, 8, 128000], ["P100", 119, 2, 64000],
  ["P100", 9, 3, 64000], ["T4", 421, 2, 96000], ["V100M16", 48, 4, 64000], ["V100M16", 1, 3, 64000],
  ["V100M32", 25, 8, 96000], ["V100M32", 1, 4, 96000],
];
// [share of requests, cards, milli a card, CPU milli]
const SHAPES = [
  [0.13, 0, 0, 8000], [0.05, 1, 100, 2000], [0.07, 1, 200, 3000], [0.08, 1, 460, 6000], [0.06, 1, 500, 10000],
  [0.03, 1, 810, 6000], [0.46, 1, 1000, 11000], [0.02, 1, 1000, 32000], [0.03, 2, 1000, 16000],
  [0.02, 4, 1000, 32000], [0.05, 8, 1000, 64000],
];

function emptyNodes() {
  const nodes = [];
  for (const [model, count, cards, cpu] of FLEET) {
    for (let i = 0; i < count; ++i) {
      nodes.push({
        name: `openb-node-${String(nodes.length).padStart(4, "0")}`, model, cpu_free_milli: cpu, cpu_milli: cpu,
        cards: Array.from({ length: cards }, () => ({
          free_milli: 1000, usable: true, cause: null, mem_free_mib: null, slices: [],
        })),
      });
    }
  }
  return nodes;
}

/** A rough greedy placement, so that the map looks like one; `tight` in 0..1 is how much a policy packs. */
function makeMap(policy, tight, seed) {
  const random = rng(seed * 7919 + Math.round(tight * 1000));
  const nodes = emptyNodes();
  let failed = 0;
  for (let pod = 0; failed < 140 && pod < 10866; ++pod) {
    let pick = random();
    const shape = SHAPES.find(([share]) => (pick -= share) < 0) ?? SHAPES[6];
    const [, cards, milli, cpu] = shape;
    if (cards === 0) continue;
    let best = null;
    const tries = 6 + Math.round(240 * tight * tight);
    const start = Math.floor(random() * nodes.length);
    for (let k = 0; k < nodes.length && (k < tries || !best); ++k) {
      const node = nodes[(start + k * 479) % nodes.length];
      if (node.cpu_free_milli < cpu) continue;
      const fit = node.cards.filter((c) => c.free_milli >= milli).sort((a, b) => a.free_milli - b.free_milli);
      if (fit.length < cards) continue;
      const left = node.cards.reduce((sum, c) => sum + c.free_milli, 0) - cards * milli;
      const score = left + (milli < 1000 ? (fit[0].free_milli - milli) * 4 * tight : 0);
      if (!best || score < best.score) best = { score, node, fit };
    }
    if (!best) {
      ++failed;
      continue;
    }
    best.node.cpu_free_milli -= cpu;
    for (const card of best.fit.slice(0, cards)) {
      card.free_milli -= milli;
      card.slices.push({
        pod: `openb-pod-${String(pod).padStart(4, "0")}`, milli, mem_mib: null,
        kind: milli < 1000 ? "share" : cards > 1 ? "multi" : "one",
      });
    }
  }
  for (const node of nodes) {
    const whole = node.cards.filter((c) => c.free_milli === 1000).length;
    for (const card of node.cards) {
      if (card.free_milli === 0) continue;
      const cpuShort = node.cpu_free_milli < 8000;
      const small = card.free_milli < 460;
      card.usable = !cpuShort && !small && random() > 0.25;
      if (card.usable) continue;
      card.cause = cpuShort && small ? "both" : cpuShort ? "cpu_short" : small && whole > 0 ? "dust"
        : node.model === "A10" || node.model === "P100" ? "model_not_allowed" : "no_card_fits";
    }
  }
  return { label: `${policy}, seed ${seed}, end of run`, policy, seed, nodes };
}

// [policy, allocation % at the end, arrived % where it falls behind, fragmentation % of the cluster when empty]
const POLICIES = [
  ["random", 87.47, 66, 14.7], ["dot-product", 90.85, 92, 14.1], ["gpu-clustering", 91.88, 92, 14.5],
  ["gpu-packing", 92.0, 93, 14.4], ["best-fit", 93.08, 94, 13.4], ["fgd", 95.39, 96, 11.9],
];

function makeRun(trace, [policy, end, knee, frag0], seed) {
  const random = rng(seed * 104729 + policy.length * 31 + policy.charCodeAt(0));
  const noise = (random() - 0.5) * (policy === "random" ? 1.1 : 0.5);
  const xs = Array.from({ length: 131 }, (_, i) => i);
  const limit = end + noise;
  const series = { allocation_pct: [], fragmentation_pct: [], fragmentation_ratio_pct: [], idle_cards: [], idle_nodes: [] };
  const causes = Object.fromEntries(CAUSES.map((c) => [c.key, []]));
  for (const x of xs) {
    const width = Math.max(1.5, (100 - knee) * 0.42);
    const soft = -Math.log(Math.exp(-x / width) + Math.exp(-limit / width)) * width;
    const alloc = Math.max(0, Math.min(x, soft, limit));
    const idle = 100 - alloc;
    const full = 1 / (1 + Math.exp(-(x - knee - 1) / (policy === "random" ? 9 : 3.4)));
    const base = frag0 * Math.min(1, (x + 1) / 18) * Math.sqrt(idle / 100) * (1 + 0.02 * Math.sin(x / 7 + seed));
    const frag = x === 0 ? idle * 0.16 : Math.min(idle * 0.991, base * (1 - full) + idle * 0.991 * full);
    series.allocation_pct.push(round(alloc));
    series.fragmentation_pct.push(round(frag));
    series.fragmentation_ratio_pct.push(round((frag / idle) * 100));
    series.idle_cards.push(Math.round(6212 * Math.max(0, 1 - alloc / 92) ** 1.1));
    series.idle_nodes.push(Math.round(1213 * Math.max(0, 1 - alloc / 70) ** 1.2));
    const gpus = (frag / 100) * 6212;
    const cpuOnly = gpus * (0.5 - 0.37 * full);
    const rest = gpus - cpuOnly;
    const split = { no_card_fits: 0.34 + 0.3 * full, cpu_short: 0.22 - 0.12 * full, both: 0.08, model_not_allowed: 0, dust: 0.36 - 0.18 * full };
    for (const [key, share] of Object.entries(split)) causes[key].push(round(rest * share));
    causes.cpu_only.push(round(cpuOnly));
  }
  const failedCount = Math.round((100 - limit) * 180 + 1650 + random() * 40);
  const failed_shapes = SHAPES.filter(([, cards]) => cards > 0).map(([share, cards, milli, cpu]) => {
    const count = Math.round(failedCount * share * (milli === 1000 ? 1.4 : 0.1 + random() * 0.2));
    return {
      shape: milli === 1000 ? `${cards} x GPU, ${cpu / 1000} CPU, ${cpu / 500} GiB` : `1 x ${milli}m, ${cpu / 1000} CPU, ${cpu / 500} GiB`,
      count, gpus: round((count * cards * milli) / 1000), reason: cards > 1 ? `no node with ${cards} idle cards` : milli === 1000 ? "no idle card" : "no card with room",
    };
  }).filter((s) => s.count > 0);
  const digest = Array.from({ length: 16 }, () => Math.floor(random() * 16).toString(16)).join("");
  return {
    trace, policy, seed, arrivals: 10824 + (seed % 7) * 9, placed: 10824 + (seed % 7) * 9 - failedCount, failed: failedCount, digest,
    cpu_seconds: round(0.018 + random() * 0.01, 4), x: { label: "Arrived GPU demand, % of capacity", values: xs },
    series, causes_gpus: causes, failed_shapes,
  };
}

const header = (title, subtitle, kind, command) =>
  ({ schema: "basalt.report/1", title, subtitle, command, version: "0.1.0 (made-up sample)", kind });
const openbCluster = {
  nodes: 1213, cards: 6212, gpu_milli: 6212000,
  models: [...new Set(FLEET.map(([m]) => m))].map((model) => {
    const rows = FLEET.filter(([m]) => m === model);
    return { model, nodes: rows.reduce((s, r) => s + r[1], 0), cards: rows.reduce((s, r) => s + r[1] * r[2], 0) };
  }),
};
const seeds = Array.from({ length: 10 }, (_, i) => 42 + i);

export function bigReport() {
  return {
    ...header("Fragmentation on openb: six policies", "Requests arrive until 130 % of the GPU capacity was asked for; none departs",
      "saturation", "basalt saturate --trace openb_default --policies random,dot-product,gpu-clustering,gpu-packing,best-fit,fgd --seeds 42..51"),
    cluster: openbCluster, traces: [{ name: "openb_default", pods: 8152 }], causes: CAUSES,
    runs: POLICIES.flatMap((p) => seeds.map((seed) => makeRun("openb_default", p, seed))),
    maps: POLICIES.map(([name], i) => makeMap(name, i / 5, 42)),
    comparison: null,
  };
}

export function compareReport() {
  const card = (slices) => {
    const used = slices.reduce((s, x) => s + x.milli, 0), mem = slices.reduce((s, x) => s + x.mem_mib, 0);
    const free = 1000 - used;
    return { free_milli: free, usable: free === 0 || free >= 500, cause: free > 0 && free < 500 ? "no_card_fits" : null, mem_free_mib: 24576 - mem, slices };
  };
  const slice = (pod, milli) => ({ pod, milli, mem_mib: Math.round(24.576 * milli), kind: milli < 1000 ? "share" : "one" });
  const node = (name, cards, cpu) => ({ name, model: "NVIDIA-L20", cpu_free_milli: cpu, cpu_milli: 64000, cards });
  const spread = [
    node("gpu-node-1", [card([slice("llm-chat-0", 300)]), card([slice("embed-7f9c", 300)]), card([slice("rerank-0", 400)]), card([slice("notebook-ana", 200), slice("asr-stream-1", 150)])], 41000),
    node("gpu-node-2", [card([slice("llm-chat-1", 300)]), card([slice("ocr-batch-2", 600)]), card([slice("tts-5d8", 250)]), card([slice("notebook-li", 200)])], 45000),
  ];
  const pack = [
    node("gpu-node-1", [card([slice("llm-chat-0", 300), slice("llm-chat-1", 300), slice("rerank-0", 400)]), card([slice("ocr-batch-2", 600), slice("embed-7f9c", 300)]), card([slice("tts-5d8", 250), slice("notebook-ana", 200), slice("notebook-li", 200), slice("asr-stream-1", 150)]), card([slice("train-resnet-0", 1000)])], 12000),
    node("gpu-node-2", [card([slice("train-resnet-1", 1000)]), card([]), card([]), card([])], 56000),
  ];
  return {
    ...header("HAMi: binpack beside spread", "The same eleven requests on two nodes with four L20 cards each", "scenario", "basalt scenario examples/hami-binpack-spread.yaml"),
    cluster: { nodes: 2, cards: 8, gpu_milli: 8000, models: [{ model: "NVIDIA-L20", nodes: 2, cards: 8 }] },
    traces: [], causes: CAUSES, runs: [],
    maps: [{ label: "spread", policy: "spread", seed: 1, nodes: spread }, { label: "binpack", policy: "binpack", seed: 1, nodes: pack }],
    comparison: {
      summary: "With spread every card holds a small slice, so both training pods wait. Binpack puts the same slices on three cards; both training pods run and three cards stay whole.",
      arms: [
        { name: "before: spread", map: 0, kpis: [{ label: "Pods placed", value: "9 of 11", unit: "" }, { label: "Whole idle cards", value: "0", unit: "cards" }, { label: "GPU allocated", value: "33.8", unit: "%" }, { label: "Stranded", value: "0.4", unit: "GPUs" }] },
        { name: "after: binpack", map: 1, kpis: [{ label: "Pods placed", value: "11 of 11", unit: "" }, { label: "Whole idle cards", value: "3", unit: "cards" }, { label: "GPU allocated", value: "58.8", unit: "%" }, { label: "Stranded", value: "0.3", unit: "GPUs" }] },
      ],
    },
  };
}

export function sparseReport() {
  const hostile = "</script><img src=x onerror=alert(1)>";
  const run = makeRun("tiny", POLICIES[5], 1);
  run.policy = `fgd ${hostile}`;
  run.x.values = run.x.values.slice(0, 81); // ends before 100 %
  for (const key of Object.keys(run.series)) run.series[key] = run.series[key].slice(0, 81).map((v, i) => (i % 9 === 4 ? null : v));
  delete run.series.idle_nodes;
  for (const key of Object.keys(run.causes_gpus)) run.causes_gpus[key] = run.causes_gpus[key].slice(0, 81);
  run.failed_shapes = [];
  return {
    ...header(`Missing values ${hostile}`, "", "saturation", `basalt saturate --trace '${hostile}'`), cluster: openbCluster,
    traces: [{ name: "tiny", pods: 12 }], causes: CAUSES, runs: [run], maps: [], comparison: null,
  };
}

export function replayReport() {
  const make = (policy, seed, i) => {
    const random = rng(seed + i * 17);
    const n = 160 + Math.floor(random() * 30), values = Array.from({ length: n }, (_, k) => round(k * 0.75 + random() * 0.5));
    const alloc = values.map((t) => round(Math.max(0, Math.min(97, 62 + 22 * Math.sin(t / 9) + i * 3 + 8 * random() - 700 / (t * t + 10)))));
    const frag = alloc.map((a) => round((100 - a) * (0.5 - 0.12 * i)));
    const run = makeRun("philly-week", [policy, 90, 90, 12], seed);
    return {
      ...run, x: { label: "Time, hours", values },
      series: {
        allocation_pct: alloc, fragmentation_pct: frag, fragmentation_ratio_pct: alloc.map((a, k) => round((frag[k] / (100 - a)) * 100)),
        idle_cards: alloc.map((a) => Math.round((100 - a) * 4)), idle_nodes: alloc.map((a) => Math.round((100 - a) * 0.3)),
        queued: alloc.map((a) => Math.max(0, Math.round((a - 80) * (6 - 2 * i)))),
      },
      causes_gpus: Object.fromEntries(CAUSES.map((c, k) => [c.key, frag.map((f) => round((f * 4) / (k + 2)))])),
    };
  };
  const other = [0, 1].flatMap((i) => [1, 2].map((s) => ({ ...make(["binpack", "fgd"][i], s, i), trace: "helios-venus" })));
  return {
    ...header("Replay of a week", "Arrivals and departures at their recorded times", "replay", "basalt replay --trace philly-week --policies binpack,fgd"),
    cluster: { nodes: 100, cards: 400, gpu_milli: 400000, models: [{ model: "V100", nodes: 100, cards: 400 }, { model: "", nodes: 2, cards: 0 }] },
    traces: [{ name: "philly-week", pods: 10866 }, { name: "helios-venus", pods: 4000 }], causes: CAUSES,
    runs: [0, 1].flatMap((i) => [1, 2, 3].map((s) => make(["binpack", "fgd"][i], s, i))).concat(other), comparison: null,
    // A small map with memory, more than one shape of node, and a node without cards.
    maps: [{ ...compareReport().maps[1], label: "fgd, seed 1, end of run", policy: "fgd" }].map((m) => ({
      ...m, nodes: [...m.nodes, { name: "cpu-node-0", model: "", cpu_free_milli: 1000, cpu_milli: 64000, cards: [] }],
    })),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dir = process.argv[2];
  if (!dir) {
    console.error("usage: node sample.mjs OUT_DIR");
    process.exit(2);
  }
  mkdirSync(dir, { recursive: true });
  const samples = { big: bigReport(), compare: compareReport(), sparse: sparseReport(), replay: replayReport() };
  for (const [name, report] of Object.entries(samples)) {
    const json = JSON.stringify(report), html = renderHtml(json);
    writeFileSync(join(dir, `${name}.json`), json);
    writeFileSync(join(dir, `${name}.html`), html);
    console.log(`${name}: JSON ${json.length} bytes, page ${html.length} bytes`);
  }
}

/** A platform scenario with a hostile name, a missing value and one swept arm. */
export function platformReport() {
  const hours = Array.from({ length: 168 }, (_, i) => i + 0.5);
  const wave = (mean, swing) => hours.map((x) => Math.round((mean + swing * Math.sin((x / 24) * 2 * Math.PI)) * 100) / 100);
  const spread = (mean) => ({ count: 9, mean, p50: mean, p90: mean, p99: mean * 3, max: mean * 4 });
  const usage = (name, held) => ({ name, allocated_gpu_hours: held, served_gpu_hours: held / 2, lost_gpu_hours: 0, charged: held * 3 });
  const arm = (name, mean, swept = false) => ({
    name, about: `arm ${name}`, swept, set: [{ path: "clusters.*.groups.*.memory_ratio", value: "200%" }],
    series: { hours, capacity_cards: hours.map(() => 64), allocated_cards: wave(mean + 10, 8), served_cards: wave(mean, 8), touched_cards: wave(mean + 12, 6), waiting_units: wave(4, 3), cost_per_hour: hours.map(() => 256), passthrough_cards: hours.map(() => 0) },
    workloads: ["chat", "notebooks <b>", "jobs"].map((w, i) => ({ name: w, tenant: "team", class: ["service", "sandbox", "training"][i], submitted: 10, completed: 9, allocated_gpu_hours: 100 * mean, served_gpu_hours: 50 * mean, lost_gpu_hours: 0.5, wait_seconds: spread(12), slowdown: spread(1.02), slow_share_pct: i === 2 ? null : 3.5, overload_minutes: 12, evictions: 1, commits: 0 })),
    clusters: [{ name: "lab", region: "east", private: true, cards: 64, capacity_gpu_hours: 10752, allocated_gpu_hours: 5000, served_gpu_hours: 4000, cost_per_month: 186880, overflowed_in: 0 }],
    tenants: [usage("team", 900)], skus: [], models: [usage("A100", 900)],
  });
  const arms = [arm("whole cards", 20), arm("slices", 38), arm("memory 200 %, idle reclaimed", 44), arm("slices, inference 40%", 30, true)];
  const figure = (key, label, unit, group, digits, better, values) => ({ key, label, unit, group, digits, better, values });
  return {
    ...header("Platform: whole cards beside slices", "Made-up figures for the page's test", "platform", "basalt sim --scenario examples/platform.yaml"),
    cluster: { nodes: 16, cards: 64, gpu_milli: 64000, models: [{ model: "A100", nodes: 0, cards: 64 }] },
    traces: [], causes: [], runs: [], maps: [], comparison: null,
    platform: {
      document: "A document", currency: "CNY", baseline: 0, arms,
      figures: [figure("utilization", "utilization: served work / capacity", "%", "Cards", 1, 1, [31.2, 59.4, 68.7, 46.9]), figure("allocation", "allocation", "%", "Cards", 1, 0, [46.8, 75, 84.4, 62.5]), figure("cost_served_hour", "cost per served GPU-hour", "CNY", "Cost", 2, -1, [12.8, 6.73, 5.82, 8.53]), figure("training_wait_p99", "wait, p99", "s", "Training", 0, -1, [81234, 412, null, 77])],
      claims: [{ text: "utilization above 60 %", source: "page 3", metric: "utilization[memory 200 %, idle reclaimed]", holds: "> 60", unit: "%", value: 68.7, verdict: "holds" }, { text: "cost down by <half>", source: "page 4", metric: "100 * (1 - cost_served_hour[slices] / cost_served_hour[whole cards])", holds: ">= 50", unit: "%", value: 47.42, verdict: "does not hold" }, { text: "three times the pool", source: "", metric: "cards_needed[whole cards] / cards_needed[slices]", holds: ">= 3", unit: "times", value: null, verdict: "not measured" }],
      assumptions: [{ name: "duty of notebooks", value: "30 %", range: "10..50 %", source: "a paper" }, { name: "overhead", value: "3 %", range: "", source: "a benchmark" }],
    },
  };
}
