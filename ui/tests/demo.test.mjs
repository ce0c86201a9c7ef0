// A developer finds out in the pages of a running demo why the rogue was denied.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import {
  api,
  barriers,
  clipboard,
  details,
  go,
  launch,
  list,
  overflows,
  parameter,
  PATIENCE_MS,
  picture,
  rows,
  settled,
  sql,
  tail,
  until,
  untilParameter,
  visit,
} from "./browser.mjs";

const REDIS = 6379;
const POLICY = "default/redis-allow-from-backend";
const DENIES = `verdict="deny" source_pod="rogue" destination_port=${REDIS}`;
const PAGES = [
  { path: "/", title: "Flows", name: "flows" },
  { path: "/?group=rows", title: "Flows", name: "flows-rows" },
  { path: "/map?verdicts=deny,audit,allow", title: "Map", name: "map" },
  { path: "/policies", title: "Policies", name: "policies" },
  { path: "/reach", title: "Can A reach B?", name: "reach" },
  { path: "/sql?sql=SELECT+verdict,+sum(count)+FROM+flows+GROUP+BY+1", title: "SQL", name: "sql" },
  {
    path: `/reach?from=default/rogue&to=default/redis-cluster-0&port=${REDIS}`,
    title: "Can A reach B?",
    name: "reach-answer",
  },
  { path: "/status", title: "Status", name: "status" },
];
/** How long a deny may take from the service to the eye, beyond what the machine is slow at that moment. */
const LIVE_MS = 1_000;
const LIVE_TRIES = 5;
/** A deny is read, waits for the next time that rows are handed on, is drawn and is found by the test. */
const LIVE_STEPS = 4;

let browser;
before(async () => {
  browser = await launch();
  await until("the rogue's first deny", async () => (await denied()).length > 0, 2 * PATIENCE_MS);
});
after(() => browser?.close());

/** The rogue's latest denies by redis, latest first. */
async function denied() {
  const query = new URLSearchParams({ filter: DENIES, order: "desc", limit: "3" });
  return (await api(`/api/v1/flows?${query}`)).rows;
}

/** The time as the page writes it in UTC, as the context's clock is. */
const written = (time) => `${time.slice(0, 10)} ${time.slice(11, 23)}`;
const textbox = (page) => page.getByRole("textbox", { name: /^Filter/ });
const chips = (page) => page.getByRole("list", { name: "Parts of the filter" }).getByRole("listitem");
const sentence = (page) => details(page).getByText(/^Denied: /);
const diff = (page) => details(page).getByRole("region", { name: /diff/i });

/** The group of the rogue's denies by redis. */
function group(page) {
  return rows(page)
    .filter({ hasText: /deny[^]*default\/rogue[^]*redis-cluster/ })
    .filter({ hasText: `${REDIS}/TCP` });
}

async function openGroup(page) {
  await group(page).getByRole("button", { name: /^Why/ }).click();
  await diff(page).waitFor();
}

async function cell(page, row, column) {
  const titles = await list(page).getByRole("columnheader").allInnerTexts();
  const index = titles.findIndex((title) => title.trim().startsWith(column));
  assert.notEqual(index, -1, `${column} of ${titles}`);
  return row.getByRole("gridcell").nth(index);
}

test("a deny of the rogue is on the page within a second", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, `/?${new URLSearchParams({ filter: DENIES, group: "rows" })}`, "Flows");
    await rows(page).first().waitFor();
    await page.getByRole("button", { name: "Live", exact: true }).click();
    await untilParameter(page, "live");
    const end = new AbortController();
    const took = [];
    for await (const { flow, at } of tail(DENIES, end.signal)) {
      const [slow] = await Promise.all([
        slowness(page),
        list(page).getByText(written(flow.time)).first().waitFor(),
      ]);
      took.push({ shown: Date.now() - at, most: LIVE_MS + LIVE_STEPS * slow });
      if (took.some(({ shown, most }) => shown <= most) || took.length === LIVE_TRIES) break;
    }
    end.abort();
    assert.ok(
      took.some(({ shown, most }) => shown <= most),
      `in milliseconds: ${JSON.stringify(took)}`,
    );
  });
});

/** By how much a timer and a frame of the page are late now, in milliseconds: nothing on a machine that is idle. */
async function slowness(page) {
  const [timer, frame] = [100, 17];
  const began = Date.now();
  await page.evaluate(
    (delay) => new Promise((done) => setTimeout(() => requestAnimationFrame(() => done()), delay)),
    timer,
  );
  return Math.max(0, Date.now() - began - timer - frame);
}

