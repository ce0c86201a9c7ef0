// Names that nobody should call anything, and somebody who may see one namespace only.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  barriers,
  details,
  go,
  launch,
  list,
  overflows,
  parameter,
  picture,
  required,
  rows,
  service,
  settled,
  signIn,
  sql,
  until,
  untilParameter,
  visit,
} from "./browser.mjs";

const TOKEN = required("WEIR_TOKEN");
const GUEST_TOKEN = required("WEIR_GUEST_TOKEN");
const GUEST_NAMESPACE = required("WEIR_GUEST_NAMESPACE");
/** The namespaces that the guest does not see have it in their names, and nothing else has. */
const FOREIGN = /foreign/;
const ALL = "verdicts=deny,audit,allow";
const PAGES = [
  { path: `/?${ALL}`, title: "Flows", name: "flows" },
  { path: `/?${ALL}&group=rows`, title: "Flows", name: "flows-rows" },
  {
    path: `/?${ALL}&group=rows&columns=source_pod,source_workload_name,source_labels,policy,destination_workload_name`,
    title: "Flows",
    name: "flows-labels",
  },
  { path: `/map?${ALL}`, title: "Map", name: "map" },
  { path: `/map?${ALL}&mode=matrix`, title: "Map", name: "matrix" },
  { path: `/map?${ALL}&mode=table`, title: "Map", name: "edges" },
  { path: "/policies", title: "Policies", name: "policies" },
  { path: "/sql?sql=SELECT+*+FROM+flows", title: "SQL", name: "sql" },
  { path: "/status", title: "Status", name: "status" },
];
/** Whose lists show a row of every name at once. */
const TALL = { width: 1440, height: 3000 };
/** Pages without flows. */
const ABOUT_OTHERS = ["policies", "status"];
/** Until somebody is signed in, the browser itself notes each refusal. */
const REFUSED = /status of 401/;

let browser;
let names;
before(async () => {
  browser = await launch();
  const found = await sql(
    "SELECT source_pod AS name, count(*) AS rows FROM flows WHERE source_namespace LIKE 'foreign%' GROUP BY 1",
    TOKEN,
  );
  names = found.map(({ name }) => name);
  assert.ok(names.length >= 9, `${names.length} hostile names`);
});
after(() => browser?.close());

/** A page of somebody who has signed in, on which nothing of a name may run. */
async function visitAs(token, options, look) {
  await visit(browser, options, async (page, context) => {
    await context.addInitScript(() => {
      const title = Object.getOwnPropertyDescriptor(Document.prototype, "title");
      Object.defineProperty(Document.prototype, "title", {
        ...title,
        set(text) {
          if (text === "owned") window.reportViolation("a name has run");
          title.set.call(this, text);
        },
      });
    });
    const answer = await context.request.post(`${service}/api/v1/session`, { data: { token } });
    assert.ok(answer.ok(), `signing in: ${answer.status()}`);
    await look(page, context);
    assert.notEqual(await page.title(), "owned");
  });
}

/** Waits until the page has something of the flows that are to be on it. */
function untilShown(page, name, pattern) {
  if (ABOUT_OTHERS.includes(name)) return settled(page);
  return until(`${pattern} on ${name}`, async () =>
    pattern.test(await page.locator("main").innerHTML()),
  ).then(() => settled(page));
}

test("a token signs in, another does not, and who signs out is out", async () => {
  await visit(browser, { expected: [REFUSED] }, async (page) => {
    await page.goto(`${service}/?group=rows`);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    assert.equal(await list(page).count(), 0);
    await signIn(page, "nobody-has-this-secret");
    await page.getByRole("alert").waitFor();
    assert.equal(await list(page).count(), 0);
    await signIn(page, TOKEN);
    await rows(page).first().waitFor();
    assert.equal(parameter(page, "group"), "rows", "what one came for is still asked");
    const stored = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
    assert.ok(!stored.includes(TOKEN), "no script sees the token");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    assert.equal(await list(page).count(), 0);
    assert.deepEqual(await barriers(page), []);
  });
});

