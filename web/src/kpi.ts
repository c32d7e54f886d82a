// The KPI strip: one column per policy, one row per figure, mean over seeds, compared with a baseline by pairs of
// runs with the same seed (same arrivals), which is far sharper than comparing two means.

import { lastValue, maxValue, stat, timeMean, valueAt, type Num, type Run, type Stat, type View } from "./data";
import { chip, delta, fixed, format, h, NA, panel, plural, select, spread, type Unit } from "./dom";
import { causeVar, policyVar } from "./theme";

interface Kpi {
  label: string;
  help?: string;
  unit: Unit;
  better: "max" | "min" | null;
  of: (run: Run) => Num;
  hero?: boolean;
  /** A percentage of the cluster, which can also be said in GPUs. */
  gpus?: boolean;
  cause?: string;
  /** The heading names the unit already. */
  bare?: boolean;
}
type Row = Kpi | { group: string };

function rowsOf(view: View): Row[] {
  const { report } = view;
  const s = (key: string, read: (run: Run, ys: Num[] | undefined) => Num) => (run: Run): Num => read(run, run.series[key]);
  const end = (_: Run, ys: Num[] | undefined): Num => lastValue(ys);
  const full = (run: Run, ys: Num[] | undefined): Num => valueAt(run, ys, 100);
  const rows: Row[] = [];
  const stranded = "Share of the whole cluster that is idle, but of no use to the typical request mix";
  if (view.percent) {
    rows.push(
      { label: "Allocated at the end", unit: "pct", better: "max", of: s("allocation_pct", end), hero: true, gpus: true },
      { label: "Allocated at 100\u2009% arrived", unit: "pct", better: "max", of: s("allocation_pct", full), gpus: true, help: "When as much GPU was asked for as the cluster has" },
      { group: "Fragmentation, % of the cluster" },
      { label: "At 100\u2009% arrived", unit: "pct", better: "min", of: s("fragmentation_pct", full), help: stranded },
      { label: "At the end", unit: "pct", better: "min", of: s("fragmentation_pct", end), help: stranded },
    );
  } else {
    rows.push(
      { label: "Allocated, mean over time", unit: "pct", better: "max", of: s("allocation_pct", timeMean), hero: true, gpus: true },
      { label: "Allocated, highest", unit: "pct", better: "max", of: s("allocation_pct", (_, ys) => maxValue(ys)) },
      { group: "Fragmentation, % of the cluster" },
      { label: "Mean over time", unit: "pct", better: "min", of: s("fragmentation_pct", timeMean), help: stranded },
      { label: "At the end", unit: "pct", better: "min", of: s("fragmentation_pct", end), help: stranded },
    );
    if (view.has("series", "queued")) {
      rows.push({ group: "Queue" },
        { label: "Waiting, mean over time", unit: "count", better: "min", of: s("queued", timeMean) },
        { label: "Waiting, most at once", unit: "count", better: "min", of: s("queued", (_, ys) => maxValue(ys)) });
    }
  }
  const causes = report.causes.filter((c) => view.has("causes_gpus", c.key));
  if (causes.length > 0) {
    rows.push({ group: "Stranded GPUs at the end, by cause" });
    for (const cause of causes) {
      rows.push({ label: cause.label, unit: "gpus", better: null, of: (run) => lastValue(run.causes_gpus[cause.key]), cause: cause.key, bare: true });
    }
    rows.push({
      label: "All causes", unit: "gpus", better: "min", bare: true,
      of: (run) => {
        const parts = causes.map((c) => lastValue(run.causes_gpus[c.key])).filter((v): v is number => v !== null);
        return parts.length > 0 ? parts.reduce((a, b) => a + b, 0) : null;
      },
    });
  }
  rows.push({ group: "Left whole at the end" },
    { label: "Idle cards", unit: "count", better: null, of: s("idle_cards", end), help: "Cards with nothing on them" },
    { label: "Idle nodes", unit: "count", better: null, of: s("idle_nodes", end), help: "Nodes with nothing on any card" },
    { group: "Requests" },
    { label: "Failed requests", unit: "count", better: "min", of: (run) => run.failed },
    { label: "Failed, % of arrivals", unit: "pct", better: "min", of: (run) => (run.arrivals > 0 ? (run.failed / run.arrivals) * 100 : null) },
    { label: "CPU time a run", unit: "seconds", better: null, of: (run) => run.cpu_seconds, help: "Processor time of the simulation, not a property of the placement" });
  return rows;
}

interface Paired { stat: Stat; wins: number; losses: number }

function pair(runs: Run[], base: Run[], kpi: Kpi): Paired | null {
  const bySeed = new Map(base.map((r) => [r.seed, kpi.of(r)]));
  const diffs: number[] = [];
  for (const run of runs) {
    const a = kpi.of(run), b = bySeed.get(run.seed);
    if (a !== null && b !== null && b !== undefined) diffs.push(a - b);
  }
  const s = stat(diffs);
  if (!s) return null;
  const good = kpi.better === "min" ? -1 : 1;
  return { stat: s, wins: diffs.filter((d) => d * good > 0).length, losses: diffs.filter((d) => d * good < 0).length };
}

const asGpus = (pct: number, view: View): number => (pct / 100) * (view.report.cluster.gpu_milli / 1000);