test("what one reads stays where it is while denies come in, and they wait", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/?group=rows&live=1", "Flows");
    await (await cell(page, rows(page).nth(2), "Source")).click();
    await details(page).waitFor();
    const read = list(page).locator('[aria-selected="true"]');
    const [text, place] = [await read.innerText(), await read.boundingBox()];
    const waiting = page.getByRole("button", { name: /\d new/ });
    await waiting.waitFor();
    assert.equal(await read.innerText(), text);
    assert.deepEqual(await read.boundingBox(), place);
    const first = await rows(page).first().innerText();
    await waiting.click();
    await until("the rows that waited", async () => (await rows(page).first().innerText()) !== first);
  });
});

test("a click on a value makes a filter of which text, chips and address agree", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/?group=rows", "Flows");
    const row = rows(page).filter({ hasText: "default/rogue" }).first();
    await (await cell(page, row, "Source")).hover();
    await page.getByRole("button", { name: "Only flows with default/rogue" }).click();
    const filter = await untilParameter(page, "filter");
    assert.match(filter, /source_pod="rogue"/);
    await until("the text", async () => (await textbox(page).inputValue()) === filter);
    const spoken = (await chips(page).allInnerTexts()).join(" ");
    assert.match(spoken, /source_pod\s+(=|is)[^]*\srogue/);
    await until("nobody else's rows", async () => {
      const texts = await rows(page).allInnerTexts();
      return texts.length > 0 && texts.every((text) => text.includes("default/rogue"));
    });
    // By text, with what is wrong underlined and said.
    await textbox(page).fill(`${filter} destination_port=`);
    await page.locator("[aria-invalid=true]").waitFor();
    assert.equal(parameter(page, "filter"), filter, "what is wrong is not asked");
    await textbox(page).fill(`${filter} destination_port=${REDIS}`);
    await textbox(page).press("Enter");
    await untilParameter(page, "filter", (value) => value.includes(`destination_port=${REDIS}`));
    await chips(page).filter({ hasText: "destination_port" }).waitFor();
    // And back, chip by chip.
    await page.getByRole("button", { name: `Remove: destination_port=${REDIS}` }).click();
    await untilParameter(page, "filter", (value) => value === filter);
    await until("the text", async () => (await textbox(page).inputValue()) === filter);
    for (let left = await chips(page).count(); left > 0; left -= 1) {
      await chips(page)
        .first()
        .getByRole("button", { name: /^Remove/ })
        .click();
    }
    await untilParameter(page, "filter", (value) => value === "");
    assert.equal(await textbox(page).inputValue(), "");
  });
});

test("names and values are completed from the data", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/", "Flows");
    await textbox(page).pressSequentially("source_pod=rog");
    const offered = page.getByRole("listbox", { name: "Suggestions" }).getByRole("option");
    await offered.filter({ hasText: "rogue" }).first().waitFor();
    await textbox(page).press("Tab");
    await textbox(page).press("Enter");
    assert.match(await untilParameter(page, "filter"), /^source_pod="?rogue"?\s*$/);
  });
});

test("facets have the exact sums, and take values in and out", async () => {
  const range = await settledRange();
  const query = new URLSearchParams({ ...range, filter: 'verdict="deny"', fields: "destination_port" });
  const [facet] = (await api(`/api/v1/facets?${query}`)).facets;
  const { count } = facet.values.find(({ value }) => Number(value) === REDIS);
  await visit(browser, {}, async (page) => {
    await go(page, `/?${new URLSearchParams({ ...range, verdicts: "deny" })}`, "Flows");
    const rail = page.getByRole("region", { name: "Fields and their values" });
    const ports = rail.locator("section", {
      has: page.getByRole("heading", { name: /^destination port/i }),
    });
    const port = ports.getByRole("listitem").filter({ hasText: String(REDIS) });
    const exact = count.toLocaleString("en-US");
    await port.getByText(exact, { exact: true }).waitFor();
    await port.getByRole("button").first().click();
    await untilParameter(page, "filter", (filter) => filter === `destination_port=${REDIS}`);
    const total = page.getByRole("button", { name: /^Denied/ });
    await until("the verdicts of this port", async () => (await total.innerText()).includes(exact));
    await port.hover();
    await port.getByRole("button", { name: /exclude/i }).click();
    await untilParameter(page, "filter", (filter) => filter.startsWith("NOT "));
  });
});

