// The card map: one cell per card, its slices in proportion, its free part by whether anyone can use it.
// Canvas, one per GPU model, because thousands of cards are cheap there and expensive as elements.

import { lastValue, memTotal, stat, type Card, type CardMap, type Cause, type Node, type Num, type Report, type Slice } from "./data";
import { choice, chip, fixed, format, gib, h, NA, panel, plural, select, sortable, type Cell } from "./dom";
import { causeVar, colour, onTheme } from "./theme";

export type Measure = "compute" | "memory";
type Order = "cluster" | "stranded" | "free";

/** What is on show, for the test and for scripts: a view counts what it has really drawn. */
export interface Shown { map: number; cells: number; slices: number; find: (pod: string) => { x: number; y: number } | null }
export const shown = new Set<Shown>();

export const KIND_LABELS: Record<Slice["kind"], string> = { share: "Part of a card", one: "One whole card", multi: "Several whole cards" };

/** Fractions of a card, bottom up; memory needs every amount to be known, else compute is the measure. */
export function portions(card: Card, measure: Measure): number[] {
  const total = measure === "memory" ? memTotal(card) : null;
  if (total !== null && total > 0) return card.slices.map((s) => s.mem_mib! / total);
  const used = card.slices.reduce((sum, s) => sum + s.milli, 0);
  const whole = Math.max(1, used + Math.max(0, card.free_milli));
  return card.slices.map((s) => s.milli / whole);
}

/** Free GPU that nobody can use, in milli. */
export const strandedMilli = (card: Card): number => (card.usable ? 0 : Math.max(0, card.free_milli));
const sum = (node: Node, f: (card: Card) => number): number => node.cards.reduce((total, card) => total + f(card), 0);
const hasMemory = (map: CardMap): boolean => map.nodes.some((n) => n.cards.some((c) => c.slices.some((s) => s.mem_mib !== null)));
/** Slices that ask for memory only would have no width in compute. */
const memoryOnly = (map: CardMap): boolean => map.nodes.some((n) => n.cards.some((c) => c.slices.some((s) => s.milli === 0 && (s.mem_mib ?? 0) > 0)));
export const defaultMeasure = (maps: CardMap[]): Measure => (maps.some(memoryOnly) ? "memory" : "compute");

// ---- Tooltip --------------------------------------------------------------------------------------------------

const tip = h("div", { class: "tip", role: "status", hidden: true });

export function hideTip(): void {
  tip.hidden = true;
}

export function causeLabel(causes: Cause[], key: string | null): string {
  return key === null ? "cause not recorded" : (causes.find((c) => c.key === key)?.label ?? key);
}

export function describe(node: Node, index: number, causes: Cause[]): string {
  const card = node.cards[index]!;
  const state = card.free_milli <= 0 ? "no free share" : card.usable ? "free part usable" : `free part stranded: ${causeLabel(causes, card.cause)}`;
  return `${node.name}, ${node.model}, card ${index} of ${node.cards.length}: ${card.free_milli} milli free, ${state}. ` +
    (card.slices.length > 0 ? card.slices.map((s) => `${s.pod} ${s.milli} milli`).join(", ") : "nothing on it");
}