for (const { path, title, name } of PAGES) {
  test(`hostile names are text on ${name}, and push nothing aside`, async () => {
    await visitAs(TOKEN, {}, async (page) => {
      await go(page, path, title);
      await untilShown(page, name, FOREIGN);
      assert.equal(await page.locator("img[src=x], main script, main style").count(), 0);
      assert.equal(await overflows(page), false, "at 1440 pixels");
      await picture(page, `hostile-${name}`);
      await page.setViewportSize({ width: 1024, height: 700 });
      assert.equal(await overflows(page), false, "at 1024 pixels");
      assert.deepEqual(await barriers(page), []);
    });
  });
}

test("every name is in the list as it is", async () => {
  await visitAs(TOKEN, { viewport: TALL }, async (page) => {
    await go(page, `/?${ALL}&group=rows&columns=source_pod`, "Flows");
    await rows(page).first().waitFor();
    const visible = names.filter((name) => /^[\x20-\x7e]+$/.test(name) && name.length < 200);
    assert.ok(visible.length >= 4, `${visible}`);
    for (const name of visible) {
      await list(page).getByText(name, { exact: true }).first().waitFor();
    }
    // Of what is too long, the beginning; of what is not seen, what it is.
    const long = names.find((name) => name.length === 253);
    await list(page).getByText(long.slice(0, 100)).first().waitFor();
    await list(page).getByText("⟨U+202E⟩gnp.exe").first().waitFor();
    await list(page).getByText("␀␛[31mred␍␊next").first().waitFor();
    await list(page).getByText("⟨U+200B⟩").first().waitFor();
    const heights = await rows(page).evaluateAll((all) =>
      all.map((row) => row.scrollHeight - row.clientHeight),
    );
    assert.ok(
      heights.every((over) => over <= 1),
      `rows higher than one line: ${heights}`,
    );
  });
});

test("a click on a hostile name finds its flows and no others", async () => {
  await visitAs(TOKEN, { viewport: TALL }, async (page) => {
    for (const name of names.filter((name) => name.length < 200)) {
      const query = new URLSearchParams({
        group: "rows",
        columns: "source_pod",
        verdicts: "deny,audit,allow",
      });
      await go(page, `/?${query}`, "Flows");
      const cells = list(page).getByRole("gridcell");
      await cells.first().waitFor();
      const index = await until(`a row of ${JSON.stringify(name)}`, async () => {
        const titles = await cells.evaluateAll((all) => all.map((cell) => cell.getAttribute("title")));
        return titles.indexOf(name) + 1;
      });
      await cells.nth(index - 1).hover();
      await page.getByRole("button", { name: /^Only flows with/ }).click();
      await untilParameter(page, "filter");
      await until(`only flows of ${JSON.stringify(name)}`, async () => {
        const titles = await cells.evaluateAll((all) => all.map((cell) => cell.getAttribute("title")));
        return titles.length > 0 && titles.every((title) => title === name);
      });
    }
  });
});

test("the details of a flow with such names and 400 labels open, and stay in the window", async () => {
  // Nobody here has told the service of a cluster's policies.
  await visitAs(TOKEN, { expected: [/status of 503/] }, async (page) => {
    for (const name of ["<img", "n".repeat(100)]) {
      await go(page, `/?${ALL}&group=rows`, "Flows");
      await rows(page).filter({ hasText: name }).first().getByRole("gridcell").first().click();
      await details(page).getByRole("tab", { name: "Why" }).waitFor();
      await details(page).getByRole("alert").waitFor();
      for (const tab of ["Why", "Connection", "JSON"]) {
        await details(page).getByRole("tab", { name: tab }).click();
        await settled(page);
        await details(page).getByRole("tabpanel").waitFor();
        assert.equal(await overflows(page), false, tab);
        assert.equal(await page.locator("img[src=x], main script, main style").count(), 0);
      }
      await details(page).getByText("label-399").first().waitFor();
      await picture(page, `hostile-details-${name.length}`);
      assert.deepEqual(await barriers(page), []);
    }
  });
});

