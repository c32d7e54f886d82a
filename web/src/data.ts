// The report's data: its types (docs/report.md is the contract), how it is unpacked and checked, and the
// statistics over seeds that all views share.

import { checkPlatform, type Platform } from "./platform_data";

export type Num = number | null;

export interface Cause { key: string; label: string }
export interface FailedShape { shape: string; count: number; gpus: number; reason: string }
export interface Run {
  trace: string; policy: string; seed: number; arrivals: number; placed: number; failed: number; digest: string;
  cpu_seconds: Num;
  x: { label: string; values: number[] };
  series: Record<string, Num[] | undefined>;
  causes_gpus: Record<string, Num[] | undefined>;
  failed_shapes: FailedShape[];
}
export type SliceKind = "share" | "one" | "multi";
export interface Slice { pod: string; milli: number; mem_mib: Num; kind: SliceKind }
export interface Card { free_milli: number; usable: boolean; cause: string | null; mem_free_mib: Num; slices: Slice[] }
export interface Node { name: string; model: string; cpu_free_milli: number; cpu_milli: number; cards: Card[] }
export interface CardMap { label: string; policy: string; seed: number; nodes: Node[] }
export interface Arm { name: string; kpis: { label: string; value: string; unit: string }[]; map: Num }
export interface Report {
  schema: string; title: string; subtitle: string; command: string; version: string;
  kind: "saturation" | "replay" | "scenario" | "platform";
  cluster: { nodes: number; cards: number; gpu_milli: number; models: { model: string; nodes: number; cards: number }[] };
  traces: { name: string; pods: number }[];
  causes: Cause[];
  runs: Run[];
  maps: CardMap[];
  comparison: { arms: Arm[]; summary: string } | null;
  platform: Platform | null;
}

/** What is wrong with the data, in words for the person who opened the page. */
export class DataError extends Error {}