export function showTip(at: { x: number; y: number }, node: Node, index: number, slice: number | null, causes: Cause[]): void {
  const card = node.cards[index]!, total = memTotal(card);
  const most = 12;
  // With many slices keep the pointed one in the list.
  const from = slice === null || card.slices.length <= most ? 0 : Math.max(0, Math.min(slice - 5, card.slices.length - most));
  const rows = card.slices.slice(from, from + most).map((s, i) => h("tr", { class: from + i === slice ? "on" : "" },
    h("td", {}, chip(`var(--kind-${s.kind})`), s.pod), h("td", { class: "num" }, `${fixed(s.milli, 0)}m`), h("td", { class: "num" }, s.mem_mib === null ? "" : gib(s.mem_mib))));
  const rest = card.slices.length - rows.length;
  const stranded = strandedMilli(card) > 0;
  tip.replaceChildren(
    h("div", { class: "tip-head" }, h("strong", {}, node.name), h("span", {}, `${node.model || "unknown model"} \u00b7 card ${index} of ${node.cards.length}`)),
    h("table", {}, ...rows, rest > 0 ? h("tr", {}, h("td", { colspan: 3 }, `and ${rest} more`)) : null,
      h("tr", { class: "free" }, h("td", {}, chip(stranded ? `var(--${causeVar(card.cause ?? "")})` : "var(--free)", stranded ? `hatch ${card.cause ?? ""}` : "edge"), "free"),
        h("td", { class: "num" }, `${fixed(card.free_milli, 0)}m`), h("td", { class: "num" }, card.mem_free_mib === null ? "" : gib(card.mem_free_mib)))),
    h("p", { class: stranded ? "why" : "" }, card.free_milli <= 0 ? "No free share" : stranded ? `Stranded: ${causeLabel(causes, card.cause)}` : card.slices.length === 0 ? "Whole card idle and usable" : "Free part usable"),
    h("p", { class: "dim" }, `CPU free ${fixed(node.cpu_free_milli / 1000, 1)} of ${fixed(node.cpu_milli / 1000, 0)} cores${total !== null ? ` \u00b7 card memory ${gib(total)}` : ""}`));
  if (!tip.isConnected) document.body.append(tip);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect(), edge = 8, room = document.documentElement;
  const x = at.x + 16 + width + edge > room.clientWidth ? at.x - width - 14 : at.x + 16;
  const y = at.y + 14 + height + edge > room.clientHeight ? at.y - height - 12 : at.y + 14;
  tip.style.left = `${Math.max(edge, Math.min(x, room.clientWidth - width - edge))}px`;
  tip.style.top = `${Math.max(edge, y)}px`;
}
addEventListener("scroll", hideTip, { passive: true });

// ---- One map --------------------------------------------------------------------------------------------------

interface Box { x: number; y: number; node: Node; card: number }
interface Group { model: string; nodes: Node[]; canvas: HTMLCanvasElement; wrap: HTMLElement; ring: HTMLElement; boxes: Box[] }
export interface Look { cell: number; order: Order; measure: Measure }

export class MapView {
  readonly element = h("div", { class: "map-body", tabindex: "0", role: "application", "aria-roledescription": "card map" });
  private readonly live = h("p", { class: "sr", "aria-live": "polite" });
  private readonly state: Shown;
  private groups: Group[] = [];
  private width = 0;
  private current: { group: Group; box: Box } | null = null;
  private readonly observer: ResizeObserver;

  constructor(private readonly report: Report, private readonly index: number, private look: Look, private readonly pointed: (node: string | null, card: number) => void) {
    const map = this.map;
    this.state = { map: index, cells: 0, slices: 0, find: (pod) => this.find(pod) };
    shown.add(this.state);
    this.element.setAttribute("aria-label", `${map.label}: ${plural(map.nodes.length, "node")}. Arrow keys move from card to card; the same data is in the table below.`);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("blur", () => this.leave());
    this.observer = new ResizeObserver(() => {
      if (this.element.clientWidth > 0 && this.element.clientWidth !== this.width) this.draw();
    });
    this.observer.observe(this.element);
    this.arrange();
  }

  get map(): CardMap {
    return this.report.maps[this.index]!;
  }

  destroy(): void {
    this.observer.disconnect();
    shown.delete(this.state);
  }

  setLook(look: Look): void {
    const reorder = look.order !== this.look.order;
    this.look = look;
    if (reorder) this.arrange();
    this.draw();
  }

