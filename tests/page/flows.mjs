// What people do on the page: node flows.mjs ADDRESS FLOW. Fails with the reason.
import assert from 'node:assert/strict';
import { barriers, open } from './browser.mjs';

const [, , base, flow] = process.argv;

const names = (page) => page.$$eval('.card', (cards) => cards.map((card) => card.dataset.node));
const text = (page, selector) => page.locator(selector).innerText();

const flows = {
  async it_opens(page) {
    assert.match(await text(page, '#summary'), /35\nNodes|Nodes\n35/);
    assert.equal((await names(page)).length > 8, true);
    assert.match(await text(page, '#sheet-overview'), /3g\.40gb\s+57/);
    const policy = (await (await fetch(`${base}/`, { headers: { accept: 'text/html' } })).headers.get('content-security-policy')).split(';');
    assert.equal(policy[0], "default-src 'none'");
  },

  async a_stranded_gpu_is_found(page) {
    await page.selectOption('[aria-label=Show]', 'stranded');
    await page.waitForFunction(() => /^\d of 35$|^\d\d of 35$/.test(document.querySelector('.shown').textContent));
    for (const card of await page.$$('.card')) assert.ok(await card.$('.stranded'), await card.innerText());
    await page.click('[data-node=dyn-h100-01] [data-gpu="2"]');
    await page.waitForSelector('#sheet-node h2:text-is("dyn-h100-01")');
    assert.match(await text(page, '#sheet-node .facts'), /Stranded\s+5 memory slices|Stranded\s+\d memory slices/);
    const gpu = page.locator('#sheet-node [data-index="2"]');
    assert.equal(await gpu.locator('.hatched').count(), 1);
    assert.match(await gpu.innerText(), /3g\.40gb @0\s+inference\/vllm-mistral-small/);
  },

  async a_pending_pod_says_why_and_what_would_help(page) {
    await page.click('#tab-pending');
    assert.match(await text(page, '#sheet-pending h2'), /^7 pods wait/);
    await page.click('[data-pod="research/longseq-ft-xl-ks47r"]');
    await page.waitForSelector('.answer h3:text-is("What would make it fit")');
    const said = await text(page, '.answer');
    assert.match(said, /Why it waits/);
    assert.ok((await page.$$('.answer .reasons li, .answer .changes li')).length > 0, said);
  },

  async a_what_if_is_drawn_onto_the_map(page) {
    await page.keyboard.press('w');
    await page.fill('[name=pods]', '2');
    await page.click('#sheet-whatif button.main');
    await page.waitForSelector('.verdict:text-is("All 2 fit.")');
    await page.waitForFunction(() => document.querySelectorAll('#map .block.new').length >= 1);
    assert.match(await text(page, '#banner'), /2 of 2 pods placed/);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.querySelectorAll('.block.new').length === 0);
    await page.click('#sheet-whatif .switch button:text-is("Objects")');
    await page.click('#sheet-whatif button.main');
    await page.waitForSelector('.verdict:text-is("All 2 fit.")');
  },

  async a_plan_is_played_before_it_runs(page) {
    await page.click('#tab-repack');
    await page.click('#sheet-repack button.main');
    await page.waitForSelector('.player');
    assert.equal(await page.locator('.block.new').count(), 0);
    await page.click('.player [aria-label^="One step on"]');
    await page.waitForSelector('#map .block.new');
    assert.match(await text(page, '.player .at'), /^after step 1 of \d+$/);
    assert.equal(await page.locator('[aria-current=step]').count(), 1);
    await page.click('.player [aria-label="To the start"]');
    await page.waitForFunction(() => document.querySelectorAll('#map .block.new').length === 0);
  },

  async a_change_is_seen_as_it_happens(page) {
    await page.fill('[type=search]', 'dyn-h100-03');
    await page.waitForFunction(() => document.querySelectorAll('.card').length === 1);
    const before = await page.locator('#map .block').count();
    const pod = (await page.locator('#map .block').first().getAttribute('title')).split('\n')[1];
    await page.evaluate((count) => {
      window.seen = new Promise((resolve) => {
        const look = () => (document.querySelectorAll('#map .block').length < count ? resolve(Date.now()) : requestAnimationFrame(look));
        look();
      });
    }, before);
    const asked = Date.now();
    const answer = await fetch(`${base}/v1/pods/${pod}`, { method: 'DELETE' });
    assert.deepEqual(await answer.json(), { deleted: true });
    const seen = await page.evaluate(() => window.seen);
    console.log(`the change was drawn after ${seen - asked} ms`);
    assert.equal(await page.locator('#map .block').count(), before - 1);
  },

  async the_keyboard_reaches_everything(page) {
    await page.keyboard.press('/');
    await page.keyboard.type('dyn-h100');
    await page.waitForFunction(() => document.querySelectorAll('.card').length === 6);
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.querySelector('[type=search]').value === '');
    await page.keyboard.press('m');
    const focused = () => page.evaluate(() => document.activeElement.dataset.focus);
    const first = await focused();
    await page.keyboard.press('ArrowRight');
    assert.notEqual(await focused(), first);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowLeft');
    assert.equal(await focused(), first);
    await page.keyboard.press('End');
    assert.match(await focused(), /^t4-shared/);
    await page.keyboard.press('Enter');
    await page.waitForSelector('#sheet-node h2:has-text("t4-shared")');
    await page.keyboard.press('v');
    await page.waitForSelector('.cell');
    await page.keyboard.press('?');
    await page.waitForSelector('dialog[open]');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => !document.querySelector('dialog'));
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    const before = await theme();
    await page.keyboard.press('t');
    assert.notEqual(await theme(), before);
  },

  async nobody_is_kept_out_in_light(page) {
    await everySheet(page);
  },

  async nobody_is_kept_out_in_dark(page) {
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
    await everySheet(page);
  },

  async five_thousand_nodes_are_shown(page, { shown_ms }) {
    assert.match(await text(page, '#summary'), /5,000/);
    await page.waitForTimeout(1000);
    const session = await page.context().newCDPSession(page);
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = await session.send('Runtime.getHeapUsage');
    const bytes = usedSize + embedderHeapUsedSize + backingStorageSize;
    const mib = (size) => (size / 2 ** 20).toFixed(1);
    const elements = await page.evaluate(() => document.querySelectorAll('*').length);
    const cluster = await page.evaluate(() => performance.getEntriesByType('resource').find((it) => it.name.endsWith('/v1/cluster')).toJSON());
    console.log(`GET /v1/cluster: ${(cluster.decodedBodySize / 2 ** 20).toFixed(1)} MiB after ${cluster.duration.toFixed(0)} ms of it`);
    console.log(`5,000 nodes were shown after ${shown_ms.toFixed(0)} ms, with ${elements} elements, ${mib(bytes)} MiB (scripts ${mib(usedSize)})`);
    assert.ok(bytes < 150 * 2 ** 20, `${mib(bytes)} MiB`);
    assert.ok(elements < 10_000, `${elements} elements: only what is in sight is drawn`);
    await page.click('#controls [data-value=cards]');
    await page.waitForSelector('.card');
    assert.ok((await page.$$('.card')).length < 60);
    await page.keyboard.press('m');
    await page.keyboard.press('End');
    await page.waitForSelector('[data-focus=gpu-04999]:focus, [data-focus]:focus');
  },
};

async function everySheet(page) {
  const found = [];
  const check = async (where) => found.push(...(await barriers(page)).map((barrier) => `${where}: ${barrier}`));
  await check('overview');
  await page.click('[data-node=dyn-h100-01] .name');
  await check('node');
  await page.click('#tab-pending');
  await page.click('[data-pod="research/longseq-ft-xl-ks47r"]');
  await page.waitForSelector('.answer h3:text-is("What would make it fit")');
  await check('pending');
  await page.click('#tab-whatif');
  await page.click('#sheet-whatif button.main');
  await page.waitForSelector('.verdict');
  await check('what if');
  await page.click('#tab-repack');
  await page.click('#sheet-repack button.main');
  await page.waitForSelector('.player');
  await check('repack');
  await page.click('#controls [data-value=cells]');
  await check('cells');
  await page.click('#help');
  await check('help');
  assert.deepEqual(found, []);
}

const opened = await open(base, { scheme: flow.endsWith('dark') ? 'dark' : 'light' });
try {
  await flows[flow](opened.page, opened);
  assert.deepEqual(opened.faults, []);
} finally {
  await opened.browser.close();
}