async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (typeof DecompressionStream === "undefined") {
    throw new DataError("This browser cannot unpack gzip data (DecompressionStream). Chrome 80, Firefox 113, Safari 16.4 or newer can.");
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

export async function loadReport(payload: string): Promise<Report> {
  const text = payload.trim();
  if (text === "" || text.startsWith("@")) throw new DataError("The page holds no data: it is the bare template, or the report was cut off.");
  let json: string;
  try {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; ++i) bytes[i] = raw.charCodeAt(i);
    json = await gunzip(bytes);
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError("The packed data is damaged (not gzip in base64). Was the file cut off or edited?");
  }
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new DataError(`The data is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return checkReport(value);
}

// The check names the first place that differs from the contract. It fills what may be left out, so that views
// never meet `undefined` where the types promise a value.
type Obj = Record<string, unknown>;
const fail = (where: string, wanted: string): never => {
  throw new DataError(`The data does not follow basalt.report/1: ${where} is not ${wanted}.`);
};
const isObj = (v: unknown): v is Obj => typeof v === "object" && v !== null && !Array.isArray(v);
const obj = (v: unknown, where: string): Obj => (isObj(v) ? v : fail(where, "an object"));
const list = (v: unknown, where: string): unknown[] => (v == null ? [] : Array.isArray(v) ? v : fail(where, "a list"));
const str = (v: unknown, where: string): string => (v == null ? "" : typeof v === "string" ? v : fail(where, "a string"));
const num = (v: unknown, where: string): number => (typeof v === "number" && Number.isFinite(v) ? v : fail(where, "a number"));
const maybe = (v: unknown, where: string): Num => (v == null ? null : num(v, where));

function table(v: unknown, where: string): Record<string, Num[]> {
  const out: Record<string, Num[]> = {};
  if (v == null) return out;
  for (const [key, values] of Object.entries(obj(v, where))) {
    out[key] = list(values, `${where}.${key}`).map((y, i) => maybe(y, `${where}.${key}[${i}]`));
  }
  return out;
}

function checkRun(v: unknown, where: string): Run {
  const r = obj(v, where), x = obj(r.x, `${where}.x`);
  const values = list(x.values, `${where}.x.values`).map((y, i) => num(y, `${where}.x.values[${i}]`));
  for (let i = 1; i < values.length; ++i) {
    if (values[i]! < values[i - 1]!) fail(`${where}.x.values`, "in rising order");
  }
  return {
    trace: str(r.trace, `${where}.trace`), policy: str(r.policy, `${where}.policy`), seed: num(r.seed, `${where}.seed`),
    arrivals: num(r.arrivals, `${where}.arrivals`), placed: num(r.placed, `${where}.placed`), failed: num(r.failed, `${where}.failed`),
    digest: str(r.digest, `${where}.digest`), cpu_seconds: maybe(r.cpu_seconds, `${where}.cpu_seconds`),
    x: { label: str(x.label, `${where}.x.label`), values },
    series: table(r.series, `${where}.series`), causes_gpus: table(r.causes_gpus, `${where}.causes_gpus`),
    failed_shapes: list(r.failed_shapes, `${where}.failed_shapes`).map((s, i) => {
      const at = `${where}.failed_shapes[${i}]`, o = obj(s, at);
      return { shape: str(o.shape, `${at}.shape`), count: num(o.count, `${at}.count`), gpus: num(o.gpus, `${at}.gpus`), reason: str(o.reason, `${at}.reason`) };
    }),
  };
}

function checkMap(v: unknown, where: string): CardMap {
  const m = obj(v, where);
  return {
    label: str(m.label, `${where}.label`), policy: str(m.policy, `${where}.policy`), seed: maybe(m.seed, `${where}.seed`) ?? 0,
    nodes: list(m.nodes, `${where}.nodes`).map((n, i) => {
      const at = `${where}.nodes[${i}]`, o = obj(n, at);
      return {
        name: str(o.name, `${at}.name`), model: str(o.model, `${at}.model`),
        cpu_free_milli: num(o.cpu_free_milli, `${at}.cpu_free_milli`), cpu_milli: num(o.cpu_milli, `${at}.cpu_milli`),
        cards: list(o.cards, `${at}.cards`).map((c, k) => {
          const cat = `${at}.cards[${k}]`, card = obj(c, cat);
          return {
            free_milli: num(card.free_milli, `${cat}.free_milli`), usable: card.usable === true,
            cause: card.cause == null ? null : str(card.cause, `${cat}.cause`), mem_free_mib: maybe(card.mem_free_mib, `${cat}.mem_free_mib`),
            slices: list(card.slices, `${cat}.slices`).map((s, j) => {
              const sat = `${cat}.slices[${j}]`, slice = obj(s, sat);
              const kind = slice.kind;
              if (kind !== "share" && kind !== "one" && kind !== "multi") fail(`${sat}.kind`, '"share", "one" or "multi"');
              return { pod: str(slice.pod, `${sat}.pod`), milli: num(slice.milli, `${sat}.milli`), mem_mib: maybe(slice.mem_mib, `${sat}.mem_mib`), kind: kind as SliceKind };
            }),
          };
        }),
      };
    }),
  };
}

export function checkReport(value: unknown): Report {
  const r = obj(value, "the report");
  if (r.schema !== "basalt.report/1") fail("schema", `"basalt.report/1" (it is ${JSON.stringify(r.schema) ?? "missing"})`);
  const kind = r.kind;
  if (kind !== "saturation" && kind !== "replay" && kind !== "scenario" && kind !== "platform") fail("kind", '"saturation", "replay", "scenario" or "platform"');
  const cluster = obj(r.cluster, "cluster");
  const maps = list(r.maps, "maps").map((m, i) => checkMap(m, `maps[${i}]`));
  const comparison = r.comparison == null ? null : obj(r.comparison, "comparison");
  return {
    schema: r.schema as string, title: str(r.title, "title"), subtitle: str(r.subtitle, "subtitle"), command: str(r.command, "command"),
    version: str(r.version, "version"), kind: kind as Report["kind"],
    cluster: {
      nodes: num(cluster.nodes, "cluster.nodes"), cards: num(cluster.cards, "cluster.cards"), gpu_milli: num(cluster.gpu_milli, "cluster.gpu_milli"),
      models: list(cluster.models, "cluster.models").map((m, i) => {
        const at = `cluster.models[${i}]`, o = obj(m, at);
        return { model: str(o.model, `${at}.model`), nodes: num(o.nodes, `${at}.nodes`), cards: num(o.cards, `${at}.cards`) };
      }),
    },
    traces: list(r.traces, "traces").map((t, i) => {
      const o = obj(t, `traces[${i}]`);
      return { name: str(o.name, `traces[${i}].name`), pods: num(o.pods, `traces[${i}].pods`) };
    }),
    causes: list(r.causes, "causes").map((c, i) => {
      const o = obj(c, `causes[${i}]`);
      return { key: str(o.key, `causes[${i}].key`), label: str(o.label, `causes[${i}].label`) };
    }),
    runs: list(r.runs, "runs").map((run, i) => checkRun(run, `runs[${i}]`)),
    maps,
    platform: kind === "platform" ? checkPlatform(r.platform, fail) : null,
    comparison: comparison && {
      summary: str(comparison.summary, "comparison.summary"),
      arms: list(comparison.arms, "comparison.arms").map((a, i) => {
        const at = `comparison.arms[${i}]`, o = obj(a, at), map = maybe(o.map, `${at}.map`);
        if (map !== null && !maps[map]) fail(`${at}.map`, "the index of a map");
        return {
          name: str(o.name, `${at}.name`), map,
          kpis: list(o.kpis, `${at}.kpis`).map((k, j) => {
            const kat = `${at}.kpis[${j}]`, kpi = obj(k, kat);
            return { label: str(kpi.label, `${kat}.label`), value: kpi.value == null ? "" : String(kpi.value), unit: str(kpi.unit, `${kat}.unit`) };
          }),
        };
      }),
    },
  };
}

// ---- Statistics over seeds ------------------------------------------------------------------------------------

export interface Stat { mean: number; std: Num; min: number; max: number; n: number }

/** Mean and sample standard deviation (n - 1; none for a single value) of the values that exist. */
export function stat(values: Num[]): Stat | null {
  let n = 0, sum = 0, min = Infinity, max = -Infinity;
  for (const v of values) {
    if (v === null) continue;
    ++n;
    sum += v;
    if (v < min) min = v;
    if (v > max) max = v;
  }
  if (n === 0) return null;
  const mean = sum / n;
  let squares = 0;
  for (const v of values) if (v !== null) squares += (v - mean) ** 2;
  return { mean, std: n > 1 ? Math.sqrt(squares / (n - 1)) : null, min, max, n };
}

/** Value of a sampled curve at x: the sample there, else the straight line between its neighbours, else nothing. */
export function valueAt(run: Run, ys: Num[] | undefined, x: number): Num {
  if (!ys) return null;
  const xs = run.x.values;
  let lo = 0, hi = xs.length - 1;
  if (hi < 0 || x < xs[0]! || x > xs[hi]!) return null;
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1;
    if (xs[mid]! <= x) lo = mid;
    else hi = mid - 1;
  }
  const y0 = ys[lo] ?? null;
  if (xs[lo] === x) return y0;
  const y1 = ys[lo + 1] ?? null;
  if (y0 === null || y1 === null) return null;
  return y0 + ((y1 - y0) * (x - xs[lo]!)) / (xs[lo + 1]! - xs[lo]!);
}

/** The last value that a curve recorded. */
export function lastValue(ys: Num[] | undefined): Num {
  if (!ys) return null;
  for (let i = ys.length - 1; i >= 0; --i) if (ys[i] != null) return ys[i]!;
  return null;
}

/** Mean over time of a step curve: each sample counts for as long as it stood. */
export function timeMean(run: Run, ys: Num[] | undefined): Num {
  if (!ys) return null;
  let area = 0, time = 0;
  for (let i = 0; i + 1 < run.x.values.length; ++i) {
    const y = ys[i] ?? null, dt = run.x.values[i + 1]! - run.x.values[i]!;
    if (y === null) continue;
    area += y * dt;
    time += dt;
  }
  return time > 0 ? area / time : null;
}

export function maxValue(ys: Num[] | undefined): Num {
  return ys ? (stat(ys)?.max ?? null) : null;
}

export interface Curve { mean: Num[]; std: Num[]; min: Num[]; max: Num[] }

/** The runs of one trace by policy, on one x grid. */
export class View {
  readonly policies: string[] = [];
  readonly runs = new Map<string, Run[]>();
  readonly xs: number[];
  readonly xLabel: string;
  /** x is the arrived demand in percent, so that "at 100 %" means something. */
  readonly percent: boolean;
  private readonly exact: boolean;
  private readonly curves = new Map<string, Curve>();

  constructor(readonly report: Report, readonly trace: string, colourOf: (policy: string) => number) {
    const all = report.runs.filter((r) => r.trace === trace);
    for (const run of all) {
      const same = this.runs.get(run.policy);
      if (same) same.push(run);
      else {
        this.runs.set(run.policy, [run]);
        this.policies.push(run.policy);
      }
    }
    this.colourOf = colourOf;
    this.xLabel = all[0]?.x.label ?? "";
    this.percent = report.kind === "saturation";
    const first = all[0]?.x.values ?? [];
    this.exact = all.every((r) => r.x.values.length === first.length && r.x.values.every((x, i) => x === first[i]));
    this.xs = this.exact ? first : View.grid(all);
  }

  readonly colourOf: (policy: string) => number;

  /** Seeds sampled at different x: an even grid over all of them, as fine as the longest, at most 1,000 points. */
  private static grid(runs: Run[]): number[] {
    let lo = Infinity, hi = -Infinity, n = 2;
    for (const { x: { values } } of runs) {
      if (values.length === 0) continue;
      lo = Math.min(lo, values[0]!);
      hi = Math.max(hi, values[values.length - 1]!);
      n = Math.max(n, values.length);
    }
    if (!(hi > lo)) return lo === hi ? [lo] : [];
    n = Math.min(n, 1000);
    return Array.from({ length: n }, (_, i) => lo + ((hi - lo) * i) / (n - 1));
  }

  get seeds(): number {
    return Math.max(0, ...[...this.runs.values()].map((r) => r.length));
  }

  /** Statistics per x. A point needs at least half of the seeds, so that a straggler does not bend the mean. */
  curve(policy: string, table: "series" | "causes_gpus", key: string): Curve {
    const id = `${table}\0${key}\0${policy}`;
    const known = this.curves.get(id);
    if (known) return known;
    const runs = this.runs.get(policy) ?? [];
    const out: Curve = { mean: [], std: [], min: [], max: [] };
    this.xs.forEach((x, i) => {
      const values = runs.map((r) => (this.exact ? (r[table][key]?.[i] ?? null) : valueAt(r, r[table][key], x)));
      const s = stat(values);
      const good = s !== null && s.n * 2 >= runs.length;
      out.mean.push(good ? s.mean : null);
      out.std.push(good ? s.std : null);
      out.min.push(good ? s.min : null);
      out.max.push(good ? s.max : null);
    });
    this.curves.set(id, out);
    return out;
  }

  has(table: "series" | "causes_gpus", key: string): boolean {
    return [...this.runs.values()].some((runs) => runs.some((r) => r[table][key]?.some((y) => y !== null)));
  }

  /** Where figures are read while nobody points anywhere: at 100 % arrived, else the last x that all policies reached. */
  restIndex(): number {
    const last = this.xs.length - 1;
    if (this.percent && this.xs[last]! >= 100) return this.indexOf(100);
    const curves = this.policies.map((p) => this.curve(p, "series", "allocation_pct").mean);
    for (let i = last; i >= 0; --i) if (curves.every((mean) => mean[i] !== null)) return i;
    return last;
  }

  indexOf(x: number): number {
    let best = 0;
    this.xs.forEach((v, i) => {
      if (Math.abs(v - x) < Math.abs(this.xs[best]! - x)) best = i;
    });
    return best;
  }
}

/** Total of a card's memory, known when its free part and all its slices say theirs. */
export function memTotal(card: Card): Num {
  if (card.mem_free_mib === null || card.slices.some((s) => s.mem_mib === null)) return null;
  return card.slices.reduce((sum, s) => sum + s.mem_mib!, card.mem_free_mib);
}
