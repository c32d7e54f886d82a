// Opens reports in headless Chromium and checks what they really show.
//   node render_test.mjs [--shots DIR] REPORT.html...   check these reports
//   node render_test.mjs [--shots DIR] --self           check the page on made-up data, broken data included
// Exit 0: good, 1: a check failed, 77: skipped (no Chromium, or `npm ci --prefix test/web` was not run).
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

function skip(why) {
  console.log(`skipped: ${why}`);
  process.exit(77);
}

const args = process.argv.slice(2);
let shots = null, self = false;
const files = [];
while (args.length > 0) {
  const arg = args.shift();
  if (arg === "--shots") shots = args.shift() ?? null;
  else if (arg === "--self") self = true;
  else files.push(arg);
}
if (files.length === 0 && !self) {
  console.error("usage: render_test.mjs [--shots DIR] (--self | REPORT.html...)");
  process.exit(2);
}
const chromium = [process.env.BASALT_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => p && existsSync(p));
if (!chromium) skip("no Chromium (set BASALT_CHROMIUM)");
let playwright;
try {
  playwright = await import("playwright-core");
} catch {
  skip("playwright-core is not installed: npm ci --prefix test/web");
}
if (shots) mkdirSync(shots, { recursive: true });

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const profile = mkdtempSync(join(tmpdir(), "basalt-web-"));
const context = await playwright.chromium.launchPersistentContext(profile, { executablePath: chromium, headless: true, args: FLAGS, viewport: { width: 1280, height: 900 }, colorScheme: "light" });
let failures = 0;
function check(good, what) {
  if (good) return;
  ++failures;
  console.error(`  FAILED: ${what}`);
}

/** The report as it stands in the file, unpacked without the page's help. */
function dataOf(file) {
  const match = /<script type="text\/plain" id="basalt-data">([^<]*)<\/script>/.exec(readFileSync(file, "utf8"));
  return JSON.parse(gunzipSync(Buffer.from(match?.[1] ?? "", "base64")).toString("utf8"));
}
const cardsOf = (map) => map.nodes.reduce((n, node) => n + node.cards.length, 0);
const slicesOf = (map) => map.nodes.reduce((n, node) => n + node.cards.reduce((k, c) => k + c.slices.length, 0), 0);

async function open(file, size, scheme) {
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  const problems = [], external = [], url = pathToFileURL(resolve(file)).href;
  page.on("console", (m) => m.type() === "error" && problems.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => problems.push(`page: ${e.message}`));
  page.on("dialog", (d) => {
    problems.push(`dialog: ${d.message()}`);
    void d.dismiss();
  });
  await page.route("**/*", (route) => {
    const to = route.request().url();
    if (to === url || to.startsWith("data:")) return route.continue();
    external.push(to);
    return route.abort();
  });
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: scheme });
  const start = Date.now();
  await page.goto(url);
  const ready = await page.waitForFunction(() => window.basaltReport?.ready === true, null, { timeout: 15000 }).then(() => true, () => false);
  return { page, problems, external, ready, ms: Date.now() - start };
}

/** How many colours other than the background a canvas shows: a blank one has none. */
const inkOf = (page, selector) => page.locator(selector).evaluateAll((canvases) => canvases.map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 0) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  return colours.size;
}));