  /** Nodes by model, the model with most cards first. */
  private arrange(): void {
    const byModel = new Map<string, Node[]>();
    for (const node of this.map.nodes) {
      const same = byModel.get(node.model);
      if (same) same.push(node);
      else byModel.set(node.model, [node]);
    }
    const cards = (nodes: Node[]): number => nodes.reduce((n, node) => n + node.cards.length, 0);
    const weight = { cluster: () => 0, stranded: (n: Node) => sum(n, strandedMilli), free: (n: Node) => sum(n, (c) => c.free_milli) }[this.look.order];
    this.groups = [...byModel].sort((a, b) => cards(b[1]) - cards(a[1])).map(([model, nodes]) => {
      const canvas = h("canvas"), ring = h("div", { class: "ring", hidden: true }), wrap = h("div", { class: "map-canvas" }, canvas, ring);
      const sorted = this.look.order === "cluster" ? nodes : [...nodes].sort((a, b) => weight(b) - weight(a));
      const group: Group = { model, nodes: sorted, canvas, wrap, ring, boxes: [] };
      canvas.addEventListener("pointermove", (event) => this.point(group, event));
      canvas.addEventListener("pointerdown", (event) => this.point(group, event));
      canvas.addEventListener("pointerleave", () => this.leave());
      return group;
    });
    this.element.replaceChildren(this.live, ...this.groups.map((g) => {
      const all = cards(g.nodes), free = g.nodes.reduce((n, node) => n + sum(node, (c) => Math.max(0, c.free_milli)), 0), lost = g.nodes.reduce((n, node) => n + sum(node, strandedMilli), 0);
      // Nodes without cards belong to the cluster, but there is nothing to draw of them here.
      if (all === 0) return h("div", { class: "map-group" }, h("h4", {}, h("strong", {}, "Without cards"), ` ${plural(g.nodes.length, "node")}`));
      return h("div", { class: "map-group" }, h("h4", {}, h("strong", {}, g.model || "unknown model"),
        ` ${plural(g.nodes.length, "node")}, ${plural(all, "card")} \u00b7 ${all > 0 ? format((1 - free / (all * 1000)) * 100, "pct") : NA} allocated \u00b7 ${format(lost / 1000, "gpus")} stranded`), g.wrap);
    }));
    this.current = null;
  }

  draw(): void {
    this.width = this.element.clientWidth;
    if (this.width === 0) return;
    const { cell } = this.look, height = Math.round(cell * 1.7), gap = cell >= 12 ? 2 : 1, pad = 2, bar = 2;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const hatch = hatchPattern(ratio);
    this.state.cells = this.state.slices = 0;
    for (const group of this.groups) {
      if (!group.canvas.isConnected) continue; // nodes without cards
      // Nodes flow like words; a node never breaks unless it is wider than the line.
      group.boxes = [];
      const frames: { x: number; y: number; w: number; node: Node }[] = [];
      const perLine = Math.max(1, Math.floor((this.width - 2 * pad + gap) / (cell + gap)));
      const line = height + 2 * pad + bar + 1;
      let x = 0, y = 0;
      for (const node of group.nodes) {
        const cols = Math.min(node.cards.length, perLine), w = cols * (cell + gap) - gap + 2 * pad;
        if (x > 0 && x + w > this.width) {
          x = 0;
          y += line + 3;
        }
        const lines = Math.max(1, Math.ceil(node.cards.length / perLine));
        frames.push({ x, y, w, node });
        node.cards.forEach((_, i) => group.boxes.push({ x: x + pad + (i % perLine) * (cell + gap), y: y + pad + Math.floor(i / perLine) * (height + gap), node, card: i }));
        if (lines > 1) {
          y += (lines - 1) * (height + gap);
        }
        x += w + 4;
      }
      const total = y + line;
      const { canvas } = group;
      // Beyond about 16,000 device pixels browsers refuse a canvas; a coarser one is better than a blank one.
      const scale = Math.min(ratio, 16000 / Math.max(1, total));
      canvas.width = Math.round(this.width * scale);
      canvas.height = Math.max(1, Math.round(total * scale));
      canvas.style.width = `${this.width}px`;
      canvas.style.height = `${total}px`;
      const ctx = canvas.getContext("2d");
      if (!ctx) continue;
      ctx.scale(scale, scale);
      for (const f of frames) {
        ctx.fillStyle = colour("node");
        ctx.fillRect(f.x, f.y, f.w, line);
        if (f.node.cpu_milli > 0) {
          const used = Math.min(1, Math.max(0, 1 - f.node.cpu_free_milli / f.node.cpu_milli));
          ctx.fillStyle = colour("cpu");
          ctx.fillRect(f.x + pad, f.y + line - bar - 1, (f.w - 2 * pad) * used, bar);
        }
      }
      for (const box of group.boxes) {
        const card = box.node.cards[box.card]!;
        const lost = strandedMilli(card) > 0;
        ctx.fillStyle = lost ? colour(causeVar(card.cause ?? "")) : colour("free");
        ctx.fillRect(box.x, box.y, cell, height);
        if (lost && hatch) {
          ctx.save();
          ctx.translate(box.x, box.y);
          ctx.scale(1 / ratio, 1 / ratio);
          ctx.fillStyle = hatch;
          ctx.fillRect(0, 0, cell * ratio, height * ratio);
          ctx.restore();
        }
        let bottom = box.y + height;
        const parts = portions(card, this.look.measure);
        card.slices.forEach((s, i) => {
          const size = parts[i]! * height;
          ctx.fillStyle = colour(`kind-${s.kind}`);
          ctx.fillRect(box.x, bottom - size, cell, size);
          bottom -= size;
          if (size > 2.5 && bottom > box.y + 0.5) {
            ctx.fillStyle = colour("node");
            ctx.fillRect(box.x, bottom, cell, cell >= 12 ? 1 : 0.5);
          }
          ++this.state.slices;
        });
        ++this.state.cells;
      }
      group.ring.hidden = true;
    }
    this.current = null;
  }