test("of more groups than are shown at once, the first are those of the order that is chosen", async () => {
  await visitAs(TOKEN, {}, async (page) => {
    for (const [sort, field] of [
      ["last_seen", "last_seen"],
      ["first_seen:asc", "first_seen"],
    ]) {
      const { groups } = await api(`/api/v1/groups?order=${sort}&limit=1`, { token: TOKEN });
      await go(page, `/?${ALL}&sort=${sort}`, "Flows");
      await rows(page).first().locator(`time[datetime="${groups[0][field]}"]`).first().waitFor();
    }
  });
});

test("what was lost is shaded where it was, summed, and told by stage and verdict", async () => {
  await visitAs(TOKEN, {}, async (page) => {
    await go(page, `/?${ALL}`, "Flows");
    const histogram = page.getByRole("region", { name: "Histogram" });
    const lost = histogram.getByRole("link", { name: "20 lost" });
    await lost.waitFor();
    const places = (selector) =>
      histogram
        .locator(selector)
        .evaluateAll((all) => all.map((one) => one.getBoundingClientRect().toJSON()));
    const shades = await places("rect.gap");
    assert.equal(shades.length, 1, "ten seconds are one gap");
    const bars = await places("rect.bar");
    assert.ok(
      shades[0].left > bars[0].left && shades[0].right < bars.at(-1).right,
      "in the midst of the rows",
    );
    await picture(page, "lost");
    await histogram.getByRole("button", { name: "Table" }).click();
    await histogram.getByText("20 are lost").first().waitFor();
    await lost.click();
    for (const [verdict, count] of [
      ["allow", 17],
      ["deny", 3],
    ]) {
      const row = page.getByRole("row").filter({ hasText: "spool" }).filter({ hasText: verdict });
      await row.getByText(`${count} verdicts`).waitFor();
    }
    await picture(page, "lost-status");
    assert.deepEqual(await barriers(page), []);
  });
});

test("the guest sees rows of one namespace, and nothing foreign on any page", async () => {
  await visitAs(GUEST_TOKEN, {}, async (page) => {
    for (const { path, title, name } of PAGES) {
      await go(page, path, title);
      // Or else the page would be empty for everybody.
      await untilShown(page, name, new RegExp(GUEST_NAMESPACE));
      const text = await page.locator("main").innerText();
      assert.doesNotMatch(text, FOREIGN, name);
      const html = await page.locator("main").innerHTML();
      assert.doesNotMatch(html, FOREIGN, `${name}, where it is not seen`);
    }
    await go(page, `/?${ALL}`, "Flows");
    await settled(page);
    const values = page.getByRole("region", { name: "Fields and their values" });
    await values.getByText(GUEST_NAMESPACE, { exact: true }).first().waitFor();
    assert.doesNotMatch(await values.innerText(), FOREIGN);
  });
});

test("a link to a foreign flow shows the guest nothing of it", async () => {
  let link;
  // Nobody has told this service of policies, by which a flow could be explained.
  await visitAs(TOKEN, { expected: [/status of 503/] }, async (page) => {
    await go(page, `/?${ALL}&group=rows`, "Flows");
    await rows(page).filter({ hasText: "foreign-" }).first().getByRole("gridcell").first().click();
    await details(page).getByRole("tab", { name: "JSON" }).click();
    await details(page).getByText("foreign").first().waitFor();
    link = page.url();
  });
  await visitAs(GUEST_TOKEN, {}, async (page) => {
    await page.goto(link);
    await details(page)
      .getByText(/may not see it/)
      .waitFor();
    assert.doesNotMatch(await page.locator("main").innerText(), FOREIGN);
  });
});