/** The one sentence that a reader should take away. */
function headline(view: View, base: string, hero: Kpi): HTMLElement | null {
  const means = view.policies.map((p) => ({ p, s: stat((view.runs.get(p) ?? []).map(hero.of)) })).filter((m): m is { p: string; s: Stat } => m.s !== null);
  if (means.length < 2) return null;
  const best = means.reduce((a, b) => (b.s.mean > a.s.mean ? b : a));
  const when = view.percent ? "at the end" : "on average over time";
  const strong = (text: string): HTMLElement => h("strong", {}, text);
  if (best.p === base) {
    return h("p", { class: "headline" }, strong(base), ` allocates the most ${when}: `, strong(format(best.s.mean, "pct")), " of the GPUs. Every other policy is behind it.");
  }
  const p = pair(view.runs.get(best.p) ?? [], view.runs.get(base) ?? [], hero);
  if (!p) return null;
  const sure = p.stat.n > 1 ? `, ahead in ${p.wins} of ${p.stat.n} seeds` : "";
  return h("p", { class: "headline" }, strong(best.p), ` allocates the most ${when}: `, strong(format(best.s.mean, "pct")), " of the GPUs, ",
    strong(`${fixed(asGpus(p.stat.mean, view), 0)} GPUs`), ` (${delta(p.stat.mean, "pct")}) more than `, strong(base), `${sure}.`);
}

export function kpiPanel(view: View): HTMLElement {
  const rows = rowsOf(view);
  let base = 0;
  const holder = h("div");

  function draw(): void {
    const baseName = view.policies[base]!;
    const heads = view.policies.map((p, i) => {
      const runs = view.runs.get(p)!;
      return h("th", { scope: "col", class: "num policy" }, h("span", { class: "name", title: p }, chip(`var(--${policyVar(view.colourOf(p))})`), h("span", {}, p)),
        h("span", { class: "sub" }, i === base && view.policies.length > 1 ? "baseline" : plural(runs.length, "seed")));
    });
    const bodies: HTMLElement[] = [];
    for (const row of rows) {
      if ("group" in row) {
        bodies.push(h("tr", { class: "group" }, h("th", { colspan: view.policies.length + 1, scope: "rowgroup" }, h("span", {}, row.group))));
        continue;
      }
      const stats = view.policies.map((p) => stat(view.runs.get(p)!.map(row.of)));
      const shown = stats.map((s) => (s ? format(s.mean, row.unit, s.n === 1, row.bare) : NA));
      let best: string | null = null;
      if (row.better && view.policies.length > 1) {
        const ranked = stats.map((s, i) => ({ s, i })).filter((e): e is { s: Stat; i: number } => e.s !== null)
          .sort((a, b) => (row.better === "max" ? b.s.mean - a.s.mean : a.s.mean - b.s.mean));
        // Equal as printed is equal: a highlight must not rest on digits that nobody sees.
        const top = ranked[0];
        if (top && ranked.some((e) => shown[e.i] !== shown[top.i])) best = shown[top.i]!;
      }
      const cells = view.policies.map((p, i) => {
        const s = stats[i] ?? null, isBest = best !== null && shown[i] === best;
        const d = i === base ? null : pair(view.runs.get(p)!, view.runs.get(baseName)!, row);
        const sense = d && row.better ? (d.stat.mean === 0 ? "" : d.stat.mean > 0 === (row.better === "max") ? "good" : "bad") : "";
        const hint = d ? `${delta(d.stat.mean, row.unit)} against ${baseName}` +
          (d.stat.std !== null ? ` ${spread(d.stat, row.unit)} over ${d.stat.n} pairs of equal seeds` : "") +
          (row.better && d.stat.n > 1 ? `; better in ${d.wins}, worse in ${d.losses}` : "") : "";
        const range = s && s.n > 1 ? `from ${format(s.min, row.unit)} to ${format(s.max, row.unit)} over ${s.n} seeds. ` : "";
        return h("td", { class: `num${isBest ? " best" : ""}`, title: range + hint || null },
          h("span", { class: "value" }, isBest ? h("span", { class: "mark", role: "img", "aria-label": "best" }, "\u25cf") : null, shown[i]!,
            spread(s, row.unit) ? h("span", { class: "spread" }, spread(s, row.unit)) : null),
          row.gpus && s ? h("span", { class: "also" }, `${fixed(asGpus(s.mean, view), 0)} GPUs`) : null,
          d && s ? h("span", { class: `delta ${sense}` }, delta(d.stat.mean, row.unit), row.hero && d.stat.mean !== 0 ? ` \u00b7 ${delta(Math.round(asGpus(d.stat.mean, view)), "gpus").replace(/\.\d+$/, "")} GPUs` : "") : null);
      });
      bodies.push(h("tr", { class: row.hero ? "hero" : "" },
        h("th", { scope: "row", title: row.help }, row.cause ? chip(`var(--${causeVar(row.cause)})`, `hatch ${row.cause}`) : null, row.label), ...cells));
    }
    const hero = rows.find((r): r is Kpi => "hero" in r && r.hero === true);
    const table = h("table", { class: view.policies.length < 4 ? "kpi few" : "kpi" }, h("caption", { class: "sr" }, "Key figures per policy"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, view.seeds > 1 ? "Mean \u00b1 std over seeds" : "One seed"), ...heads)), h("tbody", {}, ...bodies));
    const parts = [hero ? headline(view, baseName, hero) : null, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Key figures" }, table)];
    holder.replaceChildren(...parts.filter((p): p is HTMLElement => p !== null));
  }
  draw();
  const picker = view.policies.length > 1
    ? h("div", { class: "controls" }, select("Compare with", view.policies, base, (i) => {
      base = i;
      draw();
    }), h("span", { class: "note" }, "\u25cf best \u00b7 differences are between runs of the same seed"))
    : null;
  const section = panel("Key figures", "", picker, holder);
  section.id = "kpi";
  return section;
}