/** A platform scenario: every arm, claim and assumption is there, with the figures of the data. */
async function checkPlatform(page, platform) {
  const plain = (text) => text.replaceAll("\u2212", "-").replaceAll(",", "");
  const arms = platform.arms.map((a, i) => [a, i]).filter(([a]) => !a.swept);
  const heads = await page.locator("#arms table.kpi thead th .name").allInnerTexts();
  check(JSON.stringify(heads.map((t) => t.trim())) === JSON.stringify(arms.map(([a]) => a.name)), `platform: columns ${heads}`);
  const rows = await page.locator("#arms table.kpi tbody tr:not(.group)").count();
  check(rows === platform.figures.length, `platform: ${rows} rows for ${platform.figures.length} figures`);
  for (const key of ["utilization", "allocation"]) {
    const f = platform.figures.find((x) => x.key === key);
    const row = page.locator("#arms table.kpi tbody tr:not(.group)").nth(platform.figures.indexOf(f));
    const cells = (await row.locator("td .value").allInnerTexts()).map((t) => plain(t).replace("\u25cf", "").trim());
    check(JSON.stringify(cells) === JSON.stringify(arms.map(([, i]) => f.values[i].toFixed(f.digits))), `platform: ${key} reads ${cells}`);
  }
  const claims = await page.locator("#claims .claim").allInnerTexts();
  check(claims.length === platform.claims.length, `platform: ${claims.length} claims`);
  platform.claims.forEach((c, i) => check(claims[i]?.includes(c.text) && claims[i].includes(c.verdict) && (c.value === null || plain(claims[i]).includes(c.value.toFixed(1))), `platform: claim ${i} reads ${JSON.stringify(claims[i])}`));
  check((await page.locator("#assumptions tbody tr").count()) === platform.assumptions.length, "platform: assumptions");
  const ink = await inkOf(page, "#series canvas");
  check(ink.length === 2 && ink.every((n) => n > 8), `platform: a curve is blank (colours: ${ink})`);
  const chart = page.locator("#series .chart").first(), before = await page.locator("#series .where").innerText();
  await chart.focus();
  for (let i = 0; i < 3; ++i) await page.keyboard.press("ArrowLeft");
  check((await page.locator("#series .where").innerText()) !== before, "platform: the arrow keys do not move the cursor");
  const arm = arms.at(-1);
  await page.locator("#detail select").selectOption(String(arm[1]));
  for (const [label, list] of [["workload", arm[0].workloads], ["tenant", arm[0].tenants], ["cluster", arm[0].clusters]]) {
    await page.locator("#detail button", { hasText: label }).first().click();
    const count = await page.locator("#detail tbody tr").count();
    check(count === Math.min(20, list.length), `platform: ${count} rows by ${label} for ${list.length}`);
    const text = await page.locator("#detail tbody").innerText();
    check(!/NaN|undefined|Infinity/.test(text), `platform: a senseless value by ${label}`);
  }
}

