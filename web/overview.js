// What the cluster amounts to: what could start now, the last hour, what the signs mean.
import { chart } from './charts.js';
import { el, percent } from './dom.js';
import { holders } from './model.js';
import { namespaceOf } from './palette.js';

const LEGEND_MAX = 24;
const LEGEND_MS = 10e3;
let counted = null;

function startable(sample) {
  const rows = Object.entries(sample?.startable ?? {});
  const most = Math.max(1, ...rows.map(([, number]) => number));
  const own = (name) => name.startsWith('tangram.gpu/');
  const number = new Intl.Collator('en', { numeric: true });
  rows.sort((a, b) => own(b[0]) - own(a[0]) || number.compare(a[0], b[0]));
  const line = ([name, free]) => {
    const bar = el('div', { class: 'bar-line' }, el('i'));
    bar.firstChild.style.width = `${(100 * free) / most}%`;
    return el('tr', {}, el('th', { scope: 'row', title: name }, own(name) ? name.slice(16) : name), el('td', { class: `n ${free ? '' : 'zero'}` }, free.toLocaleString('en')), el('td', { class: 'w' }, bar));
  };
  return el('table', { class: 'startable', 'aria-label': 'How many pods of each kind could start now' }, el('tbody', {}, rows.map(line)));
}

/** Who has how much; every pod of the cluster is counted, so not for every change. */
function weights(model, by) {
  if (counted?.by === by && counted.model === model && performance.now() - counted.at < LEGEND_MS) return counted.seen;
  const seen = new Map();
  for (const node of model.nodes.values()) {
    for (const [pod, profile] of holders(node)) {
      const key = by === 'namespace' ? namespaceOf(pod) : profile;
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
  }
  if (model.nodes.size) counted = { by, model, seen, at: performance.now() };
  return seen;
}

/** What the colours mean; a click searches for it. */
function legend(model, by, search) {
  const keys = [...weights(model, by)].sort((a, b) => b[1] - a[1]).slice(0, LEGEND_MAX);
  const item = ([key]) =>
    el('li', {}, el('button', { type: 'button', title: `Show only nodes with ${key}`, onclick: () => search(key) }, el('span', { class: `swatch block-like ${model.palettes[by].look(key)}` }), key));
  const sign = (look, text) => el('li', {}, el('span', { class: `swatch ${look}` }), text);
  return [
    el('ul', { class: 'legend' }, keys.map(item)),
    el('h3', {}, 'Signs'),
    el('ul', { class: 'legend' }, sign('free', 'free'), sign('hatched', 'stranded: free, but nothing that is asked for fits'), sign('closed', 'takes nothing more'), sign('ghost', 'only on this screen: a dry run or a plan')),
  ];
}

/** The overview. */
export function overview({ model, by, search }) {
  const { history, sample } = model;
  const samples = sample ? [...history, sample] : history;
  return el(
    'div',
    { class: 'sheet' },
    el('h2', {}, 'The last hour'),
    el('div', { class: 'charts' },
      chart('Utilisation', 'GPU memory that pods hold, of all there is', samples, (it) => it.utilisation, percent),
      chart('Fragmentation', 'Part of the free slices of partitioned GPUs that a request like those seen is expected not to be able to use', samples, (it) => it.fragmentation, percent),
      chart('Acceptance', 'Pods with a place, of all pods that ask for GPUs', samples, (it) => it.acceptance, percent),
    ),
    el('h3', {}, 'What could start now: pods of each kind, as if it came alone'),
    startable(sample),
    el('h3', {}, by === 'namespace' ? 'Namespaces' : 'Profiles'),
    legend(model, by, search),
  );
}
