// One node's GPUs and counted devices as elements.
import { el, percent } from './dom.js';
import { namespaceOf } from './palette.js';

const UNITS_MAX = 16; // more devices than that are a bar
export const HEAD = 40; // height of a card without devices
const GPU = 22;
const POOL = 37;

const shortResource = (name) => name.replace(/^nvidia\.com\//, '');

/** Pools that are drawn: whole devices that are drawn one by one already are left out. */
export function drawnPools(node) {
  const isReported = node.gpus.some((gpu) => !gpu.isDynamic);
  return node.pools.filter((pool) => !isReported || !['whole', 'replica'].includes(pool.kind) || pool.capacity > node.gpus.length);
}

/** Height of a node's card in pixels. */
export function heightOf(node) {
  return HEAD + Math.max(22, node.gpus.length * GPU + drawnPools(node).length * POOL);
}

const lookOf = (context, pod, profile) =>
  context.model.palettes[context.by].look(context.by === 'namespace' ? namespaceOf(pod) : profile);

function block(gpu, it, className, label, title) {
  const width = (100 * it.size) / gpu.slices.length;
  const element = el('span', { class: `block ${className} ${width < 20 ? 'small' : ''}`, title }, label);
  element.style.left = `${(100 * it.start) / gpu.slices.length}%`;
  element.style.width = `calc(${width}% - 2px)`;
  return element;
}

/** `3g` for a narrow block, `3g.40gb` for one with room. */
const label = (gpu, it, { isLarge }) => (it.size / gpu.slices.length < (isLarge ? 0.2 : 0.3) ? it.profile.split('.')[0] : it.profile);

function held(gpu, it, context, isLeaving) {
  const pods = it.pods.length ? it.pods.map((holder) => holder.pod) : it.pod ? [it.pod] : [];
  const title = `${it.profile} at ${it.start}\n${pods.join('\n') || 'nobody is known to use it'}`;
  const look = pods.length ? lookOf(context, pods[0], it.profile) : 'idle';
  return block(gpu, it, `${look} ${isLeaving ? 'leaving' : ''}`, label(gpu, it, context), title);
}

function hatch(gpu, slice) {
  const element = el('span', { class: 'stranded hatched', title: 'free, but no profile that is asked for fits' });
  element.style.left = `${(100 * slice) / gpu.slices.length}%`;
  element.style.width = `${100 / gpu.slices.length}%`;
  return element;
}

function tick(gpu, slice) {
  const element = el('span', { class: 'tick' });
  element.style.left = `${(100 * slice) / gpu.slices.length}%`;
  return element;
}

/** A GPU in words, for those who hear it. */
function described(gpu, added) {
  if (gpu.isClosed) return `GPU ${gpu.index}: takes nothing more${gpu.unhealthy ? `, ${gpu.unhealthy}` : ''}`;
  const parts = gpu.instances.map((it) => `${it.profile} ${it.pod ?? 'unused'}`);
  parts.push(...gpu.pods.map((holder) => `whole GPU ${holder.pod}`));
  parts.push(...added.map((it) => `${it.profile} new ${it.pod}`));
  if (gpu.stranded.length) parts.push(`${gpu.stranded.length} slices stranded`);
  return `GPU ${gpu.index}: ${parts.join('; ') || 'free'}`;
}

function bar(node, gpu, context) {
  const over = context.overlay?.of(node.name);
  const added = (over?.added ?? []).filter((it) => it.gpu === gpu.index).map((it) => ({ ...it, size: context.model.sizeOf(gpu, it.profile) }));
  const gone = (over?.gone ?? []).filter((it) => it.gpu === gpu.index);
  const leaves = (it) => gone.some((other) => other.start === it.start && other.pod === it.pod);
  const slices = el('span', { class: `slices ${gpu.isClosed ? 'closed' : ''}`, role: 'img', 'aria-label': described(gpu, added) });
  if (gpu.isClosed && !gpu.instances.length) {
    slices.append(el('span', { class: 'note', title: gpu.unhealthy }, `✕ ${gpu.unhealthy ?? 'closed'}`));
    return slices;
  }
  if (gpu.isDynamic || gpu.instances.length) {
    for (let slice = 1; slice < gpu.slices.length; slice += 1) {
      if (gpu.slices[slice] === '.' || gpu.slices[slice - 1] === '.') slices.append(tick(gpu, slice));
    }
    slices.append(...gpu.stranded.map((slice) => hatch(gpu, slice)));
    // What has moved away is drawn no more once somebody else stands there.
    const isCovered = (it) => added.some((other) => other.start < it.start + it.size && it.start < other.start + other.size);
    slices.append(...gpu.instances.filter((it) => !(leaves(it) && isCovered(it))).map((it) => held(gpu, it, context, leaves(it))));
    slices.append(...added.map((it) => block(gpu, it, 'new', label(gpu, it, context), `${it.profile} at ${it.start}\n${it.pod}`)));
    return slices;
  }
  const whole = { start: 0, size: gpu.slices.length || 1, profile: gpu.pods.length > 1 ? `${gpu.pods.length} pods share it` : 'GPU', pod: gpu.pods[0]?.pod, pods: gpu.pods };
  if (gpu.pods.length) slices.append(held({ ...gpu, slices: gpu.slices || '.' }, whole, context, false));
  return slices;
}

function units(node, pool, context) {
  const over = context.overlay?.of(node.name);
  const added = (over?.units ?? []).filter((it) => it.resource === pool.resource);
  const row = el('div', { class: 'units' });
  if (pool.capacity > UNITS_MAX) {
    const share = el('span', { class: 'share' }, el('i', { class: 'used' }));
    share.firstChild.style.width = `${(100 * pool.used) / pool.capacity}%`;
    row.append(share);
  } else {
    const looks = pool.holdings.flatMap((held) => Array(held.count).fill(held.pod));
    const fresh = added.flatMap((it) => Array(it.count).fill(it.pod));
    for (let unit = 0; unit < pool.capacity; unit += 1) {
      const [pod, ghost] = [looks[unit], fresh[unit - looks.length]];
      const look = pod ? `held ${over?.left.has(pod) ? 'leaving' : ''} ${lookOf(context, pod, pool.profile ?? pool.resource)}` : ghost ? 'new' : '';
      row.append(el('span', { class: `unit ${look}`, title: pod ?? ghost ?? 'free' }));
    }
  }
  return row;
}

function counted(node, pool, context) {
  const kind = pool.kind === 'partition' && pool.profile ? pool.profile : shortResource(pool.resource);
  const words = `${shortResource(pool.resource)}: ${pool.used} of ${pool.capacity} in use`;
  return el(
    'div',
    { class: 'pool', role: 'img', 'aria-label': words },
    el('div', { class: 'label' }, el('span', { title: pool.resource }, pool.sharing ? `${kind} · ${pool.sharing}` : kind), el('span', {}, `${pool.used}/${pool.capacity}`)),
    units(node, pool, context),
  );
}

/** The devices of a node. */
export function devices(node, context) {
  const gpus = node.gpus.map((gpu) =>
    el('div', { class: 'gpu', 'data-gpu': gpu.index }, el('span', { class: 'index', 'aria-hidden': 'true' }, String(gpu.index)), bar(node, gpu, context)),
  );
  const pools = drawnPools(node).map((pool) => counted(node, pool, context));
  if (gpus.length || pools.length) return [...gpus, ...pools];
  return [el('div', { class: 'empty' }, 'no GPUs')];
}

/** Small words about a node: what is wrong first. */
export function tags(node) {
  const found = [];
  if (node.problems.length) found.push(el('span', { class: 'tag bad', title: node.problems.join('\n') }, '⚠ problem'));
  if (node.isCordoned) found.push(el('span', { class: 'tag' }, 'cordoned'));
  if (node.source === 'agent') found.push(el('span', { class: 'tag', title: 'its agent reports it' }, 'agent'));
  return found;
}

/** A node in words. */
export function words(node) {
  const { all, used, stranded, closed, gpus } = node.sum;
  if (!all && !closed) return `${node.name}, no GPUs`;
  const parts = [node.name, node.product, `${gpus} GPUs`, `${percent(all ? used / all : 0)} in use`];
  if (stranded) parts.push(`${stranded} slices stranded`);
  if (closed) parts.push(`${closed} closed`);
  if (node.isCordoned) parts.push('cordoned');
  if (node.problems.length) parts.push('has a problem');
  return parts.filter(Boolean).join(', ');
}
