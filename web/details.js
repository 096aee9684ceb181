// One node in full.
import { count, el, percent } from './dom.js';
import { devices } from './gpu.js';

function holdersOf(gpu, showPod) {
  const line = (what, who) => el('li', {}, el('span', { class: 'what' }, what), el('button', { type: 'button', class: 'link who', onclick: () => showPod(who) }, who));
  const lines = gpu.instances.flatMap((it) => {
    const what = `${it.profile} @${it.start}`;
    if (it.pods.length) return it.pods.map((holder) => line(what, holder.pod));
    return it.pod ? [line(what, it.pod)] : [el('li', {}, el('span', { class: 'what' }, what), el('span', { class: 'muted' }, 'nobody is known to use it'))];
  });
  lines.push(...gpu.pods.map((holder) => line(holder.shares ? count(holder.shares, 'share') : 'whole GPU', holder.pod)));
  return lines.length ? el('ul', { class: 'holders' }, lines) : null;
}

const pods = (pool, showPod) =>
  el('ul', { class: 'holders' }, pool.holdings.map((held) => el('li', {}, el('span', { class: 'what' }, `${held.count} ×`), el('button', { type: 'button', class: 'link who', onclick: () => showPod(held.pod) }, held.pod))));

/** A node: facts, GPUs large, who has what. `gpu` is brought into sight. */
export function details(node, context, gpu, showPod) {
  if (!node) return el('div', { class: 'sheet' }, el('h2', {}, 'No node chosen'), el('p', { class: 'muted' }, 'Click a node of the map, or move to it with the arrow keys and press Enter.'));
  const { all, used, stranded } = node.sum;
  const { zone, rack, pool } = node.topology;
  const facts = [
    ['GPUs', node.product || (all ? 'model not labelled' : 'none')],
    ['In use', all ? percent(used / all) : null],
    ['Stranded', stranded ? count(stranded, 'memory slice') : null],
    ['Pool', pool], ['Rack', rack], ['Zone', zone],
    ['Known from', node.source === 'agent' ? 'its agent' : 'labels and pods'],
    ['State', node.isCordoned ? 'cordoned: takes no new pods' : null],
  ].filter(([, value]) => value);
  const large = devices(node, { ...context, isLarge: true });
  const parts = large.map((element) => {
    const index = element.dataset.gpu;
    const found = index === undefined ? null : node.gpus.find((it) => it.index === Number(index));
    return el('div', { 'data-index': index }, element, found ? holdersOf(found, showPod) : null);
  });
  const sheet = el(
    'div',
    { class: 'sheet' },
    el('h2', {}, node.name),
    el('dl', { class: 'facts' }, facts.map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
    node.problems.length ? el('ul', { class: 'error' }, node.problems.map((text) => el('li', {}, text))) : null,
    el('div', { class: 'detail' }, parts),
    node.pools.filter((it) => it.holdings.length).map((it) => [el('h3', {}, `Who has ${it.resource}${it.devices === 'known' ? '' : ' (which device is the kubelet’s choice)'}`), pods(it, showPod)]),
  );
  if (gpu !== undefined) requestAnimationFrame(() => sheet.querySelector(`[data-index="${gpu}"]`)?.scrollIntoView({ block: 'nearest' }));
  return sheet;
}