  private get cellHeight(): number {
    return Math.round(this.look.cell * 1.7);
  }

  private sliceAt(box: Box, y: number): number | null {
    const up = (box.y + this.cellHeight - y) / this.cellHeight, parts = portions(box.node.cards[box.card]!, this.look.measure);
    let edge = 0;
    for (let i = 0; i < parts.length; ++i) {
      edge += parts[i]!;
      if (up <= edge) return i;
    }
    return null;
  }

  private point(group: Group, event: PointerEvent): void {
    const rect = group.canvas.getBoundingClientRect(), x = event.clientX - rect.left, y = event.clientY - rect.top;
    const { cell } = this.look;
    const box = group.boxes.find((b) => x >= b.x - 1 && x < b.x + cell + 1 && y >= b.y - 1 && y < b.y + this.cellHeight + 1);
    if (!box) return this.leave();
    this.ring(group, box);
    showTip({ x: event.clientX, y: event.clientY }, box.node, box.card, this.sliceAt(box, y), this.report.causes);
    this.pointed(box.node.name, box.card);
  }

  private leave(): void {
    hideTip();
    for (const group of this.groups) group.ring.hidden = true;
    this.pointed(null, 0);
  }

  private ring(group: Group, box: Box): void {
    for (const other of this.groups) other.ring.hidden = other !== group;
    group.ring.style.transform = `translate(${box.x - 2}px, ${box.y - 2}px)`;
    group.ring.style.width = `${this.look.cell + 4}px`;
    group.ring.style.height = `${this.cellHeight + 4}px`;
    this.current = { group, box };
  }

  /** Marks the same card as in the map beside this one. */
  mark(node: string | null, card: number): void {
    for (const group of this.groups) {
      const box = node === null ? undefined : group.boxes.find((b) => b.card === card && b.node.name === node);
      if (box) return this.ring(group, box);
      group.ring.hidden = true;
    }
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Escape") return this.leave();
    const all = this.groups.flatMap((group) => group.boxes.map((box) => ({ group, box, top: group.wrap.offsetTop + box.y })));
    const at = all.findIndex((e) => e.box === this.current?.box);
    let next = -1;
    if (event.key === "Home" || (at < 0 && event.key.startsWith("Arrow"))) next = 0;
    else if (event.key === "End") next = all.length - 1;
    else if (event.key === "ArrowRight") next = at + 1;
    else if (event.key === "ArrowLeft") next = at - 1;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const here = all[at]!, way = event.key === "ArrowDown" ? 1 : -1;
      let best = Infinity;
      all.forEach((e, i) => {
        const dy = (e.top - here.top) * way;
        if (dy <= 0) return;
        const cost = dy * 10000 + Math.abs(e.box.x - here.box.x);
        if (cost < best) {
          best = cost;
          next = i;
        }
      });
    } else return;
    event.preventDefault();
    const target = all[next];
    if (!target) return;
    const rect = target.group.canvas.getBoundingClientRect();
    const y = rect.top + target.box.y;
    if (y < 60 || y > innerHeight - 160) scrollBy(0, y - innerHeight / 2);
    const now = target.group.canvas.getBoundingClientRect();
    this.ring(target.group, target.box);
    this.live.textContent = describe(target.box.node, target.box.card, this.report.causes);
    this.pointed(target.box.node.name, target.box.card);
    // After the scroll event of scrollBy, which would hide it again.
    requestAnimationFrame(() => requestAnimationFrame(() => showTip({ x: now.left + target.box.x + this.look.cell, y: now.top + target.box.y + this.cellHeight }, target.box.node, target.box.card, null, this.report.causes)));
  }

  /** Where a pod's slice is in the window (after scrolling it there). */
  private find(pod: string): { x: number; y: number } | null {
    for (const group of this.groups) {
      for (const box of group.boxes) {
        const card = box.node.cards[box.card]!, i = card.slices.findIndex((s) => s.pod === pod);
        if (i < 0) continue;
        const parts = portions(card, this.look.measure);
        const below = parts.slice(0, i).reduce((a, b) => a + b, 0) + parts[i]! / 2;
        scrollBy({ top: group.canvas.getBoundingClientRect().top + box.y - innerHeight / 2, behavior: "instant" });
        const rect = group.canvas.getBoundingClientRect();
        return { x: rect.left + box.x + this.look.cell / 2, y: rect.top + box.y + this.cellHeight * (1 - below) };
      }
    }
    return null;
  }
}