/** As opened, without any scrolling: the map's canvases count what they drew. */
async function checkReport(file) {
  const name = basename(file).replace(/\.html$/, "");
  let data;
  try {
    data = dataOf(file);
  } catch (error) {
    check(false, `${name}: the packed data cannot be read: ${error.message}`);
    return;
  }
  const { page, problems, external, ready, ms } = await open(file, { width: 1280, height: 900 }, "light");
  check(ready, `the page never became ready: ${problems.slice(0, 3).join(" | ")}`);
  if (!ready) return page.close();
  const state = await page.evaluate(() => ({ ...window.basaltReport, find: undefined })).catch(() => ({}));
  check(state.error === null, `the page shows an error: ${state.error}`);
  check((await page.title()).includes(data.title), "the title");
  check((await page.locator("h1").textContent()) === data.title, "the heading is the report's title, character by character");

  const policies = [...new Set(data.runs.map((r) => r.policy))];
  check(JSON.stringify(state.policies) === JSON.stringify(policies), "the policies");
  if (policies.length > 0) {
    const trace = data.runs[0].trace, here = [...new Set(data.runs.filter((r) => r.trace === trace).map((r) => r.policy))];
    check((await page.locator("#kpi table.kpi thead th").count()) === here.length + 1, "KPI strip: one column per policy");
    const strip = await page.locator("#kpi table.kpi").innerText();
    for (const p of here) check(strip.includes(p), `KPI strip: no ${p}`);
    const cells = await page.locator("#kpi td .value").allInnerTexts();
    check(cells.length > 0 && cells.every((c) => c.trim() !== "" && !/NaN|undefined|null|Infinity/.test(c)), "KPI strip: an empty or senseless value");
    if (data.kind === "saturation") {
      // One figure worked out here from the data, so that a wrong mean or a wrong row is noticed.
      const ends = data.runs.filter((r) => r.trace === trace && r.policy === here[0]).map((r) => (r.series.allocation_pct ?? []).filter((v) => v !== null).at(-1)).filter((v) => v !== undefined);
      const wanted = ends.length > 0 ? (ends.reduce((a, b) => a + b, 0) / ends.length).toFixed(2) : "n/a";
      check((await page.locator("#kpi tr.hero td .value").first().innerText()).includes(wanted), `KPI strip: allocation at the end is not ${wanted}`);
      const at100 = data.runs.some((r) => r.trace === trace && r.x.values.at(-1) >= 100);
      const full = await page.locator("#kpi tbody tr").nth(1).locator("td .value").first().innerText();
      check(at100 ? full.includes("%") : full.trim() === "n/a", "KPI strip: a run that ends before 100 % must say n/a, not a number");
    }
    const ink = await inkOf(page, "#curves canvas");
    check(ink.length >= 2 && ink.every((n) => n > 8), `curves: a canvas is blank (colours: ${ink})`);
    const arrow = page.locator("#curves .chart").first();
    const before = await page.locator("#curves .where").innerText();
    await arrow.focus();
    for (let i = 0; i < 3; ++i) await page.keyboard.press("ArrowLeft");
    const moved = await page.locator("#curves .where").innerText();
    check(moved !== before, "curves: the arrow keys do not move the cursor");
    await arrow.hover({ position: { x: 300, y: 150 } });
    check((await page.locator("#curves .where").innerText()) !== moved, "curves: the pointer does not move the cursor");
    const figure = await page.locator("#curves .legend tbody td").first().innerText();
    check(/\d\s%|n\/a/.test(figure), `curves: the legend reads ${JSON.stringify(figure)}`);
  }

  const sum = (maps, count) => maps.reduce((n, m) => n + count(data.maps[m.map]), 0);
  const maps = state.maps ?? [];
  if (data.maps.length > 0) {
    check(maps.length > 0, "map: none on show");
    const agree = (list, when) => {
      for (const m of list) {
        check(m.cells === cardsOf(data.maps[m.map]), `map ${m.map}${when}: ${m.cells} cells drawn for ${cardsOf(data.maps[m.map])} cards`);
        check(m.slices === slicesOf(data.maps[m.map]), `map ${m.map}${when}: ${m.slices} slices drawn for ${slicesOf(data.maps[m.map])}`);
      }
    };
    agree(maps, "");
    check(state.cells === sum(maps, cardsOf) && state.slices === sum(maps, slicesOf), "map: the totals");
    const canvases = await page.locator("#map canvas").count();
    if (canvases > 0) {
      // A group of idle nodes has two colours, cells and their edges; a blank canvas has one.
      const ink = await inkOf(page, "#map canvas");
      check(ink.every((n) => n > 1) && ink.some((n) => n > 2), `map: a canvas is blank (colours: ${ink})`);
    }
    // Every map can be chosen, and draws all of its cards.
    const picker = page.locator("#map figure select").first();
    if ((await picker.count()) > 0) {
      for (let i = 0; i < data.maps.length; ++i) {
        await page.locator("#map figure select").first().selectOption(String(i));
        const now = await page.evaluate(() => window.basaltReport.maps);
        check(now.some((m) => m.map === i), `map ${i} cannot be chosen`);
        agree(now, " after choosing it");
      }
      await page.locator("#map figure select").first().selectOption("0");
    }
    // The last pod of the first map: its cell is far down the page, so the position must be right as well.
    const shownMap = data.maps[(await page.evaluate(() => window.basaltReport.maps))[0].map];
    const slices = shownMap.nodes.flatMap((node) => node.cards.flatMap((card) => card.slices.map((s) => ({ pod: s.pod, shared: card.slices.length > 1, size: s.milli || s.mem_mib || 0 }))));
    for (const slice of [slices[0], slices.findLast((s) => s.shared && s.size >= 200) ?? slices.at(-1)].filter(Boolean)) {
      const at = await page.evaluate((pod) => window.basaltReport.find(pod), slice.pod);
      check(at !== null, `map: ${slice.pod} is not drawn`);
      if (!at) continue;
      await page.waitForTimeout(120); // the scroll's own event hides tooltips
      await page.mouse.move(at.x + 30, at.y + 40);
      await page.mouse.move(at.x, at.y);
      const text = await page.locator(".tip").innerText({ timeout: 2000 }).catch(() => "");
      check(text.includes(slice.pod), `map: the tooltip at ${slice.pod} says ${JSON.stringify(text)}`);
      const marked = await page.locator(".tip tr.on").innerText({ timeout: 2000 }).catch(() => "");
      check(marked.includes(slice.pod), `map: the pointed slice is not marked in the tooltip (${JSON.stringify(marked)})`);
      if (shots && slice !== slices[0]) await page.screenshot({ path: join(shots, `${name}-hover.png`) });
    }
    if (canvases > 0) {
      await page.locator("#map .map-body").first().focus();
      for (const key of ["Home", "ArrowRight", "ArrowDown"]) await page.keyboard.press(key);
      const said = await page.locator("#map .map-body [aria-live]").first().textContent();
      check(/card \d+ of \d+/.test(said ?? ""), "map: the arrow keys do not announce a card");
    }
    if (canvases > 0) {
      // Sorted by stranded GPU, the first cell is of the worst node of the model with most cards.
      await page.locator("#map button", { hasText: "most stranded first" }).click();
      await page.locator("#map .map-body").first().focus();
      await page.keyboard.press("Home");
      const said = (await page.locator("#map .map-body [aria-live]").first().textContent()) ?? "";
      const lost = (node) => node.cards.reduce((n, c) => n + (c.usable ? 0 : c.free_milli), 0);
      const models = Map.groupBy?.(shownMap.nodes, (n) => n.model) ?? shownMap.nodes.reduce((m, n) => m.set(n.model, [...(m.get(n.model) ?? []), n]), new Map());
      const biggest = [...models.values()].sort((a, b) => cardsOf({ nodes: b }) - cardsOf({ nodes: a }))[0];
      const worst = Math.max(...biggest.map(lost));
      check(biggest.some((n) => lost(n) === worst && said.startsWith(`${n.name},`)), `map: sorting by stranded puts first: ${said}`);
    }
    const fallback = page.locator("details", { hasText: "The map as a table" }).first();
    await fallback.locator("summary").click();
    await fallback.locator("tbody tr").first().waitFor({ timeout: 3000 }).catch(() => {}); // filled when it opens
    check((await fallback.locator("tbody tr").count()) === Math.min(50, data.maps.at(0).nodes.length), "map: the table does not list the nodes");
  }
  for (let i = 0; i < (data.comparison?.arms.length ?? 0); ++i) {
    const text = await page.locator("#compare .arm").nth(i).innerText();
    check(text.includes(data.comparison.arms[i].name), `comparison: arm ${i} has no name`);
    for (const k of data.comparison.arms[i].kpis) check(text.includes(k.label) && text.includes(k.value), `comparison: arm ${i} lacks ${k.label}`);
  }
  if (data.platform) await checkPlatform(page, data.platform);
  check(external.length === 0, `${external.length} external requests: ${external.slice(0, 3)}`);
  check(problems.length === 0, `errors: ${problems.slice(0, 5).join(" | ")}`);
  await page.close();

  for (const [suffix, size, scheme] of [["light", { width: 1280, height: 900 }, "light"], ["dark", { width: 1280, height: 900 }, "dark"], ["390", { width: 390, height: 844 }, "light"]]) {
    const look = await open(file, size, scheme);
    const wide = await look.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth).catch(() => 0);
    check(wide <= 0, `${suffix}: the page is ${wide} px wider than the window`);
    check(look.problems.length === 0 && look.external.length === 0, `${suffix}: ${[...look.problems, ...look.external].slice(0, 3).join(" | ")}`);
    if (shots) await look.page.screenshot({ path: join(shots, `${name}-${suffix}.png`), fullPage: true });
    await look.page.close();
  }
  console.log(`${name}: ${policies.length} policies, ${data.runs.length} runs, ${maps.length} maps on show with ${state.cells} cells and ${state.slices} slices, ready after ${ms} ms`);
}

