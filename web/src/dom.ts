// Small helpers: elements, numbers with units, sortable tables. Text always goes in as text nodes, never as HTML,
// because names of pods and policies come from outside.

import type { Num, Stat } from "./data";

type Child = globalThis.Node | string | null | undefined | false;
type Attrs = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attrs: Attrs = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child || child === "") element.append(child);
  return element;
}

/** A square in a colour of the palette; CSP allows no style attributes, so it goes through the CSSOM. */
export function chip(colour: string, extra = ""): HTMLElement {
  const element = h("span", { class: `chip ${extra}`, "aria-hidden": "true" });
  element.style.setProperty("--c", colour);
  return element;
}

const formats = new Map<number, Intl.NumberFormat>();
export function fixed(value: number, digits: number): string {
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  const text = format.format(value);
  return (/^-0(\.0*)?$/.test(text) ? text.slice(1) : text).replace("-", "\u2212");
}

export const NA = "n/a";
export type Unit = "pct" | "gpus" | "count" | "seconds";
const digitsOf = (unit: Unit, value: number): number =>
  unit === "pct" ? 2 : unit === "gpus" ? (Math.abs(value) < 9.995 ? 2 : 1) : unit === "seconds" ? 3 : 0;
const suffix: Record<Unit, string> = { pct: "\u2009%", gpus: "\u2009GPUs", count: "", seconds: "\u2009s" };

export function format(value: Num, unit: Unit, whole = true, bare = false): string {
  if (value === null) return NA;
  // A mean count over seeds is rarely whole; one digit says so without pretending to more.
  const digits = unit === "count" && !whole && value !== 0 && Math.abs(value) < 1000 ? 1 : digitsOf(unit, value);
  return fixed(value, digits) + (bare ? "" : suffix[unit]);
}

/** A difference always carries its sign; between percentages it is in points. */
export function delta(value: Num, unit: Unit): string {
  if (value === null) return NA;
  if (value === 0) return "same";
  const text = fixed(Math.abs(value), unit === "count" && Math.abs(value) < 100 ? 1 : digitsOf(unit, value));
  const sign = /^[0.,]+$/.test(text) ? "\u00b1" : value > 0 ? "+" : "\u2212";
  return `${sign}${text}${unit === "pct" ? "\u2009pt" : unit === "gpus" ? "" : suffix[unit]}`;
}

export function spread(s: Stat | null, unit: Unit): string {
  if (!s || s.std === null || (s.std === 0 && s.mean === 0)) return "";
  return `\u00b1\u2009${fixed(s.std, unit === "count" ? 1 : digitsOf(unit, s.std))}`;
}

export const gib = (mib: number): string => `${fixed(mib / 1024, mib % 1024 === 0 ? 0 : 1)}\u2009GiB`;
export const plural = (n: number, one: string, many = `${one}s`): string => `${fixed(n, 0)} ${n === 1 ? one : many}`;

export function panel(title: string, lead: string, ...children: Child[]): HTMLElement {
  return h("section", { class: "panel", "aria-label": title }, h("h2", {}, title), lead ? h("p", { class: "lead" }, lead) : null, ...children);
}

/** Buttons of which one is pressed. */
export function choice<T extends string | number>(label: string, options: [T, string][], value: T, pick: (value: T) => void): HTMLElement {
  const group = h("div", { class: "choice", role: "group", "aria-label": label });
  const caption = h("span", { class: "choice-label" }, label);
  const buttons = options.map(([key, text]) => {
    const button = h("button", { type: "button", "aria-pressed": key === value ? "true" : "false" }, text);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", other === button ? "true" : "false");
      pick(key);
    });
    return button;
  });
  group.append(...buttons);
  return h("div", { class: "choice-wrap" }, caption, group);
}

export function select(label: string, options: string[], value: number, pick: (index: number) => void): HTMLElement {
  const element = h("select", {}, ...options.map((text, i) => h("option", { value: i, selected: i === value }, text)));
  element.addEventListener("change", () => pick(Number(element.value)));
  return h("label", { class: "select" }, h("span", {}, label), element);
}

export interface Cell { text: string; sort?: number | string | null; node?: globalThis.Node; title?: string; heat?: number }
export interface Column { label: string; numeric?: boolean; title?: string; colour?: string }

/** A table sorted by a click on a column head; missing values stay at the end in both directions. */
export function sortable(caption: string, columns: Column[], rows: Cell[][], start: { column: number; down: boolean }, limit = Infinity): HTMLElement {
  const body = h("tbody");
  let { column, down } = start, shown = limit;
  const heads = columns.map((c, i) => {
    const button = h("button", { type: "button", title: c.title }, c.colour ? chip(c.colour) : null, c.label, h("span", { class: "arrow", "aria-hidden": "true" }));
    button.addEventListener("click", () => {
      if (column === i) down = !down;
      else {
        column = i;
        down = Boolean(c.numeric);
      }
      fill();
    });
    return h("th", { scope: "col", class: c.numeric ? "num" : "" }, button);
  });
  const more = h("button", { type: "button", class: "more" });
  more.addEventListener("click", () => {
    shown = shown === Infinity ? limit : Infinity;
    fill();
  });
  const key = (row: Cell[]): number | string | null => {
    const cell = row[column];
    return cell ? (cell.sort === undefined ? cell.text : cell.sort) : null;
  };
  function fill(): void {
    heads.forEach((th, i) => th.setAttribute("aria-sort", i !== column ? "none" : down ? "descending" : "ascending"));
    const sorted = rows.map((row, i) => ({ row, i, k: key(row) })).sort((a, b) => {
      if (a.k === null || b.k === null) return a.k === b.k ? a.i - b.i : a.k === null ? 1 : -1;
      const order = typeof a.k === "number" && typeof b.k === "number" ? a.k - b.k : String(a.k).localeCompare(String(b.k), "en", { numeric: true });
      return order === 0 ? a.i - b.i : down ? -order : order;
    });
    body.replaceChildren(...sorted.slice(0, shown).map(({ row }) => h("tr", {}, ...row.map((cell, i) => {
      const td = h(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: columns[i]?.numeric ? "num" : "", title: cell.title }, cell.node ?? cell.text);
      if (cell.heat !== undefined) {
        td.classList.add("heat");
        td.style.setProperty("--heat", `${Math.round(cell.heat * 100)}%`);
      }
      return td;
    }))));
    more.textContent = shown === Infinity ? `Show the first ${limit}` : `Show all ${rows.length}`;
  }
  fill();
  const wrap = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "data" }, h("caption", { class: "sr" }, caption), h("thead", {}, h("tr", {}, ...heads)), body));
  return rows.length > limit ? h("div", {}, wrap, more) : wrap;
}
