// Which requests found no place, and the runs behind all figures: two sortable tables.

import { stat, type View } from "./data";
import { fixed, format, h, NA, panel, plural, sortable, type Cell } from "./dom";
import { policyVar } from "./theme";

export function failedPanel(view: View): HTMLElement | null {
  const { policies } = view;
  if (![...view.runs.values()].some((runs) => runs.some((r) => r.failed > 0 || r.failed_shapes.length > 0))) return null;
  interface Entry { counts: number[]; gpus: number; reasons: Map<string, number> }
  const shapes = new Map<string, Entry>();
  policies.forEach((p, i) => {
    const runs = view.runs.get(p)!;
    for (const run of runs) {
      for (const f of run.failed_shapes) {
        let e = shapes.get(f.shape);
        if (!e) shapes.set(f.shape, (e = { counts: policies.map(() => 0), gpus: 0, reasons: new Map() }));
        e.counts[i]! += f.count / runs.length;
        if (f.count > 0) e.gpus = f.gpus / f.count;
        e.reasons.set(f.reason, (e.reasons.get(f.reason) ?? 0) + f.count);
      }
    }
  });
  // No list of shapes is not the same as no failure: a policy that recorded none shows n/a, not 0.
  const recorded = policies.map((p) => view.runs.get(p)!.some((r) => r.failed_shapes.length > 0) || view.runs.get(p)!.every((r) => r.failed === 0));
  const top = Math.max(1, ...[...shapes.values()].flatMap((e) => e.counts));
  const rows = [...shapes].map(([shape, e]): Cell[] => {
    const reasons = [...e.reasons].sort((a, b) => b[1] - a[1]);
    return [
      { text: shape }, { text: format(e.gpus, "gpus").replace("\u2009GPUs", ""), sort: e.gpus },
      { text: (reasons[0]?.[0] || NA) + (reasons.length > 1 ? ` (+${reasons.length - 1})` : ""), title: reasons.map(([r, n]) => `${r}: ${fixed(n, 0)}`).join("\n") },
      ...e.counts.map((c, i) => (recorded[i] ? { text: format(c, "count", view.seeds === 1), sort: c, heat: c / top } : { text: NA, sort: null })),
    ];
  });
  const columns = [{ label: "Request" }, { label: "GPUs each", numeric: true }, { label: "Main reason" },
    ...policies.map((p) => ({ label: p, numeric: true, colour: `var(--${policyVar(view.colourOf(p))})` }))];
  const section = panel("Failed requests by shape", view.seeds > 1 ? `Count per run, mean over ${plural(view.seeds, "seed")}.` : "",
    rows.length > 0 ? sortable("Failed requests by shape", columns, rows, { column: 3, down: true }, 15) : h("p", { class: "note" }, "The runs record failures, but not their shapes."));
  section.id = "failed";
  return section;
}

export function runsPanel(view: View): HTMLElement {
  const rows = policyRows(view);
  const details = h("details", {}, h("summary", {}, rows.length === 1 ? "The run and its digest" : `All ${plural(rows.length, "run")} with their digests`));
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(sortable("Runs", [{ label: "Policy" }, ...["Seed", "Arrivals", "Placed", "Failed", "Allocated at the end", "CPU time"].map((label) => ({ label, numeric: true })), { label: "Digest" }],
      rows, { column: 0, down: false }));
  });
  return h("section", { class: "panel", id: "runs", "aria-label": "Runs" }, h("h2", {}, "Runs"),
    h("p", { class: "lead" }, "Equal digests are equal decisions, request by request."), details);
}

function policyRows(view: View): Cell[][] {
  return view.policies.flatMap((p) => view.runs.get(p)!.map((r): Cell[] => {
    const end = stat([r.series.allocation_pct?.at(-1) ?? null])?.mean ?? null;
    return [
      { text: p }, { text: String(r.seed), sort: r.seed }, { text: fixed(r.arrivals, 0), sort: r.arrivals }, { text: fixed(r.placed, 0), sort: r.placed },
      { text: fixed(r.failed, 0), sort: r.failed }, { text: format(end, "pct"), sort: end }, { text: format(r.cpu_seconds, "seconds"), sort: r.cpu_seconds },
      { text: r.digest || NA, node: h("code", { title: r.digest }, r.digest || NA) },
    ];
  }));
}