/** A time that no new flow falls in, with denies in it. */
async function settledRange() {
  const [row] = await sql(
    `SELECT min(time) AS since, max(time) AS until FROM flows WHERE verdict = 'deny' AND destination_port = ${REDIS}`,
  );
  const at = (time) => new Date(/[Zz]|[+-]\d\d:\d\d$/.test(time) ? time : `${time}Z`).toISOString();
  return { since: at(row.since), until: at(row.until) };
}

test("a brush over the histogram narrows the time", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/?since=15m", "Flows");
    const chart = page.getByRole("slider", { name: /^Buckets of time/ });
    await page.getByText(/\d verdicts, /).waitFor();
    const box = await chart.boundingBox();
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * 0.5, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.8, y, { steps: 5 });
    await page.mouse.up();
    const [since, end] = [await untilParameter(page, "until"), parameter(page, "since")].reverse();
    const length = Date.parse(end) - Date.parse(since);
    assert.ok(length > 2 * 60_000 && length < 8 * 60_000, `${since} to ${end}`);
    await page.goBack();
    await untilParameter(page, "until", (value) => value === "");
    assert.equal(parameter(page, "since"), "15m");
  });
});

test("the details say why, show the policy's lines and the least change, and copy it", async () => {
  const [flow] = await denied();
  const explained = await api("/api/v1/policies/explain", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ flow }),
  });
  await visit(browser, {}, async (page) => {
    await go(page, "/", "Flows");
    await openGroup(page);
    await details(page).getByText(explained.explanation.sentence).first().waitFor();
    await details(page)
      .getByRole("heading", { name: /least change/ })
      .waitFor();
    const text = await diff(page).innerText();
    assert.match(text, /^\+.*\S/m, "lines that are added");
    const policy = details(page).getByRole("group", { name: new RegExp(`${POLICY}.*decided`) });
    await policy.getByText("redis-cluster").first().waitFor();
    await details(page).getByRole("button", { name: "Copy diff" }).click();
    assert.equal(await clipboard(page), explained.explanation.diff);
    await details(page).getByRole("tab", { name: "Connection" }).click();
    await details(page)
      .getByRole("table", { name: /both ends/ })
      .waitFor();
    await details(page).getByRole("tab", { name: "JSON" }).click();
    await details(page).getByText('"destination_port": 6379').first().waitFor();
  });
});

test("a copied link shows the same filter, time and open row to somebody else", async () => {
  let link;
  let told;
  await visit(browser, {}, async (page) => {
    await go(page, `/?${new URLSearchParams({ filter: 'source_pod="rogue"' })}`, "Flows");
    await openGroup(page);
    told = await sentence(page).innerText();
    await details(page).getByRole("button", { name: /Link/ }).click();
    link = new URL(await clipboard(page));
    assert.equal(link.searchParams.get("selected"), parameter(page, "selected"));
  });
  const [since, end] = ["since", "until"].map((name) => Date.parse(link.searchParams.get(name)));
  assert.ok(since < end && end <= Date.now(), link.search);
  await visit(browser, { colorScheme: "dark" }, async (page) => {
    await page.goto(link.href);
    await diff(page).waitFor();
    assert.equal(await sentence(page).innerText(), told);
    assert.equal(await textbox(page).inputValue(), 'source_pod="rogue"');
    await list(page)
      .locator('[aria-selected="true"]')
      .filter({ hasText: String(REDIS) })
      .waitFor();
    assert.equal(new URL(page.url()).search, link.search, "looking changes nothing");
  });
});

test("back and forward go by what one did", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/", "Flows");
    await page.getByRole("button", { name: /^Allowed/ }).click();
    await untilParameter(page, "verdicts");
    await textbox(page).fill('source_pod="rogue"');
    await textbox(page).press("Enter");
    await untilParameter(page, "filter");
    await openGroup(page);
    await details(page).getByRole("tab", { name: "JSON" }).click();
    await untilParameter(page, "tab");
    await page.goBack();
    await diff(page).waitFor();
    await page.goBack();
    await details(page).waitFor({ state: "detached" });
    assert.equal(parameter(page, "filter"), 'source_pod="rogue"');
    await page.goBack();
    await until("the text", async () => (await textbox(page).inputValue()) === "");
    await page.goBack();
    await page.getByRole("button", { name: /^Allowed/, pressed: false }).waitFor();
    for (const name of ["verdicts", "filter", "selected", "tab"]) {
      await page.goForward();
      await untilParameter(page, name);
    }
    await details(page).getByText('"destination_port"').first().waitFor();
  });
});