function hatchPattern(ratio: number): CanvasPattern | null {
  const size = Math.round(4 * ratio), tile = h("canvas", { width: size, height: size }), ctx = tile.getContext("2d");
  if (!ctx) return null;
  ctx.strokeStyle = colour("hatch");
  ctx.lineWidth = ratio;
  ctx.beginPath();
  for (const shift of [-size, 0, size]) {
    ctx.moveTo(shift, size);
    ctx.lineTo(shift + size, 0);
  }
  ctx.stroke();
  return ctx.createPattern(tile, "repeat");
}

// ---- The panel ------------------------------------------------------------------------------------------------

export function mapLegend(report: Report, maps: CardMap[]): HTMLElement {
  const kinds = new Set<Slice["kind"]>(), causes = new Set<string>();
  for (const map of maps) for (const n of map.nodes) for (const c of n.cards) {
    for (const s of c.slices) kinds.add(s.kind);
    if (strandedMilli(c) > 0) causes.add(c.cause ?? "");
  }
  return h("ul", { class: "legend-row" },
    ...(["share", "one", "multi"] as const).filter((k) => kinds.has(k)).map((k) => h("li", {}, chip(`var(--kind-${k})`), KIND_LABELS[k])),
    h("li", {}, chip("var(--free)", "edge"), "Free, usable"),
    ...[...report.causes.map((c) => c.key), ...[...causes].filter((k) => !report.causes.some((c) => c.key === k))].filter((k) => causes.has(k)).map((k) =>
      h("li", {}, chip(`var(--${causeVar(k)})`, `hatch ${k}`), `Stranded: ${causeLabel(report.causes, k || null).replace(/^./, (c) => c.toLowerCase()).replace(/^(cPU|gPU)/, (w) => w.toUpperCase())}`)),
    h("li", {}, chip("var(--cpu)", "line"), "CPU in use (under each node)"));
}

function summary(map: CardMap): HTMLElement {
  let free = 0, lost = 0, cards = 0, idle = 0;
  for (const n of map.nodes) for (const c of n.cards) {
    ++cards;
    free += Math.max(0, c.free_milli);
    lost += strandedMilli(c);
    if (c.slices.length === 0) ++idle;
  }
  const item = (value: string, label: string): HTMLElement => h("span", {}, h("strong", {}, value), ` ${label}`);
  return h("p", { class: "map-sum" }, item(cards > 0 ? format((1 - free / (cards * 1000)) * 100, "pct") : NA, "allocated"),
    item(format(lost / 1000, "gpus"), "stranded"), item(format((free - lost) / 1000, "gpus"), "free and usable"), item(fixed(idle, 0), "idle cards"));
}

