// The cluster as the page keeps it: nodes in a lean form, with sums, changed by events.
import { get } from './api.js';
import { follow } from './events.js';
import { Palette, namespaceOf } from './palette.js';

const texts = new Map();
/** Equal texts once: profiles and namespaces come a hundred thousand times. */
function shared(text) {
  if (text === undefined) return undefined;
  if (!texts.has(text)) texts.set(text, text);
  return texts.get(text);
}

function leanGpu(gpu) {
  return {
    index: gpu.index,
    model: shared(gpu.model),
    isDynamic: gpu.isDynamic,
    isClosed: gpu.isClosed,
    unhealthy: gpu.unhealthy,
    slices: shared(gpu.slices),
    stranded: gpu.stranded ?? NONE,
    pods: gpu.pods ?? NONE,
    shared: gpu.shared,
    instances: gpu.instances.map((it) => ({
      profile: shared(it.profile),
      start: it.start,
      size: it.size,
      pod: it.pod,
      pods: it.pods ?? NONE,
      shared: it.shared,
    })),
  };
}

const NONE = Object.freeze([]);

/** What a node amounts to: units are memory slices of partitioned GPUs and devices of everything else. */
function sums(node) {
  const sum = { gpus: 0, all: 0, used: 0, stranded: 0, closed: 0 };
  for (const gpu of node.gpus) {
    if (!gpu.isDynamic) continue;
    sum.gpus += 1;
    if (gpu.isClosed) {
      sum.closed += 1;
      continue;
    }
    sum.all += gpu.slices.length;
    for (const slice of gpu.slices) sum.used += slice === '.' ? 0 : 1;
    sum.stranded += gpu.stranded.length;
  }
  for (const pool of node.pools) {
    // A device of a node weighs what a partitioned GPU does, however finely it is shared.
    const weight = pool.kind === 'whole' ? 8 : 8 / (pool.replicas ?? 1);
    if (pool.kind === 'whole') sum.gpus += pool.capacity;
    sum.all += pool.capacity * weight;
    sum.used += Math.min(pool.used, pool.capacity) * weight;
  }
  return sum;
}

function lean(view) {
  const node = {
    name: view.name,
    product: shared(view.product ?? ''),
    isCordoned: view.isUnschedulable,
    topology: view.topology ?? {},
    source: view.source,
    pools: view.pools,
    gpus: view.gpus.map(leanGpu),
    problems: view.problems ?? NONE,
    changed: 0,
  };
  node.sum = sums(node);
  return node;
}

/** The pods that hold something of a node. */
export function* holders(node) {
  for (const gpu of node.gpus) {
    for (const it of gpu.instances) {
      if (it.pods.length) for (const holder of it.pods) yield [holder.pod, it.profile];
      else if (it.pod) yield [it.pod, it.profile];
    }
    for (const holder of gpu.pods) yield [holder.pod, 'GPU'];
  }
  for (const pool of node.pools) {
    for (const holding of pool.holdings) yield [holding.pod, pool.profile ?? pool.resource];
  }
}

/** The model; `change` events name the nodes that changed, `null` for all. */
export class Model extends EventTarget {
  nodes = new Map();
  pending = new Map();
  sample = null;
  history = [];
  models = new Map();
  generation = 0;
  isLive = false;
  palettes = { namespace: new Palette(), profile: new Palette() };

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Loads everything, then follows. Ends only with an error. */
  async run() {
    await follow(
      '/v1/events',
      (event, data) => this.#told(event, data),
      (isLive) => {
        this.isLive = isLive;
        this.#tell('live');
      },
    );
  }

  async #told(event, data) {
    if (event === 'hello' || event === 'reset') await this.#load();
    else if (event === 'change') this.#change(data);
    else if (event === 'sample') {
      this.sample = data;
      this.#keep(data);
      this.#tell('sample');
    }
  }

  async #load() {
    const [cluster, history, models] = await Promise.all(['/v1/cluster', '/v1/history', '/v1/profiles'].map(get));
    this.models = new Map(models.map((row) => [row.model, row]));
    this.generation = cluster.generation;
    this.history = history.samples;
    this.interval = history.intervalSeconds;
    this.nodes = new Map(cluster.nodes.map((view) => [view.name, lean(view)]));
    this.pending = new Map(cluster.pending.filter((pod) => pod.request !== '-').map((pod) => [pod.pod, pod]));
    this.#learn(this.nodes.values());
    this.#tell('change', null);
  }

  /** Also what was loaded already: events come in order, so the last word on a node or a pod is the newest. */
  #change(data) {
    this.generation = Math.max(this.generation, data.generation);
    const changed = new Set(data.removedNodes);
    for (const name of data.removedNodes) this.nodes.delete(name);
    const fresh = data.nodes.map(lean);
    let isNew = data.removedNodes.length > 0;
    for (const node of fresh) {
      isNew ||= !this.nodes.has(node.name);
      node.changed = performance.now();
      this.nodes.set(node.name, node);
      changed.add(node.name);
    }
    for (const pod of data.noLongerPending) this.pending.delete(pod);
    for (const pod of data.pending) if (pod.request !== '-') this.pending.set(pod.pod, pod);
    this.#learn(fresh);
    this.#tell('change', { names: changed, isNew });
  }

  #keep(sample) {
    const last = this.history.at(-1);
    const { startable: _, ...brief } = sample;
    if (!last || sample.at - last.at >= 1000 * (this.interval ?? 10)) this.history.push(brief);
    if (this.history.length > 360) this.history.shift();
  }

  #learn(nodes) {
    const [namespaces, profiles] = [new Map(), new Map()];
    for (const node of nodes) {
      for (const [pod, profile] of holders(node)) {
        const namespace = namespaceOf(pod);
        namespaces.set(namespace, (namespaces.get(namespace) ?? 0) + 1);
        profiles.set(profile, (profiles.get(profile) ?? 0) + 1);
      }
    }
    this.palettes.namespace.learn(namespaces);
    this.palettes.profile.learn(profiles);
  }

  /** Memory slices of an instance of a profile on a GPU. */
  sizeOf(gpu, profile) {
    const row = this.models.get(gpu?.model)?.profiles.find((it) => it.profile === profile);
    return row?.memorySlices ?? 1;
  }
}