test("SQL runs, and its result is a CSV file", async () => {
  const statement = `SELECT verdict, source_pod FROM flows WHERE verdict = 'deny' AND destination_port = ${REDIS} LIMIT 3`;
  await visit(browser, {}, async (page) => {
    await go(page, "/sql", "SQL");
    await page.getByRole("textbox", { name: "SQL statement" }).click();
    await page.keyboard.insertText(statement);
    await page.keyboard.press("Control+Enter");
    await rows(page).nth(2).waitFor();
    assert.match(await rows(page).first().innerText(), /deny\s+rogue/);
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "CSV", exact: true }).click();
    const saved = await saving;
    assert.match(saved.suggestedFilename(), /\.csv$/);
    const lines = (await readFile(await saved.path(), "utf8")).trim().split(/\r?\n/);
    assert.deepEqual(lines, ["verdict,source_pod", ...Array(3).fill("deny,rogue")]);
    // What is wrong is said, and the address has what was asked.
    assert.equal(parameter(page, "sql"), statement);
  });
});

test("what is wrong with a statement is said", async () => {
  await visit(browser, { expected: [/status of 400/] }, async (page) => {
    await go(page, `/sql?${new URLSearchParams({ sql: "SELECT nothing_such FROM flows" })}`, "SQL");
    await page.getByRole("alert").filter({ hasText: "nothing_such" }).waitFor();
  });
});

test("an edge of the map leads to its flows", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/map", "Map");
    const edge = page.getByRole("link", { name: /rogue.*redis-cluster.*Show these flows/s });
    // On the line itself, which is no rectangle.
    const line = edge.first().locator("path").last();
    const at = await line.evaluate((path) => {
      const { x, y } = path
        .getPointAtLength(path.getTotalLength() * 0.3)
        .matrixTransform(path.getScreenCTM());
      return { x, y };
    });
    await page.mouse.click(at.x, at.y);
    await until("the page of flows", () => new URL(page.url()).pathname === "/");
    assert.match(parameter(page, "filter"), /source_workload="rogue".*destination_workload="redis-cluster"/);
    await until("its flows and no others", async () => {
      const texts = await rows(page).allInnerTexts();
      return texts.length > 0 && texts.every((text) => /rogue[^]*redis-cluster/.test(text));
    });
    await page.goBack();
    await edge.first().waitFor();
  });
});

test("the policies' page has the policy with what it selects and its hits", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/policies", "Policies");
    const row = page.getByRole("row").filter({ hasText: "redis-allow-from-backend" });
    await row.waitFor();
    const numbers = (await row.innerText())
      .match(/\d[\d,]*/g)
      .map((text) => Number(text.replaceAll(",", "")));
    assert.ok(Math.max(...numbers) > 1, `hits in ${numbers}`);
    await row.getByText("redis-allow-from-backend").click();
    await page.getByText("redis-cluster-0").first().waitFor();
    await settled(page);
    await look(page, "policies-one");
  });
});

test("can A reach B: the rogue cannot, and why; the backend can", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/reach", "Can A reach B?");
    const from = page.getByRole("combobox", { name: "From", exact: true });
    await from.fill("rogue");
    await page.getByRole("option", { name: /default\/rogue/ }).click();
    await page.getByRole("combobox", { name: "To", exact: true }).fill("default/redis-cluster-0");
    await page.getByLabel("Port").fill(String(REDIS));
    await page.getByLabel("Port").press("Enter");
    await page.getByText(new RegExp(`^Denied: .*${POLICY}`)).waitFor();
    await page.getByRole("region", { name: /diff/i }).waitFor();
    assert.deepEqual(
      ["from", "to", "port"].map((name) => parameter(page, name)),
      ["default/rogue", "default/redis-cluster-0", String(REDIS)],
    );
    await from.fill("default/backend");
    await page.getByLabel("Port").press("Enter");
    await page.getByText(/^Allowed: /).waitFor();
    await page.goBack();
    await page.getByText(/^Denied: /).waitFor();
    assert.equal(await from.inputValue(), "default/rogue");
  });
});

