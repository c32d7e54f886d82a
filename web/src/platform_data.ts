// The data of a platform scenario's report (docs/report.md), checked as it is read.

export type Num = number | null;
export interface Figure { key: string; label: string; unit: string; group: string; digits: number; better: number; values: Num[] }
export interface Usage { name: string; allocated_gpu_hours: Num; served_gpu_hours: Num; lost_gpu_hours: Num; charged: Num }
export interface Spread { mean: Num; p50: Num; p99: Num }
export interface WorkloadRow {
  name: string; tenant: string; class: string; submitted: Num; completed: Num; allocated_gpu_hours: Num; served_gpu_hours: Num; lost_gpu_hours: Num;
  wait_seconds: Spread; slowdown: Spread; slow_share_pct: Num; overload_minutes: Num; evictions: Num; commits: Num;
}
export interface ClusterRow {
  name: string; region: string; private: boolean; cards: Num; capacity_gpu_hours: Num; allocated_gpu_hours: Num; served_gpu_hours: Num; cost_per_month: Num;
  overflowed_in: Num;
}
const SERIES = ["capacity_cards", "allocated_cards", "served_cards", "touched_cards", "waiting_units", "cost_per_hour", "passthrough_cards"] as const;
export type Series = Record<(typeof SERIES)[number], Num[]> & { hours: number[] };
export interface PlatformArm {
  name: string; about: string; swept: boolean; set: { path: string; value: string }[]; series: Series;
  workloads: WorkloadRow[]; clusters: ClusterRow[]; tenants: Usage[]; skus: Usage[]; models: Usage[];
}
export interface Claim { text: string; source: string; metric: string; holds: string; unit: string; value: Num; verdict: string }
export interface Platform {
  document: string; currency: string; baseline: number; figures: Figure[]; arms: PlatformArm[]; claims: Claim[];
  assumptions: { name: string; value: string; range: string; source: string }[];
}

type Obj = Record<string, unknown>;
/** Throws what the caller throws for bad data. */
export type Fail = (where: string, wanted: string) => never;

export function checkPlatform(value: unknown, fail: Fail): Platform {
  const obj = (v: unknown, where: string): Obj => (typeof v === "object" && v !== null && !Array.isArray(v) ? (v as Obj) : fail(where, "an object"));
  const list = (v: unknown, where: string): unknown[] => (v == null ? [] : Array.isArray(v) ? v : fail(where, "a list"));
  const str = (v: unknown, where: string): string => (v == null ? "" : typeof v === "string" ? v : fail(where, "a string"));
  const num = (v: unknown, where: string): Num => (v == null ? null : typeof v === "number" && Number.isFinite(v) ? v : fail(where, "a number"));
  const nums = (v: unknown, where: string): Num[] => list(v, where).map((y, i) => num(y, `${where}[${i}]`));
  const each = <T>(v: unknown, where: string, read: (o: Obj, at: string) => T): T[] => list(v, where).map((item, i) => read(obj(item, `${where}[${i}]`), `${where}[${i}]`));
  const texts = <K extends string>(o: Obj, at: string, ...keys: K[]): Record<K, string> => Object.fromEntries(keys.map((k) => [k, str(o[k], `${at}.${k}`)])) as Record<K, string>;
  const numbers = <K extends string>(o: Obj, at: string, ...keys: K[]): Record<K, Num> => Object.fromEntries(keys.map((k) => [k, num(o[k], `${at}.${k}`)])) as Record<K, Num>;
  const spread = (v: unknown, at: string): Spread => numbers(obj(v, at), at, "mean", "p50", "p99");
  const usage = (o: Obj, at: string): Usage => ({ ...texts(o, at, "name"), ...numbers(o, at, "allocated_gpu_hours", "served_gpu_hours", "lost_gpu_hours", "charged") });

  const p = obj(value, "platform");
  const arms = each(p.arms, "platform.arms", (a, at): PlatformArm => {
    const s = obj(a.series, `${at}.series`);
    const hours = nums(s.hours, `${at}.series.hours`).map((x, i) => (x === null || (i > 0 && x < 0) ? fail(`${at}.series.hours`, "numbers") : x));
    const series = { hours, ...Object.fromEntries(SERIES.map((k) => [k, nums(s[k], `${at}.series.${k}`)])) } as Series;
    for (const k of SERIES) if (series[k].length !== hours.length) fail(`${at}.series.${k}`, `as long as hours (${hours.length})`);
    return {
      ...texts(a, at, "name", "about"), swept: a.swept === true, series,
      set: each(a.set, `${at}.set`, (o, w) => texts(o, w, "path", "value")),
      workloads: each(a.workloads, `${at}.workloads`, (o, w) => ({
        ...texts(o, w, "name", "tenant", "class"),
        ...numbers(o, w, "submitted", "completed", "allocated_gpu_hours", "served_gpu_hours", "lost_gpu_hours", "slow_share_pct", "overload_minutes", "evictions", "commits"),
        wait_seconds: spread(o.wait_seconds, `${w}.wait_seconds`), slowdown: spread(o.slowdown, `${w}.slowdown`),
      })),
      clusters: each(a.clusters, `${at}.clusters`, (o, w) => ({
        ...texts(o, w, "name", "region"), private: o.private === true,
        ...numbers(o, w, "cards", "capacity_gpu_hours", "allocated_gpu_hours", "served_gpu_hours", "cost_per_month", "overflowed_in"),
      })),
      tenants: each(a.tenants, `${at}.tenants`, usage), skus: each(a.skus, `${at}.skus`, usage), models: each(a.models, `${at}.models`, usage),
    };
  });
  if (arms.length === 0) fail("platform.arms", "a list with something in it");
  const baseline = num(p.baseline, "platform.baseline") ?? 0;
  if (!arms[baseline]) fail("platform.baseline", "the index of an arm");
  return {
    ...texts(p, "platform", "document", "currency"), baseline, arms,
    figures: each(p.figures, "platform.figures", (f, at) => {
      const values = nums(f.values, `${at}.values`);
      if (values.length !== arms.length) fail(`${at}.values`, "one value for each arm");
      return { ...texts(f, at, "key", "label", "unit", "group"), digits: num(f.digits, `${at}.digits`) ?? 1, better: num(f.better, `${at}.better`) ?? 0, values };
    }),
    claims: each(p.claims, "platform.claims", (c, at) => ({ ...texts(c, at, "text", "source", "metric", "holds", "unit", "verdict"), value: num(c.value, `${at}.value`) })),
    assumptions: each(p.assumptions, "platform.assumptions", (a, at) => texts(a, at, "name", "value", "range", "source")),
  };
}