/** A page whose data is bad must say so in words, and must not be blank. */
async function checkBroken(file, words) {
  const { page, ready, external } = await open(file, { width: 1280, height: 900 }, "light");
  check(ready, `${basename(file)}: never ready`);
  const text = await page.locator("#app").innerText();
  check(text.includes("cannot be shown") && words.test(text), `${basename(file)}: says ${JSON.stringify(text)}`);
  check((await page.evaluate(() => window.basaltReport.error)) !== null, `${basename(file)}: no error in the state`);
  check(external.length === 0, `${basename(file)}: external requests`);
  if (shots) await page.screenshot({ path: join(shots, `${basename(file, ".html")}.png`) });
  await page.close();
}

try {
  // A page so broken that a step cannot even be taken is a failed check, not a stack trace.
  const run = (file) => checkReport(file).catch((error) => check(false, `${basename(file)}: ${error.message.split("\n")[0]}`));
  for (const file of files) await run(file);
  if (self) {
    const sample = await import("./sample.mjs");
    const put = (name, html) => {
      const path = join(profile, `${name}.html`);
      writeFileSync(path, html);
      return path;
    };
    const reports = { big: sample.bigReport(), compare: sample.compareReport(), sparse: sample.sparseReport(), replay: sample.replayReport(), platform: sample.platformReport() };
    for (const [name, report] of Object.entries(reports)) await run(put(name, sample.renderHtml(JSON.stringify(report))));
    const good = sample.renderHtml(JSON.stringify(reports.compare));
    await checkBroken(put("broken-empty", good.replace(/(id="basalt-data">)[^<]*/, "$1")), /holds no data/);
    await checkBroken(put("broken-cut", good.replace(/(id="basalt-data">[^<]{400})[^<]*/, "$1")), /damaged/);
    await checkBroken(put("broken-json", sample.renderHtml("{\"schema\":")), /not JSON/);
    await checkBroken(put("broken-schema", sample.renderHtml(JSON.stringify({ schema: "basalt.report/9" }))), /basalt\.report\/9/);
    const wrong = structuredClone(reports.compare);
    wrong.maps[1].nodes[0].cards[2].free_milli = "much";
    await checkBroken(put("broken-field", sample.renderHtml(JSON.stringify(wrong))), /maps\[1\]\.nodes\[0\]\.cards\[2\]\.free_milli is not a number/);
    console.log("broken data: five kinds, each explained");
  }
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(failures === 0 ? "report page: all checks hold" : `report page: ${failures} checks failed`);
process.exit(failures === 0 ? 0 : 1);