export function mapTable(map: CardMap, causes: Cause[]): HTMLElement {
  const details = h("details", {}, h("summary", {}, `The map as a table: ${map.label}`));
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const n = (v: Num, text: string): Cell => ({ text, sort: v });
    details.append(sortable(`Nodes of ${map.label}`, [{ label: "Node" }, { label: "Model" }, ...["Cards", "Slices", "Free GPUs", "Stranded GPUs", "Idle cards", "CPU free, cores"].map((label) => ({ label, numeric: true })), { label: "Stranded because" }],
      map.nodes.map((node) => {
        const free = sum(node, (c) => c.free_milli) / 1000, lost = sum(node, strandedMilli) / 1000;
        const why = [...new Set(node.cards.filter((c) => strandedMilli(c) > 0).map((c) => causeLabel(causes, c.cause)))];
        return [{ text: node.name }, { text: node.model }, n(node.cards.length, String(node.cards.length)), n(sum(node, (c) => c.slices.length), String(sum(node, (c) => c.slices.length))),
          n(free, free.toFixed(2)), n(lost, lost.toFixed(2)), n(sum(node, (c) => (c.slices.length === 0 ? 1 : 0)), String(sum(node, (c) => (c.slices.length === 0 ? 1 : 0)))),
          n(node.cpu_free_milli, (node.cpu_free_milli / 1000).toFixed(1)), { text: why.join("; ") || "\u2013" }];
      }), { column: 5, down: true }, 50));
  });
  return details;
}

/** The map to show beside the first: of the policy that allocates the most, else the last. */
function otherMap({ maps, runs }: Report): number {
  const end = (m: CardMap): number => stat(runs.filter((r) => r.policy === m.policy).map((r) => lastValue(r.series.allocation_pct)))?.mean ?? -1;
  let best = maps.length - 1;
  for (let i = 1; i < maps.length; ++i) if (end(maps[i]!) > end(maps[best]!)) best = i;
  return best;
}

export function mapPanel(report: Report): HTMLElement | null {
  const { maps } = report;
  if (maps.length === 0) return null;
  const cards = Math.max(...maps.map((m) => m.nodes.reduce((n, node) => n + node.cards.length, 0)));
  const sizes: [number, string][] = [[6, "S"], [8, "M"], [14, "L"], [28, "XL"]];
  const narrow = innerWidth < 700; // two big maps below each other are too long to compare
  const look: Look = { cell: cards > 8000 || (narrow && cards > 400) ? 6 : cards > 400 ? 8 : cards > 64 ? 14 : 28, order: "cluster", measure: defaultMeasure(maps) };
  const labels = maps.map((m) => m.label);
  const second = otherMap(report);
  const sides = maps.length > 1 ? [0, narrow ? -1 : second] : [0];
  let views: MapView[] = [];
  const grid = h("div", { class: "maps" }), tables = h("div");

  function build(): void {
    for (const view of views) view.destroy();
    const active = sides.filter((i) => i >= 0);
    views = active.map((index, k) => new MapView(report, index, { ...look }, (node, card) => views.forEach((v, j) => j !== k && v.mark(node, card))));
    grid.classList.toggle("two", active.length > 1);
    grid.replaceChildren(...active.map((index, k) => h("figure", { class: "map" },
      maps.length > 1 ? select(active.length > 1 ? ["Left", "Right"][k]! : "Map", labels, index, (i) => {
        sides[sides.indexOf(index, k === 0 ? 0 : 1)] = i;
        build();
      }) : h("h3", {}, labels[index]!), summary(maps[index]!), views[k]!.element)));
    tables.replaceChildren(...[...new Set(active)].map((index) => mapTable(maps[index]!, report.causes)));
    for (const view of views) view.draw();
  }
  const again = (): void => views.forEach((v) => v.setLook({ ...look }));
  const controls = h("div", { class: "controls" },
    maps.length > 1 ? choice<string>("Show", [["two", "Side by side"], ["one", "One map"]], narrow ? "one" : "two", (v) => {
      sides[1] = v === "two" ? (sides[0] === second ? 0 : second) : -1;
      build();
    }) : null,
    choice<Order>("Nodes", [["cluster", "in cluster order"], ["stranded", "most stranded first"], ["free", "most free first"]], look.order, (v) => {
      look.order = v;
      again();
    }),
    choice<number>("Cells", sizes, look.cell, (v) => {
      look.cell = v;
      again();
    }),
    maps.some(hasMemory) ? choice<Measure>("Slices by", [["compute", "compute"], ["memory", "memory"]], look.measure, (v) => {
      look.measure = v;
      again();
    }) : null);
  const section = panel("Card map", "Every cell is a card, filled from below by its slices; cards of a node stand side by side. Point at a card for its pods.",
    controls, mapLegend(report, maps), grid, tables);
  section.id = "map";
  build();
  onTheme(() => views.forEach((v) => v.draw()));
  return section;
}