test("the status has the nodes, what is lost and what it stores", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/status", "Status");
    for (const node of ["node-1", "node-2"]) {
      await page.getByRole("row").filter({ hasText: node }).first().waitFor();
    }
    await page
      .getByRole("heading", { name: /lost|loss/i })
      .first()
      .waitFor();
    await page.getByText(/a day/).first().waitFor();
  });
});

/** Presses a key again and again until what has the focus passes. */
async function pressUntil(page, key, what, passes, most = 80) {
  for (let pressed = 0; pressed <= most; pressed += 1) {
    if (await page.evaluate(passes)) return;
    await page.keyboard.press(key);
  }
  const focus = await page.evaluate(() => document.activeElement?.outerHTML.slice(0, 300));
  assert.fail(`${key} does not lead to ${what}; the focus is on ${focus}`);
}

test("by keys alone from the page to the change that would allow it, and back", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/", "Flows");
    await group(page).waitFor();
    await pressUntil(page, "j", "the rogue's group", () => {
      const row = document.activeElement?.closest("[role=row]");
      return /deny.*rogue.*redis-cluster.*6379/s.test(row?.innerText ?? "");
    });
    await page.keyboard.press("Enter");
    await diff(page).waitFor();
    await until("the focus in the details", () =>
      page.evaluate(() => document.activeElement?.closest("aside") !== null),
    );
    await pressUntil(page, "Tab", "the diff", () =>
      /diff/i.test(document.activeElement?.getAttribute("aria-label") ?? ""),
    );
    assert.match(await page.evaluate(() => document.activeElement.innerText), /^\+.*\S/m);
    await page.keyboard.press("Escape");
    await details(page).waitFor({ state: "detached" });
    await until("the focus back on the row", () =>
      page.evaluate(() => /rogue/.test(document.activeElement?.closest("[role=row]")?.innerText ?? "")),
    );
    // On to a value that becomes the filter, and to another page.
    await pressUntil(page, "ArrowRight", "the source", () =>
      /\/rogue/.test(document.activeElement?.innerText ?? ""),
    );
    await page.keyboard.press("f");
    await untilParameter(page, "filter", (filter) => filter.includes('"rogue"'));
    await page.keyboard.press("/");
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^Filter/);
    // The first one may close what is suggested.
    await pressUntil(page, "Escape", "the page", () => !document.activeElement?.matches("textarea"));
    await page.keyboard.press("g");
    await page.keyboard.press("t");
    await until("the status", () => new URL(page.url()).pathname === "/status");
  });
});

test("? lists the keys that are taken, and Escape leaves", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/", "Flows");
    await rows(page).first().waitFor();
    await page.keyboard.press("?");
    const keys = page.getByRole("dialog", { name: "Keys" });
    await keys.waitFor();
    const listed = await keys.locator("kbd").allInnerTexts();
    for (const key of ["?", "/", "j", "k", "g g", "o", "f", "Shift+F", "[", "]", "t", "p", "y", "g m"]) {
      assert.ok(listed.includes(key), `${key} is not among ${listed}`);
    }
    await page.keyboard.press("Escape");
    await keys.waitFor({ state: "hidden" });
  });
});

/** Pictures and barriers of what is on the page, in light and in dark. */
async function look(page, name) {
  const found = {};
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await picture(page, `${name}-${colorScheme}`);
    assert.equal(await overflows(page), false, `${name} can be pushed sideways`);
    const barred = await barriers(page);
    if (barred.length > 0) found[colorScheme] = barred;
  }
  assert.deepEqual(found, {}, name);
}

for (const { path, title, name } of PAGES) {
  test(`nothing keeps people out of ${name}, in light and dark`, async () => {
    await visit(browser, {}, async (page) => {
      await go(page, path, title);
      await settled(page);
      await look(page, name);
    });
  });
}

test("nothing keeps people out of the details, the columns and the keys, in light and dark", async () => {
  await visit(browser, {}, async (page) => {
    await go(page, "/", "Flows");
    await openGroup(page);
    await settled(page);
    await look(page, "flows-details");
    await page.getByRole("button", { name: /^Columns/ }).click();
    await page.getByRole("dialog", { name: "Columns" }).waitFor();
    await look(page, "flows-columns");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Keys" }).click();
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await look(page, "keys");
  });
});
